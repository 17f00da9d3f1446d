#include "export/witness_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/db.h"
#include "base/file.h"
#include "base/text.h"

#include "export/verify_sql.h"

#define APPLICATION "0x43484e57"
#define VERSION 1
#define WAL_FRAMES_MAX 256
#define WHY_MAX 256
#define ED25519 0x01
#define CONFLICTS_MAX "64"

struct witness_store {
	sqlite3 *db;
	char why[WHY_MAX];
};

/* The trigger is a fence: the rules look first. */
static const char schema[] =
    "PRAGMA application_id=" APPLICATION "; PRAGMA user_version=1;"
    "CREATE TABLE log(origin TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE,"
    " next BLOB, size INTEGER, root BLOB, note BLOB, at INTEGER) STRICT;"
    "CREATE TABLE key(origin TEXT NOT NULL REFERENCES log, n INTEGER NOT NULL,"
    " first INTEGER NOT NULL, vkey TEXT NOT NULL,"
    " PRIMARY KEY(origin, n)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE conflict(origin TEXT NOT NULL REFERENCES log,"
    " at INTEGER NOT NULL, kept BLOB NOT NULL, refused BLOB NOT NULL) STRICT;"
    "CREATE TRIGGER forward BEFORE UPDATE ON log"
    " WHEN NEW.origin<>OLD.origin OR NEW.size IS NULL OR NEW.size<OLD.size"
    "  OR (NEW.size=OLD.size AND NEW.root<>OLD.root)"
    " BEGIN SELECT RAISE(ABORT,'a checkpoint goes back'); END;"
    "CREATE TRIGGER kept BEFORE DELETE ON log"
    " BEGIN SELECT RAISE(ABORT,'a log stays'); END;";

#define LOG_COLUMNS                                                            \
	"SELECT l.origin, l.next, l.size, l.root, l.at, k.vkey,"               \
	" (SELECT count(*) FROM conflict c WHERE c.origin=l.origin)"           \
	" FROM log l JOIN key k ON k.origin=l.origin"                          \
	" AND k.n=(SELECT max(n) FROM key m WHERE m.origin=l.origin) "

static bool
failed(struct witness_store *s)
{
	(void)snprintf(s->why, sizeof(s->why), "%s", sqlite3_errmsg(s->db));
	return false;
}

/* The database is one of ours and of this version. */
static bool
is_ours(struct witness_store *s)
{
	return db_int(s->db, "PRAGMA application_id", 0) ==
	    strtol(APPLICATION, NULL, 16) &&
	    db_int(s->db, "PRAGMA user_version", 0) == VERSION;
}

struct witness_store *
witness_store_open(const char *path, bool create, char *why, size_t why_len)
{
	struct witness_store *s = calloc(1, sizeof(*s));
	bool ok;

	if (s == NULL) {
		(void)snprintf(why, why_len, "out of memory");
		return NULL;
	}
	s->db = db_open(
	    path, create ? DB_CREATE : DB_WRITE, DB_SYNC_FULL, why, why_len);
	if (s->db == NULL) {
		free(s);
		return NULL;
	}
	ok = !create ||
	    (db_exec(s->db, "BEGIN") == 0 && db_exec(s->db, schema) == 0 &&
		db_exec(s->db, "COMMIT") == 0 && file_sync_parent(path) == 0);
	if (!ok || !is_ours(s) || db_seal(s->db, false) != 0 ||
	    sqlite3_wal_autocheckpoint(s->db, WAL_FRAMES_MAX) != SQLITE_OK) {
		(void)snprintf(why, why_len, "%s: %s", path,
		    ok ? "not the state of a witness" : sqlite3_errmsg(s->db));
		witness_store_close(s);
		return NULL;
	}
	return s;
}

void
witness_store_close(struct witness_store *s)
{
	if (s == NULL)
		return;
	db_close(s->db);
	free(s);
}

const char *
witness_store_error(const struct witness_store *s)
{
	return s->why;
}

bool
witness_store_begin(struct witness_store *s)
{
	return db_exec(s->db, "BEGIN IMMEDIATE") == 0 || failed(s);
}

bool
witness_store_commit(struct witness_store *s)
{
	if (db_exec(s->db, "COMMIT") == 0)
		return true;
	failed(s);
	witness_store_abort(s);
	return false;
}

void
witness_store_abort(struct witness_store *s)
{
	/* SQLite may have ended the transaction itself. */
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)db_exec(s->db, "ROLLBACK");
}

static sqlite3_stmt *
prepare(struct witness_store *s, const char *sql)
{
	sqlite3_stmt *q = db_prepare(s->db, sql);

	if (q == NULL)
		failed(s);
	return q;
}

static bool
bind_blob(sqlite3_stmt *q, int i, struct view v)
{
	return sqlite3_bind_blob64(q, i, v.p, v.n, SQLITE_STATIC) == SQLITE_OK;
}

