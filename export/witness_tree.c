#include "export/witness_tree.h"

#include <string.h>

#include "base/crypto.h"

static void
node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32])
{
	static const uint8_t prefix = 0x01;
	const struct view parts[] = {
	    view_of(&prefix, 1), view_of(left, 32), view_of(right, 32)};

	crypto_sha256_parts(parts, 3, out);
}

/* The algorithm of RFC 9162 section 2.1.4.2, for 0 < old < size. */
static bool
walk(uint64_t old, const uint8_t old_root[32], uint64_t size,
    const uint8_t root[32], const uint8_t (*proof)[32], size_t count)
{
	uint64_t from = old - 1, to = size - 1;
	uint8_t first[32], second[32];
	size_t used = 0;

	/* A perfect subtree is itself the node that the proof begins with. */
	if ((old & from) == 0) {
		memcpy(first, old_root, 32);
	} else {
		if (count == 0)
			return false;
		memcpy(first, proof[used++], 32);
	}
	memcpy(second, first, 32);
	for (; (from & 1) != 0; from >>= 1)
		to >>= 1;
	for (; used < count; used++) {
		if (to == 0)
			return false;
		if ((from & 1) != 0 || from == to) {
			node(proof[used], first, first);
			node(proof[used], second, second);
			for (; from != 0 && (from & 1) == 0; from >>= 1)
				to >>= 1;
		} else {
			node(second, proof[used], second);
		}
		from >>= 1;
		to >>= 1;
	}
	return to == 0 && memcmp(first, old_root, 32) == 0 &&
	    memcmp(second, root, 32) == 0;
}

bool
witness_consistent(uint64_t old, const uint8_t old_root[32], uint64_t size,
    const uint8_t root[32], const uint8_t (*proof)[32], size_t count)
{
	if (old > size)
		return false;
	if (old == 0)
		return count == 0;
	if (old == size)
		return count == 0 && memcmp(old_root, root, 32) == 0;
	return walk(old, old_root, size, root, proof, count);
}
