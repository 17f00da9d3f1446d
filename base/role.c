#include "base/role.h"

#include <stdlib.h>

#include "base/log.h"

struct role {
	struct ipc *parent;
	role_link_cb *on_link;
	role_stop_cb *on_stop;
	void *arg;
};

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct role *r = arg;
	char *peer;

	switch ((enum role_frame)type) {
	case ROLE_LINK:
		peer = view_dup(payload);
		if (peer == NULL || fd < 0)
			log_fatal("malformed link from the parent");
		r->on_link(r->arg, peer, fd);
		free(peer);
		return;
	case ROLE_STOP:
		r->on_stop(r->arg);
		return;
	case ROLE_READY:
	case ROLE_RESTART:
		break;
	}
	log_fatal("unexpected frame %u from the parent", type);
}

static void
on_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
	/* Without a parent nobody restarts or stops us: leave at once. */
	exit(0);
}

struct role *
role_new(uv_loop_t *loop, int parent_fd, role_link_cb *on_link,
    role_stop_cb *on_stop, void *arg)
{
	struct role *r = calloc(1, sizeof *r);

	if (r == NULL)
		log_fatal("out of memory");
	r->on_link = on_link;
	r->on_stop = on_stop;
	r->arg = arg;
	r->parent = ipc_new(loop, parent_fd, on_frame, on_closed, r);
	if (r->parent == NULL)
		log_fatal("no link to the parent");
	return r;
}

void
role_ready(struct role *r)
{
	ipc_send(r->parent, ROLE_READY, view_of(NULL, 0));
}

void
role_restart(struct role *r, const char *name)
{
	ipc_send(r->parent, ROLE_RESTART, view_text(name));
}
