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
	" OR EXISTS (SELECT 1 FROM checkpoint WHERE size >= NEW.size)",
	"checkpoint is not newer than the last, or ahead of the head")

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
	"NEW.seq <> COALESCE((SELECT seq FROM leaf WHERE kind = 131"
	" AND kind >= 128 ORDER BY seq DESC LIMIT 1), -1)"
	" OR NEW.n <> (SELECT COALESCE(MAX(n), 0) FROM purge_range)"
	" + NOT EXISTS (SELECT 1 FROM purge_range p WHERE p.seq = NEW.seq"
	" AND p.n = (SELECT MAX(n) FROM purge_range))",
	"purge range is not of the newest purge record")
/* Batches of an adapter leave no gaps, so the last one tells the reach. */
GUARD("purge_acked", "INSERT ON purge_range",
	"NOT EXISTS (SELECT 1 FROM required)"
	" OR EXISTS (SELECT 1 FROM required r WHERE"
	" COALESCE((SELECT last FROM batch WHERE adapter = r.name"
	" ORDER BY n DESC LIMIT 1), -1) < NEW.last"
	" OR EXISTS (SELECT 1 FROM batch b WHERE b.adapter = r.name"
	" AND b.first <= NEW.last AND b.first >= (SELECT first FROM batch"
	" WHERE adapter = r.name AND first <= NEW.first"
	" ORDER BY first DESC LIMIT 1)"
	" AND NOT EXISTS (SELECT 1 FROM ack a WHERE a.adapter = b.adapter"
	" AND a.n = b.n AND a.state = 'stored' AND a.seq < NEW.seq)))",
	"purge of records that a required adapter has not stored");
/* clang-format on */
