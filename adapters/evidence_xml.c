#include "adapters/evidence_xml.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <libxml/xmlreader.h>

#include "adapters/compliance_xml.h"
#include "base/text.h"
#include "compliance/event.h"

static void
put_hashes(struct xml_out *x, const char *name, struct view hashes)
{
	struct buf text;

	buf_init(&text);
	for (size_t i = 0; i < hashes.n; i += ADAPTER_HASH_LEN) {
		if (i != 0)
			buf_put_u8(&text, ' ');
		text_put_base64(&text, hashes.p + i, ADAPTER_HASH_LEN);
	}
	xml_out_text(x, name, buf_view(&text));
	x->failed |= text.failed;
	buf_release(&text);
}

static void
put_header(struct xml_out *x, const struct adapter_config *c,
    const struct adapter_batch *b)
{
	xml_out_text(x, "xmlns:c", view_text(COMPLIANCE_XML_NS));
	xml_out_text(x, "version", view_text("1"));
	xml_out_text(x, "software", view_text(c->software));
	xml_out_text(x, "origin", view_text(c->origin));
	xml_out_text(x, "vkey", view_text(b->vkey != NULL ? b->vkey : c->vkey));
	xml_out_text(x, "adapter", view_text(c->adapter));
	xml_out_number(x, "batch", b->number);
	xml_out_text(x, "id", view_text(b->id));
	xml_out_number(x, "first", b->first);
	xml_out_number(x, "last", b->last);
	xml_out_number(x, "count", b->count);
	xml_out_number(x, "size", b->size);
	xml_out_text(x, "root", view_text(b->root));
	xml_out_text(x, "note", view_text(b->note));
	put_hashes(x, "left", b->left);
	put_hashes(x, "right", b->right);
}

static void
put_rendering(struct xml_out *x, const struct evidence_rendering *r)
{
	struct buf hex;

	buf_init(&hex);
	text_put_hex(&hex, r->sha256, sizeof r->sha256);
	xml_out_text(x, "rendering", view_text(r->name));
	xml_out_text(x, "rendering-sha256", buf_view(&hex));
	x->failed |= hex.failed;
	buf_release(&hex);
}

static void
put_record(struct xml_out *x, const struct adapter_event *e)
{
	const char *name = event_name(e->kind);

	xml_out_start(x, "c:record");
	xml_out_number(x, "seq", e->seq);
	xml_out_number(x, "kind", e->kind);
	if (name != NULL)
		xml_out_text(x, "name", view_text(name));
	if (e->purged)
		xml_out_text(x, "purged", view_text("true"));
	xml_out_text(x, "leaf", e->leaf);
	for (size_t i = 0; i < NAMED_COUNT; i++)
		if (e->named.text[i].n > 0)
			xml_out_text(x, named_name[i], e->named.text[i]);
	for (size_t i = 0; i < e->parts; i++) {
		xml_out_start(x, "c:part");
		xml_out_number(x, "number", i);
		xml_out_base64(x, "salt",
		    view_of(e->part[i].salt, sizeof e->part[i].salt));
		xml_out_base64(x, "data", e->part[i].data);
		xml_out_end(x);
	}
	xml_out_end(x);
}

bool
evidence_xml_put(struct adapter *a, struct xml_out *x,
    const struct adapter_config *c, const struct adapter_batch *b,
    struct spool *s, const struct evidence_rendering *rendering)
{
	struct message m;
	bool ok = true;

	message_init(&m);
	xml_out_start(x, "c:evidence");
	put_header(x, c, b);
	if (rendering != NULL)
		put_rendering(x, rendering);
	for (size_t i = 0; ok && i < spool_count(s); i++) {
		ok = spool_event(s, i, &m) == 0 ||
		    adapter_fail(a, "spool: %s", strerror(errno));
		if (ok)
			put_record(x, &m.event);
		adapter_alive(a);
	}
	xml_out_end(x);
	message_release(&m);
	return ok;
}

/* The record that is being read; its views point into bytes. */
struct record {
	bool open;
	struct adapter_event event;
	struct buf bytes;
	size_t leaf;
	size_t named[NAMED_COUNT];     /* end of each in bytes */
	size_t end[ADAPTER_PARTS_MAX]; /* of each part's data in bytes */
};

static bool
refuse(struct buf *why, const char *what)
{
	if (why->len == 0)
		buf_put_text(why, what);
	return false;
}

/* Appends an attribute of the current element to out; false: none. */
static bool
get(xmlTextReaderPtr r, const char *name, struct buf *out)
{
	xmlChar *v = xmlTextReaderGetAttribute(r, BAD_CAST name);

	if (v == NULL)
		return false;
	buf_put_text(out, (const char *)v);
	xmlFree(v);
	return !out->failed;
}

static bool
get_number(xmlTextReaderPtr r, const char *name, uint64_t *out)
{
	struct buf text;
	bool ok;

	buf_init(&text);
	ok = get(r, name, &text) && view_to_u64(buf_view(&text), out);
	buf_release(&text);
	return ok;
}

