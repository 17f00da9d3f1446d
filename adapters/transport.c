#include "adapters/transport.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#define PENDING_MAX ((size_t)32 << 10)

struct stream {
	int fd;
	bool datagram;
	gnutls_session_t tls;
	gnutls_certificate_credentials_t credentials;
	struct buf pending;
};

static const struct {
	const char *name;
	enum transport_scheme scheme;
} schemes[] = {
    {"udp", TRANSPORT_UDP},
    {"tcp", TRANSPORT_TCP},
    {"tls", TRANSPORT_TLS},
    {"relp", TRANSPORT_RELP},
    {"relp+tls", TRANSPORT_RELP_TLS},
};

static bool
copy(char *out, size_t size, const char *p, size_t n)
{
	if (n == 0 || n >= size)
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

/* "host:port" or "[v6]:port" */
static bool
parse_address(const char *text, struct transport_target *out)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t n;
	uint64_t port;

	if (colon == NULL)
		return false;
	n = (size_t)(colon - text);
	if (n >= 2 && text[0] == '[' && colon[-1] == ']') {
		host = text + 1;
		n -= 2;
	} else if (memchr(text, ':', n) != NULL) {
		return false;
	}
	return copy(out->host, sizeof out->host, host, n) &&
	    view_to_u64(view_text(colon + 1), &port) && port > 0 &&
	    port <= UINT16_MAX &&
	    copy(out->port, sizeof out->port, colon + 1, strlen(colon + 1));
}

bool
transport_parse(const char *text, struct transport_target *out)
{
	const char *rest = strstr(text, "://");

	if (rest == NULL)
		return false;
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		if (!view_is(
			view_of(text, (size_t)(rest - text)), schemes[i].name))
			continue;
		out->scheme = schemes[i].scheme;
		return parse_address(rest + 3, out);
	}
	return false;
}

static void
stream_close(void *link)
{
	struct stream *s = link;

	if (s->tls != NULL)
		gnutls_deinit(s->tls);
	if (s->credentials != NULL)
		gnutls_certificate_free_credentials(s->credentials);
	if (s->fd >= 0)
		(void)close(s->fd); /* what it proves was proved before */
	buf_release(&s->pending);
	free(s);
}

/* Connects the first address that answers; the reason is the last one's. */
static bool
connect_any(
    struct stream *s, struct adapter *a, const struct transport_target *t)
{
	const struct addrinfo hints = {
	    .ai_socktype = s->datagram ? SOCK_DGRAM : SOCK_STREAM};
	const struct timeval step = {.tv_sec = TRANSPORT_STEP_S};
	struct addrinfo *list, *i;
	int error = getaddrinfo(t->host, t->port, &hints, &list);

	if (error != 0)
		return adapter_fail(a, "%s: %s", t->host, gai_strerror(error));
	for (i = list; i != NULL && s->fd < 0; i = i->ai_next) {
		int fd = socket(i->ai_family, i->ai_socktype | SOCK_CLOEXEC,
		    i->ai_protocol);

		adapter_alive(a);
		if (fd >= 0 &&
		    setsockopt(
			fd, SOL_SOCKET, SO_SNDTIMEO, &step, sizeof step) == 0 &&
		    setsockopt(
			fd, SOL_SOCKET, SO_RCVTIMEO, &step, sizeof step) == 0 &&
		    connect(fd, i->ai_addr, i->ai_addrlen) == 0) {
			s->fd = fd;
			break;
		}
		error = errno;
		if (fd >= 0)
			(void)close(fd); /* never connected */
	}
	freeaddrinfo(list);
	return s->fd >= 0 ||
	    adapter_fail(a, "%s port %s: %s", t->host, t->port,
		error == EINPROGRESS ? "no answer" : strerror(error));
}

static void *
open_stream(struct adapter *a, const struct transport_target *t, bool datagram)
{
	struct stream *s = calloc(1, sizeof *s);

	if (s == NULL) {
		adapter_fail(a, "out of memory");
		return NULL;
	}
	s->fd = -1;
	s->datagram = datagram;
	buf_init(&s->pending);
	if (!connect_any(s, a, t)) {
		stream_close(s);
		return NULL;
	}
	return s;
}

static void *
udp_open(struct adapter *a, const struct transport_target *t,
    const struct adapter_config *c, uint64_t events)
{
	(void)c, (void)events; /* nothing to set */
	return open_stream(a, t, true);
}

static void *
tcp_open(struct adapter *a, const struct transport_target *t,
    const struct adapter_config *c, uint64_t events)
{
	(void)c, (void)events; /* nothing to set */
	return open_stream(a, t, false);
}

static bool
is_number_address(const char *host)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
	struct addrinfo *list;

	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return false;
	freeaddrinfo(list);
	return true;
}

/* Trust in the one CA file, and our own certificate when one is set. */
static int
load_credentials(struct stream *s, const struct adapter_config *c)
{
	int rc = gnutls_certificate_allocate_credentials(&s->credentials);

	if (rc < 0)
		return rc;
	rc = gnutls_certificate_set_x509_trust_file(
	    s->credentials, c->ca, GNUTLS_X509_FMT_PEM);
	if (rc < 0 || c->certificate == NULL)
		return rc == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : rc;
	return gnutls_certificate_set_x509_key_file(
	    s->credentials, c->certificate, c->key, GNUTLS_X509_FMT_PEM);
}

