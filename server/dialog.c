#include "server/dialog.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"
#include "server/session_private.h"

#define ANSWER_MS 32000 /* 64*T1 (RFC 3261 section 17.1.2.2) */
#define PENDING_FIRST 8
#define COOKIE_LEN 8
/* What the text has of a branch: magic, cookie in hex, full stop. */
#define BRANCH_LEN (7 + 2 * COOKIE_LEN + 1)

/* What an INFO and the matching of requests need, before it is laid out. */
struct parts {
	struct view target, local, remote, call_id, contact, routes;
};

static const char *const via_transport[] = {
    [CONN_TCP] = "TCP",
    [CONN_TLS] = "TLS",
    [CONN_UDP] = "UDP",
};

/* Where a piece of the text will be, as an offset until it stands still. */
struct span {
	size_t at, n;
};

static struct span
put_span(struct buf *b, struct view v)
{
	struct span s = {b->len, v.n};

	buf_put_view(b, v);
	return s;
}

static struct view
view_span(const char *text, struct span s)
{
	return view_of(text + s.at, s.n);
}

/* Lays the text out anew; false when out of memory: nothing has changed. */
static bool
lay_out(struct dialog *d, const struct parts *p)
{
	struct span local, remote, call_id, contact, routes, start;
	uint8_t cookie[COOKIE_LEN];
	struct buf b;
	size_t len;
	char *text;

	crypto_nonce(cookie, sizeof(cookie));
	buf_init(&b);
	buf_put_text(&b, "INFO ");
	buf_put_view(&b, p->target);
	buf_printf(
	    &b, " SIP/2.0\r\nVia: SIP/2.0/%s ", via_transport[d->conn->kind]);
	conn_put_local(d->conn, &b);
	buf_put_text(&b, ";branch=z9hG4bK");
	text_put_hex(&b, cookie, sizeof(cookie));
	buf_put_u8(&b, '.');
	start = (struct span){0, b.len};
	buf_put_text(&b, "\r\nMax-Forwards: 70\r\n");
	routes = put_span(&b, p->routes);
	buf_put_text(&b, "From: ");
	local = put_span(&b, p->local);
	buf_put_text(&b, "\r\nTo: ");
	remote = put_span(&b, p->remote);
	buf_put_text(&b, "\r\nCall-ID: ");
	call_id = put_span(&b, p->call_id);
	buf_put_text(&b, "\r\nContact: ");
	contact = put_span(&b, p->contact);
	buf_put_text(&b, "\r\nContent-Type: text/plain\r\nCSeq: ");
	len = b.len;
	text = b.failed ? NULL : malloc(len);
	if (text == NULL) {
		buf_release(&b);
		return false;
	}
	memcpy(text, b.data, len);
	buf_release(&b);
	free(d->text);
	d->text = text;
	d->start = view_span(text, start);
	d->rest = view_of(text + start.n, len - start.n);
	d->local = view_span(text, local);
	d->remote = view_span(text, remote);
	d->call_id = view_span(text, call_id);
	d->contact = view_span(text, contact);
	d->routes = view_span(text, routes);
	if (!head_param(d->local, "tag", &d->local_tag))
		d->local_tag = view_of("", 0);
	if (!head_param(d->remote, "tag", &d->remote_tag))
		d->remote_tag = view_of("", 0);
	return true;
}

/* The INVITE's Record-Route in its order (RFC 3261 section 12.1.1). */
static void
put_routes(const struct head *h, struct buf *out)
{
	struct view v;
	size_t at = 0;

	while (head_each(h, HEAD_RECORD_ROUTE, &at, &v)) {
		buf_put_text(out, "Route: ");
		buf_put_view(out, v);
		buf_put_text(out, "\r\n");
	}
}

/*
 * Streams are found by the connection, whatever the Contact says; a client
 * of UDP needs an address.
 */
static void
put_contact(const struct dialog *d, struct buf *out)
{
	buf_put_text(out, "<sip:chat@");
	if (conn_reliable(d->conn))
		buf_put_text(out, d->sip->conf->domain);
	else
		conn_put_local(d->conn, out);
	buf_printf(out, ";transport=%s>", conn_via(d->conn));
}

