#include "compliance/scan_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compliance/leaf.h"
#include "compliance/schema.h"
#include "compliance/segments.h"

static const char *const statement_sql[SCAN_STATEMENTS] = {
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
    [S_LINES] = "SELECT line FROM cosig WHERE size = ? ORDER BY name",
    [S_ACKED] = "SELECT a.n, b.last + 1, l.at FROM ack a"
		" JOIN batch b ON b.adapter = a.adapter AND b.n = a.n"
		" JOIN leaf l ON l.seq = a.seq WHERE a.adapter = ?"
		" ORDER BY a.n DESC LIMIT 1",
    [S_BATCH] = "SELECT first, last, (SELECT at FROM leaf"
		" ORDER BY seq DESC LIMIT 1) - (SELECT at FROM leaf"
		" WHERE leaf.seq = batch.seq) FROM batch"
		" WHERE adapter = ? AND n = ?",
    [S_FIRST_BODY] = "SELECT id >> 8 FROM body ORDER BY id LIMIT 1",
    [S_NEXT_BODY] =
	"SELECT id >> 8 FROM body WHERE id >= ? ORDER BY id LIMIT 1",
    [S_CONTROL_BEFORE] =
	"SELECT seq, bytes FROM leaf WHERE kind = ? AND kind >= 128"
	" AND seq < ? ORDER BY seq DESC LIMIT 1",
    [S_CHECKPOINT_FROM] = "SELECT size, note FROM checkpoint WHERE size >= ?"
			  " ORDER BY size LIMIT 1",
    [S_TOKEN] = "SELECT token FROM stamp WHERE size = ?",
    [S_HOLD] = "SELECT salt, selector FROM hold WHERE n = ?",
    [S_COSIGS] = "SELECT size, line FROM cosig WHERE size <= ?"
		 " ORDER BY size DESC LIMIT 100",
    [S_BASES] = "SELECT seq FROM leaf WHERE kind = 128 AND kind >= 128"
		" ORDER BY seq",
};

static const char *const meta_name[SCAN_META] = {"journal", "origin", "vkey"};

int
scan_fail(struct scan *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->error, sizeof s->error, fmt, ap); /* for people */
	va_end(ap);
	return -1;
}

int
scan_fail_sql(struct scan *s, const struct scan_file *f)
{
	return scan_fail(s, "journal: %s", sqlite3_errmsg(f->db));
}

void
scan_close_file(struct scan_file *f)
{
	for (size_t i = 0; i < SCAN_STATEMENTS; i++)
		(void)sqlite3_finalize(f->stmt[i]); /* repeats old errors */
	db_close(f->db);
	memset(f, 0, sizeof *f);
}

static int
prepare(struct scan *s, struct scan_file *f)
{
	int64_t id = db_int(f->db, "PRAGMA application_id", -1);
	int64_t version = db_int(f->db, "PRAGMA user_version", -1);

	if (id < 0 || version < 0)
		return scan_fail_sql(s, f);
	if (id != SCHEMA_APPLICATION_ID || version != SCHEMA_VERSION)
		return scan_fail(
		    s, "not a journal of version %d", SCHEMA_VERSION);
	for (size_t i = 0; i < SCAN_STATEMENTS; i++)
		if ((f->stmt[i] = db_prepare(f->db, statement_sql[i])) == NULL)
			return scan_fail_sql(s, f);
	return 0;
}

/* A file that nobody has open may lack what a live one has beside it. */
static bool
has_wal(const char *path)
{
	char wal[4096];
	int n = snprintf(wal, sizeof wal, "%s-wal", path);

	return n > 0 && (size_t)n < sizeof wal && access(wal, F_OK) == 0;
}

static int
open_file(struct scan *s, unsigned segment, struct scan_file *f)
{
	char *path =
	    s->alone ? strdup(s->path) : segments_path(s->path, segment);
	char why[sizeof s->error];
	bool copy;

	memset(f, 0, sizeof *f);
	if (path == NULL)
		return scan_fail(s, "out of memory");
	copy = s->copy && !has_wal(path);
	f->db = db_open(
	    path, copy ? DB_READ_COPY : DB_READ, DB_SYNC_FULL, why, sizeof why);
	f->segment = segment;
	if (f->db == NULL)
		(void)scan_fail(s, "%s", why);
	else if (prepare(s, f) == 0) {
		free(path);
		return 0;
	} else {
		memcpy(why, s->error, sizeof why);
		(void)scan_fail(s, "%s: %s", path, why);
	}
	free(path);
	scan_close_file(f);
	return -1;
}

