#ifndef ADAPTERS_BAG_H
#define ADAPTERS_BAG_H

/*
 * A batch as a BagIt 1.0 bag (RFC 8493) in a zstd-compressed pax archive.
 * The same batch with the same note gives the same bytes. What is in it:
 * chancery-adapter(7), TARBALL.
 */

#include <stdbool.h>

#include "adapters/adapter.h"
#include "adapters/filing.h"
#include "adapters/spool.h"

/* As filing_format.write; the bag's folder is path's name without suffix. */
bool bag_write(struct adapter *a, const struct adapter_config *c,
    const struct adapter_batch *b, struct spool *s, const char *path,
    struct adapter_receipt *r);
/* As filing_format.read: the events of data/records.jsonl. */
bool bag_read(int fd, filing_event_cb *cb, void *arg, struct buf *why);

#define BAG_SUFFIX ".tar.zst"

#endif