static bool
first_layout(struct dialog *d, const struct head *h, struct view target)
{
	uint8_t tag[DIALOG_TAG_LEN / 2];
	struct buf local, contact, routes;
	bool ok = false;

	buf_init(&local);
	buf_init(&contact);
	buf_init(&routes);
	crypto_nonce(tag, sizeof(tag));
	buf_put_view(&local, head_get(h, HEAD_TO));
	buf_put_text(&local, ";tag=");
	text_put_hex(&local, tag, sizeof(tag));
	put_contact(d, &contact);
	put_routes(h, &routes);
	if (!local.failed && !contact.failed && !routes.failed) {
		struct parts p = {target, buf_view(&local),
		    head_get(h, HEAD_FROM), head_get(h, HEAD_CALL_ID),
		    buf_view(&contact), buf_view(&routes)};

		ok = lay_out(d, &p) && d->local_tag.n == DIALOG_TAG_LEN;
	}
	buf_release(&local);
	buf_release(&contact);
	buf_release(&routes);
	return ok;
}

struct dialog *
dialog_new(struct sip *s, struct session *session, struct conn *c,
    const struct head *h, struct view target)
{
	struct dialog *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->sip = s;
	d->session = session;
	d->conn = c;
	d->remote_cseq = d->invite_cseq = h->cseq;
	d->alive_ms = uv_now(s->loop);
	ring_init(&d->waiting);
	ring_init(&d->unconfirmed);
	buf_init(&d->ok);
	if (!first_layout(d, h, target) ||
	    !lookup_add(&s->dialogs, &d->node, lookup_hash(d->call_id))) {
		free(d->text);
		free(d);
		return NULL;
	}
	conn_hold(c);
	return d;
}

