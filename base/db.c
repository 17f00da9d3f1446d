#include "base/db.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char common_settings[] =
    "PRAGMA recursive_triggers=ON; PRAGMA foreign_keys=ON;"
    "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
    "PRAGMA wal_autocheckpoint=0;";

static bool
fail(const char *path, const char *reason, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, "%s: %s", path, reason);
	return false;
}

/* Reads a setting back: SQLite says nothing when it keeps another one. */
static bool
setting_is(sqlite3 *db, const char *pragma, const char *expected)
{
	sqlite3_stmt *s = db_prepare(db, pragma);
	const char *value;
	bool same = false;

	if (s == NULL)
		return false;
	if (db_step(s) == SQLITE_ROW) {
		value = (const char *)sqlite3_column_text(s, 0);
		same = value != NULL && strcmp(value, expected) == 0;
	}
	(void)sqlite3_finalize(s); /* the result is what was read */
	return same;
}

static bool
configure_writer(sqlite3 *db, enum db_sync sync)
{
	const char *level = sync == DB_SYNC_FULL ? "2" : "0";
	char sql[64];

	(void)snprintf(sql, sizeof sql, "PRAGMA synchronous=%s", level);
	return db_exec(db, "PRAGMA secure_delete=ON") == 0 &&
	    setting_is(db, "PRAGMA journal_mode=WAL", "wal") &&
	    db_exec(db, sql) == 0 &&
	    setting_is(db, "PRAGMA synchronous", level) &&
	    setting_is(db, "PRAGMA secure_delete", "1");
}

static bool
configure(sqlite3 *db, enum db_mode mode, enum db_sync sync)
{
	int result = 0;

	if (sqlite3_extended_result_codes(db, 1) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, &result) !=
		SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
		mode == DB_READ, &result) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0,
		&result) != SQLITE_OK ||
	    sqlite3_busy_timeout(db, 2000) != SQLITE_OK)
		return false;
	if (db_exec(db, common_settings) != 0)
		return false;
	if (mode == DB_CREATE || mode == DB_WRITE)
		return configure_writer(db, sync);
	return db_exec(db, "PRAGMA query_only=ON") == 0;
}

/* SQLite gives -wal and -shm the mode of the database: make that 0600. */
static bool
make_file(const char *path, char *why, size_t why_len)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || fsync(fd) != 0 || close(fd) != 0)
		return fail(path, "cannot be created", why, why_len);
	return true;
}

