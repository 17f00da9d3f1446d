#ifndef BASE_DB_H
#define BASE_DB_H

/*
 * SQLite with the settings that a journal needs. The caller uses the sqlite3
 * API on the handle for its own statements.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum db_mode {
	DB_CREATE,   /* must not exist yet */
	DB_WRITE,    /* the one writer; also checkpoints */
	DB_READ,     /* live file, read-only, never checkpoints */
	DB_READ_COPY /* a copy nobody writes: opened immutable if it has no WAL */
};
/* Of a reader who may not write the index of the WAL; 1 ms between them. */
#define DB_READ_TRIES 50

enum db_sync {
	DB_SYNC_FULL, /* every commit durable */
	DB_SYNC_OFF   /* a projection that can be rebuilt */
};

/*
 * NULL on failure, with the reason (file and SQLite's words) in `why`
 * (at most why_len bytes). The file is 0600 when created. WAL mode.
 */
sqlite3 *db_open(const char *path, enum db_mode mode, enum db_sync sync,
    char *why, size_t why_len);
/* Runs statements without results. 0 or -1; reason by sqlite3_errmsg(). */
int db_exec(sqlite3 *db, const char *sql);
/*
 * sqlite3_step() for whoever reads beside a writer: a moment at which the
 * writer is at the index of the WAL is no failure.
 */
int db_step(sqlite3_stmt *s);
/* The same of preparing, which may read the schema. NULL on failure. */
sqlite3_stmt *db_prepare(sqlite3 *db, const char *sql);
/* A copy of a column's text; NULL when it is NULL or memory is out. */
char *db_dup_text(sqlite3_stmt *s, int column);
/* One integer result, or `fallback` when there is no row or it failed. */
sqlite3_int64 db_int(sqlite3 *db, const char *sql, sqlite3_int64 fallback);
/*
 * From now on the connection refuses schema changes, ATTACH and PRAGMA
 * (authorizer). read_only: refuses every write as well.
 */
int db_seal(sqlite3 *db, bool read_only);
/*
 * Empties the WAL into the database; 0, or -1 when readers kept it busy. As
 * below, of the main database alone, whatever is attached.
 */
int db_checkpoint_truncate(sqlite3 *db);
/*
 * The same for a sealed DB_SYNC_OFF writer, with the database on disk before
 * its WAL is emptied.
 */
int db_checkpoint_durable(sqlite3 *db);
/* Moves what no reader needs; 0, or -1. *wal_frames: frames in the WAL. */
int db_checkpoint_passive(sqlite3 *db, int *wal_frames);
/*
 * Closing leaves the WAL and its index beside the file, so that others who
 * may not make them can read it. 0 or -1.
 */
int db_keep_wal(sqlite3 *db);
/* NULL is allowed. */
void db_close(sqlite3 *db);

/*
 * Runs a query with a text (NULL: none) and numbers; its row's columns go to
 * out. 1 row, 0 no row, -1 failed.
 */
int db_row(sqlite3 *db, const char *sql, const char *text, const uint64_t *args,
    size_t arg_count, uint64_t *out, int out_count);

#endif
