#ifndef ADAPTERS_PROOF_H
#define ADAPTERS_PROOF_H

/*
 * The root over a batch: the perfect subtrees before it, its leaves one by
 * one, the perfect subtrees after it (RFC 6962 section 2.1). Holds at most
 * one hash for each height of the tree.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/adapter.h"

#define PROOF_HEIGHTS 64

struct proof {
	uint64_t at; /* leaves that are covered so far */
	size_t count;
	struct {
		unsigned height;
		uint8_t hash[ADAPTER_HASH_LEN];
	} node[PROOF_HEIGHTS];
};

/* False when left is not the subtrees of [0,first). */
bool proof_begin(struct proof *p, const struct adapter_batch *b);
/* The next leaf of the batch, in order. */
void proof_add(struct proof *p, struct view leaf);
/* Whether it all leads to b->root at b->size. Call once, after the last. */
bool proof_end(struct proof *p, const struct adapter_batch *b);

#endif
