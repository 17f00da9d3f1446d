#include "adapters/message.h"

#include <string.h>

#include "base/crypto.h"
#include "base/text.h"
#include "compliance/event.h"

#define HASHES_MAX 128 /* in left or right: two for each level of the tree */
#define BASE64_HASH_LEN 44

void
message_init(struct message *m)
{
	*m = (struct message){.type = MESSAGE_OTHER};
	buf_init(&m->bytes);
}

void
message_release(struct message *m)
{
	json_decref(m->json);
	m->json = NULL;
	buf_release(&m->bytes);
}

static bool
refuse(struct buf *why, const char *name, const char *what)
{
	buf_printf(why, "%s: %s", name, what);
	return false;
}

static bool
get_text(json_t *o, const char *name, const char **out, struct buf *why)
{
	json_t *v = json_object_get(o, name);

	if (!json_is_string(v))
		return refuse(why, name, "must be a string");
	*out = json_string_value(v);
	return true;
}

static bool
get_optional_text(
    json_t *o, const char *name, const char **out, struct buf *why)
{
	json_t *v = json_object_get(o, name);

	*out = NULL;
	if (v == NULL || json_is_null(v))
		return true;
	return get_text(o, name, out, why);
}

static bool
get_u64(json_t *o, const char *name, uint64_t *out, struct buf *why)
{
	json_t *v = json_object_get(o, name);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return refuse(why, name, "must be a whole number");
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static bool
get_optional_flag(json_t *o, const char *name, bool *out, struct buf *why)
{
	json_t *v = json_object_get(o, name);

	*out = false;
	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_boolean(v))
		return refuse(why, name, "must be true or false");
	*out = json_is_true(v);
	return true;
}

static struct view
string_view(const json_t *v)
{
	return view_of(json_string_value(v), json_string_length(v));
}

static bool
parse_hello(struct message *m, struct buf *why)
{
	struct adapter_config *c = &m->config;
	json_t *settings = json_object_get(m->json, "config");
	const struct {
		const char *name;
		const char **value;
	} options[] = {
	    {"directory", &c->directory},
	    {"target", &c->target},
	    {"ca", &c->ca},
	    {"certificate", &c->certificate},
	    {"key", &c->key},
	    {"peer", &c->peer},
	};

	*c = (struct adapter_config){0};
	if (!get_u64(m->json, "protocol", &m->protocol, why))
		return false;
	if (m->protocol != ADAPTER_PROTOCOL)
		return true; /* the rest may look different there */
	if (!get_text(m->json, "adapter", &c->adapter, why) ||
	    !get_text(m->json, "software", &c->software, why) ||
	    !get_text(m->json, "domain", &c->domain, why) ||
	    !get_text(m->json, "origin", &c->origin, why) ||
	    !get_text(m->json, "vkey", &c->vkey, why))
		return false;
	if (settings == NULL)
		return true;
	if (!json_is_object(settings))
		return refuse(why, "config", "must be an object");
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		if (!get_optional_text(
			settings, options[i].name, options[i].value, why))
			return false;
	return get_optional_flag(settings, "strict", &c->strict, why);
}

/* Appends the array's hashes to m->bytes. */
static bool
get_hashes(struct message *m, const char *name, struct buf *why)
{
	json_t *list = json_object_get(m->json, name);
	size_t i;
	json_t *v;

	if (!json_is_array(list) || json_array_size(list) > HASHES_MAX)
		return refuse(why, name, "must be a list of hashes");
	json_array_foreach(list, i, v)
	{
		uint8_t hash[ADAPTER_HASH_LEN];

		if (!json_is_string(v) ||
		    !text_get_base64_fixed(string_view(v), hash, sizeof hash))
			return refuse(why, name, "holds no base64 hash");
		buf_put(&m->bytes, hash, sizeof hash);
	}
	return true;
}

