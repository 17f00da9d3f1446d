#include "server/record_ring.h"

#include <stdlib.h>

#include "server/record.h"

#define FIRST 256 /* a power of two */

static bool
grow(struct record_ring *r)
{
	size_t cap = r->cap == 0 ? FIRST : r->cap * 2;
	struct record_op **slot = calloc(cap, sizeof *slot);

	if (slot == NULL)
		return false;
	for (uint64_t ref = r->head; ref < r->next; ref++)
		slot[ref & (cap - 1)] = r->slot[ref & (r->cap - 1)];
	free(r->slot);
	r->slot = slot;
	r->cap = cap;
	return true;
}

bool
record_ring_add(struct record_ring *r, struct record_op *op)
{
	if (r->next - r->head == r->cap && !grow(r))
		return false;
	op->ref = r->next++;
	r->slot[op->ref & (r->cap - 1)] = op;
	r->count++;
	return true;
}

struct record_op *
record_ring_find(const struct record_ring *r, uint64_t ref)
{
	return ref >= r->head && ref < r->next ? r->slot[ref & (r->cap - 1)]
					       : NULL;
}

struct record_op *
record_ring_take(struct record_ring *r, uint64_t ref)
{
	struct record_op *op = record_ring_find(r, ref);

	if (op == NULL)
		return NULL;
	r->slot[ref & (r->cap - 1)] = NULL;
	r->count--;
	while (r->head < r->next && r->slot[r->head & (r->cap - 1)] == NULL)
		r->head++;
	return op;
}

void
record_ring_release(struct record_ring *r)
{
	free(r->slot);
	*r = (struct record_ring){0};
}