static int
read_meta(struct scan *s, const struct scan_file *f)
{
	sqlite3_stmt *q =
	    db_prepare(f->db, "SELECT value FROM meta WHERE name = ?");

	if (q == NULL)
		return scan_fail_sql(s, f);
	for (size_t i = 0; i < SCAN_META; i++) {
		(void)sqlite3_bind_text(q, 1, meta_name[i], -1, SQLITE_STATIC);
		if (s->meta[i] == NULL && db_step(q) == SQLITE_ROW)
			s->meta[i] = db_dup_text(q, 0);
		(void)sqlite3_reset(q); /* the value tells */
	}
	(void)sqlite3_finalize(q); /* the values tell */
	for (size_t i = 0; i < SCAN_META; i++)
		if (s->meta[i] == NULL)
			return scan_fail(
			    s, "the journal has no %s", meta_name[i]);
	return 0;
}

/* The newest recover record, if there is one, tells what is so from it on. */
static int
read_incarnation(struct scan *s, const struct scan_file *f)
{
	sqlite3_stmt *q = db_prepare(f->db,
	    "SELECT bytes FROM leaf WHERE kind = 140 AND kind >= 128"
	    " ORDER BY seq DESC LIMIT 1");
	int r = q == NULL ? SQLITE_ERROR : db_step(q);
	struct leaf leaf;
	const char *why;

	if (r == SQLITE_ROW) {
		struct view text = view_of(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0));

		if (!leaf_parse(text, &leaf, &why))
			leaf.fields = view_of(NULL, 0);
		for (size_t i = 1; i < SCAN_META; i++) {
			free(s->meta[i]);
			s->meta[i] = leaf_field_dup(leaf.fields, meta_name[i]);
			if (s->meta[i] == NULL)
				r = SQLITE_CORRUPT;
		}
	}
	(void)sqlite3_finalize(q); /* r tells */
	if (r == SQLITE_CORRUPT)
		return scan_fail(s, "the recover record is malformed");
	return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : scan_fail_sql(s, f);
}

static uint64_t
first_of(const struct scan_file *f)
{
	return (uint64_t)db_int(f->db,
	    "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'first'", 0);
}

/*
 * Where each file begins: at an open record, and the newest has copies of
 * those before; its own may not be there yet.
 */
static int
read_bases(struct scan *s, const struct scan_file *f)
{
	uint64_t first = first_of(f);
	uint64_t *base = calloc((size_t)f->segment + 1, sizeof *base);
	sqlite3_stmt *q = f->stmt[S_BASES];
	unsigned n = 0;
	int r = SQLITE_DONE;

	if (base == NULL)
		return scan_fail(s, "out of memory");
	while (n < f->segment && (r = db_step(q)) == SQLITE_ROW)
		base[n++] = (uint64_t)sqlite3_column_int64(q, 0);
	(void)sqlite3_reset(q); /* repeats the step's result */
	base[f->segment] = first;
	if (n != f->segment || (n > 0 && base[n - 1] >= first)) {
		free(base);
		return r == SQLITE_ROW || r == SQLITE_DONE
		    ? scan_fail(s,
			  "file %u lacks open records of those before it",
			  f->segment)
		    : scan_fail_sql(s, f);
	}
	free(s->base);
	s->base = base;
	return 0;
}

int
scan_turn_to(struct scan *s, unsigned segment)
{
	struct scan_file f;

	if (open_file(s, segment, &f) != 0)
		return -1;
	if (read_meta(s, &f) != 0 || read_incarnation(s, &f) != 0 ||
	    (!s->alone && read_bases(s, &f) != 0)) {
		scan_close_file(&f);
		return -1;
	}
	if (db_seal(f.db, true) != 0) {
		(void)scan_fail_sql(s, &f);
		scan_close_file(&f);
		return -1;
	}
	if (s->alone)
		s->first = first_of(&f);
	scan_close_file(&s->newest);
	s->newest = f;
	return 0;
}

int
scan_refresh(struct scan *s)
{
	unsigned next = s->newest.segment + 1;

	if (s->alone || !segments_exists(s->path, next))
		return 0;
	while (segments_exists(s->path, next + 1))
		next++;
	return scan_turn_to(s, next);
}

struct scan_file *
scan_file_of(struct scan *s, uint64_t seq)
{
	unsigned low = 0, high = s->newest.segment;

	if (s->alone || seq >= s->base[high])
		return &s->newest;
	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (s->base[middle] <= seq)
			low = middle;
		else
			high = middle;
	}
	if (s->old.db != NULL && s->old.segment == low)
		return &s->old;
	scan_close_file(&s->old);
	if (open_file(s, low, &s->old) != 0)
		return NULL;
	if (db_seal(s->old.db, true) == 0)
		return &s->old;
	(void)scan_fail_sql(s, &s->old);
	scan_close_file(&s->old);
	return NULL;
}

const char *
scan_meta(struct scan *s, const char *name)
{
	for (size_t i = 0; i < SCAN_META; i++)
		if (strcmp(meta_name[i], name) == 0)
			return s->meta[i];
	return NULL;
}
