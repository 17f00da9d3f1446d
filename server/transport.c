#include "server/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/tls.h"

#define BACKLOG 1024
#define TICK_MS 1000
/* A write that makes no progress for so long ends the connection. */
#define STALL_MS 60000
/* A mute connection is read for so many ticks, with a turn in each. */
#define MUTE_TICKS 5
/* Complaints logged in one second. */
#define COMPLAINTS 10

struct transport_listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_udp_t udp;
	} u;
	struct transport *transport;
	const struct conf_listen *conf;
	enum conn_kind kind;
	struct tls_config *tls;
	union conn_address local;
	bool open;
};

/* A remote host with stream connections. */
struct transport_host {
	struct lookup_node node;
	union conn_address address;
	unsigned connections;
};

static const enum conn_kind kind_of[] = {
    [CONF_TCP] = CONN_TCP,
    [CONF_UDP] = CONN_UDP,
    [CONF_TLS] = CONN_TLS,
};

void
transport_complain(struct transport *t, const struct conn *c, const char *why)
{
	uint64_t now = uv_now(t->loop);
	struct buf who;

	if (now - t->complaint_ms >= 1000) {
		if (t->silenced > 0)
			log_warn("%u more complaints about peers", t->silenced);
		t->complaint_ms = now;
		t->complaints = t->silenced = 0;
	}
	if (++t->complaints > COMPLAINTS) {
		t->silenced++;
		return;
	}
	buf_init(&who);
	conn_put_remote(c, &who);
	if (!who.failed)
		log_warn("%s %s: %s", conn_via(c), buf_text(&who), why);
	buf_release(&who);
}

/* ---- the end of a turn ---- */

static void
close_doomed(struct transport *t)
{
	while (!ring_empty(&t->doomed)) {
		struct conn *c =
		    RING_OF(t->doomed.next, struct conn, doomed_ring);

		conn_hold(c);
		conn_flush(c);
		if (c->doom != NULL) {
			transport_complain(t, c, c->doom);
			t->cut++;
		}
		t->events.closed(t->events.arg, c);
		conn_close(c);
		conn_drop(c);
	}
}

void
transport_flush(struct transport *t)
{
	if (t->events.turn != NULL)
		t->events.turn(t->events.arg);
	/* A closed connection may make others dirty: they are told of it. */
	do {
		while (!ring_empty(&t->dirty)) {
			struct conn *c =
			    RING_OF(t->dirty.next, struct conn, dirty_ring);

			ring_remove(&c->dirty_ring);
			c->dirty = false;
			conn_flush(c);
		}
		close_doomed(t);
	} while (!ring_empty(&t->dirty));
}

static void
on_prepare(uv_prepare_t *handle)
{
	transport_flush(handle->data);
}

static void
on_check(uv_check_t *handle)
{
	transport_flush(handle->data);
}

static void
on_timer(uv_timer_t *timer)
{
	struct transport *t = timer->data;
	uint64_t now = uv_now(t->loop);
	struct conn *c;

	/* Each list is in order of time, so only its front can be due. */
	while (!ring_empty(&t->idle)) {
		c = RING_OF(t->idle.next, struct conn, idle);
		if (now - c->active_ms < t->conf->limits.idle_s * 1000ULL)
			break;
		ring_remove(&c->idle);
		conn_doom(c, "silent for longer than limits.idle_s");
	}
	while (!ring_empty(&t->partial)) {
		c = RING_OF(t->partial.next, struct conn, partial);
		if (now - c->partial_ms < t->conf->limits.message_s * 1000ULL)
			break;
		ring_remove(&c->partial);
		conn_doom(c, "message not complete in limits.message_s");
	}
	while (!ring_empty(&t->stalled)) {
		c = RING_OF(t->stalled.next, struct conn, stalled);
		if (now - c->pending->since_ms < STALL_MS)
			break;
		ring_remove(&c->stalled);
		conn_doom(c, "does not read what is sent to it");
	}
	for (struct ring *r = t->mute.next; r != &t->mute; r = r->next) {
		c = RING_OF(r, struct conn, stalled);
		if (++c->mute > MUTE_TICKS)
			conn_doom(c, NULL);
	}
}

/* ---- streams ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct conn *c = handle->data;

	(void)suggested; /* one buffer serves all: reads do not overlap */
	*out = uv_buf_init((char *)c->transport->read, TRANSPORT_READ_SIZE);
}

/* What TLS itself has to say. */
static void
write_wire(struct conn *c, struct view wire)
{
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)wire.p, (unsigned)wire.n);
	int rc;

	if (c->pending != NULL) {
		conn_doom(c, "TLS alert while the client does not read");
		return;
	}
	rc = uv_try_write(&c->u.stream, &b, 1);
	/* Handshake records fit an empty socket buffer. */
	if (rc == UV_EAGAIN || (rc >= 0 && (size_t)rc < wire.n))
		conn_doom(c, "TLS handshake could not be written");
	else if (rc < 0)
		conn_write_failed(c, rc);
}

