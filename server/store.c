#include "server/store.h"

#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "server/store_db.h"

#define APPLICATION_ID 0x43484154
#define SCHEMA_VERSION 2
#define TIDY_FRAMES 2000

static const char schema[] =
    "PRAGMA application_id=0x43484154; PRAGMA user_version=2;"
    "BEGIN;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE position(id INTEGER PRIMARY KEY CHECK(id=1),"
    " applied INTEGER NOT NULL, probes INTEGER NOT NULL,"
    " gone INTEGER NOT NULL) STRICT;"
    "CREATE TABLE user(id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE,"
    " name TEXT NOT NULL, ha1_md5 BLOB, ha1_sha256 BLOB) STRICT;"
    "CREATE TABLE room(id INTEGER PRIMARY KEY, guid TEXT NOT NULL UNIQUE,"
    " name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE,"
    " description TEXT NOT NULL, description_key TEXT NOT NULL,"
    " privacy INTEGER NOT NULL, chats INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE member(user TEXT NOT NULL,"
    " room INTEGER NOT NULL REFERENCES room(id),"
    " PRIMARY KEY(user,room)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX member_room ON member(room);"
    "CREATE TABLE message(seq INTEGER PRIMARY KEY, room INTEGER NOT NULL,"
    " chat INTEGER NOT NULL, at INTEGER NOT NULL, author TEXT NOT NULL,"
    " text TEXT NOT NULL) STRICT;"
    "CREATE INDEX message_chat ON message(room,chat);"
    "CREATE TABLE joined(seq INTEGER PRIMARY KEY, room INTEGER NOT NULL,"
    " user TEXT NOT NULL, name TEXT NOT NULL, device TEXT NOT NULL) STRICT;"
    "CREATE TABLE pending(id INTEGER PRIMARY KEY, boot INTEGER NOT NULL,"
    " number INTEGER NOT NULL, kind INTEGER NOT NULL, json TEXT NOT NULL,"
    " UNIQUE(boot,number)) STRICT;"
    "INSERT INTO position VALUES(1,0,0,0);"
    "COMMIT;";

#define ROOM_COLUMNS                                                           \
	"SELECT room.id,room.guid,room.name,room.description,room.privacy"

