#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/schema.h"
#include "compliance/segments.h"

/* How long a checkpoint that must empty the WAL waits for readers. */
#define BUSY_MS 20

static const char *const statement_sql[STATEMENTS] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_LEAF] =
	"INSERT OR ROLLBACK INTO leaf(seq, at, kind, bytes) VALUES (?, ?, ?, ?)",
    [S_BODY] = "INSERT OR ROLLBACK INTO body(id, salt, data) VALUES (?, ?, ?)",
    [S_TILE] = "INSERT INTO tile(level, idx, data) VALUES (?, ?, ?)",
    [S_HEAD] = "UPDATE head SET size = ?, root = ?, note = COALESCE(?, note)",
    [S_CHECKPOINT] =
	"INSERT INTO checkpoint(size, note) SELECT ?1, ?2"
	" WHERE NOT EXISTS (SELECT 1 FROM checkpoint WHERE size >= ?1)",
    [S_POINT_ADD] = "INSERT INTO checkpoint(size, note) SELECT ?1, ?2 WHERE"
		    " NOT EXISTS (SELECT 1 FROM checkpoint WHERE size = ?1)",
    [S_BATCH] = "INSERT INTO batch(seq, adapter, n, first, last)"
		" VALUES (?, ?, ?, ?, ?)",
    [S_ACK] = "INSERT INTO ack(seq, adapter, n, state) VALUES (?, ?, ?, ?)",
    [S_RANGE] = "INSERT INTO purge_range(first, last, n, seq)"
		" VALUES (?, ?, ?, ?)",
    [S_RANGE_NEXT] = "SELECT COALESCE(MAX(n), 0) + 1 FROM purge_range",
    [S_BODY_DELETE] = "DELETE FROM body WHERE id >= ? AND id < ?",
    [S_HOLD] =
	"INSERT INTO hold(n, seq, salt, selector, room, user, since, until)"
	" VALUES (?, ?, ?, ?, lower(?), lower(?), ?, ?)",
    [S_HOLD_NEXT] = "SELECT COALESCE(MAX(n), 0) + 1 FROM hold",
    [S_HOLD_FIND] = "SELECT h.released, l.bytes FROM hold h JOIN leaf l"
		    " ON l.seq = h.seq WHERE h.n = ?",
    [S_NEXT_PURGE] =
	"SELECT seq, bytes FROM leaf WHERE kind = 131 AND kind >= 128"
	" AND seq >= ? ORDER BY seq LIMIT 1",
    [S_RELEASE] = "UPDATE hold SET released = ? WHERE n = ?",
    [S_LEAVES] = "SELECT bytes, kind FROM leaf WHERE seq >= ? AND seq < ?"
		 " ORDER BY seq",
    [S_TILE_READ] = "SELECT data FROM tile WHERE level = ? AND idx = ?",
    [S_LAST_LEAF] = "SELECT seq, at, kind FROM leaf ORDER BY seq DESC LIMIT 1",
    [S_LAST_CONTROL] = "SELECT seq, bytes FROM leaf WHERE kind = ?"
		       " AND kind >= 128 AND seq < ? ORDER BY seq DESC LIMIT 1",
    [S_POINT] = "SELECT note FROM checkpoint WHERE size = ?",
    [S_BASES] = "SELECT COUNT(*) FROM leaf WHERE kind = 128 AND kind >= 128"
		" AND seq <= ?",
    /* What is there already stays as it is. */
    [S_COSIG] = "INSERT INTO cosig(size, at, line, name)"
		" SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS"
		" (SELECT 1 FROM cosig WHERE size = ?1 AND name = ?4)",
    [S_COSIG_FIND] =
	"SELECT 1 FROM cosig WHERE size = ? AND name = ? AND line = ?",
    [S_STAMP] = "INSERT INTO stamp(size, at, token) SELECT ?1, ?2, ?3"
		" WHERE NOT EXISTS (SELECT 1 FROM stamp WHERE size = ?1)",
    [S_EVIDENCE_NEWEST] =
	"SELECT bytes FROM (SELECT size, at, line AS bytes FROM cosig"
	" WHERE size = (SELECT MAX(size) FROM cosig)"
	" UNION ALL SELECT size, at, token FROM stamp"
	" WHERE size = (SELECT MAX(size) FROM stamp))"
	" ORDER BY size DESC, at DESC LIMIT 1",
};

