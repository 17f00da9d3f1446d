#include "compliance/schema.h"

/* An unchangeable table: no UPDATE, and no DELETE (so no REPLACE either). */
#define FROZEN(table)                                                          \
	"CREATE TRIGGER " table "_update BEFORE UPDATE ON " table              \
	" BEGIN SELECT RAISE(ABORT, '" table " is append-only'); END;"         \
	"CREATE TRIGGER " table "_delete BEFORE DELETE ON " table              \
	" BEGIN SELECT RAISE(ABORT, '" table " is append-only'); END;"

/*
 * ROLLBACK and not ABORT: a statement that may be undone alone costs a
 * savepoint a row, and the gate undoes all of it anyhow.
 */
#define GUARD(name, event, condition, reason)                                  \
	"CREATE TRIGGER " name " BEFORE " event " WHEN " condition             \
	" BEGIN SELECT RAISE(ROLLBACK, '" reason "'); END;"

/*
 * In a sealed file a purge leaves rows whose record is in a later file, which
 * has judged it.
 */
#define HERE(condition)                                                        \
	"COALESCE((SELECT kind = 136 AND NEW.seq > seq FROM leaf"              \
	" ORDER BY seq DESC LIMIT 1), 0) = 0 AND (" condition ")"

/* clang-format off */
const char schema_tables_sql[] =
"CREATE TABLE meta("
" name TEXT PRIMARY KEY NOT NULL,"
" value TEXT NOT NULL"
") STRICT;"

"CREATE TABLE leaf("
" seq INTEGER PRIMARY KEY,"
" at INTEGER NOT NULL,"
" kind INTEGER NOT NULL,"
" bytes BLOB NOT NULL"
") STRICT;"
"CREATE INDEX leaf_control ON leaf(kind, seq) WHERE kind >= 128;"

"CREATE TABLE body("
" id INTEGER PRIMARY KEY,"
" salt BLOB NOT NULL CHECK (length(salt) = 32),"
" data BLOB NOT NULL"
") STRICT;"

"CREATE TABLE tile("
" level INTEGER NOT NULL,"
" idx INTEGER NOT NULL,"
" data BLOB NOT NULL CHECK (length(data) = 8192),"
" PRIMARY KEY (level, idx)"
") STRICT, WITHOUT ROWID;"

"CREATE TABLE head("
" id INTEGER PRIMARY KEY CHECK (id = 1),"
" size INTEGER NOT NULL,"
" root BLOB NOT NULL CHECK (length(root) = 32),"
" note BLOB"
") STRICT;"

"CREATE TABLE checkpoint("
" size INTEGER PRIMARY KEY,"
" note BLOB NOT NULL"
") STRICT;"

"CREATE TABLE batch("
" adapter TEXT NOT NULL,"
" n INTEGER NOT NULL,"
" first INTEGER NOT NULL,"
" last INTEGER NOT NULL,"
" seq INTEGER NOT NULL REFERENCES leaf(seq),"
" PRIMARY KEY (adapter, n)"
") STRICT;"
"CREATE UNIQUE INDEX batch_first ON batch(adapter, first);"

"CREATE TABLE ack("
" adapter TEXT NOT NULL,"
" n INTEGER NOT NULL,"
" state TEXT NOT NULL CHECK (state IN ('sent', 'accepted', 'stored')),"
" seq INTEGER NOT NULL REFERENCES leaf(seq),"
" PRIMARY KEY (adapter, n),"
" FOREIGN KEY (adapter, n) REFERENCES batch(adapter, n)"
") STRICT;"

"CREATE TABLE purge_range("
" first INTEGER PRIMARY KEY,"
" last INTEGER NOT NULL,"
" n INTEGER NOT NULL,"
" seq INTEGER NOT NULL REFERENCES leaf(seq)"
") STRICT;"
"CREATE INDEX purge_number ON purge_range(n);"

"CREATE TABLE cosig("
" size INTEGER NOT NULL,"
" name TEXT NOT NULL,"
" line BLOB NOT NULL,"
" at INTEGER NOT NULL,"
" PRIMARY KEY (size, name)"
") STRICT, WITHOUT ROWID;"

