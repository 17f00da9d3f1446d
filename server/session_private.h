#ifndef SERVER_SESSION_PRIVATE_H
#define SERVER_SESSION_PRIVATE_H

/* Sessions as the SIP side sees them; chat sees session.h. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/dialog.h"
#include "server/flow.h"
#include "server/lookup.h"
#include "server/session.h"
#include "server/sip.h"

#define SESSION_PER_FLOW_MAX 8
/* What waits for a session without a live dialog. */
#define SESSION_QUEUE_MAX 1024
#define SESSION_QUEUE_BYTES (1U << 20)

struct session_queued {
	struct session_queued *next;
	struct message *message;
	uint64_t room, number;
};

struct session {
	struct lookup_node node;
	struct ring all;      /* in sip->all */
	struct ring by_flow;  /* in flow->sessions */
	struct ring returned; /* in sip->returned, when `lost` has entries */
	struct sip *sip;
	struct flow *flow;
	struct session_identity identity;
	char *text; /* the identity's strings and the key */
	struct view key;
	void *state;
	bool opened; /* chat knows it */
	struct dialog *dialog;
	struct session_queued *first, **last;
	size_t queue_count, queue_bytes;
	struct buf lost; /* {u64 room, u64 number}* that could not be queued */
	uint64_t deadline_ms; /* without a dialog: when it ends */
	enum session_end end; /* and why then */
	bool ending;          /* `end` counts whatever ends it */
};

/*
 * The session of a user's endpoint on this flow; an old one moves here.
 * NULL: too many, or out of memory.
 */
struct session *session_open(
    struct flow *f, const struct identity *who, struct view device);
/* The endpoint's session, NULL when there is none. device is not "-". */
struct session *session_find(
    struct sip *s, const char *user, struct view device);
/* The INVITE was acknowledged: chat is told, then what waits is sent. */
void session_confirm(struct session *s);
/* The dialog ends, the session waits for another one. */
void session_suspend(struct session *s, enum session_end why);
/* Tells chat and frees it, with its dialog. */
void session_end(struct session *s, enum session_end why);
/* Frees it without a word to chat. */
void session_forget(struct session *s);
/* A tracked message could not be sent; chat is told at the turn's end. */
void session_return(struct session *s, uint64_t room, uint64_t number);
/* Tells chat of what came back. */
void session_tell_returned(struct sip *s);
/* Looks after the session's times. */
void session_expire(struct session *s, uint64_t now_ms);

#endif