int
journal_fail(struct journal *j, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(j->error, sizeof j->error, fmt, ap); /* for people */
	va_end(ap);
	return -1;
}

int
journal_fail_sql(struct journal *j, const char *what)
{
	int code = sqlite3_system_errno(j->db);

	return journal_fail(j, "%s: %s%s%s", what, sqlite3_errmsg(j->db),
	    code != 0 ? ": " : "", code != 0 ? strerror(code) : "");
}

/* Hashes of stored leaves [first, first + count). */
static int
read_leaf_hashes(
    struct journal *j, uint64_t first, uint64_t count, uint8_t *hashes)
{
	sqlite3_stmt *s = j->stmt[S_LEAVES];
	uint64_t n = 0;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)first);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)(first + count));
	while (n < count && sqlite3_step(s) == SQLITE_ROW) {
		tree_leaf_hash(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0),
		    hashes + n * TREE_HASH_LEN);
		n++;
	}
	(void)sqlite3_reset(s); /* what is missing shows in the count */
	return n == count
	    ? 0
	    : journal_fail(j, "leaf %" PRIu64 " cannot be read", first + n);
}

static int
read_tile(struct journal *j, unsigned level, uint64_t index,
    uint8_t out[TREE_TILE_LEN])
{
	sqlite3_stmt *s = j->stmt[S_TILE_READ];
	int r = -1;

	(void)sqlite3_bind_int64(s, 1, level);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)index);
	if (sqlite3_step(s) == SQLITE_ROW &&
	    sqlite3_column_bytes(s, 0) == TREE_TILE_LEN) {
		memcpy(out, sqlite3_column_blob(s, 0), TREE_TILE_LEN);
		r = 0;
	}
	(void)sqlite3_reset(s); /* r tells */
	if (r != 0 && level == 0 && index * TREE_TILE_WIDTH < j->first)
		return journal_old_tile(j, index, out);
	return r == 0 ? 0
		      : journal_fail(j, "tile %u/%" PRIu64 " cannot be read",
			    level, index);
}

static int
load_hashes(
    void *arg, unsigned level, uint64_t first, unsigned count, uint8_t *hashes)
{
	struct journal *j = arg;
	uint8_t tile[TREE_TILE_LEN];

	if (level == 0)
		return read_leaf_hashes(j, first, count, hashes);
	for (unsigned i = 0; i < count; i++) {
		if (read_tile(j, level - 1, first + i, tile) != 0)
			return -1;
		tree_tile_node(tile, TREE_TILE_HEIGHT, 0,
		    hashes + (size_t)i * TREE_HASH_LEN);
	}
	return 0;
}

static int
find_node(
    void *arg, unsigned height, uint64_t index, uint8_t out[TREE_HASH_LEN])
{
	struct journal *j = arg;
	unsigned h = height % TREE_TILE_HEIGHT;
	unsigned in_tile = TREE_TILE_HEIGHT - h;
	uint8_t tile[TREE_TILE_LEN];

	if (tree_held(j->tree, height, index, out))
		return 0;
	if (read_tile(j, height / TREE_TILE_HEIGHT, index >> in_tile, tile) !=
	    0)
		return -1;
	tree_tile_node(tile, h, (unsigned)(index & ((1U << in_tile) - 1)), out);
	return 0;
}

