#ifndef SERVER_STORE_PURGE_H
#define SERVER_STORE_PURGE_H

/* What the journal has purged leaves chat.db, too. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "compliance/ranges.h"
#include "server/store_chat.h"

/*
 * Drops the messages of a purge record, with the next commit; a failure is
 * remembered in the store. False: the ranges are malformed.
 */
bool store_purge(struct store *s, uint64_t seq, struct view ranges);
/* First purge record that was not heard of; as of the last commit or write. */
uint64_t store_gone(struct store *s);
/* Makes what was dropped leave the files: 0, or -1: try again later. */
int store_wipe(struct store *s);

#endif
