#include "base/crypto.h"

#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define SECRET_POOL 32768
#define RANDOM_POOL 4096
#define GCRYPT_OLDEST "1.10.0"

struct crypto_hash {
	gcry_md_hd_t md;
};

struct crypto_key {
	gcry_sexp_t secret;
	uint8_t public[CRYPTO_PUBLIC_LEN];
};

static struct {
	uint8_t bytes[RANDOM_POOL];
	size_t used;
} pool = {.used = RANDOM_POOL};

void
crypto_init(void)
{
	uint8_t a[16], b[16];

	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return;
	if (gcry_check_version(GCRYPT_OLDEST) == NULL)
		log_fatal("libgcrypt is older than " GCRYPT_OLDEST);
	/* Locked and wiped when freed: what secret keys are kept in. */
	(void)gcry_control(GCRYCTL_DISABLE_SECMEM_WARN);
	(void)gcry_control(GCRYCTL_INIT_SECMEM, SECRET_POOL, 0);
	(void)gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, SECRET_POOL, 0);
	(void)gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	crypto_random(a, sizeof a);
	crypto_random(b, sizeof b);
	if (memcmp(a, b, sizeof a) == 0)
		log_fatal("random source repeats itself");
}

void
crypto_sha256(const void *p, size_t n, uint8_t out[32])
{
	gcry_md_hash_buffer(GCRY_MD_SHA256, out, p, n);
}

void
crypto_sha256_parts(const struct view *parts, size_t count, uint8_t out[32])
{
	gcry_buffer_t iov[4];

	if (count > 4)
		log_fatal("crypto_sha256_parts: %zu pieces", count);
	memset(iov, 0, sizeof iov);
	for (size_t i = 0; i < count; i++) {
		/* The interface lacks const; the bytes are only read. */
		memcpy(&iov[i].data, &parts[i].p, sizeof iov[i].data);
		iov[i].len = parts[i].n;
		iov[i].size = parts[i].n;
	}
	if (gcry_md_hash_buffers(GCRY_MD_SHA256, 0, out, iov, (int)count) != 0)
		log_fatal("SHA-256 failed");
}

void
crypto_md5(const void *p, size_t n, uint8_t out[16])
{
	gcry_md_hash_buffer(GCRY_MD_MD5, out, p, n);
}

struct crypto_hash *
crypto_hash_new(void)
{
	struct crypto_hash *h = malloc(sizeof *h);

	if (h == NULL)
		return NULL;
	if (gcry_md_open(&h->md, GCRY_MD_SHA256, 0) != 0) {
		free(h);
		return NULL;
	}
	return h;
}

void
crypto_hash_add(struct crypto_hash *h, const void *p, size_t n)
{
	gcry_md_write(h->md, p, n);
}

void
crypto_hash_get(struct crypto_hash *h, uint8_t out[32])
{
	gcry_md_hd_t copy;

	if (gcry_md_copy(&copy, h->md) != 0)
		log_fatal("SHA-256 state cannot be copied");
	memcpy(out, gcry_md_read(copy, GCRY_MD_SHA256), CRYPTO_SHA256_LEN);
	gcry_md_close(copy);
}

void
crypto_hash_free(struct crypto_hash *h)
{
	if (h == NULL)
		return;
	gcry_md_close(h->md);
	free(h);
}

void
crypto_random(void *p, size_t n)
{
	uint8_t *out = p;

	while (n > 0) {
		size_t take = sizeof pool.bytes - pool.used;

		if (take == 0) {
			gcry_randomize(
			    pool.bytes, sizeof pool.bytes, GCRY_STRONG_RANDOM);
			pool.used = 0;
			continue;
		}
		if (take > n)
			take = n;
		memcpy(out, pool.bytes + pool.used, take);
		crypto_wipe(pool.bytes + pool.used, take);
		pool.used += take;
		out += take;
		n -= take;
	}
}

void
crypto_nonce(void *p, size_t n)
{
	gcry_create_nonce(p, n);
}

bool
crypto_equal(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;
	uint8_t differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (uint8_t)(x[i] ^ y[i]);
	return differ == 0;
}

void
crypto_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

/* Copies the value of a token such as "q" out of an S-expression. */
static bool
copy_token(gcry_sexp_t from, const char *token, uint8_t *out, size_t n)
{
	gcry_sexp_t found = gcry_sexp_find_token(from, token, 0);
	const char *data;
	size_t len = 0;
	bool ok = false;

	if (found == NULL)
		return false;
	data = gcry_sexp_nth_data(found, 1, &len);
	if (data != NULL && len == n) {
		memcpy(out, data, n);
		ok = true;
	}
	gcry_sexp_release(found);
	return ok;
}

