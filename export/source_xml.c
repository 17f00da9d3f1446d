#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/xmlreader.h>

#include "base/text.h"

#include "compliance/leaf.h"

#include "export/source_format.h"

/* The evidence element of an XML archive; chancery-adapter(7), XML. */

#define NAMESPACE "urn:chancery:compliance:1"

struct xml {
	xmlTextReaderPtr reader;
	bool at_record; /* the reader stands on the start of one */
	bool evidence;  /* the element was met */
	struct buf leaf, salt[LEAF_PARTS_MAX], data[LEAF_PARTS_MAX];
	struct buf named[NAMED_COUNT];
};

static int
fail(char *why, size_t why_len, const char *reason)
{
	(void)snprintf(why, why_len, "%s", reason); /* for people */
	return -1;
}

static void
xml_close(void *self)
{
	struct xml *x = self;

	if (x->reader != NULL)
		xmlFreeTextReader(x->reader);
	buf_release(&x->leaf);
	for (unsigned i = 0; i < NAMED_COUNT; i++)
		buf_release(&x->named[i]);
	for (unsigned i = 0; i < LEAF_PARTS_MAX; i++) {
		buf_release(&x->salt[i]);
		buf_release(&x->data[i]);
	}
	free(x);
}

static void *
xml_open(const char *path, char *why, size_t why_len)
{
	struct xml *x = calloc(1, sizeof *x);

	if (x == NULL)
		return NULL;
	x->reader = xmlReaderForFile(path, NULL,
	    XML_PARSE_NONET | XML_PARSE_HUGE | XML_PARSE_NOERROR |
		XML_PARSE_NOWARNING);
	if (x->reader != NULL)
		return x;
	(void)fail(why, why_len, "cannot be opened");
	xml_close(x);
	return NULL;
}

/* The text of an attribute of the present element into out; false: none. */
static bool
get(const struct xml *x, const char *name, struct buf *out)
{
	xmlChar *v = xmlTextReaderGetAttribute(x->reader, BAD_CAST name);

	buf_clear(out);
	if (v == NULL)
		return false;
	buf_put_text(out, (const char *)v);
	xmlFree(v);
	return !out->failed;
}

static bool
get_number(const struct xml *x, const char *name, uint64_t *out)
{
	struct buf text = {0};
	bool ok = get(x, name, &text) && view_to_u64(buf_view(&text), out);

	buf_release(&text);
	return ok;
}

static bool
get_base64(const struct xml *x, const char *name, struct buf *out)
{
	struct buf text = {0};
	bool ok = get(x, name, &text);

	buf_clear(out);
	ok = ok && text_get_base64(buf_view(&text), out);
	buf_release(&text);
	return ok;
}

static bool
is_ours(const struct xml *x, const char *name)
{
	const xmlChar *ns = xmlTextReaderConstNamespaceUri(x->reader);
	const xmlChar *local = xmlTextReaderConstLocalName(x->reader);

	return ns != NULL && local != NULL &&
	    xmlStrEqual(ns, BAD_CAST NAMESPACE) &&
	    xmlStrEqual(local, BAD_CAST name);
}

/*
 * The next element: 1, 0 at the end, -1. Our files have no document type, so
 * neither has an attack.
 */
static int
next_element(struct xml *x, char *why, size_t why_len)
{
	int rc;

	while ((rc = xmlTextReaderRead(x->reader)) == 1) {
		int type = xmlTextReaderNodeType(x->reader);

		if (type == XML_READER_TYPE_DOCUMENT_TYPE)
			return fail(why, why_len, "has a document type");
		if (type == XML_READER_TYPE_ELEMENT)
			return 1;
	}
	return rc == 0 ? 0 : fail(why, why_len, "is no well-formed XML");
}

/* 1: the reader stands on a record; 0: none follows; -1. */
static int
find_record(struct xml *x, struct buf *note, char *why, size_t why_len)
{
	int r = x->at_record ? 1 : next_element(x, why, why_len);

	while (r == 1 && !is_ours(x, "record")) {
		if (is_ours(x, "evidence")) {
			x->evidence = true;
			(void)get(x, "note", note); /* else it stays empty */
		}
		r = next_element(x, why, why_len);
	}
	if (r == 0 && !x->evidence)
		return fail(why, why_len,
		    "there is no evidence in it: a rendering alone has not "
		    "the records' bytes");
	return r;
}

static int
read_parts(struct xml *x, struct scan_record *out, char *why, size_t why_len)
{
	int r;

	while ((r = next_element(x, why, why_len)) == 1 && is_ours(x, "part")) {
		unsigned i = out->parts;

		if (i == LEAF_PARTS_MAX)
			return fail(
			    why, why_len, "a record has too many parts");
		if (!get_base64(x, "salt", &x->salt[i]) ||
		    !get_base64(x, "data", &x->data[i]))
			return fail(why, why_len, "a part is not understood");
		out->parts++;
	}
	x->at_record = r == 1 && is_ours(x, "record");
	return r < 0 ? -1 : 0;
}

static int
xml_next(void *self, struct scan_record *out, struct buf *note, char *why,
    size_t why_len)
{
	struct xml *x = self;
	struct buf purged = {0};
	uint64_t kind = 0;
	int r = find_record(x, note, why, why_len);

	if (r != 1)
		return r;
	*out = (struct scan_record){0};
	if (!get_number(x, "seq", &out->seq) || !get_number(x, "kind", &kind) ||
	    kind > UINT8_MAX || !get(x, "leaf", &x->leaf))
		return fail(why, why_len, "a record is not understood");
	out->kind = (unsigned)kind;
	out->purged =
	    get(x, "purged", &purged) && view_is(buf_view(&purged), "true");
	buf_release(&purged);
	for (unsigned i = 0; i < NAMED_COUNT; i++) {
		(void)get(x, named_name[i], &x->named[i]); /* or stays empty */
		out->named.text[i] = buf_view(&x->named[i]);
	}
	if (read_parts(x, out, why, why_len) != 0)
		return -1;
	out->leaf = buf_view(&x->leaf);
	out->at = source_time(out->leaf);
	for (unsigned i = 0; i < out->parts; i++) {
		out->part[i].salt = buf_view(&x->salt[i]);
		out->part[i].data = buf_view(&x->data[i]);
	}
	return 1;
}

const struct source_format source_xml = {xml_open, xml_next, xml_close};
