#include "adapters/bag.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "adapters/output.h"
#include "base/crypto.h"
#include "base/text.h"
#include "compliance/tree.h"

#define RECORDS "data/records.jsonl"
#define US_PER_S 1000000
#define DATE_LEN 10
#define TILE_DIGITS 1000

/* One file of the bag; the records' content is in the spool instead. */
struct bag_file {
	struct buf path;
	struct buf content;
	uint64_t bytes;
	uint8_t sha256[CRYPTO_SHA256_LEN];
};

struct bag {
	struct adapter *a;
	const struct adapter_config *config;
	const struct adapter_batch *batch;
	struct spool *spool;
	uint64_t last_at;
	struct buf files; /* struct bag_file, sorted by path before use */
};

static size_t
file_count(const struct bag *bag)
{
	return bag->files.len / sizeof(struct bag_file);
}

static struct bag_file *
file_at(const struct bag *bag, size_t i)
{
	return (struct bag_file *)(void *)bag->files.data + i;
}

/* An empty file of that name; NULL when out of memory. */
static struct bag_file *
add(struct bag *bag, const char *path)
{
	struct bag_file fresh = {.bytes = 0};

	buf_init(&fresh.path);
	buf_init(&fresh.content);
	buf_put_text(&fresh.path, path);
	if (!buf_reserve(&bag->files, sizeof fresh) || fresh.path.failed) {
		buf_release(&fresh.path);
		return NULL;
	}
	buf_put(&bag->files, &fresh, sizeof fresh);
	return file_at(bag, file_count(bag) - 1);
}

/* After the last byte of its content. */
static bool
seal(struct bag_file *f)
{
	f->bytes = f->content.len;
	crypto_sha256(f->content.data, f->content.len, f->sha256);
	return !f->content.failed;
}

static bool
add_text(struct bag *bag, const char *path, const char *text)
{
	struct bag_file *f = add(bag, path);

	if (f == NULL)
		return false;
	buf_put_text(&f->content, text);
	return seal(f);
}

static void
put_hashes(struct buf *out, const char *name, struct view hashes)
{
	buf_printf(out, ",\"%s\":[", name);
	for (size_t i = 0; i < hashes.n; i += ADAPTER_HASH_LEN) {
		buf_put_text(out, i == 0 ? "\"" : ",\"");
		text_put_base64(out, hashes.p + i, ADAPTER_HASH_LEN);
		buf_put_u8(out, '"');
	}
	buf_put_u8(out, ']');
}

static bool
add_proof(struct bag *bag)
{
	const struct adapter_batch *b = bag->batch;
	struct bag_file *f = add(bag, "data/proof.json");

	if (f == NULL)
		return false;
	buf_put_text(&f->content, "{\"version\":1,\"origin\":");
	text_put_json(&f->content, view_text(bag->config->origin));
	buf_put_text(&f->content, ",\"adapter\":");
	text_put_json(&f->content, view_text(bag->config->adapter));
	buf_printf(&f->content, ",\"batch\":%" PRIu64 ",\"id\":", b->number);
	text_put_json(&f->content, view_text(b->id));
	buf_printf(&f->content,
	    ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"count\":%" PRIu64
	    ",\"size\":%" PRIu64 ",\"root\":",
	    b->first, b->last, b->count, b->size);
	text_put_json(&f->content, view_text(b->root));
	put_hashes(&f->content, "left", b->left);
	put_hashes(&f->content, "right", b->right);
	buf_put_text(&f->content, "}\n");
	return seal(f);
}

/* C2SP tlog-tiles: groups of three digits, all but the last with an x. */
static void
put_tile_path(struct buf *out, uint64_t index, unsigned width)
{
	uint64_t unit = 1;

	buf_put_text(out, "data/tile/0/");
	while (index / unit >= TILE_DIGITS)
		unit *= TILE_DIGITS;
	for (; unit > 1; unit /= TILE_DIGITS)
		buf_printf(
		    out, "x%03u/", (unsigned)(index / unit % TILE_DIGITS));
	buf_printf(out, "%03u", (unsigned)(index % TILE_DIGITS));
	if (width < TREE_TILE_WIDTH)
		buf_printf(out, ".p/%u", width);
}

static bool
add_tile(struct bag *bag, uint64_t index, struct buf *hashes)
{
	unsigned width = (unsigned)(hashes->len / TREE_HASH_LEN);
	struct buf path;
	struct bag_file *f;

	if (width == 0)
		return true;
	buf_init(&path);
	put_tile_path(&path, index, width);
	f = path.failed ? NULL : add(bag, buf_text(&path));
	buf_release(&path);
	if (f == NULL)
		return false;
	buf_put_view(&f->content, buf_view(hashes));
	buf_clear(hashes);
	return seal(f);
}

/*
 * Level 0 of the tree as far as whole tiles, or the beginning of one, lie in
 * the batch. Takes the last event's time on the way.
 */
