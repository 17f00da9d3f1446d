#include "compliance/server_link.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"

#include "compliance/wire.h"

/* At most one for each control connection. */
struct request {
	struct request *next;
	uint64_t ref;
	uint64_t deadline;
	server_reply_cb *cb;
	void *arg;
};

struct server_link {
	uv_loop_t *loop;
	uv_timer_t timer; /* runs while requests wait */
	struct ipc *ipc;
	struct request *requests; /* the first to be given up first */
	uint64_t last_ref;
};

/* Ends a request that is out of the list already. */
static void
finish(struct request *r, struct view reply, const char *why)
{
	r->cb(r->arg, reply, why);
	free(r);
}

static void
drop(struct server_link *s, const char *why)
{
	struct request *lost = s->requests;

	ipc_free(s->ipc);
	s->ipc = NULL;
	s->requests = NULL;
	(void)uv_timer_stop(&s->timer); /* always 0 */
	while (lost != NULL) {
		struct request *next = lost->next;

		finish(lost, view_of(NULL, 0), why);
		lost = next;
	}
}

static void arm(struct server_link *s);

static void
on_timer(uv_timer_t *timer)
{
	struct server_link *s = timer->data;

	while (
	    s->requests != NULL && s->requests->deadline <= uv_now(s->loop)) {
		struct request *r = s->requests;

		s->requests = r->next;
		finish(r, view_of(NULL, 0), "the server does not answer");
	}
	arm(s);
}

static void
arm(struct server_link *s)
{
	uint64_t now = uv_now(s->loop);

	(void)uv_timer_stop(&s->timer); /* always 0 */
	if (s->requests == NULL)
		return;
	(void)uv_timer_start(&s->timer, on_timer,
	    s->requests->deadline > now ? s->requests->deadline - now : 0, 0);
}

static void
on_reply(struct server_link *s, uint64_t ref, struct view text)
{
	for (struct request **at = &s->requests; *at; at = &(*at)->next) {
		struct request *r = *at;

		if (r->ref != ref)
			continue;
		*at = r->next;
		arm(s);
		finish(r, text, NULL);
		return;
	}
	/* A reply that came after its time. */
	log_info("the server answered a request that was given up");
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct server_link *s = arg;
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	struct view text = reader_rest(&r);

	if (fd >= 0)
		(void)close(fd); /* the server passes none on */
	if (type != WIRE_JSON || !reader_done(&r)) {
		log_error("the server sent a malformed frame of type %u", type);
		drop(s, "the server sent a malformed frame");
		return;
	}
	on_reply(s, ref, text);
}

static void
on_closed(void *arg, const char *why)
{
	log_info("link to the server: %s", why);
	drop(arg,
	    "the link to the server broke: what was asked for may be "
	    "done or not");
}

struct server_link *
server_link_new(uv_loop_t *loop)
{
	struct server_link *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->loop = loop;
	(void)uv_timer_init(loop, &s->timer); /* always 0 */
	s->timer.data = s;
	return s;
}

void
server_link_attach(struct server_link *s, int fd)
{
	if (s->ipc != NULL)
		drop(s, "the server was started again");
	s->ipc = ipc_new(s->loop, fd, on_frame, on_closed, s);
	if (s->ipc == NULL)
		log_fatal("out of memory");
}

bool
server_link_up(const struct server_link *s)
{
	return s->ipc != NULL;
}

void
server_link_ask(struct server_link *s, struct view request, uint64_t wait_ms,
    server_reply_cb *cb, void *arg)
{
	struct request *r = s->ipc != NULL ? calloc(1, sizeof *r) : NULL;
	struct request **end = &s->requests;
	struct buf *b;

	if (r == NULL) {
		cb(arg, view_of(NULL, 0),
		    s->ipc == NULL ? "the server is not running"
				   : "out of memory");
		return;
	}
	r->ref = ++s->last_ref;
	r->deadline = uv_now(s->loop) + wait_ms;
	r->cb = cb;
	r->arg = arg;
	while (*end != NULL && (*end)->deadline <= r->deadline)
		end = &(*end)->next;
	r->next = *end;
	*end = r;
	b = ipc_begin(s->ipc, WIRE_JSON);
	buf_put_u64(b, r->ref);
	buf_put_view(b, request);
	ipc_end(s->ipc);
	arm(s);
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
server_link_free(struct server_link *s)
{
	if (s == NULL)
		return;
	while (s->requests != NULL) {
		struct request *next = s->requests->next;

		free(s->requests);
		s->requests = next;
	}
	ipc_free(s->ipc);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