"CREATE TABLE stamp("
" size INTEGER PRIMARY KEY,"
" at INTEGER NOT NULL,"
" token BLOB NOT NULL"
") STRICT;"

"CREATE TABLE hold("
" n INTEGER PRIMARY KEY,"
" seq INTEGER NOT NULL REFERENCES leaf(seq),"
" released INTEGER REFERENCES leaf(seq),"
" salt BLOB CHECK (length(salt) = 32),"
" selector TEXT,"
" room TEXT,"
" user TEXT,"
" since INTEGER,"
" until INTEGER"
") STRICT;"
"CREATE INDEX hold_live ON hold(n) WHERE released IS NULL;"

/* Numbers of the newest policy record. */
"CREATE VIEW policy(after, approvals) AS"
" SELECT CAST(substr(text, instr(text, char(10) || 'after ') + 7)"
"   AS INTEGER),"
"  CAST(substr(text, instr(text, char(10) || 'approvals ') + 11)"
"   AS INTEGER)"
" FROM (SELECT CAST(bytes AS TEXT) AS text FROM leaf"
"  WHERE kind = 134 AND kind >= 128 ORDER BY seq DESC LIMIT 1);"

/* The newest purge record. */
"CREATE VIEW purge(seq, at, n, first, last) AS"
" SELECT seq, at,"
"  CAST(substr(text, instr(text, char(10) || 'purge ') + 7) AS INTEGER),"
"  CAST(substr(text, instr(text, char(10) || 'first ') + 7) AS INTEGER),"
"  CAST(substr(text, instr(text, char(10) || 'last ') + 6) AS INTEGER)"
" FROM (SELECT seq, at, CAST(bytes AS TEXT) AS text FROM leaf"
"  WHERE kind = 131 AND kind >= 128 ORDER BY seq DESC LIMIT 1);"

/* Who released what for purging. */
"CREATE VIEW approval(seq, below, person) AS"
" SELECT seq,"
"  CAST(substr(text, instr(text, char(10) || 'below ') + 7) AS INTEGER),"
"  substr(text, instr(text, char(10) || 'by ') + 4)"
" FROM (SELECT seq, CAST(bytes AS TEXT) AS text FROM leaf"
"  WHERE kind = 145 AND kind >= 128);"

/* The adapters named by the newest policy record, one a row. */
"CREATE VIEW required(name) AS"
" WITH RECURSIVE"
"  policy(text) AS (SELECT CAST(bytes AS TEXT) FROM leaf"
"   WHERE kind = 134 AND kind >= 128 ORDER BY seq DESC LIMIT 1),"
"  tail(text) AS (SELECT substr(text, instr(text, char(10) || 'required ')"
"   + 10) FROM policy),"
"  list(name, rest) AS ("
"   SELECT NULL, substr(text, 1, instr(text, char(10)) - 1) || ','"
"    FROM tail"
"   UNION ALL"
"   SELECT substr(rest, 1, instr(rest, ',') - 1),"
"    substr(rest, instr(rest, ',') + 1) FROM list WHERE rest <> '')"
" SELECT name FROM list WHERE name IS NOT NULL;";

const char schema_triggers_sql[] =
FROZEN("meta")
GUARD("meta_insert", "INSERT ON meta",
	"(SELECT COUNT(*) FROM meta) >= 5",
	"meta is complete")

FROZEN("leaf")
GUARD("leaf_insert", "INSERT ON leaf",
	"NEW.seq <> COALESCE((SELECT seq FROM leaf"
	" ORDER BY seq DESC LIMIT 1) + 1, 0)",
	"leaf is not the next one")

/*
 * A body comes in the transaction of its leaf: the head moves last, and it
 * moves to the end of the leaves only.
 */
GUARD("body_insert", "INSERT ON body",
	"NEW.id >> 8 < (SELECT size FROM head)"
	" OR NEW.id >> 8 <> COALESCE((SELECT seq FROM leaf"
	" ORDER BY seq DESC LIMIT 1), -1)",
	"body does not belong to a new leaf")
