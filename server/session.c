#include "server/session_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct message {
	unsigned refs;
	size_t n;
	uint8_t bytes[];
};

/* ---- for chat ---- */

const struct session_identity *
session_identity(const struct session *s)
{
	return &s->identity;
}

void *
session_state(const struct session *s)
{
	return s->state;
}

void
session_set_state(struct session *s, void *state)
{
	s->state = state;
}

struct message *
message_new(struct view body)
{
	struct message *m = malloc(sizeof(*m) + body.n);

	if (m == NULL)
		return NULL;
	m->refs = 1;
	m->n = body.n;
	memcpy(m->bytes, body.p, body.n);
	return m;
}

struct message *
message_hold(struct message *m)
{
	m->refs++;
	return m;
}

void
message_drop(struct message *m)
{
	if (m != NULL && --m->refs == 0)
		free(m);
}

static void
enqueue(struct session *s, struct message *m, uint64_t room, uint64_t number)
{
	struct session_queued *q = NULL;

	if (s->queue_count < SESSION_QUEUE_MAX &&
	    s->queue_bytes + m->n <= SESSION_QUEUE_BYTES)
		q = malloc(sizeof(*q));
	if (q == NULL) {
		session_return(s, room, number);
		return;
	}
	*q = (struct session_queued){NULL, message_hold(m), room, number};
	*s->last = q;
	s->last = &q->next;
	s->queue_count++;
	s->queue_bytes += m->n;
}

void
session_send(
    struct session *s, struct message *m, uint64_t room, uint64_t number)
{
	if (s->dialog != NULL && s->dialog->confirmed)
		dialog_send(s->dialog, view_of(m->bytes, m->n), room, number);
	else
		enqueue(s, m, room, number);
}

/* ---- for SIP ---- */

void
session_return(struct session *s, uint64_t room, uint64_t number)
{
	if (room == 0)
		return;
	if (s->lost.len == 0)
		ring_append(&s->sip->returned, &s->returned);
	buf_put_u64(&s->lost, room);
	buf_put_u64(&s->lost, number);
	if (s->lost.failed)
		log_fatal("out of memory for outcomes of messages");
}

static void
tell_gone(struct session *s, uint64_t room, uint64_t number)
{
	s->sip->counters.gone++;
	if (s->opened)
		chat_outcome(s->sip->chat, s, room, number, SESSION_GONE);
}

static void
tell_lost(struct session *s)
{
	struct buf lost = s->lost;
	struct reader r = reader_of(buf_view(&lost));

	buf_init(&s->lost);
	ring_remove(&s->returned);
	while (r.n > 0) {
		uint64_t room = reader_u64(&r);

		tell_gone(s, room, reader_u64(&r));
	}
	buf_release(&lost);
}

void
session_tell_returned(struct sip *sip)
{
	while (!ring_empty(&sip->returned))
		tell_lost(
		    RING_OF(sip->returned.next, struct session, returned));
}

static struct session_queued *
dequeue(struct session *s)
{
	struct session_queued *q = s->first;

	if (q == NULL)
		return NULL;
	s->first = q->next;
	if (s->first == NULL)
		s->last = &s->first;
	s->queue_count--;
	s->queue_bytes -= q->message->n;
	return q;
}

static void
send_queue(struct session *s)
{
	struct session_queued *q;

	while ((q = dequeue(s)) != NULL) {
		dialog_send(s->dialog,
		    view_of(q->message->bytes, q->message->n), q->room,
		    q->number);
		message_drop(q->message);
		free(q);
	}
}

static void
drop_queue(struct session *s)
{
	struct session_queued *q;

	while ((q = dequeue(s)) != NULL) {
		if (q->room != 0)
			tell_gone(s, q->room, q->number);
		message_drop(q->message);
		free(q);
	}
}

/* Endpoints are told apart by epid, and without one by their flow. */
static void
put_key(
    const struct flow *f, const char *user, struct view device, struct buf *out)
{
	buf_put_text(out, user);
	buf_put_u8(out, '\n');
	if (device.n > 0)
		buf_put_view(out, device);
	else if (f != NULL)
		buf_printf(out, "\n%llu", (unsigned long long)f->serial);
}

static struct session *
find(struct sip *s, struct view key)
{
	struct lookup_node *n = lookup_first(&s->sessions, lookup_hash(key));

	for (; n != NULL; n = lookup_next(n)) {
		struct session *found = LOOKUP_OF(n, struct session, node);

		if (found->key.n == key.n &&
		    memcmp(found->key.p, key.p, key.n) == 0)
			return found;
	}
	return NULL;
}

struct session *
session_find(struct sip *s, const char *user, struct view device)
{
	struct session *found = NULL;
	struct buf key;

	buf_init(&key);
	put_key(NULL, user, device, &key);
	if (!key.failed)
		found = find(s, buf_view(&key));
	buf_release(&key);
	return found;
}

