#include "compliance/scan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/schema.h"
#include "compliance/tree.h"

/*
 * Records are read a page at a time, so that no read transaction stays open
 * between calls: it would keep the keeper from emptying its WAL.
 */
#define PAGE_RECORDS 256
#define PAGE_BYTES (1U << 20)

_Static_assert(SCAN_PARTS_MAX == LEAF_PARTS_MAX, "parts of a record");

enum statement {
	S_RECORDS,
	S_BODIES,
	S_LEAF_TIME,
	S_LEAF_RANGE,
	S_TILE,
	S_SIZE,
	S_NOTE,
	S_CHECKPOINT,
	S_ACKED,
	S_BATCH,
	S_FIRST_BODY,
	STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [S_RECORDS] = "SELECT seq, at, kind, bytes FROM leaf WHERE seq >= ?"
		  " ORDER BY seq LIMIT ?",
    [S_BODIES] = "SELECT id, salt, data FROM body WHERE id >= ? ORDER BY id",
    [S_LEAF_TIME] = "SELECT at FROM leaf WHERE seq = ?",
    [S_LEAF_RANGE] = "SELECT bytes FROM leaf WHERE seq >= ? AND seq < ?"
		     " ORDER BY seq",
    [S_TILE] = "SELECT data FROM tile WHERE level = ? AND idx = ?",
    [S_SIZE] = "SELECT size FROM head",
    [S_NOTE] = "SELECT note FROM head",
    [S_CHECKPOINT] = "SELECT note FROM checkpoint WHERE size = ?",
    [S_ACKED] = "SELECT a.n, b.last + 1, l.at FROM ack a"
		" JOIN batch b ON b.adapter = a.adapter AND b.n = a.n"
		" JOIN leaf l ON l.seq = a.seq WHERE a.adapter = ?"
		" ORDER BY a.n DESC LIMIT 1",
    [S_BATCH] = "SELECT first, last FROM batch WHERE adapter = ? AND n = ?",
    [S_FIRST_BODY] = "SELECT id >> 8 FROM body ORDER BY id LIMIT 1",
};

static const char *const meta_name[] = {"journal", "origin", "vkey"};
#define META_COUNT (sizeof meta_name / sizeof meta_name[0])

/* A stretch of the page's bytes; the page may move while it is filled. */
struct span {
	size_t at, n;
};

struct page_record {
	uint64_t seq, at;
	unsigned kind, parts, found;
	struct span leaf;
	struct span salt[SCAN_PARTS_MAX], data[SCAN_PARTS_MAX];
};

/* The first `count` hashes of a tile. */
struct tile {
	uint64_t index;
	unsigned count;
	uint8_t hashes[TREE_TILE_LEN];
};

struct scan {
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
	char *meta[META_COUNT];
	uint64_t next;
	struct buf bytes;
	struct page_record record[PAGE_RECORDS];
	size_t count, used;
	/* Two a level: a range has a left and a right edge. */
	struct tile *tile[TREE_TILE_LEVELS][2];
	unsigned oldest[TREE_TILE_LEVELS];
	char error[256];
};

static int __attribute__((format(printf, 2, 3)))
fail(struct scan *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->error, sizeof s->error, fmt, ap); /* for people */
	va_end(ap);
	return -1;
}

static int
fail_sql(struct scan *s)
{
	return fail(s, "journal: %s", sqlite3_errmsg(s->db));
}

static int
read_meta(struct scan *s)
{
	sqlite3_stmt *q =
	    db_prepare(s->db, "SELECT value FROM meta WHERE name = ?");

	if (q == NULL)
		return fail_sql(s);
	for (size_t i = 0; i < META_COUNT; i++) {
		(void)sqlite3_bind_text(q, 1, meta_name[i], -1, SQLITE_STATIC);
		if (sqlite3_step(q) == SQLITE_ROW)
			s->meta[i] =
			    strdup((const char *)sqlite3_column_text(q, 0));
		(void)sqlite3_reset(q); /* the value tells */
	}
	(void)sqlite3_finalize(q); /* the values tell */
	for (size_t i = 0; i < META_COUNT; i++)
		if (s->meta[i] == NULL)
			return fail(s, "the journal has no %s", meta_name[i]);
	return 0;
}