static void
read_tls(struct conn *c, struct view in)
{
	enum tls_verdict verdict;
	struct buf plain, wire;
	bool shaking = !tls_established(c->tls);
	const char *why;

	buf_init(&plain);
	buf_init(&wire);
	verdict = tls_receive(c->tls, in, &plain, &wire, &why);
	if (wire.len > 0 && conn_writable(c))
		write_wire(c, buf_view(&wire));
	buf_release(&wire);
	if (shaking && tls_established(c->tls)) {
		ring_remove(&c->partial);
		c->partial_ms = 0;
	}
	if (plain.len > 0)
		conn_feed(c, plain.data, plain.len);
	buf_release(&plain);
	if (verdict == TLS_FAILED)
		conn_doom(c, why);
	else if (verdict == TLS_ENDED)
		conn_doom(c, NULL);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct conn *c = stream->data;

	if (n == UV_EOF || n == UV_ECONNRESET) {
		conn_doom(c, NULL);
	} else if (n < 0) {
		conn_doom(c, uv_strerror((int)n));
	} else if (n > 0 && conn_alive(c)) {
		if (c->tls != NULL)
			read_tls(c, view_of(b->base, (size_t)n));
		else
			conn_feed(c, (uint8_t *)b->base, (size_t)n);
	}
}

