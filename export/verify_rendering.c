#include "export/verify_rendering.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"

#define NAMESPACE "urn:chancery:compliance:1"
#define MARK_LEN 16 /* of a SHA-256: tells fields apart, signs nothing */
#define TICKS_PER_US 10
#define TICKS_1970 UINT64_C(621355968000000000) /* since 0001-01-01 */
#define DETAILED 32

/* What of a message is compared by itself, so that a finding can name it. */
enum field {
	FIELD_TYPE,
	FIELD_CONTENT,
	FIELD_SENDER,
	FIELD_TIME,
	FIELD_EXTRA,
	FIELDS
};

static const char *const field_names[FIELDS] = {
    "type or id", "content", "sender", "time", "details"};

struct expected {
	uint64_t seq;
	uint32_t room;
	uint8_t mark[FIELDS][MARK_LEN];
};

struct room {
	uint8_t mark[MARK_LEN];
};

struct verify_rendering {
	struct verify_report *r;
	bool extended;
	bool failed; /* out of memory */
	json_t *index;
	struct expected *event;
	size_t events, event_cap;
	struct room *room;
	size_t rooms, room_cap;
	struct buf text; /* what a mark is made of */
	uint64_t findings;
	/* Place in the rendering. */
	size_t next;  /* expected message */
	size_t began; /* first expected message of the conversation */
	bool in_message, in_first;
	unsigned senders, times;
	unsigned step; /* parts of the conversation that came */
};

static const char *const extras[] = {"auth", "device", "via", "peer", "reason",
    "joined", "late", "happened", "first", "last", "count", "client"};

#define EXTRAS (sizeof(extras) / sizeof(extras[0]))

static const char *const kinds[] = {NULL, "JOIN", "PART", "CHAT", "BACKCHAT"};

#define KIND_POST 3
#define KIND_HISTORY 4

struct verify_rendering *
verify_rendering_new(bool extended, struct verify_report *r)
{
	struct verify_rendering *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->r = r;
	v->extended = extended;
	v->index = json_object();
	buf_init(&v->text);
	v->failed = v->index == NULL;
	return v;
}

static void
mark_begin(struct verify_rendering *v)
{
	buf_clear(&v->text);
}

/* XML cannot hold some characters: they are rendered as U+FFFD. */
static void
mark_text(struct verify_rendering *v, struct view value)
{
	size_t i = 0;

	while (i < value.n) {
		const uint8_t *p = value.p + i;
		size_t skip = 0;

		if (p[0] < 0x20 && p[0] != '\t' && p[0] != '\n' && p[0] != '\r')
			skip = 1;
		else if (value.n - i >= 3 && p[0] == 0xef && p[1] == 0xbf &&
		    p[2] >= 0xbe)
			skip = 3;
		if (skip > 0)
			buf_put_text(&v->text, "\xef\xbf\xbd");
		else
			buf_put_u8(&v->text, p[0]);
		i += skip > 0 ? skip : 1;
	}
	buf_put_u8(&v->text, 0);
}

static void
mark_number(struct verify_rendering *v, uint64_t value)
{
	buf_put_decimal(&v->text, value);
	buf_put_u8(&v->text, 0);
}

static void
mark_end(struct verify_rendering *v, uint8_t out[MARK_LEN])
{
	uint8_t hash[32];

	v->failed |= v->text.failed;
	crypto_sha256(v->text.data, v->text.len, hash);
	memcpy(out, hash, MARK_LEN);
}

static struct view
string_of(const json_t *object, const char *name)
{
	const json_t *s = json_object_get(object, name);

	if (!json_is_string(s))
		return view_text("");
	return view_of(json_string_value(s), json_string_length(s));
}

