/* New files of the journal: their tables, and the first one whole. */

#include "compliance/journal_store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#include "compliance/journal.h"
#include "compliance/note.h"
#include "compliance/schema.h"

static int
set_why(char *why, size_t why_len, const char *path, const char *reason)
{
	(void)snprintf(why, why_len, "%s: %s", path, reason); /* for people */
	return -1;
}

static bool
is_uuid(const char *s)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(s) != sizeof shape - 1)
		return false;
	for (size_t i = 0; i < sizeof shape - 1; i++)
		if (shape[i] == '-' ? s[i] != '-'
				    : strchr("0123456789abcdef", s[i]) == NULL)
			return false;
	return true;
}

int
journal_put_meta(sqlite3 *db, const char *name, const char *value)
{
	sqlite3_stmt *s =
	    db_prepare(db, "INSERT INTO meta(name, value) VALUES (?, ?)");
	int r;

	if (s == NULL)
		return -1;
	(void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
	r = sqlite3_step(s);
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

static int
insert_head(sqlite3 *db)
{
	sqlite3_stmt *s =
	    db_prepare(db, "INSERT INTO head(id, size, root) VALUES (1, 0, ?)");
	uint8_t root[TREE_HASH_LEN];
	int r;

	if (s == NULL)
		return -1;
	tree_empty_root(root);
	(void)sqlite3_bind_blob(s, 1, root, sizeof root, SQLITE_STATIC);
	r = sqlite3_step(s);
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

static int
fill(sqlite3 *db, const char *uuid, const char *origin, const char *vkey)
{
	if (journal_put_meta(db, "journal", uuid) != 0 ||
	    journal_put_meta(db, "origin", origin) != 0 ||
	    journal_put_meta(db, "vkey", vkey) != 0 ||
	    journal_put_meta(db, "segment", "0") != 0 ||
	    journal_put_meta(db, "first", "0") != 0 || insert_head(db) != 0 ||
	    db_exec(db, schema_triggers_sql) != 0)
		return -1;
	return db_exec(db, "COMMIT");
}

void
journal_remove_files(const char *path)
{
	static const char *const suffix[] = {"", "-wal", "-shm"};
	char name[4096];

	for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
		int n = snprintf(name, sizeof name, "%s%s", path, suffix[i]);

		if (n > 0 && (size_t)n < sizeof name)
			(void)unlink(name); /* what is left is said by init */
	}
}

/*
 * A role has one thread, and nobody asks SQLite how much memory it uses:
 * without its locks and counters an append costs a tenth less. Has no effect
 * once the library is in use, which is as well.
 */
void
journal_tune_library(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int
attach(sqlite3 *db, const char *path)
{
	sqlite3_stmt *s = db_prepare(db, "ATTACH ? AS old");
	int r;

	if (s == NULL)
		return -1;
	(void)sqlite3_bind_text(s, 1, path, -1, SQLITE_STATIC);
	r = sqlite3_step(s);
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

sqlite3 *
journal_new_file(const char *path, const char *old, char *why, size_t why_len)
{
	char pragmas[96];
	sqlite3 *db;

	journal_tune_library();
	db = db_open(path, DB_CREATE, DB_SYNC_FULL, why, why_len);
	if (db == NULL)
		return NULL;
	(void)snprintf(pragmas, sizeof pragmas,
	    "PRAGMA application_id=%d; PRAGMA user_version=%d;",
	    SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
	if ((old == NULL || attach(db, old) == 0) &&
	    db_exec(db, "BEGIN") == 0 && db_exec(db, schema_tables_sql) == 0 &&
	    db_exec(db, pragmas) == 0)
		return db;
	(void)set_why(why, why_len, path, sqlite3_errmsg(db));
	db_close(db);
	journal_remove_files(path);
	return NULL;
}

int
journal_create(const char *path, const char *uuid, const char *origin,
    const char *vkey, char *why, size_t why_len)
{
	struct note_vkey key;
	sqlite3 *db;

	if (!is_uuid(uuid))
		return set_why(why, why_len, path, "not a UUID");
	if (!note_parse_vkey(view_text(vkey), &key) ||
	    !view_is(key.name, origin))
		return set_why(
		    why, why_len, path, "the key is not one of this origin");
	db = journal_new_file(path, NULL, why, why_len);
	if (db == NULL)
		return -1;
	if (fill(db, uuid, origin, vkey) != 0 ||
	    db_checkpoint_truncate(db) != 0 || file_sync_parent(path) != 0) {
		(void)set_why(why, why_len, path, sqlite3_errmsg(db));
		db_close(db);
		journal_remove_files(path);
		return -1;
	}
	db_close(db);
	return 0;
}
