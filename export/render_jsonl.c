/* One JSON object a line; payloads are embedded as the bytes they are. */

#include "base/text.h"

#include "export/render.h"
#include "export/verify_json.h"

static void *
begin(struct buf *out, const char *origin)
{
	static char nothing;

	(void)out;
	(void)origin;
	return &nothing;
}

static void
put_part(struct buf *out, struct view salt, struct view data)
{
	struct verify_json json;
	const char *why;

	buf_put_text(out, "{\"salt\":\"");
	text_put_base64(out, salt.p, salt.n);
	if (verify_json_scan(data, &json, &why)) {
		buf_put_text(out, "\",\"data\":");
		buf_put_view(out, data);
	} else {
		buf_put_text(out, "\",\"data_base64\":\"");
		text_put_base64(out, data.p, data.n);
		buf_put_u8(out, '"');
	}
	buf_put_u8(out, '}');
}

static void
record(void *self, struct buf *out, const struct item *i)
{
	const struct scan_record *r = i->record;

	(void)self;
	buf_put_text(out, "{\"seq\":");
	buf_put_decimal(out, r->seq);
	buf_put_text(out, ",\"at\":\"");
	text_put_time(out, r->at);
	buf_printf(out, "\",\"kind\":\"%s\",\"leaf\":", i->kind);
	text_put_json(out, r->leaf);
	buf_put_text(
	    out, r->purged ? ",\"purged\":true,\"parts\":[" : ",\"parts\":[");
	for (unsigned p = 0; p < r->parts && !r->purged; p++) {
		if (p > 0)
			buf_put_u8(out, ',');
		put_part(out, r->part[p].salt, r->part[p].data);
	}
	buf_put_text(out, "]}\n");
}

static bool
end(void *self, struct buf *out)
{
	(void)self;
	(void)out;
	return true;
}

const struct render render_jsonl = {"jsonl", begin, record, end};
