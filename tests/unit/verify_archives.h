#ifndef TESTS_UNIT_VERIFY_ARCHIVES_H
#define TESTS_UNIT_VERIFY_ARCHIVES_H

/*
 * Archives written by hand for the verifier's tests, in both formats, from
 * the words of chancery-adapter(7) alone.
 */

#include <archive.h>
#include <archive_entry.h>

#include "tests/unit/verify_fixture.h"

struct fix_batch_args {
	uint64_t n, first, last, size;
	const char *adapter;
};

/* Hashes of the perfect subtrees of [from,to), left to right. */
static inline void
fix_range(const struct fix *f, uint64_t from, uint64_t to, struct buf *out)
{
	while (from < to) {
		uint8_t hash[32];
		uint64_t k = 1;

		while (from % (2 * k) == 0 && from + 2 * k <= to)
			k *= 2;
		fix_mth(f, from, k, hash);
		buf_put(out, hash, 32);
		from += k;
	}
}

static inline void
fix_base64(struct buf *b, const void *p, size_t n)
{
	text_put_base64(b, p, n);
}

/* Hashes in base64 with something around and between. */
static inline void
fix_hash_list(const struct fix *f, uint64_t from, uint64_t to,
    const char *quote, const char *between, struct buf *out)
{
	struct buf h;

	buf_init(&h);
	fix_range(f, from, to, &h);
	for (size_t i = 0; i < h.len; i += 32) {
		buf_put_text(out, i > 0 ? between : "");
		buf_put_text(out, quote);
		fix_base64(out, h.data + i, 32);
		buf_put_text(out, quote);
	}
	buf_release(&h);
}

static inline void
fix_root64(const struct fix *f, uint64_t size, struct buf *out)
{
	uint8_t root[32];

	fix_mth(f, 0, size, root);
	fix_base64(out, root, 32);
}

/* The protocol's event object. */
static inline void
fix_event_line(const struct fix *f, uint64_t seq, struct buf *out)
{
	const struct fix_record *r = &f->rec[seq];

	buf_printf(out,
	    "{\"type\":\"event\",\"seq\":%" PRIu64 ",\"kind\":%u,\"leaf\":",
	    seq, r->kind);
	text_put_json(out, view_text(r->leaf));
	buf_put_text(out, ",\"parts\":[");
	for (unsigned p = 0; p < r->parts; p++) {
		buf_put_text(out, p > 0 ? ",{\"salt\":\"" : "{\"salt\":\"");
		fix_base64(out, r->part[p].salt, 32);
		buf_put_text(out, "\",\"data\":");
		text_put_json(out, view_text(r->part[p].data));
		buf_put_text(out, "}");
	}
	buf_put_text(out, "]}\n");
}

#define FIX_FILES 32

struct fix_bag {
	size_t count;
	char path[FIX_FILES][64];
	struct buf content[FIX_FILES];
};

static inline struct buf *
fix_bag_file(struct fix_bag *b, const char *path)
{
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->path[i], path) == 0)
			return &b->content[i];
	assert(b->count < FIX_FILES);
	snprintf(b->path[b->count], 64, "%s", path);
	buf_init(&b->content[b->count]);
	return &b->content[b->count++];
}

static inline void
fix_bag_make(
    const struct fix *f, const struct fix_batch_args *a, struct fix_bag *b)
{
	struct buf *p;

	memset(b, 0, sizeof(*b));
	fix_note(f, a->size, fix_bag_file(b, "data/checkpoint"));
	buf_printf(fix_bag_file(b, "data/vkey"), "%s\n", f->vkey);
	p = fix_bag_file(b, "data/proof.json");
	buf_printf(p,
	    "{\"version\":1,\"origin\":\"%s\",\"adapter\":\"%s\",\"batch\":"
	    "%" PRIu64 ",\"id\":\"%s/%s/%" PRIu64 "\",\"first\":%" PRIu64
	    ",\"last\":%" PRIu64 ",\"count\":%" PRIu64 ",\"size\":%" PRIu64
	    ",\"root\":\"",
	    f->origin, a->adapter, a->n, f->origin, a->adapter, a->n, a->first,
	    a->last, a->last - a->first + 1, a->size);
	fix_root64(f, a->size, p);
	buf_put_text(p, "\",\"left\":[");
	fix_hash_list(f, 0, a->first, "\"", ",", p);
	buf_put_text(p, "],\"right\":[");
	fix_hash_list(f, a->last + 1, a->size, "\"", ",", p);
	buf_put_text(p, "]}\n");
	p = fix_bag_file(b, "data/records.jsonl");
	for (uint64_t i = a->first; i <= a->last; i++)
		fix_event_line(f, i, p);
	if (a->first == 0) {
		char name[64];

		snprintf(name, sizeof(name), "data/tile/0/000.p/%d",
		    (int)a->last + 1);
		p = fix_bag_file(b, name);
		for (uint64_t i = 0; i <= a->last; i++)
			buf_put(p, f->rec[i].hash, 32);
	}
}