static void
expect_sender(struct verify_rendering *v, const json_t *envelope)
{
	static const char label[] = "sender/1\n";
	struct view user = string_of(envelope, "user");
	struct view name = string_of(envelope, "name"), uri = user;
	const struct view hashed[] = {view_of(label, sizeof(label) - 1), user};
	uint8_t hash[32];
	struct reader number;
	uint32_t id;

	crypto_sha256_parts(hashed, 2, hash);
	number = reader_of(view_of(hash, 4));
	id = reader_u32(&number) >> 1;
	if (uri.n >= 4 && memcmp(uri.p, "sip:", 4) == 0)
		uri = view_of(uri.p + 4, uri.n - 4);
	mark_text(v, name.n > 0 ? name : uri);
	mark_number(v, id == 0 ? 1 : id);
	mark_text(v, view_text(""));
	mark_text(v, view_text("true"));
	mark_text(v, uri);
}

static void
expect_time(struct verify_rendering *v, uint64_t at)
{
	struct buf text;

	buf_init(&text);
	text_put_time(&text, at);
	text.len -= text.len > 0; /* the Z */
	while (text.len > 0 && text.data[text.len - 1] == '0')
		text.len--;
	if (text.len > 0 && text.data[text.len - 1] == '.')
		text.len--;
	buf_put_u8(&text, 'Z');
	mark_number(v, at / 1000);
	mark_text(v, buf_view(&text));
	mark_number(v, at * TICKS_PER_US + TICKS_1970);
	v->failed |= text.failed;
	buf_release(&text);
}

static void
expect_extras(struct verify_rendering *v, const json_t *envelope, uint64_t seq)
{
	if (!v->extended)
		return;
	mark_number(v, seq);
	for (size_t i = 0; i < EXTRAS; i++) {
		const json_t *j = json_object_get(envelope, extras[i]);

		if (!json_is_string(j) && !json_is_boolean(j) &&
		    !(json_is_integer(j) && json_integer_value(j) >= 0))
			continue;
		buf_put_text(&v->text, extras[i]);
		if (json_is_string(j))
			mark_text(v, string_of(envelope, extras[i]));
		else if (json_is_integer(j))
			mark_number(v, (uint64_t)json_integer_value(j));
		else
			mark_text(
			    v, view_text(json_is_true(j) ? "true" : "false"));
	}
}

static void
expect_content(struct verify_rendering *v, uint64_t kind,
    const json_t *envelope, const json_t *content)
{
	char *query;

	if (kind == KIND_POST) {
		mark_text(v, string_of(content, "text"));
		return;
	}
	query = kind == KIND_HISTORY
	    ? json_dumps(json_object_get(envelope, "query"),
		  JSON_COMPACT | JSON_ENCODE_ANY)
	    : NULL;
	mark_text(v, view_text(query == NULL ? "" : query));
	free(query);
}

static uint64_t
chat_id(const struct verify_rendering *v, uint64_t kind, const json_t *envelope)
{
	json_int_t id = json_integer_value(json_object_get(envelope, "chat"));

	if (kind != KIND_POST || id < 0 || (!v->extended && id > INT32_MAX))
		return 0;
	return (uint64_t)id;
}

/* Number of the room, a new one when it is seen for the first time. */
static bool
room_of(struct verify_rendering *v, const json_t *envelope, uint32_t *out)
{
	struct view uri = string_of(envelope, "room");
	struct view name = string_of(envelope, "roomname");
	const char *key = json_string_value(json_object_get(envelope, "room"));
	const json_t *known = json_object_get(v->index, key);

	if (known != NULL) {
		*out = (uint32_t)json_integer_value(known);
		return true;
	}
	if (v->rooms == v->room_cap) {
		size_t cap = v->room_cap == 0 ? 16 : v->room_cap * 2;
		struct room *grown = reallocarray(v->room, cap, sizeof(*grown));

		if (grown == NULL)
			return false;
		v->room = grown;
		v->room_cap = cap;
	}
	mark_begin(v);
	mark_text(v, uri);
	mark_text(v, name.n > 0 ? name : uri);
	if (v->extended)
		mark_text(v, view_text("true"));
	mark_end(v, v->room[v->rooms].mark);
	*out = (uint32_t)v->rooms++;
	return json_object_set_new(v->index, key, json_integer(*out)) == 0;
}

static bool
add_event(struct verify_rendering *v, const struct expected *e)
{
	if (v->events == v->event_cap) {
		size_t cap = v->event_cap == 0 ? 256 : v->event_cap * 2;
		struct expected *grown =
		    reallocarray(v->event, cap, sizeof(*grown));

		if (grown == NULL)
			return false;
		v->event = grown;
		v->event_cap = cap;
	}
	v->event[v->events++] = *e;
	return true;
}