static bool
bind_text(sqlite3_stmt *q, int i, struct view v)
{
	return sqlite3_bind_text64(q, i, (const char *)v.p, v.n, SQLITE_STATIC,
		   SQLITE_UTF8) == SQLITE_OK;
}

static bool
bind_u64(sqlite3_stmt *q, int i, uint64_t v)
{
	return sqlite3_bind_int64(q, i, (sqlite3_int64)v) == SQLITE_OK;
}

/* Runs a statement that gives no rows and ends it. */
static bool
run(struct witness_store *s, sqlite3_stmt *q, bool bound)
{
	bool ok = bound && sqlite3_step(q) == SQLITE_DONE;

	if (!ok)
		failed(s);
	(void)sqlite3_finalize(q); /* the step's result counts */
	return ok;
}

static enum witness_found
step(struct witness_store *s, sqlite3_stmt *q)
{
	switch (sqlite3_step(q)) {
	case SQLITE_ROW:
		return WITNESS_FOUND;
	case SQLITE_DONE:
		return WITNESS_NONE;
	default:
		failed(s);
		return WITNESS_FAILED;
	}
}

static bool
malformed(struct witness_store *s)
{
	(void)snprintf(s->why, sizeof(s->why), "a row of the state is broken");
	return false;
}

static bool
get_fixed(sqlite3_stmt *q, int column, uint8_t out[32])
{
	struct view v = verify_sql_bytes(q, column);

	if (v.n != 32)
		return false;
	memcpy(out, v.p, 32);
	return true;
}

static bool
get_key(sqlite3_stmt *q, int column, struct verify_key *out)
{
	const char *why;

	return verify_key_parse(verify_sql_bytes(q, column), out, &why);
}

/* A row of LOG_COLUMNS. */
static bool
get_log(struct witness_store *s, sqlite3_stmt *q, struct witness_log *out)
{
	struct view origin = verify_sql_bytes(q, 0);

	memset(out, 0, sizeof(*out));
	if (origin.n == 0 || origin.n > VERIFY_NAME_MAX ||
	    !get_key(q, 5, &out->newest) ||
	    !verify_sql_u64(q, 6, &out->conflicts))
		return malformed(s);
	memcpy(out->origin, origin.p, origin.n);
	out->rotates = sqlite3_column_type(q, 1) != SQLITE_NULL;
	if (out->rotates && !get_fixed(q, 1, out->next))
		return malformed(s);
	out->cosigned = sqlite3_column_type(q, 2) != SQLITE_NULL;
	if (out->cosigned &&
	    (!verify_sql_u64(q, 2, &out->size) || !get_fixed(q, 3, out->root) ||
		!verify_sql_u64(q, 4, &out->at)))
		return malformed(s);
	return true;
}

static enum witness_found
find(struct witness_store *s, sqlite3_stmt *q, bool bound,
    struct witness_log *out)
{
	enum witness_found found = WITNESS_FAILED;

	if (bound)
		found = step(s, q);
	else
		failed(s);
	if (found == WITNESS_FOUND && !get_log(s, q, out))
		found = WITNESS_FAILED;
	(void)sqlite3_finalize(q); /* the step's result counts */
	return found;
}

enum witness_found
witness_store_find(
    struct witness_store *s, struct view origin, struct witness_log *out)
{
	sqlite3_stmt *q = prepare(s, LOG_COLUMNS "WHERE l.origin=?1");

	return q == NULL ? WITNESS_FAILED
			 : find(s, q, bind_text(q, 1, origin), out);
}

enum witness_found
witness_store_find_hash(
    struct witness_store *s, const uint8_t hash[32], struct witness_log *out)
{
	sqlite3_stmt *q = prepare(s, LOG_COLUMNS "WHERE l.hash=?1");

	return q == NULL ? WITNESS_FAILED
			 : find(s, q, bind_blob(q, 1, view_of(hash, 32)), out);
}

enum witness_found
witness_store_key(struct witness_store *s, const char *origin, uint64_t size,
    struct verify_key *out)
{
	sqlite3_stmt *q = prepare(s,
	    "SELECT vkey FROM key WHERE origin=?1 AND first<=?2"
	    " ORDER BY n DESC LIMIT 1");
	enum witness_found found = WITNESS_FAILED;

	if (q == NULL)
		return WITNESS_FAILED;
	if (bind_text(q, 1, view_text(origin)) && bind_u64(q, 2, size))
		found = step(s, q);
	else
		failed(s);
	if (found == WITNESS_FOUND && !get_key(q, 0, out)) {
		malformed(s);
		found = WITNESS_FAILED;
	}
	(void)sqlite3_finalize(q); /* the step's result counts */
	return found;
}

enum witness_found
witness_store_note(struct witness_store *s, const char *origin, struct buf *out)
{
	sqlite3_stmt *q = prepare(
	    s, "SELECT note FROM log WHERE origin=?1 AND note IS NOT NULL");
	enum witness_found found = WITNESS_FAILED;

	if (q == NULL)
		return WITNESS_FAILED;
	if (bind_text(q, 1, view_text(origin)))
		found = step(s, q);
	else
		failed(s);
	if (found == WITNESS_FOUND)
		buf_put_view(out, verify_sql_bytes(q, 0));
	(void)sqlite3_finalize(q); /* the step's result counts */
	return found;
}

