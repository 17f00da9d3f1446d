#ifndef SERVER_REGISTRAR_H
#define SERVER_REGISTRAR_H

/* REGISTER (RFC 3261 section 10), with what SIPE wants to read in its 200. */

#include "server/authenticate.h"
#include "server/head.h"
#include "server/request.h"
#include "server/sip.h"

/* REGISTER (RFC 3261 section 10) of an authenticated user; answers r. */
void registrar_register(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);

#endif
