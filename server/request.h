#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

/*
 * One request that is being answered (RFC 3261 section 8.2.6). It holds its
 * connection and the header fields that the answer repeats, so that it can
 * be answered when its dialog and session are gone.
 */

#include <stdbool.h>

#include "base/buf.h"
#include "server/head.h"
#include "server/session.h"
#include "server/sip.h"

#define REQUEST_TAG_LEN 16

struct request {
	struct sip *sip;
	struct conn *conn;
	struct transaction *transaction; /* UDP only */
	bool counted;                    /* among sip->inflight */
	bool tagged;                     /* the To of the request has a tag */
	unsigned status;                 /* of the answer being built */
	unsigned retry_after_s;          /* of a 503; 0: as usual */
	char tag[REQUEST_TAG_LEN + 1];   /* To tag of the answer otherwise */
	size_t to_end, echo_len;
	char *id;    /* within text */
	char text[]; /* fields to repeat, then id */
};

/* NULL when out of memory. t is taken over in any case; may be NULL. */
struct request *request_new(
    struct sip *s, struct conn *c, const struct head *h, struct transaction *t);
/*
 * Starts an answer: the caller adds header fields to the buffer and calls
 * request_end(), which adds the body, sends it and frees the request.
 */
struct buf *request_begin(
    struct request *r, unsigned status, const char *reason);
/* type: Content-Type, NULL without a body. */
void request_end(struct request *r, const char *type, struct view body);
/* An answer without any more fields. */
void request_reply(struct request *r, unsigned status, const char *reason);
/* 503 with a Retry-After of so many seconds. */
void request_retry(struct request *r, unsigned after_s, const char *reason);
/* The registered phrase of a status (RFC 3261 section 21). */
const char *request_phrase(unsigned status);

#endif
