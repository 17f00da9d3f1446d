#ifndef COMPLIANCE_AUDIT_H
#define COMPLIANCE_AUDIT_H

/*
 * Reads the journal through again and again, a tile's worth of records at a
 * time, and compares leaves, payloads, tiles and roots. What is found goes
 * to the log and, as audit records, to the keeper.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "compliance/keeper_link.h"
#include "compliance/scan.h"

struct audit;

struct audit_env {
	uv_loop_t *loop;
	const char *journal; /* its path */
	struct keeper_link *keeper;
	unsigned period_s; /* for one reading; 0: on demand only */
};

struct audit_status {
	bool running;      /* a reading on demand is under way */
	uint64_t position; /* records read in this round */
	uint64_t size;     /* of the journal, as far as it is known */
	uint64_t since;    /* when this round began, 0: not yet */
	uint64_t
	    whole_at;     /* end of the last round that found all whole; or 0 */
	uint64_t done_at; /* end of the last round in this life; or 0 */
	bool done_whole;
	uint64_t broken;     /* findings in this round, or else the last */
	const char *finding; /* the newest, "" when there is none */
};

/* The environment outlives it. NULL when out of memory. */
struct audit *audit_new(const struct audit_env *env);
/* The journal can be read; scan tells what earlier audits said. */
void audit_start(struct audit *a, struct scan *scan);
/* Reads all now. */
void audit_run(struct audit *a);
void audit_status(const struct audit *a, struct audit_status *out);
/* NULL is allowed. The loop must turn once more. */
void audit_free(struct audit *a);

#endif
