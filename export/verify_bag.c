/*
 * A tarball archive: a BagIt bag (RFC 8493) in a zstd-compressed tar file.
 * Read twice: first every file's digest and the small files, then the
 * records in order.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_formats.h"
#include "export/verify_line.h"
#include "export/verify_records.h"

#define BLOCK ((size_t)65536)
#define FILES_MAX 1000000
#define KEPT_MAX ((uint64_t)256 << 20) /* of small files together */
#define RECORDS "data/records.jsonl"
#define TILE_WIDTH 256

struct file {
	char *path; /* inside the bag's folder */
	uint64_t bytes;
	uint8_t sha256[32];
	struct buf content; /* not of the records */
	unsigned listed;    /* times a manifest names it */
};

/* A tile, or the beginning of one, from the bag. */
struct tile {
	uint64_t index;
	uint64_t width;
	const uint8_t *data;
};

struct bag {
	const char *path;
	struct verify_report *r;
	char *folder;
	struct file *file;
	size_t files, cap;
	uint64_t kept;
	struct tile *tile;
	size_t tiles, tile_at;
	uint64_t tile_hashes;
	struct verify_records records;
};

typedef bool entry_fn(struct bag *bag, struct archive *tar, const char *path);

static void
finding(struct bag *bag, enum verify_check check, const char *what,
    const char *path)
{
	verify_report_finding(
	    bag->r, check, verify_nowhere(), "%s: %s", what, path);
}

/*
 * The path inside the bag's one folder, or NULL: nothing may lie outside,
 * and only plain files count.
 */
static const char *
inner_path(struct bag *bag, struct archive_entry *entry)
{
	const char *path = archive_entry_pathname(entry), *slash;
	size_t n;

	if (path == NULL || (slash = strchr(path, '/')) == NULL ||
	    slash == path || slash[1] == '\0')
		return NULL;
	n = (size_t)(slash - path);
	if (bag->folder == NULL)
		bag->folder = strndup(path, n);
	if (bag->folder == NULL || strlen(bag->folder) != n ||
	    memcmp(bag->folder, path, n) != 0)
		return NULL;
	if (strstr(slash, "/../") != NULL || strstr(slash, "//") != NULL ||
	    archive_entry_filetype(entry) != AE_IFREG)
		return NULL;
	return slash + 1;
}

static bool
each_entry(struct bag *bag, entry_fn *fn)
{
	struct archive *tar = archive_read_new();
	struct archive_entry *entry;
	bool ok = true;
	int rc = ARCHIVE_FATAL;

	if (tar == NULL) {
		verify_report_failure(bag->r, "out of memory");
		return false;
	}
	if (archive_read_support_format_tar(tar) == ARCHIVE_OK &&
	    archive_read_support_filter_zstd(tar) == ARCHIVE_OK &&
	    archive_read_open_filename(tar, bag->path, BLOCK) == ARCHIVE_OK)
		while (ok &&
		    (rc = archive_read_next_header(tar, &entry)) ==
			ARCHIVE_OK) {
			const char *path = inner_path(bag, entry);

			if (path != NULL)
				ok = fn(bag, tar, path);
			else
				finding(bag, VERIFY_MANIFEST,
				    "no plain file in the bag's folder",
				    archive_entry_pathname(entry) == NULL
					? "?"
					: archive_entry_pathname(entry));
		}
	if (ok && rc != ARCHIVE_EOF)
		verify_report_finding(bag->r, VERIFY_FILE, verify_nowhere(),
		    "the tar file cannot be read through: %s",
		    archive_error_string(tar) == NULL
			? "unknown reason"
			: archive_error_string(tar));
	(void)archive_read_free(tar); /* only read */
	return ok && rc == ARCHIVE_EOF;
}

static struct file *
find(const struct bag *bag, const char *path)
{
	for (size_t i = 0; i < bag->files; i++)
		if (strcmp(bag->file[i].path, path) == 0)
			return &bag->file[i];
	return NULL;
}

static struct file *
add_file(struct bag *bag, const char *path)
{
	struct file *f;

	if (bag->files == bag->cap) {
		size_t cap = bag->cap == 0 ? 16 : bag->cap * 2;

		f = reallocarray(bag->file, cap, sizeof(*f));
		if (f == NULL)
			return NULL;
		bag->file = f;
		bag->cap = cap;
	}
	f = &bag->file[bag->files];
	memset(f, 0, sizeof(*f));
	buf_init(&f->content);
	f->path = strdup(path);
	if (f->path == NULL)
		return NULL;
	bag->files++;
	return f;
}

