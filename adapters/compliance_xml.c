#include "adapters/compliance_xml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"
#include "compliance/event.h"

#define TICKS_PER_US 10
#define TICKS_1970 UINT64_C(621355968000000000) /* since 0001-01-01 */
#define NONE UINT32_MAX

/* The events of a room form a list through rooms.next. */
struct room {
	uint32_t first;
	uint32_t last;
};

struct rooms {
	json_t *index;   /* room URI -> number */
	struct buf list; /* struct room, in the order of first events */
	struct buf next; /* uint32_t for each event */
};

struct entry {
	struct message event;
	json_t *envelope;
	json_t *content; /* part 1 of a post */
};

struct writer {
	struct adapter *a;
	struct xml_out *x;
	struct spool *spool;
	bool strict;
	struct entry entry;
};

typedef void put_content_fn(struct writer *w);

static void
put_nothing(struct writer *w)
{
	xml_out_text(w->x, "content", view_text(""));
}

static void
put_post(struct writer *w)
{
	json_t *text = json_object_get(w->entry.content, "text");

	xml_out_text(w->x, "content",
	    view_of(json_string_value(text), json_string_length(text)));
}

static void
put_query(struct writer *w)
{
	json_t *query = json_object_get(w->entry.envelope, "query");
	char *text = json_dumps(query, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text == NULL)
		w->x->failed = true;
	else
		xml_out_text(w->x, "content", view_text(text));
	free(text);
}

static const struct rendering {
	unsigned kind;
	const char *type;
	put_content_fn *put_content;
} renderings[] = {
    {EVENT_JOIN, "JOIN", put_nothing},
    {EVENT_LEAVE, "PART", put_nothing},
    {EVENT_POST, "CHAT", put_post},
    {EVENT_HISTORY, "BACKCHAT", put_query},
};

/* Envelope fields that the published format has no place for. */
static const char *const extras[] = {"auth", "device", "via", "peer", "reason",
    "joined", "late", "happened", "first", "last", "count", "client"};

static const struct rendering *
rendering_of(unsigned kind)
{
	for (size_t i = 0; i < sizeof renderings / sizeof renderings[0]; i++)
		if (renderings[i].kind == kind)
			return &renderings[i];
	return NULL;
}

uint32_t
compliance_xml_sender_id(const char *uri)
{
	static const char prefix[] = "sender/1\n";
	const struct view pieces[] = {
	    view_of(prefix, sizeof prefix - 1), view_text(uri)};
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct reader r;
	uint32_t id;

	crypto_sha256_parts(pieces, sizeof pieces / sizeof pieces[0], hash);
	r = reader_of(view_of(hash, sizeof hash));
	id = reader_u32(&r) >> 1;
	return id == 0 ? 1 : id;
}

static void
entry_clear(struct entry *e)
{
	json_decref(e->envelope);
	json_decref(e->content);
	e->envelope = e->content = NULL;
}

static json_t *
load_part(const struct adapter_part *p)
{
	return json_loadb((const char *)p->data.p, p->data.n,
	    JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
}

static const char *
field(const struct writer *w, const char *name)
{
	return json_string_value(json_object_get(w->entry.envelope, name));
}

static bool
misshapen(struct writer *w, const char *what)
{
	return adapter_fail(w->a, "event %" PRIu64 ": %s is not understood",
	    w->entry.event.event.seq, what);
}

/* Loads event i; *r is NULL when it is of no kind that is rendered. */
static bool
load(struct writer *w, size_t i, const struct rendering **r)
{
	struct entry *e = &w->entry;
	const struct adapter_event *event = &e->event.event;

	entry_clear(e);
	if (spool_event(w->spool, i, &e->event) != 0)
		return adapter_fail(w->a, "spool: %s", strerror(errno));
	*r = event->parts == 0 ? NULL : rendering_of(event->kind);
	if (*r == NULL)
		return true;
	e->envelope = load_part(&event->part[0]);
	if (field(w, "room") == NULL || field(w, "user") == NULL)
		return misshapen(w, "the envelope");
	if (event->kind == EVENT_POST) {
		if (event->parts > 1)
			e->content = load_part(&event->part[1]);
		if (!json_is_string(json_object_get(e->content, "text")))
			return misshapen(w, "the content");
	}
	return true;
}

static void
put_time(struct xml_out *x, const char *element, uint64_t at)
{
	struct buf text;

	buf_init(&text);
	text_put_time(&text, at);
	/* the published form drops trailing zeros of the fraction */
	if (text.len != 0)
		text.len--;
	while (text.len != 0 && text.data[text.len - 1] == '0')
		text.len--;
	if (text.len != 0 && text.data[text.len - 1] == '.')
		text.len--;
	buf_put_u8(&text, 'Z');
	xml_out_start(x, element);
	xml_out_number(x, "since1970", at / 1000);
	xml_out_text(x, "string", buf_view(&text));
	xml_out_number(x, "long", at * TICKS_PER_US + TICKS_1970);
	xml_out_end(x);
	buf_release(&text);
}

static const char *
without_scheme(const char *uri)
{
	return strncmp(uri, "sip:", 4) == 0 ? uri + 4 : uri;
}

static void
put_sender(struct writer *w)
{
	const char *user = field(w, "user");
	const char *name = field(w, "name");
	const char *uri = without_scheme(user);

	if (name == NULL || name[0] == '\0')
		name = uri;
	xml_out_start(w->x, "Sender");
	xml_out_text(w->x, "UserName", view_text(name));
	xml_out_number(w->x, "id", compliance_xml_sender_id(user));
	xml_out_text(w->x, "email", view_text(""));
	xml_out_text(w->x, "internal", view_text("true"));
	xml_out_text(w->x, "uri", view_text(uri));
	xml_out_end(w->x);
}

static void
put_extras(struct writer *w)
{
	struct buf name;

	xml_out_number(w->x, "c:seq", w->entry.event.event.seq);
	for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++) {
		json_t *v = json_object_get(w->entry.envelope, extras[i]);

		buf_init(&name);
		buf_printf(&name, "c:%s", extras[i]);
		if (json_is_string(v))
			xml_out_text(w->x, buf_text(&name),
			    view_of(
				json_string_value(v), json_string_length(v)));
		else if (json_is_integer(v) && json_integer_value(v) >= 0)
			xml_out_number(w->x, buf_text(&name),
			    (uint64_t)json_integer_value(v));
		else if (json_is_boolean(v))
			xml_out_text(w->x, buf_text(&name),
			    view_text(json_is_true(v) ? "true" : "false"));
		buf_release(&name);
	}
}

