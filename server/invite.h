#ifndef SERVER_INVITE_H
#define SERVER_INVITE_H

/* INVITE and what goes on within its dialog (RFC 3261, 3311, 4028, 6086). */

#include "server/authenticate.h"
#include "server/dialog.h"
#include "server/head.h"
#include "server/request.h"
#include "server/sip.h"

/* Requests of an authenticated user; each answers r, now or by chat. */
void invite_invite(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);
void invite_update(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);
void invite_info(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);
void invite_bye(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);
/* The 200 arrived. */
void invite_ack(struct sip *s, struct conn *c, const struct head *h);
/*
 * An INVITE that came again over UDP and whose dialog is there: the 200 is
 * sent again. False when it is a new one.
 */
bool invite_again(struct sip *s, struct conn *c, const struct head *h);
/*
 * An INFO of the connection's own user that looks like all before it in its
 * dialog; NULL when it has to go the long way.
 */
struct dialog *invite_plain_info(
    struct sip *s, struct conn *c, const struct head *h);
/* The body goes to chat, which answers r, unless it is refused here. */
void invite_take_info(
    struct dialog *d, const struct head *h, struct request *r);
/* A response to one of our INFOs. */
void invite_response(struct sip *s, struct conn *c, const struct head *h);
/* Sends 200s again until the ACK, ends dialogs that never get one. */
void invite_retransmit(struct sip *s);

#endif
