/*
 * Records as XML in the namespace urn:chancery:export:1: what people read as
 * attributes and text, and every part's exact bytes in base64.
 */

#include <stdlib.h>

#include <libxml/xmlwriter.h>

#include "base/text.h"

#include "export/render.h"

#define NAMESPACE "urn:chancery:export:1"

struct xml {
	xmlTextWriterPtr writer;
	struct buf *out; /* of the call at hand */
	struct buf text;
	bool failed;
};

static int
write_out(void *arg, const char *p, int n)
{
	struct xml *x = arg;

	buf_put(x->out, p, (size_t)n);
	return n;
}

static int
close_out(void *arg)
{
	(void)arg; /* the buffer is the caller's */
	return 0;
}

static void
note(struct xml *x, int rc)
{
	if (rc < 0)
		x->failed = true;
}

/* Text with the characters that XML cannot hold as U+FFFD. */
static const xmlChar *
safe(struct xml *x, struct view v)
{
	size_t i = 0;

	buf_clear(&x->text);
	while (i < v.n) {
		size_t skip = 0;

		if (v.p[i] < 0x20 && v.p[i] != '\t' && v.p[i] != '\n' &&
		    v.p[i] != '\r')
			skip = 1;
		else if (v.n - i >= 3 && v.p[i] == 0xef && v.p[i + 1] == 0xbf &&
		    v.p[i + 2] >= 0xbe)
			skip = 3;
		if (skip > 0)
			buf_put_text(&x->text, "\xef\xbf\xbd");
		else
			buf_put_u8(&x->text, v.p[i]);
		i += skip > 0 ? skip : 1;
	}
	x->failed |= buf_text(&x->text) == NULL;
	return BAD_CAST(x->failed ? "" : buf_text(&x->text));
}

static void
attribute(struct xml *x, const char *name, struct view v)
{
	if (v.n > 0)
		note(x,
		    xmlTextWriterWriteAttribute(
			x->writer, BAD_CAST name, safe(x, v)));
}

static void
number(struct xml *x, const char *name, uint64_t v)
{
	buf_clear(&x->text);
	buf_put_decimal(&x->text, v);
	note(x,
	    xmlTextWriterWriteAttribute(
		x->writer, BAD_CAST name, BAD_CAST buf_text(&x->text)));
}

static void
base64(struct xml *x, const char *name, struct view v)
{
	buf_clear(&x->text);
	text_put_base64(&x->text, v.p, v.n);
	x->failed |= buf_text(&x->text) == NULL;
	if (x->failed)
		return;
	note(x,
	    name == NULL ? xmlTextWriterWriteString(
			       x->writer, BAD_CAST buf_text(&x->text))
			 : xmlTextWriterWriteAttribute(x->writer, BAD_CAST name,
			       BAD_CAST buf_text(&x->text)));
}

static void *
begin(struct buf *out, const char *origin)
{
	struct xml *x = calloc(1, sizeof(*x));
	xmlOutputBufferPtr sink;

	if (x == NULL)
		return NULL;
	x->out = out;
	buf_init(&x->text);
	sink = xmlOutputBufferCreateIO(write_out, close_out, x, NULL);
	x->writer = sink == NULL ? NULL : xmlNewTextWriter(sink);
	if (x->writer == NULL) {
		if (sink != NULL)
			(void)xmlOutputBufferClose(sink); /* empty */
		free(x);
		return NULL;
	}
	note(x, xmlTextWriterSetIndent(x->writer, 1));
	note(x, xmlTextWriterStartDocument(x->writer, "1.0", "UTF-8", NULL));
	note(x,
	    xmlTextWriterStartElementNS(
		x->writer, NULL, BAD_CAST "records", BAD_CAST NAMESPACE));
	attribute(x, "version", view_text("1"));
	attribute(x, "origin", view_text(origin));
	note(x, xmlTextWriterFlush(x->writer));
	return x;
}

static void
put_part(struct xml *x, const struct scan_record *r, unsigned p)
{
	note(x, xmlTextWriterStartElement(x->writer, BAD_CAST "part"));
	number(x, "number", p);
	base64(x, "salt", r->part[p].salt);
	base64(x, NULL, r->part[p].data);
	note(x, xmlTextWriterEndElement(x->writer));
}

static void
put_element(struct xml *x, const char *name, struct view v)
{
	note(
	    x, xmlTextWriterWriteElement(x->writer, BAD_CAST name, safe(x, v)));
}

static void
record(void *self, struct buf *out, const struct item *i)
{
	static const char *const names[] = {
	    "room", "roomname", "user", "name", "device", "auth"};
	const struct scan_record *r = i->record;
	struct xml *x = self;
	struct buf time;

	x->out = out;
	buf_init(&time);
	text_put_time(&time, r->at);
	note(x, xmlTextWriterStartElement(x->writer, BAD_CAST "record"));
	number(x, "seq", r->seq);
	attribute(x, "time", buf_view(&time));
	attribute(x, "kind", view_text(i->kind));
	if (r->purged)
		attribute(x, "purged", view_text("true"));
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
		attribute(x, names[k], item_field(i, names[k]));
	if (item_number(i, "chat") >= 0)
		number(x, "chat", (uint64_t)item_number(i, "chat"));
	if (i->content != NULL)
		put_element(x, "text", item_text(i));
	put_element(x, "leaf", r->leaf);
	for (unsigned p = 0; p < r->parts && !r->purged; p++)
		put_part(x, r, p);
	note(x, xmlTextWriterEndElement(x->writer));
	note(x, xmlTextWriterFlush(x->writer));
	x->failed |= time.failed;
	buf_release(&time);
}

static bool
end(void *self, struct buf *out)
{
	struct xml *x = self;
	bool ok;

	x->out = out;
	note(x, xmlTextWriterEndDocument(x->writer));
	xmlFreeTextWriter(x->writer);
	ok = !x->failed;
	buf_release(&x->text);
	free(x);
	return ok;
}

const struct render render_xml = {"xml", begin, record, end};
