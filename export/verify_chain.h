#ifndef EXPORT_VERIFY_CHAIN_H
#define EXPORT_VERIFY_CHAIN_H

/*
 * The verifier's own reader of key chains (chancery-journal(5), KEY CHAIN):
 * from a key that is known to those of later epochs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "export/verify_note.h"

struct verify_chain_epoch {
	uint64_t epoch;
	uint64_t from;  /* smallest checkpoint that this key may sign */
	bool announced; /* by the one before, which may have another name */
	struct verify_key key;
};

/* Epochs in order, without gaps; those of a journal begin with 0. */
struct verify_chain {
	struct verify_chain_epoch *epoch;
	size_t count;
};

/*
 * Reads a chain text and proves each of its keys from the one before,
 * beginning with the one given. False with the line (from 1) and the
 * reason; then nothing is in `out`.
 */
bool verify_chain_parse(struct view text, const struct verify_key *given,
    struct verify_chain *out, unsigned *line, const char **why);
/* The key that signs checkpoints of that size; borrowed, NULL when none. */
const struct verify_key *verify_chain_key(
    const struct verify_chain *c, uint64_t size);
void verify_chain_release(struct verify_chain *c);

#endif
