#ifndef COMPLIANCE_JOURNAL_H
#define COMPLIANCE_JOURNAL_H

/*
 * The journal's files and the only gate into it. Records are appended and
 * purged by one process through one connection; each call is one
 * transaction, durable (WAL synced) when it returns 0. Nothing here costs
 * more when the journal is longer. chancery-journal(5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "compliance/leaf.h"
#include "compliance/ranges.h"

struct conf;
struct journal;

struct journal_event {
	unsigned kind;
	unsigned parts; /* user events: 1 to LEAF_PARTS_MAX */
	struct view part[LEAF_PARTS_MAX];
	struct view fields; /* control records: well-formed fields */
	uint64_t seq, at;   /* set by a successful append */
};

/*
 * Makes an empty journal. uuid: lower-case with dashes; vkey: of the
 * signer's key, whose name is the origin. 0, or -1 with the reason; then no
 * file is left.
 */
int journal_create(const char *path, const char *uuid, const char *origin,
    const char *vkey, char *why, size_t why_len);

/*
 * Opens the file that is written: path names segment 0. NULL with the reason
 * in why.
 */
struct journal *journal_open(const char *path, char *why, size_t why_len);
/* NULL is allowed. */
void journal_close(struct journal *j);

/* Of what is committed: number of records, and the tree's root over them. */
uint64_t journal_size(const struct journal *j);
void journal_root(const struct journal *j, uint8_t out[32]);
/* Time of the last record, 0 when there is none. */
uint64_t journal_time(const struct journal *j);
/* As the meta table has them; live as long as the journal. */
const char *journal_uuid(const struct journal *j);
const char *journal_origin(const struct journal *j);
const char *journal_vkey(const struct journal *j);
/* Time of the first record of the file that is written, 0 when none. */
uint64_t journal_begun(struct journal *j);
/* Number of the file that is written, and of its first record. */
unsigned journal_segment(const struct journal *j);
uint64_t journal_first(const struct journal *j);
/* Why the last call failed, in words. */
const char *journal_error(const struct journal *j);

/*
 * Appends all or none, and before them what the clock makes necessary. Batch
 * and ack records are checked and leave their row. 0; 1 when the record itself
 * is unfit (only a batch or an ack can be, and those come alone); -1 when
 * storage failed: then nothing can be appended until journal_recover()
 * succeeded.
 */
int journal_append(struct journal *j, struct journal_event *events, size_t n);

struct journal_purge {
	const struct range *ranges; /* sorted, none touches another */
	size_t count;
	uint64_t applied;        /* the chat store holds everything below */
	const struct conf *conf; /* its retention and approvals */
	const char *const *required;
	size_t required_count;
};
/*
 * Appends the purge record and removes the bodies, in one transaction.
 * `out` gets seq and time of the record. Results as journal_append(). After
 * 0, journal_truncate() is due.
 */
int journal_purge(struct journal *j, const struct journal_purge *p,
    struct journal_event *out);

/* What somebody else said of a published checkpoint. */
struct journal_evidence {
	uint64_t size;
	struct view name;  /* of the witness's key; empty: a time-stamp */
	uint64_t at;       /* seconds, as they say; 0: they do not */
	struct view bytes; /* signature line with its LF, or token */
};
/* Stores it, unless such is there already: 0, or -1 as journal_append(). */
int journal_evidence(struct journal *j, const struct journal_evidence *e);
/*
 * The field anchor of a beat: hexadecimal SHA-256 of the newest evidence, or
 * "-" when there is none.
 */
void journal_put_anchor(const struct journal *j, struct buf *fields);
/* Appends the note of a checkpoint row; 1: no such row, -1. */
int journal_checkpoint_note(struct journal *j, uint64_t size, struct buf *out);
/*
 * The first purge record from `from` on: its number and the text of its
 * ranges. 1, 0 when there is none, or -1.
 */
int journal_next_purge(
    struct journal *j, uint64_t from, uint64_t *seq, struct buf *ranges);

/*
 * A hold on what the selector (hold.h) fits, in force when this returns 0;
 * matter: a reference without meaning to others. Then its release, by
 * another person when `others`; and the approval that all records below one
 * be purged. by: user id of who asked. Results as journal_append().
 */
struct journal_hold {
	struct view matter, selector;
	uint32_t by;
	uint64_t n; /* set: number of the hold */
};
int journal_hold(
    struct journal *j, struct journal_hold *h, struct journal_event *out);
/* Whether hold n is in force: 1, 0, or -1. */
int journal_hold_lives(struct journal *j, uint64_t n);
int journal_release(struct journal *j, uint64_t n, uint32_t by, bool others,
    struct journal_event *out);
int journal_approve(
    struct journal *j, uint64_t below, uint32_t by, struct journal_event *out);