static inline void
fix_manifest(struct fix_bag *b, const char *name, bool payload)
{
	struct buf text;

	buf_init(&text);
	for (size_t i = 0; i < b->count; i++) {
		uint8_t hash[32];

		if ((strncmp(b->path[i], "data/", 5) == 0) != payload)
			continue;
		crypto_sha256(b->content[i].data, b->content[i].len, hash);
		text_put_hex(&text, hash, 32);
		buf_printf(&text, "  %s\n", b->path[i]);
	}
	*fix_bag_file(b, name) = text;
}

/* The tag files over whatever the bag holds now. */
static inline void
fix_bag_seal(
    const struct fix *f, const struct fix_batch_args *a, struct fix_bag *b)
{
	uint64_t bytes = 0, count = b->count;

	for (size_t i = 0; i < b->count; i++)
		bytes += b->content[i].len;
	buf_printf(fix_bag_file(b, "bag-info.txt"),
	    "Source-Organization: example.test\nExternal-Identifier: "
	    "%s/%s/%" PRIu64 "\nPayload-Oxum: %" PRIu64 ".%" PRIu64 "\n",
	    f->origin, a->adapter, a->n, bytes, count);
	buf_put_text(fix_bag_file(b, "bagit.txt"),
	    "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");
	fix_manifest(b, "manifest-sha256.txt", true);
	fix_manifest(b, "tagmanifest-sha256.txt", false);
}

static inline void
fix_bag_write(struct fix_bag *b, const char *path)
{
	struct archive *tar = archive_write_new();

	archive_write_set_format_pax_restricted(tar);
	archive_write_add_filter_zstd(tar);
	if (archive_write_open_filename(tar, path) != ARCHIVE_OK)
		abort();
	for (size_t i = 0; i < b->count; i++) {
		struct archive_entry *e = archive_entry_new();
		char name[128];

		snprintf(name, sizeof(name), "bag/%s", b->path[i]);
		archive_entry_set_pathname(e, name);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_perm(e, 0644);
		archive_entry_set_size(e, (la_int64_t)b->content[i].len);
		if (archive_write_header(tar, e) != ARCHIVE_OK ||
		    archive_write_data(tar, b->content[i].data,
			b->content[i].len) != (la_ssize_t)b->content[i].len)
			abort();
		archive_entry_free(e);
	}
	if (archive_write_close(tar) != ARCHIVE_OK)
		abort();
	archive_write_free(tar);
	for (size_t i = 0; i < b->count; i++)
		buf_release(&b->content[i]);
}

/* Text of an XML attribute. */
static inline void
fix_xml(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr("&<>\"\n\t\r", *text) != NULL)
			buf_printf(out, "&#%d;", *text);
		else
			buf_put_u8(out, (uint8_t)*text);
	}
}

static inline void
fix_xml_evidence(const struct fix *f, const struct fix_batch_args *a,
    const char *rendering, struct buf *out)
{
	struct buf note;

	buf_init(&note);
	fix_note(f, a->size, &note);
	buf_printf(out,
	    " <c:evidence xmlns:c=\"urn:chancery:compliance:1\" version=\"1\""
	    " software=\"chancery/0.1\" origin=\"%s\" vkey=\"%s\""
	    " adapter=\"%s\" batch=\"%" PRIu64 "\" id=\"%s/%s/%" PRIu64 "\""
	    " first=\"%" PRIu64 "\" last=\"%" PRIu64 "\" count=\"%" PRIu64
	    "\" size=\"%" PRIu64 "\" root=\"",
	    f->origin, f->vkey, a->adapter, a->n, f->origin, a->adapter, a->n,
	    a->first, a->last, a->last - a->first + 1, a->size);
	fix_root64(f, a->size, out);
	buf_put_text(out, "\" note=\"");
	fix_xml(out, buf_text(&note));
	buf_release(&note);
	buf_put_text(out, "\" left=\"");
	fix_hash_list(f, 0, a->first, "", " ", out);
	buf_put_text(out, "\" right=\"");
	fix_hash_list(f, a->last + 1, a->size, "", " ", out);
	buf_printf(out, "\"%s>\n", rendering);
	for (uint64_t i = a->first; i <= a->last; i++) {
		const struct fix_record *r = &f->rec[i];

		buf_printf(out,
		    "  <c:record seq=\"%" PRIu64 "\" kind=\"%u\" leaf=\"", i,
		    r->kind);
		fix_xml(out, r->leaf);
		buf_put_text(out, r->parts > 0 ? "\">\n" : "\"/>\n");
		for (unsigned p = 0; p < r->parts; p++) {
			buf_printf(out, "   <c:part number=\"%u\" salt=\"", p);
			fix_base64(out, r->part[p].salt, 32);
			buf_put_text(out, "\" data=\"");
			fix_base64(
			    out, r->part[p].data, strlen(r->part[p].data));
			buf_put_text(out, "\"/>\n");
		}
		if (r->parts > 0)
			buf_put_text(out, "  </c:record>\n");
	}
	buf_put_text(out, " </c:evidence>\n");
}

#endif
