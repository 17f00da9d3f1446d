#include "adapters/proof.h"

#include <string.h>

#include "base/crypto.h"
#include "base/text.h"
#include "compliance/tree.h"

/* Adds the subtree of this height that starts at p->at, joining equals. */
static void
push(struct proof *p, unsigned height, const uint8_t *hash)
{
	p->at += (uint64_t)1 << height;
	memcpy(p->node[p->count].hash, hash, ADAPTER_HASH_LEN);
	p->node[p->count++].height = height;
	while (p->count >= 2 &&
	    p->node[p->count - 1].height == p->node[p->count - 2].height) {
		tree_node_hash(p->node[p->count - 2].hash,
		    p->node[p->count - 1].hash, p->node[p->count - 2].hash);
		p->count--;
		p->node[p->count - 1].height++;
	}
}

/* Height of the widest perfect subtree that starts at `at` within `end`. */
static unsigned
widest(uint64_t at, uint64_t end)
{
	unsigned height = 63 - (unsigned)__builtin_clzll(end - at);
	unsigned aligned = at == 0 ? 63 : (unsigned)__builtin_ctzll(at);

	return height < aligned ? height : aligned;
}

/* Adds the hashes as the subtrees of [p->at,end); false when they are not. */
static bool
push_range(struct proof *p, uint64_t end, struct view hashes)
{
	const uint8_t *h = hashes.p;
	size_t left = hashes.n;

	while (p->at < end) {
		if (left < ADAPTER_HASH_LEN)
			return false;
		push(p, widest(p->at, end), h);
		h += ADAPTER_HASH_LEN;
		left -= ADAPTER_HASH_LEN;
	}
	return left == 0;
}

bool
proof_begin(struct proof *p, const struct adapter_batch *b)
{
	*p = (struct proof){0};
	return push_range(p, b->first, b->left);
}

void
proof_add(struct proof *p, struct view leaf)
{
	uint8_t hash[ADAPTER_HASH_LEN];

	tree_leaf_hash(leaf.p, leaf.n, hash);
	push(p, 0, hash);
}

bool
proof_end(struct proof *p, const struct adapter_batch *b)
{
	uint8_t root[ADAPTER_HASH_LEN];

	if (!push_range(p, b->size, b->right) || p->count == 0 ||
	    !text_get_base64_fixed(view_text(b->root), root, sizeof root))
		return false;
	while (p->count >= 2) {
		tree_node_hash(p->node[p->count - 2].hash,
		    p->node[p->count - 1].hash, p->node[p->count - 2].hash);
		p->count--;
	}
	return crypto_equal(root, p->node[0].hash, sizeof root);
}