static bool
expect(struct verify_rendering *v, const struct verify_record *rec, uint64_t at,
    const json_t *envelope, const json_t *content)
{
	struct expected e = {.seq = rec->seq};

	if (!room_of(v, envelope, &e.room))
		return false;
	mark_begin(v);
	mark_text(v, view_text(kinds[rec->kind]));
	mark_number(v, chat_id(v, rec->kind, envelope));
	mark_end(v, e.mark[FIELD_TYPE]);
	mark_begin(v);
	expect_content(v, rec->kind, envelope, content);
	mark_end(v, e.mark[FIELD_CONTENT]);
	mark_begin(v);
	expect_sender(v, envelope);
	mark_end(v, e.mark[FIELD_SENDER]);
	mark_begin(v);
	expect_time(v, at);
	mark_end(v, e.mark[FIELD_TIME]);
	mark_begin(v);
	expect_extras(v, envelope, rec->seq);
	mark_end(v, e.mark[FIELD_EXTRA]);
	return add_event(v, &e);
}

static json_t *
payload(const struct verify_record *rec, unsigned part)
{
	if (part >= rec->parts)
		return NULL;
	return json_loadb((const char *)rec->part[part].data.p,
	    rec->part[part].data.n, JSON_ALLOW_NUL, NULL);
}

void
verify_rendering_expect(void *arg, const struct verify_record *rec, uint64_t at)
{
	struct verify_rendering *v = arg;
	json_t *envelope, *content;

	if (rec->kind >= sizeof(kinds) / sizeof(kinds[0]) || rec->parts == 0 ||
	    kinds[rec->kind] == NULL)
		return;
	envelope = payload(rec, 0);
	content = payload(rec, 1);
	if (!json_is_string(json_object_get(envelope, "room")))
		verify_report_finding(v->r, VERIFY_RENDERING,
		    verify_at_part(rec->seq, 0),
		    "payload names no room to render it in");
	else if (!expect(v, rec, at, envelope, content))
		v->failed = true;
	json_decref(envelope);
	json_decref(content);
}

