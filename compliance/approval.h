#ifndef COMPLIANCE_APPROVAL_H
#define COMPLIANCE_APPROVAL_H

/*
 * Who released which records for purging: of each person the approve record
 * that reaches farthest. Read from the journal, each record once.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct approval {
	char by[32];
	uint64_t below, seq;
};

/* Zeroed: nothing read yet. */
struct approvals {
	struct approval *person;
	size_t count;
	uint64_t next; /* first record not read */
};

/* Reads what was recorded since the last time. 0, or -1. */
int approvals_read(struct approvals *a, sqlite3 *db);
/* End of the records that at least `persons` released; 0: none. */
uint64_t approvals_below(const struct approvals *a, unsigned persons);
/*
 * Puts the approve records of so many persons for records up to last, with
 * commas between. False when there are not so many.
 */
bool approvals_put(const struct approvals *a, unsigned persons, uint64_t last,
    struct buf *out);
void approvals_release(struct approvals *a);

#endif
