#ifndef COMPLIANCE_JOURNAL_STORE_H
#define COMPLIANCE_JOURNAL_STORE_H

/*
 * Inside of the journal, shared by its files: journal_create.c makes new ones,
 * journal_store.c opens them and reads, journal.c is the gate that writes,
 * journal_roll.c goes on in the next file, which journal_next.c makes,
 * journal_sealed.c and journal_shrink.c change sealed ones, journal_hold.c has
 * holds and approvals, journal_evidence.c what others say, journal_import*.c
 * what comes back, journal_clock.c knows the clock. Not for anybody else.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/db.h"

#include "compliance/approval.h"
#include "compliance/clock.h"
#include "compliance/hold.h"
#include "compliance/leaf.h"
#include "compliance/ranges.h"
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
	S_POINT_ADD,
	S_BATCH,
	S_ACK,
	S_RANGE,
	S_RANGE_NEXT,
	S_BODY_DELETE,
	S_HOLD,
	S_HOLD_NEXT,
	S_HOLD_FIND,
	S_RELEASE,
	S_NEXT_PURGE,
	S_LEAVES,
	S_TILE_READ,
	S_LAST_LEAF,
	S_LAST_CONTROL,
	S_POINT,
	S_BASES,
	S_COSIG,
	S_COSIG_FIND,
	S_STAMP,
	S_EVIDENCE_NEWEST,
	STATEMENTS
};

struct journal {
	struct approvals approvals; /* as far as they were read */
	struct holds holds;         /* in force, when that is known */
	bool holds_known;
	char *path; /* of segment 0, whichever is written */
	unsigned segment;
	uint64_t first; /* of this segment */
	bool sealed;
	bool undone;  /* the newest purge is perhaps not carried out yet */
	sqlite3 *old; /* a sealed file that was needed, NULL when none */
	struct journal_next *next; /* file that is prepared, NULL when none */
	struct journal_shrink *shrink; /* sealed file that is written anew */
	unsigned old_segment;
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
	struct tree *tree;
	uint64_t size; /* committed; the tree is ahead during a transaction */
	uint64_t at;   /* time of the last record */
	bool writable;
	int wal_pages;
	char boot_id[9];
	/* Real minus boot time as the records of this boot tell it. */
	int64_t offset;
	bool offset_known;
	uint64_t events; /* of users, since the last beat */
	char *uuid, *origin, *vkey;
	struct buf leaf; /* under construction */
	struct buf note; /* waits to be stored */
	uint64_t note_size;
	bool note_waits, note_publish;
	char error[256];
};

struct journal_event;
struct journal_evidence;
struct journal_import;
struct journal_purge;
struct rules_ack;
struct rules_batch;

/* What one transaction does besides appending leaves. */
struct change {
	struct journal_event *events;
	size_t count;
	const struct rules_batch *batch;
	const struct rules_ack *ack;
	const struct journal_purge *purge;
	uint64_t purge_number;
	const struct journal_evidence *evidence;
	struct journal_import *import;
	/* More rows, of the first record's number; 0, or -1. */
	int (*also)(struct journal *j, const void *arg, uint64_t seq);
	const void *arg;
};

/*
 * The gate: every change of the journal is one transaction through here.
 * 0, or -1: then nothing more is written before journal_recover().
 */
int journal_commit(struct journal *j, const struct change *c);
/* Runs a prepared statement that returns nothing of interest. 0, or -1. */
int journal_run(struct journal *j, enum statement which, const char *what);

/*
 * The rows of hold and release records that come back from elsewhere. A hold
 * without its words holds everything until its release.
 */
struct journal_hold_words {
	bool salted; /* there are some */
	uint8_t salt[LEAF_SALT_LEN];
	struct view selector;
};
int journal_put_hold(struct journal *j, struct view fields, uint64_t seq,
    const struct journal_hold_words *words);
int journal_put_release(struct journal *j, struct view fields, uint64_t seq);

