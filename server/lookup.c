#include "server/lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#define FIRST_SLOTS 64

static uint64_t process_key[2];

static uint64_t
rotate(uint64_t v, unsigned by)
{
	return (v << by) | (v >> (64 - by));
}

static void
sip_round(uint64_t s[4])
{
	s[0] += s[1];
	s[1] = rotate(s[1], 13) ^ s[0];
	s[0] = rotate(s[0], 32);
	s[2] += s[3];
	s[3] = rotate(s[3], 16) ^ s[2];
	s[0] += s[3];
	s[3] = rotate(s[3], 21) ^ s[0];
	s[2] += s[1];
	s[1] = rotate(s[1], 17) ^ s[2];
	s[2] = rotate(s[2], 32);
}

static uint64_t
word_of(const uint8_t *p, size_t n)
{
	uint64_t w = 0;

	for (size_t i = 0; i < n; i++)
		w |= (uint64_t)p[i] << (8 * i);
	return w;
}

uint64_t
lookup_siphash(const uint64_t key[2], struct view v)
{
	uint64_t s[4] = {
	    key[0] ^ 0x736f6d6570736575U,
	    key[1] ^ 0x646f72616e646f6dU,
	    key[0] ^ 0x6c7967656e657261U,
	    key[1] ^ 0x7465646279746573U,
	};
	size_t whole = v.n & ~(size_t)7;
	uint64_t w;

	for (size_t i = 0; i < whole; i += 8) {
		memcpy(&w, v.p + i, sizeof(w));
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
		w = word_of(v.p + i, 8);
#endif
		s[3] ^= w;
		sip_round(s);
		sip_round(s);
		s[0] ^= w;
	}
	w = word_of(v.p + whole, v.n - whole) | (uint64_t)v.n << 56;
	s[3] ^= w;
	sip_round(s);
	sip_round(s);
	s[0] ^= w;
	s[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(s);
	return s[0] ^ s[1] ^ s[2] ^ s[3];
}

uint64_t
lookup_hash(struct view key)
{
	while (process_key[0] == 0)
		crypto_nonce(process_key, sizeof(process_key));
	return lookup_siphash(process_key, key);
}

void
lookup_init(struct lookup *l)
{
	memset(l, 0, sizeof(*l));
}

void
lookup_release(struct lookup *l)
{
	free(l->slots);
	lookup_init(l);
}

static bool
grow(struct lookup *l)
{
	size_t slots = l->slot_count == 0 ? FIRST_SLOTS : l->slot_count * 2;
	struct lookup_node **new = calloc(slots, sizeof(*new));

	if (new == NULL)
		return false;
	for (size_t i = 0; i < l->slot_count; i++) {
		while (l->slots[i] != NULL) {
			struct lookup_node *n = l->slots[i];

			l->slots[i] = n->next;
			n->next = new[n->hash & (slots - 1)];
			new[n->hash & (slots - 1)] = n;
		}
	}
	free(l->slots);
	l->slots = new;
	l->slot_count = slots;
	return true;
}

bool
lookup_add(struct lookup *l, struct lookup_node *n, uint64_t hash)
{
	if (l->count >= l->slot_count && !grow(l) && l->slot_count == 0)
		return false;
	n->hash = hash;
	n->next = l->slots[hash & (l->slot_count - 1)];
	l->slots[hash & (l->slot_count - 1)] = n;
	l->count++;
	return true;
}

void
lookup_remove(struct lookup *l, struct lookup_node *n)
{
	struct lookup_node **at = &l->slots[n->hash & (l->slot_count - 1)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->next = NULL;
	l->count--;
}

struct lookup_node *
lookup_first(const struct lookup *l, uint64_t hash)
{
	struct lookup_node *n;

	if (l->slot_count == 0)
		return NULL;
	n = l->slots[hash & (l->slot_count - 1)];
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct lookup_node *
lookup_next(const struct lookup_node *n)
{
	struct lookup_node *next = n->next;

	while (next != NULL && next->hash != n->hash)
		next = next->next;
	return next;
}

void
ring_init(struct ring *head)
{
	head->prev = head->next = head;
}

bool
ring_empty(const struct ring *head)
{
	return head->next == head;
}

void
ring_append(struct ring *head, struct ring *r)
{
	r->prev = head->prev;
	r->next = head;
	head->prev->next = r;
	head->prev = r;
}

void
ring_remove(struct ring *r)
{
	r->prev->next = r->next;
	r->next->prev = r->prev;
	ring_init(r);
}
