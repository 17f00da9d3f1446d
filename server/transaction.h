#ifndef SERVER_TRANSACTION_H
#define SERVER_TRANSACTION_H

/*
 * Transactions over UDP (RFC 3261 section 17): libosip2's state machines
 * with look-up, timers and the bytes that are sent kept here. Streams need
 * none: there a request comes once and an answer gets through.
 */

#include <sys/time.h>

#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <uv.h>

#include <osip2/osip.h>

#include "base/buf.h"
#include "server/conn.h"
#include "server/head.h"
#include "server/lookup.h"

/* libosip2 needs some 15 KB for each. */
#define TRANSACTION_MAX 8192

struct transaction;

struct transaction_layer {
	osip_t *osip;
	struct lookup table; /* server by Via, client by branch */
	struct ring all;
	uv_timer_t timer;
	uint64_t resent;
};

/* -1 when out of memory. */
int transaction_layer_init(struct transaction_layer *l, uv_loop_t *loop);
/* Frees all transactions; the timer closes with the loop. */
void transaction_layer_release(struct transaction_layer *l);

/*
 * A request that belongs to a transaction: sends the last answer again, or
 * takes the ACK of an error. False when it is a new request.
 */
bool transaction_absorb(struct transaction_layer *l, struct conn *c,
    const struct head *h, const osip_message_t *msg);
/* Is there an INVITE transaction that this CANCEL is for? */
bool transaction_cancels(
    struct transaction_layer *l, struct conn *c, const struct head *h);
/*
 * A server transaction for a new request; msg is taken over when the result
 * is not NULL. NULL: too many, or out of memory.
 */
struct transaction *transaction_new(struct transaction_layer *l, struct conn *c,
    const struct head *h, osip_message_t *msg);
/* Sends the final answer; the transaction is no longer the caller's. */
void transaction_answer(
    struct transaction *t, unsigned status, struct view text);
/* Gives up a transaction without an answer. */
void transaction_abandon(struct transaction *t);
/* Sends a request again until an answer comes or 32 s are over. */
void transaction_send(struct transaction_layer *l, struct conn *c,
    struct view branch, struct view text);
/* An answer to one of our requests: no more is sent. */
void transaction_answered(
    struct transaction_layer *l, struct conn *c, const struct head *h);

#endif