static bool
get_base64(xmlTextReaderPtr r, const char *name, struct buf *out)
{
	struct buf text;
	bool ok;

	buf_init(&text);
	ok = get(r, name, &text) && text_get_base64(buf_view(&text), out);
	buf_release(&text);
	return ok;
}

/* Hands over the record that ended, when there is one. */
static bool
record_end(struct record *rec, filing_event_cb *cb, void *arg, struct buf *why)
{
	struct adapter_event *e = &rec->event;
	size_t at = rec->leaf;

	if (!rec->open)
		return true;
	rec->open = false;
	if (rec->bytes.failed)
		return refuse(why, "out of memory");
	e->leaf = view_of(rec->bytes.data, rec->leaf);
	for (size_t i = 0; i < NAMED_COUNT; i++) {
		e->named.text[i] =
		    view_of(rec->bytes.data + at, rec->named[i] - at);
		at = rec->named[i];
	}
	for (size_t i = 0; i < e->parts; i++) {
		e->part[i].data =
		    view_of(rec->bytes.data + at, rec->end[i] - at);
		at = rec->end[i];
	}
	return message_check_event(e, why) && cb(arg, e);
}

static bool
record_start(xmlTextReaderPtr r, struct record *rec, struct buf *why)
{
	uint64_t kind;
	struct buf purged;

	buf_clear(&rec->bytes);
	rec->event = (struct adapter_event){0};
	rec->open = true;
	if (!get_number(r, "seq", &rec->event.seq) ||
	    !get_number(r, "kind", &kind) || kind > UINT8_MAX ||
	    !get(r, "leaf", &rec->bytes))
		return refuse(why, "a record is not understood");
	rec->event.kind = (unsigned)kind;
	rec->leaf = rec->bytes.len;
	for (size_t i = 0; i < NAMED_COUNT; i++) {
		(void)get(
		    r, named_name[i], &rec->bytes); /* or it is not there */
		rec->named[i] = rec->bytes.len;
	}
	buf_init(&purged);
	rec->event.purged =
	    get(r, "purged", &purged) && view_is(buf_view(&purged), "true");
	buf_release(&purged);
	return true;
}

static bool
record_part(xmlTextReaderPtr r, struct record *rec, struct buf *why)
{
	struct adapter_event *e = &rec->event;
	struct buf salt;
	bool ok;

	if (!rec->open || e->parts == ADAPTER_PARTS_MAX)
		return refuse(why, "a part is out of place");
	buf_init(&salt);
	ok = get_base64(r, "salt", &salt) && salt.len == ADAPTER_SALT_LEN &&
	    get_base64(r, "data", &rec->bytes);
	if (ok) {
		memcpy(e->part[e->parts].salt, salt.data, salt.len);
		rec->end[e->parts++] = rec->bytes.len;
	}
	buf_release(&salt);
	return ok || refuse(why, "a part is not understood");
}

static bool
is_ours(xmlTextReaderPtr r, const char *name)
{
	const xmlChar *ns = xmlTextReaderConstNamespaceUri(r);
	const xmlChar *local = xmlTextReaderConstLocalName(r);

	return ns != NULL && local != NULL &&
	    xmlStrEqual(ns, BAD_CAST COMPLIANCE_XML_NS) &&
	    xmlStrEqual(local, BAD_CAST name);
}

static bool
read_nodes(xmlTextReaderPtr r, struct record *rec, filing_event_cb *cb,
    void *arg, struct buf *why)
{
	bool ok = true;
	int rc;

	while (ok && (rc = xmlTextReaderRead(r)) == 1) {
		int type = xmlTextReaderNodeType(r);

		/* our files have no entities, so neither has an attack */
		if (type == XML_READER_TYPE_DOCUMENT_TYPE)
			return refuse(why, "has a document type");
		if (type != XML_READER_TYPE_ELEMENT)
			continue;
		if (is_ours(r, "record"))
			ok = record_end(rec, cb, arg, why) &&
			    record_start(r, rec, why);
		else if (is_ours(r, "part"))
			ok = record_part(r, rec, why);
	}
	if (ok && rc < 0)
		return refuse(why, "is no well-formed XML");
	return ok && record_end(rec, cb, arg, why);
}

bool
evidence_xml_read(int fd, filing_event_cb *cb, void *arg, struct buf *why)
{
	xmlTextReaderPtr r = xmlReaderForFd(fd, NULL, NULL,
	    XML_PARSE_NONET | XML_PARSE_HUGE | XML_PARSE_NOERROR |
		XML_PARSE_NOWARNING);
	struct record rec = {.open = false};
	bool ok;

	if (r == NULL)
		return refuse(why, "cannot be read");
	buf_init(&rec.bytes);
	ok = read_nodes(r, &rec, cb, arg, why);
	buf_release(&rec.bytes);
	xmlFreeTextReader(r);
	return ok;
}
