#ifndef COMPLIANCE_REACH_H
#define COMPLIANCE_REACH_H

/*
 * How far the acknowledgements of all required adapters release the journal
 * after some time. Batch by batch, each counted once.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

#include "compliance/ledger.h"
#include "compliance/scan.h"

/* Of one adapter. */
struct reach_adapter {
	const char *adapter;
	uint64_t n;   /* newest batch that was counted */
	uint64_t end; /* first record that it does not release */
	bool started;
};

struct reach {
	int64_t after_s;
	struct reach_adapter *adapter;
	size_t count;
};

/* What stops it at the next batch. */
struct reach_stop {
	bool unsigned_;   /* its acknowledgement is not signed */
	uint64_t wait_ms; /* it becomes old enough; UINT64_MAX: not by time */
};

/* False when out of memory. */
bool reach_init(struct reach *r, const struct conf *conf, int64_t after_s);
void reach_release(struct reach *r);
/*
 * Counts the batches that are stored, covered by signed_size, and after_s
 * old; begins at record from. *end: the end of what all adapters release.
 * 0, or -1: the journal cannot be read.
 */
int reach_extend(struct reach *r, struct scan *scan, struct ledger *ledger,
    uint64_t from, uint64_t signed_size, uint64_t *end,
    struct reach_stop *stop);

#endif