/* Opens by URI so that special characters of the path need no care. */
static int
open_uri(const char *path, const char *options, int flags, sqlite3 **db)
{
	char uri[4096];
	size_t n = 0;

	n += (size_t)snprintf(uri, sizeof uri, "file:");
	for (const char *p = path; *p != '\0'; p++) {
		if (n + 8 + strlen(options) > sizeof uri)
			return SQLITE_CANTOPEN;
		if (*p == '%' || *p == '?' || *p == '#')
			n += (size_t)snprintf(uri + n, sizeof uri - n, "%%%02x",
			    (unsigned)(unsigned char)*p);
		else
			uri[n++] = *p;
	}
	(void)snprintf(uri + n, sizeof uri - n, "?%s", options);
	return sqlite3_open_v2(
	    uri, db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
}

static bool
has_wal(const char *path)
{
	char wal[4096];
	struct stat st;
	int n = snprintf(wal, sizeof wal, "%s-wal", path);

	return n > 0 && (size_t)n < sizeof wal && stat(wal, &st) == 0 &&
	    st.st_size > 0;
}

sqlite3 *
db_open(const char *path, enum db_mode mode, enum db_sync sync, char *why,
    size_t why_len)
{
	bool reads = mode == DB_READ || mode == DB_READ_COPY;
	const char *options = reads ? "mode=ro" : "mode=rw";
	int flags = reads ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	sqlite3 *db = NULL;

	if (access(path, F_OK) == 0) {
		if (mode == DB_CREATE) {
			fail(path, "exists already", why, why_len);
			return NULL;
		}
	} else if (mode != DB_CREATE) {
		fail(path, "no such file, or no right to see it", why, why_len);
		return NULL;
	}
	if (mode == DB_CREATE && !make_file(path, why, why_len))
		return NULL;
	if (mode == DB_READ_COPY && !has_wal(path))
		options = "mode=ro&immutable=1";
	if (open_uri(path, options, flags, &db) != SQLITE_OK ||
	    !configure(db, mode, sync)) {
		fail(path, db != NULL ? sqlite3_errmsg(db) : "out of memory",
		    why, why_len);
		db_close(db);
		return NULL;
	}
	return db;
}

int
db_exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

/*
 * Who may not write the index of the WAL cannot mend a header that was being
 * written, nor set a mark of its own when all are beyond the header it has
 * read, because the writer has committed and begun anew meanwhile. SQLite does
 * not let the busy handler wait then. When the writer died over it, the next
 * one mends it.
 */
static bool
again(int result, unsigned *tries)
{
	if ((result != SQLITE_READONLY_RECOVERY &&
		result != SQLITE_READONLY_CANTINIT) ||
	    *tries == DB_READ_TRIES)
		return false;
	(*tries)++;
	(void)sqlite3_sleep(1); /* however long it was */
	return true;
}

int
db_step(sqlite3_stmt *s)
{
	unsigned tries = 0;
	int r;

	/* That comes before the first row only; the next step begins anew. */
	do
		r = sqlite3_step(s);
	while (again(r, &tries));
	return r;
}

sqlite3_stmt *
db_prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	unsigned tries = 0;
	int r;

	do
		r = sqlite3_prepare_v3(
		    db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
	while (again(r, &tries));
	return s;
}

char *
db_dup_text(sqlite3_stmt *s, int column)
{
	const unsigned char *text = sqlite3_column_text(s, column);

	return text != NULL ? strdup((const char *)text) : NULL;
}

sqlite3_int64
db_int(sqlite3 *db, const char *sql, sqlite3_int64 fallback)
{
	sqlite3_stmt *s = db_prepare(db, sql);
	sqlite3_int64 value = fallback;

	if (s == NULL)
		return fallback;
	if (db_step(s) == SQLITE_ROW &&
	    sqlite3_column_type(s, 0) == SQLITE_INTEGER)
		value = sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* the result is what was read */
	return value;
}

static int
authorize_writer(void *arg, int action, const char *a, const char *b,
    const char *schema, const char *trigger)
{
	(void)arg;
	(void)a;
	(void)b;
	(void)schema;
	(void)trigger;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_READ:
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
	case SQLITE_TRANSACTION:
	case SQLITE_SAVEPOINT:
	case SQLITE_FUNCTION:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

static int
authorize_reader(void *arg, int action, const char *a, const char *b,
    const char *schema, const char *trigger)
{
	if (action == SQLITE_INSERT || action == SQLITE_UPDATE ||
	    action == SQLITE_DELETE)
		return SQLITE_DENY;
	return authorize_writer(arg, action, a, b, schema, trigger);
}

int
db_seal(sqlite3 *db, bool read_only)
{
	return sqlite3_set_authorizer(db,
		   read_only ? authorize_reader : authorize_writer,
		   NULL) == SQLITE_OK
	    ? 0
	    : -1;
}

int
db_checkpoint_truncate(sqlite3 *db)
{
	int frames = 0, done = 0;

	if (sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE,
		&frames, &done) != SQLITE_OK)
		return -1;
	return frames == 0 ? 0 : -1;
}

int
db_checkpoint_durable(sqlite3 *db)
{
	int r = -1;

	/* Settings are sealed for everybody else. */
	if (sqlite3_set_authorizer(db, NULL, NULL) == SQLITE_OK &&
	    db_exec(db, "PRAGMA synchronous=FULL") == 0)
		r = db_checkpoint_truncate(db);
	if (db_exec(db, "PRAGMA synchronous=OFF") != 0)
		r = -1;
	return db_seal(db, false) == 0 ? r : -1;
}

int
db_checkpoint_passive(sqlite3 *db, int *wal_frames)
{
	return sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE,
		   wal_frames, NULL) == SQLITE_OK
	    ? 0
	    : -1;
}

int
db_keep_wal(sqlite3 *db)
{
	int keep = 1;

	return sqlite3_file_control(
		   db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep) == SQLITE_OK
	    ? 0
	    : -1;
}

void
db_close(sqlite3 *db)
{
	/* Statements left open keep a zombie, never lose data. */
	(void)sqlite3_close_v2(db);
}

int
db_row(sqlite3 *db, const char *sql, const char *text, const uint64_t *args,
    size_t arg_count, uint64_t *out, int out_count)
{
	sqlite3_stmt *s = db_prepare(db, sql);
	int at = 1, r = -1;

	if (s == NULL)
		return -1;
	if (text != NULL)
		(void)sqlite3_bind_text(s, at++, text, -1, SQLITE_STATIC);
	for (size_t i = 0; i < arg_count; i++)
		(void)sqlite3_bind_int64(s, at++, (sqlite3_int64)args[i]);
	switch (db_step(s)) {
	case SQLITE_ROW:
		for (int i = 0; i < out_count; i++)
			out[i] = (uint64_t)sqlite3_column_int64(s, i);
		r = 1;
		break;
	case SQLITE_DONE:
		r = 0;
		break;
	}
	(void)sqlite3_finalize(s); /* the step has told what there is to tell */
	return r;
}