static int
prepare(struct scan *s)
{
	int64_t id = db_int(s->db, "PRAGMA application_id", -1);
	int64_t version = db_int(s->db, "PRAGMA user_version", -1);

	if (id < 0 || version < 0)
		return fail_sql(s);
	if (id != SCHEMA_APPLICATION_ID || version != SCHEMA_VERSION)
		return fail(s, "not a journal of version %d", SCHEMA_VERSION);
	for (size_t i = 0; i < STATEMENTS; i++)
		if ((s->stmt[i] = db_prepare(s->db, statement_sql[i])) == NULL)
			return fail_sql(s);
	if (read_meta(s) != 0)
		return -1;
	return db_seal(s->db, true) == 0 ? 0 : fail_sql(s);
}

struct scan *
scan_open(const char *path, bool copy, char *why, size_t why_len)
{
	struct scan *s = calloc(1, sizeof *s);

	if (s == NULL) {
		(void)snprintf(why, why_len, "%s: out of memory", path);
		return NULL;
	}
	buf_init(&s->bytes);
	s->db = db_open(
	    path, copy ? DB_READ_COPY : DB_READ, DB_SYNC_FULL, why, why_len);
	if (s->db == NULL) {
		scan_close(s);
		return NULL;
	}
	if (prepare(s) != 0) {
		(void)snprintf(why, why_len, "%s: %s", path, s->error);
		scan_close(s);
		return NULL;
	}
	return s;
}

void
scan_close(struct scan *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->stmt[i]); /* repeats old errors */
	db_close(s->db);
	for (size_t i = 0; i < META_COUNT; i++)
		free(s->meta[i]);
	for (size_t i = 0; i < TREE_TILE_LEVELS; i++) {
		free(s->tile[i][0]);
		free(s->tile[i][1]);
	}
	buf_release(&s->bytes);
	free(s);
}

const char *
scan_error(struct scan *s)
{
	return s->error;
}

const char *
scan_meta(struct scan *s, const char *name)
{
	for (size_t i = 0; i < META_COUNT; i++)
		if (strcmp(meta_name[i], name) == 0)
			return s->meta[i];
	return NULL;
}

/* Binds `count` numbers from parameter `at` on and steps once. */
static int
step(struct scan *s, enum statement which, int at, const uint64_t *args,
    int count)
{
	for (int i = 0; i < count; i++)
		(void)sqlite3_bind_int64(
		    s->stmt[which], at + i, (sqlite3_int64)args[i]);
	return sqlite3_step(s->stmt[which]);
}

static uint64_t
column(struct scan *s, enum statement which, int i)
{
	return (uint64_t)sqlite3_column_int64(s->stmt[which], i);
}

static void
reset(struct scan *s, enum statement which)
{
	(void)sqlite3_reset(s->stmt[which]); /* repeats the step's result */
}

uint64_t
scan_size(struct scan *s)
{
	uint64_t size = 0;

	if (step(s, S_SIZE, 1, NULL, 0) == SQLITE_ROW)
		size = column(s, S_SIZE, 0);
	reset(s, S_SIZE);
	return size;
}

int
scan_note(struct scan *s, uint64_t *size, struct buf *text)
{
	sqlite3_stmt *q = s->stmt[S_NOTE];
	const char *why;
	struct note note;
	int r = -1;

	*size = 0;
	if (sqlite3_step(q) == SQLITE_ROW) {
		struct view v = view_of(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0));

		if (v.n == 0) {
			r = 0;
		} else if (note_parse(v, &note, &why)) {
			*size = note.size;
			buf_put_view(text, v);
			r = text->failed ? -1 : 0;
		} else {
			r = fail(s, "stored note: %s", why);
		}
	} else {
		r = fail_sql(s);
	}
	reset(s, S_NOTE);
	return r;
}

