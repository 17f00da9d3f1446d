#include "export/verify_trust.h"

#include <stdbool.h>
#include <string.h>

static bool
is_given(const struct verify_key *given, const struct verify_key *key)
{
	for (; given != NULL; given = given->more)
		if (verify_key_equal(key, given))
			return true;
	return false;
}

/*
 * The newest key of that name for the size, if one of the name's keys was
 * given, or its first one was announced under a name of which that is so.
 */
static const struct verify_chain_epoch *
look(const struct verify_chain *c, const struct verify_key *given,
    const char *origin, uint64_t size)
{
	const struct verify_chain_epoch *key = NULL;
	bool trusted = given == NULL, found = false;

	for (size_t i = 0; i < c->count; i++) {
		const struct verify_chain_epoch *e = &c->epoch[i];

		if (i > 0 && strcmp(e->key.name, e[-1].key.name) != 0) {
			if (found)
				break;
			trusted = given == NULL || (trusted && e->announced);
			key = NULL;
		}
		trusted |= is_given(given, &e->key);
		found = strcmp(e->key.name, origin) == 0;
		if (found && e->from <= size)
			key = e;
	}
	return trusted && found ? key : NULL;
}

/* A file of a journal knows no epochs of the files after it. */
const struct verify_key *
verify_trust_find(
    const struct verify_trust *t, const char *origin, uint64_t size)
{
	const struct verify_chain_epoch *newest = NULL;

	for (size_t i = 0; t != NULL && i < t->chains; i++) {
		const struct verify_chain_epoch *e =
		    look(&t->chain[i], t->given, origin, size);

		if (e != NULL && (newest == NULL || e->from > newest->from))
			newest = e;
	}
	return newest == NULL ? NULL : &newest->key;
}
