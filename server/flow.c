#include "server/flow.h"

#include <stdlib.h>
#include <string.h>

#include "server/session_private.h"

/* A client that is late with its REGISTER is not thrown out at once. */
#define LATE_MS 5000

struct flow *
flow_get(const struct conn *c)
{
	return c->user;
}

struct flow *
flow_of(struct sip *s, struct conn *c)
{
	static uint64_t serial;
	struct flow *f = c->user;

	if (f != NULL)
		return f;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return NULL;
	f->sip = s;
	f->serial = ++serial;
	f->conn = conn_hold(c);
	ring_init(&f->sessions);
	ring_append(&s->flows, &f->ring);
	s->flow_count++;
	c->user = f;
	return f;
}

bool
flow_sign_in(struct flow *f, const struct identity *who, uint64_t until_ms)
{
	char *user = strdup(who->user), *name = strdup(who->name);

	if (user == NULL || name == NULL) {
		free(user);
		free(name);
		return false;
	}
	free(f->user);
	free(f->name);
	f->user = user;
	f->name = name;
	f->auth = who->auth;
	f->until_ms = until_ms;
	return true;
}

void
flow_sign_out(struct flow *f)
{
	free(f->user);
	free(f->name);
	free(f->device);
	free(f->contact);
	f->user = f->name = f->device = f->contact = NULL;
	f->auth = NULL;
	f->until_ms = 0;
}

void
flow_forget(struct flow *f)
{
	flow_sign_out(f);
	f->sip->flow_count--;
	ring_remove(&f->ring);
	f->conn->user = NULL;
	conn_drop(f->conn);
	free(f);
}

void
flow_release(struct flow *f)
{
	if (!conn_reliable(f->conn) && f->user == NULL && f->session_count == 0)
		flow_forget(f);
}

void
flow_end_sessions(struct flow *f, enum session_end why)
{
	/* The last one must not take the flow with it. */
	f->session_count++;
	while (!ring_empty(&f->sessions))
		session_end(
		    RING_OF(f->sessions.next, struct session, by_flow), why);
	f->session_count--;
}

void
flow_lost(struct flow *f)
{
	flow_end_sessions(f, SESSION_LOST);
	flow_forget(f);
}

void
flow_expire(struct flow *f, uint64_t now_ms)
{
	if (f->user == NULL || now_ms < f->until_ms + LATE_MS)
		return;
	flow_end_sessions(f, SESSION_EXPIRED);
	flow_sign_out(f);
	flow_release(f);
}
