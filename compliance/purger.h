#ifndef COMPLIANCE_PURGER_H
#define COMPLIANCE_PURGER_H

/*
 * Asks the keeper to remove the payloads that every required adapter has
 * stored, when the retention time after the last of those acknowledgements
 * is over. The keeper checks all of it again and decides.
 */

#include <stdint.h>
#include <uv.h>

#include "base/conf.h"
#include "compliance/keeper_link.h"

struct purger;

/* What it needs; outlives it. */
struct purger_env {
	uv_loop_t *loop;
	const char *journal; /* path of the journal, opened for reading */
	const struct conf *conf;
	struct keeper_link *keeper;
	uint64_t backoff_ms; /* after the first refusal; doubles */
	uint64_t backoff_max_ms;
	uint64_t poll_ms; /* pace while a signature is awaited */
};

/* NULL when out of memory. */
struct purger *purger_new(const struct purger_env *env);
/* Something was acknowledged, or the keeper is there again. */
void purger_kick(struct purger *p);
/* What a refused purge may have waited for is there: no delay runs. */
void purger_wake(struct purger *p);
#define PURGER_WAITERS_MAX 16

/*
 * Purges all that may go now, and calls when nothing more may: how many
 * purges and records since, and why it ended early, or NULL. At once
 * when too many wait already.
 */
typedef void purger_done_cb(
    void *arg, uint64_t purges, uint64_t records, const char *failure);
void purger_run(struct purger *p, purger_done_cb *cb, void *arg);
/* Why the last attempt did not succeed, "" when it did. */
const char *purger_failure(const struct purger *p);
/* The loop must turn once more. */
void purger_free(struct purger *p);

#endif
