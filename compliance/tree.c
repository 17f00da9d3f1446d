#include "compliance/tree.h"

#include <assert.h>
#include <string.h>

#include "base/crypto.h"

#define HEIGHTS (TREE_TILE_HEIGHT * TREE_TILE_LEVELS)

void
tree_leaf_hash(const void *leaf, size_t n, uint8_t out[TREE_HASH_LEN])
{
	static const uint8_t prefix = 0;
	const struct view parts[] = {{&prefix, 1}, {leaf, n}};

	crypto_sha256_parts(parts, 2, out);
}

void
tree_node_hash(const uint8_t left[TREE_HASH_LEN],
    const uint8_t right[TREE_HASH_LEN], uint8_t out[TREE_HASH_LEN])
{
	uint8_t in[1 + 2 * TREE_HASH_LEN];

	in[0] = 1;
	memcpy(in + 1, left, TREE_HASH_LEN);
	memcpy(in + 1 + TREE_HASH_LEN, right, TREE_HASH_LEN);
	crypto_sha256(in, sizeof in, out);
}

void
tree_empty_root(uint8_t out[TREE_HASH_LEN])
{
	crypto_sha256("", 0, out);
}

void
tree_tile_node(const uint8_t *tile, unsigned height, unsigned index,
    uint8_t out[TREE_HASH_LEN])
{
	uint8_t node[TREE_TILE_WIDTH / 2][TREE_HASH_LEN];
	unsigned n = 1U << height;

	assert(height <= TREE_TILE_HEIGHT);
	tile += (size_t)index * n * TREE_HASH_LEN;
	if (height == 0) {
		memcpy(out, tile, TREE_HASH_LEN);
		return;
	}
	for (unsigned i = 0; i < n / 2; i++)
		tree_node_hash(tile + (size_t)2 * i * TREE_HASH_LEN,
		    tile + (size_t)(2 * i + 1) * TREE_HASH_LEN, node[i]);
	for (n /= 2; n > 1; n /= 2)
		for (unsigned i = 0; i < n / 2; i++)
			tree_node_hash(node[2 * i], node[2 * i + 1], node[i]);
	memcpy(out, node[0], TREE_HASH_LEN);
}

/* The rings of a level lie one after another: 256 nodes, then 128, ... */
static size_t
ring_slot(unsigned height, uint64_t index)
{
	unsigned h = height % TREE_TILE_HEIGHT;
	unsigned width = TREE_TILE_WIDTH >> h;

	return 2 * TREE_TILE_WIDTH - 2 * width + (size_t)(index % width);
}

static uint8_t *
ring_at(struct tree *t, unsigned height, uint64_t index)
{
	return t->ring[height / TREE_TILE_HEIGHT][ring_slot(height, index)];
}

static const uint8_t *
ring_get(const struct tree *t, unsigned height, uint64_t index)
{
	return t->ring[height / TREE_TILE_HEIGHT][ring_slot(height, index)];
}

void
tree_init(struct tree *t)
{
	t->size = 0;
	memset(t->held_from, 0, sizeof t->held_from);
}

/* Computes the nodes above the `count` hashes that a level was loaded with. */
static void
load_inner(struct tree *t, unsigned level, uint64_t first, unsigned count)
{
	unsigned base = level * TREE_TILE_HEIGHT;

	for (unsigned h = 1; h < TREE_TILE_HEIGHT; h++)
		for (uint64_t i = first >> h; i < (first + count) >> h; i++)
			tree_node_hash(ring_get(t, base + h - 1, 2 * i),
			    ring_get(t, base + h - 1, 2 * i + 1),
			    ring_at(t, base + h, i));
}

int
tree_load(struct tree *t, uint64_t size, tree_load_cb *hashes, void *arg)
{
	t->size = size;
	for (unsigned level = 0; level < TREE_TILE_LEVELS; level++) {
		uint64_t n = size >> (level * TREE_TILE_HEIGHT);
		unsigned count = (unsigned)(n % TREE_TILE_WIDTH);
		uint64_t first = n - count;

		t->held_from[level] = first;
		if (count == 0)
			continue;
		if (hashes(arg, level, first, count, t->ring[level][0]) != 0)
			return -1;
		load_inner(t, level, first, count);
	}
	return 0;
}

