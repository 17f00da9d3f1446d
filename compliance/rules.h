#ifndef COMPLIANCE_RULES_H
#define COMPLIANCE_RULES_H

/*
 * What a batch, an acknowledgement and a purge must satisfy before they are
 * recorded, with the reason for people when they do not. The triggers of the
 * schema refuse the same once more, without words.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define RULES_PURGE_MAX 10000 /* records in one purge */

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

struct rules_purge {
	uint64_t first;
	uint64_t last;
	uint64_t applied;     /* the chat store holds users' events below */
	uint64_t signed_size; /* of the newest signed note */
	uint64_t now;         /* microseconds since 1970 */
	int64_t
	    after_s; /* retention after the last acknowledgement; -1: ever */
	const char *const *required; /* adapters that must have stored */
	size_t required_count;
};

/*
 * Whether the range may be purged now. Puts "adapter:seq,..." of the
 * youngest acknowledgement of each required adapter into acks.
 */
bool rules_purge(sqlite3 *db, const struct rules_purge *p, struct buf *acks,
    char *why, size_t why_len);

#endif
