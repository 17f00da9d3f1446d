/*
 * An XML archive: the evidence element, in the rendering itself or in a
 * side-car that names and hashes the rendering; and the rendering against
 * it. Read twice: evidence first, rendering second.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxml/xmlreader.h>

#include "base/file.h"
#include "base/text.h"

#include "export/verify_formats.h"
#include "export/verify_line.h"
#include "export/verify_records.h"
#include "export/verify_rendering.h"

#define NAMESPACE "urn:chancery:compliance:1"
#define ELEMENTS_MAX 8 /* deepest nesting that any of our files has */

struct xml {
	struct verify_report *r;
	const struct verify_trust *trust;
	struct verify_archive *out;
	xmlTextReaderPtr reader;
	struct verify_header header;
	struct verify_records records;
	struct verify_rendering *rendering;
	char *rendering_name; /* of a side-car; NULL: in this file */
	char *rendering_sha256;
	bool evidence; /* the element was met */
	bool inside;   /* and has not ended */
	int depth;     /* of it */
	/* The record at hand. */
	bool open;
	struct verify_record rec;
	struct buf leaf, salt[VERIFY_RECORD_PARTS], data[VERIFY_RECORD_PARTS];
	char *named[VERIFY_NAMED_COUNT];
};

typedef bool node_fn(struct xml *x, bool end);

static void
broken(struct xml *x, const char *what)
{
	verify_report_finding(x->r, VERIFY_FILE,
	    (struct verify_place){VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1,
		(unsigned)xmlTextReaderGetParserLineNumber(x->reader)},
	    "%s", what);
}

static bool
is_ours(const struct xml *x, const char *name)
{
	const xmlChar *ns = xmlTextReaderConstNamespaceUri(x->reader);

	return ns != NULL && xmlStrEqual(ns, BAD_CAST NAMESPACE) &&
	    (name == NULL ||
		xmlStrEqual(
		    xmlTextReaderConstLocalName(x->reader), BAD_CAST name));
}

/* A copy that free() releases, or NULL. */
static char *
attribute(const struct xml *x, const char *name)
{
	xmlChar *v = xmlTextReaderGetAttribute(x->reader, BAD_CAST name);
	char *copy = v == NULL ? NULL : strdup((const char *)v);

	xmlFree(v);
	return copy;
}

static bool
number_attribute(const struct xml *x, const char *name, uint64_t *out)
{
	char *v = attribute(x, name);
	bool ok = v != NULL && view_to_u64(view_text(v), out);

	free(v);
	return ok;
}

static bool
base64_attribute(const struct xml *x, const char *name, struct buf *out)
{
	char *v = attribute(x, name);
	bool ok;

	buf_clear(out);
	ok = v != NULL && text_get_base64(view_text(v), out) && !out->failed;
	free(v);
	return ok;
}

/* Hashes in base64 with single spaces between. */
static bool
hashes_attribute(const struct xml *x, const char *name, struct buf *out)
{
	char *v = attribute(x, name), *at = v;
	bool ok = v != NULL;
	uint8_t hash[32];

	while (ok && *at != '\0') {
		size_t n = strcspn(at, " ");

		ok = out->len < 64 * 32 &&
		    text_get_base64_fixed(view_of(at, n), hash, 32);
		buf_put(out, hash, 32);
		at += n;
		if (*at == ' ')
			ok = ok && *++at != '\0' && *at != ' ';
	}
	free(v);
	return ok && !out->failed;
}

static bool
read_header(struct xml *x)
{
	struct verify_header *h = &x->header;
	uint64_t version = 0;

	h->origin = attribute(x, "origin");
	h->vkey = attribute(x, "vkey");
	h->adapter = attribute(x, "adapter");
	h->id = attribute(x, "id");
	h->root = attribute(x, "root");
	h->note = attribute(x, "note");
	x->rendering_name = attribute(x, "rendering");
	x->rendering_sha256 = attribute(x, "rendering-sha256");
	return number_attribute(x, "version", &version) && version == 1 &&
	    number_attribute(x, "batch", &h->batch) &&
	    number_attribute(x, "first", &h->first) &&
	    number_attribute(x, "last", &h->last) &&
	    number_attribute(x, "count", &h->count) &&
	    number_attribute(x, "size", &h->size) &&
	    hashes_attribute(x, "left", &h->left) &&
	    hashes_attribute(x, "right", &h->right);
}

