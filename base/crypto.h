#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

/* The one place that uses libgcrypt: hashes, Ed25519, random bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define CRYPTO_SHA256_LEN 32
#define CRYPTO_MD5_LEN 16
#define CRYPTO_SEED_LEN 32
#define CRYPTO_PUBLIC_LEN 32
#define CRYPTO_SIGNATURE_LEN 64

struct crypto_hash; /* a running SHA-256 */
struct crypto_key;  /* an Ed25519 key pair */

/* Once, before all else; exits when the library or its entropy is unfit. */
void crypto_init(void);

/* FIPS 180-4. */
void crypto_sha256(const void *p, size_t n, uint8_t out[32]);
/* SHA-256 of up to four pieces one after another, without copying. */
void crypto_sha256_parts(
    const struct view *parts, size_t count, uint8_t out[32]);
/* For RFC 8760 Digest only. */
void crypto_md5(const void *p, size_t n, uint8_t out[16]);
/* NULL when out of memory. Free ends it; NULL is allowed. */
struct crypto_hash *crypto_hash_new(void);
void crypto_hash_add(struct crypto_hash *h, const void *p, size_t n);
/* The digest so far; the running state goes on. */
void crypto_hash_get(struct crypto_hash *h, uint8_t out[32]);
void crypto_hash_free(struct crypto_hash *h);

/* Strong random bytes from a pool that is wiped as it is used. */
void crypto_random(void *p, size_t n);
/* Unpredictable but not secret-grade: nonces, tags, branches. */
void crypto_nonce(void *p, size_t n);
/* In a time that does not depend on where they differ. */
bool crypto_equal(const void *a, const void *b, size_t n);
/* Overwrites; the compiler cannot leave it out. */
void crypto_wipe(void *p, size_t n);

/* Ed25519 (RFC 8032). NULL when the library fails. Caller frees. */
struct crypto_key *crypto_key_new(const uint8_t seed[CRYPTO_SEED_LEN]);
void crypto_key_public(
    const struct crypto_key *k, uint8_t out[CRYPTO_PUBLIC_LEN]);
/* A signature that holds; false when the library fails. */
bool crypto_sign(const struct crypto_key *k, const void *msg, size_t n,
    uint8_t out[CRYPTO_SIGNATURE_LEN]);
/* Whether it is the key's signature of the message. */
bool crypto_verify(const uint8_t pub[CRYPTO_PUBLIC_LEN], const void *msg,
    size_t n, const uint8_t sig[CRYPTO_SIGNATURE_LEN]);
/* NULL is allowed. */
void crypto_key_free(struct crypto_key *k);

#endif
