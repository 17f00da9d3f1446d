#ifndef EXPORT_VERIFY_TOKEN_H
#define EXPORT_VERIFY_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/*
 * What a time-stamp token of RFC 3161 (DER) says: the SHA-256 that was stamped,
 * and when, in seconds since 1970. That it is signed is for others to check.
 */
bool verify_token_read(struct view token, uint8_t hash[32], uint64_t *at);

#endif
