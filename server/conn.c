#include "server/conn.h"

#include <arpa/inet.h>

#include <stdlib.h>
#include <string.h>

#include "server/tls.h"
#include "server/transport.h"

/* What may wait for a client that does not read. */
#define WRITE_MAX (8U << 20)
#define SPARE_MAX (256U << 10)

static const struct {
	const char *via;
	bool reliable;
} kinds[] = {
    [CONN_TCP] = {"tcp", true},
    [CONN_TLS] = {"tls", true},
    [CONN_UDP] = {"udp", false},
};

void
conn_init(struct conn *c, struct transport *t, enum conn_kind kind)
{
	memset(c, 0, sizeof(*c));
	c->transport = t;
	c->kind = kind;
	c->refs = 1;
	buf_init(&c->in);
	buf_init(&c->out);
	ring_init(&c->idle);
	ring_init(&c->partial);
	ring_init(&c->dirty_ring);
	ring_init(&c->doomed_ring);
	ring_init(&c->stalled);
	c->active_ms = uv_now(t->loop);
}

struct conn *
conn_hold(struct conn *c)
{
	c->refs++;
	return c;
}

void
conn_drop(struct conn *c)
{
	if (--c->refs > 0)
		return;
	if (c->kind == CONN_UDP && c->u.other.socket != NULL)
		lookup_remove(&c->transport->flows, &c->by_address);
	ring_remove(&c->dirty_ring);
	ring_remove(&c->doomed_ring);
	buf_release(&c->in);
	buf_release(&c->out);
	tls_free(c->tls);
	free(c);
}

bool
conn_alive(const struct conn *c)
{
	return !c->doomed && !c->closed;
}

bool
conn_writable(const struct conn *c)
{
	return conn_alive(c) && c->mute == 0;
}

const char *
conn_via(const struct conn *c)
{
	return kinds[c->kind].via;
}

bool
conn_reliable(const struct conn *c)
{
	return kinds[c->kind].reliable;
}

static void
put_host(const union conn_address *a, bool brackets, struct buf *out)
{
	char text[INET6_ADDRSTRLEN] = "0.0.0.0";

	if (a->any.sa_family == AF_INET6 &&
	    IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
		inet_ntop(
		    AF_INET, a->in6.sin6_addr.s6_addr + 12, text, sizeof(text));
		brackets = false;
	} else if (a->any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof(text));
	} else if (a->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof(text));
		brackets = false;
	} else {
		brackets = false;
	}
	if (brackets)
		buf_put_u8(out, '[');
	buf_put_text(out, text);
	if (brackets)
		buf_put_u8(out, ']');
}

static unsigned
port_of(const union conn_address *a)
{
	if (a->any.sa_family == AF_INET6)
		return ntohs(a->in6.sin6_port);
	return a->any.sa_family == AF_INET ? ntohs(a->in.sin_port) : 0;
}

static void
put_address(const union conn_address *a, struct buf *out)
{
	put_host(a, true, out);
	buf_put_u8(out, ':');
	buf_put_decimal(out, port_of(a));
}

void
conn_put_remote(const struct conn *c, struct buf *out)
{
	put_address(&c->remote, out);
}

void
conn_put_local(const struct conn *c, struct buf *out)
{
	put_address(&c->local, out);
}

void
conn_put_local_host(const struct conn *c, struct buf *out)
{
	put_host(&c->local, false, out);
}

void
conn_put_remote_host(const struct conn *c, struct buf *out)
{
	put_host(&c->remote, false, out);
}

unsigned
conn_remote_port(const struct conn *c)
{
	return port_of(&c->remote);
}

/* What waits behind a write that the client does not take. */
static void
count_unread(struct conn *c)
{
	struct transport *t = c->transport;
	size_t now = 0;

	if (conn_alive(c) && c->pending != NULL)
		now = c->pending->size + c->out.len;
	t->unread = t->unread - c->unread + now;
	c->unread = now;
}

void
conn_doom(struct conn *c, const char *why)
{
	if (c->doomed || c->closed || c->kind == CONN_UDP)
		return;
	c->doomed = true;
	if (c->mute == 0)
		c->doom = why;
	count_unread(c);
	ring_append(&c->transport->doomed, &c->doomed_ring);
}

