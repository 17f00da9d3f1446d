#ifndef SERVER_CHAT_H
#define SERVER_CHAT_H

/*
 * Rooms and who is in them: XCCOS commands and posts in, replies, notices
 * and messages out, every act recorded first. SIP calls it by session.h.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"
#include "server/session.h"

struct chat;
struct record;
struct store;

struct chat_counters {
	bool writable;
	const char *why;    /* why not; "" when writable */
	uint64_t applied;   /* journal position of chat.db */
	uint64_t endpoints; /* chat sessions */
	uint64_t joined;    /* endpoints in rooms, summed over rooms */
	uint64_t rooms;     /* rooms in memory */
	uint64_t inflight;  /* events waiting for the keeper */
	uint64_t waiting;   /* requests held while the keeper is away */
	uint64_t late;      /* leaves and deliveries to be recorded late */
	uint64_t posts;     /* recorded since start */
	uint64_t copies;    /* handed to sessions since start */
	uint64_t refused_posts;
};

/*
 * ready is called once: what happened while the server was down has been
 * recorded, or the journal cannot be written and people may sign in all the
 * same. NULL when out of memory.
 */
struct chat *chat_new(uv_loop_t *loop, const struct conf *conf,
    struct store *store, struct record *record, void (*ready)(void *arg),
    void *arg);
/* As of now; `why` is borrowed until the loop turns. */
void chat_counters(const struct chat *c, struct chat_counters *out);
/*
 * Submits the rows of `pending` that are not under way. done is called once,
 * with NULL when all are recorded, else with the reason; the rows then stay
 * and go later.
 */
void chat_submit_pending(
    struct chat *c, void (*done)(void *arg, const char *why), void *arg);
/*
 * Before the process ends: hands over what is known of deliveries. People
 * stay in their rooms; the next start records that they left.
 */
void chat_stop(struct chat *c);
/*
 * Sessions are forgotten without a word, requests under way are refused;
 * record is freed by its owner afterwards.
 */
void chat_free(struct chat *c);

#endif
