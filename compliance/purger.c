#include "compliance/purger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "compliance/ledger.h"
#include "compliance/plan.h"
#include "compliance/retention.h"
#include "compliance/scan.h"

#define LOOK_RECORDS 10000 /* at once; then other work has its turn */
#define PAUSE_MS 5         /* posts that waited for the keeper come first */
#define WAIT_MAX_MS 60000  /* the clock may be set meanwhile */

/* Somebody who waits until there is nothing more to purge. */
struct waiter {
	struct waiter *next;
	purger_done_cb *cb;
	void *arg;
	uint64_t purges, records;
};

struct purger {
	const struct purger_env *env;
	uv_timer_t timer;
	struct scan *scan;
	struct ledger *ledger;
	struct plan *plan;
	struct waiter *waiters;
	unsigned waiter_count;
	bool required;
	bool asked; /* the keeper has not answered yet */
	uint64_t asked_records;
	unsigned refusals;
	uint64_t not_before;
	char failure[WIRE_WHY_LEN + 128];
};

static void attempt(struct purger *p);

static void
on_timer(uv_timer_t *timer)
{
	attempt(timer->data);
}

static void
try_again(struct purger *p, uint64_t ms)
{
	(void)uv_timer_start(&p->timer, on_timer, ms, 0); /* always 0 */
}

static void
tell_waiters(struct purger *p, const char *failure)
{
	while (p->waiters != NULL) {
		struct waiter *w = p->waiters;

		p->waiters = w->next;
		p->waiter_count--;
		w->cb(w->arg, w->purges, w->records, failure);
		free(w);
	}
}

static void
count_purge(struct purger *p)
{
	for (struct waiter *w = p->waiters; w != NULL; w = w->next) {
		w->purges++;
		w->records += p->asked_records;
	}
}

/* Says a reason once, and tries again ever more slowly. */
static void
give_up(struct purger *p, const char *what, struct view why)
{
	char text[sizeof p->failure];
	uint64_t delay = p->env->backoff_ms;

	(void)snprintf(text, sizeof text, "%s: %.*s", what, (int)why.n,
	    (const char *)why.p);
	if (strcmp(text, p->failure) != 0)
		log_warn("purge: %s", text);
	(void)snprintf(p->failure, sizeof p->failure, "%s", text);
	for (unsigned i = 0; i < p->refusals; i++)
		if (delay < p->env->backoff_max_ms)
			delay *= 2;
	if (delay > p->env->backoff_max_ms)
		delay = p->env->backoff_max_ms;
	p->refusals++;
	p->not_before = uv_now(p->env->loop) + delay;
	try_again(p, delay);
	tell_waiters(p, p->failure);
}

static void
on_answer(void *arg, enum keeper_answer a, struct view why)
{
	struct purger *p = arg;

	p->asked = false;
	switch (a) {
	case KEEPER_RECORDED:
		p->refusals = 0;
		p->failure[0] = '\0';
		plan_gone(p->plan);
		count_purge(p);
		try_again(p, PAUSE_MS);
		return;
	case KEEPER_REFUSED:
		give_up(p, "the keeper refuses", why);
		return;
	case KEEPER_LOST:
		tell_waiters(p, "the keeper ended");
		return; /* kicked when it is there again */
	}
}

static bool
open_journal(struct purger *p)
{
	char why[256];

	if (p->scan == NULL)
		p->scan = scan_open(p->env->journal, false, why, sizeof why);
	if (p->scan != NULL && p->ledger == NULL)
		p->ledger = ledger_open(p->env->journal, why, sizeof why);
	if (p->ledger == NULL)
		give_up(p, "journal", view_text(why));
	return p->ledger != NULL;
}

static void
ask(struct purger *p)
{
	size_t count;
	const struct range *r = plan_ranges(p->plan, &count);

	p->asked_records = 0;
	for (size_t i = 0; i < count; i++)
		p->asked_records += r[i].last - r[i].first + 1;
	p->asked = keeper_link_purge(p->env->keeper, r, count, on_answer, p);
	if (p->asked)
		log_debug("purge: %" PRIu64 " to %" PRIu64, r[0].first,
		    r[count - 1].last);
	else
		tell_waiters(p, "the keeper is not running");
}

static void
wait_for_more(struct purger *p)
{
	uint64_t ms = plan_wait_ms(p->plan);

	p->refusals = 0;
	p->failure[0] = '\0';
	if (plan_unsigned(p->plan) && ms > p->env->poll_ms)
		ms = p->env->poll_ms;
	if (ms != UINT64_MAX)
		try_again(p, ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS);
	tell_waiters(p, NULL);
}

static void
attempt(struct purger *p)
{
	if (p->asked || uv_now(p->env->loop) < p->not_before)
		return;
	if (!p->required || retention_shortest(p->env->conf) < 0) {
		tell_waiters(p, "the configuration keeps all records");
		return;
	}
	if (!open_journal(p))
		return;
	switch (plan_step(
	    p->plan, &(struct plan_view){p->scan, p->ledger}, LOOK_RECORDS)) {
	case PLAN_FOUND:
		ask(p);
		return;
	case PLAN_MORE:
		try_again(p, PAUSE_MS);
		return;
	case PLAN_DONE:
		wait_for_more(p);
		return;
	case PLAN_FAILED:
		give_up(p, "journal cannot be read",
		    view_text(scan_error(p->scan)[0] != '\0'
			    ? scan_error(p->scan)
			    : ledger_error(p->ledger)));
		return;
	}
}

void
purger_run(struct purger *p, purger_done_cb *cb, void *arg)
{
	struct waiter *w;

	if (p->waiter_count == PURGER_WAITERS_MAX) {
		cb(arg, 0, 0, "so many wait for a purge already: try later");
		return;
	}
	w = calloc(1, sizeof *w);
	if (w == NULL) {
		cb(arg, 0, 0, "out of memory");
		return;
	}
	p->waiter_count++;
	w->cb = cb;
	w->arg = arg;
	w->next = p->waiters;
	p->waiters = w;
	p->not_before = 0;
	attempt(p);
}

struct purger *
purger_new(const struct purger_env *env)
{
	struct purger *p = calloc(1, sizeof *p);
	const struct conf *conf = env->conf;

	if (p == NULL)
		return NULL;
	p->plan = plan_new(conf);
	if (p->plan == NULL) {
		free(p);
		return NULL;
	}
	p->env = env;
	for (size_t i = 0; i < conf->adapter_count; i++)
		p->required |= conf->adapters[i].required;
	(void)uv_timer_init(env->loop, &p->timer); /* always 0 */
	p->timer.data = p;
	return p;
}

void
purger_kick(struct purger *p)
{
	attempt(p);
}

void
purger_wake(struct purger *p)
{
	p->refusals = 0;
	p->not_before = 0;
	attempt(p);
}

const char *
purger_failure(const struct purger *p)
{
	return p->failure;
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
purger_free(struct purger *p)
{
	if (p == NULL)
		return;
	scan_close(p->scan);
	ledger_close(p->ledger);
	plan_free(p->plan);
	while (p->waiters != NULL) {
		struct waiter *w = p->waiters;

		p->waiters = w->next;
		free(w);
	}
	uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
