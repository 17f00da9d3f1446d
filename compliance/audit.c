#include "compliance/audit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/log.h"

#include "compliance/audit_told.h"
#include "compliance/clock.h"
#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/segments.h"
#include "compliance/tree.h"

#define SLICE TREE_TILE_WIDTH
#define REST 4        /* a slice is followed by so many times its time */
#define LOOK_MS 60000 /* the pace is looked at again after that */
#define RETRY_MS 1000 /* after a failure, and for records that wait */
#define TRIES 3       /* to read a file before it counts as lost */
#define US_PER_MS 1000U

enum query { Q_HEAD, Q_LEAVES, Q_BODIES, Q_TILE, Q_POINTS, QUERIES };

static const char *const query_sql[QUERIES] = {
    [Q_HEAD] = "SELECT size, root FROM head",
    [Q_LEAVES] = "SELECT seq, at, kind, bytes FROM leaf"
		 " WHERE seq >= ? AND seq < ? ORDER BY seq",
    [Q_BODIES] = "SELECT id, salt, data FROM body"
		 " WHERE id >= ? AND id < ? ORDER BY id",
    [Q_TILE] = "SELECT data FROM tile WHERE level = ? AND idx = ?",
    [Q_POINTS] = "SELECT size, note FROM checkpoint"
		 " WHERE size > ? AND size <= ? ORDER BY size",
};

struct audit {
	const struct audit_env *env;
	uv_timer_t timer;
	struct audit_told told;
	unsigned handles;
	sqlite3 *db; /* of the file that is being read */
	sqlite3_stmt *q[QUERIES];
	unsigned segment;
	sqlite3 *newest; /* tells what was purged */
	sqlite3_stmt *purged;
	unsigned newest_segment;
	uint64_t purges; /* that were recorded before the slice */
	unsigned tries;  /* that failed, to read what comes next */
	char why[256];
	bool complained;
	struct tree *tree;
	bool demand;
	uint64_t size; /* of the whole journal, whatever file is read */
	uint64_t since, due_from;
	uint64_t whole_at, done_at;
	bool done_whole;
	uint64_t broken, last_broken;
	char finding[512];
};

/* ---- what is found ---- */

static void __attribute__((format(printf, 4, 5)))
found(struct audit *a, uint64_t first, uint64_t last, const char *fmt, ...)
{
	const struct audit_result t = {
	    .first = first, .last = last, .since = a->since};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(a->finding, sizeof a->finding, fmt, ap); /* words */
	va_end(ap);
	log_error(
	    "AUDIT: the journal is not as it was recorded: %s", a->finding);
	if (a->broken++ < AUDIT_TOLD_MAX)
		audit_told_add(&a->told, t);
}

/* ---- one file ---- */

static void
close_file(struct audit *a)
{
	for (size_t i = 0; i < QUERIES; i++) {
		(void)sqlite3_finalize(a->q[i]); /* only read */
		a->q[i] = NULL;
	}
	db_close(a->db);
	a->db = NULL;
}

