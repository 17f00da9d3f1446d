#ifndef COMPLIANCE_TREE_H
#define COMPLIANCE_TREE_H

/*
 * The Merkle tree over the leaves: RFC 6962 hashing with SHA-256, kept as
 * tiles of height 8 (C2SP tlog-tiles). A node is named by its height and its
 * index at that height: it is the root of the perfect subtree over the leaves
 * [index << height, (index + 1) << height).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TREE_HASH_LEN 32
#define TREE_TILE_HEIGHT 8
#define TREE_TILE_WIDTH 256
#define TREE_TILE_LEN (TREE_TILE_WIDTH * TREE_HASH_LEN)
#define TREE_TILE_LEVELS 8
/* No consistency proof is longer. */
#define TREE_PROOF_MAX 128

/* SHA-256(0x00 || leaf) and SHA-256(0x01 || left || right): RFC 6962, 2.1. */
void tree_leaf_hash(const void *leaf, size_t n, uint8_t out[TREE_HASH_LEN]);
void tree_node_hash(const uint8_t left[TREE_HASH_LEN],
    const uint8_t right[TREE_HASH_LEN], uint8_t out[TREE_HASH_LEN]);
/* The root of the tree without leaves. */
void tree_empty_root(uint8_t out[TREE_HASH_LEN]);
/*
 * Node `index` of `height` (0..8) over a tile's hashes, index counted within
 * the tile; the hashes below it must be there.
 */
void tree_tile_node(const uint8_t *tile, unsigned height, unsigned index,
    uint8_t out[TREE_HASH_LEN]);

/*
 * The growing edge: the newest nodes of every height, enough to add leaves,
 * give the root, and hand out full tiles. Its size does not depend on the
 * number of leaves. The struct is large (130 KB): allocate it.
 */
struct tree {
	uint64_t size;
	/* First hash of each tile level that is held. */
	uint64_t held_from[TREE_TILE_LEVELS];
	/* By tile level: rings of 256, 128, ... 2 nodes, one for each height. */
	uint8_t ring[TREE_TILE_LEVELS][2 * TREE_TILE_WIDTH][TREE_HASH_LEN];
};

/* A tile became full; its 8192 bytes are borrowed. Non-zero is passed on. */
typedef int tree_full_cb(
    void *arg, unsigned level, uint64_t index, const uint8_t *hashes);

/* Without leaves. */
void tree_init(struct tree *t);
/*
 * Puts back the edge of a stored tree. `hashes` gives, for each tile level,
 * the (size >> 8 * level) % 256 newest hashes that no full tile holds yet.
 */
typedef int tree_load_cb(
    void *arg, unsigned level, uint64_t first, unsigned count, uint8_t *hashes);
/* 0, or -1 when the callback failed: the tree is then not usable. */
int tree_load(struct tree *t, uint64_t size, tree_load_cb *hashes, void *arg);
/* Adds a leaf; 0, or what `full` returned: the tree is then not usable. */
int tree_add(struct tree *t, const uint8_t hash[TREE_HASH_LEN],
    tree_full_cb *full, void *arg);
/* Of all leaves so far. */
void tree_root(const struct tree *t, uint8_t out[TREE_HASH_LEN]);
/* False when the node is no longer (or not yet) held. */
bool tree_held(const struct tree *t, unsigned height, uint64_t index,
    uint8_t out[TREE_HASH_LEN]);

/* Where the functions below find nodes; 0 or -1. */
typedef int tree_node_cb(
    void *arg, unsigned height, uint64_t index, uint8_t out[TREE_HASH_LEN]);
struct tree_source {
	tree_node_cb *node;
	void *arg;
};

/* Root of the first `size` leaves. 0 or -1, as all below. */
int tree_root_at(
    const struct tree_source *s, uint64_t size, uint8_t out[TREE_HASH_LEN]);
/* Appends the perfect subtrees that make up [first, end), left to right. */
int tree_range(
    const struct tree_source *s, uint64_t first, uint64_t end, struct buf *out);
/* Appends the inclusion proof (RFC 6962 section 2.1.1) of a leaf in size. */
int tree_inclusion(const struct tree_source *s, uint64_t index, uint64_t size,
    struct buf *out);
/* Appends the consistency proof (RFC 6962 section 2.1.2) of old in size. */
int tree_consistency(
    const struct tree_source *s, uint64_t old, uint64_t size, struct buf *out);
/* Whether the proof shows that the new tree only adds to the old one. */
bool tree_consistency_check(uint64_t old, const uint8_t old_root[TREE_HASH_LEN],
    uint64_t size, const uint8_t root[TREE_HASH_LEN], struct view proof);

#endif
