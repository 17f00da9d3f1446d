#ifndef TESTS_UNIT_LEAF_TREE_H
#define TESTS_UNIT_LEAF_TREE_H

/* A tree over the hashes in leaf[], from its definition, without tiles. */

#include <stdint.h>
#include <string.h>

#include "base/crypto.h"

#include "compliance/tree.h"

#define LEAVES 600

static uint8_t leaf[LEAVES][32];

/* RFC 6962 section 2.1. */
static inline void
leaf_root(uint64_t first, uint64_t end, uint8_t out[32])
{
	uint8_t l[32], r[32];
	uint64_t k = 1;

	if (first == end) {
		crypto_sha256("", 0, out);
		return;
	}
	if (end - first == 1) {
		memcpy(out, leaf[first], 32);
		return;
	}
	while (k * 2 < end - first)
		k *= 2;
	leaf_root(first, first + k, l);
	leaf_root(first + k, end, r);
	tree_node_hash(l, r, out);
}

static inline int
leaf_node(void *arg, unsigned height, uint64_t index, uint8_t out[32])
{
	(void)arg;
	leaf_root(index << height, (index + 1) << height, out);
	return 0;
}

static const struct tree_source leaf_source = {leaf_node, NULL};

#endif