/* First reading: digest and length of every file, content of small ones. */
static bool
take_file(struct bag *bag, struct archive *tar, const char *path)
{
	uint8_t block[BLOCK];
	struct crypto_hash *hash = crypto_hash_new();
	struct file *f = NULL;
	bool keep = strcmp(path, RECORDS) != 0;
	la_ssize_t n = -1;

	if (bag->files < FILES_MAX)
		f = add_file(bag, path);
	while (f != NULL && hash != NULL &&
	    (n = archive_read_data(tar, block, sizeof(block))) > 0) {
		crypto_hash_add(hash, block, (size_t)n);
		f->bytes += (uint64_t)n;
		bag->kept += keep ? (uint64_t)n : 0;
		if (keep && bag->kept <= KEPT_MAX)
			buf_put(&f->content, block, (size_t)n);
	}
	if (n == 0)
		crypto_hash_get(hash, f->sha256);
	crypto_hash_free(hash);
	if (n == 0 && bag->kept <= KEPT_MAX && !f->content.failed)
		return true;
	if (n < 0 && f != NULL)
		finding(bag, VERIFY_FILE, "cannot be read to its end", path);
	else
		verify_report_failure(
		    bag->r, "%s: too large to be verified", path);
	return false;
}

static int
by_path(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static int
path_is(const void *path, const void *element)
{
	const struct file *f = element;

	return strcmp(path, f->path);
}

/* One line "hash  path" of a manifest. */
static bool
check_line(struct bag *bag, struct view line)
{
	uint8_t sha256[32];
	struct file *f;
	char *path;

	if (line.n < 67 || line.p[64] != ' ' || line.p[65] != ' ' ||
	    !verify_hex(view_of(line.p, 64), sha256, 32))
		return false;
	path = view_dup(view_of(line.p + 66, line.n - 66));
	if (path == NULL)
		return false;
	f = bsearch(path, bag->file, bag->files, sizeof(*f), path_is);
	if (f == NULL) {
		finding(bag, VERIFY_MANIFEST,
		    "a manifest lists a file that is not there", path);
	} else {
		f->listed++;
		if (memcmp(f->sha256, sha256, 32) != 0)
			finding(bag, VERIFY_MANIFEST,
			    "file is not what its manifest says", path);
	}
	free(path);
	return true;
}

static void
check_manifest(struct bag *bag, const char *name)
{
	const struct file *f = find(bag, name);
	struct view rest, line;
	unsigned number = 0;

	if (f == NULL) {
		finding(bag, VERIFY_MANIFEST, "manifest is missing", name);
		return;
	}
	rest = buf_view(&f->content);
	while (verify_line(&rest, &line)) {
		number++;
		verify_report_count(bag->r, VERIFY_MANIFEST, 1);
		if (!check_line(bag, line))
			verify_report_finding(bag->r, VERIFY_MANIFEST,
			    (struct verify_place){
				VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, number},
			    "%s: malformed", name);
	}
	if (rest.n > 0)
		finding(bag, VERIFY_MANIFEST, "manifest does not end", name);
}

static bool
is_known(const char *path)
{
	static const char *const known[] = {"bagit.txt", "bag-info.txt",
	    "manifest-sha256.txt", "tagmanifest-sha256.txt", RECORDS,
	    "data/proof.json", "data/checkpoint", "data/vkey"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(path, known[i]) == 0)
			return true;
	return strncmp(path, "data/tile/0/", 12) == 0;
}

static void
check_manifests(struct bag *bag)
{
	static const char declared[] = "BagIt-Version: 1.0\n"
				       "Tag-File-Character-Encoding: UTF-8\n";
	const struct file *f;

	qsort(bag->file, bag->files, sizeof(*bag->file), by_path);
	for (size_t i = 1; i < bag->files; i++)
		if (strcmp(bag->file[i - 1].path, bag->file[i].path) == 0)
			finding(bag, VERIFY_MANIFEST, "file is there twice",
			    bag->file[i].path);
	for (size_t i = 0; i < bag->files; i++)
		if (!is_known(bag->file[i].path))
			finding(bag, VERIFY_MANIFEST,
			    "is no file of an archive", bag->file[i].path);
	check_manifest(bag, "manifest-sha256.txt");
	check_manifest(bag, "tagmanifest-sha256.txt");
	for (size_t i = 0; i < bag->files; i++)
		if (bag->file[i].listed != 1 &&
		    strcmp(bag->file[i].path, "tagmanifest-sha256.txt") != 0)
			finding(bag, VERIFY_MANIFEST,
			    "file is not listed once in a manifest",
			    bag->file[i].path);
	f = find(bag, "bagit.txt");
	if (f == NULL || !view_is(buf_view(&f->content), declared))
		finding(bag, VERIFY_MANIFEST, "is not a BagIt 1.0 declaration",
		    "bagit.txt");
}

static void
check_label(struct bag *bag, const struct file *info, struct buf *want,
    const char *what)
{
	if (info->content.len == 0 || want->failed ||
	    memmem(info->content.data, info->content.len, want->data,
		want->len) == NULL)
		finding(bag, VERIFY_MANIFEST, what, info->path);
	buf_clear(want);
}

/* The lines of bag-info.txt that repeat what other files say. */
static void
check_info(struct bag *bag, const struct verify_header *h)
{
	const struct file *f = find(bag, "bag-info.txt");
	uint64_t bytes = 0, count = 0;
	struct buf want;

	if (f == NULL) {
		finding(bag, VERIFY_MANIFEST, "is missing", "bag-info.txt");
		return;
	}
	if (!text_utf8_valid(buf_view(&f->content)))
		finding(bag, VERIFY_MANIFEST, "is not UTF-8", "bag-info.txt");
	for (size_t i = 0; i < bag->files; i++)
		if (strncmp(bag->file[i].path, "data/", 5) == 0) {
			bytes += bag->file[i].bytes;
			count++;
		}
	buf_init(&want);
	buf_printf(
	    &want, "\nPayload-Oxum: %" PRIu64 ".%" PRIu64 "\n", bytes, count);
	check_label(bag, f, &want, "Payload-Oxum is not that of the payload");
	buf_printf(
	    &want, "\nExternal-Identifier: %s\n", h->id == NULL ? "" : h->id);
	check_label(bag, f, &want, "External-Identifier is not the batch id");
	buf_release(&want);
}

static char *
text_of(const struct bag *bag, const char *path)
{
	const struct file *f = find(bag, path);

	return f == NULL ? NULL : view_dup(buf_view(&f->content));
}

/* What its only line says. */
static char *
line_of(const struct bag *bag, const char *path)
{
	char *text = text_of(bag, path);
	size_t n = text == NULL ? 0 : strlen(text);

	if (n > 0 && text[n - 1] == '\n')
		text[n - 1] = '\0';
	return text;
}

static char *
string_member(const json_t *o, const char *name)
{
	const json_t *s = json_object_get(o, name);

	if (!json_is_string(s))
		return NULL;
	return view_dup(view_of(json_string_value(s), json_string_length(s)));
}

static bool
number_member(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *n = json_object_get(o, name);

	if (!json_is_integer(n) || json_integer_value(n) < 0)
		return false;
	*out = (uint64_t)json_integer_value(n);
	return true;
}

static bool
hashes_member(const json_t *o, const char *name, struct buf *out)
{
	const json_t *list = json_object_get(o, name), *item;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > 64)
		return false;
	json_array_foreach(list, i, item)
	{
		uint8_t hash[32];

		if (!json_is_string(item) ||
		    !text_get_base64_fixed(view_of(json_string_value(item),
					       json_string_length(item)),
			hash, 32))
			return false;
		buf_put(out, hash, 32);
	}
	return !out->failed;
}

