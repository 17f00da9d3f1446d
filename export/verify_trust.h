#ifndef EXPORT_VERIFY_TRUST_H
#define EXPORT_VERIFY_TRUST_H

/*
 * By which key an archive or a proof is judged: the one given, or that of a
 * later epoch which a key chain or a journal leads to from there.
 */

#include <stddef.h>
#include <stdint.h>

#include "export/verify_chain.h"
#include "export/verify_note.h"

struct verify_trust {
	const struct verify_key *given; /* a list; NULL: none */
	struct verify_chain *chain;
	size_t chains;
};

/*
 * The key that signs checkpoints of this size and origin, as a chain tells
 * that the given key is part of; NULL when there is none. Borrowed.
 */
const struct verify_key *verify_trust_find(
    const struct verify_trust *t, const char *origin, uint64_t size);

#endif
