/* The next file, made beside the one that is written. */

#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/schema.h"
#include "compliance/segments.h"

struct journal_next {
	sqlite3 *db; /* what is written is attached to it as old */
	char *path;
};

/* ---- what it takes over ---- */

/*
 * Rows that only become more, each statement from where the copy ends (?1)
 * and no more than so many (?2): control records but beats and clock readings,
 * which nothing refers to, the tables that derive from them, and the tree's
 * edge, of which tiles of level 0 may turn out to lie behind it.
 */
static const struct journal_copy_step steps[] = {
    {"SELECT COALESCE(MAX(seq), -1) FROM main.leaf", NULL, /* put_leaf_sql() */
	300},
    {"SELECT MAX((SELECT size >> 16 << 8 FROM old.head) - 1, COALESCE("
     "(SELECT MAX(idx) FROM main.tile WHERE level = 0), -1))",
	"INSERT INTO tile SELECT * FROM old.tile WHERE level = 0"
	" AND idx > ?1 ORDER BY idx LIMIT ?2",
	32},
};

static const struct journal_copy_step tables[] = {
    {"SELECT COALESCE(MAX(rowid), 0) FROM main.batch",
	"INSERT INTO batch(rowid, adapter, n, first, last, seq)"
	" SELECT rowid, adapter, n, first, last, seq FROM old.batch"
	" WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
	300},
    {"SELECT COALESCE(MAX(rowid), 0) FROM main.ack",
	"INSERT INTO ack(rowid, adapter, n, state, seq)"
	" SELECT rowid, adapter, n, state, seq FROM old.ack"
	" WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
	300},
    /* All ranges of a purge together. */
    {"SELECT COALESCE(MAX(n), 0) FROM main.purge_range",
	"INSERT INTO purge_range(first, last, n, seq)"
	" SELECT first, last, n, seq FROM old.purge_range WHERE n IN"
	" (SELECT DISTINCT n FROM old.purge_range WHERE n > ?1"
	" ORDER BY n LIMIT ?2)",
	20},
    {"SELECT COALESCE(MAX(n), 0) FROM main.hold",
	"INSERT INTO hold SELECT * FROM old.hold WHERE n > ?1"
	" ORDER BY n LIMIT ?2",
	300},
#define TILES(level)                                                                 \
	{                                                                            \
		"SELECT COALESCE(MAX(idx), -1) FROM main.tile WHERE level = " level, \
		    "INSERT INTO tile SELECT * FROM old.tile WHERE level = " level   \
		    " AND idx > ?1 ORDER BY idx LIMIT ?2",                           \
		    32                                                               \
	}
    TILES("1"),
    TILES("2"),
    TILES("3"),
    TILES("4"),
    TILES("5"),
    TILES("6"),
};

/* What changed since, and what only the end tells. */
static const char *const last_sql[] = {
    "UPDATE hold SET released = (SELECT released FROM old.hold o"
    " WHERE o.n = hold.n) WHERE released IS NULL"
    " AND n NOT IN (SELECT n FROM old.hold WHERE released IS NULL)",
    "DELETE FROM tile WHERE level = 0"
    " AND idx < (SELECT size >> 16 << 8 FROM old.head)",
    "INSERT INTO meta SELECT * FROM old.meta"
    " WHERE name NOT IN ('segment', 'first')",
    "INSERT INTO checkpoint SELECT * FROM old.checkpoint"
    " WHERE size = (SELECT size FROM old.head)",
    "INSERT INTO cosig SELECT * FROM old.cosig"
    " WHERE size = (SELECT size FROM old.head)",
    "INSERT INTO stamp SELECT * FROM old.stamp"
    " WHERE size = (SELECT size FROM old.head)",
    "INSERT INTO head SELECT * FROM old.head",
    schema_triggers_sql,
};

/* ---- in steps ---- */

static int
fail(struct journal *j)
{
	return journal_fail(
	    j, "%s: %s", j->next->path, sqlite3_errmsg(j->next->db));
}

void
journal_drop_next(struct journal *j)
{
	if (j->next == NULL)
		return;
	db_close(j->next->db);
	journal_remove_files(j->next->path);
	free(j->next->path);
	free(j->next);
	j->next = NULL;
}

static int
begin(struct journal *j)
{
	char *old = segments_path(j->path, j->segment);
	char *path = segments_path(j->path, j->segment + 1);
	struct journal_next *n = calloc(1, sizeof *n);
	char why[200];
	int r = -1;

	if (old == NULL || path == NULL || n == NULL ||
	    asprintf(&n->path, "%s.new", path) < 0) {
		(void)journal_fail(j, "out of memory");
		free(n);
		goto done;
	}
	j->next = n;
	journal_remove_files(n->path);
	n->db = journal_new_file(n->path, old, why, sizeof why);
	if (n->db == NULL)
		(void)journal_fail(j, "%s", why);
	else if (db_exec(n->db, "COMMIT") != 0 ||
	    db_exec(n->db, "PRAGMA foreign_keys=OFF") != 0 ||
	    /* Synced when it moves from the WAL, a step's worth at a time. */
	    db_exec(n->db, "PRAGMA synchronous=NORMAL") != 0)
		(void)fail(j);
	else
		r = 0;
done:
	free(path);
	free(old);
	return r;
}

