#include "compliance/scan_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/segments.h"
#include "compliance/tree.h"

_Static_assert(SCAN_PARTS_MAX == LEAF_PARTS_MAX, "parts of a record");

struct scan *
scan_open(const char *path, bool copy, char *why, size_t why_len)
{
	struct scan *s = calloc(1, sizeof *s);
	unsigned newest;

	if (s == NULL || (s->path = segments_named(path)) == NULL) {
		free(s);
		(void)snprintf(why, why_len, "%s: out of memory", path);
		return NULL;
	}
	buf_init(&s->bytes);
	s->copy = copy;
	s->alone = segments_is_later(s->path);
	newest = s->alone ? 0 : segments_newest(s->path);
	if (scan_turn_to(s, newest) != 0) {
		(void)snprintf(why, why_len, "%s", s->error);
		scan_close(s);
		return NULL;
	}
	s->next = s->first;
	return s;
}

void
scan_close(struct scan *s)
{
	if (s == NULL)
		return;
	scan_close_file(&s->newest);
	scan_close_file(&s->old);
	free(s->base);
	free(s->path);
	for (size_t i = 0; i < SCAN_META; i++)
		free(s->meta[i]);
	for (size_t i = 0; i < TREE_TILE_LEVELS; i++) {
		free(s->tile[i][0]);
		free(s->tile[i][1]);
	}
	buf_release(&s->bytes);
	for (size_t i = 0; i < NAMED_COUNT; i++)
		buf_release(&s->named[i]);
	free(s);
}

const char *
scan_error(struct scan *s)
{
	return s->error;
}

/* Binds `count` numbers from parameter `at` on and steps once. */
static int
step(struct scan_file *f, enum scan_statement which, int at,
    const uint64_t *args, int count)
{
	for (int i = 0; i < count; i++)
		(void)sqlite3_bind_int64(
		    f->stmt[which], at + i, (sqlite3_int64)args[i]);
	return db_step(f->stmt[which]);
}

static uint64_t
column(struct scan_file *f, enum scan_statement which, int i)
{
	return (uint64_t)sqlite3_column_int64(f->stmt[which], i);
}

static void
reset(struct scan_file *f, enum scan_statement which)
{
	(void)sqlite3_reset(f->stmt[which]); /* repeats the step's result */
}

uint64_t
scan_size(struct scan *s)
{
	struct scan_file *f = &s->newest;
	uint64_t size = 0;

	(void)scan_refresh(s); /* what is open is still true, if older */
	if (step(f, S_SIZE, 1, NULL, 0) == SQLITE_ROW)
		size = column(f, S_SIZE, 0);
	reset(f, S_SIZE);
	return size;
}

/* Appends the lines of witnesses who have cosigned that checkpoint. */
static int
add_lines(struct scan *s, struct scan_file *f, uint64_t size, struct buf *text)
{
	int r = step(f, S_LINES, 1, &size, 1);

	for (; r == SQLITE_ROW; r = db_step(f->stmt[S_LINES]))
		buf_put(text, sqlite3_column_blob(f->stmt[S_LINES], 0),
		    (size_t)sqlite3_column_bytes(f->stmt[S_LINES], 0));
	reset(f, S_LINES);
	if (r != SQLITE_DONE)
		return scan_fail_sql(s, f);
	return text->failed ? -1 : 0;
}

int
scan_note(struct scan *s, uint64_t *size, struct buf *text)
{
	struct scan_file *f = &s->newest;
	sqlite3_stmt *q;
	const char *why;
	struct note note;
	int r = -1;

	*size = 0;
	if (scan_refresh(s) != 0)
		return -1;
	q = f->stmt[S_NOTE];
	if (db_step(q) == SQLITE_ROW) {
		struct view v = view_of(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0));

		if (v.n == 0) {
			r = 0;
		} else if (note_parse(v, &note, &why)) {
			r = 0;
			if (view_is(note.origin, scan_meta(s, "origin"))) {
				*size = note.size;
				buf_put_view(text, v);
				r = add_lines(s, f, note.size, text);
			}
		} else {
			r = scan_fail(s, "stored note: %s", why);
		}
	} else {
		r = scan_fail_sql(s, f);
	}
	reset(f, S_NOTE);
	return r;
}

int
scan_checkpoint(struct scan *s, uint64_t size, struct buf *note)
{
	struct scan_file *f = scan_file_of(s, size > 0 ? size - 1 : 0);
	int r;

	if (f == NULL)
		return -1;
	r = step(f, S_CHECKPOINT, 1, &size, 1);
	if (r == SQLITE_ROW)
		buf_put(note, sqlite3_column_blob(f->stmt[S_CHECKPOINT], 0),
		    (size_t)sqlite3_column_bytes(f->stmt[S_CHECKPOINT], 0));
	reset(f, S_CHECKPOINT);
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : scan_fail_sql(s, f);
}