/* An attribute that the format has not would be read by nobody here. */
static void
check_attributes(struct xml *x, const char *const *known)
{
	while (xmlTextReaderMoveToNextAttribute(x->reader) == 1) {
		const xmlChar *name = xmlTextReaderConstName(x->reader);
		size_t i = 0;

		if (xmlTextReaderIsNamespaceDecl(x->reader) == 1)
			continue;
		while (
		    known[i] != NULL && !xmlStrEqual(name, BAD_CAST known[i]))
			i++;
		if (known[i] == NULL)
			broken(x, "attribute that the format has not");
	}
	(void)xmlTextReaderMoveToElement(x->reader); /* 0: had none */
}

static const char *const no_attributes[] = {NULL};
static const char *const evidence_attributes[] = {"version", "software",
    "origin", "vkey", "adapter", "batch", "id", "first", "last", "count",
    "size", "root", "note", "left", "right", "rendering", "rendering-sha256",
    NULL};
static const char *const record_attributes[] = {"seq", "kind", "name", "purged",
    "leaf", "note", "token", "salt", "selector", NULL};
static const char *const part_attributes[] = {"number", "salt", "data", NULL};

static bool
on_evidence(struct xml *x)
{
	bool side_car = xmlTextReaderDepth(x->reader) == 0;

	if (x->evidence) {
		broken(x, "a second evidence element");
		return false;
	}
	x->evidence = true;
	check_attributes(x, evidence_attributes);
	if (!read_header(x) || side_car != (x->rendering_name != NULL)) {
		broken(x, "evidence element: header malformed");
		return false;
	}
	x->rendering = verify_rendering_new(!side_car, x->r);
	if (x->rendering == NULL) {
		verify_report_failure(x->r, "out of memory");
		return false;
	}
	verify_records_begin(&x->records, &x->header, x->trust, x->r, x->out);
	x->records.on_record = verify_rendering_expect;
	x->records.arg = x->rendering;
	x->inside = true;
	x->depth = xmlTextReaderDepth(x->reader);
	return true;
}

static void
release_named(struct xml *x)
{
	for (unsigned i = 0; i < VERIFY_NAMED_COUNT; i++) {
		free(x->named[i]);
		x->named[i] = NULL;
	}
}

static void
record_done(struct xml *x)
{
	if (!x->open)
		return;
	x->open = false;
	x->rec.leaf = buf_view(&x->leaf);
	for (unsigned i = 0; i < VERIFY_NAMED_COUNT; i++)
		if (x->named[i] != NULL)
			x->rec.named.text[i] = view_text(x->named[i]);
	for (unsigned i = 0; i < x->rec.parts; i++) {
		x->rec.part[i].salt = buf_view(&x->salt[i]);
		x->rec.part[i].data = buf_view(&x->data[i]);
	}
	verify_records_take(&x->records, &x->rec);
}

static bool
on_record(struct xml *x)
{
	char *leaf = attribute(x, "leaf"), *purged = attribute(x, "purged");
	char *name = attribute(x, "name");
	const char *kind_name;
	bool ok;

	record_done(x);
	release_named(x);
	for (unsigned i = 0; i < VERIFY_NAMED_COUNT; i++)
		x->named[i] = attribute(x, verify_named_name[i]);
	check_attributes(x, record_attributes);
	memset(&x->rec, 0, sizeof(x->rec));
	ok = x->inside && leaf != NULL &&
	    (purged == NULL || strcmp(purged, "true") == 0) &&
	    number_attribute(x, "seq", &x->rec.seq) &&
	    number_attribute(x, "kind", &x->rec.kind) && x->rec.kind < 256;
	if (ok) {
		kind_name = verify_kind_name((unsigned)x->rec.kind);
		if (name != NULL &&
		    (kind_name == NULL || strcmp(name, kind_name) != 0))
			verify_report_finding(x->r, VERIFY_RENDERING,
			    verify_at(x->rec.seq),
			    "record is not named by its kind");
		x->rec.purged = purged != NULL;
		buf_clear(&x->leaf);
		buf_put_text(&x->leaf, leaf);
		x->open = true;
	} else {
		broken(x, "record malformed");
	}
	free(leaf);
	free(purged);
	free(name);
	return ok && !x->leaf.failed;
}

