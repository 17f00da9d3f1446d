#ifndef COMPLIANCE_SERVER_LINK_H
#define COMPLIANCE_SERVER_LINK_H

/* The engine's requests to the server: JSON text there and back. */

#include <stdbool.h>
#include <uv.h>

#include "base/buf.h"

struct server_link;

/*
 * The reply's text, or why there is none (then reply is empty). Both are
 * borrowed.
 */
typedef void server_reply_cb(void *arg, struct view reply, const char *why);

struct server_link *server_link_new(uv_loop_t *loop);
/* A (new) link; fd is taken over. */
void server_link_attach(struct server_link *s, int fd);
/* Whether there is a link now. */
bool server_link_up(const struct server_link *s);
/*
 * Calls cb exactly once, at once when there is no link. Without a reply after
 * wait_ms the request is given up.
 */
void server_link_ask(struct server_link *s, struct view request,
    uint64_t wait_ms, server_reply_cb *cb, void *arg);
/* Requests under way are forgotten, without a call. */
void server_link_free(struct server_link *s);

#endif
