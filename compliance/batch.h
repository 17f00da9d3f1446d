#ifndef COMPLIANCE_BATCH_H
#define COMPLIANCE_BATCH_H

/*
 * Batches of one adapter: where the next one begins and ends, its control
 * records, and its lines of chancery-adapter(7).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "compliance/adapter_says.h"
#include "compliance/scan.h"

struct batch {
	uint64_t n, first, last;
	/* The checkpoint it is sent with. */
	uint64_t size;
	uint8_t root[32];
};

enum batch_plan {
	BATCH_NOTHING, /* nothing to hand over under the newest note */
	BATCH_OPEN,    /* cut before and not acknowledged: send it again */
	BATCH_NEW,     /* to be cut; size and root are those of the note */
	BATCH_FAILED   /* the journal cannot be read: the reason is in why */
};

/*
 * At most max records, and only up to the newest note. *looked remembers how
 * far there was nothing worth a batch; it starts at 0.
 */
enum batch_plan batch_plan(struct scan *s, const char *adapter, unsigned max,
    uint64_t *looked, struct batch *out, char *why, size_t why_len);
/* Fields of the control record of a batch that is cut. */
void batch_put_fields(
    struct buf *b, const struct batch *batch, const char *adapter);
/* Fields of the control record of its acknowledgement. */
void batch_put_ack(struct buf *b, const struct batch *batch,
    const char *adapter, const struct adapter_says *receipt, bool read_back);
/*
 * Takes the newest note for the batch (size, root) and appends the line that
 * begins it. 0; 1: none covers the batch yet, such as before the first of a
 * new name; -1 with the reason. Unless 0, b is as before.
 */
int batch_put_begin(struct buf *b, struct scan *s, struct batch *batch,
    const char *adapter, char *why, size_t why_len);
/* These append one line with its LF; b->failed when out of memory. */
void batch_put_event(struct buf *b, const struct scan_record *r);
void batch_put_end(struct buf *b, const struct batch *batch);
void batch_put_readback(
    struct buf *b, const struct batch *batch, struct view location);
/*
 * Whether what an adapter read back is the record of the journal: the leaf
 * and each part byte for byte, and each part by the leaf's commitment. NULL,
 * or what is wrong.
 */
const char *batch_compare(
    const struct scan_record *r, const struct adapter_says *event);

#endif