"CREATE TRIGGER body_update BEFORE UPDATE ON body"
" BEGIN SELECT RAISE(ABORT, 'body is never changed'); END;"
GUARD("body_delete", "DELETE ON body",
	"COALESCE((SELECT last FROM purge_range WHERE first <= OLD.id >> 8"
	" ORDER BY first DESC LIMIT 1), -1) < OLD.id >> 8",
	"body is not in a purged range")

FROZEN("tile")
GUARD("tile_insert", "INSERT ON tile",
	"NEW.idx <> (SELECT COALESCE(MAX(idx) + 1, 0) FROM tile"
	" WHERE level = NEW.level)",
	"tile is not the next one of its level")

"CREATE TRIGGER head_delete BEFORE DELETE ON head"
" BEGIN SELECT RAISE(ABORT, 'head stays'); END;"
GUARD("head_insert", "INSERT ON head",
	"EXISTS (SELECT 1 FROM head)",
	"head exists")
GUARD("head_update", "UPDATE ON head",
	"NEW.size <> (SELECT COALESCE(MAX(seq) + 1, 0) FROM leaf)",
	"head is not the end of the leaves")

FROZEN("checkpoint")
GUARD("checkpoint_insert", "INSERT ON checkpoint",
	"NEW.size > (SELECT size FROM head)"
	" OR EXISTS (SELECT 1 FROM checkpoint WHERE size = NEW.size)",
	"checkpoint is there already, or ahead of the head")

FROZEN("cosig")
GUARD("cosig_insert", "INSERT ON cosig",
	"NOT EXISTS (SELECT 1 FROM checkpoint WHERE size = NEW.size)",
	"cosignature of something else than a checkpoint")

FROZEN("stamp")
GUARD("stamp_insert", "INSERT ON stamp",
	"NOT EXISTS (SELECT 1 FROM checkpoint WHERE size = NEW.size)",
	"time-stamp of something else than a checkpoint")

FROZEN("batch")
GUARD("batch_insert", "INSERT ON batch",
	"NEW.n <> (SELECT COALESCE(MAX(n), 0) + 1 FROM batch"
	" WHERE adapter = NEW.adapter)"
	" OR NEW.first <> (SELECT COALESCE((SELECT last + 1 FROM batch"
	" WHERE adapter = NEW.adapter ORDER BY n DESC LIMIT 1), 0))"
	" OR NEW.last < NEW.first OR NEW.last >= NEW.seq",
	"batch does not continue the one before")

FROZEN("ack")
GUARD("ack_insert", "INSERT ON ack",
	"NEW.n <> (SELECT COALESCE(MAX(n), 0) + 1 FROM ack"
	" WHERE adapter = NEW.adapter)"
	" OR NOT EXISTS (SELECT 1 FROM batch WHERE adapter = NEW.adapter"
	" AND n = NEW.n AND seq < NEW.seq)",
	"ack does not answer the next batch")

FROZEN("purge_range")
GUARD("purge_insert", "INSERT ON purge_range",
	"NEW.first < 0 OR NEW.last < NEW.first OR NEW.last >= NEW.seq"
	" OR COALESCE((SELECT last FROM purge_range WHERE first <= NEW.last"
	" ORDER BY first DESC LIMIT 1), -1) >= NEW.first",
	"purge overlaps another or its own record")
/* All ranges of a purge are of the record that was made last. */
GUARD("purge_order", "INSERT ON purge_range",
	HERE(
	"NOT EXISTS (SELECT 1 FROM purge WHERE seq = NEW.seq AND n = NEW.n"
	" AND first <= NEW.first AND last >= NEW.last)"
	" OR NEW.n NOT BETWEEN (SELECT COALESCE(MAX(n), 1) FROM purge_range)"
	" AND (SELECT COALESCE(MAX(n), 0) + 1 FROM purge_range)"),
	"purge range is not of the newest purge record")
/*
 * held() is the keeper's: it knows the holds of the newest file, which a
 * sealed one does not, and who lacks it inserts nothing (hold.h).
 */
GUARD("purge_held", "INSERT ON purge_range",
	"EXISTS (SELECT 1 FROM body b CROSS JOIN leaf l ON l.seq = b.id >> 8"
	" WHERE b.id BETWEEN NEW.first << 8 AND NEW.last << 8 | 255"
	" AND b.id & 255 = 0 AND held(l.at, b.data))",
	"purge of records that a hold keeps")