static bool
read_header(struct bag *bag, struct verify_header *h)
{
	const struct file *f = find(bag, "data/proof.json");
	json_t *o = NULL;
	uint64_t version = 0;
	bool ok;

	if (f != NULL && f->content.len > 0)
		o = json_loadb((const char *)f->content.data, f->content.len,
		    JSON_REJECT_DUPLICATES, NULL);
	h->origin = string_member(o, "origin");
	h->adapter = string_member(o, "adapter");
	h->id = string_member(o, "id");
	h->root = string_member(o, "root");
	h->note = text_of(bag, "data/checkpoint");
	h->vkey = line_of(bag, "data/vkey");
	ok = number_member(o, "version", &version) && version == 1 &&
	    number_member(o, "batch", &h->batch) &&
	    number_member(o, "first", &h->first) &&
	    number_member(o, "last", &h->last) &&
	    number_member(o, "count", &h->count) &&
	    number_member(o, "size", &h->size) &&
	    hashes_member(o, "left", &h->left) &&
	    hashes_member(o, "right", &h->right);
	json_decref(o);
	if (!ok)
		finding(bag, VERIFY_FILE, "missing or malformed",
		    "data/proof.json");
	return ok;
}

/* "x001/234" or "067.p/12": index and width of a tile's path. */
static bool
tile_path(const char *p, uint64_t *index, uint64_t *width)
{
	unsigned group;
	int used = 0;

	*index = 0;
	*width = TILE_WIDTH;
	while (*p == 'x') {
		if (sscanf(p, "x%3u/%n", &group, &used) != 1 || used != 5 ||
		    *index > UINT32_MAX)
			return false;
		*index = *index * 1000 + group;
		p += used;
	}
	used = 0;
	if (sscanf(p, "%3u%n", &group, &used) != 1 || used != 3)
		return false;
	*index = *index * 1000 + group;
	p += used;
	if (*p == '\0')
		return true;
	return strncmp(p, ".p/", 3) == 0 &&
	    view_to_u64(view_text(p + 3), width) && *width > 0 &&
	    *width < TILE_WIDTH;
}

