#ifndef SERVER_DIGEST_H
#define SERVER_DIGEST_H

/*
 * Digest authentication (RFC 8760, RFC 7616): challenges, and the check of
 * what comes back. A nonce is a time, a random number and a keyed hash of
 * both and of the client's address; nothing is kept for a nonce that was
 * never used.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/lookup.h"

#define DIGEST_NONCE_LIFE_S 300
#define DIGEST_REPLAY_MAX 262144

enum digest_algorithm { DIGEST_MD5, DIGEST_SHA256 };

enum digest_verdict {
	DIGEST_GOOD,
	DIGEST_STALE,   /* the password is right, the nonce is of no use */
	DIGEST_WRONG,   /* password or user is not right */
	DIGEST_STRANGE, /* neither are they, nor is the nonce ours */
	DIGEST_UNUSABLE /* no answer to a challenge of ours */
};

/* The Digest parameters without their quotes; strings of one allocation. */
struct digest_credentials {
	char *text;
	struct view username, realm, nonce, uri, response, cnonce, nc, qop;
	enum digest_algorithm algorithm;
	bool known_algorithm;
};

/* What the user store knows; NULL pointers when there is no such user. */
struct digest_secret {
	const uint8_t *ha1_md5;    /* 16 bytes */
	const uint8_t *ha1_sha256; /* 32 bytes */
};

struct digest {
	char *realm;
	uint8_t secret[32];
	struct lookup used; /* nonce, nc and cnonce seen together */
	struct ring by_age;
};

/* -1 when out of memory. */
int digest_init(struct digest *d, const char *realm);
/* Wipes the secret of the nonces. */
void digest_release(struct digest *d);
/*
 * Appends two Proxy-Authenticate lines, one an algorithm. SIPE reads the
 * first only and knows MD5 only; other clients are to prefer SHA-256.
 */
void digest_challenge(struct digest *d, struct view host, uint64_t now_s,
    bool stale, bool md5_first, struct buf *out);
/*
 * Reads the value of a Proxy-Authorization field; false when it is no Digest
 * for this realm. Free the text with digest_credentials_release().
 */
bool digest_parse(
    const struct digest *d, struct view value, struct digest_credentials *out);
/* May be called twice. */
void digest_credentials_release(struct digest_credentials *c);
/* Checks; a good combination of nonce, nc and cnonce is good once. */
enum digest_verdict digest_check(struct digest *d,
    const struct digest_credentials *c, const struct digest_secret *secret,
    struct view method, struct view host, uint64_t now_s);
/* "digest-md5", "digest-sha256" */
const char *digest_name(enum digest_algorithm a);

#endif