static void
put_vkey(struct buf *out, const struct verify_key *key)
{
	uint8_t blob[33] = {ED25519};

	memcpy(blob + 1, key->public, 32);
	buf_put_text(out, key->name);
	buf_put_u8(out, '+');
	text_put_hex(out, key->id, sizeof(key->id));
	buf_put_u8(out, '+');
	text_put_base64(out, blob, sizeof(blob));
}

static bool
add_key(struct witness_store *s, const struct verify_key *key, uint64_t first)
{
	sqlite3_stmt *q = prepare(s,
	    "INSERT INTO key VALUES(?1,(SELECT count(*) FROM key WHERE"
	    " origin=?1),?2,?3)");
	struct buf vkey;
	bool ok;

	if (q == NULL)
		return false;
	buf_init(&vkey);
	put_vkey(&vkey, key);
	ok = run(s, q,
	    !vkey.failed && bind_text(q, 1, view_text(key->name)) &&
		bind_u64(q, 2, first) && bind_text(q, 3, buf_view(&vkey)));
	buf_release(&vkey);
	return ok;
}

bool
witness_store_add_log(
    struct witness_store *s, const struct verify_key *key, const uint8_t *next)
{
	sqlite3_stmt *q =
	    prepare(s, "INSERT INTO log(origin,hash,next) VALUES(?1,?2,?3)");
	uint8_t hash[32];

	if (q == NULL)
		return false;
	crypto_sha256(key->name, strlen(key->name), hash);
	return run(s, q,
		   bind_text(q, 1, view_text(key->name)) &&
		       bind_blob(q, 2, view_of(hash, 32)) &&
		       (next == NULL || bind_blob(q, 3, view_of(next, 32)))) &&
	    add_key(s, key, 0);
}

bool
witness_store_add_key(struct witness_store *s, const struct verify_key *key,
    uint64_t first, const uint8_t next[32])
{
	sqlite3_stmt *q = prepare(s, "UPDATE log SET next=?2 WHERE origin=?1");

	if (q == NULL)
		return false;
	return run(s, q,
		   bind_text(q, 1, view_text(key->name)) &&
		       bind_blob(q, 2, view_of(next, 32))) &&
	    add_key(s, key, first);
}

bool
witness_store_keep(struct witness_store *s, const char *origin, uint64_t size,
    const uint8_t root[32], struct view note, uint64_t at)
{
	sqlite3_stmt *q = prepare(
	    s, "UPDATE log SET size=?2,root=?3,note=?4,at=?5 WHERE origin=?1");

	if (q == NULL)
		return false;
	return run(s, q,
	    bind_text(q, 1, view_text(origin)) && bind_u64(q, 2, size) &&
		bind_blob(q, 3, view_of(root, 32)) && bind_blob(q, 4, note) &&
		bind_u64(q, 5, at));
}

bool
witness_store_add_conflict(struct witness_store *s, const char *origin,
    uint64_t at, struct view kept, struct view refused)
{
	sqlite3_stmt *q = prepare(s,
	    "INSERT INTO conflict SELECT ?1,?2,?3,?4 WHERE (SELECT count(*)"
	    " FROM conflict WHERE origin=?1)<" CONFLICTS_MAX);

	if (q == NULL)
		return false;
	return run(s, q,
	    bind_text(q, 1, view_text(origin)) && bind_u64(q, 2, at) &&
		bind_blob(q, 3, kept) && bind_blob(q, 4, refused));
}

bool
witness_store_each(struct witness_store *s, witness_log_cb *cb, void *arg)
{
	sqlite3_stmt *q = prepare(s, LOG_COLUMNS "ORDER BY l.origin");
	enum witness_found found = WITNESS_FAILED;
	struct witness_log log;

	if (q == NULL)
		return false;
	while ((found = step(s, q)) == WITNESS_FOUND)
		if (!get_log(s, q, &log) || !cb(arg, &log))
			break;
	(void)sqlite3_finalize(q); /* the steps' results count */
	return found == WITNESS_NONE;
}

bool
witness_store_each_conflict(
    struct witness_store *s, witness_conflict_cb *cb, void *arg)
{
	sqlite3_stmt *q =
	    prepare(s, "SELECT kept, refused FROM conflict ORDER BY rowid");
	enum witness_found found = WITNESS_FAILED;

	if (q == NULL)
		return false;
	while ((found = step(s, q)) == WITNESS_FOUND)
		if (!cb(arg, verify_sql_bytes(q, 0), verify_sql_bytes(q, 1)))
			break;
	(void)sqlite3_finalize(q); /* the steps' results count */
	return found == WITNESS_NONE;
}