/* The index is by kind: one query for each, merged, reads what is copied. */
static void
put_leaf_sql(struct buf *out)
{
	const char *more = "";

	buf_put_text(
	    out, "INSERT INTO leaf(seq, at, kind, bytes) SELECT * FROM (");
	for (unsigned kind = EVENT_OPEN; kind <= UINT8_MAX; kind++) {
		if (event_name(kind) == NULL || kind == EVENT_BEAT ||
		    kind == EVENT_CLOCK)
			continue;
		buf_printf(out,
		    "%sSELECT seq, at, kind, bytes FROM old.leaf"
		    " WHERE kind = %u AND kind >= 128 AND seq > ?1",
		    more, kind);
		more = " UNION ALL ";
	}
	buf_put_text(out, " ORDER BY seq LIMIT ?2)");
}

/* Rows copied, or -1. */
static int
copy_step(sqlite3 *db, const struct journal_copy_step *s)
{
	sqlite3_stmt *copy = NULL;
	struct buf sql;
	uint64_t end;
	int r = -1;

	buf_init(&sql);
	if (s->copy != NULL)
		buf_put_text(&sql, s->copy);
	else
		put_leaf_sql(&sql);
	if (buf_text(&sql) != NULL)
		copy = db_prepare(db, buf_text(&sql));
	buf_release(&sql);
	if (copy != NULL && db_row(db, s->end, NULL, NULL, 0, &end, 1) == 1) {
		(void)sqlite3_bind_int64(copy, 1, (sqlite3_int64)end);
		(void)sqlite3_bind_int(copy, 2, s->max);
		if (sqlite3_step(copy) == SQLITE_DONE)
			r = sqlite3_changes(db);
	}
	(void)sqlite3_finalize(copy); /* r tells */
	return r;
}

int
journal_copy_some(
    sqlite3 *db, const struct journal_copy_step *step, size_t count)
{
	int more = 0;

	for (size_t i = 0; i < count; i++) {
		int n = copy_step(db, &step[i]);

		if (n < 0)
			return -1;
		more |= n >= step[i].max;
	}
	return more;
}

int
journal_copy_tables(sqlite3 *db)
{
	return journal_copy_some(db, tables, sizeof tables / sizeof tables[0]);
}

/* Whether perhaps more is left: 1, 0, or -1. */
static int
copy_some(sqlite3 *db)
{
	int more, rest;

	more = journal_copy_some(db, steps, sizeof steps / sizeof steps[0]);
	rest = more < 0 ? -1 : journal_copy_tables(db);
	return rest < 0 ? -1 : more | rest;
}

int
journal_prepare(struct journal *j)
{
	int more, frames;

	if (j->next == NULL && begin(j) != 0) {
		journal_drop_next(j);
		return -1;
	}
	more = db_exec(j->next->db, "BEGIN") == 0 ? copy_some(j->next->db) : -1;
	if (more >= 0 && db_exec(j->next->db, "COMMIT") == 0 &&
	    db_checkpoint_passive(j->next->db, &frames) == 0)
		return !more;
	(void)fail(j);
	journal_drop_next(j);
	return -1;
}

/* ---- the end ---- */

static int
put_place(sqlite3 *db, const struct journal *j)
{
	char segment[16], first[24];

	(void)snprintf(segment, sizeof segment, "%u", j->segment + 1);
	(void)snprintf(first, sizeof first, "%" PRIu64, j->size);
	return journal_put_meta(db, "segment", segment) == 0 &&
		journal_put_meta(db, "first", first) == 0
	    ? 0
	    : -1;
}

static int
copy_rest(sqlite3 *db, const struct journal *j)
{
	int more;

	if (db_exec(db, "PRAGMA synchronous=FULL") != 0 ||
	    db_exec(db, "BEGIN") != 0)
		return -1;
	while ((more = copy_some(db)) == 1)
		;
	if (more != 0 || put_place(db, j) != 0)
		return -1;
	for (size_t i = 0; i < sizeof last_sql / sizeof last_sql[0]; i++)
		if (db_exec(db, last_sql[i]) != 0)
			return -1;
	return db_exec(db, "COMMIT") == 0 ? db_checkpoint_truncate(db) : -1;
}

int
journal_give_mode(const char *path, const char *like)
{
	struct stat st;

	return stat(like, &st) == 0 && chmod(path, st.st_mode & 0777) == 0 ? 0
									   : -1;
}

int
journal_finish_next(struct journal *j, const char *old, char **made)
{
	if (j->next == NULL && begin(j) != 0)
		goto failed;
	if (copy_rest(j->next->db, j) != 0) {
		(void)fail(j);
		goto failed;
	}
	if (journal_give_mode(j->next->path, old) != 0) {
		(void)journal_fail(
		    j, "%s: the mode cannot be set", j->next->path);
		goto failed;
	}
	db_close(j->next->db);
	*made = j->next->path;
	free(j->next);
	j->next = NULL;
	return 0;
failed:
	journal_drop_next(j);
	return -1;
}
