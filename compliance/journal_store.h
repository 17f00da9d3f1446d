#ifndef COMPLIANCE_JOURNAL_STORE_H
#define COMPLIANCE_JOURNAL_STORE_H

/*
 * Inside of the journal, shared by its files: journal_store.c opens it and
 * reads, journal.c is the gate that writes, journal_roll.c makes the next
 * file. Not for anybody else.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/db.h"

#include "compliance/tree.h"

/* Values are bound without looking: a bind that failed leaves NULL. */
enum statement {
	S_BEGIN,
	S_COMMIT,
	S_ROLLBACK,
	S_LEAF,
	S_BODY,
	S_TILE,
	S_HEAD,
	S_CHECKPOINT,
	S_BATCH,
	S_ACK,
	S_RANGE,
	S_RANGE_NEXT,
	S_BODY_DELETE,
	S_LEAVES,
	S_TILE_READ,
	S_LAST_LEAF,
	S_LAST_CONTROL,
	S_POINT,
	S_BASES,
	S_COSIG,
	S_STAMP,
	STATEMENTS
};

struct journal {
	char *path; /* of segment 0, whichever is written */
	unsigned segment;
	uint64_t first; /* of this segment */
	bool sealed;
	sqlite3 *old; /* a sealed file that was needed, NULL when none */
	unsigned old_segment;
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
	struct tree *tree;
	uint64_t size; /* committed; the tree is ahead during a transaction */
	uint64_t at;   /* time of the last record */
	bool writable;
	int wal_pages;
	char boot_id[9];
	char *uuid, *origin, *vkey;
	struct buf leaf; /* under construction */
	struct buf note; /* waits to be stored */
	uint64_t note_size;
	bool note_waits, note_publish;
	char error[256];
};

/* Put the reason where journal_error() finds it; -1. */
int journal_fail(struct journal *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with SQLite's own words behind `what`. */
int journal_fail_sql(struct journal *j, const char *what);
struct journal_evidence;

/* The row of a piece of evidence, within a transaction. */
int journal_insert_evidence(
    struct journal *j, const struct journal_evidence *e);
/* Size, time and tree as the file has them, checked against its head. */
int journal_load(struct journal *j);
/*
 * Opens one file of the journal whose segment 0 is `path`, whatever its name.
 */
struct journal *journal_open_file(
    const char *path, const char *file, char *why, size_t why_len);
/* Pages in the WAL are counted for j from now on. */
void journal_watch_wal(struct journal *j);
/*
 * Makes a database with tables and without rows, a transaction open in it; the
 * triggers come later. `old`, when not NULL, is attached by that name.
 */
sqlite3 *journal_new_file(
    const char *path, const char *old, char *why, size_t why_len);
int journal_put_meta(sqlite3 *db, const char *name, const char *value);
/* The file and what SQLite put beside it are removed. */
void journal_remove_files(const char *path);
/* Entries of a full tile that only a sealed file has. */
int journal_old_tile(
    struct journal *j, uint64_t index, uint8_t out[TREE_TILE_LEN]);
/* What journal_old_tile() keeps open is closed. */
void journal_close_old(struct journal *j);

/* ---- journal.c, inside the gate's transaction: 0 or -1 ---- */

struct journal_event;
struct leaf_head;
struct rules_ack;
struct rules_batch;

/* Steps a statement that gives no rows. */
int journal_run(struct journal *j, enum statement which, const char *what);
/* Inserts the next leaf with the parts of the event; the tree grows. */
int journal_put_record(struct journal *j, const struct leaf_head *head,
    struct view leaf, const struct journal_event *e, const uint8_t salts[][32]);
int journal_put_batch(
    struct journal *j, const struct rules_batch *b, uint64_t seq);
int journal_put_ack(struct journal *j, const struct rules_ack *a, uint64_t seq);

/* ---- journal_import.c: all of an import; 0, or not ---- */

struct journal_import;
int journal_import_apply(struct journal *j, struct journal_import *in);

#endif