static bool
add_tiles(struct bag *bag)
{
	uint64_t seq = bag->batch->first;
	bool ok = true, within = false;
	struct buf hashes;
	struct message m;

	buf_init(&hashes);
	message_init(&m);
	for (size_t i = 0; ok && i < spool_count(bag->spool); i++, seq++) {
		uint8_t hash[TREE_HASH_LEN];

		ok = spool_event(bag->spool, i, &m) == 0;
		if (!ok)
			break;
		bag->last_at = m.event.at;
		within |= seq % TREE_TILE_WIDTH == 0;
		tree_leaf_hash(m.event.leaf.p, m.event.leaf.n, hash);
		if (within)
			buf_put(&hashes, hash, sizeof hash);
		if (hashes.len == TREE_TILE_LEN)
			ok = add_tile(bag, seq / TREE_TILE_WIDTH, &hashes);
		adapter_alive(bag->a);
	}
	ok = ok && !hashes.failed &&
	    add_tile(bag, seq / TREE_TILE_WIDTH, &hashes);
	message_release(&m);
	buf_release(&hashes);
	return ok;
}

static bool
add_records(struct bag *bag)
{
	struct bag_file *f = add(bag, RECORDS);

	if (f == NULL)
		return false;
	f->bytes = spool_bytes(bag->spool);
	return spool_digest(bag->spool, f->sha256) == 0;
}

static int
by_path(const void *a, const void *b)
{
	const struct bag_file *x = a, *y = b;
	size_t n = x->path.len < y->path.len ? x->path.len : y->path.len;
	int order = memcmp(x->path.data, y->path.data, n);

	if (order == 0)
		order = (x->path.len > n) - (y->path.len > n);
	return order;
}

/* Lists every file so far whose path begins with prefix or lacks it. */
static bool
add_manifest(struct bag *bag, const char *name, bool payload)
{
	static const char data[] = "data/";
	struct buf text;
	struct bag_file *f;

	buf_init(&text);
	qsort(bag->files.data, file_count(bag), sizeof *f, by_path);
	for (size_t i = 0; i < file_count(bag); i++) {
		f = file_at(bag, i);
		if ((f->path.len > sizeof data - 1 &&
			memcmp(f->path.data, data, sizeof data - 1) == 0) !=
		    payload)
			continue;
		text_put_hex(&text, f->sha256, sizeof f->sha256);
		buf_put_text(&text, "  ");
		buf_put_view(&text, buf_view(&f->path));
		buf_put_u8(&text, '\n');
	}
	f = text.failed ? NULL : add(bag, name);
	if (f != NULL)
		f->content = text;
	else
		buf_release(&text);
	return f != NULL && seal(f);
}

/* A value of bag-info.txt; a line break would begin another element. */
static void
put_label(struct buf *out, const char *label, const char *value)
{
	buf_printf(out, "%s: ", label);
	for (; *value != '\0'; value++)
		buf_put_u8(
		    out, (unsigned char)*value < 0x20 ? ' ' : (uint8_t)*value);
	buf_put_u8(out, '\n');
}

static bool
add_info(struct bag *bag)
{
	const struct adapter_batch *b = bag->batch;
	uint64_t bytes = 0;
	size_t count = file_count(bag); /* only payload is there yet */
	struct bag_file *f;
	struct buf date;

	for (size_t i = 0; i < count; i++)
		bytes += file_at(bag, i)->bytes;
	f = add(bag, "bag-info.txt");
	if (f == NULL)
		return false;
	buf_init(&date);
	text_put_time(&date, bag->last_at);
	if (date.len > DATE_LEN)
		date.len = DATE_LEN;
	buf_put_u8(&date, '\0');
	put_label(&f->content, "Source-Organization", bag->config->domain);
	put_label(&f->content, "External-Identifier", b->id);
	buf_printf(&f->content,
	    "External-Description: Chancery journal records %" PRIu64
	    " to %" PRIu64 "\n",
	    b->first, b->last);
	put_label(&f->content, "Bagging-Date",
	    date.failed ? "" : (const char *)date.data);
	put_label(&f->content, "Bag-Software-Agent", bag->config->software);
	buf_printf(
	    &f->content, "Payload-Oxum: %" PRIu64 ".%zu\n", bytes, count);
	buf_release(&date);
	return seal(f);
}

static bool
compose(struct bag *bag)
{
	struct buf vkey;
	bool ok;

	buf_init(&vkey);
	buf_printf(&vkey, "%s\n",
	    bag->batch->vkey != NULL ? bag->batch->vkey : bag->config->vkey);
	ok = !vkey.failed && add_records(bag) && add_proof(bag) &&
	    add_text(bag, "data/checkpoint", bag->batch->note) &&
	    add_text(bag, "data/vkey", buf_text(&vkey)) && add_tiles(bag) &&
	    add_info(bag) &&
	    add_text(bag, "bagit.txt",
		"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n") &&
	    add_manifest(bag, "manifest-sha256.txt", true) &&
	    add_manifest(bag, "tagmanifest-sha256.txt", false);
	buf_release(&vkey);
	return ok;
}