/* ---- output ---- */

struct buf *
conn_begin(struct conn *c)
{
	struct transport *t = c->transport;

	if (!conn_writable(c) || c->kind == CONN_UDP) {
		buf_clear(&t->scratch);
		return &t->scratch;
	}
	if (c->out.data == NULL && t->spare_count > 0)
		c->out = t->spare[--t->spare_count];
	return &c->out;
}

/* Whoever has most must go, until all together have no more than allowed. */
static void
bound_unread(struct transport *t)
{
	while (t->unread > t->conf->limits.unread_bytes) {
		struct conn *most = NULL;

		for (struct ring *r = t->stalled.next; r != &t->stalled;
		     r = r->next) {
			struct conn *c = RING_OF(r, struct conn, stalled);

			if (most == NULL || c->unread > most->unread)
				most = c;
		}
		if (most == NULL || most->unread == 0)
			return;
		conn_doom(most,
		    "leaves most unread of all, and that is more "
		    "than limits.unread-bytes");
	}
}

static void
send_datagram(struct conn *c, struct view v)
{
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)v.p, (unsigned)v.n);
	int rc;

	if (c->u.other.sink != NULL) {
		c->u.other.sink(c->u.other.sink_arg, v);
		return;
	}
	/* A full socket buffer loses the datagram, as the network might. */
	rc = uv_udp_try_send(c->u.other.socket, &b, 1, &c->remote.any);
	if (rc < 0)
		transport_complain(c->transport, c, uv_strerror(rc));
}

void
conn_end(struct conn *c)
{
	struct transport *t = c->transport;
	size_t waiting = c->pending == NULL ? 0 : c->pending->size;

	if (!conn_writable(c))
		return;
	if (c->kind == CONN_UDP) {
		if (!t->scratch.failed)
			send_datagram(c, buf_view(&t->scratch));
		return;
	}
	if (c->out.len == 0 && !c->out.failed)
		return;
	if (c->out.failed)
		conn_doom(c, "out of memory");
	else if (c->out.len + waiting > WRITE_MAX)
		conn_doom(c, "does not read what is sent to it");
	count_unread(c);
	bound_unread(t);
	if (!c->dirty) {
		c->dirty = true;
		ring_append(&t->dirty, &c->dirty_ring);
	}
}

static void
recycle(struct transport *t, struct buf *b)
{
	if (b->cap > 0 && b->cap <= SPARE_MAX && !b->failed &&
	    t->spare_count < TRANSPORT_SPARE) {
		buf_clear(b);
		t->spare[t->spare_count++] = *b;
		buf_init(b);
	} else {
		buf_release(b);
	}
}

/* Whether the socket is at its end, and only what was received is left. */
static bool
is_gone(int error)
{
	return error == UV_ECONNRESET || error == UV_EPIPE ||
	    error == UV_ECONNABORTED || error == UV_ETIMEDOUT ||
	    error == UV_EHOSTUNREACH || error == UV_ENETUNREACH;
}

void
conn_write_failed(struct conn *c, int error)
{
	if (!is_gone(error))
		conn_doom(c, uv_strerror(error));
	if (!conn_writable(c))
		return;
	c->mute = 1;
	c->doom = uv_strerror(error);
	buf_release(&c->out);
	ring_append(&c->transport->mute, &c->stalled);
}

static void
on_written(uv_write_t *request, int status)
{
	struct conn_write *w = request->data;
	struct conn *c = w->conn;

	ring_remove(&c->stalled);
	c->pending = NULL;
	count_unread(c);
	buf_release(&w->bytes);
	free(w);
	if (status < 0)
		conn_write_failed(c, status);
	else if (c->out.len > 0)
		conn_flush(c);
	conn_drop(c);
}