/* Column 0 as a number, column 1 as bytes, of the one row there may be. */
static int
take_row(struct scan *s, struct scan_file *f, enum scan_statement which, int r,
    uint64_t *n, struct buf *bytes)
{
	sqlite3_stmt *q = f->stmt[which];

	if (r == SQLITE_ROW) {
		*n = column(f, which, 0);
		buf_put(bytes, sqlite3_column_blob(q, 1),
		    (size_t)sqlite3_column_bytes(q, 1));
	}
	reset(f, which);
	if (r == SQLITE_ROW)
		return bytes->failed ? scan_fail(s, "out of memory") : 1;
	return r == SQLITE_DONE ? 0 : scan_fail_sql(s, f);
}

int
scan_control_before(struct scan *s, unsigned kind, uint64_t before,
    uint64_t *seq, struct buf *leaf)
{
	const uint64_t args[] = {kind, before < INT64_MAX ? before : INT64_MAX};
	struct scan_file *f = &s->newest;

	if (scan_refresh(s) != 0)
		return -1;
	return take_row(s, f, S_CONTROL_BEFORE,
	    step(f, S_CONTROL_BEFORE, 1, args, 2), seq, leaf);
}

int
scan_checkpoint_from(
    struct scan *s, uint64_t from, uint64_t *size, struct buf *note)
{
	struct scan_file *f = scan_file_of(s, from > 0 ? from - 1 : 0);

	if (f == NULL)
		return -1;
	return take_row(s, f, S_CHECKPOINT_FROM,
	    step(f, S_CHECKPOINT_FROM, 1, &from, 1), size, note);
}

/* ---- records ---- */

