/* What a file has of those before it, against the file before. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "export/verify_files.h"
#include "export/verify_sql.h"
#include "export/verify_take.h"

/* ?1: first record of the file with the copies. */
static const struct copied {
	const char *name;
	const char *theirs, *copies;
	int columns;
	bool leaves; /* the first column is a record's number */
	bool grows;  /* the file may have got more since */
} copied[] = {
    {"control record",
	"SELECT seq, at, kind, bytes FROM leaf WHERE seq < ?1 AND kind >= 128"
	" AND kind NOT IN (133, 137) ORDER BY seq",
	"SELECT seq, at, kind, bytes FROM leaf WHERE seq < ?1 ORDER BY seq", 4,
	true, false},
    {"tile",
	"SELECT level, idx, data FROM tile WHERE (level = 0"
	" AND idx >= ?1 >> 16 << 8 AND idx < ?1 >> 8) OR (level > 0"
	" AND level < 7 AND idx < ?1 >> 8 * (level + 1)) ORDER BY level, idx",
	"SELECT level, idx, data FROM tile WHERE (level = 0 AND idx < ?1 >> 8)"
	" OR (level > 0 AND level < 7 AND idx < ?1 >> 8 * (level + 1))"
	" ORDER BY level, idx",
	3, false, false},
    {"cosignature",
	"SELECT name, line, at FROM cosig WHERE size = ?1 ORDER BY name",
	"SELECT name, line, at FROM cosig WHERE size = ?1 ORDER BY name", 3,
	false, true},
    {"time-stamp", "SELECT token, at FROM stamp WHERE size = ?1",
	"SELECT token, at FROM stamp WHERE size = ?1", 2, false, true},
};

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql, uint64_t first)
{
	sqlite3_stmt *s = db_prepare(db, sql);

	if (s != NULL)
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)first);
	return s;
}

static bool
same_column(sqlite3_stmt *a, sqlite3_stmt *b, int i)
{
	struct view x, y;

	if (sqlite3_column_type(a, i) != sqlite3_column_type(b, i))
		return false;
	if (sqlite3_column_type(a, i) == SQLITE_INTEGER)
		return sqlite3_column_int64(a, i) == sqlite3_column_int64(b, i);
	x = verify_sql_bytes(a, i);
	y = verify_sql_bytes(b, i);
	return x.n == y.n && (x.n == 0 || memcmp(x.p, y.p, x.n) == 0);
}

static bool
same_row(sqlite3_stmt *a, sqlite3_stmt *b, int columns)
{
	for (int i = 0; i < columns; i++)
		if (!same_column(a, b, i))
			return false;
	return true;
}

/* Says of the first row that differs; later ones may follow from it. */
static void
differs(const struct copied *what, const struct verify_file *file,
    sqlite3_stmt *theirs, sqlite3_stmt *copies, struct verify_report *r)
{
	sqlite3_stmt *at = theirs;
	uint64_t seq;

	/* Behind its last row a statement has no columns. */
	if (sqlite3_data_count(theirs) == 0 ||
	    (sqlite3_data_count(copies) > 0 &&
		sqlite3_column_int64(copies, 0) <
		    sqlite3_column_int64(theirs, 0)))
		at = copies;
	verify_report_finding(r, VERIFY_TABLES,
	    what->leaves && verify_sql_u64(at, 0, &seq) ? verify_at(seq)
							: verify_nowhere(),
	    "%s: the copy of a %s is not what the file before has",
	    verify_files_name(file), what->name);
}

/* The row that should be that of theirs; what came since is passed over. */
static int
step_copies(const struct copied *what, sqlite3_stmt *theirs, int x,
    sqlite3_stmt *copies, struct verify_report *r)
{
	int y;

	if (what->grows && x != SQLITE_ROW)
		return x;
	do {
		y = db_step(copies);
		verify_report_count(r, VERIFY_TABLES, y == SQLITE_ROW);
	} while (
	    what->grows && y == SQLITE_ROW && !same_column(theirs, copies, 0));
	return y;
}

/* NULL, or the database that failed. */
static sqlite3 *
compare(const struct copied *what, const struct verify_file *before,
    const struct verify_file *file, struct verify_report *r)
{
	sqlite3_stmt *theirs = prepare(before->db, what->theirs, file->first);
	sqlite3_stmt *copies = prepare(file->db, what->copies, file->first);
	sqlite3 *failed = NULL;
	int x = SQLITE_ROW, y = SQLITE_ROW;

	while (theirs != NULL && copies != NULL && x == SQLITE_ROW &&
	    y == SQLITE_ROW) {
		x = db_step(theirs);
		y = step_copies(what, theirs, x, copies, r);
		if ((x == SQLITE_ROW || y == SQLITE_ROW) &&
		    (x != y || !same_row(theirs, copies, what->columns))) {
			differs(what, file, theirs, copies, r);
			break;
		}
	}
	if (theirs == NULL || (x != SQLITE_ROW && x != SQLITE_DONE))
		failed = before->db;
	else if (copies == NULL || (y != SQLITE_ROW && y != SQLITE_DONE))
		failed = file->db;
	(void)sqlite3_finalize(theirs); /* results of steps are known */
	(void)sqlite3_finalize(copies);
	return failed;
}

