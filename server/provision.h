#ifndef SERVER_PROVISION_H
#define SERVER_PROVISION_H

/*
 * SUBSCRIBE to vnd-microsoft-provisioning-v2, by which a client learns where
 * the chat service is. It is answered once and leaves nothing behind.
 */

#include "server/authenticate.h"
#include "server/head.h"
#include "server/request.h"
#include "server/sip.h"

/*
 * SUBSCRIBE; answers r, once with the document: in the 200, or in a BENOTIFY or
 * NOTIFY after it.
 */
void provision_subscribe(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);

#endif
