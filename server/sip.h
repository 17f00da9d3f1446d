#ifndef SERVER_SIP_H
#define SERVER_SIP_H

/*
 * The SIP side of the server role: a registrar and a user agent server for
 * one domain whose only callee is the chat service. What chat sees of it is
 * session.h.
 */

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <jansson.h>

#include "base/conf.h"
#include "server/digest.h"
#include "server/guesses.h"
#include "server/lookup.h"
#include "server/transaction.h"
#include "server/transport.h"

struct chat;
struct store;

/* Answers by class, and what never got one. */
struct sip_counters {
	uint64_t requests;
	uint64_t answered[7]; /* by first digit of the status */
	uint64_t malformed;   /* refused by form, or dropped */
	uint64_t overload;    /* 503 before chat was asked */
	uint64_t infos_sent;
	uint64_t delivered, refused, timeout, gone; /* outcomes */
	uint64_t sign_ins, wrong_passwords, guesses_slowed;
};

struct sip {
	uv_loop_t *loop;
	const struct conf *conf;
	struct store *store;
	struct chat *chat;
	struct transport *transport;
	struct transaction_layer transactions;
	struct digest digest;
	struct guesses guesses;
	struct lookup dialogs;  /* struct dialog by Call-ID */
	struct lookup sessions; /* struct session by user and device */
	struct ring flows;      /* struct flow, swept in turn */
	size_t flow_count;
	struct ring all;         /* struct session, swept in turn */
	struct ring waiting;     /* struct dialog with unanswered INFOs */
	struct ring unconfirmed; /* struct dialog without ACK */
	struct ring returned;    /* struct session with unsent messages */
	size_t inflight;         /* requests that chat has not answered */
	uint64_t grace_ms;       /* how long a session outlives its dialog */
	uv_timer_t timer, retransmit;
	struct buf reply, text; /* scratch */
	struct sip_counters counters;
};

/* NULL when out of memory. */
struct sip *sip_new(uv_loop_t *loop, const struct conf *conf,
    struct store *store, struct chat *chat);
/* Binds the addresses (may need root); -1 with the reason in why. */
int sip_bind(struct sip *s, char *why, size_t why_len);
/* Starts to take requests; -1 with the reason in why. */
int sip_listen(struct sip *s, char *why, size_t why_len);
/* Adds members to a JSON object: connections, sessions, requests, ... */
void sip_status(const struct sip *s, json_t *out);
/*
 * Ends without a word to the clients: chat is not told, members stay joined.
 * The memory is freed with sip_free() when the loop has closed its handles.
 */
void sip_close(struct sip *s);
/* After sip_close() and a turn of the loop. */
void sip_free(struct sip *s);
/* Seconds of the loop's clock. */
uint64_t sip_now_s(const struct sip *s);

#endif