static const char *const statements[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_COMMIT] = "COMMIT",
    [STORE_ROLLBACK] = "ROLLBACK",
    [STORE_SET_APPLIED] = "UPDATE position SET applied=?1",
    [STORE_PROBE] = "UPDATE position SET probes=probes+1",
    [STORE_ADD_USER] = "INSERT INTO user(uri,name,ha1_md5,ha1_sha256)"
		       " VALUES(?1,?2,?3,?4)",
    [STORE_GET_USER] =
	"SELECT uri,name,ha1_md5,ha1_sha256 FROM user WHERE uri=?1",
    [STORE_LIST_USERS] =
	"SELECT uri,name,ha1_md5,ha1_sha256 FROM user ORDER BY uri",
    [STORE_REPLAY_USER] =
	"INSERT INTO user(uri,name) VALUES(?1,?2) ON CONFLICT DO NOTHING",
    [STORE_ADD_ROOM] = "INSERT INTO room(guid,name,name_key,description,"
		       "description_key,privacy) VALUES(?1,?2,?3,?4,?5,?6)",
    [STORE_REPLAY_ROOM] =
	"INSERT INTO room(guid,name,name_key,description,description_key,"
	"privacy) VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT DO NOTHING",
    [STORE_GET_ROOM] =
	ROOM_COLUMNS ",max(chats,COALESCE((SELECT max(chat) FROM message"
		     " WHERE message.room=room.id),0))"
		     " FROM room WHERE guid=?1",
    [STORE_FIND_ROOM] = ROOM_COLUMNS " FROM room WHERE guid=?1 OR name_key=?2",
    [STORE_LIST_ROOMS] =
	ROOM_COLUMNS ",(SELECT count(*) FROM member WHERE"
		     " member.room=room.id) FROM room ORDER BY name_key",
    [STORE_ADD_MEMBER] = "INSERT INTO member(room,user) VALUES(?1,?2)"
			 " ON CONFLICT DO NOTHING",
    [STORE_IS_MEMBER] = "SELECT 1 FROM member WHERE room=?1 AND user=?2",
    [STORE_ADD_PENDING] =
	"INSERT INTO pending(boot,number,kind,json) VALUES(?1,?2,?3,?4)",
    [STORE_LIST_PENDING] = "SELECT id,kind,json FROM pending ORDER BY id",
    [STORE_DROP_PENDING] = "DELETE FROM pending WHERE id=?1",
    [STORE_FIND_PENDING] = "SELECT id FROM pending WHERE boot=?1 AND number=?2",
    [STORE_ADD_POST] = "INSERT INTO message(seq,room,chat,at,author,text)"
		       " VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(seq) DO NOTHING",
    [STORE_KEEP_CHATS] =
	"UPDATE room SET chats=max(chats,COALESCE((SELECT max(chat) FROM"
	" message WHERE message.room=room.id),0)) WHERE id IN"
	" (SELECT room FROM message WHERE seq BETWEEN ?1 AND ?2)",
    [STORE_DROP_MESSAGES] = "DELETE FROM message WHERE seq BETWEEN ?1 AND ?2",
    [STORE_SET_GONE] = "UPDATE position SET gone=?1",
    [STORE_GET_HISTORY] =
	"SELECT chat,at,author,text FROM (SELECT chat,at,author,text FROM"
	" message WHERE room=?1 ORDER BY chat DESC LIMIT ?2) ORDER BY chat",
    [STORE_SEARCH_ROOMS] = ROOM_COLUMNS
    " FROM room WHERE (privacy<2 OR EXISTS(SELECT 1 FROM member WHERE"
    " member.user=?3 AND member.room=room.id))"
    " AND (?1='' OR instr(name_key,?1)>0"
    " OR (?2 AND instr(description_key,?1)>0))"
    " ORDER BY name_key LIMIT ?4",
    [STORE_ROOMS_OF] =
	ROOM_COLUMNS " FROM member CROSS JOIN room ON room.id=member.room"
		     " WHERE member.user=?1 ORDER BY name_key LIMIT ?2",
    [STORE_ADD_JOINED] = "INSERT INTO joined(seq,room,user,name,device)"
			 " VALUES(?1,?2,?3,?4,?5) ON CONFLICT DO NOTHING",
    [STORE_DROP_JOINED] = "DELETE FROM joined WHERE seq=?1",
    [STORE_LIST_JOINED] =
	"SELECT joined.seq,room.guid,room.name,joined.user,joined.name,"
	"joined.device FROM joined CROSS JOIN room ON room.id=joined.room"
	" ORDER BY joined.seq",
};

sqlite3_stmt *
store_statement(struct store *s, enum store_statement which)
{
	sqlite3_stmt **st = &s->statements[which];

	if (*st == NULL) {
		*st = db_prepare(s->db, statements[which]);
		return *st;
	}
	/* An error of its last use is repeated by reset: it was seen then. */
	(void)sqlite3_reset(*st);
	(void)sqlite3_clear_bindings(*st);
	return *st;
}

void
store_bind_view(sqlite3_stmt *st, int at, struct view v)
{
	/* A failed bind leaves NULL, which the schema then refuses. */
	(void)sqlite3_bind_text64(st, at, v.n == 0 ? "" : (const char *)v.p,
	    v.n, SQLITE_STATIC, SQLITE_UTF8);
}

void
store_bind_text(sqlite3_stmt *st, int at, const char *text)
{
	store_bind_view(st, at, view_text(text));
}

void
store_bind_u64(sqlite3_stmt *st, int at, uint64_t v)
{
	(void)sqlite3_bind_int64(st, at, (sqlite3_int64)v);
}

const char *
store_text(sqlite3_stmt *st, int column)
{
	const char *text = (const char *)sqlite3_column_text(st, column);

	return text != NULL ? text : "";
}

uint64_t
store_u64(sqlite3_stmt *st, int column)
{
	return (uint64_t)sqlite3_column_int64(st, column);
}

static void
fail(struct store *s, const char *what)
{
	if (!s->complained)
		log_error("%s: %s: %s", s->path, what, sqlite3_errmsg(s->db));
	s->failed = s->complained = true;
	for (size_t i = 0; i < STORE_STATEMENTS; i++)
		(void)sqlite3_reset(s->statements[i]);
	if (sqlite3_get_autocommit(s->db) == 0 &&
	    db_exec(s->db, "ROLLBACK") != 0)
		log_error("%s: %s", s->path, sqlite3_errmsg(s->db));
	s->in_transaction = false;
	s->applied = s->applied_written;
}

