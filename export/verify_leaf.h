#ifndef EXPORT_VERIFY_LEAF_H
#define EXPORT_VERIFY_LEAF_H

/* The verifier's own reader of leaf texts, strict (chancery-journal(5)). */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define VERIFY_PARTS_MAX 8
#define VERIFY_FIELDS_MAX 64
#define VERIFY_KIND_POST 3
#define VERIFY_KIND_CONTROL 128 /* from here on: control records */

enum verify_kind {
	VERIFY_KIND_OPEN = 128,
	VERIFY_KIND_BATCH = 129,
	VERIFY_KIND_ACK = 130,
	VERIFY_KIND_PURGE = 131,
	VERIFY_KIND_INCIDENT = 132,
	VERIFY_KIND_BEAT = 133,
	VERIFY_KIND_POLICY = 134,
	VERIFY_KIND_KEY = 135,
	VERIFY_KIND_SEAL = 136,
	VERIFY_KIND_CLOCK = 137,
	VERIFY_KIND_HOLD = 138,
	VERIFY_KIND_RELEASE = 139,
	VERIFY_KIND_RECOVER = 140,
	VERIFY_KIND_ANCHOR = 141,
	VERIFY_KIND_LATE = 142,
	VERIFY_KIND_DROP = 143,
	VERIFY_KIND_AUDIT = 144,
	VERIFY_KIND_APPROVE = 145,
	VERIFY_KIND_CONFLICT = 146,
};

/* A line "name value" of a control record; views into the leaf text. */
struct verify_field {
	struct view name;
	struct view value;
};

struct verify_leaf {
	uint64_t seq;
	uint64_t at;
	uint64_t boot;
	uint8_t boot_id[8];
	unsigned kind;
	unsigned flags; /* 1: clock held back */
	unsigned parts;
	unsigned fields;
	bool known; /* the kind is one of version 1 */
	uint8_t commitment[VERIFY_PARTS_MAX][32];
	struct verify_field field[VERIFY_FIELDS_MAX];
};

/* False with the line (from 1) and the reason. `out` borrows from text. */
bool verify_leaf_parse(struct view text, struct verify_leaf *out,
    unsigned *line, const char **why);
/* Value of the i-th field as a number; false when it is none. */
bool verify_leaf_number(const struct verify_leaf *l, unsigned i, uint64_t *out);
/* "join" ... "policy"; NULL for a kind without a name. */
const char *verify_kind_name(unsigned kind);
/* SHA-256(0x00 || text), RFC 6962. */
void verify_leaf_hash(struct view text, uint8_t out[32]);
/* SHA-256("part/1\n" || salt || data). */
void verify_commitment(struct view salt, struct view data, uint8_t out[32]);

#endif