static size_t
put_string(struct buf *b, struct view v)
{
	size_t at = b->len;

	buf_put_view(b, v);
	buf_put_u8(b, 0);
	return at;
}

static bool
set_identity(struct session *s, struct flow *f, const struct identity *who,
    struct view device, struct view key)
{
	size_t at[5], len;
	struct buf b, peer;

	buf_init(&b);
	buf_init(&peer);
	conn_put_remote(f->conn, &peer);
	at[0] = put_string(&b, view_text(who->user));
	at[1] = put_string(&b, view_text(who->name));
	at[2] = put_string(&b, device.n > 0 ? device : view_text("-"));
	at[3] = put_string(&b, buf_view(&peer));
	at[4] = put_string(&b, key);
	if (peer.failed)
		b.failed = true;
	buf_release(&peer);
	s->text = b.failed ? NULL : malloc(b.len);
	if (s->text != NULL)
		memcpy(s->text, b.data, b.len);
	len = key.n;
	buf_release(&b);
	if (s->text == NULL)
		return false;
	s->identity.user = s->text + at[0];
	s->identity.name = s->text + at[1];
	s->identity.device = s->text + at[2];
	s->identity.peer = s->text + at[3];
	s->identity.auth = who->auth;
	s->identity.via = conn_via(f->conn);
	s->key = view_of(s->text + at[4], len);
	return true;
}

static struct session *
session_new(struct flow *f, const struct identity *who, struct view device,
    struct view key)
{
	struct sip *sip = f->sip;
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->sip = sip;
	s->flow = f;
	s->last = &s->first;
	ring_init(&s->all);
	ring_init(&s->by_flow);
	ring_init(&s->returned);
	buf_init(&s->lost);
	if (!set_identity(s, f, who, device, key) ||
	    !lookup_add(&sip->sessions, &s->node, lookup_hash(s->key))) {
		free(s->text);
		free(s);
		return NULL;
	}
	ring_append(&sip->all, &s->all);
	ring_append(&f->sessions, &s->by_flow);
	f->session_count++;
	return s;
}

static void
leave_flow(struct session *s)
{
	ring_remove(&s->by_flow);
	s->flow->session_count--;
	flow_release(s->flow);
}

struct session *
session_open(struct flow *f, const struct identity *who, struct view device)
{
	struct session *s = NULL;
	struct buf key;

	buf_init(&key);
	put_key(f, who->user, device, &key);
	if (key.failed)
		goto done;
	s = find(f->sip, buf_view(&key));
	/*
	 * The endpoint came back on another connection before the old one
	 * was seen to break: what it had joined there is gone for it.
	 */
	if (s != NULL && s->flow != f) {
		session_end(s, SESSION_LOST);
		s = NULL;
	}
	if (s == NULL && f->session_count < SESSION_PER_FLOW_MAX)
		s = session_new(f, who, device, buf_view(&key));
done:
	buf_release(&key);
	return s;
}

void
session_confirm(struct session *s)
{
	struct dialog *d = s->dialog;

	d->confirmed = true;
	ring_remove(&d->unconfirmed);
	buf_release(&d->ok);
	s->deadline_ms = 0;
	s->ending = false;
	s->opened = true;
	chat_opened(s->sip->chat, s);
	if (s->dialog != NULL)
		send_queue(s);
}

void
session_suspend(struct session *s, enum session_end why)
{
	if (s->dialog != NULL)
		dialog_end(s->dialog);
	s->end = why;
	s->ending = true;
	s->deadline_ms = uv_now(s->sip->loop) + s->sip->grace_ms;
	if (!s->opened)
		session_end(s, why);
}

void
session_end(struct session *s, enum session_end why)
{
	if (s->ending)
		why = s->end;
	if (s->dialog != NULL)
		dialog_end(s->dialog);
	tell_lost(s);
	drop_queue(s);
	/* Nothing may find it while chat tells the others. */
	lookup_remove(&s->sip->sessions, &s->node);
	ring_remove(&s->all);
	if (s->opened)
		chat_gone(s->sip->chat, s, why);
	s->opened = false;
	leave_flow(s);
	drop_queue(s);
	ring_remove(&s->returned);
	buf_release(&s->lost);
	free(s->text);
	free(s);
}

void
session_forget(struct session *s)
{
	s->opened = false;
	session_end(s, SESSION_LOST);
}

void
session_expire(struct session *s, uint64_t now_ms)
{
	const struct dialog *d = s->dialog;

	if (d == NULL) {
		if (now_ms >= s->deadline_ms)
			session_end(s, SESSION_EXPIRED);
	} else if (d->confirmed &&
	    now_ms - d->alive_ms > d->interval_s * 1000ULL) {
		session_suspend(s, SESSION_EXPIRED);
	}
}
