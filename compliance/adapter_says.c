#include "compliance/adapter_says.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"

static const char *const promise_names[PROMISE_COUNT] = {
    [PROMISE_SENT] = "sent",
    [PROMISE_ACCEPTED] = "accepted",
    [PROMISE_STORED] = "stored",
};

const char *
adapter_promise_name(enum adapter_promise p)
{
	return promise_names[p];
}

static bool
get_number(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static bool
get_text(const json_t *o, const char *name, struct view *out)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_string(v))
		return false;
	*out = view_of(json_string_value(v), json_string_length(v));
	return true;
}

/* Short text without control characters, fit for a log and the journal. */
static bool
get_short_text(const json_t *o, const char *name, struct view *out)
{
	if (!get_text(o, name, out) || out->n > ADAPTER_SAYS_TEXT_MAX)
		return false;
	for (size_t i = 0; i < out->n; i++)
		if (out->p[i] < 0x20 || out->p[i] == 0x7f)
			return false;
	return true;
}

static bool
get_promise(const json_t *v, enum adapter_promise *out)
{
	if (!json_is_string(v))
		return false;
	for (unsigned i = 0; i < PROMISE_COUNT; i++) {
		if (strcmp(json_string_value(v), promise_names[i]) == 0) {
			*out = (enum adapter_promise)i;
			return true;
		}
	}
	return false;
}

static const char *
parse_ready(struct adapter_says *s)
{
	const json_t *states = json_object_get(s->json, "states");
	const json_t *readback = json_object_get(s->json, "readback");
	const json_t *checkpoints = json_object_get(s->json, "checkpoints");

	if (!get_number(s->json, "protocol", &s->protocol))
		return "ready without a protocol number";
	if (s->protocol != ADAPTER_SAYS_PROTOCOL)
		return NULL; /* the rest may look different there */
	if (!get_short_text(s->json, "program", &s->program))
		return "ready without a program name";
	for (size_t i = 0; i < json_array_size(states); i++) {
		enum adapter_promise p;

		if (!get_promise(json_array_get(states, i), &p))
			return "ready with an unknown state";
		s->promises |= 1U << p;
	}
	if (s->promises == 0)
		return "ready without states";
	if (readback != NULL && !json_is_boolean(readback))
		return "ready with a malformed readback";
	s->readback = json_is_true(readback);
	if (checkpoints != NULL && !json_is_boolean(checkpoints))
		return "ready with malformed checkpoints";
	s->checkpoints = json_is_true(checkpoints);
	return NULL;
}

static const char *
parse_alive(struct adapter_says *s)
{
	(void)s;
	return NULL;
}

/* Absent, null or "-": not hashed. */
static bool
get_digest(struct adapter_says *s)
{
	const json_t *v = json_object_get(s->json, "sha256");
	struct view text;

	if (v == NULL || json_is_null(v))
		return true;
	if (!get_text(s->json, "sha256", &text))
		return false;
	if (view_is(text, "-"))
		return true;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] >= 'A' && text.p[i] <= 'F')
			return false;
	s->hashed = text.n == 2 * sizeof s->sha256 &&
	    text_get_hex(text, s->sha256, sizeof s->sha256);
	return s->hashed;
}

static const char *
parse_receipt(struct adapter_says *s)
{
	struct view root;

	if (!get_number(s->json, "batch", &s->batch) ||
	    !get_number(s->json, "count", &s->count))
		return "receipt without batch and count";
	if (!get_text(s->json, "root", &root) ||
	    !text_get_base64_fixed(root, s->root, sizeof s->root))
		return "receipt without a root";
	if (!get_promise(json_object_get(s->json, "state"), &s->promise))
		return "receipt with an unknown state";
	if (json_object_get(s->json, "location") != NULL &&
	    !get_short_text(s->json, "location", &s->location))
		return "receipt with a malformed location";
	if (!get_digest(s))
		return "receipt with a malformed sha256";
	if (s->hashed && !get_number(s->json, "bytes", &s->bytes))
		return "receipt without the archive's size in bytes";
	return NULL;
}

