#ifndef COMPLIANCE_LEDGER_H
#define COMPLIANCE_LEDGER_H

/*
 * What was handed to the adapters and what they acknowledged, batch by batch,
 * read from the live journal, whose segment 0 is named. Every call is a read
 * of its own: no snapshot is held between calls.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct ledger;

struct ledger_batch {
	uint64_t first, last;
	bool acked;
	bool stored; /* acknowledged as stored */
	uint64_t ack_seq;
	uint64_t ack_at; /* microseconds since 1970, UTC */
};

/* NULL with the reason in why. */
struct ledger *ledger_open(const char *path, char *why, size_t why_len);
/* Batch n of the adapter: 1; 0 when there is none; -1: ledger_error(). */
int ledger_get(struct ledger *l, const char *adapter, uint64_t n,
    struct ledger_batch *out);
/* Appends the text of a record that is no user event; as above. */
int ledger_leaf(struct ledger *l, uint64_t seq, struct buf *out);
/* The newest file, for reading, until the next call; NULL: ledger_error(). */
struct sqlite3 *ledger_db(struct ledger *l);
/* Why the last call failed; borrowed. */
const char *ledger_error(struct ledger *l);
/* NULL is allowed. */
void ledger_close(struct ledger *l);

#endif
