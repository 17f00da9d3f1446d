#ifndef SERVER_LOOKUP_H
#define SERVER_LOOKUP_H

/*
 * Hash tables of objects that carry their own node. Keys come from the
 * network, so the hash is keyed (SipHash-2-4) with a secret of the process.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct lookup_node {
	struct lookup_node *next;
	uint64_t hash;
};

struct lookup {
	struct lookup_node **slots;
	size_t slot_count; /* 0 or a power of two */
	size_t count;
};

/* The object around a node. */
#define LOOKUP_OF(node, type, member)                                          \
	((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Empty, without memory. */
void lookup_init(struct lookup *l);
/* The objects are the caller's; only the table is freed. */
void lookup_release(struct lookup *l);
/* SipHash-2-4 with a key of this process: collisions cannot be prepared. */
uint64_t lookup_hash(struct view key);
/* SipHash-2-4 with a given key, for the known answer test. */
uint64_t lookup_siphash(const uint64_t key[2], struct view v);
/* False when out of memory: the table is as it was. */
bool lookup_add(struct lookup *l, struct lookup_node *n, uint64_t hash);
/* It must be in the table. */
void lookup_remove(struct lookup *l, struct lookup_node *n);
/* Nodes with that hash; the caller compares the keys. */
struct lookup_node *lookup_first(const struct lookup *l, uint64_t hash);
/* The next one with the same hash; NULL at the end. */
struct lookup_node *lookup_next(const struct lookup_node *n);

/* A list in order of arrival, with removal from the middle. */
struct ring {
	struct ring *prev, *next;
};

#define RING_OF(r, type, member)                                               \
	((type *)(void *)((char *)(r)-offsetof(type, member)))

/* A list's head, or an element in no list. */
void ring_init(struct ring *head);
bool ring_empty(const struct ring *head);
void ring_append(struct ring *head, struct ring *r);
/* Harmless when r is in no list (initialised). */
void ring_remove(struct ring *r);

#endif
