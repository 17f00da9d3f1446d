#ifndef COMPLIANCE_SCAN_H
#define COMPLIANCE_SCAN_H

/*
 * Reading the journal without ever writing it: records in sequence order,
 * range proofs and the newest checkpoint. Used by the engine and by the
 * auditors' export.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "compliance/named.h"

#define SCAN_PARTS_MAX 8

struct scan;

struct scan_record {
	uint64_t seq;
	uint64_t at; /* microseconds since 1970, UTC */
	unsigned kind;
	struct view leaf;
	unsigned parts; /* parts named by the leaf; 0 for control records */
	bool purged;    /* the leaf names parts that are no longer here */
	struct {
		struct view salt;
		struct view data;
	} part[SCAN_PARTS_MAX];
	struct named named; /* of an archive, or by scan_named() */
};

/*
 * Opens a live journal read-only, or (copy) one that nobody writes; a file with
 * a write-ahead log beside it counts as live either way. path: of
 * its folder or of segment 0, and then all its files are read as one; or of a
 * later segment, which is read alone. NULL with the reason in why.
 */
struct scan *scan_open(const char *path, bool copy, char *why, size_t why_len);
/*
 * "journal", or "origin" or "vkey" as they were when it was opened; valid
 * until close.
 */
const char *scan_meta(struct scan *s, const char *name);
/* The first record that can be read: 0 but in a later segment alone. */
uint64_t scan_first(struct scan *s);
/* Where the file that holds a record ends; UINT64_MAX for the newest. */
uint64_t scan_file_end(struct scan *s, uint64_t seq);
/* How many files the journal has, and where the newest begins. */
unsigned scan_segments(struct scan *s, uint64_t *first);
/* Number of durable records now (first free sequence number). */
uint64_t scan_size(struct scan *s);
/*
 * Newest signed note of the present origin, with the cosignatures that it
 * has, and its size; an empty note when there is none yet.
 */
int scan_note(struct scan *s, uint64_t *size, struct buf *note);
/* Appends the stored checkpoint of that size: 1, 0 when there is none, -1. */
int scan_checkpoint(struct scan *s, uint64_t size, struct buf *note);
/* The same with the cosignatures that it has. */
int scan_cosigned(struct scan *s, uint64_t size, struct buf *note);
/*
 * The newest control record of a kind before a sequence number: 1, its number
 * and its leaf appended; 0 when there is none; -1.
 */
int scan_control_before(struct scan *s, unsigned kind, uint64_t before,
    uint64_t *seq, struct buf *leaf);
/* The same for the stored checkpoint of the smallest size from one on. */
int scan_checkpoint_from(
    struct scan *s, uint64_t from, uint64_t *size, struct buf *note);
/* Places the scan so that the next record is the first with seq >= seq. */
int scan_seek(struct scan *s, uint64_t seq);
/* First sequence number whose time is >= at (binary search). */
uint64_t scan_find_time(struct scan *s, uint64_t at);
/* 1 and a record whose views live until the next call; 0 at the end; -1. */
int scan_next(struct scan *s, struct scan_record *out);
/*
 * Fills in what a control record names, as far as the journal has it; lives
 * until the next call. 0, or -1.
 */
int scan_named(struct scan *s, struct scan_record *r);
/*
 * The compact-range hashes (RFC 6962 perfect subtrees, left to right) of
 * [0,first) into left and of [last+1,size) into right, 32 bytes each, and
 * the root at size.
 */
int scan_range_proof(struct scan *s, uint64_t first, uint64_t last,
    uint64_t size, struct buf *left, struct buf *right, uint8_t root[32]);
/* Appends the consistency proof (RFC 6962 section 2.1.2) of old in size. */
int scan_consistency(
    struct scan *s, uint64_t old, uint64_t size, struct buf *out);
/*
 * Appends the inclusion proof (RFC 6962) of a record at size, 32 bytes a hash
 * from the leaf's sibling up.
 */
int scan_inclusion(
    struct scan *s, uint64_t seq, uint64_t size, struct buf *out);
/*
 * Cursor of an adapter from the batch and ack rows: last acknowledged batch
 * number and the first sequence number after it (0, 0 when none), and a
 * batch that was cut and not acknowledged (open_n 0 when none).
 */
struct scan_cursor {
	uint64_t acked_n, next;
	uint64_t open_n, open_first, open_last;
	uint64_t open_us;  /* from its record to the newest one */
	uint64_t acked_at; /* time of the last ack record, 0 when none */
};
/* 0, or -1 with scan_error(). */
int scan_cursor(struct scan *s, const char *adapter, struct scan_cursor *out);
/* End of the purged prefix: every event below it has no payload. */
uint64_t scan_purged_to(struct scan *s);
/* First record from `from` on that has a payload: 1; 0: none; -1. */
int scan_next_payload(struct scan *s, uint64_t from, uint64_t *seq);
/* Why the last call failed; borrowed. */
const char *scan_error(struct scan *s);
/* Puts a reason there, for those who read through a scan; -1. */
int scan_fail(struct scan *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* NULL is allowed. */
void scan_close(struct scan *s);

#endif
