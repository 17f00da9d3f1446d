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

/* ---- carrying out ---- */

#define SETTLE_RANGES 500 /* looked at in one call */

/* Holds in force at the purge record that is carried out. */
struct then {
	struct holds holds;
	uint64_t seq; /* of the record; 0: none */
};

/* A sealed file, open for the removal of payloads. */
struct sealed {
	sqlite3 *db;
	uint64_t first, end; /* its records */
	struct then then;
	bool begun; /* a transaction is open */
};

static const struct holds *
get_then(void *arg)
{
	const struct then *t = arg;

	return t->seq > 0 ? &t->holds : NULL;
}

static int
fail_file(struct journal *j, const struct sealed *f)
{
	return journal_fail(j, "%s: %s", sqlite3_db_filename(f->db, "main"),
	    sqlite3_errmsg(f->db));
}

/* Records of a segment before the newest. */
static int
read_span(struct journal *j, unsigned segment, struct sealed *f)
{
	static const char sql[] = "SELECT seq FROM leaf WHERE kind = 128"
				  " AND kind >= 128 ORDER BY seq"
				  " LIMIT 1 OFFSET ?";
	const uint64_t at[] = {segment, segment + 1};

	f->end = j->first;
	if (db_row(j->db, sql, NULL, &at[0], 1, &f->first, 1) != 1 ||
	    (at[1] < j->segment &&
		db_row(j->db, sql, NULL, &at[1], 1, &f->end, 1) != 1))
		return journal_fail_sql(j, "open records");
	return 0;
}

/* Whether it is that file and whole, and not just one of the name. */
static int
check_identity(struct journal *j, unsigned segment, const struct sealed *f)
{
	uint64_t size, is;

	if (db_row(f->db, "SELECT size FROM head", NULL, NULL, 0, &size, 1) < 0)
		return fail_file(j, f);
	if (db_row(f->db,
		"SELECT COUNT(*) FROM meta WHERE (name = 'journal' AND"
		" value = ?1) OR (name = 'segment' AND value = ?2)"
		" OR (name = 'first' AND value = ?3)",
		j->uuid, (const uint64_t[]){segment, f->first}, 2, &is,
		1) == 1 &&
	    is == 3 && size == f->end)
		return 0;
	return journal_fail(j, "%s: not the file that was sealed",
	    sqlite3_db_filename(f->db, "main"));
}

static int
open_sealed(struct journal *j, unsigned segment, struct sealed *f)
{
	char *path = segments_path(j->path, segment);
	char why[200];

	*f = (struct sealed){0};
	if (path == NULL)
		return journal_fail(j, "out of memory");
	f->db = db_open(path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);
	free(path);
	if (f->db == NULL)
		return journal_fail(j, "%s", why);
	/* The purge record is in another file, and the fences know of that. */
	if (sqlite3_busy_timeout(f->db, BUSY_MS) != SQLITE_OK ||
	    db_keep_wal(f->db) != 0 ||
	    db_exec(f->db, "PRAGMA foreign_keys=OFF") != 0)
		return fail_file(j, f);
	return read_span(j, segment, f) == 0 ? check_identity(j, segment, f)
					     : -1;
}

static void
close_sealed(struct sealed *f)
{
	if (f->begun)
		(void)db_exec(f->db, "ROLLBACK"); /* it failed */
	db_close(f->db);
	holds_release(&f->then.holds);
}

sqlite3 *
journal_open_sealed(
    struct journal *j, unsigned segment, uint64_t *first, uint64_t *end)
{
	struct sealed f;

	if (open_sealed(j, segment, &f) != 0) {
		close_sealed(&f);
		return NULL;
	}
	*first = f.first;
	*end = f.end;
	return f.db;
}

sqlite3 *
journal_open_both(
    struct journal *j, unsigned segment, uint64_t first, uint64_t last)
{
	uint64_t begin, end;
	char *path, *old;
	char why[200];
	/* Before it is on record: that it can be carried out, in that file. */
	sqlite3 *db = journal_open_sealed(j, segment, &begin, &end);

	if (db == NULL)
		return NULL;
	db_close(db);
	db = NULL;
	path = segments_path(j->path, j->segment);
	old = segments_path(j->path, segment);
	if (path == NULL || old == NULL)
		(void)journal_fail(j, "out of memory");
	else if ((db = db_open(path, DB_READ, DB_SYNC_FULL, why, sizeof why)) ==
	    NULL)
		(void)journal_fail(j, "%s", why);
	else if (bind_run(db, "ATTACH ? AS old", old) != 0 ||
	    make_views(db, first, last) != 0) {
		(void)journal_fail(j, "%s: %s", old, sqlite3_errmsg(db));
		db_close(db);
		db = NULL;
	}
	free(path);
	free(old);
	return db;
}

/* A row of the newest file's purge_range. */
struct purged {
	uint64_t first, last, n, seq;
};

/* Whether all of it is done: 1, 0, or -1. */
static int
is_done(struct journal *j, const struct sealed *f, const struct purged *p)
{
	const uint64_t body[] = {p->first << 8, (p->last + 1) << 8};
	uint64_t one;
	int row, payload;

	row = db_row(f->db,
	    "SELECT 1 FROM purge_range WHERE first = ? AND last = ?"
	    " AND n = ? AND seq = ?",
	    NULL, (const uint64_t[]){p->first, p->last, p->n, p->seq}, 4, &one,
	    1);
	payload =
	    db_row(f->db, "SELECT 1 FROM body WHERE id >= ? AND id < ? LIMIT 1",
		NULL, body, 2, &one, 1);
	if (row < 0 || payload < 0)
		return fail_file(j, f);
	return row == 1 && payload == 0;
}

