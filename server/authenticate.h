#ifndef SERVER_AUTHENTICATE_H
#define SERVER_AUTHENTICATE_H

/* Who a request comes from: the connection's user, or Digest by 407. */

#include <stdbool.h>

#include "server/head.h"
#include "server/request.h"
#include "server/sip.h"

struct identity {
	char *user; /* "sip:ann@example.test", lower case */
	char *name;
	const char *auth; /* static */
	bool fresh;       /* by credentials in this very request */
};

/*
 * The identity of a request, to be freed with identity_release(). False:
 * the request was answered (403, 407 and the like) and is gone.
 */
bool authenticate(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, struct identity *out);
/* May be called twice. */
void identity_release(struct identity *i);
/* "sip:user@host" in lower case from a URI; NULL when it is no such URI. */
char *authenticate_aor(struct view uri);

#endif
