/* A transcript that a person reads, one record a line. */

#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"

#include "compliance/event.h"

#include "export/neutral.h"
#include "export/render.h"

#define SECONDS_LEN 19 /* 2026-11-22T07:08:09 */

static void *
begin(struct buf *out, const char *origin)
{
	static char nothing;

	buf_put_text(out, "Journal ");
	neutral_put(out, view_text(origin));
	buf_put_text(out, "\n");
	return &nothing;
}

static void
put_time(struct buf *out, uint64_t at)
{
	struct buf time;

	buf_init(&time);
	text_put_time(&time, at);
	if (time.len > SECONDS_LEN) {
		time.data[10] = ' ';
		buf_put(out, time.data, SECONDS_LEN);
	}
	buf_put_u8(out, 'Z');
	buf_release(&time);
}

static void
put_field(struct buf *out, const struct item *i, const char *name)
{
	neutral_put(out, item_field(i, name));
}

static void
put_room(struct buf *out, const struct item *i)
{
	buf_put_text(out, " [");
	put_field(
	    out, i, item_field(i, "roomname").n > 0 ? "roomname" : "room");
	buf_put_u8(out, ']');
}

static void
put_user(struct buf *out, const struct item *i)
{
	buf_put_u8(out, ' ');
	if (item_field(i, "name").n > 0) {
		put_field(out, i, "name");
		buf_put_u8(out, ' ');
	}
	buf_put_u8(out, '<');
	put_field(out, i, "user");
	buf_put_u8(out, '>');
}

/* Later lines are indented: none can pass for a record of its own. */
static void
put_lines(struct buf *out, struct view text)
{
	size_t start = 0;

	for (size_t i = 0; i <= text.n; i++) {
		size_t end = i;

		if (i < text.n && text.p[i] != '\n')
			continue;
		if (end > start && text.p[end - 1] == '\r')
			end--;
		if (start > 0)
			buf_put_text(out, "\n\t");
		neutral_put(out, view_of(text.p + start, end - start));
		start = i + 1;
	}
}

static void
put_post(struct buf *out, const struct item *i)
{
	put_room(out, i);
	put_user(out, i);
	buf_put_text(out, ": ");
	put_lines(out, item_text(i));
}

static void
put_join(struct buf *out, const struct item *i)
{
	put_room(out, i);
	put_user(out, i);
	buf_put_text(out, " joined (");
	put_field(out, i, "auth");
	buf_put_text(out, ", ");
	put_field(out, i, "via");
	buf_put_u8(out, ' ');
	put_field(out, i, "peer");
	buf_put_u8(out, ')');
}

static void
put_leave(struct buf *out, const struct item *i)
{
	put_room(out, i);
	put_user(out, i);
	buf_put_text(out, " left (");
	put_field(out, i, "reason");
	if (json_is_true(json_object_get(i->envelope, "late")))
		buf_put_text(out, ", recorded late");
	buf_put_u8(out, ')');
}

static void
put_json(struct buf *out, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text != NULL)
		neutral_put(out, view_text(text));
	free(text);
}

static void
put_history(struct buf *out, const struct item *i)
{
	put_room(out, i);
	put_user(out, i);
	buf_put_text(out, " read history ");
	put_json(out, json_object_get(i->envelope, "query"));
	buf_printf(out,
	    ": %" JSON_INTEGER_FORMAT " messages, %" JSON_INTEGER_FORMAT
	    " to %" JSON_INTEGER_FORMAT,
	    item_number(i, "count"), item_number(i, "first"),
	    item_number(i, "last"));
}

static void
put_sets(struct buf *out, const json_t *sets, const char *verb)
{
	const json_t *set, *entry;
	size_t i, k;

	json_array_foreach(sets, i, set)
	{
		const char *chats =
		    json_string_value(json_object_get(set, "chats"));

		buf_printf(out, "%s %s ", i > 0 ? ";" : "", verb);
		neutral_put(out, view_text(chats == NULL ? "?" : chats));
		buf_put_text(out, " to");
		json_array_foreach(json_object_get(set, "to"), k, entry)
		{
			const char *to = json_string_value(entry);

			buf_put_text(out, k > 0 ? ", " : " ");
			neutral_put(out, view_text(to == NULL ? "?" : to));
		}
	}
}

static void
put_delivery(struct buf *out, const struct item *i)
{
	put_room(out, i);
	put_sets(out, json_object_get(i->envelope, "sets"), "delivered");
	put_sets(out, json_object_get(i->envelope, "failed"), "not delivered");
}

static void
put_room_change(struct buf *out, const struct item *i)
{
	put_room(out, i);
	buf_put_text(out, " room ");
	put_field(out, i, "action");
	buf_put_text(out, " by ");
	put_field(out, i, "by");
}

static void
put_member_change(struct buf *out, const struct item *i)
{
	put_room(out, i);
	buf_put_text(out, " member ");
	put_field(out, i, "action");
	put_user(out, i);
	buf_put_text(out, " by ");
	put_field(out, i, "by");
}

static void
put_user_change(struct buf *out, const struct item *i)
{
	buf_put_text(out, " user ");
	put_field(out, i, "action");
	put_user(out, i);
	buf_put_text(out, " by ");
	put_field(out, i, "by");
}

typedef void put_fn(struct buf *out, const struct item *i);

static put_fn *const put[] = {
    [EVENT_JOIN] = put_join,
    [EVENT_LEAVE] = put_leave,
    [EVENT_POST] = put_post,
    [EVENT_HISTORY] = put_history,
    [EVENT_DELIVERY] = put_delivery,
    [EVENT_ROOM] = put_room_change,
    [EVENT_MEMBER] = put_member_change,
    [EVENT_USER] = put_user_change,
};

static void
put_control(struct buf *out, const struct item *i)
{
	buf_printf(out, " * %s:", i->kind);
	for (size_t k = 0, start = 0; k < i->fields.n; k++) {
		if (i->fields.p[k] != '\n')
			continue;
		buf_put_text(out, start > 0 ? ", " : " ");
		neutral_put(out, view_of(i->fields.p + start, k - start));
		start = k + 1;
	}
}

static void
record(void *self, struct buf *out, const struct item *i)
{
	const struct scan_record *r = i->record;

	(void)self;
	put_time(out, r->at);
	if (r->kind >= EVENT_CONTROL)
		put_control(out, i);
	else if (r->purged)
		buf_printf(out, " * record %" PRIu64 ", %s: payload purged",
		    r->seq, i->kind);
	else if (i->envelope != NULL &&
	    r->kind < sizeof(put) / sizeof(put[0]) && put[r->kind] != NULL)
		put[r->kind](out, i);
	else
		buf_printf(out,
		    " * record %" PRIu64 ", %s: payload not understood", r->seq,
		    i->kind);
	buf_put_u8(out, '\n');
}

static bool
end(void *self, struct buf *out)
{
	(void)self;
	(void)out;
	return true;
}

const struct render render_text = {"text", begin, record, end};