int
scan_checkpoint(struct scan *s, uint64_t size, struct buf *note)
{
	int r = step(s, S_CHECKPOINT, 1, &size, 1);

	if (r == SQLITE_ROW)
		buf_put(note, sqlite3_column_blob(s->stmt[S_CHECKPOINT], 0),
		    (size_t)sqlite3_column_bytes(s->stmt[S_CHECKPOINT], 0));
	reset(s, S_CHECKPOINT);
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : fail_sql(s);
}

/* ---- records ---- */

int
scan_seek(struct scan *s, uint64_t seq)
{
	if (seq > INT64_MAX)
		return fail(s, "sequence number out of range");
	s->next = seq;
	s->count = s->used = 0;
	return 0;
}

static struct span
keep(struct scan *s, sqlite3_stmt *q, int i)
{
	struct span span = {s->bytes.len, (size_t)sqlite3_column_bytes(q, i)};

	buf_put(&s->bytes, sqlite3_column_blob(q, i), span.n);
	return span;
}

static int
keep_record(struct scan *s, struct page_record *r)
{
	sqlite3_stmt *q = s->stmt[S_RECORDS];
	const char *why;
	struct leaf leaf;

	memset(r, 0, sizeof *r);
	r->seq = column(s, S_RECORDS, 0);
	r->at = column(s, S_RECORDS, 1);
	r->leaf = keep(s, q, 3);
	if (s->bytes.failed)
		return fail(s, "out of memory");
	if (!leaf_parse(
		view_of(s->bytes.data + r->leaf.at, r->leaf.n), &leaf, &why))
		return fail(s, "record %" PRIu64 ": %s", r->seq, why);
	if (leaf.head.seq != r->seq || leaf.head.at != r->at ||
	    leaf.head.kind != column(s, S_RECORDS, 2))
		return fail(
		    s, "record %" PRIu64 ": row and leaf differ", r->seq);
	r->kind = leaf.head.kind;
	r->parts = leaf.parts;
	return 0;
}

/* Takes the bodies of r; `row` tells whether the query stands on one. */
static int
keep_bodies(struct scan *s, struct page_record *r, int *row)
{
	sqlite3_stmt *q = s->stmt[S_BODIES];

	while (*row == SQLITE_ROW) {
		uint64_t id = column(s, S_BODIES, 0);

		if (id >> 8 > r->seq)
			break;
		if (id >> 8 != r->seq || (id & 255) != r->found ||
		    r->found == r->parts)
			return fail(s,
			    "body %" PRIu64 ".%" PRIu64
			    " does not belong to its record",
			    id >> 8, id & 255);
		r->salt[r->found] = keep(s, q, 1);
		r->data[r->found] = keep(s, q, 2);
		r->found++;
		*row = sqlite3_step(q);
	}
	if (*row != SQLITE_ROW && *row != SQLITE_DONE)
		return fail_sql(s);
	if (r->found != r->parts && r->found != 0)
		return fail(s, "record %" PRIu64 " has %u of %u parts", r->seq,
		    r->found, r->parts);
	return s->bytes.failed ? fail(s, "out of memory") : 0;
}

static int
fill_page(struct scan *s)
{
	const uint64_t records[] = {s->next, PAGE_RECORDS};
	const uint64_t bodies[] = {s->next << 8};
	int leaf = step(s, S_RECORDS, 1, records, 2);
	int body =
	    leaf == SQLITE_ROW ? step(s, S_BODIES, 1, bodies, 1) : SQLITE_DONE;

	while (leaf == SQLITE_ROW && s->bytes.len < PAGE_BYTES) {
		struct page_record *r = &s->record[s->count];

		if (keep_record(s, r) != 0 || keep_bodies(s, r, &body) != 0)
			return -1;
		s->count++;
		s->next = r->seq + 1;
		leaf = sqlite3_step(s->stmt[S_RECORDS]);
	}
	if (leaf != SQLITE_ROW && leaf != SQLITE_DONE)
		return fail_sql(s);
	return 0;
}

