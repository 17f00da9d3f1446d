#ifndef ADAPTERS_ARCHIVE_H
#define ADAPTERS_ARCHIVE_H

/*
 * What the adapters that keep one file a batch have in common: the batch's
 * spool, the name of its file, and what to do when that file is there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/adapter.h"
#include "adapters/spool.h"

#define ARCHIVE_NAME_MAX 192

/* Takes the events of an archive in their order; false stops the reading. */
typedef bool archive_event_cb(void *arg, const struct adapter_event *e);

struct archive_format {
	const char *suffix; /* ".xml" */
	/* Writes the file at path, synced, and fills in the receipt's hash. */
	bool (*write)(struct adapter *a, const struct adapter_config *c,
	    const struct adapter_batch *b, struct spool *s, const char *path,
	    struct adapter_receipt *r);
	/*
	 * Gives every event of the open file to cb; false with the reason in
	 * why (none when cb stopped it).
	 */
	bool (*read)(int fd, archive_event_cb *cb, void *arg, struct buf *why);
};

struct archive {
	const struct archive_format *format;
	const struct adapter_config *config;
	char suffix[64]; /* of the origin: tells journals apart in names */
	uint64_t first_at;
	struct spool *spool;
};

/* The adapter callbacks; self is a struct archive. */
bool archive_configure(void *self, struct adapter *a,
    const struct adapter_config *c, struct adapter_offer *offer);
bool archive_begin(
    void *self, struct adapter *a, const struct adapter_batch *b);
bool archive_event(
    void *self, struct adapter *a, const struct adapter_event *e);
bool archive_end(void *self, struct adapter *a, const struct adapter_batch *b,
    struct adapter_receipt *r);
void archive_abandon(void *self);
bool archive_readback(void *self, struct adapter *a,
    const struct adapter_request *q, uint8_t sha256[ADAPTER_HASH_LEN]);

/*
 * "<first event's time>-<end of the origin>-<adapter>-<batch>": sorts by
 * time, one for each batch. False when it does not fit or the origin's end
 * is no plain name.
 */
bool archive_name(const struct adapter_config *c, uint64_t at, uint64_t batch,
    struct buf *out);

#endif