static bool
on_part(struct xml *x)
{
	unsigned i = x->rec.parts;
	uint64_t number;

	check_attributes(x, part_attributes);
	if (!x->open || i == VERIFY_RECORD_PARTS ||
	    !number_attribute(x, "number", &number) || number != i ||
	    !base64_attribute(x, "salt", &x->salt[i]) ||
	    !base64_attribute(x, "data", &x->data[i])) {
		broken(x, "part malformed");
		return false;
	}
	x->rec.parts++;
	return true;
}

static bool
on_evidence_node(struct xml *x, bool end)
{
	int below = xmlTextReaderDepth(x->reader) - x->depth;

	if (end) {
		if (x->inside && below == 1)
			record_done(x);
		else if (below == 0)
			x->inside = false;
		return true;
	}
	if (is_ours(x, "evidence") && xmlTextReaderDepth(x->reader) <= 1)
		return on_evidence(x);
	if (x->inside && below == 1 && is_ours(x, "record"))
		return on_record(x);
	if (x->inside && below == 2 && is_ours(x, "part"))
		return on_part(x);
	if (!x->evidence && !is_ours(x, NULL))
		return true;
	broken(x,
	    "evidence holds an element that is not its own, or is not the "
	    "last");
	return false;
}

static bool
on_rendering_node(struct xml *x, bool end)
{
	int depth = xmlTextReaderDepth(x->reader);

	if (is_ours(x, NULL) && depth > 0)
		return true; /* read before */
	if (depth > 0) {
		verify_rendering_element(x->rendering, x->reader, end);
		return true;
	}
	if (xmlTextReaderConstNamespaceUri(x->reader) == NULL &&
	    xmlStrEqual(xmlTextReaderConstLocalName(x->reader),
		BAD_CAST "Conversations")) {
		if (!end)
			check_attributes(x, no_attributes);
		return true;
	}
	broken(x, "root element is not Conversations");
	return false;
}

/* Nodes that carry no more than the layout, or that no archive has. */
static bool
other_node(struct xml *x, int type)
{
	switch (type) {
	case XML_READER_TYPE_WHITESPACE:
	case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
	case XML_READER_TYPE_XML_DECLARATION:
		return true;
	default:
		broken(x,
		    "text, comments, instructions and document types "
		    "have no place in an archive");
		return false;
	}
}

static bool
node(struct xml *x, node_fn *fn)
{
	int type = xmlTextReaderNodeType(x->reader);

	if (type == XML_READER_TYPE_END_ELEMENT)
		return fn(x, true);
	if (type != XML_READER_TYPE_ELEMENT)
		return other_node(x, type);
	if (xmlTextReaderDepth(x->reader) >= ELEMENTS_MAX) {
		broken(x, "nested too deep");
		return false;
	}
	return fn(x, false) &&
	    (!xmlTextReaderIsEmptyElement(x->reader) || fn(x, true));
}

/* The declaration that every archive begins with: one encoding for all. */
static bool
declared(int fd)
{
	static const char wanted[] =
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
	char begin[sizeof(wanted) - 1];

	return pread(fd, begin, sizeof(begin), 0) == (ssize_t)sizeof(begin) &&
	    memcmp(begin, wanted, sizeof(begin)) == 0;
}