/* Size, time and tree as the file has them, checked against its head. */
int
journal_load(struct journal *j)
{
	sqlite3_stmt *s = j->stmt[S_LAST_LEAF];
	uint8_t root[TREE_HASH_LEN];
	uint64_t size = 0;
	sqlite3_stmt *head;
	bool same;
	int r;

	r = sqlite3_step(s);
	j->at = 0;
	j->sealed = false;
	j->holds_known = false;
	if (r == SQLITE_ROW) {
		size = (uint64_t)sqlite3_column_int64(s, 0) + 1;
		j->at = (uint64_t)sqlite3_column_int64(s, 1);
		j->sealed =
		    sqlite3_column_int(s, 2) == EVENT_SEAL && size > j->first;
	}
	(void)sqlite3_reset(s); /* r tells */
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return journal_fail_sql(j, "the journal cannot be read");
	tree_init(j->tree);
	if (tree_load(j->tree, size, load_hashes, j) != 0)
		return -1;
	tree_root(j->tree, root);
	head = db_prepare(j->db, "SELECT size, root FROM head");
	same = head != NULL && sqlite3_step(head) == SQLITE_ROW &&
	    (uint64_t)sqlite3_column_int64(head, 0) == size &&
	    sqlite3_column_bytes(head, 1) == TREE_HASH_LEN &&
	    memcmp(sqlite3_column_blob(head, 1), root, sizeof root) == 0;
	(void)sqlite3_finalize(head); /* `same` tells */
	j->size = size;
	if (!same)
		return journal_fail(j,
		    "the leaves do not lead to the stored root at size %" PRIu64
		    ": the file was altered or damaged",
		    size);
	return journal_clock_load(j);
}

int
journal_root_at(struct journal *j, uint64_t size, uint8_t out[32])
{
	const struct tree_source source = {find_node, j};

	if (size > j->tree->size)
		return journal_fail(
		    j, "size %" PRIu64 " is ahead of the journal", size);
	return tree_root_at(&source, size, out);
}

int
journal_proof(struct journal *j, uint64_t old, uint64_t size, struct buf *out)
{
	const struct tree_source source = {find_node, j};

	return tree_consistency(&source, old, size, out);
}

int
journal_last_fields(struct journal *j, unsigned kind, struct buf *out)
{
	uint64_t seq;

	return journal_fields_before(j, kind, INT64_MAX, &seq, out);
}

int
journal_has_checkpoint(struct journal *j, uint64_t size)
{
	sqlite3_stmt *s = j->stmt[S_POINT];
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)size);
	r = sqlite3_step(s);
	(void)sqlite3_reset(s); /* r tells */
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : journal_fail_sql(j, "checkpoint");
}

int
journal_fields_before(struct journal *j, unsigned kind, uint64_t before,
    uint64_t *seq, struct buf *out)
{
	sqlite3_stmt *s = j->stmt[S_LAST_CONTROL];
	const char *why;
	struct leaf leaf;
	int r;

	(void)sqlite3_bind_int64(s, 1, kind);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)before);
	r = sqlite3_step(s);
	if (r == SQLITE_ROW) {
		struct view text = view_of(sqlite3_column_blob(s, 1),
		    (size_t)sqlite3_column_bytes(s, 1));

		*seq = (uint64_t)sqlite3_column_int64(s, 0);
		if (leaf_parse(text, &leaf, &why))
			buf_put_view(out, leaf.fields);
		else
			r = journal_fail(
			    j, "control record cannot be read: %s", why);
	}
	(void)sqlite3_reset(s); /* r tells */
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : -1;
}

uint64_t
journal_size(const struct journal *j)
{
	return j->size;
}

void
journal_root(const struct journal *j, uint8_t out[32])
{
	tree_root(j->tree, out);
}

uint64_t
journal_time(const struct journal *j)
{
	return j->at;
}

const char *
journal_uuid(const struct journal *j)
{
	return j->uuid;
}

const char *
journal_origin(const struct journal *j)
{
	return j->origin;
}

const char *
journal_vkey(const struct journal *j)
{
	return j->vkey;
}

