#ifndef COMPLIANCE_CLOCK_H
#define COMPLIANCE_CLOCK_H

/*
 * The machine's clocks: the time of day, which may be set, beside the time
 * since the machine started, which may not; and what the kernel says of the
 * first.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/timex.h>
#include <time.h>

#include "base/buf.h"

/* Taken at one moment, as far as a process can. */
struct clock_reading {
	uint64_t real; /* microseconds since 1970, UTC */
	uint64_t boot; /* microseconds since the machine started */
};

void clock_read(struct clock_reading *out);
/* Time of day; microseconds since 1970. */
uint64_t clock_now(void);
/* Fields sync, error and tai of a control record. */
void clock_put_state(struct buf *fields);
/* The first eight digits of the machine's boot id; false: cannot be read. */
bool clock_boot_id(char out[9]);

/* For tests alone: clocks that they set. NULL: the machine's. */
struct clock_source {
	int (*gettime)(clockid_t clock, struct timespec *out);
	int (*adjtime)(struct timex *t);
};
void clock_use(const struct clock_source *source);

#endif