/* Reads a file through; false after a finding or a failure. */
static bool
read_through(struct xml *x, const char *path, node_fn *fn)
{
	bool ok = true;
	int rc = 1, fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		verify_report_finding(x->r, VERIFY_FILE, verify_nowhere(),
		    "%s: %s", path, strerror(errno));
		return false;
	}
	if (!declared(fd)) {
		verify_report_finding(x->r, VERIFY_FILE, verify_nowhere(),
		    "%s: does not begin with the declaration of an archive",
		    path);
		(void)close(fd); /* only read */
		return false;
	}
	x->reader = xmlReaderForFd(fd, NULL, NULL,
	    XML_PARSE_NONET | XML_PARSE_HUGE | XML_PARSE_NOERROR |
		XML_PARSE_NOWARNING);
	if (x->reader == NULL) {
		verify_report_failure(x->r, "%s: cannot be read", path);
		(void)close(fd); /* only read */
		return false;
	}
	while (ok && (rc = xmlTextReaderRead(x->reader)) == 1)
		ok = node(x, fn);
	if (ok && rc < 0)
		broken(x, "not well-formed XML");
	xmlFreeTextReader(x->reader);
	x->reader = NULL;
	(void)close(fd); /* only read */
	return ok && rc == 0;
}

/* The rendering beside a side-car: the file it names and hashes. */
static char *
rendering_path(struct xml *x, const char *path)
{
	uint8_t stated[32], sha256[32];
	uint64_t bytes;
	char *folder, *file = NULL;

	verify_report_count(x->r, VERIFY_MANIFEST, 1);
	if (x->rendering_sha256 == NULL ||
	    !verify_hex(view_text(x->rendering_sha256), stated, 32) ||
	    x->rendering_name[0] == '\0' || x->rendering_name[0] == '.' ||
	    strchr(x->rendering_name, '/') != NULL) {
		verify_report_finding(x->r, VERIFY_MANIFEST, verify_nowhere(),
		    "rendering is not named and hashed");
		return NULL;
	}
	folder = file_parent(path);
	if (folder != NULL)
		file = file_join(folder, x->rendering_name);
	free(folder);
	if (file == NULL) {
		verify_report_failure(x->r, "out of memory");
		return NULL;
	}
	if (!verify_hash_file(file, sha256, &bytes)) {
		if (errno == ENOENT) { /* it may be moved away */
			verify_report_skip(x->r, VERIFY_RENDERING,
			    "the rendering is not beside its evidence");
			verify_report_note(x->r,
			    "rendering %s is not here and was not compared",
			    x->rendering_name);
		} else {
			verify_report_finding(x->r, VERIFY_MANIFEST,
			    verify_nowhere(), "rendering %s: %s",
			    x->rendering_name, strerror(errno));
		}
		free(file);
		return NULL;
	}
	if (memcmp(sha256, stated, 32) != 0)
		verify_report_finding(x->r, VERIFY_MANIFEST, verify_nowhere(),
		    "rendering %s is not the file that was archived: its "
		    "SHA-256 differs",
		    x->rendering_name);
	return file;
}

static void
check_rendering(struct xml *x, const char *path)
{
	char *file = NULL;

	if (x->rendering_name != NULL) {
		file = rendering_path(x, path);
		if (file == NULL)
			return;
	}
	verify_rendering_ready(x->rendering);
	if (read_through(x, file != NULL ? file : path, on_rendering_node))
		verify_rendering_finish(x->rendering);
	free(file);
}

static void
release(struct xml *x)
{
	verify_rendering_free(x->rendering);
	verify_header_release(&x->header);
	release_named(x);
	free(x->rendering_name);
	free(x->rendering_sha256);
	buf_release(&x->leaf);
	for (unsigned i = 0; i < VERIFY_RECORD_PARTS; i++) {
		buf_release(&x->salt[i]);
		buf_release(&x->data[i]);
	}
	free(x);
}

void
verify_xml(const char *path, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out)
{
	struct xml *x = calloc(1, sizeof(*x));

	if (x == NULL) {
		verify_report_failure(r, "out of memory");
		return;
	}
	x->r = r;
	x->trust = trust;
	x->out = out;
	verify_header_init(&x->header);
	buf_init(&x->leaf);
	for (unsigned i = 0; i < VERIFY_RECORD_PARTS; i++) {
		buf_init(&x->salt[i]);
		buf_init(&x->data[i]);
	}
	if (read_through(x, path, on_evidence_node)) {
		if (x->evidence) {
			verify_records_end(&x->records);
			check_rendering(x, path);
		} else {
			verify_report_finding(r, VERIFY_FILE, verify_nowhere(),
			    "there is no evidence in this file: a rendering "
			    "alone proves nothing");
		}
	}
	release(x);
}
