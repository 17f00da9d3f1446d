#ifndef EXPORT_WITNESS_REQUEST_H
#define EXPORT_WITNESS_REQUEST_H

/* Bodies of requests to a witness, strict (chancery-witness(8), PROTOCOL). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "export/verify_note.h"

#define WITNESS_PROOF_MAX 63
#define WITNESS_BODY_MAX 65536

/* A key record and the records before it, as a root can be made of them. */
struct witness_link {
	struct view leaf;
	uint64_t seq;
	struct verify_key key;
	uint8_t after[32]; /* digest of the key after it */
	bool clean;        /* the key before closes its epoch */
	uint8_t range[WITNESS_PROOF_MAX][32];
	size_t ranges;
};

struct witness_request {
	uint64_t old;
	uint8_t proof[WITNESS_PROOF_MAX][32];
	size_t proofs;
	struct verify_note note; /* borrows from the body */
	bool is_link;
	struct witness_link link;
};

/* Of /add-checkpoint, or with is_link of /add-key; false with the reason. */
bool witness_request_parse(struct view body, bool is_link,
    struct witness_request *out, const char **why);
/* Root of the records up to the key record, itself included. */
void witness_link_root(const struct witness_link *l, uint8_t root[32]);

#endif
