#ifndef ADAPTERS_FILING_H
#define ADAPTERS_FILING_H

/*
 * What the adapters that keep one file a batch have in common: the batch's
 * spool, the name of its file, and what to do when that file is there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/adapter.h"
#include "adapters/spool.h"

/* Takes the events of an archive in their order; false stops the reading. */
typedef bool filing_event_cb(void *arg, const struct adapter_event *e);

struct filing_format {
	const char *suffix; /* ".xml" */
	/* Writes the file at path, synced, and fills in the receipt's hash. */
	bool (*write)(struct adapter *a, const struct adapter_config *c,
	    const struct adapter_batch *b, struct spool *s, const char *path,
	    struct adapter_receipt *r);
	/*
	 * Gives every event of the open file to cb; false with the reason in
	 * why (none when cb stopped it).
	 */
	bool (*read)(int fd, filing_event_cb *cb, void *arg, struct buf *why);
};

struct filing {
	const struct filing_format *format;
	const struct adapter_config *config;
	uint64_t first_at;
	struct spool *spool;
};

/* The adapter callbacks; self is a struct filing. */
bool filing_configure(void *self, struct adapter *a,
    const struct adapter_config *c, struct adapter_offer *offer);
/* The callbacks that follow have their contracts in adapters/adapter.h. */
bool filing_begin(void *self, struct adapter *a, const struct adapter_batch *b);
bool filing_event(void *self, struct adapter *a, const struct adapter_event *e);
bool filing_end(void *self, struct adapter *a, const struct adapter_batch *b,
    struct adapter_receipt *r);
void filing_abandon(void *self);
bool filing_readback(void *self, struct adapter *a,
    const struct adapter_request *q, uint8_t sha256[ADAPTER_HASH_LEN]);

/*
 * "<first event's time>-<end of the origin>-<adapter>-<batch>": sorts by
 * time, one for each batch. False when it does not fit or the origin's end
 * is no plain name.
 */
bool filing_name(const struct adapter_config *c, uint64_t at, uint64_t batch,
    struct buf *out);

#endif
