#ifndef EXPORT_VERIFY_NOTE_H
#define EXPORT_VERIFY_NOTE_H

/* The verifier's own reader of signed notes and verifier keys (C2SP). */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define VERIFY_NAME_MAX 255

struct verify_key {
	char name[VERIFY_NAME_MAX + 1]; /* = origin of the journal */
	uint8_t id[4];
	uint8_t public[32];
	const struct verify_key *more; /* the next one of those given */
};

struct verify_note {
	struct view body; /* the signed bytes */
	struct view origin;
	uint64_t size;
	uint8_t root[32];
	struct view signatures;
};

/* A key's name: UTF-8 without space, control and plus; bounded. */
bool verify_name_valid(struct view name);
/* "name+hash+base64"; false with the reason. */
bool verify_key_parse(
    struct view text, struct verify_key *out, const char **why);
/* The same of a file: a final newline is allowed. */
bool verify_key_line(
    struct view text, struct verify_key *out, const char **why);
/* The given key of that name, or else the first one. */
const struct verify_key *verify_key_of(
    const struct verify_key *given, struct view name);
/* Name, id and public key. */
bool verify_key_equal(const struct verify_key *a, const struct verify_key *b);

/* The form of a checkpoint note; false with line and reason. Borrows. */
bool verify_note_parse(struct view text, struct verify_note *out,
    unsigned *line, const char **why);
/*
 * The id in the next line of that name which a key of ours may have written;
 * rest begins as n->signatures. False at the end.
 */
bool verify_note_next_id(struct view *rest, const char *name, uint8_t id[4]);
/*
 * True when the origin is the key's name and the key signed the body; else
 * the reason.
 */
bool verify_note_signed(const struct verify_note *n,
    const struct verify_key *key, const char **why);

#endif