uint64_t
journal_begun(struct journal *j)
{
	sqlite3_stmt *s =
	    db_prepare(j->db, "SELECT at FROM leaf WHERE seq = ?");
	uint64_t at = 0;

	if (s == NULL)
		return 0;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)j->first);
	if (sqlite3_step(s) == SQLITE_ROW)
		at = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* the value tells */
	return at;
}

unsigned
journal_segment(const struct journal *j)
{
	return j->segment;
}

uint64_t
journal_first(const struct journal *j)
{
	return j->first;
}

bool
journal_sealed(const struct journal *j)
{
	return j->sealed;
}

const char *
journal_error(const struct journal *j)
{
	return j->error;
}

int
journal_wal_pages(const struct journal *j)
{
	return j->wal_pages;
}

int
journal_checkpoint(struct journal *j)
{
	int frames = 0;

	if (db_checkpoint_passive(j->db, &frames) != 0)
		return journal_fail_sql(j, "checkpoint");
	j->wal_pages = 0;
	return 0;
}

int
journal_truncate(struct journal *j)
{
	int finished = journal_finish_purge(j);

	/* What was purged here goes, whatever became of another file. */
	if (db_checkpoint_truncate(j->db) == 0)
		j->wal_pages = 0;
	else if (finished == 0)
		return journal_fail_sql(j, "truncation of the WAL");
	return finished;
}

/* ---- opening ---- */

static char *
read_meta(sqlite3 *db, const char *name)
{
	sqlite3_stmt *s =
	    db_prepare(db, "SELECT value FROM meta WHERE name = ?");
	char *value = NULL;

	if (s == NULL)
		return NULL;
	(void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	if (sqlite3_step(s) == SQLITE_ROW)
		value = db_dup_text(s, 0);
	(void)sqlite3_finalize(s); /* the value tells */
	return value;
}

static int
read_place(struct journal *j)
{
	char *segment = read_meta(j->db, "segment");
	char *first = read_meta(j->db, "first");
	uint64_t n = 0;
	bool ok = segment != NULL && first != NULL &&
	    view_to_u64(view_text(segment), &n) && n <= INT32_MAX &&
	    view_to_u64(view_text(first), &j->first);

	free(segment);
	free(first);
	j->segment = (unsigned)n;
	return ok ? 0 : journal_fail(j, "the number of the file is missing");
}

static int
read_identity(struct journal *j)
{
	if (db_int(j->db, "PRAGMA application_id", 0) != SCHEMA_APPLICATION_ID)
		return journal_fail(j, "not a journal");
	if (db_int(j->db, "PRAGMA user_version", 0) != SCHEMA_VERSION)
		return journal_fail(j, "a journal of an unknown version");
	j->uuid = read_meta(j->db, "journal");
	j->origin = read_meta(j->db, "origin");
	j->vkey = read_meta(j->db, "vkey");
	if (j->uuid == NULL || j->origin == NULL || j->vkey == NULL)
		return journal_fail(j, "the journal's identity is missing");
	return read_place(j);
}

int
journal_read_name(struct journal *j)
{
	struct buf fields;
	char *origin, *vkey;
	int r;

	buf_init(&fields);
	r = journal_last_fields(j, EVENT_RECOVER, &fields);
	if (r == 1) {
		origin = leaf_field_dup(buf_view(&fields), "origin");
		vkey = leaf_field_dup(buf_view(&fields), "vkey");
		free(j->origin);
		free(j->vkey);
		j->origin = origin;
		j->vkey = vkey;
		r = origin != NULL && vkey != NULL
		    ? 0
		    : journal_fail(j, "the recover record is malformed");
	}
	buf_release(&fields);
	return r;
}

static int
read_note(struct journal *j)
{
	sqlite3_stmt *s = db_prepare(j->db, "SELECT note FROM head");
	const char *why;
	struct note note;
	int r = -1;

	j->note_size = 0;
	if (s != NULL && sqlite3_step(s) == SQLITE_ROW) {
		struct view text = view_of(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0));

		if (text.n == 0) {
			r = 0;
		} else if (note_parse(text, &note, &why)) {
			if (view_is(note.origin, j->origin))
				j->note_size = note.size;
			r = 0;
		}
	}
	(void)sqlite3_finalize(s); /* r tells */
	return r == 0 ? 0 : journal_fail(j, "the stored note is malformed");
}

