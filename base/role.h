#ifndef BASE_ROLE_H
#define BASE_ROLE_H

/*
 * What every role of the daemon does alike: talk to the parent on descriptor
 * 3, receive its links to other roles, say that it is ready, stop when told.
 */

#include <uv.h>

#include "base/ipc.h"

#define ROLE_PARENT_FD 3
#define ROLE_CONF_FD 4

/* Frames between the parent and a role. */
enum role_frame {
	/*
	 * Parent to role: peer's name, with a descriptor. Role to parent: the
	 * name of a peer to which a new link is wanted.
	 */
	ROLE_LINK = 1,
	ROLE_READY = 2,   /* role to parent */
	ROLE_STOP = 3,    /* parent to role: end in good order */
	ROLE_RESTART = 4, /* engine to parent: name of an adapter to kill */
};

struct role;

/* A (new) link to a peer role; fd is the callee's. */
typedef void role_link_cb(void *arg, const char *peer, int fd);
/* The parent wants us to end; the callee ends the loop when done. */
typedef void role_stop_cb(void *arg);

/*
 * Joins the parent. When the parent goes away the process exits at once.
 * The result lives as long as the process.
 */
struct role *role_new(uv_loop_t *loop, int parent_fd, role_link_cb *on_link,
    role_stop_cb *on_stop, void *arg);
void role_ready(struct role *r);
/*
 * The link to a peer broke. Should the peer live on, nobody would make a new
 * one: the parent is asked for it, again and again until one came. Of two
 * peers only one calls this; the name is not copied.
 */
void role_lost(struct role *r, const char *peer);
/* Asks the parent to kill and start the named adapter again. */
void role_restart(struct role *r, const char *name);

#endif
