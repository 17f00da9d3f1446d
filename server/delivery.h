#ifndef SERVER_DELIVERY_H
#define SERVER_DELIVERY_H

/*
 * What became of the copies of messages: gathered per member as ranges of
 * message numbers, recorded once a second as one event for each room with
 * news. Idle rooms and members cost nothing.
 */

#include <stdint.h>

#include "server/room.h"
#include "server/session.h"

struct chat;

/* The outcome of one copy; the member may be gone afterwards. */
void delivery_outcome(struct chat *c, struct member *m, uint64_t number,
    enum session_outcome outcome);
/* Hands over what is known of the room; members that left may be freed. */
void delivery_flush_room(struct chat *c, struct room *r);
/* All rooms, when the journal takes events. */
void delivery_flush(struct chat *c);
/* Drops what is known without recording it, at the end of the process. */
void delivery_forget(struct member *m);
void delivery_forget_room(struct chat *c, struct room *r);

#endif