int
tree_add(struct tree *t, const uint8_t hash[TREE_HASH_LEN], tree_full_cb *full,
    void *arg)
{
	uint64_t index = t->size;
	unsigned height = 0;

	memcpy(ring_at(t, 0, index), hash, TREE_HASH_LEN);
	for (;;) {
		unsigned level = height / TREE_TILE_HEIGHT;
		uint64_t tile = index / TREE_TILE_WIDTH;
		int r;

		if (height % TREE_TILE_HEIGHT == 0 &&
		    index % TREE_TILE_WIDTH == TREE_TILE_WIDTH - 1 &&
		    (r = full(arg, level, tile, t->ring[level][0])) != 0)
			return r;
		if (index % 2 == 0 || height + 1 >= HEIGHTS)
			break;
		tree_node_hash(ring_get(t, height, index - 1),
		    ring_get(t, height, index),
		    ring_at(t, height + 1, index / 2));
		height++;
		index /= 2;
	}
	t->size++;
	return 0;
}

bool
tree_held(const struct tree *t, unsigned height, uint64_t index,
    uint8_t out[TREE_HASH_LEN])
{
	unsigned level = height / TREE_TILE_HEIGHT;
	unsigned h = height % TREE_TILE_HEIGHT;
	uint64_t count;

	if (height >= HEIGHTS)
		return false;
	count = t->size >> height;
	if (index >= count || count - index > (uint64_t)TREE_TILE_WIDTH >> h ||
	    index << h < t->held_from[level])
		return false;
	memcpy(out, ring_get(t, height, index), TREE_HASH_LEN);
	return true;
}

void
tree_root(const struct tree *t, uint8_t out[TREE_HASH_LEN])
{
	bool any = false;

	for (unsigned h = 0; h < HEIGHTS; h++) {
		const uint8_t *peak;

		if ((t->size >> h & 1) == 0)
			continue;
		peak = ring_get(t, h, (t->size >> h) - 1);
		if (any)
			tree_node_hash(peak, out, out);
		else
			memcpy(out, peak, TREE_HASH_LEN);
		any = true;
	}
	if (!any)
		tree_empty_root(out);
}

/* Height of the largest perfect subtree that starts at first within end. */
static unsigned
perfect_height(uint64_t first, uint64_t end)
{
	unsigned room = 63U - (unsigned)__builtin_clzll(end - first);
	unsigned align =
	    first == 0 ? HEIGHTS - 1 : (unsigned)__builtin_ctzll(first);

	return align < room ? align : room;
}

int
tree_range(
    const struct tree_source *s, uint64_t first, uint64_t end, struct buf *out)
{
	while (first < end) {
		unsigned h = perfect_height(first, end);
		uint8_t hash[TREE_HASH_LEN];

		if (s->node(s->arg, h, first >> h, hash) != 0)
			return -1;
		buf_put(out, hash, sizeof hash);
		first += (uint64_t)1 << h;
	}
	return out->failed ? -1 : 0;
}

/* MTH(D[first:end]) for a range that is itself a subtree of the whole. */
static int
subtree(const struct tree_source *s, uint64_t first, uint64_t end,
    uint8_t out[TREE_HASH_LEN])
{
	uint8_t peak[HEIGHTS][TREE_HASH_LEN];
	unsigned n = 0;

	while (first < end) {
		unsigned h = perfect_height(first, end);

		assert(n < HEIGHTS);
		if (s->node(s->arg, h, first >> h, peak[n++]) != 0)
			return -1;
		first += (uint64_t)1 << h;
	}
	assert(n > 0);
	memcpy(out, peak[--n], TREE_HASH_LEN);
	while (n > 0)
		tree_node_hash(peak[--n], out, out);
	return 0;
}

int
tree_root_at(
    const struct tree_source *s, uint64_t size, uint8_t out[TREE_HASH_LEN])
{
	if (size == 0) {
		tree_empty_root(out);
		return 0;
	}
	return subtree(s, 0, size, out);
}