static void
tell_why(struct audit *a, sqlite3 *db)
{
	(void)snprintf(a->why, sizeof a->why, "%s: %s",
	    sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
}

static sqlite3 *
open_segment(struct audit *a, unsigned segment)
{
	char *path = segments_path(a->env->journal, segment);
	sqlite3 *db = path == NULL
	    ? NULL
	    : db_open(path, DB_READ, DB_SYNC_FULL, a->why, sizeof a->why);

	free(path);
	return db;
}

static bool
open_file(struct audit *a)
{
	a->db = open_segment(a, a->segment);
	for (size_t i = 0; a->db != NULL && i < QUERIES; i++) {
		a->q[i] = db_prepare(a->db, query_sql[i]);
		if (a->q[i] != NULL)
			continue;
		tell_why(a, a->db);
		close_file(a);
	}
	return a->db != NULL;
}

static void
close_newest(struct audit *a)
{
	(void)sqlite3_finalize(a->purged); /* only read */
	a->purged = NULL;
	db_close(a->newest);
	a->newest = NULL;
}

/* The file that tells all purges; another one when the keeper went on in it. */
static bool
open_newest(struct audit *a)
{
	if (a->newest != NULL &&
	    !segments_exists(a->env->journal, a->newest_segment + 1))
		return true;
	close_newest(a);
	a->newest_segment = segments_newest(a->env->journal);
	a->newest = open_segment(a, a->newest_segment);
	if (a->newest == NULL)
		return false;
	a->purged = db_prepare(a->newest,
	    "SELECT last, n FROM purge_range WHERE first <= ?"
	    " ORDER BY first DESC LIMIT 1");
	if (a->purged != NULL)
		return true;
	tell_why(a, a->newest);
	close_newest(a);
	return false;
}

static void
bind_two(struct audit *a, enum query q, uint64_t one, uint64_t two)
{
	(void)sqlite3_bind_int64(a->q[q], 1, (sqlite3_int64)one);
	if (sqlite3_bind_parameter_count(a->q[q]) > 1)
		(void)sqlite3_bind_int64(a->q[q], 2, (sqlite3_int64)two);
}

static struct view
blob(sqlite3_stmt *s, int column)
{
	const void *p = sqlite3_column_blob(s, column);

	return view_of(
	    p != NULL ? p : "", (size_t)sqlite3_column_bytes(s, column));
}

/* ---- records ---- */

/* The number of the purge that took the record, 0: none. */
static uint64_t
purge_of(struct audit *a, uint64_t seq)
{
	uint64_t n = 0;

	(void)sqlite3_bind_int64(a->purged, 1, (sqlite3_int64)seq);
	if (db_step(a->purged) == SQLITE_ROW &&
	    (uint64_t)sqlite3_column_int64(a->purged, 0) >= seq)
		n = (uint64_t)sqlite3_column_int64(a->purged, 1);
	(void)sqlite3_reset(a->purged); /* n tells */
	return n;
}

/* Whether it was purged, perhaps just now. */
static bool
is_purged(struct audit *a, uint64_t seq)
{
	return open_newest(a) && purge_of(a, seq) > 0;
}

/* The payloads of the record; the rows come in order. */
static void
check_parts(struct audit *a, const struct leaf *leaf)
{
	sqlite3_stmt *s = a->q[Q_BODIES];
	uint64_t seq = leaf->head.seq;
	uint8_t hash[TREE_HASH_LEN];
	uint64_t purge;
	unsigned n = 0;

	bind_two(a, Q_BODIES, seq << 8, (seq + 1) << 8);
	while (db_step(s) == SQLITE_ROW) {
		struct view salt = blob(s, 1);

		if ((uint64_t)sqlite3_column_int64(s, 0) != (seq << 8 | n) ||
		    n >= leaf->parts || salt.n != LEAF_SALT_LEN) {
			found(a, seq, seq,
			    "record %" PRIu64 ": a payload too many", seq);
			break;
		}
		leaf_commit(salt.p, blob(s, 2), hash);
		if (memcmp(hash, leaf->commitment[n], sizeof hash) != 0)
			found(a, seq, seq,
			    "record %" PRIu64 ", part %u: payload and salt are "
			    "not what the leaf commits to",
			    seq, n);
		n++;
	}
	(void)sqlite3_reset(s); /* n tells */
	purge = n > 0 ? purge_of(a, seq) : 0;
	if (purge > 0 && purge < a->purges)
		found(a, seq, seq,
		    "record %" PRIu64 ": payload is there, although purge "
		    "%" PRIu64 " removed it: an old copy of the file?",
		    seq, purge);
	if (n < leaf->parts && (n > 0 || !is_purged(a, seq)))
		found(a, seq, seq,
		    "record %" PRIu64 ": payload is missing and not purged",
		    seq);
}

static void
check_leaf(struct audit *a, uint64_t seq)
{
	sqlite3_stmt *s = a->q[Q_LEAVES];
	struct leaf leaf;
	const char *why;

	if (!leaf_parse(blob(s, 3), &leaf, &why))
		found(
		    a, seq, seq, "record %" PRIu64 ": leaf text: %s", seq, why);
	else if (leaf.head.seq != seq ||
	    leaf.head.at != (uint64_t)sqlite3_column_int64(s, 1) ||
	    leaf.head.kind != (unsigned)sqlite3_column_int(s, 2))
		found(a, seq, seq,
		    "record %" PRIu64 ": columns and leaf text differ", seq);
	else
		check_parts(a, &leaf);
}

/* Hashes of the leaves from the position on; how many are there. */
static unsigned
read_leaves(struct audit *a, unsigned n, uint8_t hashes[][TREE_HASH_LEN])
{
	sqlite3_stmt *s = a->q[Q_LEAVES];
	uint64_t first = a->tree->size;
	unsigned i = 0;

	bind_two(a, Q_LEAVES, first, first + n);
	while (i < n && db_step(s) == SQLITE_ROW &&
	    (uint64_t)sqlite3_column_int64(s, 0) == first + i) {
		struct view text = blob(s, 3);

		tree_leaf_hash(text.p, text.n, hashes[i]);
		check_leaf(a, first + i);
		i++;
	}
	(void)sqlite3_reset(s); /* i tells */
	return i;
}

/* False: there is no such tile. */
static bool
read_tile(
    struct audit *a, unsigned level, uint64_t index, uint8_t out[TREE_TILE_LEN])
{
	struct view data;
	bool there;

	bind_two(a, Q_TILE, level, index);
	there = db_step(a->q[Q_TILE]) == SQLITE_ROW;
	if (there) {
		data = blob(a->q[Q_TILE], 0);
		there = data.n == TREE_TILE_LEN;
		if (there)
			memcpy(out, data.p, TREE_TILE_LEN);
	}
	(void)sqlite3_reset(a->q[Q_TILE]); /* `there` tells */
	return there;
}

/* The tile's word is followed where leaf and tile differ: one finding each. */
static void
compare_tile(struct audit *a, uint8_t hashes[SLICE][TREE_HASH_LEN], unsigned n)
{
	uint64_t first = a->tree->size;
	uint8_t tile[TREE_TILE_LEN];

	if (!read_tile(a, 0, first / SLICE, tile)) {
		found(a, first, first + SLICE - 1,
		    "tile 0/%" PRIu64 " is missing", first / SLICE);
		return;
	}
	for (unsigned i = 0; i < SLICE; i++) {
		const uint8_t *other = tile + (size_t)i * TREE_HASH_LEN;

		if (i < n && memcmp(hashes[i], other, TREE_HASH_LEN) != 0)
			found(a, first + i, first + i,
			    "record %" PRIu64
			    ": the leaf is not the one that its tile holds",
			    first + i);
		memcpy(hashes[i], other, TREE_HASH_LEN);
	}
}

static int
on_full(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
	struct audit *a = arg;
	uint8_t tile[TREE_TILE_LEN];

	if (level > 0 &&
	    (!read_tile(a, level, index, tile) ||
		memcmp(tile, hashes, TREE_TILE_LEN) != 0))
		found(a, 0, a->tree->size - 1,
		    "tile %u/%" PRIu64 " is not that of the tiles below", level,
		    index);
	return 0;
}

/* Adds the leaves; the stored checkpoints on the way must have their root. */
static void
grow(struct audit *a, uint8_t hashes[][TREE_HASH_LEN], unsigned n)
{
	sqlite3_stmt *s = a->q[Q_POINTS];
	uint64_t end = a->tree->size + n;
	bool more;

	bind_two(a, Q_POINTS, a->tree->size, end);
	more = db_step(s) == SQLITE_ROW;
	for (unsigned i = 0; i < n; i++) {
		uint8_t root[TREE_HASH_LEN];
		struct note note;
		const char *why;

		(void)tree_add(a->tree, hashes[i], on_full, a); /* always 0 */
		if (!more ||
		    (uint64_t)sqlite3_column_int64(s, 0) != a->tree->size)
			continue;
		tree_root(a->tree, root);
		if (!note_parse(blob(s, 1), &note, &why) ||
		    note.size != a->tree->size ||
		    memcmp(note.root, root, sizeof root) != 0)
			found(a, 0, a->tree->size - 1,
			    "the records do not give the root of the "
			    "checkpoint of size %" PRIu64,
			    a->tree->size);
		more = db_step(s) == SQLITE_ROW;
	}
	(void)sqlite3_reset(s); /* what was read was compared */
}

/* ---- rounds ---- */

static void
begin(struct audit *a)
{
	close_file(a);
	a->segment = 0;
	a->since = clock_now();
	tree_init(a->tree);
	a->last_broken = a->broken;
	a->broken = 0;
}

static void
finish(struct audit *a)
{
	struct audit_result t = {.last = a->tree->size - 1,
	    .since = a->since,
	    .whole = a->broken == 0};

	a->done_at = clock_now();
	a->done_whole = t.whole;
	a->due_from = a->done_at;
	if (t.whole) {
		a->whole_at = a->done_at;
		a->finding[0] = '\0';
		log_info("audit: %" PRIu64 " records are whole", a->tree->size);
	} else {
		log_error("AUDIT: %" PRIu64 " findings in %" PRIu64 " records",
		    a->broken, a->tree->size);
	}
	a->demand = false;
	audit_told_add(&a->told, t);
	begin(a);
}

/* 1: more to read; 0: the end of what there is; -1: cannot be read. */
static int
read_slice(struct audit *a)
{
	uint8_t hashes[SLICE][TREE_HASH_LEN], head[TREE_HASH_LEN];
	uint64_t at = a->tree->size, size = 0, left;
	uint8_t root[TREE_HASH_LEN];
	unsigned n, there;
	bool known;

	known = db_step(a->q[Q_HEAD]) == SQLITE_ROW &&
	    sqlite3_column_bytes(a->q[Q_HEAD], 1) == TREE_HASH_LEN;
	if (known) {
		size = (uint64_t)sqlite3_column_int64(a->q[Q_HEAD], 0);
		memcpy(head, sqlite3_column_blob(a->q[Q_HEAD], 1), sizeof head);
	}
	(void)sqlite3_reset(a->q[Q_HEAD]); /* `known` tells */
	if (!known)
		return -1;
	if (size < at) {
		found(a, 0, at - 1,
		    "the head says %" PRIu64 " records, %" PRIu64 " were read",
		    size, at);
		return 0;
	}
	left = size - at;
	n = left < SLICE ? (unsigned)left : SLICE;
	there = read_leaves(a, n, hashes);
	if (there < n)
		found(a, at + there, at + n - 1,
		    "record %" PRIu64 " is missing or cannot be read",
		    at + there);
	if (n == SLICE)
		compare_tile(a, hashes, there);
	else if (there < n)
		return 0;
	grow(a, hashes, n);
	if (left > SLICE)
		return 1;
	tree_root(a->tree, root);
	if (memcmp(root, head, sizeof root) != 0)
		found(a, 0, a->tree->size - 1,
		    "the records do not give the root of the head, size "
		    "%" PRIu64,
		    size);
	return 0;
}

/* From the tiles that a file has of those before it. */
static int
load_hashes(
    void *arg, unsigned level, uint64_t first, unsigned count, uint8_t *hashes)
{
	struct audit *a = arg;
	uint8_t tile[TREE_TILE_LEN];

	for (unsigned i = 0; i < count; i++) {
		if (level == 0 || !read_tile(a, level - 1, first + i, tile))
			return -1;
		tree_tile_node(tile, TREE_TILE_HEIGHT, 0,
		    hashes + (size_t)i * TREE_HASH_LEN);
	}
	return 0;
}

/*
 * A file that does not begin where the one before it ended. False: nothing
 * can be said of what follows, and the round is over.
 */
static bool
skip_to(struct audit *a, uint64_t first)
{
	uint64_t at = a->tree->size;
	char why[sizeof a->why];

	if (a->tries == 0)
		(void)snprintf(a->why, sizeof a->why, "the file ends early");
	memcpy(why, a->why, sizeof why);
	if (at < first)
		found(a, at, first - 1,
		    "records %" PRIu64 " to %" PRIu64 " cannot be read: %s", at,
		    first - 1, why);
	tree_init(a->tree);
	if (at < first && first % SLICE == 0 &&
	    tree_load(a->tree, first, load_hashes, a) == 0)
		return true;
	if (first < at)
		first = at;
	found(a, 0, first - 1, "file %u does not continue those before it",
	    a->segment);
	a->tree->size = first;
	finish(a);
	return false;
}

/*
 * Goes on in the file whose turn it is, and in the one behind it when that
 * cannot be read, some time long.
 */
static bool
enter_file(struct audit *a)
{
	uint64_t first;

	while (!open_file(a)) {
		if (a->segment >= segments_newest(a->env->journal) ||
		    ++a->tries < TRIES)
			return false;
		a->segment++;
	}
	first = (uint64_t)db_int(a->db,
	    "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'first'", 0);
	if (first != a->tree->size && !skip_to(a, first)) {
		close_file(a);
		return false;
	}
	a->tries = 0;
	return true;
}

/* False: what comes next could not be read, a->why. */
static bool
read_file(struct audit *a)
{
	int r;

	if (!open_newest(a))
		return false;
	a->purges =
	    (uint64_t)db_int(a->newest, "SELECT MAX(n) FROM purge_range", 0);
	a->size = (uint64_t)db_int(
	    a->newest, "SELECT size FROM head", (sqlite3_int64)a->size);
	if (a->db == NULL && !enter_file(a))
		return false;
	/* A read of its own, so that it never keeps the WAL from being emptied. */
	r = db_exec(a->db, "BEGIN") == 0 ? read_slice(a) : -1;
	(void)db_exec(a->db, "COMMIT"); /* only read */
	if (r < 0) {
		tell_why(a, a->db);
		close_file(a);
		if (++a->tries >= TRIES &&
		    a->segment < segments_newest(a->env->journal))
			a->segment++;
		return false;
	}
	a->tries = 0;
	if (r == 1)
		return true;
	if (a->segment < segments_newest(a->env->journal)) {
		close_file(a);
		a->segment++;
		return true;
	}
	if (a->tree->size > 0)
		finish(a);
	return true;
}

static bool
slice(struct audit *a)
{
	bool complained = a->complained;

	if (a->tree->size == 0 && a->segment == 0)
		a->since = clock_now();
	a->complained = !read_file(a);
	if (a->complained && !complained)
		log_warn("audit: %s", a->why);
	return !a->complained;
}

/* Milliseconds until the next slice, when the last one took so many. */
static uint64_t
pause_ms(const struct audit *a, uint64_t took)
{
	uint64_t slices =
	    a->size > a->tree->size ? (a->size - a->tree->size) / SLICE + 1 : 1;
	uint64_t due = a->due_from + (uint64_t)a->env->period_s * 1000000;
	uint64_t now = clock_now();
	uint64_t pause = due > now ? (due - now) / US_PER_MS / slices : 0;

	if (a->demand)
		return 0;
	return pause > took * REST + 1 ? pause : took * REST + 1;
}

static void on_timer(uv_timer_t *timer);

/* A long pause is cut: the journal grows, and the clock may be set. */
static void
wait_for(struct audit *a, uint64_t took)
{
	uint64_t pause = pause_ms(a, took);

	(void)uv_timer_start(
	    &a->timer, on_timer, pause < LOOK_MS ? pause : LOOK_MS, 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct audit *a = timer->data;
	uint64_t before = uv_hrtime();

	if (!a->demand && a->env->period_s == 0)
		return;
	if (!a->demand && pause_ms(a, 0) > LOOK_MS) {
		wait_for(a, 0);
		return;
	}
	if (!slice(a)) {
		(void)uv_timer_start(timer, on_timer, RETRY_MS, 0);
		return;
	}
	wait_for(a, (uv_hrtime() - before) / 1000000);
}

/* ---- outside ---- */

/*
 * Takes what an audit record says, unless a newer one did. One of just the
 * first file tells of no reading of all.
 */
static bool
take_past(
    struct audit *a, struct scan *scan, const struct leaf *leaf, uint64_t seq)
{
	uint64_t first, last;
	struct view result;
	bool whole, all;

	if (!leaf_field(leaf->fields, "result", &result) ||
	    !leaf_field_number(leaf->fields, "first", &first) ||
	    !leaf_field_number(leaf->fields, "last", &last))
		return false;
	whole = view_is(result, "whole");
	all = first == 0 && last + 1 != scan_file_end(scan, 0);
	if (all && a->due_from == 0)
		a->due_from = leaf->head.at;
	if (all && whole)
		a->whole_at = leaf->head.at;
	else if (!whole && a->finding[0] == '\0')
		(void)snprintf(a->finding, sizeof a->finding,
		    "found broken earlier: see audit record %" PRIu64, seq);
	return true;
}

static void
look_back(struct audit *a, struct scan *scan)
{
	uint64_t before = INT64_MAX;
	struct buf text;

	buf_init(&text);
	for (unsigned i = 0; i < 200 && a->whole_at == 0; i++) {
		struct leaf leaf;
		const char *why;

		buf_clear(&text);
		if (scan_control_before(
			scan, EVENT_AUDIT, before, &before, &text) != 1 ||
		    !leaf_parse(buf_view(&text), &leaf, &why) ||
		    !take_past(a, scan, &leaf, before))
			break;
	}
	buf_release(&text);
}

struct audit *
audit_new(const struct audit_env *env)
{
	struct audit *a = calloc(1, sizeof *a);

	if (a == NULL || (a->tree = malloc(sizeof *a->tree)) == NULL) {
		free(a);
		return NULL;
	}
	a->env = env;
	a->handles = 2;
	tree_init(a->tree);
	(void)uv_timer_init(env->loop, &a->timer); /* always 0 */
	audit_told_init(&a->told, env->loop, env->keeper);
	a->timer.data = a;
	return a;
}

void
audit_start(struct audit *a, struct scan *scan)
{
	look_back(a, scan);
	a->size = scan_size(scan);
	if (a->due_from == 0)
		a->due_from = clock_now();
	begin(a);
	wait_for(a, 0);
}

void
audit_run(struct audit *a)
{
	if (a->demand)
		return;
	begin(a);
	a->demand = true;
	(void)uv_timer_start(&a->timer, on_timer, 0, 0);
}

void
audit_status(const struct audit *a, struct audit_status *out)
{
	*out = (struct audit_status){
	    .running = a->demand,
	    .position = a->tree->size,
	    .size = a->size,
	    .since = a->since,
	    .whole_at = a->whole_at,
	    .done_at = a->done_at,
	    .done_whole = a->done_whole,
	    .broken = a->broken > 0 ? a->broken : a->last_broken,
	    .finding = a->finding,
	};
}

static void
on_timer_closed(uv_handle_t *handle)
{
	struct audit *a = handle->data;

	if (--a->handles > 0)
		return;
	close_file(a);
	close_newest(a);
	free(a->tree);
	free(a);
}

void
audit_free(struct audit *a)
{
	if (a == NULL)
		return;
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
	a->told.timer.data = a;
	uv_close((uv_handle_t *)&a->told.timer, on_timer_closed);
}