int
store_begin(struct store *s)
{
	sqlite3_stmt *st;

	if (s->failed)
		return -1;
	if (s->in_transaction)
		return 0;
	st = store_statement(s, STORE_BEGIN);
	if (st == NULL || sqlite3_step(st) != SQLITE_DONE) {
		fail(s, "cannot begin");
		return -1;
	}
	(void)sqlite3_reset(st);
	s->in_transaction = true;
	return 0;
}

int
store_write(struct store *s, sqlite3_stmt *st)
{
	if (st == NULL || sqlite3_step(st) != SQLITE_DONE) {
		fail(s, "cannot write");
		return -1;
	}
	(void)sqlite3_reset(st);
	return 0;
}

int
store_commit(struct store *s)
{
	sqlite3_stmt *st;

	if (s->failed)
		return -1;
	if (!s->in_transaction && s->applied == s->applied_written)
		return 0;
	if (store_begin(s) != 0)
		return -1;
	if (s->applied != s->applied_written) {
		st = store_statement(s, STORE_SET_APPLIED);
		if (st != NULL)
			store_bind_u64(st, 1, s->applied);
		if (store_write(s, st) != 0)
			return -1;
	}
	if (store_write(s, store_statement(s, STORE_COMMIT)) != 0)
		return -1;
	s->in_transaction = s->complained = false;
	s->applied_written = s->applied;
	return 0;
}

int
store_sync_fd(struct store *s)
{
	char *wal;

	if (s->wal_fd >= 0)
		return s->wal_fd;
	if (asprintf(&wal, "%s-wal", s->path) < 0)
		return -1;
	s->wal_fd = open(wal, O_RDWR | O_CLOEXEC);
	free(wal);
	if (s->wal_fd >= 0 && file_sync_parent(s->path) != 0) {
		close(s->wal_fd);
		s->wal_fd = -1;
	}
	return s->wal_fd;
}

void
store_unsynced(struct store *s)
{
	s->unsynced = true;
}

int
store_sync(struct store *s)
{
	int fd = store_sync_fd(s);

	/* The kernel tells of a failed write once; the pages are clean then. */
	if (s->unsynced)
		s->unsynced = db_checkpoint_durable(s->db) != 0;
	else
		s->unsynced = fd < 0 || fdatasync(fd) != 0;
	return s->unsynced ? -1 : 0;
}

int
store_commit_now(struct store *s)
{
	return store_commit(s) == 0 ? store_sync(s) : -1;
}

bool
store_dirty(const struct store *s)
{
	return s->in_transaction || s->applied != s->applied_written;
}

bool
store_failed(const struct store *s)
{
	return s->failed;
}

void
store_fail_misread(struct store *s)
{
	if (s->misread)
		fail(s, "cannot read");
}

int
store_recover(struct store *s)
{
	s->failed = false;
	s->applied = s->applied_written =
	    (uint64_t)db_int(s->db, "SELECT applied FROM position", 0);
	/* Is there room again? A write without a change would not tell. */
	if (store_begin(s) != 0 ||
	    store_write(s, store_statement(s, STORE_PROBE)) != 0)
		return -1;
	return store_commit(s);
}

uint64_t
store_applied(const struct store *s)
{
	return s->applied;
}

void
store_set_applied(struct store *s, uint64_t applied)
{
	if (!s->failed)
		s->applied = applied;
}

void
store_tidy(struct store *s)
{
	int frames = 0;

	if (lseek(store_sync_fd(s), 0, SEEK_END) <
	    (off_t)TIDY_FRAMES * (4096 + 24))
		return;
	if (!s->in_transaction && db_checkpoint_passive(s->db, &frames) != 0)
		log_warn("%s: checkpoint: %s", s->path, sqlite3_errmsg(s->db));
}

const char *
store_domain(const struct store *s)
{
	return s->domain;
}

const char *
store_root(const struct store *s)
{
	return s->root;
}

const char *
store_version(const struct store *s)
{
	return s->version;
}

/* Plain ASCII is folded by hand; the rest by the C library's tables. */
void
store_fold(struct buf *out, struct view v)
{
	static locale_t locale;
	mbstate_t state = {0}, reverse = {0};
	char bytes[MB_LEN_MAX];
	locale_t old;
	wchar_t c;
	size_t n;

	if (locale == (locale_t)0)
		locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (locale == (locale_t)0)
		log_fatal("the locale C.UTF-8 is missing");
	old = uselocale(locale);
	for (size_t i = 0; i < v.n; i += n) {
		n = mbrtowc(&c, (const char *)v.p + i, v.n - i, &state);
		if (n == 0 || n > v.n - i)
			break;
		buf_put(out, bytes,
		    wcrtomb(bytes, (wchar_t)towlower((wint_t)c), &reverse));
	}
	(void)uselocale(old);
}