static bool
parse_batch(struct message *m, struct buf *why)
{
	struct adapter_batch *b = &m->batch;
	uint8_t root[ADAPTER_HASH_LEN];
	size_t left;

	*b = (struct adapter_batch){0};
	if (!get_u64(m->json, "batch", &m->number, why) ||
	    !get_text(m->json, "id", &b->id, why) ||
	    !get_u64(m->json, "first", &b->first, why) ||
	    !get_u64(m->json, "last", &b->last, why) ||
	    !get_u64(m->json, "count", &b->count, why) ||
	    !get_u64(m->json, "size", &b->size, why) ||
	    !get_text(m->json, "root", &b->root, why) ||
	    !get_text(m->json, "note", &b->note, why) ||
	    !get_optional_text(m->json, "vkey", &b->vkey, why))
		return false;
	b->number = m->number;
	if (b->last < b->first || b->count != b->last - b->first + 1)
		return refuse(why, "count", "does not fit first and last");
	if (b->size <= b->last)
		return refuse(why, "size", "must be greater than last");
	if (!text_get_base64_fixed(view_text(b->root), root, sizeof root))
		return refuse(why, "root", "is no base64 hash");
	buf_clear(&m->bytes);
	if (!get_hashes(m, "left", why))
		return false;
	left = m->bytes.len;
	if (!get_hashes(m, "right", why))
		return false;
	if (m->bytes.failed)
		return refuse(why, "batch", "out of memory");
	b->left = view_of(m->bytes.data, left);
	b->right = view_of(m->bytes.data + left, m->bytes.len - left);
	return true;
}

static bool
parse_part(json_t *v, struct adapter_part *p, struct buf *why)
{
	json_t *salt = json_object_get(v, "salt");
	json_t *data = json_object_get(v, "data");

	if (!json_is_string(salt) || !json_is_string(data))
		return refuse(why, "parts", "each needs salt and data");
	if (!text_get_base64_fixed(string_view(salt), p->salt, sizeof p->salt))
		return refuse(why, "salt", "is not 32 bytes of base64");
	p->data = string_view(data);
	return true;
}

static bool
parse_event(struct message *m, struct buf *why)
{
	struct adapter_event *e = &m->event;
	json_t *leaf = json_object_get(m->json, "leaf");
	json_t *parts = json_object_get(m->json, "parts");
	uint64_t kind;
	size_t i;
	json_t *v;

	*e = (struct adapter_event){0};
	if (!get_u64(m->json, "seq", &e->seq, why) ||
	    !get_u64(m->json, "kind", &kind, why) ||
	    !get_optional_flag(m->json, "purged", &e->purged, why))
		return false;
	if (kind > UINT8_MAX)
		return refuse(why, "kind", "is out of range");
	e->kind = (unsigned)kind;
	if (!json_is_string(leaf))
		return refuse(why, "leaf", "must be a string");
	e->leaf = string_view(leaf);
	if (!json_is_array(parts) || json_array_size(parts) > ADAPTER_PARTS_MAX)
		return refuse(why, "parts", "must be a list of at most 8");
	json_array_foreach(
	    parts, i, v) if (!parse_part(v, &e->part[i], why)) return false;
	e->parts = json_array_size(parts);
	for (i = 0; i < NAMED_COUNT; i++) {
		v = json_object_get(m->json, named_name[i]);
		if (v != NULL && !json_is_string(v))
			return refuse(why, named_name[i], "must be a string");
		if (v != NULL)
			e->named.text[i] = string_view(v);
	}
	return message_check_event(e, why);
}

static bool
parse_end(struct message *m, struct buf *why)
{
	return get_u64(m->json, "batch", &m->number, why);
}

static bool
parse_readback(struct message *m, struct buf *why)
{
	struct adapter_request *q = &m->request;

	*q = (struct adapter_request){0};
	if (!get_u64(m->json, "batch", &m->number, why) ||
	    !get_u64(m->json, "first", &q->first, why) ||
	    !get_u64(m->json, "last", &q->last, why) ||
	    !get_text(m->json, "location", &q->location, why))
		return false;
	q->number = m->number;
	if (q->last < q->first)
		return refuse(why, "last", "is less than first");
	return true;
}

static bool
parse_checkpoint(struct message *m, struct buf *why)
{
	struct adapter_checkpoint *c = &m->checkpoint;

	*c = (struct adapter_checkpoint){0};
	return get_u64(m->json, "size", &c->size, why) &&
	    get_text(m->json, "note", &c->note, why);
}