/* One snapshot for records and bodies: a purge may come between. */
static int
read_page(struct scan *s)
{
	int r;

	s->count = s->used = 0;
	if (s->bytes.cap > 2 * PAGE_BYTES)
		buf_release(&s->bytes);
	buf_clear(&s->bytes);
	if (db_exec(s->db, "BEGIN") != 0)
		return fail_sql(s);
	r = fill_page(s);
	reset(s, S_RECORDS);
	reset(s, S_BODIES);
	if (db_exec(s->db, "COMMIT") != 0)
		return fail_sql(s);
	return r;
}

int
scan_next(struct scan *s, struct scan_record *out)
{
	const struct page_record *r;

	if (s->used == s->count) {
		if (read_page(s) != 0)
			return -1;
		if (s->count == 0)
			return 0;
	}
	r = &s->record[s->used++];
	out->seq = r->seq;
	out->at = r->at;
	out->kind = r->kind;
	out->leaf = view_of(s->bytes.data + r->leaf.at, r->leaf.n);
	out->parts = r->parts;
	out->purged = r->found != r->parts;
	for (unsigned i = 0; i < r->found; i++) {
		out->part[i].salt =
		    view_of(s->bytes.data + r->salt[i].at, r->salt[i].n);
		out->part[i].data =
		    view_of(s->bytes.data + r->data[i].at, r->data[i].n);
	}
	for (unsigned i = r->found; i < SCAN_PARTS_MAX; i++)
		out->part[i].salt = out->part[i].data = view_of(NULL, 0);
	return 1;
}

static uint64_t
time_of(struct scan *s, uint64_t seq)
{
	uint64_t at = 0;

	if (step(s, S_LEAF_TIME, 1, &seq, 1) == SQLITE_ROW)
		at = column(s, S_LEAF_TIME, 0);
	reset(s, S_LEAF_TIME);
	return at;
}