void
store_make_guid(char out[37])
{
	uint8_t r[16];
	struct buf b = {0};

	crypto_random(r, sizeof r);
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	text_put_hex(&b, r, sizeof r);
	if (b.failed)
		log_fatal("out of memory");
	(void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", b.data, b.data + 8,
	    b.data + 12, b.data + 16, b.data + 20);
	buf_release(&b);
}

static int
write_meta(sqlite3 *db, const char *name, const char *value)
{
	sqlite3_stmt *st = db_prepare(db, "INSERT INTO meta VALUES(?1,?2)");
	int result = -1;

	if (st == NULL)
		return -1;
	store_bind_text(st, 1, name);
	store_bind_text(st, 2, value);
	if (sqlite3_step(st) == SQLITE_DONE)
		result = 0;
	(void)sqlite3_finalize(st);
	return result;
}

int
store_create(const char *path, const char *domain, char *why, size_t why_len)
{
	sqlite3 *db = db_open(path, DB_CREATE, DB_SYNC_FULL, why, why_len);
	char root[37], version[37];
	int result = -1;

	if (db == NULL)
		return -1;
	store_make_guid(root);
	store_make_guid(version);
	if (db_exec(db, schema) == 0 && write_meta(db, "domain", domain) == 0 &&
	    write_meta(db, "root", root) == 0 &&
	    write_meta(db, "version", version) == 0 &&
	    db_checkpoint_truncate(db) == 0 && file_sync_parent(path) == 0)
		result = 0;
	else
		(void)snprintf(
		    why, why_len, "%s: %s", path, sqlite3_errmsg(db));
	db_close(db);
	return result;
}

static char *
read_meta(sqlite3 *db, const char *name)
{
	sqlite3_stmt *st =
	    db_prepare(db, "SELECT value FROM meta WHERE name=?1");
	char *value = NULL;

	if (st == NULL)
		return NULL;
	store_bind_text(st, 1, name);
	if (sqlite3_step(st) == SQLITE_ROW)
		value = strdup(store_text(st, 0));
	(void)sqlite3_finalize(st);
	return value;
}

/* What every use needs; NULL, or what is wrong. */
static const char *
load(struct store *s, const char *path)
{
	if (db_int(s->db, "PRAGMA application_id", 0) != APPLICATION_ID)
		return "is not a chat database";
	if (db_int(s->db, "PRAGMA user_version", 0) != SCHEMA_VERSION)
		return "is of another version";
	/* Commits are not synced one by one, but checkpoints are. */
	if (db_exec(s->db, "PRAGMA synchronous=NORMAL") != 0 ||
	    db_int(s->db, "PRAGMA synchronous", 0) != 1 ||
	    db_seal(s->db, false) != 0)
		return sqlite3_errmsg(s->db);
	s->path = strdup(path);
	s->domain = read_meta(s->db, "domain");
	s->root = read_meta(s->db, "root");
	s->version = read_meta(s->db, "version");
	if (s->path == NULL || s->domain == NULL || s->root == NULL ||
	    s->version == NULL)
		return "has no domain, or memory is short";
	s->applied = s->applied_written =
	    (uint64_t)db_int(s->db, "SELECT applied FROM position", 0);
	return NULL;
}

struct store *
store_open(const char *path, char *why, size_t why_len)
{
	struct store *s = calloc(1, sizeof *s);
	const char *wrong;

	if (s == NULL) {
		(void)snprintf(why, why_len, "%s: out of memory", path);
		return NULL;
	}
	s->wal_fd = -1;
	s->db = db_open(path, DB_WRITE, DB_SYNC_OFF, why, why_len);
	if (s->db == NULL) {
		free(s);
		return NULL;
	}
	wrong = load(s, path);
	if (wrong == NULL)
		return s;
	(void)snprintf(why, why_len, "%s: %s", path, wrong);
	store_close(s);
	return NULL;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	if (s->path != NULL && !s->failed && store_commit(s) != 0)
		log_error("%s: the last changes are lost", s->path);
	for (size_t i = 0; i < STORE_STATEMENTS; i++)
		(void)sqlite3_finalize(s->statements[i]);
	db_close(s->db);
	if (s->wal_fd >= 0)
		close(s->wal_fd);
	free(s->path);
	free(s->domain);
	free(s->root);
	free(s->version);
	free(s);
}
