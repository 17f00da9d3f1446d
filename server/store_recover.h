#ifndef SERVER_STORE_RECOVER_H
#define SERVER_STORE_RECOVER_H

/* chat.db cut back to what a journal holds that lost records. */

#include <stddef.h>
#include <stdint.h>

#include "server/store.h"

struct scan;

struct store_cut {
	uint64_t messages; /* that the journal does not hold: gone */
	uint64_t again;    /* rooms, members and users to be recorded again */
};

/*
 * Forgets every message, and who is in which room, but what the journal does
 * not hold the payload of any more because it was purged; all the rest is
 * told again when the daemon starts. Rooms, members and users stay: what no
 * record tells of waits to be recorded before anybody signs in. 0, or -1 with
 * the reason; then nothing was changed.
 */
int store_cut_back(struct store *s, struct scan *journal, const char *by,
    struct store_cut *out, char *why, size_t why_len);

#endif