/* Leaves the rest of the bytes to the loop; takes b's memory over. */
static void
write_later(struct conn *c, struct buf *b, size_t done)
{
	struct conn_write *w = calloc(1, sizeof(*w));
	uv_buf_t rest;
	int rc;

	if (w == NULL) {
		buf_release(b);
		conn_doom(c, "out of memory");
		return;
	}
	w->conn = conn_hold(c);
	w->bytes = *b;
	w->size = b->len - done;
	w->since_ms = uv_now(c->transport->loop);
	w->request.data = w;
	buf_init(b);
	rest = uv_buf_init((char *)w->bytes.data + done, (unsigned)w->size);
	c->pending = w;
	ring_append(&c->transport->stalled, &c->stalled);
	count_unread(c);
	bound_unread(c->transport);
	rc = uv_write(&w->request, &c->u.stream, &rest, 1, on_written);
	if (rc < 0)
		on_written(&w->request, rc);
}

static void
write_now(struct conn *c, struct buf *b)
{
	uv_buf_t all = uv_buf_init((char *)b->data, (unsigned)b->len);
	int rc;

	if (b->len == 0) {
		buf_release(b);
		return;
	}
	rc = uv_try_write(&c->u.stream, &all, 1);
	if (rc < 0 && rc != UV_EAGAIN) {
		buf_release(b);
		conn_write_failed(c, rc);
	} else if (rc < 0 || (size_t)rc < b->len) {
		write_later(c, b, rc < 0 ? 0 : (size_t)rc);
	} else {
		recycle(c->transport, b);
	}
}

void
conn_flush(struct conn *c)
{
	struct buf wire;

	if (c->closed || c->pending != NULL || c->out.len == 0)
		return;
	if (c->out.failed) {
		buf_release(&c->out);
		return;
	}
	if (!c->has_handle) {
		c->u.other.sink(c->u.other.sink_arg, buf_view(&c->out));
		recycle(c->transport, &c->out);
		return;
	}
	if (c->tls == NULL) {
		wire = c->out;
		buf_init(&c->out);
		write_now(c, &wire);
		return;
	}
	buf_init(&wire);
	if (!tls_send(c->tls, buf_view(&c->out), &wire))
		conn_doom(c, "TLS write failed");
	recycle(c->transport, &c->out);
	write_now(c, &wire);
}

static void
on_closed(uv_handle_t *handle)
{
	conn_drop(handle->data);
}

void
conn_close(struct conn *c)
{
	struct buf wire;

	if (c->closed)
		return;
	if (c->tls != NULL && c->pending == NULL && c->mute == 0) {
		buf_init(&wire);
		tls_bye(c->tls, &wire);
		write_now(c, &wire);
	}
	c->closed = true;
	count_unread(c);
	ring_remove(&c->idle);
	ring_remove(&c->partial);
	ring_remove(&c->dirty_ring);
	ring_remove(&c->doomed_ring);
	ring_remove(&c->stalled);
	buf_release(&c->in);
	buf_release(&c->out);
	if (c->has_handle) {
		transport_leave(c->transport, c);
		uv_close(&c->u.handle, on_closed);
	} else {
		conn_drop(c);
	}
}

/* ---- input ---- */

static void
deliver(struct conn *c, struct head *h, unsigned status, const char *why)
{
	struct transport *t = c->transport;

	c->blanks = 0;
	t->events.message(t->events.arg, c, h, status, why);
}

/* A message after which the stream cannot be followed any further. */
static void
deliver_last(struct conn *c, struct head *h, unsigned status, const char *why)
{
	deliver(c, h, status, why);
	conn_doom(c, why);
}

/* Empty lines; two in a row are a keep-alive (RFC 5626 section 4.4.1). */
static void
take_blank(struct conn *c)
{
	if (++c->blanks < 2)
		return;
	c->blanks = 0;
	buf_put_text(conn_begin(c), "\r\n");
	conn_end(c);
}

