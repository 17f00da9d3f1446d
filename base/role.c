#include "base/role.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define LOST_MS 1000 /* a peer that is started again gets a link by then */
#define LOST_MAX 4

struct role {
	struct ipc *parent;
	role_link_cb *on_link;
	role_stop_cb *on_stop;
	void *arg;
	uv_timer_t lost_timer;
	const char *lost[LOST_MAX]; /* peers without a link, or NULL */
};

static void
on_lost_timer(uv_timer_t *timer)
{
	struct role *r = timer->data;
	bool any = false;

	for (size_t i = 0; i < LOST_MAX; i++) {
		if (r->lost[i] == NULL)
			continue;
		ipc_send(r->parent, ROLE_LINK, view_text(r->lost[i]));
		any = true;
	}
	if (!any)
		(void)uv_timer_stop(timer); /* always 0 */
}

void
role_lost(struct role *r, const char *peer)
{
	size_t at = 0;

	while (at < LOST_MAX && r->lost[at] != NULL &&
	    strcmp(r->lost[at], peer) != 0)
		at++;
	if (at == LOST_MAX)
		log_fatal("too many peers are lost");
	r->lost[at] = peer;
	if (!uv_is_active((uv_handle_t *)&r->lost_timer))
		(void)uv_timer_start(
		    &r->lost_timer, on_lost_timer, LOST_MS, LOST_MS);
}

static void
found(struct role *r, const char *peer)
{
	for (size_t i = 0; i < LOST_MAX; i++)
		if (r->lost[i] != NULL && strcmp(r->lost[i], peer) == 0)
			r->lost[i] = NULL;
}

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
		found(r, peer);
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
	(void)uv_timer_init(loop, &r->lost_timer); /* always 0 */
	r->lost_timer.data = r;
	uv_unref((uv_handle_t *)&r->lost_timer);
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
