#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

/*
 * The seam between SIP and chat. A session is one signed-in endpoint (user
 * and epid) with its chat dialog; it outlives a dialog that is set up again
 * after a 481. SIP owns sessions, chat hangs its own state on
 * them. Chat never sees SIP; SIP never sees rooms.
 */

#include <stdint.h>

#include "base/buf.h"

struct session;
struct request;
struct message;

/* Who is at the other end; strings live as long as the session. */
struct session_identity {
	const char *user;   /* "sip:ann@example.test", authenticated */
	const char *name;   /* display name */
	const char *device; /* epid, "-" when the client has none */
	const char *auth;   /* "digest-sha256" or "digest-md5" */
	const char *via;    /* "tcp", "tls", "udp" */
	const char *peer;   /* "127.0.0.1:4000" */
};

enum session_end {
	SESSION_BYE,     /* the client closed its chat dialog */
	SESSION_EXPIRED, /* no sign of life within Session-Expires and grace */
	SESSION_LOST,    /* its connection broke and it did not come back */
	SESSION_SIGNOFF, /* REGISTER with Expires 0 */
};

enum session_outcome {
	SESSION_DELIVERED, /* the client answered 200 */
	SESSION_REFUSED,   /* the client answered something else */
	SESSION_TIMEOUT,
	SESSION_GONE, /* the dialog ended before an answer */
};

/* ---- SIP's side, used by chat ---- */

const struct session_identity *session_identity(const struct session *s);
/* Chat's own, NULL at first; never looked at by SIP. */
void *session_state(const struct session *s);
void session_set_state(struct session *s, void *state);

/* A body shared by its recipients. message_new() gives one reference. */
struct message *message_new(struct view body);
/* One more reference; drop gives one back, NULL is allowed. */
struct message *message_hold(struct message *m);
void message_drop(struct message *m);

/*
 * Sends the body in an INFO of the session's dialog, after all earlier ones.
 * When room is not 0, chat_outcome() is called exactly once with room and
 * number. A session without a live dialog (between a 481 and the new INVITE)
 * queues up to a bound.
 */
void session_send(
    struct session *s, struct message *m, uint64_t room, uint64_t number);

/*
 * The final answer to a request; must be called exactly once for each, at
 * any later time, even when its session is gone by then. 503 gets a
 * Retry-After; reason is put into the status line and an ms-diagnostics
 * header for 4xx and 5xx.
 */
void request_answer(struct request *r, unsigned status, const char *reason);
/* "<Call-ID> <CSeq number>": the same for a retransmission. */
const char *request_id(const struct request *r);

/* ---- chat's side, called by SIP ---- */

struct chat;

/* A chat dialog was confirmed (also the one after a 481). */
void chat_opened(struct chat *c, struct session *s);
/* An INFO body; never called for bodies over limits.message_bytes. */
void chat_info(
    struct chat *c, struct session *s, struct request *r, struct view body);
/* One was refused instead, because there were too many. */
void chat_overloaded(struct chat *c);
/* Somebody was not signed in for want of the password. */
void chat_password_refused(struct chat *c);
/* What became of a copy: once for each session_send() with a room. */
void chat_outcome(struct chat *c, struct session *s, uint64_t room,
    uint64_t number, enum session_outcome outcome);
/* The endpoint left; after the call the session is no longer used. */
void chat_gone(struct chat *c, struct session *s, enum session_end why);

#endif