/* Number of bytes of one message or empty line; 0: not complete. */
static size_t
take_message(struct conn *c, uint8_t *p, size_t n)
{
	const unsigned limit = c->transport->conf->limits.message_bytes;
	enum head_verdict verdict;
	const char *why;
	unsigned status;
	struct head h;
	size_t used;

	switch (head_frame(view_of(p, n), &c->scanned, &used)) {
	case HEAD_FRAME_MORE:
		if (n > limit)
			conn_doom(c, "header larger than limits.message_bytes");
		return 0;
	case HEAD_FRAME_BLANK:
		take_blank(c);
		return used;
	case HEAD_FRAME_HEAD:
		break;
	}
	verdict = head_scan(p, used, c->transport->conf->limits.header_count,
	    &h, &status, &why);
	if (verdict == HEAD_BROKEN) {
		deliver_last(c, &h, status, why);
	} else if (h.content_length > limit ||
	    used + h.content_length > limit) {
		deliver_last(c, &h, 413, "message larger than the limit");
	} else if (!h.has_content_length && head_has(&h, HEAD_CONTENT_TYPE)) {
		deliver_last(c, &h, 400, "missing Content-Length");
	} else if (used + h.content_length > n) {
		c->need = used + h.content_length;
		c->scanned = 0;
	} else {
		h.body = view_of(p + used, h.content_length);
		deliver(c, &h, verdict == HEAD_OK ? 0 : status, why);
		return used + h.content_length;
	}
	return 0;
}

static size_t
consume(struct conn *c, uint8_t *p, size_t n)
{
	size_t used = 0, one;

	while (used < n && conn_alive(c) && c->need <= n - used) {
		one = take_message(c, p + used, n - used);
		if (one == 0)
			break;
		used += one;
		c->scanned = c->need = 0;
	}
	return used;
}

static void
feed_stream(struct conn *c, uint8_t *p, size_t n)
{
	size_t used;

	if (c->in.len > 0) {
		buf_put(&c->in, p, n);
		used = consume(c, c->in.data, c->in.len);
		buf_consume(&c->in, used);
	} else {
		used = consume(c, p, n);
		if (used < n)
			buf_put(&c->in, p + used, n - used);
	}
	if (c->in.failed)
		conn_doom(c, "out of memory");
	if (c->in.len == 0 || c->doomed)
		buf_release(&c->in);
	/* The clock of limits.message_s starts with each new message. */
	if (c->in.len == 0 || used > 0) {
		ring_remove(&c->partial);
		c->partial_ms = 0;
	}
	if (c->in.len > 0 && c->partial_ms == 0) {
		c->partial_ms = uv_now(c->transport->loop);
		ring_append(&c->transport->partial, &c->partial);
	}
}

static void
feed_datagram(struct conn *c, uint8_t *p, size_t n)
{
	enum head_verdict verdict;
	size_t scanned = 0, used = 0;
	enum head_frame frame;
	const char *why;
	unsigned status;
	struct head h;

	while ((frame = head_frame(view_of(p, n), &scanned, &used)) ==
	    HEAD_FRAME_BLANK) {
		p += used;
		n -= used;
	}
	if (n == 0)
		return;
	if (frame == HEAD_FRAME_MORE)
		used = n;
	verdict = head_scan(p, used, c->transport->conf->limits.header_count,
	    &h, &status, &why);
	if (verdict == HEAD_OK &&
	    n > c->transport->conf->limits.message_bytes) {
		verdict = HEAD_BAD;
		status = 413;
		why = "message larger than the limit";
	} else if (verdict == HEAD_OK &&
	    (frame == HEAD_FRAME_MORE || h.content_length > n - used)) {
		verdict = HEAD_BAD;
		why = "truncated message";
	} else if (verdict == HEAD_OK) {
		/* RFC 3261 section 18.3: without a length, to the end. */
		h.body = view_of(p + used,
		    h.has_content_length ? h.content_length : n - used);
	}
	deliver(c, &h, verdict == HEAD_OK ? 0 : status, why);
}

void
conn_feed(struct conn *c, uint8_t *p, size_t n)
{
	if (!conn_alive(c) || n == 0)
		return;
	conn_hold(c);
	c->active_ms = uv_now(c->transport->loop);
	if (c->kind == CONN_UDP) {
		feed_datagram(c, p, n);
	} else {
		ring_remove(&c->idle);
		ring_append(&c->transport->idle, &c->idle);
		feed_stream(c, p, n);
	}
	conn_drop(c);
}