static const struct {
	const char *name;
	enum message_type type;
	bool (*parse)(struct message *m, struct buf *why);
} types[] = {
    {"event", MESSAGE_EVENT, parse_event},
    {"batch", MESSAGE_BATCH, parse_batch},
    {"end", MESSAGE_END, parse_end},
    {"readback", MESSAGE_READBACK, parse_readback},
    {"checkpoint", MESSAGE_CHECKPOINT, parse_checkpoint},
    {"hello", MESSAGE_HELLO, parse_hello},
};

bool
message_parse(struct message *m, struct view line, struct buf *why)
{
	json_error_t error;
	const char *type;

	m->type = MESSAGE_OTHER;
	m->number = 0;
	json_decref(m->json);
	m->json = json_loadb(
	    (const char *)line.p, line.n, JSON_REJECT_DUPLICATES, &error);
	if (m->json == NULL)
		return refuse(why, "not JSON", error.text);
	if (!json_is_object(m->json))
		return refuse(why, "not JSON", "must be an object");
	if (!get_text(m->json, "type", &type, why))
		return false;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		if (strcmp(types[i].name, type) != 0)
			continue;
		m->type = types[i].type;
		return types[i].parse(m, why);
	}
	return true;
}

/* Takes the bytes up to `end` from the front; false when it is not there. */
static bool
take_until(struct view *v, char end, struct view *out)
{
	const uint8_t *p = v->n == 0 ? NULL : memchr(v->p, end, v->n);

	if (p == NULL)
		return false;
	*out = view_of(v->p, (size_t)(p - v->p));
	*v = view_of(p + 1, v->n - out->n - 1);
	return true;
}

/* A leaf line's next word must be the number n, ended by `end`. */
static bool
take_number(struct view *v, char end, uint64_t n)
{
	struct view word;
	uint64_t found;

	return take_until(v, end, &word) && view_to_u64(word, &found) &&
	    found == n;
}

static bool
check_part(struct view *lines, size_t i, const struct adapter_part *p)
{
	static const char prefix[] = "part/1\n";
	uint8_t want[ADAPTER_HASH_LEN], got[ADAPTER_HASH_LEN];
	struct view word;
	const struct view pieces[] = {
	    view_of(prefix, sizeof prefix - 1),
	    view_of(p->salt, sizeof p->salt),
	    p->data,
	};

	if (!take_until(lines, ' ', &word) || !view_is(word, "p") ||
	    !take_number(lines, ' ', i) || !take_until(lines, '\n', &word) ||
	    word.n != BASE64_HASH_LEN ||
	    !text_get_base64_fixed(word, want, sizeof want))
		return false;
	crypto_sha256_parts(pieces, sizeof pieces / sizeof pieces[0], got);
	return crypto_equal(want, got, sizeof got);
}

bool
message_check_event(struct adapter_event *e, struct buf *why)
{
	struct view rest = e->leaf, word;

	if (!take_until(&rest, ' ', &word) || !view_is(word, "leaf/1") ||
	    !take_number(&rest, ' ', e->seq) ||
	    !take_number(&rest, '\n', e->kind))
		return refuse(why, "leaf", "is not the event's own");
	if (!take_until(&rest, ' ', &word) || !view_is(word, "t") ||
	    !take_until(&rest, ' ', &word) || !view_to_u64(word, &e->at) ||
	    e->at > INT64_MAX / 20 || !take_until(&rest, '\n', &word))
		return refuse(why, "leaf", "has no time");
	if (e->kind >= EVENT_CONTROL)
		return e->parts == 0 ||
		    refuse(why, "parts", "a control record has none");
	if (e->purged && e->parts == 0)
		return true;
	for (size_t i = 0; i < e->parts; i++)
		if (!check_part(&rest, i, &e->part[i]))
			return refuse(
			    why, "parts", "do not open the leaf's commitments");
	if (rest.n != 0)
		return refuse(why, "parts", "are fewer than the leaf names");
	return true;
}
