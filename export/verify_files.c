#include "export/verify_files.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/db.h"

#include "export/verify_sql.h"

static bool
is_database(const char *path)
{
	static const char magic[16] = "SQLite format 3";
	char head[16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return true; /* opening it will tell why not */
	n = read(fd, head, sizeof(head));
	(void)close(fd); /* nothing was written */
	return n == (ssize_t)sizeof(head) &&
	    memcmp(head, magic, sizeof(head)) == 0;
}

/* The text of a meta row, empty when there is none; false: SQL failed. */
static bool
read_meta(sqlite3 *db, const char *name, char *out, size_t len)
{
	sqlite3_stmt *s =
	    db_prepare(db, "SELECT value FROM meta WHERE name = ?1");
	struct view v = view_of(NULL, 0);
	int rc = SQLITE_ERROR;

	if (s != NULL &&
	    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC) == SQLITE_OK)
		rc = db_step(s);
	if (rc == SQLITE_ROW)
		v = verify_sql_text(s, 0);
	if (v.n >= len)
		v.n = 0;
	if (v.n > 0)
		memcpy(out, v.p, v.n);
	out[v.n] = '\0';
	(void)sqlite3_finalize(s); /* repeats rc */
	return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

/* False when it is not there, or SQL failed, which *failed tells. */
static bool
read_number(sqlite3 *db, const char *name, uint64_t *out, bool *failed)
{
	char text[24];

	*out = 0;
	*failed = !read_meta(db, name, text, sizeof(text));
	return !*failed && view_to_u64(view_text(text), out) &&
	    *out <= INT64_MAX / 256;
}

void
verify_files_place(const char *path, struct verify_place_of_file *out)
{
	char why[256];
	bool failed;
	sqlite3 *db;

	memset(out, 0, sizeof(*out));
	db = is_database(path) ? verify_sql_open(path, why, sizeof(why)) : NULL;
	if (db == NULL)
		return;
	(void)read_meta(db, "journal", out->journal, sizeof(out->journal));
	if (!read_number(db, "segment", &out->segment, &failed))
		out->journal[0] = '\0';
	db_close(db);
}

/*
 * 0 when no row tells. False: SQL failed, which it may do only once for a
 * page that is out of form, so that this must not be passed over.
 */
static bool
head_of(sqlite3 *db, uint64_t *out)
{
	sqlite3_stmt *s = db_prepare(db, "SELECT size FROM head");
	int rc = s == NULL ? SQLITE_ERROR : db_step(s);

	if (rc != SQLITE_ROW || !verify_sql_u64(s, 0, out))
		*out = 0;
	(void)sqlite3_finalize(s); /* repeats rc */
	return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

static bool
open_one(struct verify_file *f, struct verify_report *r)
{
	char why[512];

	if (!is_database(f->path)) {
		verify_report_finding(
		    r, VERIFY_FILE, verify_nowhere(), "not an SQLite database");
		return false;
	}
	f->db = verify_sql_open(f->path, why, sizeof(why));
	if (f->db == NULL) {
		verify_report_failure(r, "%s", why);
		return false;
	}
	return true;
}

/* What the file says of its place, as far as it can be read. */
static bool
place(struct verify_file *f, struct verify_report *r)
{
	bool failed;

	f->placed = read_number(f->db, "segment", &f->segment, &failed) &&
	    read_number(f->db, "first", &f->first, &failed);
	if (!failed || verify_sql_broken(f->db))
		return true; /* the walk tells */
	verify_report_failure(r, "%s", sqlite3_errmsg(f->db));
	db_close(f->db);
	return false;
}

static int
by_segment(const void *a, const void *b)
{
	const struct verify_file *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return strcmp(x->path, y->path);
}

bool
verify_files_open(struct verify_files *f, const char *const *paths,
    size_t count, struct verify_report *r)
{
	f->file = calloc(count, sizeof(*f->file));
	if (f->file == NULL) {
		verify_report_failure(r, "out of memory");
		return false;
	}
	for (f->count = 0; f->count < count; f->count++) {
		struct verify_file *file = &f->file[f->count];

		file->path = paths[f->count];
		if (!open_one(file, r) || !place(file, r))
			return false;
	}
	qsort(f->file, count, sizeof(*f->file), by_segment);
	return true;
}

bool
verify_files_ends(struct verify_files *f, sqlite3 **at)
{
	for (size_t i = 0; i < f->count; i++) {
		struct verify_file *file = &f->file[i];

		*at = file->db;
		if (!head_of(file->db, &file->head_size))
			return false;
		file->end = i + 1 < f->count && verify_files_follows(f, i + 1)
		    ? f->file[i + 1].first
		    : file->head_size;
	}
	return true;
}

void
verify_files_close(struct verify_files *f)
{
	for (size_t i = 0; f->file != NULL && i < f->count; i++)
		db_close(f->file[i].db);
	free(f->file);
	memset(f, 0, sizeof(*f));
}

bool
verify_files_follows(const struct verify_files *f, size_t i)
{
	return i > 0 && f->file[i].segment == f->file[i - 1].segment + 1;
}

struct verify_file *
verify_files_at(const struct verify_files *f, uint64_t seq)
{
	for (size_t i = f->count; i-- > 0;)
		if (seq >= f->file[i].first)
			return seq < f->file[i].end ? &f->file[i] : NULL;
	return NULL;
}

const char *
verify_files_name(const struct verify_file *file)
{
	const char *slash = strrchr(file->path, '/');

	return slash == NULL ? file->path : slash + 1;
}

/* ---- what they say of themselves ---- */

/* A name of the form X-NNNN.db states a number; any other states none. */
static bool
named_otherwise(const struct verify_file *file)
{
	const char *name = verify_files_name(file);
	size_t n = strlen(name);
	size_t at = n < 3 ? 0 : n - 3;
	uint64_t number = 0;

	if (strcmp(name, "journal.db") == 0)
		return file->segment != 0;
	if (n < 3 || strcmp(name + at, ".db") != 0 ||
	    strncmp(name, "journal-", 8) != 0 || at < 8 + 4 ||
	    strspn(name + 8, "0123456789") != at - 8 || at > 8 + 9)
		return false;
	for (size_t i = 8; i < at; i++)
		number = number * 10 + (uint64_t)(name[i] - '0');
	return number != file->segment;
}

static void
judge_file(const struct verify_files *f, size_t i,
    const struct verify_control *c, struct verify_report *r)
{
	const struct verify_file *file = &f->file[i];
	const struct verify_segment *last =
	    c->segments == 0 ? NULL : &c->segment[c->segments - 1];
	const char *name = verify_files_name(file);

	verify_report_count(r, VERIFY_TABLES, 2);
	if (!file->placed) {
		verify_report_finding(r, VERIFY_TABLES, verify_nowhere(),
		    "%s: table meta does not say which file it is", name);
		return;
	}
	if (named_otherwise(file))
		verify_report_finding(r, VERIFY_FILE, verify_nowhere(),
		    "%s is segment %" PRIu64 " of the journal, not the one "
		    "that its name says",
		    name, file->segment);
	if (file->segment < c->segments
		? c->segment[file->segment].first != file->first
		: file->segment > c->segments || last == NULL ||
		    !last->sealed || file->first != last->seal + 1 ||
		    file->head_size > file->first)
		verify_report_finding(r, VERIFY_TABLES, verify_nowhere(),
		    "%s: table meta: segment %" PRIu64 " does not begin with "
		    "record %" PRIu64,
		    name, file->segment, file->first);
	if (verify_files_follows(f, i + 1 < f->count ? i + 1 : 0) &&
	    file->head_size != file->end)
		verify_report_finding(r, VERIFY_HEAD, verify_nowhere(),
		    "%s: its head row is not at its end, record %" PRIu64, name,
		    file->end);
}

/* Segments from..to are not there; their records are [first, end). */
static void
judge_gap(const struct verify_files *f, uint64_t from, uint64_t to,
    uint64_t first, uint64_t end, struct verify_report *r)
{
	char which[64];

	if (from == to)
		(void)snprintf(which, sizeof(which), "segment %" PRIu64, from);
	else
		(void)snprintf(which, sizeof(which),
		    "segments %" PRIu64 "-%" PRIu64, from, to);
	if (f->whole || from > 0)
		verify_report_finding(r, VERIFY_SEQUENCE,
		    first < end ? verify_at_range(first, end - 1)
				: verify_nowhere(),
		    "%s of the journal is missing", which);
	else
		verify_report_note(r,
		    "%s of the journal (records %" PRIu64 "-%" PRIu64
		    ") not given: what the next file copied of their control "
		    "records (policies, acknowledgements, holds, purges) is "
		    "taken as it is; for their tree its checkpoint of size "
		    "%" PRIu64 " vouches",
		    which, first, end - 1, end);
}

void
verify_files_judge(const struct verify_files *f, const struct verify_control *c,
    struct verify_report *r)
{
	uint64_t next = 0, end = 0;

	for (size_t i = 0; i < f->count; i++) {
		const struct verify_file *file = &f->file[i];

		judge_file(f, i, c, r);
		if (!file->placed)
			continue;
		if (i > 0 && file->segment == f->file[i - 1].segment) {
			verify_report_finding(r, VERIFY_FILE, verify_nowhere(),
			    "%s: segment %" PRIu64 " is there twice",
			    verify_files_name(file), file->segment);
			continue;
		}
		if (file->segment > next)
			judge_gap(
			    f, next, file->segment - 1, end, file->first, r);
		next = file->segment + 1;
		end = file->end;
	}
	if (c->segments > next)
		verify_report_finding(r, VERIFY_CONTROL, verify_nowhere(),
		    "a file has an open record of segment %zu, which is not "
		    "there",
		    c->segments - 1);
	else if (c->segments == next && c->segments > 0 &&
	    c->segment[next - 1].sealed)
		verify_report_note(r,
		    "the file ends with its seal: the next one was not given, "
		    "or not made yet");
}
