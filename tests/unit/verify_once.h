#ifndef TESTS_UNIT_VERIFY_ONCE_H
#define TESTS_UNIT_VERIFY_ONCE_H

/*
 * For who verifies the same again and again but for a bit: a signature that
 * was judged before is not judged anew, which takes most of the time. The
 * program is linked with --wrap=crypto_verify.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#define KNOWN 4096 /* many times what a story has */

bool __real_crypto_verify(const uint8_t public[CRYPTO_PUBLIC_LEN],
    const void *message, size_t len, const uint8_t signature[64]);
bool __wrap_crypto_verify(const uint8_t public[CRYPTO_PUBLIC_LEN],
    const void *message, size_t len, const uint8_t signature[64]);

bool
__wrap_crypto_verify(const uint8_t public[CRYPTO_PUBLIC_LEN],
    const void *message, size_t len, const uint8_t signature[64])
{
	static struct {
		uint8_t question[32];
		bool known, answer;
	} table[KNOWN];
	struct crypto_hash *h = crypto_hash_new();
	uint8_t question[32];
	size_t at;

	if (h == NULL)
		abort();
	crypto_hash_add(h, public, CRYPTO_PUBLIC_LEN);
	crypto_hash_add(h, signature, 64);
	crypto_hash_add(h, message, len);
	crypto_hash_get(h, question);
	crypto_hash_free(h);
	at = (question[0] | (size_t)question[1] << 8) % KNOWN;
	if (!table[at].known || memcmp(table[at].question, question, 32) != 0) {
		memcpy(table[at].question, question, 32);
		table[at].answer =
		    __real_crypto_verify(public, message, len, signature);
		table[at].known = true;
	}
	return table[at].answer;
}

#endif
