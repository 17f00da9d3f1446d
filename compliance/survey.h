#ifndef COMPLIANCE_SURVEY_H
#define COMPLIANCE_SURVEY_H

/*
 * What a purge would take now, and why everything else that has a payload
 * stays. Changes nothing; works a part a turn of the loop.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"

#include "compliance/ranges.h"

/* Records with one fate. */
struct survey_group {
	const char *reason; /* NULL: they would go */
	char detail[48];    /* adapter, class, hold; "" when there is none */
	uint64_t records, bytes, first, last;
};

struct survey_result {
	const struct survey_group *group;
	size_t groups;
	const struct range *range; /* what would go; not all when `more` */
	size_t ranges;
	bool more;
};

/* The result lives for the call; failure: NULL, or why there is none. */
typedef void survey_cb(
    void *arg, const struct survey_result *result, const char *failure);

/* Calls exactly once; the loop must turn on until then. */
void survey_start(uv_loop_t *loop, const struct conf *conf, const char *journal,
    survey_cb *cb, void *arg);

#endif
