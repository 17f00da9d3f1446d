#ifndef COMPLIANCE_SIGNER_KEYS_H
#define COMPLIANCE_SIGNER_KEYS_H

/*
 * The signer's folder and the keys in it: `key` signs, `next` is announced
 * and comes after it, `after` is there while the one takes the place of the
 * other, `closing` is the last checkpoint of the key before. Each change is a
 * row of steps that the next start goes on with, wherever it stopped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

struct signer_public {
	bool there;
	uint64_t epoch;
	uint8_t public[CRYPTO_PUBLIC_LEN];
};

struct signer_keys {
	char *path; /* of the folder */
	int dir;    /* and open, with the lock that keeps others out */
	char *origin;
	struct crypto_key *key; /* the one that signs: `now` */
	struct signer_public now, next, after;
	bool moving;        /* its place is being taken */
	struct buf closing; /* a note; empty before the first change */
};

/*
 * Makes key and next of a new origin, epoch and the one after it, and appends
 * the vkey of the first. -1 with the reason.
 */
int signer_keys_make(const char *path, const char *origin, uint64_t epoch,
    struct buf *vkey, char *why, size_t why_len);
/*
 * The same for a new name of a journal: the first key is the one that was
 * announced by its digest, when the folder `from` has it, or else a new one.
 */
int signer_keys_follow(const char *path, const char *origin, const char *from,
    const uint8_t announced[CRYPTO_SHA256_LEN], struct buf *vkey, char *why,
    size_t why_len);
/*
 * Takes the folder with its lock, goes on with what was under way, and reads
 * the keys. -1 with the reason; to be closed in any case.
 */
int signer_keys_open(
    struct signer_keys *k, const char *path, char *why, size_t why_len);
/* Forgets the secret and gives the lock back. */
void signer_keys_close(struct signer_keys *k);
/* Makes sure that there is a key after the next one. */
int signer_keys_prepare(struct signer_keys *k, char *why, size_t why_len);
/* Writes the last checkpoint of the present key down. */
int signer_keys_put_closing(
    struct signer_keys *k, struct view note, char *why, size_t why_len);
/*
 * Puts the next key in the place of the present one, whose secret is
 * overwritten. After -1 it is to be called again before anything is signed.
 */
int signer_keys_advance(struct signer_keys *k, char *why, size_t why_len);
/* SHA-256 of the public key: what announces a key. */
void signer_keys_digest(
    const struct signer_public *p, uint8_t out[CRYPTO_SHA256_LEN]);
/* Appends the vkey of one of the keys. */
void signer_keys_put_vkey(
    const struct signer_keys *k, const struct signer_public *p, struct buf *b);

#endif
