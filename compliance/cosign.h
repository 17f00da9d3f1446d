#ifndef COMPLIANCE_COSIGN_H
#define COMPLIANCE_COSIGN_H

/*
 * Cosignatures of witnesses (C2SP tlog-cosignature, cosignature/v1): the
 * line of a signed note that says a key saw this checkpoint at that time.
 * chancery-journal(5), CHECKPOINT.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

#include "compliance/note.h"

/* Longest line, its LF included. */
#define COSIGN_LINE_MAX 512

struct cosign {
	struct view name; /* borrowed from the line */
	uint32_t id;
	uint64_t time; /* seconds since 1970, by the witness's clock */
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
};

/* "name+id+base64(0x04 || public key)". */
void cosign_put_vkey(
    struct buf *b, struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN]);
/* False when malformed or when the key id does not belong to the key. */
bool cosign_parse_vkey(struct view text, struct note_vkey *out);
/* Appends the line, its LF included; false: cannot sign. */
bool cosign_put_line(struct buf *b, struct view body, struct view name,
    uint64_t time, const struct crypto_key *key);
/* The form of one line that ends in LF; false for any other. */
bool cosign_parse_line(struct view line, struct cosign *out);
/* Whether the key made the cosignature of the checkpoint's body. */
bool cosign_verify(
    const struct cosign *c, struct view body, const struct note_vkey *key);

#endif
