#ifndef EXPORT_VERIFY_CLOCK_H
#define EXPORT_VERIFY_CLOCK_H

/*
 * Time and silence: whether the clock and the beats of a journal keep their
 * rules, and what they tell that is no breach: silences, a clock that was set
 * or not synchronised, refusals, audits that found something.
 */

#include <stdbool.h>
#include <stdint.h>

#include "export/verify_leaf.h"
#include "export/verify_report.h"

/* Begins as zeros. */
struct verify_clock {
	bool known; /* something of the record before */
	uint8_t boot_id[8];
	bool offset_known; /* of that boot */
	int64_t offset;    /* real minus boot time */
	uint64_t at, boot; /* of the record before */

	bool counting; /* all records since the last beat were seen */
	uint64_t events;
	struct {
		bool known;
		uint64_t seq, at, boot, every_s;
		uint8_t boot_id[8];
	} beat;
	/* What came since that may explain a silence; UINT64_MAX: nothing. */
	uint64_t restart, incident;
	struct {
		uint64_t first, last, beats;
	} unsynchronised;
};

/* The next record; one that is missing or malformed: verify_clock_gap(). */
void verify_clock_take(struct verify_clock *c, const struct verify_leaf *l,
    struct verify_report *r);
void verify_clock_gap(struct verify_clock *c);
/* After the last. */
void verify_clock_finish(struct verify_clock *c, struct verify_report *r);

#endif
