#include "export/verify_tree.h"

#include <string.h>

#include "base/crypto.h"

static void
hash_children(const uint8_t children[64], uint8_t out[32])
{
	static const uint8_t prefix = 0x01;
	const struct view parts[] = {
	    view_of(&prefix, 1), view_of(children, 64)};

	crypto_sha256_parts(parts, 2, out);
}

void
verify_tree_init(struct verify_tree *t)
{
	t->size = 0;
	t->depth = 0;
}

/*
 * Puts a perfect subtree of 2^level leaves at the right edge, where the
 * size is a multiple of 2^level, and merges what becomes whole.
 */
static void
append(struct verify_tree *t, unsigned level, const uint8_t hash[32],
    verify_tree_node *on_node, void *arg)
{
	uint64_t index = t->size >> level;

	memcpy(t->node[t->depth], hash, 32);
	t->size += UINT64_C(1) << level;
	if (level == 0 && on_node != NULL)
		on_node(arg, 0, index, hash);
	while (index & 1) {
		t->depth--;
		hash_children(t->node[t->depth], t->node[t->depth]);
		index >>= 1;
		level++;
		if (level % 8 == 0 && on_node != NULL)
			on_node(arg, level, index, t->node[t->depth]);
	}
	t->depth++;
}

void
verify_tree_add(struct verify_tree *t, const uint8_t leaf[32],
    verify_tree_node *on_node, void *arg)
{
	append(t, 0, leaf, on_node, arg);
}

void
verify_tree_root(const struct verify_tree *t, uint8_t root[32])
{
	uint8_t pair[64];

	if (t->depth == 0) {
		crypto_sha256("", 0, root);
		return;
	}
	memcpy(root, t->node[t->depth - 1], 32);
	for (unsigned i = t->depth - 1; i-- > 0;) {
		memcpy(pair, t->node[i], 32);
		memcpy(pair + 32, root, 32);
		hash_children(pair, root);
	}
}

bool
verify_tree_extend(struct verify_tree *t, uint64_t to, struct view hashes)
{
	if (to > INT64_MAX || t->size > to)
		return false;
	while (t->size < to) {
		unsigned level = 63U - (unsigned)__builtin_clzll(to - t->size);

		if (t->size != 0 && level > (unsigned)__builtin_ctzll(t->size))
			level = (unsigned)__builtin_ctzll(t->size);
		if (hashes.n < 32)
			return false;
		append(t, level, hashes.p, NULL, NULL);
		hashes = view_of(hashes.p + 32, hashes.n - 32);
	}
	return hashes.n == 0;
}

bool
verify_tree_inclusion(uint64_t index, uint64_t size, const uint8_t leaf[32],
    struct view path, uint8_t root[32])
{
	uint64_t last = size - 1;
	uint8_t pair[64];

	if (index >= size || path.n % 32 != 0)
		return false;
	memcpy(root, leaf, 32);
	for (; path.n > 0; path = view_of(path.p + 32, path.n - 32)) {
		bool left = index & 1 || index == last;

		if (last == 0)
			return false;
		memcpy(pair + (left ? 32 : 0), root, 32);
		memcpy(pair + (left ? 0 : 32), path.p, 32);
		hash_children(pair, root);
		while (left && index != 0 && (index & 1) == 0) {
			index >>= 1;
			last >>= 1;
		}
		index >>= 1;
		last >>= 1;
	}
	return last == 0;
}
