/* RFC 4180: fixed header, CRLF, quotes doubled. */

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

#include "export/render.h"

static void *
begin(struct buf *out, const char *origin)
{
	static char nothing;

	(void)origin;
	buf_put_text(out,
	    "seq,time,kind,purged,room,room_name,user,name,"
	    "device,auth,chat,text,details\r\n");
	return &nothing;
}

static void
put_field(struct buf *out, struct view v)
{
	bool plain = v.n == 0 || (v.p[0] != ' ' && v.p[v.n - 1] != ' ');

	for (size_t i = 0; plain && i < v.n; i++)
		plain = v.p[i] >= 0x20 && v.p[i] != '"' && v.p[i] != ',';
	if (plain) {
		buf_put_view(out, v);
		return;
	}
	buf_put_u8(out, '"');
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] == '"')
			buf_put_u8(out, '"');
		buf_put_u8(out, v.p[i]);
	}
	buf_put_u8(out, '"');
}

/* The whole envelope as recorded, or the fields of a control record. */
static void
put_details(struct buf *out, const struct item *i)
{
	struct buf line;

	if (i->record->parts > 0) {
		if (!i->record->purged)
			put_field(out, i->record->part[0].data);
		return;
	}
	buf_init(&line);
	for (size_t k = 0; k < i->fields.n; k++)
		if (i->fields.p[k] != '\n')
			buf_put_u8(&line, i->fields.p[k]);
		else if (k + 1 < i->fields.n)
			buf_put_text(&line, "; ");
	put_field(out, buf_view(&line));
	buf_release(&line);
}

static void
record(void *self, struct buf *out, const struct item *i)
{
	static const char *const columns[] = {
	    "room", "roomname", "user", "name", "device", "auth"};
	const struct scan_record *r = i->record;
	json_int_t chat = item_number(i, "chat");

	(void)self;
	buf_put_decimal(out, r->seq);
	buf_put_u8(out, ',');
	text_put_time(out, r->at);
	buf_printf(out, ",%s,%s", i->kind, r->purged ? "yes" : "no");
	for (size_t k = 0; k < sizeof(columns) / sizeof(columns[0]); k++) {
		buf_put_u8(out, ',');
		put_field(out, item_field(i, columns[k]));
	}
	buf_put_u8(out, ',');
	if (chat >= 0)
		buf_put_decimal(out, (uint64_t)chat);
	buf_put_u8(out, ',');
	put_field(out, item_text(i));
	buf_put_u8(out, ',');
	put_details(out, i);
	buf_put_text(out, "\r\n");
}

static bool
end(void *self, struct buf *out)
{
	(void)self;
	(void)out;
	return true;
}

const struct render render_csv = {"csv", begin, record, end};