/* Network form of an address: 4 or 16 bytes, and the port. */
static void
put_key(const union conn_address *a, bool with_port, struct buf *out)
{
	bool six = a->any.sa_family == AF_INET6;

	if (six)
		buf_put(out, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	else
		buf_put(out, &a->in.sin_addr, sizeof(a->in.sin_addr));
	if (with_port)
		buf_put_u16(out, six ? a->in6.sin6_port : a->in.sin_port);
}

static bool
same_address(
    const union conn_address *a, const union conn_address *b, bool with_port)
{
	uint8_t space[2][32];
	struct buf ka = {space[0], 0, sizeof(space[0]), false};
	struct buf kb = {space[1], 0, sizeof(space[1]), false};

	put_key(a, with_port, &ka);
	put_key(b, with_port, &kb);
	return a->any.sa_family == b->any.sa_family && ka.len == kb.len &&
	    memcmp(ka.data, kb.data, ka.len) == 0;
}

static uint64_t
address_hash(const union conn_address *a, bool with_port)
{
	uint8_t space[32];
	struct buf key = {space, 0, sizeof(space), false};

	put_key(a, with_port, &key);
	return lookup_hash(buf_view(&key));
}

static struct transport_host *
host_of(struct transport *t, const union conn_address *a)
{
	uint64_t hash = address_hash(a, false);
	struct lookup_node *n = lookup_first(&t->hosts, hash);
	struct transport_host *h;

	for (; n != NULL; n = lookup_next(n)) {
		h = LOOKUP_OF(n, struct transport_host, node);
		if (same_address(&h->address, a, false))
			return h;
	}
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		return NULL;
	h->address = *a;
	if (!lookup_add(&t->hosts, &h->node, hash)) {
		free(h);
		return NULL;
	}
	return h;
}

void
transport_leave(struct transport *t, struct conn *c)
{
	t->stream_count--;
	if (c->host == NULL || --c->host->connections > 0)
		return;
	lookup_remove(&t->hosts, &c->host->node);
	free(c->host);
	c->host = NULL;
}

static bool
has_place(struct transport *t, struct conn *c)
{
	const char *why = NULL;

	c->host = host_of(t, &c->remote);
	if (c->host == NULL)
		return false;
	c->host->connections++;
	if (t->stream_count > t->conf->limits.connections)
		why = "more connections than limits.connections";
	else if (c->host->connections > t->conf->limits.connections_per_address)
		why = "more connections than limits.connections_per_address";
	if (why == NULL)
		return true;
	transport_complain(t, c, why);
	return false;
}

static void
free_refused(uv_handle_t *handle)
{
	conn_drop(handle->data);
}

static void
get_addresses(struct conn *c)
{
	int n = sizeof(c->remote);

	if (uv_tcp_getpeername(&c->u.tcp, &c->remote.any, &n) < 0)
		c->remote.any.sa_family = AF_UNSPEC;
	n = sizeof(c->local);
	if (uv_tcp_getsockname(&c->u.tcp, &c->local.any, &n) < 0)
		c->local.any.sa_family = AF_UNSPEC;
}

/* True when the connection is in business. */
static bool
start_stream(struct transport_listener *l, struct conn *c)
{
	struct transport *t = c->transport;

	if (uv_accept(&l->u.stream, &c->u.stream) < 0)
		return false;
	get_addresses(c);
	if (c->remote.any.sa_family == AF_UNSPEC)
		return false;
	if (!has_place(t, c))
		return false;
	if (l->kind == CONN_TLS && (c->tls = tls_new(l->tls)) == NULL)
		return false;
	if (uv_read_start(&c->u.stream, on_alloc, on_read) < 0)
		return false;
	/* Without Nagle's delay: every turn's output is one write. */
	(void)uv_tcp_nodelay(&c->u.tcp, 1);
	return true;
}

static void
on_connection(uv_stream_t *stream, int status)
{
	struct transport_listener *l = stream->data;
	struct transport *t = l->transport;
	struct conn *c;

	if (status < 0) {
		log_warn("accept: %s", uv_strerror(status));
		return;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		log_warn("accept: out of memory");
		return;
	}
	conn_init(c, t, l->kind);
	if (uv_tcp_init(t->loop, &c->u.tcp) < 0) {
		free(c);
		return;
	}
	c->has_handle = true;
	c->u.handle.data = c;
	t->stream_count++;
	if (!start_stream(l, c)) {
		t->refused++;
		transport_leave(t, c);
		uv_close(&c->u.handle, free_refused);
		return;
	}
	t->accepted++;
	ring_append(&t->idle, &c->idle);
	if (c->tls != NULL) {
		/* The handshake has as long as a message has. */
		c->partial_ms = c->active_ms;
		ring_append(&t->partial, &c->partial);
	}
}

/* ---- UDP ---- */

/* The flow of a remote address, held for the caller. */
static struct conn *
udp_conn(struct transport_listener *l, const union conn_address *from)
{
	struct transport *t = l->transport;
	uint64_t hash = address_hash(from, true);
	struct lookup_node *n = lookup_first(&t->flows, hash);
	struct conn *c;

	for (; n != NULL; n = lookup_next(n)) {
		c = LOOKUP_OF(n, struct conn, by_address);
		if (c->kind == CONN_UDP && c->u.other.socket == &l->u.udp &&
		    same_address(&c->remote, from, true))
			return conn_hold(c);
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	conn_init(c, t, CONN_UDP);
	c->remote = *from;
	c->local = l->local;
	if (!lookup_add(&t->flows, &c->by_address, hash)) {
		free(c);
		return NULL;
	}
	c->u.other.socket = &l->u.udp;
	return c;
}

static void
on_udp_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct transport_listener *l = handle->data;

	(void)suggested; /* the largest datagram fits */
	*out = uv_buf_init((char *)l->transport->read, TRANSPORT_READ_SIZE);
}

static void
on_datagram(uv_udp_t *socket, ssize_t n, const uv_buf_t *b,
    const struct sockaddr *from, unsigned flags)
{
	struct transport_listener *l = socket->data;
	union conn_address address;
	struct conn *c;

	if (n <= 0 || from == NULL || (flags & UV_UDP_PARTIAL) != 0)
		return;
	memset(&address, 0, sizeof(address));
	memcpy(&address, from,
	    from->sa_family == AF_INET6 ? sizeof(address.in6)
					: sizeof(address.in));
	c = udp_conn(l, &address);
	if (c == NULL)
		return;
	conn_feed(c, (uint8_t *)b->base, (size_t)n);
	conn_drop(c);
}

/* ---- listeners ---- */

static int
bind_one(struct transport_listener *l)
{
	const struct conf_listen *conf = l->conf;
	uv_loop_t *loop = l->transport->loop;
	union conn_address a;
	int n = sizeof(l->local), rc;

	memset(&a, 0, sizeof(a));
	if (strchr(conf->address, ':') != NULL)
		rc = uv_ip6_addr(conf->address, conf->port, &a.in6);
	else
		rc = uv_ip4_addr(conf->address, conf->port, &a.in);
	if (rc < 0)
		return rc;
	rc = l->kind == CONN_UDP ? uv_udp_init(loop, &l->u.udp)
				 : uv_tcp_init(loop, &l->u.tcp);
	if (rc < 0)
		return rc;
	l->open = true;
	l->u.handle.data = l;
	if (l->kind == CONN_UDP) {
		rc = uv_udp_bind(&l->u.udp, &a.any, 0);
		if (rc == 0)
			rc = uv_udp_getsockname(&l->u.udp, &l->local.any, &n);
	} else {
		rc = uv_tcp_bind(&l->u.tcp, &a.any, 0);
		if (rc == 0)
			rc = uv_tcp_getsockname(&l->u.tcp, &l->local.any, &n);
	}
	return rc;
}

int
transport_bind(struct transport *t, char *why, size_t why_len)
{
	for (size_t i = 0; i < t->conf->listen_count; i++) {
		struct transport_listener *l = &t->listeners[i];
		int rc;

		l->transport = t;
		l->conf = &t->conf->listens[i];
		l->kind = kind_of[l->conf->transport];
		t->listener_count = i + 1;
		rc = bind_one(l);
		if (rc < 0) {
			snprintf(why, why_len, "%s:%u: %s", l->conf->address,
			    l->conf->port, uv_strerror(rc));
			return -1;
		}
		if (l->kind != CONN_TLS)
			continue;
		l->tls = tls_config_new(
		    l->conf->certificate, l->conf->key, why, why_len);
		if (l->tls == NULL)
			return -1;
	}
	return 0;
}

int
transport_listen(struct transport *t, char *why, size_t why_len)
{
	for (size_t i = 0; i < t->listener_count; i++) {
		struct transport_listener *l = &t->listeners[i];
		int rc = l->kind == CONN_UDP
		    ? uv_udp_recv_start(&l->u.udp, on_udp_alloc, on_datagram)
		    : uv_listen(&l->u.stream, BACKLOG, on_connection);

		if (rc < 0) {
			snprintf(why, why_len, "%s:%u: %s", l->conf->address,
			    transport_port(t, i), uv_strerror(rc));
			return -1;
		}
		log_info("listening on %s %s:%u",
		    l->kind == CONN_UDP       ? "udp"
			: l->kind == CONN_TCP ? "tcp"
					      : "tls",
		    l->conf->address, transport_port(t, i));
	}
	return 0;
}

unsigned
transport_port(const struct transport *t, size_t listener)
{
	const union conn_address *a = &t->listeners[listener].local;

	return ntohs(
	    a->any.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

struct transport *
transport_new(uv_loop_t *loop, const struct conf *conf,
    const struct transport_events *events)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->listeners = calloc(conf->listen_count + 1, sizeof(*t->listeners));
	if (t->listeners == NULL) {
		free(t);
		return NULL;
	}
	t->loop = loop;
	t->conf = conf;
	t->events = *events;
	ring_init(&t->idle);
	ring_init(&t->partial);
	ring_init(&t->dirty);
	ring_init(&t->doomed);
	ring_init(&t->stalled);
	ring_init(&t->mute);
	lookup_init(&t->hosts);
	lookup_init(&t->flows);
	buf_init(&t->scratch);
	uv_prepare_init(loop, &t->prepare);
	uv_check_init(loop, &t->check);
	uv_timer_init(loop, &t->timer);
	t->prepare.data = t->check.data = t->timer.data = t;
	uv_prepare_start(&t->prepare, on_prepare);
	uv_check_start(&t->check, on_check);
	uv_timer_start(&t->timer, on_timer, TICK_MS, TICK_MS);
	/* What has to be done at the end of a turn keeps no loop alive. */
	uv_unref((uv_handle_t *)&t->prepare);
	uv_unref((uv_handle_t *)&t->check);
	uv_unref((uv_handle_t *)&t->timer);
	return t;
}

struct conn *
transport_loopback(
    struct transport *t, enum conn_kind kind, conn_sink_cb *sink, void *arg)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	conn_init(c, t, kind);
	c->u.other.sink = sink;
	c->u.other.sink_arg = arg;
	c->remote.in.sin_family = c->local.in.sin_family = AF_INET;
	if (kind != CONN_UDP)
		ring_append(&t->idle, &c->idle);
	return c;
}

void
transport_stop(struct transport *t)
{
	for (size_t i = 0; i < t->listener_count; i++) {
		struct transport_listener *l = &t->listeners[i];

		if (l->open)
			uv_close(&l->u.handle, NULL);
		l->open = false;
	}
}

void
transport_close(struct transport *t)
{
	transport_stop(t);
	while (!ring_empty(&t->idle)) {
		struct conn *c = RING_OF(t->idle.next, struct conn, idle);

		ring_remove(&c->idle);
		conn_doom(c, NULL);
	}
	transport_flush(t);
	uv_close((uv_handle_t *)&t->prepare, NULL);
	uv_close((uv_handle_t *)&t->check, NULL);
	uv_close((uv_handle_t *)&t->timer, NULL);
}

void
transport_free(struct transport *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->listener_count; i++)
		tls_config_free(t->listeners[i].tls);
	while (t->spare_count > 0)
		buf_release(&t->spare[--t->spare_count]);
	lookup_release(&t->hosts);
	lookup_release(&t->flows);
	buf_release(&t->scratch);
	free(t->listeners);
	free(t);
}
