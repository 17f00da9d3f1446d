#ifndef COMPLIANCE_RULES_H
#define COMPLIANCE_RULES_H

/*
 * What the engine's records must satisfy before they are recorded, with the
 * reason for people when they do not. The triggers of the schema refuse the
 * same of batches and acknowledgements once more, without words. Purges:
 * purge_rules.h.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct rules_batch {
	char adapter[33];
	uint64_t n;
	uint64_t first;
	uint64_t last;
	uint64_t size;    /* of the tree whose root is told */
	struct view root; /* base64 */
};

struct rules_ack {
	char adapter[33];
	uint64_t n;
	char state[9];
};

/*
 * Read a record's fields: exactly the fields of the kind, in order. False
 * with the reason when a field is malformed or contradicts the journal.
 * size: of the journal.
 */
bool rules_read_batch(sqlite3 *db, struct view fields, uint64_t size,
    struct rules_batch *out, char *why, size_t why_len);
bool rules_read_ack(sqlite3 *db, struct view fields, struct rules_ack *out,
    char *why, size_t why_len);
/* The same of records that leave no row. */
bool rules_check_anchor(
    struct view fields, uint64_t size, char *why, size_t why_len);
bool rules_check_audit(
    struct view fields, uint64_t size, char *why, size_t why_len);

#endif