/* The room's own number of a post, which the published schema bounds. */
static uint64_t
message_id(const struct writer *w)
{
	json_t *v = json_object_get(w->entry.envelope, "chat");
	json_int_t id = json_is_integer(v) ? json_integer_value(v) : 0;

	if (w->entry.event.event.kind != EVENT_POST || id < 0 ||
	    (w->strict && id > INT32_MAX))
		return 0;
	return (uint64_t)id;
}

static void
put_message(struct writer *w, const char *element, const struct rendering *r)
{
	xml_out_start(w->x, element);
	xml_out_text(w->x, "type", view_text(r->type));
	r->put_content(w);
	xml_out_number(w->x, "id", message_id(w));
	if (!w->strict)
		put_extras(w);
	put_sender(w);
	put_time(w->x, "DateTimeUTC", w->entry.event.event.at);
	xml_out_end(w->x);
}

static uint32_t
next_of(const struct rooms *rooms, uint32_t i)
{
	return ((const uint32_t *)(const void *)rooms->next.data)[i];
}

static void
put_channel(struct writer *w)
{
	const char *room = field(w, "room");
	const char *name = field(w, "roomname");

	if (name == NULL || name[0] == '\0')
		name = room;
	xml_out_start(w->x, "Channel");
	xml_out_text(w->x, "uri", view_text(room));
	xml_out_text(w->x, "name", view_text(name));
	if (!w->strict)
		xml_out_text(w->x, "islogged", view_text("true"));
	xml_out_end(w->x);
}

static bool
put_conversation(
    struct writer *w, const struct rooms *rooms, const struct room *room)
{
	const struct rendering *r;
	uint64_t start, end;

	if (!load(w, room->first, &r))
		return false;
	start = end = w->entry.event.event.at;
	xml_out_start(w->x, "Conversation");
	put_channel(w);
	put_message(w, "FirstMessage", r);
	xml_out_start(w->x, "Messages");
	for (uint32_t i = room->first; i != NONE; i = next_of(rooms, i)) {
		if (!load(w, i, &r))
			return false;
		end = w->entry.event.event.at;
		put_message(w, "Message", r);
		adapter_alive(w->a);
	}
	xml_out_end(w->x);
	put_time(w->x, "StartTimeUTC", start);
	put_time(w->x, "EndTimeUTC", end);
	xml_out_end(w->x);
	return true;
}

/* Appends event i to its room's list. */
static bool
rooms_add(struct rooms *rooms, const char *uri, uint32_t i)
{
	json_t *number = json_object_get(rooms->index, uri);
	struct room *room;

	if (number == NULL) {
		size_t n = rooms->list.len / sizeof *room;
		struct room fresh = {i, i};

		buf_put(&rooms->list, &fresh, sizeof fresh);
		return !rooms->list.failed &&
		    json_object_set_new(
			rooms->index, uri, json_integer((json_int_t)n)) == 0;
	}
	room = (struct room *)(void *)rooms->list.data +
	    json_integer_value(number);
	((uint32_t *)(void *)rooms->next.data)[room->last] = i;
	room->last = i;
	return true;
}

static bool
group(struct writer *w, struct rooms *rooms)
{
	const uint32_t none = NONE;
	const struct rendering *r;

	for (size_t i = 0; i < spool_count(w->spool); i++) {
		buf_put(&rooms->next, &none, sizeof none);
		if (rooms->next.failed || i >= NONE)
			return adapter_fail(w->a, "out of memory");
		if (!load(w, i, &r))
			return false;
		if (r != NULL &&
		    !rooms_add(rooms, field(w, "room"), (uint32_t)i))
			return adapter_fail(w->a, "out of memory");
		adapter_alive(w->a);
	}
	return true;
}

bool
compliance_xml_put(
    struct adapter *a, struct xml_out *x, struct spool *s, bool strict)
{
	struct writer w = {.a = a, .x = x, .spool = s, .strict = strict};
	struct rooms rooms = {.index = json_object()};
	const struct room *list;
	bool ok;

	message_init(&w.entry.event);
	buf_init(&rooms.list);
	buf_init(&rooms.next);
	ok = rooms.index != NULL ? group(&w, &rooms)
				 : adapter_fail(a, "out of memory");
	list = (const struct room *)(const void *)rooms.list.data;
	for (size_t i = 0; ok && i < rooms.list.len / sizeof *list; i++)
		ok = put_conversation(&w, &rooms, &list[i]);
	entry_clear(&w.entry);
	message_release(&w.entry.event);
	buf_release(&rooms.next);
	buf_release(&rooms.list);
	json_decref(rooms.index);
	return ok;
}