/* False after a failure, until journal_recover() succeeded. */
bool journal_writable(const struct journal *j);
/* Reads the state back from the file and tries a small durable write. */
int journal_recover(struct journal *j);

/*
 * Hands in the signer's newest note, in place of one that waits. It is stored
 * with the next append, or by journal_store_note(). publish: also as a
 * checkpoint row.
 */
void journal_note(
    struct journal *j, uint64_t size, struct view note, bool publish);
/*
 * Has the newest note of this process stored as a checkpoint row, too: 0, or
 * -1 when its signature does not hold.
 */
int journal_publish(struct journal *j);
/* Whether one that becomes such a row is not stored yet. */
bool journal_publish_waits(const struct journal *j);
/* Whether a note is not stored yet; to store it now: 0, or -1. */
bool journal_note_waits(const struct journal *j);
int journal_store_note(struct journal *j);
/* Size of the newest note handed in or stored, 0 when none. */
uint64_t journal_signed_size(const struct journal *j);

/* Root of an earlier size, and the proof that one size leads to another. */
int journal_root_at(struct journal *j, uint64_t size, uint8_t out[32]);
int journal_proof(
    struct journal *j, uint64_t old, uint64_t size, struct buf *out);
/* Fields of the newest control record of a kind; 1, 0 when none, or -1. */
int journal_last_fields(struct journal *j, unsigned kind, struct buf *out);
/* The same of the newest one before a record, and its number. */
int journal_fields_before(struct journal *j, unsigned kind, uint64_t before,
    uint64_t *seq, struct buf *out);
/* Puts the vkey that signs checkpoints of that size. 0, or -1. */
int journal_key_at(struct journal *j, uint64_t size, struct buf *vkey);
/* Whether there is a checkpoint row of that size: 1, 0, or -1. */
int journal_has_checkpoint(struct journal *j, uint64_t size);

/*
 * The end of a file. journal_seal() appends the seal record, which must bring
 * the size to a multiple of 256; results as journal_append(). Then nothing is
 * appended before journal_roll() has made the next file and turned to it: 0;
 * 1 when the checkpoint of just this size is not stored yet; -1 as
 * journal_append(). After a failure or a crash it begins again.
 */
#define JOURNAL_SEGMENT_UNIT 256
/*
 * Prepares the next file while this one is written, a part in each call, so
 * that the roll has little left to do: 1 when that is so, 0 to be called
 * again, -1 with the reason; then what there was is removed.
 */
int journal_prepare(struct journal *j);
int journal_seal(struct journal *j, struct journal_event *out);
bool journal_sealed(const struct journal *j);
int journal_roll(struct journal *j);
/*
 * Whether the next record must be an open record, and the hexadecimal SHA-256
 * of the checkpoint that it names ("-" in segment 0): 0, or -1.
 */
bool journal_opens(const struct journal *j);
int journal_put_base(struct journal *j, struct buf *out);

/*
 * Fields of the next beat record. queue: the most events that waited for one
 * commit since the last.
 */
void journal_put_beat(
    const struct journal *j, unsigned every_s, uint64_t queue, struct buf *out);
/* Time of the newest control record of a kind, 0 when there is none. */
uint64_t journal_last_at(struct journal *j, unsigned kind);

/* Pages in the WAL that the last commit left. */
int journal_wal_pages(const struct journal *j);
/* Moves the WAL into the database as far as readers allow. */
int journal_checkpoint(struct journal *j);
/*
 * Empties the WAL, and removes what the newest purge record says from the
 * sealed file that it concerns; -1 when a reader kept one busy, or that file
 * cannot be written: try again later.
 */
int journal_truncate(struct journal *j);

/* Whether that file still waits for it. */
bool journal_undone(const struct journal *j);

/*
 * Brings a sealed file to what the purge records say, as after a crash or when
 * an old copy was put in its place: some ranges from record *next on, which is
 * moved on. 0, or -1; storage of the newest file is not concerned.
 */
struct journal_settled {
	uint64_t ranges;      /* that were not done, and are now */
	uint64_t first, last; /* records from the first to the last of them, */
	bool missing;         /* or all of the file, which is not there */
	bool older;           /* some are not of the newest purge */
	bool more;            /* call again */
};
int journal_settle(struct journal *j, unsigned segment, uint64_t *next,
    struct journal_settled *out);

/*
 * Writes a sealed file anew when all its payloads are purged and a good part
 * of it is free, a step in each call: the copy is read back against its tiles
 * and its root, and takes the place of the file. 0: there is nothing to do.
 */
enum {
	JOURNAL_SHRINKING = 1, /* call again */
	JOURNAL_SHRUNK         /* done: records are those of the file */
};
int journal_shrink(struct journal *j, unsigned segment, struct range *records);

#endif
