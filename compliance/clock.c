#include "compliance/clock.h"

#include <string.h>

#include "base/file.h"

#include "compliance/leaf.h"

/* Between the two clocks the process may have to wait for the processor. */
#define SPREAD_US 1000
#define TRIES 8

static const struct clock_source machine = {clock_gettime, adjtimex};
static const struct clock_source *used = &machine;

void
clock_use(const struct clock_source *source)
{
	used = source != NULL ? source : &machine;
}

static uint64_t
get(clockid_t clock)
{
	struct timespec ts;

	if (used->gettime(clock, &ts) != 0 || ts.tv_sec < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_now(void)
{
	return get(CLOCK_REALTIME);
}

void
clock_read(struct clock_reading *out)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < TRIES && best > SPREAD_US; i++) {
		uint64_t before = get(CLOCK_BOOTTIME);
		uint64_t real = get(CLOCK_REALTIME);
		uint64_t spread = get(CLOCK_BOOTTIME) - before;

		if (spread >= best)
			continue;
		best = spread;
		out->real = real;
		out->boot = before;
	}
}

/* What the kernel does not tell counts as the worst. */
void
clock_put_state(struct buf *fields)
{
	struct timex t = {0};
	int state = used->adjtime(&t);
	bool sync =
	    state >= 0 && state != TIME_ERROR && (t.status & STA_UNSYNC) == 0;

	leaf_put_field(fields, "sync", view_text(sync ? "yes" : "no"));
	leaf_put_number(fields, "error",
	    state >= 0 && t.maxerror > 0 ? (uint64_t)t.maxerror : 0);
	leaf_put_number(
	    fields, "tai", state >= 0 && t.tai > 0 ? (uint64_t)t.tai : 0);
}

bool
clock_boot_id(char out[9])
{
	struct buf text;
	bool ok;

	buf_init(&text);
	ok = file_read("/proc/sys/kernel/random/boot_id", 64, &text) == 0 &&
	    text.len >= 8;
	if (ok) {
		memcpy(out, text.data, 8);
		out[8] = '\0';
	}
	buf_release(&text);
	return ok;
}
