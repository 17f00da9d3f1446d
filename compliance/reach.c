#include "compliance/reach.h"

#include <stdlib.h>
#include <time.h>

static uint64_t
clock_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

bool
reach_init(struct reach *r, const struct conf *conf, int64_t after_s)
{
	*r = (struct reach){.after_s = after_s,
	    .adapter = calloc(conf->adapter_count + 1, sizeof *r->adapter)};
	if (r->adapter == NULL)
		return false;
	for (size_t i = 0; i < conf->adapter_count; i++)
		if (conf->adapters[i].required)
			r->adapter[r->count++].adapter = conf->adapters[i].name;
	return true;
}

void
reach_release(struct reach *r)
{
	free(r->adapter);
	*r = (struct reach){0};
}

/* The newest batch with first <= seq, by halving; 0 when there is none. */
static int
find_batch(struct ledger *ledger, const char *adapter, uint64_t newest,
    uint64_t seq, uint64_t *out)
{
	uint64_t low = 0, high = newest;
	struct ledger_batch b;

	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (ledger_get(ledger, adapter, middle, &b) != 1)
			return -1;
		if (b.first <= seq)
			low = middle;
		else
			high = middle - 1;
	}
	*out = low;
	return 0;
}

/* Where counting begins: nothing before `from` matters. */
static int
start(struct reach_adapter *a, struct scan *scan, struct ledger *ledger,
    uint64_t from)
{
	struct scan_cursor cursor;
	uint64_t n;

	if (a->started)
		return 0;
	if (scan_cursor(scan, a->adapter, &cursor) != 0 ||
	    find_batch(ledger, a->adapter, cursor.acked_n, from, &n) != 0)
		return -1;
	a->n = n > 0 ? n - 1 : 0;
	a->started = true;
	return 0;
}

static void
wait_at_most(struct reach_stop *stop, uint64_t ms)
{
	if (ms < stop->wait_ms)
		stop->wait_ms = ms;
}

static int
extend(struct reach_adapter *a, struct ledger *ledger, uint64_t after,
    uint64_t signed_size, struct reach_stop *stop)
{
	uint64_t now = clock_us();
	struct ledger_batch b;
	int got;

	while ((got = ledger_get(ledger, a->adapter, a->n + 1, &b)) == 1 &&
	    b.stored) {
		if (b.ack_seq >= signed_size || now < b.ack_at) {
			stop->unsigned_ = true;
			break;
		}
		if (now - b.ack_at < after) {
			wait_at_most(
			    stop, (after - (now - b.ack_at)) / 1000 + 1);
			break;
		}
		a->n++;
		a->end = b.last + 1;
	}
	return got < 0 ? -1 : 0;
}

int
reach_extend(struct reach *r, struct scan *scan, struct ledger *ledger,
    uint64_t from, uint64_t signed_size, uint64_t *end, struct reach_stop *stop)
{
	*stop = (struct reach_stop){.wait_ms = UINT64_MAX};
	*end = r->count == 0 ? 0 : UINT64_MAX;
	for (size_t i = 0; i < r->count; i++) {
		struct reach_adapter *a = &r->adapter[i];

		if (start(a, scan, ledger, from) != 0 ||
		    extend(a, ledger, (uint64_t)r->after_s * 1000000,
			signed_size, stop) != 0)
			return -1;
		if (a->end < *end)
			*end = a->end;
	}
	return 0;
}
