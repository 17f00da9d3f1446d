#ifndef COMPLIANCE_SIGNER_LOOK_H
#define COMPLIANCE_SIGNER_LOOK_H

/* What the signer's folder tells to recovery, while no signer runs. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct signer_seen {
	bool key; /* there and well-formed */
	char vkey[512];
	bool state; /* there, well-formed, and of that key when there is one */
	char origin[256];
	uint64_t size; /* signed last */
	uint8_t root[32];
};

/*
 * Looks at the folder without taking it. A file that is missing is not seen;
 * one that is there and cannot be read or understood is a failure: 0, or -1
 * with the reason.
 */
int signer_look(
    const char *dir, struct signer_seen *out, char *why, size_t why_len);
/*
 * Makes the state of a signer that has none: (size, root) is what it signed
 * last. 0, or -1 with the reason.
 */
int signer_put_state(const char *dir, const char *origin, uint64_t size,
    const uint8_t root[32], char *why, size_t why_len);
/* Hexadecimal digest of the key that is announced, "-" when there is none. */
void signer_look_next(const char *dir, char out[65]);

#endif
