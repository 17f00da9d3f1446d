#ifndef EXPORT_VERIFY_TREE_H
#define EXPORT_VERIFY_TREE_H

/*
 * The verifier's own RFC 6962 tree: a compact range that starts at 0 and
 * grows to the right by leaves or by whole perfect subtrees.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define VERIFY_TREE_DEPTH 64

struct verify_tree {
	uint64_t size; /* leaves covered */
	unsigned depth;
	uint8_t node[VERIFY_TREE_DEPTH + 1][32]; /* left to right */
};

/*
 * A node at a level that is a multiple of eight (0 = leaf) came to be:
 * its index at that level and its hash.
 */
typedef void verify_tree_node(
    void *arg, unsigned level, uint64_t index, const uint8_t hash[32]);

/* Without leaves; add takes the next one. on_node may be NULL. */
void verify_tree_init(struct verify_tree *t);
void verify_tree_add(struct verify_tree *t, const uint8_t leaf[32],
    verify_tree_node *on_node, void *arg);
/* Root so far; of no leaves: SHA-256 of nothing. */
void verify_tree_root(const struct verify_tree *t, uint8_t root[32]);
/*
 * Grows an empty tree to `to` leaves, or a tree from its size to `to`, by
 * the hashes of the perfect subtrees between, left to right. False when
 * their number is not the one that these sizes need.
 */
bool verify_tree_extend(struct verify_tree *t, uint64_t to, struct view hashes);
/*
 * The root that a leaf and its inclusion proof (RFC 9162 section 2.1.3) lead
 * to; false when the number of hashes is not that of index and size.
 */
bool verify_tree_inclusion(uint64_t index, uint64_t size,
    const uint8_t leaf[32], struct view path, uint8_t root[32]);

#endif
