#ifndef SERVER_STATE_INIT_H
#define SERVER_STATE_INIT_H

/* The state that chanceryd runs on, made once by `chancery init`. */

#include <stddef.h>

#include "base/buf.h"
#include "base/conf.h"

/*
 * Makes the folders, the signer's key, the empty journal and chat store,
 * with the owners of the configuration when we are root. Refuses when any of
 * it exists; leaves nothing behind when it fails. origin and vkey are those
 * of the new journal. 0; 1 refused, -1 failed, with the reason in why.
 */
int state_init(const struct conf *conf, struct buf *origin, struct buf *vkey,
    char *why, size_t why_len);

#endif