static int
by_index(const void *a, const void *b)
{
	const struct tile *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static void
read_tiles(struct bag *bag)
{
	static const char prefix[] = "data/tile/0/";

	bag->tile = calloc(bag->files + 1, sizeof(*bag->tile));
	if (bag->tile == NULL) {
		verify_report_failure(bag->r, "out of memory");
		return;
	}
	for (size_t i = 0; i < bag->files; i++) {
		const struct file *f = &bag->file[i];
		struct tile t = {.data = f->content.data};

		if (strncmp(f->path, prefix, sizeof(prefix) - 1) != 0)
			continue;
		if (tile_path(
			f->path + sizeof(prefix) - 1, &t.index, &t.width) &&
		    f->bytes == t.width * 32)
			bag->tile[bag->tiles++] = t;
		else
			finding(bag, VERIFY_TILES, "not a tile of its name",
			    f->path);
	}
	qsort(bag->tile, bag->tiles, sizeof(*bag->tile), by_index);
}

static void
compare_tile(struct bag *bag, const struct verify_record *rec)
{
	const struct tile *t;
	uint8_t hash[32];

	while (bag->tile_at < bag->tiles &&
	    bag->tile[bag->tile_at].index < rec->seq / TILE_WIDTH)
		bag->tile_at++;
	if (bag->tile_at == bag->tiles)
		return;
	t = &bag->tile[bag->tile_at];
	if (t->index != rec->seq / TILE_WIDTH ||
	    rec->seq % TILE_WIDTH >= t->width)
		return;
	bag->tile_hashes++;
	verify_report_count(bag->r, VERIFY_TILES, 1);
	verify_leaf_hash(rec->leaf, hash);
	if (memcmp(hash, t->data + rec->seq % TILE_WIDTH * 32, 32) != 0)
		verify_report_finding(bag->r, VERIFY_TILES, verify_at(rec->seq),
		    "leaf text does not have the hash that the tile says");
}

/* From the first beginning of a tile on, every leaf's hash is in a tile. */
static void
check_tiles(struct bag *bag, const struct verify_header *h)
{
	uint64_t aligned =
	    (h->first / TILE_WIDTH + (h->first % TILE_WIDTH > 0)) * TILE_WIDTH;
	uint64_t expected = h->last < aligned ? 0 : h->last + 1 - aligned;
	uint64_t held = 0;

	for (size_t i = 0; i < bag->tiles; i++)
		held += bag->tile[i].width;
	if (held != expected || bag->tile_hashes != expected)
		verify_report_finding(bag->r, VERIFY_TILES, verify_nowhere(),
		    "tiles hold %" PRIu64 " hashes, %" PRIu64
		    " of them of records; the range fills %" PRIu64,
		    held, bag->tile_hashes, expected);
}

static bool
part_of(const json_t *part, struct verify_record *rec, struct buf *salts)
{
	const json_t *salt = json_object_get(part, "salt");
	const json_t *data = json_object_get(part, "data");

	if (!json_is_string(salt) || !json_is_string(data) ||
	    !text_get_base64(
		view_of(json_string_value(salt), json_string_length(salt)),
		salts) ||
	    salts->len != (rec->parts + 1) * 32)
		return false;
	rec->part[rec->parts++].data =
	    view_of(json_string_value(data), json_string_length(data));
	return true;
}

/* The protocol's event object; views borrow from o and salts. */
static bool
record_of(const json_t *o, struct verify_record *rec, struct buf *salts)
{
	const json_t *type = json_object_get(o, "type");
	const json_t *leaf = json_object_get(o, "leaf");
	const json_t *parts = json_object_get(o, "parts"), *part;
	size_t i;

	buf_clear(salts);
	memset(rec, 0, sizeof(*rec));
	if (!json_is_string(type) ||
	    strcmp(json_string_value(type), "event") != 0 ||
	    !number_member(o, "seq", &rec->seq) ||
	    !number_member(o, "kind", &rec->kind) || !json_is_string(leaf) ||
	    !json_is_array(parts) ||
	    json_array_size(parts) > VERIFY_RECORD_PARTS)
		return false;
	rec->leaf = view_of(json_string_value(leaf), json_string_length(leaf));
	rec->purged = json_is_true(json_object_get(o, "purged"));
	for (i = 0; i < VERIFY_NAMED_COUNT; i++) {
		const json_t *named = json_object_get(o, verify_named_name[i]);

		if (named != NULL && !json_is_string(named))
			return false;
		if (named != NULL)
			rec->named.text[i] = view_of(json_string_value(named),
			    json_string_length(named));
	}
	json_array_foreach(parts, i, part)
	{
		if (!part_of(part, rec, salts))
			return false;
	}
	for (unsigned k = 0; k < rec->parts; k++)
		rec->part[k].salt = view_of(salts->data + k * 32, 32);
	return true;
}

static void
take_line(struct bag *bag, struct view line, unsigned number, struct buf *salts)
{
	struct verify_record rec;
	json_t *o = json_loadb((const char *)line.p, line.n,
	    JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

	if (o != NULL && record_of(o, &rec, salts)) {
		verify_records_take(&bag->records, &rec);
		compare_tile(bag, &rec);
	} else {
		verify_report_finding(bag->r, VERIFY_FILE,
		    (struct verify_place){
			VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, number},
		    RECORDS ": not a record");
	}
	json_decref(o);
}

/* Second reading: the records, line by line. */
static bool
take_records(struct bag *bag, struct archive *tar, const char *path)
{
	uint8_t block[BLOCK];
	struct buf pending, salts;
	struct view rest, line;
	unsigned number = 0;
	la_ssize_t n = 0;

	if (strcmp(path, RECORDS) != 0)
		return true;
	buf_init(&pending);
	buf_init(&salts);
	while (pending.len <= VERIFY_LINE_MAX &&
	    (n = archive_read_data(tar, block, sizeof(block))) > 0) {
		buf_put(&pending, block, (size_t)n);
		rest = buf_view(&pending);
		while (verify_line(&rest, &line))
			take_line(bag, line, ++number, &salts);
		buf_consume(&pending, pending.len - rest.n);
	}
	if (n != 0 || pending.len > 0)
		finding(bag, VERIFY_FILE, "does not end after a line", path);
	buf_release(&salts);
	buf_release(&pending);
	return true;
}

static void
release(struct bag *bag)
{
	for (size_t i = 0; i < bag->files; i++) {
		free(bag->file[i].path);
		buf_release(&bag->file[i].content);
	}
	free(bag->file);
	free(bag->tile);
	free(bag->folder);
}

void
verify_bag(const char *path, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out)
{
	struct bag *bag = calloc(1, sizeof(*bag));
	struct verify_header header;

	if (bag == NULL) {
		verify_report_failure(r, "out of memory");
		return;
	}
	bag->path = path;
	bag->r = r;
	verify_header_init(&header);
	if (each_entry(bag, take_file)) {
		check_manifests(bag);
		if (read_header(bag, &header)) {
			check_info(bag, &header);
			read_tiles(bag);
			verify_records_begin(
			    &bag->records, &header, trust, r, out);
			(void)each_entry(bag, take_records); /* reported */
			verify_records_end(&bag->records);
			check_tiles(bag, &header);
		}
	}
	verify_header_release(&header);
	release(bag);
	free(bag);
}