static bool
same(struct view a, struct view b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

struct dialog *
dialog_find(struct sip *s, struct view call_id, struct view local_tag,
    struct view remote_tag)
{
	struct lookup_node *n = lookup_first(&s->dialogs, lookup_hash(call_id));

	for (; n != NULL; n = lookup_next(n)) {
		struct dialog *d = LOOKUP_OF(n, struct dialog, node);

		if (same(d->call_id, call_id) &&
		    same(d->local_tag, local_tag) &&
		    same(d->remote_tag, remote_tag))
			return d;
	}
	return NULL;
}

bool
dialog_retarget(struct dialog *d, struct view target)
{
	struct parts p = {
	    target, d->local, d->remote, d->call_id, d->contact, d->routes};
	struct view now = view_of(d->start.p + 5, target.n);

	if (d->start.n > target.n + 6 && same(now, target) &&
	    d->start.p[5 + target.n] == ' ')
		return true;
	return lay_out(d, &p);
}

/* ---- INFOs and what becomes of them ---- */

static struct dialog_pending *
pending_get(struct dialog *d, uint32_t i)
{
	return &d->pending[(d->pending_at + i) & (d->pending_cap - 1)];
}

static bool
pending_grow(struct dialog *d)
{
	uint32_t cap = d->pending_cap == 0 ? PENDING_FIRST : d->pending_cap * 2;
	struct dialog_pending *new;

	if (cap > DIALOG_PENDING_MAX)
		return false;
	new = calloc(cap, sizeof(*new));
	if (new == NULL)
		return false;
	for (uint32_t i = 0; i < d->pending_count; i++)
		new[i] = *pending_get(d, i);
	free(d->pending);
	d->pending = new;
	d->pending_cap = cap;
	d->pending_at = 0;
	return true;
}

static bool
pending_add(struct dialog *d, uint64_t room, uint64_t number)
{
	if (d->pending_count == d->pending_cap && !pending_grow(d))
		return false;
	if (d->pending_count == 0)
		ring_append(&d->sip->waiting, &d->waiting);
	*pending_get(d, d->pending_count++) = (struct dialog_pending){
	    d->local_cseq, uv_now(d->sip->loop) + ANSWER_MS, room, number};
	return true;
}

/* An idle dialog holds no memory for what it might send. */
static void
pending_rest(struct dialog *d)
{
	if (d->pending_count > 0)
		return;
	ring_remove(&d->waiting);
	free(d->pending);
	d->pending = NULL;
	d->pending_cap = d->pending_at = 0;
}

static void
tell(struct dialog *d, const struct dialog_pending *p,
    enum session_outcome outcome)
{
	uint64_t *const counter[] = {
	    [SESSION_DELIVERED] = &d->sip->counters.delivered,
	    [SESSION_REFUSED] = &d->sip->counters.refused,
	    [SESSION_TIMEOUT] = &d->sip->counters.timeout,
	    [SESSION_GONE] = &d->sip->counters.gone,
	};

	++*counter[outcome];
	if (p->room != 0 && d->session->opened)
		chat_outcome(
		    d->sip->chat, d->session, p->room, p->number, outcome);
}

void
dialog_send(struct dialog *d, struct view body, uint64_t room, uint64_t number)
{
	bool stream = conn_reliable(d->conn);
	struct buf *b = stream ? conn_begin(d->conn) : &d->sip->text;
	size_t branch;

	if (!conn_writable(d->conn)) {
		session_return(d->session, room, number);
		return;
	}
	d->local_cseq++;
	if (room != 0 && !pending_add(d, room, number)) {
		/* It cannot be followed up, so this reader is too slow. */
		session_return(d->session, room, number);
		conn_doom(d->conn, "answers too few of our requests");
		return;
	}
	if (!stream)
		buf_clear(b);
	buf_put_view(b, d->start);
	buf_put_decimal(b, d->local_cseq);
	branch = b->len;
	buf_put_view(b, d->rest);
	buf_put_decimal(b, d->local_cseq);
	buf_put_text(b, " INFO\r\nContent-Length: ");
	buf_put_decimal(b, body.n);
	buf_put_text(b, "\r\n\r\n");
	buf_put_view(b, body);
	d->sip->counters.infos_sent++;
	if (stream) {
		conn_end(d->conn);
	} else if (!b->failed) {
		size_t at = d->start.n - BRANCH_LEN;

		transaction_send(&d->sip->transactions, d->conn,
		    view_of(b->data + at, branch - at), buf_view(b));
	}
}

/* Index of the CSeq among the pending ones, or their number. */
static uint32_t
pending_find(struct dialog *d, uint32_t cseq)
{
	uint32_t low = 0, high = d->pending_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (pending_get(d, middle)->cseq < cseq)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < d->pending_count && pending_get(d, low)->cseq == cseq)
		return low;
	return d->pending_count;
}

void
dialog_answered(struct dialog *d, uint32_t cseq, unsigned status)
{
	uint32_t i = pending_find(d, cseq);
	struct dialog_pending p;

	if (i == d->pending_count)
		return;
	p = *pending_get(d, i);
	/* Answers come nearly in order, so little is moved. */
	for (; i > 0; i--)
		*pending_get(d, i) = *pending_get(d, i - 1);
	d->pending_at = (d->pending_at + 1) & (d->pending_cap - 1);
	d->pending_count--;
	pending_rest(d);
	tell(d, &p, status < 300 ? SESSION_DELIVERED : SESSION_REFUSED);
}

void
dialog_expire(struct dialog *d, uint64_t now_ms)
{
	while (d->pending_count > 0) {
		struct dialog_pending p = *pending_get(d, 0);

		if (p.until_ms > now_ms)
			return;
		d->pending_at = (d->pending_at + 1) & (d->pending_cap - 1);
		d->pending_count--;
		tell(d, &p, SESSION_TIMEOUT);
	}
	pending_rest(d);
}

void
dialog_end(struct dialog *d)
{
	lookup_remove(&d->sip->dialogs, &d->node);
	ring_remove(&d->waiting);
	ring_remove(&d->unconfirmed);
	if (d->session->dialog == d)
		d->session->dialog = NULL;
	for (uint32_t i = 0; i < d->pending_count; i++)
		tell(d, pending_get(d, i), SESSION_GONE);
	free(d->pending);
	buf_release(&d->ok);
	conn_drop(d->conn);
	free(d->text);
	free(d);
}