bool
verify_files_copies(
    const struct verify_files *f, struct verify_report *r, sqlite3 **db)
{
	*db = NULL;
	for (size_t i = 1; i < f->count; i++) {
		if (!verify_files_follows(f, i))
			continue;
		for (size_t k = 0;
		     k < sizeof(copied) / sizeof(copied[0]) && *db == NULL; k++)
			*db = compare(
			    &copied[k], &f->file[i - 1], &f->file[i], r);
	}
	return *db == NULL;
}

/* ---- purges ---- */

/* A range whose record is in a file that was not given. */
static bool
take_later(struct verify_control *c, sqlite3_stmt *s, uint64_t *count)
{
	struct verify_purge p = {.spans = 1, .later = true};
	struct verify_span span = {.purge = c->purges, .in_table = true};

	if (!verify_sql_u64(s, 0, &span.first) ||
	    !verify_sql_u64(s, 1, &span.last) || span.last < span.first ||
	    !verify_sql_u64(s, 2, &p.n) || !verify_sql_u64(s, 3, &p.seq))
		return true; /* the comparison of the table tells */
	p.first = span.first;
	p.last = span.last;
	if (!verify_take_room(c, &c->purge, c->purges, sizeof(p)) ||
	    !verify_take_room(c, &c->span, c->spans, sizeof(span)))
		return false;
	c->purge[c->purges++] = p;
	c->span[c->spans++] = span;
	(*count)++;
	return true;
}

static sqlite3 *
take_all_later(const struct verify_file *file, uint64_t size,
    struct verify_control *c, struct verify_report *r)
{
	sqlite3_stmt *s = prepare(file->db,
	    "SELECT first, last, n, seq FROM purge_range WHERE seq >= ?1"
	    " ORDER BY first",
	    size);
	uint64_t count = 0;
	int rc = SQLITE_DONE;

	while (s != NULL && (rc = db_step(s)) == SQLITE_ROW &&
	    take_later(c, s, &count))
		;
	(void)sqlite3_finalize(s); /* rc tells */
	if (count > 0)
		verify_report_note(r,
		    "%s: %" PRIu64 " ranges were purged by records in later "
		    "files, which were not given",
		    verify_files_name(file), count);
	return s != NULL && (rc == SQLITE_DONE || c->out_of_memory) ? NULL
								    : file->db;
}

bool
verify_files_purges(const struct verify_files *f, struct verify_control *c,
    struct verify_report *r, sqlite3 **db)
{
	uint64_t size = f->file[f->count - 1].end;

	*db = NULL;
	if (c->segments == 0 || !c->segment[c->segments - 1].sealed)
		return true;
	for (size_t i = 0; i < f->count && *db == NULL; i++)
		*db = take_all_later(&f->file[i], size, c, r);
	return *db == NULL;
}

/* 1 when the file has the range of the span, 0, or -1. */
static int
has_range(const struct verify_file *file, const struct verify_span *span)
{
	sqlite3_stmt *s = prepare(file->db,
	    "SELECT 1 FROM purge_range WHERE first = ?1", span->first);
	int rc = s == NULL ? SQLITE_ERROR : db_step(s);

	(void)sqlite3_finalize(s); /* rc tells */
	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

bool
verify_files_undone(const struct verify_files *f, struct verify_control *c,
    struct verify_report *r, sqlite3 **db)
{
	const struct verify_purge *last =
	    c->purges == 0 ? NULL : &c->purge[c->purges - 1];
	const struct verify_file *file =
	    last == NULL ? NULL : verify_files_at(f, last->first);
	bool any = false;

	*db = NULL;
	if (file == NULL || last->later || last->seq < file->end)
		return true;
	for (size_t i = 0; i < c->spans; i++) {
		struct verify_span *span = &c->span[i];
		int has;

		if (span->purge != c->purges - 1)
			continue;
		has = has_range(file, span);
		if (has < 0)
			*db = file->db;
		span->undone = has == 0;
		any |= span->undone;
	}
	if (any)
		verify_report_note(r,
		    "%s: the newest purge (record %" PRIu64
		    ") is not carried out yet; the keeper does so when it "
		    "starts",
		    verify_files_name(file), last->seq);
	return *db == NULL;
}
