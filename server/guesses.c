#include "server/guesses.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

enum what { NETWORK = 'n', BOTH = 'b' };

/* A network, or a user at a network. */
struct entry {
	struct lookup_node node;
	struct ring age;
	uint8_t key[CRYPTO_SHA256_LEN];
	uint64_t at_s;  /* of the last wrong password */
	unsigned count; /* of those that are not pardoned */
};

void
guesses_init(struct guesses *g)
{
	lookup_init(&g->wrong.lookup);
	ring_init(&g->wrong.by_age);
	lookup_init(&g->known.lookup);
	ring_init(&g->known.by_age);
}

static void
forget(struct guesses_table *t, struct entry *e)
{
	ring_remove(&e->age);
	lookup_remove(&t->lookup, &e->node);
	free(e);
}

static void
release(struct guesses_table *t)
{
	while (!ring_empty(&t->by_age))
		forget(t, RING_OF(t->by_age.next, struct entry, age));
	lookup_release(&t->lookup);
}

void
guesses_release(struct guesses *g)
{
	release(&g->wrong);
	release(&g->known);
}

static void
make_key(enum what what, struct view user, struct view network,
    uint8_t key[CRYPTO_SHA256_LEN])
{
	const uint8_t kind = (uint8_t)what, zero = 0;
	const struct view parts[] = {view_of(&kind, 1),
	    what == NETWORK ? view_of(NULL, 0) : user, view_of(&zero, 1),
	    network};

	crypto_sha256_parts(parts, 4, key);
}

static struct entry *
find(const struct guesses_table *t, const uint8_t *key)
{
	uint64_t hash = lookup_hash(view_of(key, CRYPTO_SHA256_LEN));

	for (struct lookup_node *n = lookup_first(&t->lookup, hash); n != NULL;
	     n = lookup_next(n)) {
		struct entry *e = LOOKUP_OF(n, struct entry, node);

		if (memcmp(e->key, key, sizeof e->key) == 0)
			return e;
	}
	return NULL;
}

/* The entry, now the youngest; NULL when out of memory. */
static struct entry *
touch(struct guesses_table *t, size_t max, const uint8_t *key)
{
	struct entry *e = find(t, key);

	if (e != NULL) {
		ring_remove(&e->age);
		ring_append(&t->by_age, &e->age);
		return e;
	}
	if (t->lookup.count >= max)
		forget(t, RING_OF(t->by_age.next, struct entry, age));
	e = calloc(1, sizeof *e);
	if (e == NULL)
		return NULL;
	memcpy(e->key, key, sizeof e->key);
	if (!lookup_add(&t->lookup, &e->node,
		lookup_hash(view_of(key, sizeof e->key)))) {
		free(e);
		return NULL;
	}
	ring_append(&t->by_age, &e->age);
	return e;
}

static unsigned
pause_of(const struct entry *e, unsigned free_count, uint64_t now_s)
{
	uint64_t pause;

	if (e == NULL || e->count < free_count || now_s < e->at_s)
		return 0;
	pause = 1U << (e->count - free_count);
	if (now_s - e->at_s >= pause)
		return 0;
	return (unsigned)(pause - (now_s - e->at_s));
}

unsigned
guesses_wait(const struct guesses *g, struct view user, struct view network,
    uint64_t now_s)
{
	uint8_t key[CRYPTO_SHA256_LEN];
	unsigned of_user, of_network;

	make_key(BOTH, user, network, key);
	of_user = pause_of(find(&g->wrong, key), GUESSES_USER_FREE, now_s);
	if (find(&g->known, key) != NULL)
		return of_user;
	make_key(NETWORK, user, network, key);
	of_network = pause_of(find(&g->wrong, key), GUESSES_HOST_FREE, now_s);
	return of_user > of_network ? of_user : of_network;
}

static void
count(
    struct guesses *g, const uint8_t *key, unsigned free_count, uint64_t now_s)
{
	struct entry *e = touch(&g->wrong, GUESSES_MAX, key);
	uint64_t pardon;

	if (e == NULL)
		return; /* out of memory: nobody is slowed */
	pardon = now_s > e->at_s ? (now_s - e->at_s) / GUESSES_PARDON_S : 0;
	e->count -= e->count < pardon ? e->count : (unsigned)pardon;
	e->at_s = now_s;
	if (e->count < free_count + GUESSES_STEPS)
		e->count++;
}

void
guesses_wrong(
    struct guesses *g, struct view user, struct view network, uint64_t now_s)
{
	uint8_t key[CRYPTO_SHA256_LEN];

	make_key(NETWORK, user, network, key);
	count(g, key, GUESSES_HOST_FREE, now_s);
	make_key(BOTH, user, network, key);
	count(g, key, GUESSES_USER_FREE, now_s);
}

void
guesses_right(struct guesses *g, struct view user, struct view network)
{
	uint8_t key[CRYPTO_SHA256_LEN];
	struct entry *e;

	/* Not the network's: a guesser may have a password of his own. */
	make_key(BOTH, user, network, key);
	e = find(&g->wrong, key);
	if (e != NULL)
		forget(&g->wrong, e);
	(void)touch(&g->known, GUESSES_KNOWN_MAX, key); /* or it is slowed */
}
