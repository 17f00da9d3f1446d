#ifndef SERVER_FLOW_H
#define SERVER_FLOW_H

/*
 * What SIP knows of a transport flow (RFC 5626): who signed in on it, until
 * when, and the chat sessions that use it. On a stream the sign-in makes
 * the connection the user's; a datagram proves nothing by its address.
 */

#include <stdbool.h>
#include <stdint.h>

#include "server/authenticate.h"
#include "server/conn.h"
#include "server/lookup.h"
#include "server/session.h"
#include "server/sip.h"

struct flow {
	struct ring ring; /* in sip->flows */
	struct sip *sip;
	struct conn *conn; /* held */
	uint64_t serial;
	char *user; /* NULL while nobody is signed in */
	char *name;
	const char *auth;
	char *device;
	char *contact;     /* URI of the registered Contact, NULL: none */
	uint64_t until_ms; /* end of the registration */
	struct ring sessions;
	unsigned session_count;
};

/* The flow of a connection, made when there is none; NULL: no memory. */
struct flow *flow_of(struct sip *s, struct conn *c);
/* The flow of a connection, NULL when there is none. */
struct flow *flow_get(const struct conn *c);
/* Who is signed in from now on; false when out of memory. */
bool flow_sign_in(
    struct flow *f, const struct identity *who, uint64_t until_ms);
/* Nobody is signed in any more; sessions stay. */
void flow_sign_out(struct flow *f);
/* Frees a flow that nobody uses any more (UDP), else does nothing. */
void flow_release(struct flow *f);
/* Ends all chat sessions of the flow; chat is told why. */
void flow_end_sessions(struct flow *f, enum session_end why);
/* The connection is gone: its sessions end. Frees the flow. */
void flow_lost(struct flow *f);
/* Frees a flow without sessions; its connection stays. */
void flow_forget(struct flow *f);
/* Ends registrations that ran out, with their sessions. */
void flow_expire(struct flow *f, uint64_t now_ms);

#endif