static const char *
parse_error(struct adapter_says *s)
{
	s->has_batch = json_object_get(s->json, "batch") != NULL;
	if (s->has_batch && !get_number(s->json, "batch", &s->batch))
		return "error with a malformed batch";
	if (!get_text(s->json, "reason", &s->reason))
		return "error without a reason";
	if (s->reason.n > ADAPTER_SAYS_TEXT_MAX)
		s->reason.n = ADAPTER_SAYS_TEXT_MAX;
	return NULL;
}

static bool
parse_part(const json_t *v, struct adapter_part_said *out)
{
	struct view salt;

	return get_text(v, "salt", &salt) &&
	    text_get_base64_fixed(salt, out->salt, sizeof out->salt) &&
	    get_text(v, "data", &out->data);
}

static const char *
parse_event(struct adapter_says *s)
{
	const json_t *parts = json_object_get(s->json, "parts");
	size_t count = json_array_size(parts);
	uint64_t kind;

	if (!get_number(s->json, "seq", &s->seq) ||
	    !get_number(s->json, "kind", &kind) || kind > UINT8_MAX)
		return "event without seq and kind";
	if (!get_text(s->json, "leaf", &s->leaf))
		return "event without a leaf";
	if (!json_is_array(parts) || count > LEAF_PARTS_MAX)
		return "event without parts";
	for (size_t i = 0; i < count; i++)
		if (!parse_part(json_array_get(parts, i), &s->part[i]))
			return "event with a malformed part";
	for (size_t i = 0; i < NAMED_COUNT; i++)
		if (json_object_get(s->json, named_name[i]) != NULL &&
		    !get_text(s->json, named_name[i], &s->named.text[i]))
			return "event that names something malformed";
	s->kind = (unsigned)kind;
	s->parts = (unsigned)count;
	return NULL;
}

static const char *
parse_readback_end(struct adapter_says *s)
{
	if (!get_number(s->json, "batch", &s->batch))
		return "readback-end without a batch";
	return get_digest(s) ? NULL : "readback-end with a malformed sha256";
}

static const char *
parse_anchored(struct adapter_says *s)
{
	const json_t *state = json_object_get(s->json, "state");
	struct view text;

	if (!get_number(s->json, "size", &s->size))
		return "anchored without a size";
	if (get_promise(state, &s->promise))
		return NULL;
	if (!get_text(s->json, "state", &text) || !view_is(text, "failed"))
		return "anchored with an unknown state";
	if (!get_text(s->json, "reason", &s->reason))
		return "anchored without a reason";
	if (s->reason.n > ADAPTER_SAYS_TEXT_MAX)
		s->reason.n = ADAPTER_SAYS_TEXT_MAX;
	return NULL;
}

static const struct {
	const char *type;
	enum adapter_said said;
	const char *(*parse)(struct adapter_says *s);
} forms[] = {
    {"ready", SAID_READY, parse_ready},
    {"alive", SAID_ALIVE, parse_alive},
    {"receipt", SAID_RECEIPT, parse_receipt},
    {"error", SAID_ERROR, parse_error},
    {"event", SAID_EVENT, parse_event},
    {"readback-end", SAID_READBACK_END, parse_readback_end},
    {"anchored", SAID_ANCHORED, parse_anchored},
};

int
adapter_says_parse(struct view line, struct adapter_says *out, const char **why)
{
	struct view type;

	memset(out, 0, sizeof *out);
	out->json = json_loadb((const char *)line.p, line.n,
	    JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	*why = "not one JSON object on a line";
	if (!json_is_object(out->json))
		return -1;
	*why = "a line without a type";
	if (!get_text(out->json, "type", &type))
		return -1;
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (view_is(type, forms[i].type)) {
			out->said = forms[i].said;
			*why = forms[i].parse(out);
			return *why == NULL ? 0 : -1;
		}
	}
	out->said = SAID_OTHER;
	*why = NULL;
	return 0;
}

void
adapter_says_release(struct adapter_says *s)
{
	json_decref(s->json);
	s->json = NULL;
}
