#include "export/verify_trust.h"

#include <stdbool.h>
#include <string.h>

/* The newest key of that name for the size, if a given key is of the name. */
static const struct verify_key *
look(const struct verify_chain *c, const struct verify_key *given,
    const char *origin, uint64_t size)
{
	const struct verify_key *key = NULL;
	bool trusted = given == NULL;

	for (size_t i = 0; i < c->count; i++) {
		const struct verify_chain_epoch *e = &c->epoch[i];

		if (strcmp(e->key.name, origin) != 0)
			continue;
		if (e->from <= size)
			key = &e->key;
		for (const struct verify_key *k = given; k != NULL; k = k->more)
			trusted |= verify_key_equal(&e->key, k);
	}
	return trusted ? key : NULL;
}

const struct verify_key *
verify_trust_find(
    const struct verify_trust *t, const char *origin, uint64_t size)
{
	const struct verify_key *key = NULL;

	for (size_t i = 0; t != NULL && key == NULL && i < t->chains; i++)
		key = look(&t->chain[i], t->given, origin, size);
	return key;
}