/* Once for a purge, which reaches to its last record. */
GUARD("purge_approved", "INSERT ON purge_range",
	HERE(
	"NOT EXISTS (SELECT 1 FROM purge_range WHERE n = NEW.n)"
	" AND (SELECT approvals FROM policy) > 0"
	" AND (SELECT COUNT(DISTINCT person) FROM approval"
	" WHERE seq < NEW.seq AND below > (SELECT last FROM purge))"
	" < (SELECT approvals FROM policy)"),
	"purge of records that too few persons approved")
GUARD("purge_time", "INSERT ON purge_range",
	HERE(
	"NOT EXISTS (SELECT 1 FROM policy WHERE after >= 0)"
	" OR EXISTS (SELECT 1 FROM required r WHERE (SELECT l.at FROM batch b"
	" JOIN ack a ON a.adapter = b.adapter AND a.n = b.n"
	" JOIN leaf l ON l.seq = a.seq WHERE b.adapter = r.name"
	" AND b.first <= NEW.last ORDER BY b.first DESC LIMIT 1)"
	" + (SELECT after FROM policy) * 1000000 > (SELECT at FROM purge))"),
	"purge before its time")
/* Batches of an adapter leave no gaps, so the last one tells the reach. */
GUARD("purge_acked", "INSERT ON purge_range",
	HERE(
	"NOT EXISTS (SELECT 1 FROM required)"
	" OR EXISTS (SELECT 1 FROM required r WHERE"
	" COALESCE((SELECT last FROM batch WHERE adapter = r.name"
	" ORDER BY n DESC LIMIT 1), -1) < NEW.last"
	" OR EXISTS (SELECT 1 FROM batch b WHERE b.adapter = r.name"
	" AND b.first <= NEW.last AND b.first >= (SELECT first FROM batch"
	" WHERE adapter = r.name AND first <= NEW.first"
	" ORDER BY first DESC LIMIT 1)"
	" AND NOT EXISTS (SELECT 1 FROM ack a WHERE a.adapter = b.adapter"
	" AND a.n = b.n AND a.state = 'stored' AND a.seq < NEW.seq)))"),
	"purge of records that a required adapter has not stored")

"CREATE TRIGGER hold_delete BEFORE DELETE ON hold"
" BEGIN SELECT RAISE(ABORT, 'hold is append-only'); END;"
GUARD("hold_insert", "INSERT ON hold",
	"NEW.n <> (SELECT COALESCE(MAX(n), 0) + 1 FROM hold)"
	" OR NEW.released IS NOT NULL"
	" OR NOT EXISTS (SELECT 1 FROM leaf WHERE seq = NEW.seq AND kind = 138"
	" AND seq = (SELECT MAX(seq) FROM leaf))"
	" OR (NEW.salt IS NULL) <> (NEW.selector IS NULL)"
	" OR COALESCE(lower(NEW.selector), '{\"v\":1}') <> '{\"v\":1'"
	" || COALESCE(',\"room\":\"' || NEW.room || '\"', '')"
	" || COALESCE(',\"user\":\"' || NEW.user || '\"', '')"
	" || COALESCE(',\"from\":' || NEW.since, '')"
	" || COALESCE(',\"until\":' || NEW.until, '') || '}'",
	"hold is not of the newest record, or not what it selects")
GUARD("hold_update", "UPDATE ON hold",
	"OLD.released IS NOT NULL OR NEW.n <> OLD.n OR NEW.seq <> OLD.seq"
	" OR NEW.salt IS NOT OLD.salt OR NEW.selector IS NOT OLD.selector"
	" OR NEW.room IS NOT OLD.room OR NEW.user IS NOT OLD.user"
	" OR NEW.since IS NOT OLD.since OR NEW.until IS NOT OLD.until"
	" OR NOT EXISTS (SELECT 1 FROM leaf WHERE seq = NEW.released"
	" AND kind = 139 AND seq = (SELECT MAX(seq) FROM leaf))",
	"hold is released once, by the newest record");
/* clang-format on */