static int
remember_holds(struct journal *j, struct then *t, uint64_t seq)
{
	if (t->seq == seq)
		return 0;
	t->seq = 0;
	if (holds_read(&t->holds, j->db, seq) != 0)
		return journal_fail_sql(j, "holds");
	t->seq = seq;
	return 0;
}

static int
carry_out(struct journal *j, struct sealed *f, const struct purged *p)
{
	const uint64_t row[] = {p->first, p->last, p->n, p->seq};
	const uint64_t body[] = {p->first << 8, (p->last + 1) << 8};
	uint64_t none;

	if (remember_holds(j, &f->then, p->seq) != 0)
		return -1;
	if (!f->begun && db_exec(f->db, "BEGIN IMMEDIATE") != 0)
		return fail_file(j, f);
	f->begun = true;
	if (db_row(f->db,
		"INSERT INTO purge_range(first, last, n, seq)"
		" SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS"
		" (SELECT 1 FROM purge_range WHERE first = ?1)",
		NULL, row, 4, &none, 0) != 0 ||
	    db_row(f->db, "DELETE FROM body WHERE id >= ? AND id < ?", NULL,
		body, 2, &none, 0) != 0)
		return fail_file(j, f);
	return 0;
}

/* The ranges from *next on; those that were not done are in out. */
static int
settle(struct journal *j, struct sealed *f, sqlite3_stmt *s, uint64_t *next,
    struct journal_settled *out)
{
	unsigned looked = 0;
	uint64_t newest;
	int step;

	if (db_row(j->db, "SELECT MAX(n) FROM purge_range", NULL, NULL, 0,
		&newest, 1) != 1)
		return journal_fail_sql(j, "purge number");
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)*next);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)f->end);
	(void)sqlite3_bind_int64(s, 3, SETTLE_RANGES);
	for (; (step = sqlite3_step(s)) == SQLITE_ROW; looked++) {
		const struct purged p = {(uint64_t)sqlite3_column_int64(s, 0),
		    (uint64_t)sqlite3_column_int64(s, 1),
		    (uint64_t)sqlite3_column_int64(s, 2),
		    (uint64_t)sqlite3_column_int64(s, 3)};
		int done = is_done(j, f, &p);

		if (done < 0 || (done == 0 && carry_out(j, f, &p) != 0))
			return -1;
		*next = p.last + 1;
		if (done == 1)
			continue;
		if (out->ranges++ == 0)
			out->first = p.first;
		out->last = p.last;
		out->older |= p.n < newest;
	}
	if (step != SQLITE_DONE)
		return journal_fail_sql(j, "purge ranges");
	if (f->begun && db_exec(f->db, "COMMIT") != 0)
		return fail_file(j, f);
	f->begun = false;
	if (looked < SETTLE_RANGES)
		*next = f->end;
	return 0;
}

int
journal_settle(struct journal *j, unsigned segment, uint64_t *next,
    struct journal_settled *out)
{
	struct sealed f;
	sqlite3_stmt *s;
	int r = -1;

	*out = (struct journal_settled){0};
	s = db_prepare(j->db,
	    "SELECT first, last, n, seq FROM purge_range WHERE first >= ?"
	    " AND first < ? ORDER BY first LIMIT ?");
	if (s == NULL)
		return journal_fail_sql(j, "purge ranges");
	if (open_sealed(j, segment, &f) == 0) {
		if (*next < f.first)
			*next = f.first;
		r = holds_fence(f.db, get_then, &f.then) == 0
		    ? settle(j, &f, s, next, out)
		    : journal_fail(j, "out of memory");
		if (r != 0) /* nothing of it was committed */
			*out = (struct journal_settled){0};
		out->more = r == 0 && *next < f.end;
	}
	(void)sqlite3_finalize(s); /* the steps' results are known */
	if (r == 0 && db_checkpoint_truncate(f.db) != 0)
		r = journal_fail(j, "%s: its WAL is busy",
		    sqlite3_db_filename(f.db, "main"));
	close_sealed(&f);
	if (r != 0 && !segments_exists(j->path, segment) &&
	    read_span(j, segment, &f) == 0) {
		out->missing = true;
		out->first = f.first;
		out->last = f.end - 1;
	}
	return r;
}

int
journal_finish_purge(struct journal *j)
{
	static const char sql[] =
	    "SELECT MIN(first), MAX(last) FROM purge_range"
	    " WHERE n = (SELECT MAX(n) FROM purge_range)";
	struct journal_settled done = {.more = true};
	unsigned segment;
	uint64_t span[2];
	int r;

	if (!j->undone)
		return 0;
	r = db_row(j->db, sql, NULL, NULL, 0, span, 2);
	if (r < 0)
		return journal_fail_sql(j, "purge ranges");
	/* Without purges both are NULL, which is 0 here. */
	if (span[1] > 0 && span[0] < j->first) {
		if (journal_segment_of(j, span[0], &segment) != 0)
			return -1;
		while (done.more && span[0] <= span[1])
			if (journal_settle(j, segment, &span[0], &done) != 0)
				return -1;
	}
	j->undone = false;
	return 0;
}

bool
journal_undone(const struct journal *j)
{
	return j->undone;
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

int
journal_finish_purges(struct journal *j)
{
	struct journal_settled done;

	for (unsigned i = 0; i < j->segment; i++) {
		uint64_t next = 0;

		do
			if (journal_settle(j, i, &next, &done) != 0)
				return -1;
		while (done.more);
	}
	j->undone = false;
	return 0;
}
