#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/leaf.h"
#include "compliance/segments.h"

/* ---- sealing ---- */

int
journal_seal(struct journal *j, struct journal_event *out)
{
	struct buf fields;
	int r;

	if ((j->size + 1) % JOURNAL_SEGMENT_UNIT != 0) {
		(void)journal_fail(
		    j, "no file ends with record %" PRIu64, j->size);
		return 1;
	}
	buf_init(&fields);
	leaf_put_number(&fields, "segment", j->segment);
	leaf_put_number(&fields, "first", j->first);
	leaf_put_number(&fields, "count", j->size + 1 - j->first);
	memset(out, 0, sizeof *out);
	out->kind = EVENT_SEAL;
	out->fields = buf_view(&fields);
	r = fields.failed ? journal_fail(j, "out of memory")
			  : journal_append(j, out, 1);
	out->fields = view_of(NULL, 0);
	buf_release(&fields);
	return r;
}

bool
journal_opens(const struct journal *j)
{
	return j->size == j->first;
}

/* 1 when there is such a checkpoint, 0, or -1; its hash when out is given. */
static int
find_point(struct journal *j, uint64_t size, uint8_t out[CRYPTO_SHA256_LEN])
{
	sqlite3_stmt *s = j->stmt[S_POINT];
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)size);
	r = sqlite3_step(s);
	if (r == SQLITE_ROW && out != NULL)
		crypto_sha256(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0), out);
	(void)sqlite3_reset(s); /* r tells */
	if (r == SQLITE_ROW)
		return 1;
	return r == SQLITE_DONE ? 0 : journal_fail_sql(j, "checkpoint");
}

int
journal_put_base(struct journal *j, struct buf *out)
{
	uint8_t hash[CRYPTO_SHA256_LEN];

	if (j->segment == 0) {
		buf_put_u8(out, '-');
		return 0;
	}
	if (find_point(j, j->first, hash) != 1)
		return journal_fail(
		    j, "the checkpoint that the file begins with is missing");
	text_put_hex(out, hash, sizeof hash);
	return 0;
}

/* ---- the next file ---- */

/* The file is whole and has the tree of this one. */
static int
check_file(struct journal *j, const char *path)
{
	uint8_t root[TREE_HASH_LEN], copied[TREE_HASH_LEN];
	struct journal *n;
	char why[256];
	bool same;

	n = journal_open_file(j->path, path, why, sizeof why);
	if (n == NULL)
		return journal_fail(j, "%s", why);
	journal_root(j, root);
	journal_root(n, copied);
	same = n->size == j->size && n->at == j->at &&
	    memcmp(root, copied, sizeof root) == 0;
	journal_close(n);
	return same ? 0 : journal_fail(j, "%s: is not a copy", path);
}

static int
put_in_place(struct journal *j, const char *made, const char *path)
{
	if (rename(made, path) == 0 && file_sync_parent(path) == 0)
		return 0;
	return journal_fail(j, "%s: cannot be put in its place", path);
}

/* The new file's insides become those of j, and the old ones are closed. */
static void
turn_to(struct journal *j, struct journal *n)
{
	struct journal old = *j;
	char *const names[] = {n->uuid, n->origin, n->vkey};

	*j = *n;
	j->undone = old.undone;
	j->approvals = old.approvals;
	memset(&old.approvals, 0, sizeof old.approvals);
	j->offset = old.offset;
	j->offset_known = old.offset_known;
	j->uuid = old.uuid; /* callers may hold these */
	j->origin = old.origin;
	j->vkey = old.vkey;
	*n = old;
	n->uuid = names[0];
	n->origin = names[1];
	n->vkey = names[2];
	if (journal_watch(j) != 0)
		j->writable = false; /* the next file's own hooks are gone */
	/* The file is at rest: readers find an empty WAL. */
	(void)db_keep_wal(n->db);
	(void)db_checkpoint_truncate(n->db); /* a reader may keep it busy */
	journal_close(n);
}

static int
roll_to(struct journal *j, const char *old, const char *path)
{
	struct journal *n = NULL;
	char why[256], *made;

	if (journal_finish_next(j, old, &made) != 0)
		return -1;
	if (check_file(j, made) == 0 && put_in_place(j, made, path) == 0) {
		n = journal_open_file(j->path, path, why, sizeof why);
		if (n == NULL)
			(void)journal_fail(j, "%s", why);
	}
	free(made);
	if (n == NULL)
		return -1;
	turn_to(j, n);
	return 0;
}

int
journal_roll(struct journal *j)
{
	char *old = segments_path(j->path, j->segment);
	char *path = segments_path(j->path, j->segment + 1);
	int r = -1;

	if (!j->writable || !j->sealed)
		(void)journal_fail(j, "the file is not sealed");
	else if (old == NULL || path == NULL)
		(void)journal_fail(j, "out of memory");
	else if ((r = find_point(j, j->size, NULL)) == 1)
		r = roll_to(j, old, path);
	else if (r == 0)
		r = 1;
	if (r < 0)
		j->writable = false;
	free(path);
	free(old);
	return r;
}

/* ---- what only sealed files have ---- */

void
journal_close_old(struct journal *j)
{
	db_close(j->old);
	j->old = NULL;
}

/* Open records are copied, and each begins a file. */
int
journal_segment_of(struct journal *j, uint64_t seq, unsigned *out)
{
	sqlite3_stmt *s = j->stmt[S_BASES];
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	r = sqlite3_step(s);
	*out = r == SQLITE_ROW ? (unsigned)sqlite3_column_int(s, 0) : 0;
	(void)sqlite3_reset(s); /* r tells */
	if (*out == 0)
		return journal_fail(j, "record %" PRIu64 " is in no file", seq);
	--*out;
	return 0;
}

sqlite3 *
journal_old_db(struct journal *j, uint64_t seq)
{
	unsigned segment;
	char why[256];
	char *path;

	if (journal_segment_of(j, seq, &segment) != 0)
		return NULL;
	if (j->old != NULL && j->old_segment == segment)
		return j->old;
	journal_close_old(j);
	path = segments_path(j->path, segment);
	if (path == NULL) {
		(void)journal_fail(j, "out of memory");
		return NULL;
	}
	j->old = db_open(path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	free(path);
	j->old_segment = segment;
	if (j->old == NULL)
		(void)journal_fail(j, "%s", why);
	return j->old;
}

int
journal_old_tile(struct journal *j, uint64_t index, uint8_t out[TREE_TILE_LEN])
{
	sqlite3 *db = journal_old_db(j, index * TREE_TILE_WIDTH);
	sqlite3_stmt *s;
	int r = -1;

	if (db == NULL)
		return -1;
	s = db_prepare(db, "SELECT data FROM tile WHERE level = 0 AND idx = ?");
	if (s != NULL)
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)index);
	if (s != NULL && sqlite3_step(s) == SQLITE_ROW &&
	    sqlite3_column_bytes(s, 0) == TREE_TILE_LEN) {
		memcpy(out, sqlite3_column_blob(s, 0), TREE_TILE_LEN);
		r = 0;
	}
	(void)sqlite3_finalize(s); /* r tells */
	return r == 0
	    ? 0
	    : journal_fail(j, "tile 0/%" PRIu64 " cannot be read", index);
}
