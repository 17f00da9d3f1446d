#ifndef COMPLIANCE_EVIDENCE_H
#define COMPLIANCE_EVIDENCE_H

/*
 * The journal's published checkpoints and what others said of them, read
 * from the live journal. Every call is a read of its own. Results: 1; 0 when
 * there is nothing such; -1: evidence_error().
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"

struct evidence;

/*
 * Reads the newest file of the journal whose first one is path; NULL with
 * the reason in why.
 */
struct evidence *evidence_open(const char *path, char *why, size_t why_len);
/* Whether that still is the newest file; else it is to be opened again. */
bool evidence_is_newest(const struct evidence *e);
/* Size of the newest checkpoint row. */
int evidence_newest(struct evidence *e, uint64_t *size);
/* Appends the note of a checkpoint row, as it was signed. */
int evidence_note(struct evidence *e, uint64_t size, struct buf *out);
/* Appends the cosignature lines of a checkpoint, by their names. */
int evidence_lines(struct evidence *e, uint64_t size, struct buf *out);
/*
 * The newest checkpoint that the witness of that key name has cosigned, and
 * when (at may be NULL), in seconds.
 */
int evidence_cosigned(
    struct evidence *e, struct view name, uint64_t *size, uint64_t *at);
/* The newest time-stamp: size of its checkpoint and its time in seconds. */
int evidence_stamped(struct evidence *e, uint64_t *size, uint64_t *at);
/*
 * The newest checkpoint that the configured quorum of witnesses has cosigned
 * and, with stamp, that was time-stamped; conf is always the same.
 */
int evidence_anchored(
    struct evidence *e, const struct conf *conf, bool stamp, uint64_t *size);
/* Number of the newest ack record. */
int evidence_acked(struct evidence *e, uint64_t *seq);
/* Whether the newest anchor record of that what and name says ok. */
int evidence_recorded(
    struct evidence *e, const char *what, struct view name, bool *ok);
/* What a conflict record says. */
struct evidence_conflict {
	struct view witness;
	uint64_t size, hold;
	bool proved;
};
typedef void evidence_conflict_cb(
    void *arg, uint64_t seq, const struct evidence_conflict *c);
/* Each of the newest conflict records whose hold is in force. */
int evidence_conflicts(struct evidence *e, evidence_conflict_cb *cb, void *arg);
/* Number of the first key record that is not below seq. */
int evidence_key(struct evidence *e, uint64_t from, uint64_t *seq);
/* Why the last call failed; borrowed. */
const char *evidence_error(struct evidence *e);
/* NULL is allowed. */
void evidence_close(struct evidence *e);

#endif