int
scan_seek(struct scan *s, uint64_t seq)
{
	if (seq > INT64_MAX)
		return scan_fail(s, "sequence number out of range");
	s->next = seq > s->first ? seq : s->first;
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
keep_record(struct scan *s, struct scan_file *f, struct page_record *r)
{
	sqlite3_stmt *q = f->stmt[S_RECORDS];
	const char *why;
	struct leaf leaf;

	memset(r, 0, sizeof *r);
	r->seq = column(f, S_RECORDS, 0);
	r->at = column(f, S_RECORDS, 1);
	r->leaf = keep(s, q, 3);
	if (s->bytes.failed)
		return scan_fail(s, "out of memory");
	if (!leaf_parse(
		view_of(s->bytes.data + r->leaf.at, r->leaf.n), &leaf, &why))
		return scan_fail(s, "record %" PRIu64 ": %s", r->seq, why);
	if (leaf.head.seq != r->seq || leaf.head.at != r->at ||
	    leaf.head.kind != column(f, S_RECORDS, 2))
		return scan_fail(
		    s, "record %" PRIu64 ": row and leaf differ", r->seq);
	r->kind = leaf.head.kind;
	r->parts = leaf.parts;
	return 0;
}

/* Takes the bodies of r; `row` tells whether the query stands on one. */
static int
keep_bodies(
    struct scan *s, struct scan_file *f, struct page_record *r, int *row)
{
	sqlite3_stmt *q = f->stmt[S_BODIES];

	while (*row == SQLITE_ROW) {
		uint64_t id = column(f, S_BODIES, 0);

		if (id >> 8 > r->seq)
			break;
		if (id >> 8 != r->seq || (id & 255) != r->found ||
		    r->found == r->parts)
			return scan_fail(s,
			    "body %" PRIu64 ".%" PRIu64
			    " does not belong to its record",
			    id >> 8, id & 255);
		r->salt[r->found] = keep(s, q, 1);
		r->data[r->found] = keep(s, q, 2);
		r->found++;
		*row = db_step(q);
	}
	if (*row != SQLITE_ROW && *row != SQLITE_DONE)
		return scan_fail_sql(s, f);
	if (r->found != r->parts && r->found != 0)
		return scan_fail(s, "record %" PRIu64 " has %u of %u parts",
		    r->seq, r->found, r->parts);
	return s->bytes.failed ? scan_fail(s, "out of memory") : 0;
}

static int
fill_page(struct scan *s, struct scan_file *f)
{
	const uint64_t records[] = {s->next, PAGE_RECORDS};
	const uint64_t bodies[] = {s->next << 8};
	int leaf = step(f, S_RECORDS, 1, records, 2);
	int body =
	    leaf == SQLITE_ROW ? step(f, S_BODIES, 1, bodies, 1) : SQLITE_DONE;

	while (leaf == SQLITE_ROW && s->bytes.len < PAGE_BYTES) {
		struct page_record *r = &s->record[s->count];

		if (keep_record(s, f, r) != 0 ||
		    keep_bodies(s, f, r, &body) != 0)
			return -1;
		s->count++;
		s->next = r->seq + 1;
		leaf = db_step(f->stmt[S_RECORDS]);
	}
	if (leaf != SQLITE_ROW && leaf != SQLITE_DONE)
		return scan_fail_sql(s, f);
	return 0;
}

/* One snapshot for records and bodies: a purge may come between. */
static int
read_page_of(struct scan *s, struct scan_file *f)
{
	int r;

	if (db_exec(f->db, "BEGIN") != 0)
		return scan_fail_sql(s, f);
	r = fill_page(s, f);
	reset(f, S_RECORDS);
	reset(f, S_BODIES);
	if (db_exec(f->db, "COMMIT") != 0)
		return scan_fail_sql(s, f);
	return r;
}

static int
read_page(struct scan *s)
{
	struct scan_file *f = scan_file_of(s, s->next);

	s->count = s->used = 0;
	if (s->bytes.cap > 2 * PAGE_BYTES)
		buf_release(&s->bytes);
	buf_clear(&s->bytes);
	if (f == NULL || read_page_of(s, f) != 0)
		return -1;
	if (s->count > 0)
		return 0;
	if (f == &s->old)
		return scan_fail(s,
		    "record %" PRIu64 " is missing in file %u of the journal",
		    s->next, f->segment);
	/* At the end: the keeper may have begun another file. */
	if (scan_refresh(s) != 0 || (f = scan_file_of(s, s->next)) == NULL)
		return -1;
	return read_page_of(s, f);
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
	out->named = (struct named){0};
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
	struct scan_file *f = scan_file_of(s, seq);
	uint64_t at = 0;

	if (f == NULL)
		return 0;
	if (step(f, S_LEAF_TIME, 1, &seq, 1) == SQLITE_ROW)
		at = column(f, S_LEAF_TIME, 0);
	reset(f, S_LEAF_TIME);
	return at;
}

uint64_t
scan_find_time(struct scan *s, uint64_t at)
{
	uint64_t low = scan_first(s), high = scan_size(s);

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
	struct scan_file *f =
	    level == 0 ? scan_file_of(s, index * TREE_TILE_WIDTH) : &s->newest;
	int r;

	if (f == NULL)
		return -1;
	r = step(f, S_TILE, 1, key, 2);
	if (r == SQLITE_ROW) {
		if (sqlite3_column_bytes(f->stmt[S_TILE], 0) == TREE_TILE_LEN)
			memcpy(out, sqlite3_column_blob(f->stmt[S_TILE], 0),
			    TREE_TILE_LEN);
		else
			r = SQLITE_CORRUPT;
	}
	reset(f, S_TILE);
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE
	    ? 0
	    : scan_fail(s, "tile %u/%" PRIu64 " cannot be read", level, index);
}

/* Hashes [t->count, need) of a level-0 tile that is not full. */
static int
extend_by_leaves(struct scan *s, struct tile *t, unsigned need)
{
	uint64_t base = t->index * TREE_TILE_WIDTH;
	const uint64_t range[] = {base + t->count, base + need};
	struct scan_file *f = scan_file_of(s, base);
	sqlite3_stmt *q;
	int r;

	if (f == NULL)
		return -1;
	q = f->stmt[S_LEAF_RANGE];
	r = step(f, S_LEAF_RANGE, 1, range, 2);
	for (; r == SQLITE_ROW && t->count < need; r = db_step(q)) {
		tree_leaf_hash(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0),
		    t->hashes + (size_t)t->count * TREE_HASH_LEN);
		t->count++;
	}
	reset(f, S_LEAF_RANGE);
	return t->count == need
	    ? 0
	    : scan_fail(s, "leaf %" PRIu64 " cannot be read", base + t->count);
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
			return r < 0
			    ? -1
			    : scan_fail(s, "tile %u/%" PRIu64 " is missing",
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
		return scan_fail(s, "out of memory");
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
		return scan_fail(s,
		    "no records %" PRIu64 " to %" PRIu64 " at size %" PRIu64,
		    first, last, size);
	if (tree_range(&source, 0, first, left) != 0 ||
	    tree_range(&source, last + 1, size, right) != 0 ||
	    tree_root_at(&source, size, root) != 0)
		return -1;
	return 0;
}

int
scan_inclusion(struct scan *s, uint64_t seq, uint64_t size, struct buf *out)
{
	const struct tree_source source = {find_node, s};

	if (seq >= size || size > scan_size(s))
		return scan_fail(
		    s, "no record %" PRIu64 " at size %" PRIu64, seq, size);
	return tree_inclusion(&source, seq, size, out);
}

int
scan_consistency(struct scan *s, uint64_t old, uint64_t size, struct buf *out)
{
	const struct tree_source source = {find_node, s};

	if (old > size || size > scan_size(s))
		return scan_fail(
		    s, "no sizes %" PRIu64 " and %" PRIu64, old, size);
	return tree_consistency(&source, old, size, out);
}

/* ---- cursors ---- */

int
scan_cursor(struct scan *s, const char *adapter, struct scan_cursor *out)
{
	struct scan_file *f = &s->newest;
	uint64_t open_n;
	int r;

	memset(out, 0, sizeof *out);
	if (scan_refresh(s) != 0)
		return -1;
	(void)sqlite3_bind_text(
	    f->stmt[S_ACKED], 1, adapter, -1, SQLITE_STATIC);
	r = db_step(f->stmt[S_ACKED]);
	if (r == SQLITE_ROW) {
		out->acked_n = column(f, S_ACKED, 0);
		out->next = column(f, S_ACKED, 1);
		out->acked_at = column(f, S_ACKED, 2);
	}
	reset(f, S_ACKED);
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return scan_fail_sql(s, f);
	open_n = out->acked_n + 1;
	(void)sqlite3_bind_text(
	    f->stmt[S_BATCH], 1, adapter, -1, SQLITE_STATIC);
	r = step(f, S_BATCH, 2, &open_n, 1);
	if (r == SQLITE_ROW) {
		out->open_n = open_n;
		out->open_first = column(f, S_BATCH, 0);
		out->open_last = column(f, S_BATCH, 1);
		out->open_us = column(f, S_BATCH, 2);
	}
	reset(f, S_BATCH);
	return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : scan_fail_sql(s, f);
}

/* Whether the file has a payload, and the first record that has one. */
static bool
first_body(struct scan_file *f, uint64_t *seq)
{
	int r = step(f, S_FIRST_BODY, 1, NULL, 0);

	*seq = r == SQLITE_ROW ? column(f, S_FIRST_BODY, 0) : 0;
	reset(f, S_FIRST_BODY);
	return r != SQLITE_DONE;
}

uint64_t
scan_purged_to(struct scan *s)
{
	struct scan_file *f;
	uint64_t seq;

	(void)scan_refresh(s); /* what is open is still true, if older */
	for (; s->bodiless < s->newest.segment; s->bodiless++) {
		f = scan_file_of(s, s->base[s->bodiless]);
		if (f == NULL)
			return s->base[s->bodiless];
		if (first_body(f, &seq))
			return seq;
	}
	return first_body(&s->newest, &seq) ? seq : scan_size(s);
}

int
scan_next_payload(struct scan *s, uint64_t from, uint64_t *seq)
{
	uint64_t size = scan_size(s);

	while (from < size) {
		struct scan_file *f = scan_file_of(s, from);
		const uint64_t id = from << 8;
		int r;

		if (f == NULL)
			return -1;
		r = step(f, S_NEXT_BODY, 1, &id, 1);
		if (r == SQLITE_ROW)
			*seq = column(f, S_NEXT_BODY, 0);
		reset(f, S_NEXT_BODY);
		if (r != SQLITE_DONE)
			return r == SQLITE_ROW ? 1 : scan_fail_sql(s, f);
		if (f == &s->newest)
			break;
		from = s->base[f->segment + 1];
	}
	return 0;
}

uint64_t
scan_first(struct scan *s)
{
	return s->first;
}

uint64_t
scan_file_end(struct scan *s, uint64_t seq)
{
	for (unsigned i = s->alone ? 0 : s->newest.segment; i > 0; i--)
		if (seq >= s->base[i])
			return i == s->newest.segment ? UINT64_MAX
						      : s->base[i + 1];
	return s->alone || s->newest.segment == 0 ? UINT64_MAX : s->base[1];
}

unsigned
scan_segments(struct scan *s, uint64_t *first)
{
	(void)scan_refresh(s); /* what is open is still true, if older */
	*first = s->alone ? s->first : s->base[s->newest.segment];
	return s->newest.segment + 1;
}
