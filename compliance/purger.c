#include "compliance/purger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#include "compliance/ledger.h"
#include "compliance/scan.h"

#define CHUNK_RECORDS 10000
#define WAIT_MAX_MS 60000 /* the clock may be set meanwhile */

/* How far one required adapter's batches release the journal. */
struct reach {
	const char *adapter;
	uint64_t n;   /* newest batch that was counted */
	uint64_t end; /* first record that it does not release */
};

struct purger {
	const struct purger_env *env;
	uv_timer_t timer;
	struct scan *scan;
	struct ledger *ledger;
	struct reach *reaches;
	size_t count;
	bool asked; /* the keeper has not answered yet */
	unsigned refusals;
	uint64_t not_before;
	char failure[256];
};

static void attempt(struct purger *p);

static uint64_t
clock_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

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
		attempt(p);
		return;
	case KEEPER_REFUSED:
		give_up(p, "the keeper refuses", why);
		return;
	case KEEPER_LOST:
		return; /* kicked when the keeper is there again */
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

/* The newest batch with first <= seq, by halving; 0 when there is none. */
static int
find_batch(struct purger *p, const char *adapter, uint64_t newest, uint64_t seq,
    uint64_t *out)
{
	uint64_t low = 0, high = newest;
	struct ledger_batch b;

	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (ledger_get(p->ledger, adapter, middle, &b) != 1)
			return -1;
		if (b.first <= seq)
			low = middle;
		else
			high = middle - 1;
	}
	*out = low;
	return 0;
}

/* Where counting begins: everything before is purged already. */
static int
start_reach(struct purger *p, struct reach *r, uint64_t purged_to)
{
	struct scan_cursor cursor;
	uint64_t n;

	if (r->end > 0)
		return 0;
	if (scan_cursor(p->scan, r->adapter, &cursor) != 0 ||
	    find_batch(p, r->adapter, cursor.acked_n, purged_to, &n) != 0)
		return -1;
	r->n = n > 0 ? n - 1 : 0;
	return 0;
}

static void
wait_at_most(uint64_t *wait_ms, uint64_t ms)
{
	if (ms < *wait_ms)
		*wait_ms = ms;
}

/*
 * Counts the batches that are stored, signed and old enough. *wait_ms: when
 * to look again because the next one lacks only time or a signature.
 */
static int
extend_reach(
    struct purger *p, struct reach *r, uint64_t signed_size, uint64_t *wait_ms)
{
	uint64_t after = (uint64_t)p->env->conf->purge_after_s * 1000000;
	uint64_t now = clock_us();
	struct ledger_batch b;
	int got;

	while ((got = ledger_get(p->ledger, r->adapter, r->n + 1, &b)) == 1 &&
	    b.stored) {
		if (b.ack_seq >= signed_size || now < b.ack_at) {
			wait_at_most(wait_ms, p->env->poll_ms);
			break;
		}
		if (now - b.ack_at < after) {
			wait_at_most(
			    wait_ms, (after - (now - b.ack_at)) / 1000 + 1);
			break;
		}
		r->n++;
		r->end = b.last + 1;
	}
	return got < 0 ? -1 : 0;
}

/* End of what all required adapters release; 0: nothing. */
static int
released(struct purger *p, uint64_t purged_to, uint64_t *end, uint64_t *wait_ms)
{
	struct buf note;
	uint64_t signed_size;
	int r;

	buf_init(&note);
	r = scan_note(p->scan, &signed_size, &note);
	buf_release(&note);
	if (r != 0)
		return -1;
	*end = UINT64_MAX;
	for (size_t i = 0; i < p->count; i++) {
		struct reach *reach = &p->reaches[i];

		if (start_reach(p, reach, purged_to) != 0 ||
		    extend_reach(p, reach, signed_size, wait_ms) != 0)
			return -1;
		if (reach->end < *end)
			*end = reach->end;
	}
	return 0;
}

static void
ask(struct purger *p, uint64_t first, uint64_t end)
{
	const struct range r = {first,
	    end - first > CHUNK_RECORDS ? first + CHUNK_RECORDS - 1 : end - 1};

	p->asked = keeper_link_purge(p->env->keeper, &r, 1, on_answer, p);
	if (p->asked)
		log_debug("purge: %" PRIu64 " to %" PRIu64, r.first, r.last);
}

static void
attempt(struct purger *p)
{
	uint64_t first, end;
	uint64_t wait_ms = UINT64_MAX;

	if (p->asked || p->count == 0 || p->env->conf->purge_after_s < 0 ||
	    uv_now(p->env->loop) < p->not_before || !open_journal(p))
		return;
	/* The first record that still has a payload. */
	first = scan_purged_to(p->scan);
	if (released(p, first, &end, &wait_ms) != 0) {
		give_up(
		    p, "journal", view_text("acknowledgements cannot be read"));
		return;
	}
	if (first < end)
		ask(p, first, end);
	else if (wait_ms != UINT64_MAX)
		try_again(p, wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
}

struct purger *
purger_new(const struct purger_env *env)
{
	struct purger *p = calloc(1, sizeof *p);
	const struct conf *conf = env->conf;

	if (p == NULL)
		return NULL;
	p->reaches = calloc(conf->adapter_count + 1, sizeof *p->reaches);
	if (p->reaches == NULL) {
		free(p);
		return NULL;
	}
	p->env = env;
	for (size_t i = 0; i < conf->adapter_count; i++)
		if (conf->adapters[i].required)
			p->reaches[p->count++].adapter = conf->adapters[i].name;
	(void)uv_timer_init(env->loop, &p->timer); /* always 0 */
	p->timer.data = p;
	return p;
}

void
purger_kick(struct purger *p)
{
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
	free(p->reaches);
	uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
