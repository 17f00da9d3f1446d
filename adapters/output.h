#ifndef ADAPTERS_OUTPUT_H
#define ADAPTERS_OUTPUT_H

/*
 * A large file written piece by piece that appears under its name only
 * when it is complete and synced; hashed on the way.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

struct output {
	int fd;
	bool failed; /* a write failed; error tells why */
	int error;
	uint64_t bytes;
	struct crypto_hash *hash;
	struct buf pending;
	char *path;
	char *temporary;
};

/*
 * 0 or -1 with errno. The temporary name depends on path alone, so what a
 * crash left behind is overwritten when the same file is written again.
 */
int output_open(struct output *o, const char *path);
/* Errors are kept for output_commit(). */
void output_put(struct output *o, const void *p, size_t n);
/*
 * Sync, rename (an older file of that name is replaced), sync of the folder.
 * 0 or -1 with errno, the temporary then being removed. Releases o.
 */
int output_commit(
    struct output *o, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes);
/* Removes the temporary. Harmless on a zeroed or released output. */
void output_discard(struct output *o);

/* SHA-256 and length of a file from its start; 0 or -1 with errno. */
int output_hash_file(
    int fd, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes);

#endif