static int
by_room(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	if (x->room != y->room)
		return x->room < y->room ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void
verify_rendering_ready(struct verify_rendering *v)
{
	if (v->events > 0)
		qsort(v->event, v->events, sizeof(*v->event), by_room);
	verify_report_count(v->r, VERIFY_RENDERING, v->events);
}

static void
differs(struct verify_rendering *v, struct verify_place where, const char *what)
{
	v->findings++;
	if (v->findings <= DETAILED)
		verify_report_finding(
		    v->r, VERIFY_RENDERING, where, "%s", what);
}

static const struct expected *
at_hand(const struct verify_rendering *v)
{
	return v->next < v->events ? &v->event[v->next] : NULL;
}

static struct verify_place
here(const struct verify_rendering *v)
{
	const struct expected *e = at_hand(v);

	return e == NULL ? verify_nowhere() : verify_at(e->seq);
}

/* Puts the named attributes into the mark; how many were there. */
static int
mark_attributes(struct verify_rendering *v, xmlTextReaderPtr xml,
    const char *const *names, size_t count)
{
	int found = 0;

	for (size_t i = 0; i < count; i++) {
		xmlChar *value =
		    xmlTextReaderGetAttribute(xml, BAD_CAST names[i]);

		if (value == NULL) /* is not the same as an empty one */
			continue;
		found++;
		mark_text(v, view_text((const char *)value));
		xmlFree(value);
	}
	return found;
}

static int
mark_extras(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	xmlChar *value;
	int found = 0;

	value = xmlTextReaderGetAttributeNs(
	    xml, BAD_CAST "seq", BAD_CAST NAMESPACE);
	if (value != NULL) {
		found++;
		mark_text(v, view_text((const char *)value));
		xmlFree(value);
	}
	for (size_t i = 0; i < EXTRAS; i++) {
		value = xmlTextReaderGetAttributeNs(
		    xml, BAD_CAST extras[i], BAD_CAST NAMESPACE);
		if (value == NULL)
			continue;
		found++;
		buf_put_text(&v->text, extras[i]);
		mark_text(v, view_text((const char *)value));
		xmlFree(value);
	}
	return found;
}

static void
compare(struct verify_rendering *v, enum field field)
{
	const struct expected *e = at_hand(v);
	uint8_t mark[MARK_LEN];
	char what[64];

	mark_end(v, mark);
	if (e == NULL || memcmp(mark, e->mark[field], MARK_LEN) == 0)
		return;
	(void)snprintf(what, sizeof(what),
	    "rendered %s is not that of the evidence", field_names[field]);
	differs(v, here(v), what);
}

static void
count_attributes(struct verify_rendering *v, xmlTextReaderPtr xml, int known)
{
	if (xmlTextReaderAttributeCount(xml) != known)
		differs(v, here(v),
		    "rendered element has attributes missing or too many");
}

static void
on_message(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	static const char *const type[] = {"type", "id"};
	static const char *const content[] = {"content"};
	int known;

	if (at_hand(v) == NULL)
		differs(v, verify_nowhere(),
		    "rendering has a message that the evidence has not");
	mark_begin(v);
	known = mark_attributes(v, xml, type, 2);
	compare(v, FIELD_TYPE);
	mark_begin(v);
	known += mark_attributes(v, xml, content, 1);
	compare(v, FIELD_CONTENT);
	mark_begin(v);
	if (v->extended)
		known += mark_extras(v, xml);
	compare(v, FIELD_EXTRA);
	count_attributes(v, xml, known);
	v->in_message = true;
	v->senders = v->times = 0;
}

static void
on_message_end(struct verify_rendering *v)
{
	if (v->senders != 1 || v->times != 1)
		differs(v, here(v),
		    "rendered message has not one sender and one time");
	v->in_message = false;
	if (v->in_first)
		v->in_first = false;
	else if (at_hand(v) != NULL)
		v->next++;
}

/* The parts of a conversation, in their order. */
enum step {
	STEP_CHANNEL,
	STEP_FIRST,
	STEP_MESSAGES,
	STEP_START,
	STEP_END,
	STEPS
};

static void
take_step(struct verify_rendering *v, enum step step)
{
	if (v->step != step)
		differs(v, here(v),
		    "parts of a rendered conversation are missing, too many "
		    "or out of order");
	v->step = (unsigned)step + 1;
}

static void
on_first(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	take_step(v, STEP_FIRST);
	v->in_first = true;
	on_message(v, xml);
}

static void
on_sender(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	static const char *const names[] = {
	    "UserName", "id", "email", "internal", "uri"};

	if (v->senders++ > 0 || v->times > 0)
		differs(v, here(v), "rendered sender is not the first, alone");
	mark_begin(v);
	count_attributes(v, xml, mark_attributes(v, xml, names, 5));
	compare(v, FIELD_SENDER);
}

static const char *const time_names[] = {"since1970", "string", "long"};

static void
on_time(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	v->times++;
	mark_begin(v);
	count_attributes(v, xml, mark_attributes(v, xml, time_names, 3));
	compare(v, FIELD_TIME);
}

/* Begin or end of a conversation: the time of message `which`. */
static void
on_bound(struct verify_rendering *v, xmlTextReaderPtr xml, size_t which)
{
	uint8_t mark[MARK_LEN];

	mark_begin(v);
	count_attributes(v, xml, mark_attributes(v, xml, time_names, 3));
	mark_end(v, mark);
	if (which < v->events &&
	    memcmp(mark, v->event[which].mark[FIELD_TIME], MARK_LEN) != 0)
		differs(v, verify_at(v->event[which].seq),
		    "rendered bounds of a conversation are not those of its "
		    "messages");
}

static void
on_start(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	take_step(v, STEP_START);
	on_bound(v, xml, v->began);
}

static void
on_end(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	take_step(v, STEP_END);
	on_bound(v, xml, v->next > v->began ? v->next - 1 : v->began);
}

static void
on_channel(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	static const char *const names[] = {"uri", "name", "islogged"};
	const struct expected *e = at_hand(v);
	uint8_t mark[MARK_LEN];

	take_step(v, STEP_CHANNEL);
	mark_begin(v);
	count_attributes(
	    v, xml, mark_attributes(v, xml, names, v->extended ? 3 : 2));
	mark_end(v, mark);
	if (e != NULL && memcmp(mark, v->room[e->room].mark, MARK_LEN) != 0)
		differs(
		    v, here(v), "rendered room is not that of the evidence");
}

static void
on_conversation(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	count_attributes(v, xml, 0);
	v->began = v->next;
	v->step = 0;
	if (at_hand(v) == NULL)
		differs(v, verify_nowhere(),
		    "rendering has a conversation that the evidence has not");
}

static void
on_conversation_end(struct verify_rendering *v)
{
	const struct expected *e = at_hand(v);

	take_step(v, STEPS);
	if (v->next == v->began)
		differs(v, here(v), "rendered conversation has no message");
	if (e != NULL && v->next > v->began &&
	    v->event[v->next - 1].room == e->room)
		differs(v, verify_at(e->seq),
		    "message is missing in the rendering");
}

static void
on_messages(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	take_step(v, STEP_MESSAGES);
	count_attributes(v, xml, 0);
}

static void
on_one_of(struct verify_rendering *v, xmlTextReaderPtr xml)
{
	const struct expected *e = at_hand(v);

	if (v->step != STEP_MESSAGES + 1)
		differs(v, here(v), "rendered message is out of its place");
	if (e != NULL && e->room != v->event[v->began].room)
		differs(
		    v, here(v), "rendered room is not that of the evidence");
	on_message(v, xml);
}

/* The elements of the published format, each at its depth. */
static const struct element {
	const char *name;
	unsigned depth;
	bool in_message;
	void (*begin)(struct verify_rendering *v, xmlTextReaderPtr xml);
	void (*end)(struct verify_rendering *v);
} elements[] = {
    {"Conversation", 1, false, on_conversation, on_conversation_end},
    {"Channel", 2, false, on_channel, NULL},
    {"FirstMessage", 2, false, on_first, on_message_end},
    {"Messages", 2, false, on_messages, NULL},
    {"Message", 3, false, on_one_of, on_message_end},
    {"Sender", 3, true, on_sender, NULL},
    {"DateTimeUTC", 3, true, on_time, NULL},
    {"Sender", 4, true, on_sender, NULL},
    {"DateTimeUTC", 4, true, on_time, NULL},
    {"StartTimeUTC", 2, false, on_start, NULL},
    {"EndTimeUTC", 2, false, on_end, NULL},
};

void
verify_rendering_element(
    struct verify_rendering *v, xmlTextReaderPtr xml, bool end)
{
	const xmlChar *name = xmlTextReaderConstLocalName(xml);
	unsigned depth = (unsigned)xmlTextReaderDepth(xml);

	for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++) {
		const struct element *e = &elements[i];

		if (e->depth != depth || !xmlStrEqual(name, BAD_CAST e->name) ||
		    xmlTextReaderConstNamespaceUri(xml) != NULL)
			continue;
		if (!end && e->in_message != v->in_message)
			break;
		if (!end)
			e->begin(v, xml);
		else if (e->end != NULL)
			e->end(v);
		return;
	}
	if (!end)
		differs(v, here(v),
		    "rendering has an element that the format has not");
}

void
verify_rendering_finish(struct verify_rendering *v)
{
	for (; v->next < v->events; v->next++)
		differs(v, verify_at(v->event[v->next].seq),
		    "message is missing in the rendering");
	if (v->findings > DETAILED)
		verify_report_finding(v->r, VERIFY_RENDERING, verify_nowhere(),
		    "%" PRIu64 " more differences", v->findings - DETAILED);
	if (v->failed)
		verify_report_failure(v->r, "out of memory");
}

void
verify_rendering_free(struct verify_rendering *v)
{
	if (v == NULL)
		return;
	json_decref(v->index);
	free(v->event);
	free(v->room);
	buf_release(&v->text);
	free(v);
}