uint64_t
scan_find_time(struct scan *s, uint64_t at)
{
	uint64_t low = 0, high = scan_size(s);

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (time_of(s, middle) < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- proofs ---- */

static int
read_full_tile(struct scan *s, unsigned level, uint64_t index, uint8_t *out)
{
	const uint64_t key[] = {level, index};
	int r = step(s, S_TILE, 1, key, 2);

	if (r == SQLITE_ROW) {
		if (sqlite3_column_bytes(s->stmt[S_TILE], 0) == TREE_TILE_LEN)
			memcpy(out, sqlite3_column_blob(s->stmt[S_TILE], 0),
			    TREE_TILE_LEN);
		else
			r = SQLITE_CORRUPT;
	}
	reset(s, S_TILE);
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE
	    ? 0
	    : fail(s, "tile %u/%" PRIu64 " cannot be read", level, index);
}

/* Hashes [t->count, need) of a level-0 tile that is not full. */
static int
extend_by_leaves(struct scan *s, struct tile *t, unsigned need)
{
	uint64_t base = t->index * TREE_TILE_WIDTH;
	const uint64_t range[] = {base + t->count, base + need};
	sqlite3_stmt *q = s->stmt[S_LEAF_RANGE];
	int r = step(s, S_LEAF_RANGE, 1, range, 2);

	for (; r == SQLITE_ROW && t->count < need; r = sqlite3_step(q)) {
		tree_leaf_hash(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0),
		    t->hashes + (size_t)t->count * TREE_HASH_LEN);
		t->count++;
	}
	reset(s, S_LEAF_RANGE);
	return t->count == need
	    ? 0
	    : fail(s, "leaf %" PRIu64 " cannot be read", base + t->count);
}

/* The same for higher levels: each hash is the root of a full tile below. */
static int
extend_by_tiles(struct scan *s, unsigned level, struct tile *t, unsigned need)
{
	uint8_t below[TREE_TILE_LEN];

	for (; t->count < need; t->count++) {
		uint64_t index = t->index * TREE_TILE_WIDTH + t->count;
		int r = read_full_tile(s, level - 1, index, below);

		if (r <= 0)
			return r < 0 ? -1
				     : fail(s, "tile %u/%" PRIu64 " is missing",
					   level - 1, index);
		tree_tile_node(below, TREE_TILE_HEIGHT, 0,
		    t->hashes + (size_t)t->count * TREE_HASH_LEN);
	}
	return 0;
}

static struct tile *
cached_tile(struct scan *s, unsigned level, uint64_t index)
{
	struct tile **slot = s->tile[level];
	unsigned victim = s->oldest[level];

	for (unsigned i = 0; i < 2; i++)
		if (slot[i] != NULL && slot[i]->index == index) {
			s->oldest[level] = 1 - i;
			return slot[i];
		}
	if (slot[victim] == NULL &&
	    (slot[victim] = malloc(sizeof **slot)) == NULL)
		return NULL;
	slot[victim]->index = index;
	slot[victim]->count = 0;
	s->oldest[level] = 1 - victim;
	return slot[victim];
}

static int
find_node(
    void *arg, unsigned height, uint64_t index, uint8_t out[TREE_HASH_LEN])
{
	struct scan *s = arg;
	unsigned level = height / TREE_TILE_HEIGHT;
	unsigned h = height % TREE_TILE_HEIGHT;
	unsigned in_tile = TREE_TILE_HEIGHT - h;
	unsigned at = (unsigned)(index & ((1U << in_tile) - 1));
	unsigned need = (at + 1) << h;
	struct tile *t = cached_tile(s, level, index >> in_tile);

	if (t == NULL)
		return fail(s, "out of memory");
	if (t->count < need) {
		int r = read_full_tile(s, level, t->index, t->hashes);

		if (r < 0)
			return -1;
		if (r == 1)
			t->count = TREE_TILE_WIDTH;
		else if ((level == 0 ? extend_by_leaves(s, t, need)
				     : extend_by_tiles(s, level, t, need)) != 0)
			return -1;
	}
	tree_tile_node(t->hashes, h, at, out);
	return 0;
}

int
scan_range_proof(struct scan *s, uint64_t first, uint64_t last, uint64_t size,
    struct buf *left, struct buf *right, uint8_t root[32])
{
	const struct tree_source source = {find_node, s};

	if (first > last || last >= size || size > scan_size(s))
		return fail(s,
		    "no records %" PRIu64 " to %" PRIu64 " at size %" PRIu64,
		    first, last, size);
	if (tree_range(&source, 0, first, left) != 0 ||
	    tree_range(&source, last + 1, size, right) != 0 ||
	    tree_root_at(&source, size, root) != 0)
		return -1;
	return 0;
}

/* ---- cursors ---- */

int
scan_cursor(struct scan *s, const char *adapter, struct scan_cursor *out)
{
	uint64_t open_n;
	int r;

	memset(out, 0, sizeof *out);
	(void)sqlite3_bind_text(
	    s->stmt[S_ACKED], 1, adapter, -1, SQLITE_TRANSIENT);
	r = sqlite3_step(s->stmt[S_ACKED]);
	if (r == SQLITE_ROW) {
		out->acked_n = column(s, S_ACKED, 0);
		out->next = column(s, S_ACKED, 1);
		out->acked_at = column(s, S_ACKED, 2);
	}
	reset(s, S_ACKED);
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return fail_sql(s);
	open_n = out->acked_n + 1;
	(void)sqlite3_bind_text(
	    s->stmt[S_BATCH], 1, adapter, -1, SQLITE_TRANSIENT);
	r = step(s, S_BATCH, 2, &open_n, 1);
	if (r == SQLITE_ROW) {
		out->open_n = open_n;
		out->open_first = column(s, S_BATCH, 0);
		out->open_last = column(s, S_BATCH, 1);
	}
	reset(s, S_BATCH);
	return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : fail_sql(s);
}

uint64_t
scan_purged_to(struct scan *s)
{
	uint64_t to;
	int r = step(s, S_FIRST_BODY, 1, NULL, 0);

	to = r == SQLITE_ROW ? column(s, S_FIRST_BODY, 0) : 0;
	reset(s, S_FIRST_BODY);
	return r == SQLITE_DONE ? scan_size(s) : to;
}
