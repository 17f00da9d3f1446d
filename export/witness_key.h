#ifndef EXPORT_WITNESS_KEY_H
#define EXPORT_WITNESS_KEY_H

/* A witness's signing key and its cosignatures (C2SP cosignature/v1). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct witness_key;

/* Whether a witness may be called that, as C2SP has it. */
bool witness_name_valid(struct view name);
/* Makes the file, which must not be there; false with the reason. */
bool witness_key_make(
    const char *path, const char *name, char *why, size_t why_len);
/* NULL with the reason. Caller frees. */
struct witness_key *witness_key_load(
    const char *path, char *why, size_t why_len);
const char *witness_key_name(const struct witness_key *k);
/* "name+id+base64", as the witness's public key is handed out. */
void witness_key_put_vkey(const struct witness_key *k, struct buf *out);
/*
 * Appends the signature line, LF included, for the body of a checkpoint at
 * that second since 1970, never 0. False: the library failed or no memory.
 */
bool witness_key_cosign(const struct witness_key *k, struct view body,
    uint64_t at, struct buf *out);
/* NULL is allowed. */
void witness_key_free(struct witness_key *k);

#endif
