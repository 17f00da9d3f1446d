#ifndef EXPORT_WITNESS_TREE_H
#define EXPORT_WITNESS_TREE_H

/* What a witness must check of a tree that it never sees. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whether the proof (RFC 6962 section 2.1.2) shows that the tree of `size`
 * leaves begins with the one of `old` leaves. No proof may be given when old
 * is 0 or the size itself.
 */
bool witness_consistent(uint64_t old, const uint8_t old_root[32], uint64_t size,
    const uint8_t root[32], const uint8_t (*proof)[32], size_t count);

#endif
