#include "compliance/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "compliance/segments.h"

struct ledger {
	char *path; /* of segment 0 */
	unsigned segment;
	sqlite3 *db; /* the newest file: it has copies of what it needs */
	sqlite3_stmt *batch;
	sqlite3_stmt *leaf;
	char error[256];
};

static void
close_file(struct ledger *l)
{
	(void)sqlite3_finalize(l->batch); /* reading loses nothing */
	(void)sqlite3_finalize(l->leaf);
	db_close(l->db);
	l->batch = l->leaf = NULL;
	l->db = NULL;
}

static int
open_file(struct ledger *l, unsigned segment)
{
	char *path = segments_path(l->path, segment);

	close_file(l);
	l->segment = segment;
	l->db = path == NULL
	    ? NULL
	    : db_open(path, DB_READ, DB_SYNC_FULL, l->error, sizeof l->error);
	free(path);
	if (l->db == NULL)
		return -1;
	l->batch = db_prepare(l->db,
	    "SELECT b.first, b.last, a.state, a.seq, l.at FROM batch b"
	    " LEFT JOIN ack a ON a.adapter = b.adapter AND a.n = b.n"
	    " LEFT JOIN leaf l ON l.seq = a.seq"
	    " WHERE b.adapter = ? AND b.n = ?");
	l->leaf = db_prepare(l->db, "SELECT bytes FROM leaf WHERE seq = ?");
	if (l->batch != NULL && l->leaf != NULL)
		return 0;
	(void)snprintf(l->error, sizeof l->error, "%s", sqlite3_errmsg(l->db));
	close_file(l);
	return -1;
}

/* Turns to the file that the keeper may have begun meanwhile. */
static int
refresh(struct ledger *l)
{
	unsigned newest = l->segment;

	while (segments_exists(l->path, newest + 1))
		newest++;
	return newest == l->segment && l->db != NULL ? 0 : open_file(l, newest);
}

struct ledger *
ledger_open(const char *path, char *why, size_t why_len)
{
	struct ledger *l = calloc(1, sizeof *l);

	if (l == NULL || (l->path = strdup(path)) == NULL) {
		free(l);
		(void)snprintf(why, why_len, "out of memory");
		return NULL;
	}
	if (open_file(l, segments_newest(path)) != 0) {
		(void)snprintf(why, why_len, "%s", l->error);
		ledger_close(l);
		return NULL;
	}
	return l;
}

/* 1 row, 0 none, -1 failed. */
static int
step(sqlite3_stmt *s)
{
	switch (db_step(s)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return -1;
	}
}

int
ledger_get(
    struct ledger *l, const char *adapter, uint64_t n, struct ledger_batch *out)
{
	const char *state;
	int r;

	memset(out, 0, sizeof *out);
	if (refresh(l) != 0)
		return -1;
	if (sqlite3_bind_text(l->batch, 1, adapter, -1, SQLITE_STATIC) !=
		SQLITE_OK ||
	    sqlite3_bind_int64(l->batch, 2, (sqlite3_int64)n) != SQLITE_OK)
		return -1;
	r = step(l->batch);
	if (r == 1) {
		out->first = (uint64_t)sqlite3_column_int64(l->batch, 0);
		out->last = (uint64_t)sqlite3_column_int64(l->batch, 1);
		state = (const char *)sqlite3_column_text(l->batch, 2);
		out->acked = state != NULL;
		out->stored = state != NULL && strcmp(state, "stored") == 0;
		out->ack_seq = (uint64_t)sqlite3_column_int64(l->batch, 3);
		out->ack_at = (uint64_t)sqlite3_column_int64(l->batch, 4);
	}
	(void)sqlite3_reset(l->batch); /* repeats the step's result */
	return r;
}

int
ledger_leaf(struct ledger *l, uint64_t seq, struct buf *out)
{
	int r;

	if (refresh(l) != 0)
		return -1;
	if (sqlite3_bind_int64(l->leaf, 1, (sqlite3_int64)seq) != SQLITE_OK)
		return -1;
	r = step(l->leaf);
	if (r == 1)
		buf_put(out, sqlite3_column_blob(l->leaf, 0),
		    (size_t)sqlite3_column_bytes(l->leaf, 0));
	(void)sqlite3_reset(l->leaf); /* repeats the step's result */
	return r;
}

sqlite3 *
ledger_db(struct ledger *l)
{
	return refresh(l) == 0 ? l->db : NULL;
}

const char *
ledger_error(struct ledger *l)
{
	return l->db == NULL ? l->error : sqlite3_errmsg(l->db);
}

void
ledger_close(struct ledger *l)
{
	if (l == NULL)
		return;
	close_file(l);
	free(l->path);
	free(l);
}
