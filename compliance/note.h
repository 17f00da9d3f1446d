#ifndef COMPLIANCE_NOTE_H
#define COMPLIANCE_NOTE_H

/*
 * Checkpoints as C2SP signed notes (Ed25519, signature type 0x01), and the
 * text forms of the keys: vkey for everybody, skey for the signer alone.
 * chancery-journal(5), CHECKPOINT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

#define NOTE_NAME_MAX 255
/* A note with more bytes than this is not read. */
#define NOTE_MAX 16384

/* Types of signatures, in key ids and vkeys (C2SP signed-note). */
enum note_type { NOTE_ED25519 = 0x01, NOTE_COSIGNATURE = 0x04 };

struct note_vkey {
	struct view name; /* borrowed from the text */
	uint32_t id;
	uint8_t public[CRYPTO_PUBLIC_LEN];
};

struct note {
	struct view body; /* the three lines, what is signed */
	struct view origin;
	uint64_t size;
	uint8_t root[32];
	struct view signatures; /* the lines below the blank one */
};

/* Not empty, UTF-8, no spaces or controls, no '+'; at most NOTE_NAME_MAX. */
bool note_name_valid(struct view name);

/* "name+id+base64(0x01 || public key)" (C2SP signed-note). */
void note_put_vkey(
    struct buf *b, struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN]);
/* False when malformed or when the key id does not belong to the key. */
bool note_parse_vkey(struct view text, struct note_vkey *out);
/* The same for keys of another type. */
void note_put_typed_vkey(struct buf *b, enum note_type type, struct view name,
    const uint8_t public[CRYPTO_PUBLIC_LEN]);
bool note_parse_typed_vkey(
    struct view text, enum note_type type, struct note_vkey *out);
uint32_t note_typed_id(enum note_type type, struct view name,
    const uint8_t public[CRYPTO_PUBLIC_LEN]);
/* "PRIVATE+KEY+name+id+base64(0x01 || seed)", for the signer's key file. */
void note_put_skey(struct buf *b, struct view name,
    const uint8_t seed[CRYPTO_SEED_LEN],
    const uint8_t public[CRYPTO_PUBLIC_LEN]);
/* False when malformed; name is borrowed. */
bool note_parse_skey(struct view text, struct view *name, uint32_t *id,
    uint8_t seed[CRYPTO_SEED_LEN]);
/* First four bytes of SHA-256(name || LF || 0x01 || key). */
uint32_t note_key_id(struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN]);

/* The body: origin, size and root, one a line. */
void note_put_body(
    struct buf *b, struct view origin, uint64_t size, const uint8_t root[32]);
/* False when it is not exactly that; views are borrowed. */
bool note_parse_body(struct view body, struct note *out);
/* Appends body, blank line and one signature line; false: cannot sign. */
bool note_sign(struct buf *b, struct view body, struct view name,
    const struct crypto_key *key);
/* Whether it is a note of a checkpoint; says nothing about signatures. */
bool note_parse(struct view text, struct note *out, const char **why);
/* Takes a line with its LF off the front; false at the end. */
bool note_next_line(struct view *text, struct view *line);
/* Appends it with the lines alone that bear the name of its origin. */
void note_put_own(struct buf *b, const struct note *n);
/* Appends it with the key's own lines alone, as it was when it was signed. */
void note_put_bare(
    struct buf *b, const struct note *n, const struct note_vkey *key);
/*
 * Whether the key signed the note: a line with its name and id is there, and
 * every such line verifies. Lines of other keys are ignored.
 */
bool note_verify(
    const struct note *n, const struct note_vkey *key, const char **why);

#endif