int
tree_inclusion(
    const struct tree_source *s, uint64_t index, uint64_t size, struct buf *out)
{
	uint8_t path[HEIGHTS][TREE_HASH_LEN];
	uint64_t first = 0, end = size;
	size_t n = 0;

	if (index >= size)
		return -1;
	while (end - first > 1) {
		uint64_t split = first +
		    ((uint64_t)1 << (63 - __builtin_clzll(end - first - 1)));
		bool right = index >= split;

		if (subtree(s, right ? first : split, right ? split : end,
			path[n]) != 0)
			return -1;
		n++;
		first = right ? split : first;
		end = right ? end : split;
	}
	while (n > 0)
		buf_put(out, path[--n], TREE_HASH_LEN);
	return out->failed ? -1 : 0;
}

/* SUBPROOF of RFC 6962 section 2.1.2, the leaves being [first, end). */
static int
subproof(const struct tree_source *s, uint64_t old, uint64_t first,
    uint64_t end, struct buf *out)
{
	uint8_t hash[TREE_HASH_LEN];
	uint64_t split;

	if (old == end) {
		if (first == 0)
			return 0;
		if (subtree(s, first, end, hash) != 0)
			return -1;
		buf_put(out, hash, sizeof hash);
		return 0;
	}
	split =
	    first + ((uint64_t)1 << (63 - __builtin_clzll(end - first - 1)));
	if (old <= split) {
		if (subproof(s, old, first, split, out) != 0 ||
		    subtree(s, split, end, hash) != 0)
			return -1;
	} else if (subproof(s, old, split, end, out) != 0 ||
	    subtree(s, first, split, hash) != 0) {
		return -1;
	}
	buf_put(out, hash, sizeof hash);
	return 0;
}

int
tree_consistency(
    const struct tree_source *s, uint64_t old, uint64_t size, struct buf *out)
{
	if (old > size)
		return -1;
	if (old == 0 || old == size)
		return 0;
	if (subproof(s, old, 0, size, out) != 0 || out->failed)
		return -1;
	return 0;
}

/* The walk of RFC 9162 section 2.1.4.2; proof is not empty. */
static bool
check_walk(uint64_t fn, uint64_t sn, const uint8_t old_root[TREE_HASH_LEN],
    const uint8_t root[TREE_HASH_LEN], struct view proof)
{
	uint8_t fr[TREE_HASH_LEN];
	uint8_t sr[TREE_HASH_LEN];

	while (fn & 1) {
		fn >>= 1;
		sn >>= 1;
	}
	if (fn == 0) {
		memcpy(fr, old_root, sizeof fr);
	} else {
		memcpy(fr, proof.p, sizeof fr);
		proof.p += sizeof fr;
		proof.n -= sizeof fr;
	}
	memcpy(sr, fr, sizeof sr);
	for (; proof.n > 0; proof.p += sizeof fr, proof.n -= sizeof fr) {
		if (sn == 0)
			return false;
		if (fn & 1 || fn == sn) {
			tree_node_hash(proof.p, fr, fr);
			tree_node_hash(proof.p, sr, sr);
			while (fn != 0 && (fn & 1) == 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			tree_node_hash(sr, proof.p, sr);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && crypto_equal(fr, old_root, sizeof fr) &&
	    crypto_equal(sr, root, sizeof sr);
}

bool
tree_consistency_check(uint64_t old, const uint8_t old_root[TREE_HASH_LEN],
    uint64_t size, const uint8_t root[TREE_HASH_LEN], struct view proof)
{
	uint8_t empty[TREE_HASH_LEN];

	if (old > size || proof.n % TREE_HASH_LEN != 0)
		return false;
	if (old == size)
		return proof.n == 0 &&
		    crypto_equal(old_root, root, TREE_HASH_LEN);
	if (old == 0) {
		tree_empty_root(empty);
		return proof.n == 0 &&
		    crypto_equal(old_root, empty, sizeof empty);
	}
	if (proof.n == 0)
		return false;
	return check_walk(old - 1, size - 1, old_root, root, proof);
}