static int
on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct journal *j = arg;

	(void)db;
	(void)name;
	j->wal_pages = pages;
	return SQLITE_OK;
}

const struct holds *
journal_holds(struct journal *j)
{
	if (!j->holds_known && holds_read(&j->holds, j->db, HOLDS_NOW) != 0) {
		(void)journal_fail_sql(j, "holds");
		return NULL;
	}
	j->holds_known = true;
	return &j->holds;
}

static const struct holds *
get_holds(void *arg)
{
	return journal_holds(arg);
}

int
journal_watch(struct journal *j)
{
	(void)sqlite3_wal_hook(j->db, on_wal, j); /* returns the old one */
	return holds_fence(j->db, get_holds, j) == 0
	    ? 0
	    : journal_fail(j, "out of memory");
}

static int
prepare(struct journal *j)
{
	if (journal_watch(j) != 0)
		return -1;
	for (size_t i = 0; i < STATEMENTS; i++) {
		j->stmt[i] = db_prepare(j->db, statement_sql[i]);
		if (j->stmt[i] == NULL)
			return journal_fail_sql(j, "schema");
	}
	if (sqlite3_busy_timeout(j->db, BUSY_MS) != SQLITE_OK ||
	    db_seal(j->db, false) != 0)
		return journal_fail_sql(j, "settings");
	return 0;
}

struct journal *
journal_open_file(const char *path, const char *file, char *why, size_t why_len)
{
	struct journal *j = calloc(1, sizeof *j);

	if (j == NULL || (j->tree = calloc(1, sizeof *j->tree)) == NULL ||
	    (j->path = strdup(path)) == NULL) {
		if (j != NULL)
			free(j->tree);
		free(j);
		(void)snprintf(why, why_len, "%s: out of memory", path);
		return NULL;
	}
	buf_init(&j->leaf);
	buf_init(&j->note);
	journal_tune_library();
	j->db = db_open(file, DB_WRITE, DB_SYNC_FULL, why, why_len);
	if (j->db == NULL) {
		journal_close(j);
		return NULL;
	}
	if (!clock_boot_id(j->boot_id))
		(void)journal_fail(j, "the boot id cannot be read");
	if (j->boot_id[0] == '\0' || read_identity(j) != 0 || prepare(j) != 0 ||
	    journal_read_name(j) != 0 || journal_load(j) != 0 ||
	    read_note(j) != 0) {
		(void)snprintf(why, why_len, "%s: %s", file, j->error);
		journal_close(j);
		return NULL;
	}
	j->writable = true;
	j->undone = j->segment > 0;
	return j;
}

struct journal *
journal_open(const char *path, char *why, size_t why_len)
{
	unsigned newest = segments_newest(path);
	char *file = segments_path(path, newest);
	struct journal *j = NULL;

	if (file == NULL)
		(void)snprintf(why, why_len, "%s: out of memory", path);
	else
		j = journal_open_file(path, file, why, why_len);
	if (j != NULL && j->segment != newest) {
		(void)snprintf(why, why_len,
		    "%s: by its name segment %u, but it says that it is %u",
		    file, newest, j->segment);
		journal_close(j);
		j = NULL;
	}
	free(file);
	return j;
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(j->stmt[i]); /* repeats old errors */
	journal_drop_next(j);
	journal_drop_shrink(j);
	db_close(j->db);
	journal_close_old(j);
	buf_release(&j->leaf);
	buf_release(&j->note);
	free(j->path);
	approvals_release(&j->approvals);
	holds_release(&j->holds);
	free(j->uuid);
	free(j->origin);
	free(j->vkey);
	free(j->tree);
	free(j);
}
