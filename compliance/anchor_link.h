#ifndef COMPLIANCE_ANCHOR_LINK_H
#define COMPLIANCE_ANCHOR_LINK_H

/*
 * The engine's requests to the role that has the network. Each is answered
 * once; when the link breaks, as one that failed.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

struct anchor_link;

/* status 0: no answer came, and body says why. Borrowed. */
typedef void anchor_asked_cb(void *arg, unsigned status, struct view body);
/* granted: bytes is a checked token and at its time; else why not. */
typedef void anchor_stamped_cb(
    void *arg, bool granted, uint64_t at, struct view bytes);

/* NULL when out of memory. */
struct anchor_link *anchor_link_new(uv_loop_t *loop);
/* A (new) link; fd is taken over. */
void anchor_link_attach(struct anchor_link *l, int fd);
/* Posts to a path of the witness; false, without a call, when unlinked. */
bool anchor_link_ask(struct anchor_link *l, unsigned witness, const char *path,
    struct view body, anchor_asked_cb *cb, void *arg);
/* Has a note time-stamped; the same. */
bool anchor_link_stamp(
    struct anchor_link *l, struct view note, anchor_stamped_cb *cb, void *arg);
/* Requests under way are forgotten, without a call. NULL is allowed. */
void anchor_link_free(struct anchor_link *l);

#endif
