#ifndef SERVER_DROPS_H
#define SERVER_DROPS_H

/*
 * Counts what the server refused without the keeper, and tells it to the
 * keeper again and again until that has it on record.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ipc.h"

#include "compliance/wire.h"

struct drops_count {
	uint64_t since, until, count; /* times in microseconds since 1970 */
};

/* Begins as zeros. */
struct drops {
	struct drops_count waiting[WIRE_DROPS_COUNT];
	struct drops_count sent[WIRE_DROPS_COUNT]; /* not known to be kept */
	uint64_t ref;                              /* of sent; 0: none is */
	uint64_t last_ref;
	/* Refused by a keeper that has yet to tell it in its own records. */
	struct drops_count theirs;
};

void drops_add(struct drops *d, enum wire_drop why);
/* The keeper refused an event while it could not write. */
void drops_add_theirs(struct drops *d);
/* It can write again, and has recorded what it refused. */
void drops_settle_theirs(struct drops *d);
/* It is gone: what it refused is for us to tell. */
void drops_take_theirs(struct drops *d);
/*
 * Whether there is something to tell that was not told on this link; fresh:
 * a new link, on which nothing was.
 */
bool drops_due(const struct drops *d, bool fresh);
/* Whether nothing waits that the keeper was never told. */
bool drops_all_told(const struct drops *d);
/* Sends a frame WIRE_DROPS. server: a number of this process. */
void drops_tell(struct drops *d, struct ipc *link, uint32_t server);
/* The same for what waits behind a frame that is not known to be kept. */
void drops_tell_last(struct drops *d, struct ipc *link, uint32_t server);
/* The keeper has that frame on record; false: it was never sent. */
bool drops_kept(struct drops *d, uint64_t ref);

#endif
