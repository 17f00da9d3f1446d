#ifndef COMPLIANCE_PLAN_H
#define COMPLIANCE_PLAN_H

/*
 * Which records may go next. Each different retention time has a pass of its
 * own over the journal, which goes on where it stood: a record is looked at
 * once in each pass, however long others stay among those that went. Only the
 * end of a hold makes them begin anew.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

#include "compliance/approval.h"
#include "compliance/hold.h"
#include "compliance/ledger.h"
#include "compliance/purge_rules.h"
#include "compliance/scan.h"

/* Records from the first to the last of a purge: posts wait for that long. */
#define PLAN_SPAN 1000

enum plan_result {
	PLAN_FOUND,  /* ranges that may go */
	PLAN_MORE,   /* none yet: call again */
	PLAN_DONE,   /* nothing may go now; wait_ms until something may */
	PLAN_FAILED, /* the journal cannot be read */
};

struct plan;

/* What is known besides the journal's records; borrowed for the call. */
struct plan_view {
	struct scan *scan;
	struct ledger *ledger;
};

/* NULL when out of memory. */
struct plan *plan_new(const struct conf *conf);
/* Looks at so many records at most. */
enum plan_result plan_step(
    struct plan *p, const struct plan_view *view, unsigned budget);
/* Of the last PLAN_FOUND; and what was found has gone. */
const struct range *plan_ranges(const struct plan *p, size_t *count);
void plan_gone(struct plan *p);
/* Of the last PLAN_DONE: UINT64_MAX when no time helps. */
uint64_t plan_wait_ms(const struct plan *p);
/* Of the last PLAN_DONE: something waits for a signature. */
bool plan_unsigned(const struct plan *p);
/* NULL is allowed. */
void plan_free(struct plan *p);

/* Ranges under construction: records in order, with what lies between. */
struct plan_ranges {
	struct range *range; /* room for PLAN_SPAN */
	size_t count, text;  /* bytes of the text so far, at most */
	bool joined; /* nothing but control records since the last one */
};

#endif
