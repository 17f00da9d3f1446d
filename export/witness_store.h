#ifndef EXPORT_WITNESS_STORE_H
#define EXPORT_WITNESS_STORE_H

/*
 * What a witness remembers, durable with each commit: of every log its keys
 * and the newest checkpoint that was cosigned.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "export/verify_note.h"

struct witness_store;

struct witness_log {
	char origin[VERIFY_NAME_MAX + 1];
	bool rotates;     /* a digest of the next key is known */
	uint8_t next[32]; /* that digest */
	struct verify_key newest;
	bool cosigned; /* the rest is of a checkpoint */
	uint64_t size;
	uint8_t root[32];
	uint64_t at; /* seconds since 1970 */
	uint64_t conflicts;
};

enum witness_found { WITNESS_FAILED = -1, WITNESS_NONE, WITNESS_FOUND };

/* NULL with the reason. create: there must be no such file. */
struct witness_store *witness_store_open(
    const char *path, bool create, char *why, size_t why_len);
/* NULL is allowed. */
void witness_store_close(struct witness_store *s);
/* Reason of the last failure. */
const char *witness_store_error(const struct witness_store *s);

/*
 * All that is read and written between begin and commit is one step, for
 * other processes as well. Commit is durable; a failed one, like abort,
 * leaves all as it was. False when they fail.
 */
bool witness_store_begin(struct witness_store *s);
bool witness_store_commit(struct witness_store *s);
void witness_store_abort(struct witness_store *s);

enum witness_found witness_store_find(
    struct witness_store *s, struct view origin, struct witness_log *out);
/* The log of which this is SHA-256 of the origin. */
enum witness_found witness_store_find_hash(
    struct witness_store *s, const uint8_t hash[32], struct witness_log *out);
/* The key that is in force for checkpoints of the size. */
enum witness_found witness_store_key(struct witness_store *s,
    const char *origin, uint64_t size, struct verify_key *out);
/* The newest checkpoint, with the log's own lines only; appended. */
enum witness_found witness_store_note(
    struct witness_store *s, const char *origin, struct buf *out);

/* next: digest of the next key, or NULL. */
bool witness_store_add_log(
    struct witness_store *s, const struct verify_key *key, const uint8_t *next);
/* In force from checkpoints of size `first` on. */
bool witness_store_add_key(struct witness_store *s,
    const struct verify_key *key, uint64_t first, const uint8_t next[32]);
/* Never of a smaller size, or of the same size with another root. */
bool witness_store_keep(struct witness_store *s, const char *origin,
    uint64_t size, const uint8_t root[32], struct view note, uint64_t at);
/* Two checkpoints of one size, both signed; at most 64 of a log are kept. */
bool witness_store_add_conflict(struct witness_store *s, const char *origin,
    uint64_t at, struct view kept, struct view refused);

/* False of the callback ends the walk, which then fails. */
typedef bool witness_log_cb(void *arg, const struct witness_log *log);
bool witness_store_each(struct witness_store *s, witness_log_cb *cb, void *arg);
typedef bool witness_conflict_cb(
    void *arg, struct view kept, struct view refused);
bool witness_store_each_conflict(
    struct witness_store *s, witness_conflict_cb *cb, void *arg);

#endif
