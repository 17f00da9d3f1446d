#ifndef COMPLIANCE_PURGE_RULES_H
#define COMPLIANCE_PURGE_RULES_H

/*
 * What a purge must satisfy before it is recorded, with the reason for
 * people when it does not. The triggers of the schema refuse most of it once
 * more, without words.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"

#include "compliance/approval.h"
#include "compliance/hold.h"
#include "compliance/ranges.h"

#define PURGE_RULES_SPAN 10000 /* records from the first to the last */
#define PURGE_RULES_TEXT 12000 /* bytes of the ranges' text */

struct purge_rules {
	const struct range *ranges;
	size_t count;
	uint64_t applied;     /* the chat store holds users' events below */
	uint64_t signed_size; /* of the newest signed note */
	uint64_t now;         /* microseconds since 1970 */
	const struct conf *conf;
	const struct holds *holds;   /* in force */
	struct approvals *approvals; /* are read as far as they go now */
	const char *const *required; /* adapters that must have stored */
	size_t required_count;
};

/* What the record tells besides; the buffers are the caller's. */
struct purge_facts {
	struct buf acks;      /* "adapter:seq,..." */
	struct buf approvals; /* sequence numbers, "-" when none is needed */
	uint64_t held;        /* records between that a hold keeps */
	uint64_t hold;        /* newest hold or release record; 0: none */
	uint64_t policy;      /* newest policy record */
	uint64_t anchor;      /* checkpoint in other hands; 0: none needed */
};

void purge_facts_init(struct purge_facts *f);
void purge_facts_release(struct purge_facts *f);
/* Whether the ranges may be purged now. */
bool purge_rules_check(sqlite3 *db, const struct purge_rules *p,
    struct purge_facts *out, char *why, size_t why_len);

#endif
