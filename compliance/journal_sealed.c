/* Purges of records in files that are sealed. */

#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "compliance/journal.h"
#include "compliance/segments.h"

#define BUSY_MS 20 /* for readers of a sealed file: events wait meanwhile */

int
journal_sealed_span(
    struct journal *j, uint64_t first, uint64_t last, unsigned *segment)
{
	unsigned other;

	if (first >= j->first)
		return 0;
	if (j->undone) {
		(void)journal_fail(
		    j, "the purge before is not carried out in its file yet");
		return -1;
	}
	if (last >= j->first || journal_segment_of(j, first, segment) != 0 ||
	    journal_segment_of(j, last, &other) != 0 || other != *segment) {
		(void)journal_fail(
		    j, "a purge does not reach over the end of a file");
		return -1;
	}
	return 1;
}

static int
bind_run(sqlite3 *db, const char *sql, const char *text)
{
	sqlite3_stmt *s = db_prepare(db, sql);
	int r;

	if (s == NULL)
		return -1;
	if (text != NULL)
		(void)sqlite3_bind_text(s, 1, text, -1, SQLITE_STATIC);
	r = sqlite3_step(s);
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

/* What the rules look at: payloads and events of the old file, all else of ours. */
static int
make_views(sqlite3 *db, uint64_t first, uint64_t last)
{
	char leaf[256];

	(void)snprintf(leaf, sizeof leaf,
	    "CREATE TEMP VIEW leaf AS SELECT * FROM main.leaf"
	    " UNION ALL SELECT * FROM old.leaf WHERE kind < 128"
	    " AND seq BETWEEN %" PRIu64 " AND %" PRIu64,
	    first, last);
	return db_exec(db, "PRAGMA query_only=OFF") == 0 &&
		db_exec(db,
		    "CREATE TEMP VIEW body AS SELECT * FROM old.body") == 0 &&
		db_exec(db, leaf) == 0
	    ? 0
	    : -1;
}

sqlite3 *
journal_open_both(
    struct journal *j, unsigned segment, uint64_t first, uint64_t last)
{
	char *path = segments_path(j->path, j->segment);
	char *old = segments_path(j->path, segment);
	sqlite3 *db = NULL;
	char why[200];

	if (path == NULL || old == NULL)
		(void)journal_fail(j, "out of memory");
	else if ((db = db_open(path, DB_READ, DB_SYNC_FULL, why, sizeof why)) ==
	    NULL)
		(void)journal_fail(j, "%s", why);
	else if (!segments_exists(j->path, segment) ||
	    bind_run(db, "ATTACH ? AS old", old) != 0 ||
	    make_views(db, first, last) != 0) {
		(void)journal_fail(j, "%s: %s", old, sqlite3_errmsg(db));
		db_close(db);
		db = NULL;
	}
	free(path);
	free(old);
	return db;
}

/* ---- carrying out ---- */

/* The ranges of the newest purge, in the file that has the records. */
static const char newest_ranges[] =
    "SELECT first, last, n, seq FROM purge_range"
    " WHERE n = (SELECT MAX(n) FROM purge_range) ORDER BY first";

static int
remove_range(sqlite3 *db, sqlite3_stmt *range)
{
	static const char *const sql[] = {
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS"
	    " (SELECT 1 FROM purge_range WHERE first = ?1)",
	    "DELETE FROM body WHERE id >= ?1 << 8 AND id < (?2 + 1) << 8"};
	int r = SQLITE_DONE;

	for (size_t i = 0; i < 2 && r == SQLITE_DONE; i++) {
		sqlite3_stmt *s = db_prepare(db, sql[i]);

		if (s == NULL)
			return -1;
		for (int k = 0; k < sqlite3_bind_parameter_count(s); k++)
			(void)sqlite3_bind_int64(
			    s, k + 1, sqlite3_column_int64(range, k));
		r = sqlite3_step(s);
		(void)sqlite3_finalize(s); /* repeats r */
	}
	return r == SQLITE_DONE ? 0 : -1;
}

static int
remove_ranges(struct journal *j, sqlite3 *db, sqlite3_stmt *ranges)
{
	int r = SQLITE_ROW;

	/* The record is in another file, and the fences know of that. */
	if (db_exec(db, "PRAGMA foreign_keys=OFF") != 0 ||
	    db_exec(db, "BEGIN IMMEDIATE") != 0)
		return journal_fail(j, "%s", sqlite3_errmsg(db));
	for (; r == SQLITE_ROW; r = sqlite3_step(ranges))
		if (remove_range(db, ranges) != 0)
			break;
	if (r != SQLITE_DONE || db_exec(db, "COMMIT") != 0) {
		(void)journal_fail(j, "%s", sqlite3_errmsg(db));
		(void)db_exec(db, "ROLLBACK"); /* ended or not */
		return -1;
	}
	return db_checkpoint_truncate(db) == 0
	    ? 0
	    : journal_fail(j, "the WAL of a sealed file is busy");
}

static int
finish(struct journal *j, sqlite3_stmt *ranges)
{
	unsigned segment;
	char why[200], *path;
	sqlite3 *db;
	int r = -1;

	if ((uint64_t)sqlite3_column_int64(ranges, 0) >= j->first)
		return 0;
	if (journal_segment_of(
		j, (uint64_t)sqlite3_column_int64(ranges, 0), &segment) != 0)
		return -1;
	path = segments_path(j->path, segment);
	db = path == NULL
	    ? NULL
	    : db_open(path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);
	if (db == NULL)
		(void)journal_fail(j, "%s", path == NULL ? "memory" : why);
	else if (sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK &&
	    db_keep_wal(db) == 0)
		r = remove_ranges(j, db, ranges);
	db_close(db);
	free(path);
	return r;
}

int
journal_finish_purge(struct journal *j)
{
	sqlite3_stmt *s;
	int r = 0;

	if (!j->undone)
		return 0;
	s = db_prepare(j->db, newest_ranges);
	if (s == NULL)
		return journal_fail_sql(j, "purge ranges");
	if (sqlite3_step(s) == SQLITE_ROW)
		r = finish(j, s);
	(void)sqlite3_finalize(s); /* r tells */
	j->undone = r != 0;
	return r;
}

int
journal_next_file(struct journal *j, uint64_t seq, uint64_t *out)
{
	sqlite3_stmt *s = db_prepare(j->db,
	    "SELECT seq FROM leaf WHERE kind = 128 AND kind >= 128"
	    " AND seq > ? ORDER BY seq LIMIT 1");
	int r = SQLITE_ERROR;

	if (s != NULL) {
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
		r = sqlite3_step(s);
		if (r == SQLITE_ROW)
			*out = (uint64_t)sqlite3_column_int64(s, 0);
	}
	(void)sqlite3_finalize(s); /* r tells */
	return r == SQLITE_ROW ? 0 : journal_fail_sql(j, "files");
}

/* Those of one file's records, from the first on and below the end. */
static int
finish_file(struct journal *j, uint64_t first, uint64_t end)
{
	sqlite3_stmt *s = db_prepare(j->db,
	    "SELECT first, last, n, seq FROM purge_range"
	    " WHERE first >= ? AND first < ? ORDER BY first");
	int r = 0;

	if (s == NULL)
		return journal_fail_sql(j, "purge ranges");
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)first);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)end);
	if (sqlite3_step(s) == SQLITE_ROW)
		r = finish(j, s);
	(void)sqlite3_finalize(s); /* r tells */
	return r;
}

int
journal_finish_purges(struct journal *j)
{
	uint64_t first = 0, end;

	while (first < j->first) {
		if (journal_next_file(j, first, &end) != 0 ||
		    finish_file(j, first, end) != 0)
			return -1;
		first = end;
	}
	j->undone = false;
	return 0;
}