/* The point that belongs to a seed: signing without it is half as fast. */
static bool
public_of(const uint8_t seed[CRYPTO_SEED_LEN], uint8_t out[CRYPTO_PUBLIC_LEN])
{
	gcry_sexp_t key = NULL;
	gcry_ctx_t ctx = NULL;
	gcry_sexp_t pub = NULL;
	bool ok = false;

	if (gcry_sexp_build(&key, NULL,
		"(private-key(ecc(curve Ed25519)(flags eddsa)(d %b)))",
		CRYPTO_SEED_LEN, seed) == 0 &&
	    gcry_mpi_ec_new(&ctx, key, NULL) == 0 &&
	    gcry_pubkey_get_sexp(&pub, GCRY_PK_GET_PUBKEY, ctx) == 0)
		ok = copy_token(pub, "q", out, CRYPTO_PUBLIC_LEN);
	gcry_sexp_release(pub);
	gcry_ctx_release(ctx);
	gcry_sexp_release(key);
	return ok;
}

struct crypto_key *
crypto_key_new(const uint8_t seed[CRYPTO_SEED_LEN])
{
	struct crypto_key *k = calloc(1, sizeof *k);
	/* libgcrypt keeps what it makes of secret memory in such memory. */
	uint8_t *secret = gcry_malloc_secure(CRYPTO_SEED_LEN);
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	bool ok = k != NULL && secret != NULL;

	if (ok) {
		memcpy(secret, seed, CRYPTO_SEED_LEN);
		ok = public_of(secret, k->public) &&
		    gcry_sexp_build(&k->secret, NULL,
			"(private-key(ecc(curve Ed25519)(flags eddsa)"
			"(q %b)(d %b)))",
			CRYPTO_PUBLIC_LEN, k->public, CRYPTO_SEED_LEN,
			secret) == 0;
	}
	gcry_free(secret);
	/* Not a pair: see crypto_sign(). */
	if (ok && crypto_sign(k, "", 0, signature))
		return k;
	crypto_key_free(k);
	return NULL;
}

void
crypto_key_public(const struct crypto_key *k, uint8_t out[CRYPTO_PUBLIC_LEN])
{
	memcpy(out, k->public, CRYPTO_PUBLIC_LEN);
}

static gcry_sexp_t
message_sexp(const void *msg, size_t n)
{
	gcry_sexp_t data = NULL;

	if (n > INT32_MAX ||
	    gcry_sexp_build(&data, NULL,
		"(data(flags eddsa)(hash-algo sha512)(value %b))", (int)n,
		msg) != 0)
		return NULL;
	return data;
}

/*
 * Short of memory, libgcrypt 1.10 computes other points than it should and
 * says nothing. A signature that does not hold may betray the key, and a
 * public key that is not the seed's must not get into the world.
 */
bool
crypto_sign(const struct crypto_key *k, const void *msg, size_t n,
    uint8_t out[CRYPTO_SIGNATURE_LEN])
{
	gcry_sexp_t data = message_sexp(msg, n);
	gcry_sexp_t sig = NULL;
	bool ok = false;

	if (data == NULL)
		return false;
	if (gcry_pk_sign(&sig, data, k->secret) == 0)
		ok = copy_token(sig, "r", out, 32) &&
		    copy_token(sig, "s", out + 32, 32);
	gcry_sexp_release(sig);
	gcry_sexp_release(data);
	return ok && crypto_verify(k->public, msg, n, out);
}

bool
crypto_verify(const uint8_t pub[CRYPTO_PUBLIC_LEN], const void *msg, size_t n,
    const uint8_t sig[CRYPTO_SIGNATURE_LEN])
{
	gcry_sexp_t data = message_sexp(msg, n);
	gcry_sexp_t key = NULL, value = NULL;
	bool ok = false;

	if (data != NULL &&
	    gcry_sexp_build(&key, NULL,
		"(public-key(ecc(curve Ed25519)(flags eddsa)(q %b)))",
		CRYPTO_PUBLIC_LEN, pub) == 0 &&
	    gcry_sexp_build(&value, NULL, "(sig-val(eddsa(r %b)(s %b)))", 32,
		sig, 32, sig + 32) == 0)
		ok = gcry_pk_verify(value, data, key) == 0;
	gcry_sexp_release(value);
	gcry_sexp_release(key);
	gcry_sexp_release(data);
	return ok;
}

void
crypto_key_free(struct crypto_key *k)
{
	if (k == NULL)
		return;
	gcry_sexp_release(k->secret);
	free(k);
}