/* Put the reason where journal_error() finds it; -1. */
int journal_fail(struct journal *j, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with SQLite's own words behind `what`. */
int journal_fail_sql(struct journal *j, const char *what);

/* The row of a piece of evidence, within a transaction. */
int journal_insert_evidence(
    struct journal *j, const struct journal_evidence *e);
/* Origin and key as the newest recover record tells them, if there is one. */
int journal_read_name(struct journal *j);
/* Size, time and tree as the file has them, checked against its head. */
int journal_load(struct journal *j);
/*
 * Opens one file of the journal whose segment 0 is `path`, whatever its name.
 */
struct journal *journal_open_file(
    const char *path, const char *file, char *why, size_t why_len);
/* Hooks of the connection tell j, and no other any more. 0, or -1. */
int journal_watch(struct journal *j);
/* The holds in force; NULL with the reason. */
const struct holds *journal_holds(struct journal *j);

/* ---- journal_create.c ---- */

/*
 * Makes a database with tables and without rows, a transaction open in it; the
 * triggers come later. `old`, when not NULL, is attached by that name.
 */
sqlite3 *journal_new_file(
    const char *path, const char *old, char *why, size_t why_len);
int journal_put_meta(sqlite3 *db, const char *name, const char *value);
/* The file and what SQLite put beside it are removed. */
void journal_remove_files(const char *path);
/* Before the library is used: a role has one thread. */
void journal_tune_library(void);

/* ---- journal_next.c, journal_shrink.c, journal_sealed.c, journal_roll.c ---- */

/*
 * Makes the next file whole, when this one is sealed: 0 and its path, which
 * the caller frees, or -1.
 */
int journal_finish_next(struct journal *j, const char *old, char **made);
/* What was prepared is removed. */
void journal_drop_next(struct journal *j);
void journal_drop_shrink(struct journal *j);

/*
 * Copies rows from a database attached as old: `copy` from where `end` says
 * (?1) so many (?2) at most. 1: perhaps there are more; 0; or -1.
 */
struct journal_copy_step {
	const char *end, *copy;
	int max;
};
int journal_copy_some(
    sqlite3 *db, const struct journal_copy_step *step, size_t count);
/* The same for tables that only grow: all but leaf, tile 0 and evidence. */
int journal_copy_tables(sqlite3 *db);
/* The keeper's group reads it, as it reads the other file. 0 or -1. */
int journal_give_mode(const char *path, const char *like);
/* A sealed file, to be closed, and its records; NULL with the reason. */
sqlite3 *journal_open_sealed(
    struct journal *j, unsigned segment, uint64_t *first, uint64_t *end);
/* Entries of a full tile that only a sealed file has. */
int journal_old_tile(
    struct journal *j, uint64_t index, uint8_t out[TREE_TILE_LEN]);
/* The sealed file that holds a record; kept open. NULL: it cannot be read. */
sqlite3 *journal_old_db(struct journal *j, uint64_t seq);
/* The segment that holds a record before this one's: 0, or -1. */
int journal_segment_of(struct journal *j, uint64_t seq, unsigned *out);
/*
 * Whether a purge is of records in a sealed file: 1 and which; 0; or -1 when
 * it cannot be, with the reason.
 */
int journal_sealed_span(
    struct journal *j, uint64_t first, uint64_t last, unsigned *segment);
/* Payloads and events of such a file in the place of ours; to be closed. */
sqlite3 *journal_open_both(
    struct journal *j, unsigned segment, uint64_t first, uint64_t last);
/* Removes in its file what the newest purge record says, if that is due. */
int journal_finish_purge(struct journal *j);
/* The same for all purges there ever were. */
int journal_finish_purges(struct journal *j);
/* The first record of the file behind that of a record: 0, or -1. */
int journal_next_file(struct journal *j, uint64_t seq, uint64_t *out);
/* What journal_old_tile() keeps open is closed. */
void journal_close_old(struct journal *j);

/* ---- journal.c, inside the gate's transaction: 0 or -1 ---- */

struct leaf_head;

/* Inserts the next leaf with the parts of the event; the tree grows. */
int journal_put_record(struct journal *j, const struct leaf_head *head,
    struct view leaf, const struct journal_event *e, const uint8_t salts[][32]);
int journal_put_batch(
    struct journal *j, const struct rules_batch *b, uint64_t seq);
int journal_put_ack(struct journal *j, const struct rules_ack *a, uint64_t seq);
/* The row of a purged range; its payloads go, as far as this file has them. */
int journal_remove_range(
    struct journal *j, struct range r, uint64_t purge_number, uint64_t seq);

/* ---- journal_import.c: all of an import; 0, or not ---- */

int journal_import_apply(struct journal *j, struct journal_import *in);
/* Says why it does not hold; 1. */
int journal_import_refuse(struct journal_import *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * ---- journal_import_named.c: 0; 1 when it does not hold, in->why tells; -1.
 */

struct leaf;
struct named;

/*
 * A checkpoint, and its cosignatures if wanted; one that does not hold leaves
 * no why.
 */
int journal_import_note(struct journal *j, struct journal_import *in,
    struct view text, bool cosigned);
/* What a record names, after it was put in; and the row of a hold record. */
int journal_import_named(struct journal *j, struct journal_import *in,
    const struct leaf *leaf, const struct named *n);
int journal_import_hold(struct journal *j, struct journal_import *in,
    const struct leaf *leaf, const struct named *n);

/* ---- journal_clock.c ---- */

/* Whether a clock record has to come before a record of the kind. */
bool journal_clock_moved(
    const struct journal *j, unsigned kind, const struct clock_reading *now);
/* Its fields. */
void journal_clock_put(const struct journal *j, const struct clock_reading *now,
    struct buf *fields);
/* A record was inserted. */
void journal_clock_took(struct journal *j, const struct leaf_head *head,
    const struct clock_reading *now);
/* As the file has it; when size is known. */
int journal_clock_load(struct journal *j);

#endif
