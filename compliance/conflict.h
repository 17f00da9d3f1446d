#ifndef COMPLIANCE_CONFLICT_H
#define COMPLIANCE_CONFLICT_H

/*
 * What witnesses say of another history of this journal, and what of it is
 * proved: chancery-journal(5), kind conflict. A proof is a checkpoint that a
 * key of the journal's present name signed and that the journal does not lead
 * to.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct journal;

/* Of a longer checkpoint, the lines that bear the journal's name are kept. */
#define CONFLICT_NOTE_MAX 8192

struct conflict {
	struct view witness; /* name of its key */
	uint64_t size;       /* of the other history */
	struct view note;    /* its checkpoint, or empty */
	bool proved;
	uint64_t hold; /* that was placed because of it */
};

/*
 * Appends what is kept of a note: nothing when it is not of the journal's
 * present name.
 */
void conflict_keep(const struct journal *j, struct view note, struct buf *out);
/* Whether the note proves another history: 1, 0, or -1: journal_error(). */
int conflict_is_proof(struct journal *j, struct view note);
/*
 * Whether there is nothing to be recorded any more: the same was, or the
 * witness's claim before is not settled and this one proves nothing either.
 * 1, 0, or -1.
 */
int conflict_is_known(struct journal *j, const struct conflict *c);
/* The fields of the record. */
void conflict_put(struct buf *fields, const struct conflict *c);
/*
 * The newest conflict record whose note proves another history now; its
 * number, and its note appended. 1, 0 when there is none, or -1.
 */
int conflict_standing(struct journal *j, uint64_t *seq, struct buf *note);

#endif