static int
handshake(struct stream *s, const char *peer)
{
	int rc = gnutls_init(&s->tls, GNUTLS_CLIENT);

	if (rc >= 0)
		rc = gnutls_set_default_priority(s->tls);
	if (rc >= 0)
		rc = gnutls_credentials_set(
		    s->tls, GNUTLS_CRD_CERTIFICATE, s->credentials);
	if (rc >= 0 && !is_number_address(peer))
		rc = gnutls_server_name_set(
		    s->tls, GNUTLS_NAME_DNS, peer, strlen(peer));
	if (rc < 0)
		return rc;
	gnutls_session_set_verify_cert(s->tls, peer, 0);
	gnutls_transport_set_int(s->tls, s->fd);
	gnutls_handshake_set_timeout(s->tls, TRANSPORT_STEP_S * 1000);
	do
		rc = gnutls_handshake(s->tls);
	while (rc < 0 && !gnutls_error_is_fatal(rc));
	return rc;
}

static void *
tls_open(struct adapter *a, const struct transport_target *t,
    const struct adapter_config *c, uint64_t events)
{
	const char *peer = c->peer != NULL ? c->peer : t->host;
	struct stream *s = open_stream(a, t, false);
	int rc;

	(void)events; /* nothing to set */
	if (s == NULL)
		return NULL;
	adapter_alive(a);
	rc = load_credentials(s, c);
	if (rc < 0) {
		adapter_fail(a, "TLS credentials: %s", gnutls_strerror(rc));
	} else {
		rc = handshake(s, peer);
		if (rc < 0)
			adapter_fail(
			    a, "TLS with %s: %s", peer, gnutls_strerror(rc));
	}
	if (rc < 0) {
		stream_close(s);
		return NULL;
	}
	return s;
}

/* Hands pending bytes to the kernel. */
static bool
flush(struct stream *s, struct adapter *a)
{
	size_t at = 0;

	if (s->pending.failed)
		return adapter_fail(a, "out of memory");
	while (at < s->pending.len) {
		const uint8_t *p = s->pending.data + at;
		size_t left = s->pending.len - at;
		ssize_t n;

		if (s->tls != NULL) {
			n = gnutls_record_send(s->tls, p, left);
			if (n == GNUTLS_E_INTERRUPTED)
				continue;
			if (n < 0)
				return adapter_fail(a, "cannot send: %s",
				    gnutls_strerror((int)n));
		} else {
			n = send(s->fd, p, left, MSG_NOSIGNAL);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return adapter_fail(
				    a, "cannot send: %s", strerror(errno));
		}
		at += (size_t)n;
		adapter_alive(a);
	}
	buf_clear(&s->pending);
	return true;
}

/* Octet counting (RFC 6587 section 3.4.1, RFC 5425) on streams. */
static bool
stream_send(void *link, struct adapter *a, struct view message)
{
	struct stream *s = link;

	if (!s->datagram) {
		buf_put_decimal(&s->pending, message.n);
		buf_put_u8(&s->pending, ' ');
	}
	buf_put_view(&s->pending, message);
	return (!s->datagram && s->pending.len < PENDING_MAX) || flush(s, a);
}

/*
 * Waits until the collector closes too: a connection that was reset, with
 * bytes of ours unread, shows here.
 */
static bool
stream_finish(void *link, struct adapter *a, struct view closing)
{
	struct stream *s = link;
	char byte;
	ssize_t n;
	int rc;

	if (!stream_send(s, a, closing) || !flush(s, a))
		return false;
	if (s->datagram)
		return true;
	if (s->tls != NULL) {
		do
			rc = gnutls_bye(s->tls, GNUTLS_SHUT_WR);
		while (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_AGAIN);
		if (rc < 0)
			return adapter_fail(
			    a, "cannot close: %s", gnutls_strerror(rc));
	}
	if (shutdown(s->fd, SHUT_WR) != 0)
		return adapter_fail(a, "cannot close: %s", strerror(errno));
	do
		n = recv(s->fd, &byte, sizeof byte, 0);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n == 0 || errno == EAGAIN ||
	    adapter_fail(a, "the collector broke off: %s", strerror(errno));
}

const struct transport transport_udp = {
    .state = ADAPTER_SENT,
    .limit = TRANSPORT_DATAGRAM_LIMIT,
    .open = udp_open,
    .send = stream_send,
    .finish = stream_finish,
    .close = stream_close,
};

const struct transport transport_tcp = {
    .state = ADAPTER_SENT,
    .limit = TRANSPORT_STREAM_LIMIT,
    .open = tcp_open,
    .send = stream_send,
    .finish = stream_finish,
    .close = stream_close,
};

const struct transport transport_tls = {
    .state = ADAPTER_SENT,
    .limit = TRANSPORT_STREAM_LIMIT,
    .open = tls_open,
    .send = stream_send,
    .finish = stream_finish,
    .close = stream_close,
};
