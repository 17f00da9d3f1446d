#ifndef SERVER_RECORD_RING_H
#define SERVER_RECORD_RING_H

/* Events under way by their references, which are given in order. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record_op;

/* Begins as zeros. Slot ref & (cap - 1), for head <= ref < next. */
struct record_ring {
	struct record_op **slot; /* NULL: settled already */
	size_t cap;
	uint64_t head, next;
	size_t count;
};

/* Gives the op its reference, the next one; false when out of memory. */
bool record_ring_add(struct record_ring *r, struct record_op *op);
/* NULL when there is none (any more). */
struct record_op *record_ring_find(const struct record_ring *r, uint64_t ref);
/* The same, and it is gone from here. */
struct record_op *record_ring_take(struct record_ring *r, uint64_t ref);
void record_ring_release(struct record_ring *r);

#endif
