#ifndef COMPLIANCE_LEAF_H
#define COMPLIANCE_LEAF_H

/*
 * The text that the tree is built over, one leaf a record, and the salted
 * commitments inside it. chancery-journal(5), LEAF.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define LEAF_PARTS_MAX 8
#define LEAF_SALT_LEN 32
/* Longest text of the fields of one control record. */
#define LEAF_FIELDS_MAX 16384

/* The clock was behind the record before: time is that record's plus one. */
#define LEAF_TIME_HELD 1U

struct leaf_head {
	uint64_t seq;
	unsigned kind;
	uint64_t at;   /* microseconds since 1970, UTC; strictly increasing */
	uint64_t boot; /* microseconds since the machine started */
	char boot_id[9];
	unsigned flags;
};

struct leaf {
	struct leaf_head head;
	unsigned parts; /* 0 for control records */
	uint8_t commitment[LEAF_PARTS_MAX][32];
	struct view fields; /* "name value\n"*, empty for user events */
};

/* A leaf is built by its head and then its parts or its fields. */
void leaf_put_head(struct buf *b, const struct leaf_head *head);
/* Part numbers go up from 0. */
void leaf_put_part(struct buf *b, unsigned part, const uint8_t commitment[32]);
/* One field; bytes outside the alphabet of values are percent-encoded. */
void leaf_put_field(struct buf *b, const char *name, struct view value);
/* The same with a decimal number. */
void leaf_put_number(struct buf *b, const char *name, uint64_t value);

/* SHA-256("part/1\n" || salt || data) */
void leaf_commit(
    const uint8_t salt[LEAF_SALT_LEN], struct view data, uint8_t out[32]);

/* Accepts exactly what the functions above make; else false and the reason. */
bool leaf_parse(struct view text, struct leaf *out, const char **why);
/* Whether text is well-formed "name value\n"*, at most LEAF_FIELDS_MAX long. */
bool leaf_fields_valid(struct view text);
/*
 * Takes the next field off the front of well-formed fields; false at the end.
 * The value is still percent-encoded.
 */
bool leaf_next_field(
    struct view *fields, struct view *name, struct view *value);
/* The first field of that name; false when there is none. */
bool leaf_field(struct view fields, const char *name, struct view *value);
/* Its decoded value, for the caller to free; NULL also when malformed. */
char *leaf_field_dup(struct view fields, const char *name);
/* False also when it is no number as leaf_put_number() writes it. */
bool leaf_field_number(struct view fields, const char *name, uint64_t *value);

#endif
