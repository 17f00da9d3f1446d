#ifndef SERVER_UAS_H
#define SERVER_UAS_H

/* The user agent server (RFC 3261 section 8.2): requests to their methods. */

#include "server/conn.h"
#include "server/head.h"
#include "server/sip.h"

#define UAS_ALLOW                                                              \
	"INVITE, ACK, BYE, CANCEL, INFO, UPDATE, OPTIONS, REGISTER, SUBSCRIBE"

/* A well-formed request. */
void uas_request(struct sip *s, struct conn *c, const struct head *h);
/* An ill-formed one: it is answered as far as that is possible. */
void uas_malformed(struct sip *s, struct conn *c, const struct head *h,
    unsigned status, const char *why);

#endif
