#include "adapters/xml_out.h"

#include <errno.h>

#include "base/text.h"

static int
put(void *arg, const char *p, int n)
{
	output_put(arg, p, (size_t)n);
	return n;
}

static int
done(void *arg)
{
	(void)arg; /* the output is committed by its owner */
	return 0;
}

static void
note(struct xml_out *x, int rc)
{
	if (rc < 0)
		x->failed = true;
}

int
xml_out_open(struct xml_out *x, const char *path)
{
	xmlOutputBufferPtr sink;

	*x = (struct xml_out){.writer = NULL};
	buf_init(&x->text);
	if (output_open(&x->file, path) != 0)
		return -1;
	sink = xmlOutputBufferCreateIO(put, done, &x->file, NULL);
	if (sink != NULL)
		x->writer = xmlNewTextWriter(sink);
	if (x->writer == NULL) {
		if (sink != NULL)
			(void)xmlOutputBufferClose(sink); /* nothing in it */
		output_discard(&x->file);
		errno = ENOMEM;
		return -1;
	}
	note(x, xmlTextWriterSetIndent(x->writer, 1));
	note(x, xmlTextWriterSetIndentString(x->writer, BAD_CAST " "));
	note(x, xmlTextWriterStartDocument(x->writer, "1.0", "utf-8", NULL));
	return 0;
}

void
xml_out_start(struct xml_out *x, const char *element)
{
	note(x, xmlTextWriterStartElement(x->writer, BAD_CAST element));
}

void
xml_out_end(struct xml_out *x)
{
	note(x, xmlTextWriterEndElement(x->writer));
}

/* Length of the forbidden character at p, which is well-formed UTF-8; or 0. */
static size_t
forbidden(const uint8_t *p, size_t n)
{
	if (p[0] < 0x20 && p[0] != '\t' && p[0] != '\n' && p[0] != '\r')
		return 1;
	if (n >= 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe)
		return 3; /* U+FFFE, U+FFFF */
	return 0;
}

static const char *
reference(uint8_t c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\t':
		return "&#9;";
	case '\n':
		return "&#10;";
	case '\r':
		return "&#13;";
	default:
		return NULL;
	}
}

static void
escape(struct buf *b, struct view v)
{
	size_t at = 0;

	while (at < v.n) {
		size_t skip = forbidden(v.p + at, v.n - at);
		const char *ref = reference(v.p[at]);

		if (skip != 0)
			buf_put_text(b, "\xef\xbf\xbd");
		else if (ref != NULL)
			buf_put_text(b, ref);
		else
			buf_put_u8(b, v.p[at]);
		at += skip != 0 ? skip : 1;
	}
}

/* Writes x->text as it is. */
static void
attribute(struct xml_out *x, const char *name)
{
	if (x->text.failed || x->text.len > INT32_MAX) {
		x->failed = true;
		return;
	}
	note(x, xmlTextWriterStartAttribute(x->writer, BAD_CAST name));
	if (x->text.len != 0)
		note(x,
		    xmlTextWriterWriteRawLen(
			x->writer, x->text.data, (int)x->text.len));
	note(x, xmlTextWriterEndAttribute(x->writer));
}

void
xml_out_text(struct xml_out *x, const char *name, struct view value)
{
	buf_clear(&x->text);
	escape(&x->text, value);
	attribute(x, name);
}

void
xml_out_number(struct xml_out *x, const char *name, uint64_t value)
{
	buf_clear(&x->text);
	buf_put_decimal(&x->text, value);
	attribute(x, name);
}

void
xml_out_base64(struct xml_out *x, const char *name, struct view bytes)
{
	buf_clear(&x->text);
	text_put_base64(&x->text, bytes.p, bytes.n);
	attribute(x, name);
}

int
xml_out_commit(
    struct xml_out *x, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes)
{
	note(x, xmlTextWriterEndDocument(x->writer));
	xmlFreeTextWriter(x->writer);
	x->writer = NULL;
	buf_release(&x->text);
	if (x->failed) {
		output_discard(&x->file);
		errno = ENOMEM;
		return -1;
	}
	return output_commit(&x->file, sha256, bytes);
}

void
xml_out_discard(struct xml_out *x)
{
	if (x->writer != NULL)
		xmlFreeTextWriter(x->writer);
	x->writer = NULL;
	buf_release(&x->text);
	output_discard(&x->file);
}
