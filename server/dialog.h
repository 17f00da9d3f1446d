#ifndef SERVER_DIALOG_H
#define SERVER_DIALOG_H

/*
 * A dialog with the chat service, made by a client's INVITE (RFC 3261
 * section 12). It keeps one text from which the header of every INFO is
 * cut, so that a copy of a message costs the numbers in it and two copies
 * of bytes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/head.h"
#include "server/lookup.h"
#include "server/session.h"
#include "server/sip.h"

#define DIALOG_TAG_LEN 16
/* INFOs of one dialog whose outcome is awaited. */
#define DIALOG_PENDING_MAX 16384

struct dialog_pending {
	uint32_t cseq;
	uint64_t until_ms;
	uint64_t room, number;
};

struct dialog {
	struct lookup_node node;
	struct ring waiting, unconfirmed;
	struct sip *sip;
	struct session *session;
	struct conn *conn;
	char *text;                /* everything that the views point into */
	struct view start, rest;   /* of an INFO */
	struct view local, remote; /* From and To of an INFO */
	struct view call_id, local_tag, remote_tag;
	struct view contact, routes;
	uint32_t local_cseq, remote_cseq, invite_cseq;
	uint32_t interval_s;
	uint64_t alive_ms; /* last sign of life */
	unsigned infos;    /* received */
	bool confirmed;
	bool resumes;                   /* its session was there before */
	struct dialog_pending *pending; /* a ring, oldest first */
	uint32_t pending_cap, pending_at, pending_count;
	struct buf ok; /* UDP: the 200, until the ACK */
	uint64_t ok_next_ms, ok_until_ms;
	uint32_t ok_interval_ms;
};

/*
 * A dialog from an INVITE whose URIs were checked; target is the Contact's
 * URI. It is found from now on. NULL when out of memory.
 */
struct dialog *dialog_new(struct sip *s, struct session *session,
    struct conn *c, const struct head *h, struct view target);
/* The dialog with these tags, NULL when there is none. */
struct dialog *dialog_find(struct sip *s, struct view call_id,
    struct view local_tag, struct view remote_tag);
/* A new remote target (UPDATE, re-INVITE); false when out of memory. */
bool dialog_retarget(struct dialog *d, struct view target);
/* Sends an INFO; when room is not 0 the outcome is told to chat once. */
void dialog_send(
    struct dialog *d, struct view body, uint64_t room, uint64_t number);
/* A final answer to one of our INFOs. */
void dialog_answered(struct dialog *d, uint32_t cseq, unsigned status);
/* Tells chat of INFOs that got no answer in time. */
void dialog_expire(struct dialog *d, uint64_t now_ms);
/*
 * The end: requests within it get 481 from now on, and chat is told that
 * what was not answered is gone. Frees it.
 */
void dialog_end(struct dialog *d);

#endif
