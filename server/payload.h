#ifndef SERVER_PAYLOAD_H
#define SERVER_PAYLOAD_H

/*
 * The JSON of user events (chancery-journal(5)): compact, fields in fixed
 * order. An envelope is a head (kind and id) followed by a tail; the tail
 * functions write everything after the id. All texts must be valid UTF-8.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct payload_room {
	const char *uri;
	const char *name;
};

struct payload_actor {
	const char *user;
	const char *name;
	const char *device;
	const char *auth; /* unused by a leave, like via and peer */
	const char *via;
	const char *peer;
};

/* {"v":1,"type":"post","id":"0a1b2c3d-17" */
void payload_put_head(
    struct buf *b, unsigned kind, uint32_t boot, uint64_t number);
/* Reads the id back from an envelope; false when it has none of that form. */
bool payload_get_id(struct view envelope, uint32_t *boot, uint64_t *number);

/* The tails: all after the id, up to and with the closing brace. */
void payload_put_join(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who);
/* happened: 0, or when it happened if it is recorded late. */
void payload_put_leave(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, const char *reason, uint64_t joined,
    uint64_t happened);
void payload_put_post(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, uint64_t chat, struct view client);
/* Part 1 of a post. */
void payload_put_content(struct buf *b, struct view text);
struct payload_history {
	uint64_t asked; /* for the last so many */
	uint64_t first;
	uint64_t last;
	uint64_t count;
};
void payload_put_history(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, const struct payload_history *h);
/* {"room":..,"roomname":.. : the caller adds sets and failed and the end. */
void payload_put_delivery(struct buf *b, const struct payload_room *room);
void payload_put_room(struct buf *b, const struct payload_room *room,
    const char *privacy, const char *description, const char *by);
void payload_put_member(struct buf *b, const struct payload_room *room,
    const char *user, const char *by);
void payload_put_user(
    struct buf *b, const char *user, const char *name, const char *by);

#endif