static la_ssize_t
put(struct archive *tar, void *arg, const void *p, size_t n)
{
	(void)tar;
	output_put(arg, p, n);
	return (la_ssize_t)n;
}

static bool
tar_fail(struct bag *bag, struct archive *tar)
{
	const char *why = archive_error_string(tar);

	return adapter_fail(bag->a, "tar: %s", why == NULL ? "failed" : why);
}

static bool
tar_data(struct bag *bag, struct archive *tar, const void *p, size_t n)
{
	return archive_write_data(tar, p, n) == (la_ssize_t)n ||
	    tar_fail(bag, tar);
}

static bool
tar_records(struct bag *bag, struct archive *tar)
{
	for (size_t i = 0; i < spool_count(bag->spool); i++) {
		struct view line;

		if (spool_line(bag->spool, i, &line) != 0)
			return adapter_fail(
			    bag->a, "spool: %s", strerror(errno));
		if (!tar_data(bag, tar, line.p, line.n) ||
		    !tar_data(bag, tar, "\n", 1))
			return false;
		adapter_alive(bag->a);
	}
	return true;
}

static bool
tar_file(struct bag *bag, struct archive *tar, struct view folder,
    struct bag_file *f)
{
	struct archive_entry *entry = archive_entry_new();
	struct buf path;
	bool ok;

	buf_init(&path);
	buf_put_view(&path, folder);
	buf_put_u8(&path, '/');
	buf_put_view(&path, buf_view(&f->path));
	if (entry == NULL || buf_text(&path) == NULL) {
		archive_entry_free(entry);
		buf_release(&path);
		return adapter_fail(bag->a, "out of memory");
	}
	archive_entry_set_pathname(entry, buf_text(&path));
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_uid(entry, 0);
	archive_entry_set_gid(entry, 0);
	archive_entry_set_mtime(entry, (time_t)(bag->last_at / US_PER_S), 0);
	archive_entry_set_size(entry, (la_int64_t)f->bytes);
	ok = archive_write_header(tar, entry) == ARCHIVE_OK ||
	    tar_fail(bag, tar);
	if (ok && view_is(buf_view(&f->path), RECORDS))
		ok = tar_records(bag, tar);
	else if (ok)
		ok = tar_data(bag, tar, f->content.data, f->content.len);
	archive_entry_free(entry);
	buf_release(&path);
	return ok;
}

static bool
tar_open(struct bag *bag, struct archive *tar, struct output *out)
{
	return (archive_write_set_format_pax_restricted(tar) == ARCHIVE_OK &&
		   archive_write_add_filter_zstd(tar) == ARCHIVE_OK &&
		   archive_write_set_bytes_in_last_block(tar, 1) ==
		       ARCHIVE_OK &&
		   archive_write_open(tar, out, NULL, put, NULL) ==
		       ARCHIVE_OK) ||
	    tar_fail(bag, tar);
}

static bool
tar_write(struct bag *bag, struct output *out, struct view folder)
{
	struct archive *tar = archive_write_new();
	bool ok;

	if (tar == NULL)
		return adapter_fail(bag->a, "out of memory");
	ok = tar_open(bag, tar, out);
	qsort(
	    bag->files.data, file_count(bag), sizeof(struct bag_file), by_path);
	for (size_t i = 0; ok && i < file_count(bag); i++)
		ok = tar_file(bag, tar, folder, file_at(bag, i));
	if (ok && archive_write_close(tar) != ARCHIVE_OK)
		ok = tar_fail(bag, tar);
	(void)archive_write_free(tar); /* closed, or discarded */
	return ok;
}

static void
bag_release(struct bag *bag)
{
	for (size_t i = 0; i < file_count(bag); i++) {
		buf_release(&file_at(bag, i)->path);
		buf_release(&file_at(bag, i)->content);
	}
	buf_release(&bag->files);
}

bool
bag_write(struct adapter *a, const struct adapter_config *c,
    const struct adapter_batch *b, struct spool *s, const char *path,
    struct adapter_receipt *r)
{
	struct bag bag = {.a = a, .config = c, .batch = b, .spool = s};
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	struct output out;
	bool ok;

	buf_init(&bag.files);
	ok = compose(&bag) ||
	    adapter_fail(a, "cannot compose the bag: %s", strerror(errno));
	if (ok && output_open(&out, path) != 0)
		ok = adapter_fail(a, "%s: %s", path, strerror(errno));
	else if (ok) {
		ok = tar_write(&bag, &out,
		    view_of(name, strlen(name) - strlen(BAG_SUFFIX)));
		if (!ok)
			output_discard(&out);
		else if (output_commit(&out, r->sha256, &r->bytes) != 0)
			ok = adapter_fail(a, "%s: %s", path, strerror(errno));
	}
	bag_release(&bag);
	return ok;
}
