/*
 * Connections on real sockets: limits of number, silence, slowness and
 * unread output; TLS with a certificate made for the test.
 */

#include <sys/socket.h>

#include <netinet/tcp.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cmocka.h>

#include "tests/unit/sip_fixture.h"

#define OPTIONS                                                                \
	"OPTIONS sip:" FIX_DOMAIN " SIP/2.0\r\n"                               \
	"Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKo\r\n"                       \
	"From: <sip:ann@" FIX_DOMAIN ">;tag=1\r\nTo: <sip:" FIX_DOMAIN ">\r\n" \
	"Call-ID: o\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

static struct fix fix;
static char folder[] = "/tmp/chancery-tls-XXXXXX";
static char certificate[64], key[64];

static void
listen_on(enum conf_transport transport)
{
	char why[256] = "";

	fix_conf(&fix);
	fix.listens[0].transport = transport;
	fix.listens[0].address = (char *)(uintptr_t) "127.0.0.1";
	fix.listens[0].certificate = certificate;
	fix.listens[0].key = key;
	fix.conf.listen_count = 1;
	fix_start(&fix);
	if (sip_bind(fix.sip, why, sizeof(why)) < 0 ||
	    sip_listen(fix.sip, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static int
teardown(void **state)
{
	(void)state;
	fix_stop(&fix);
	return 0;
}

static int
dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)transport_port(fix.sip->transport, 0));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	/* What is sent is at the server before a reset, not held back. */
	assert_int_equal(
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), 0);
	return fd;
}

/* Lets the server work until the socket has something, or time is over. */
static bool
readable(int fd, unsigned ms)
{
	uint64_t until = uv_hrtime() / 1000000 + ms;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	do {
		uv_run(&fix.loop, UV_RUN_NOWAIT);
		if (poll(&p, 1, 5) > 0)
			return true;
	} while (uv_hrtime() / 1000000 < until);
	return false;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(
	    send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* 1: data, 0: closed, -1: nothing in time. */
static int
hear(int fd, unsigned ms, char *out, size_t n)
{
	ssize_t got;

	if (!readable(fd, ms))
		return -1;
	got = recv(fd, out, n - 1, 0);
	out[got > 0 ? got : 0] = 0;
	return got > 0;
}

static void
until_closed(void)
{
	struct transport *t = fix.sip->transport;

	for (int i = 0; i < 2000 && t->stream_count > 0; i++) {
		uv_run(&fix.loop, UV_RUN_NOWAIT);
		uv_sleep(5);
	}
	assert_int_equal(t->stream_count, 0);
}

static void
test_tcp(void **state)
{
	char text[4096];
	int fd;

	(void)state;
	listen_on(CONF_TCP);
	fd = dial();
	say(fd, OPTIONS OPTIONS);
	assert_int_equal(hear(fd, 2000, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "SIP/2.0 200 OK\r\n"));
	assert_int_equal(fix.sip->transport->stream_count, 1);
	close(fd);
	until_closed();
	assert_int_equal(fix.sip->transport->hosts.count, 0);
}

static void
count_limit(unsigned all, unsigned per_address, unsigned allowed)
{
	char text[4096];
	int fd[8];

	listen_on(CONF_TCP);
	fix.conf.limits.connections = all;
	fix.conf.limits.connections_per_address = per_address;
	for (unsigned i = 0; i <= allowed; i++) {
		fd[i] = dial();
		if (i == allowed) {
			assert_int_equal(
			    hear(fd[i], 2000, text, sizeof(text)), 0);
			break;
		}
		say(fd[i], OPTIONS);
		assert_int_equal(hear(fd[i], 2000, text, sizeof(text)), 1);
	}
	assert_int_equal(fix.sip->transport->refused, 1);
	/* A place that becomes free is given again. */
	close(fd[allowed]);
	close(fd[0]);
	for (int i = 0; i < 200 && fix.sip->transport->stream_count >= allowed;
	     i++) {
		uv_run(&fix.loop, UV_RUN_NOWAIT);
		uv_sleep(5);
	}
	fd[0] = dial();
	say(fd[0], OPTIONS);
	assert_int_equal(hear(fd[0], 2000, text, sizeof(text)), 1);
	for (unsigned i = 0; i < allowed; i++)
		close(fd[i]);
}

static void
test_connections(void **state)
{
	(void)state;
	count_limit(3, 100, 3);
}

static void
test_connections_per_address(void **state)
{
	(void)state;
	count_limit(100, 2, 2);
}

static void
test_silence(void **state)
{
	char text[4096];
	int quiet, alive;

	(void)state;
	listen_on(CONF_TCP);
	fix.conf.limits.idle_s = 2;
	quiet = dial();
	alive = dial();
	assert_int_equal(hear(quiet, 1200, text, sizeof(text)), -1);
	say(alive, "\r\n\r\n");
	assert_int_equal(hear(alive, 1000, text, sizeof(text)), 1);
	assert_int_equal(hear(quiet, 3000, text, sizeof(text)), 0);
	assert_int_equal(fix.sip->transport->stream_count, 1);
	close(quiet);
	close(alive);
}

static void
test_message_that_is_never_complete(void **state)
{
	static const char start[] = "OPTIONS sip:x SIP/2.0\r\nFoo: ";
	char text[4096];
	int fd, i;

	(void)state;
	listen_on(CONF_TCP);
	fix.conf.limits.message_s = 1;
	fd = dial();
	say(fd, start);
	for (i = 0; i < 40; i++) {
		int got = hear(fd, 100, text, sizeof(text));

		if (got == 0)
			break;
		assert_int_equal(got, -1);
		(void)send(fd, "y", 1, MSG_NOSIGNAL);
	}
	assert_in_range(i, 5, 30);
	close(fd);
}

static void
test_reader_that_does_not_read(void **state)
{
	struct transport *t;
	struct conn *c;
	char text[4096];
	int fd;

	(void)state;
	listen_on(CONF_TCP);
	fd = dial();
	say(fd, OPTIONS);
	assert_int_equal(hear(fd, 2000, text, sizeof(text)), 1);
	t = fix.sip->transport;
	c = conn_hold(RING_OF(t->idle.next, struct conn, idle));
	for (int i = 0; i < 40000 && conn_alive(c); i++) {
		struct buf *b = conn_begin(c);

		for (int line = 0; line < 10; line++)
			buf_put_text(b,
			    "0123456789012345678901234567890123456"
			    "789012345678901234567890123456789\r\n");
		conn_end(c);
		if (i % 100 == 0)
			uv_run(&fix.loop, UV_RUN_NOWAIT);
	}
	assert_false(conn_alive(c));
	/* What was held for it is bounded: 8 MiB and a message. */
	assert_true(c->out.len + (c->pending == NULL ? 0 : c->pending->size) <
	    (9U << 20));
	uv_run(&fix.loop, UV_RUN_NOWAIT);
	assert_int_equal(t->stream_count, 0);
	conn_drop(c);
	close(fd);
}

/* Many who each stay below their own bound: whoever has most must go. */
static void
test_unread_in_all(void **state)
{
	enum { READERS = 6 };
	struct transport *t;
	struct conn *c[READERS];
	char text[4096];
	int fd[READERS];
	size_t alive = 0;

	(void)state;
	listen_on(CONF_TCP);
	fix.conf.limits.unread_bytes = 8 << 20;
	t = fix.sip->transport;
	for (int i = 0; i < READERS; i++) {
		fd[i] = dial();
		say(fd[i], OPTIONS);
		assert_int_equal(hear(fd[i], 2000, text, sizeof(text)), 1);
		c[i] = conn_hold(RING_OF(t->idle.prev, struct conn, idle));
	}
	/* The first one gets most, and all more than the kernel takes. */
	for (int i = 0; i < READERS; i++) {
		for (int n = 0; n < (i == 0 ? 120 : 80); n++) {
			struct buf *b = conn_begin(c[i]);

			for (int line = 0; line < 1000; line++)
				buf_put_text(b,
				    "0123456789012345678901234567890123456"
				    "789012345678901234567890123456789\r\n");
			conn_end(c[i]);
			uv_run(&fix.loop, UV_RUN_NOWAIT);
			assert_true(t->unread <= fix.conf.limits.unread_bytes);
		}
	}
	assert_false(conn_alive(c[0]));
	for (int i = 0; i < READERS; i++)
		alive += conn_alive(c[i]);
	assert_in_range(alive, 1, READERS - 2);
	assert_int_equal(t->stream_count, alive);
	/* Who reads after all has nothing left there. */
	for (uint64_t until = uv_hrtime() + 10000000000U;
	     t->unread > 0 && uv_hrtime() < until;) {
		for (int i = 0; i < READERS; i++)
			while (recv(fd[i], text, sizeof text, MSG_DONTWAIT) > 0)
				;
		uv_run(&fix.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(t->unread, 0);
	for (int i = 0; i < READERS; i++) {
		conn_drop(c[i]);
		close(fd[i]);
	}
}

/* ---- the end of a client that is still written to ---- */

/* The server's end of the connection made last. */
static struct conn *
accepted(void)
{
	struct transport *t = fix.sip->transport;
	size_t before = t->stream_count;

	for (int i = 0; i < 400 && t->stream_count == before; i++) {
		uv_run(&fix.loop, UV_RUN_NOWAIT);
		uv_sleep(5);
	}
	assert_int_equal(t->stream_count, before + 1);
	return conn_hold(RING_OF(t->idle.prev, struct conn, idle));
}

/* Closes the client's end at once, and waits until the server's is told. */
static void
reset(int fd, struct conn *c)
{
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	struct pollfd p = {.events = POLLRDHUP};

	assert_int_equal(uv_fileno(&c->u.handle, &p.fd), 0);
	assert_int_equal(
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)),
	    0);
	assert_int_equal(close(fd), 0);
	do
		assert_int_equal(poll(&p, 1, 10000), 1);
	while ((p.revents & POLLHUP) == 0);
}

static void
send_all(int fd, struct buf *b)
{
	assert_false(b->failed);
	assert_int_equal(
	    send(fd, b->data, b->len, MSG_NOSIGNAL), (ssize_t)b->len);
	buf_release(b);
}

/* In a chat dialog, with an INFO (room 7, message 1) that it has not read. */
static struct conn *
in_dialog(struct client *ann)
{
	int fd;
	struct conn *c;

	listen_on(CONF_TCP);
	fd = dial();
	c = accepted();
	client_take(ann, &fix, c, "ann");
	ann->fd = fd;
	client_sign_in(ann);
	client_invite(ann);
	fix_send(fix.chat.session, "<a/>", 7, 1);
	return c;
}

/* An answer to that INFO, a post, and the end of the dialog. */
static void
last_words(struct client *ann)
{
	static const char body[] = "<post/>";
	struct buf b;

	buf_init(&b);
	client_put_answer(ann, &b, 1, "200 OK");
	ann->cseq++;
	client_put(ann, &b, "INFO");
	buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	ann->cseq++;
	client_put(ann, &b, "BYE");
	buf_put_text(&b, "Content-Length: 0\r\n\r\n");
	send_all(ann->fd, &b);
}

static void
end_client(struct client *ann, struct conn *c)
{
	conn_drop(ann->conn);
	buf_release(&ann->out);
	conn_drop(c);
}

static void
test_what_was_sent_before_a_reset(void **state)
{
	struct client ann;
	struct conn *c;

	(void)state;
	c = in_dialog(&ann);
	last_words(&ann);
	reset(ann.fd, c);
	/* This write is the first to see that nobody is there. */
	fix_send(fix.chat.session, "<b/>", 7, 2);
	assert_int_equal(fix.chat.gone, 0);
	assert_true(conn_alive(c));
	assert_false(conn_writable(c));
	fix_send(fix.chat.session, "<c/>", 7, 3);
	assert_int_equal(c->out.cap, 0);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 1);
	until_closed();
	assert_int_equal(fix.chat.infos, 1);
	assert_string_equal(buf_text(&fix.chat.body), "<post/>");
	assert_int_equal(fix.chat.gone, 1);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	assert_int_equal(fix.chat.by_outcome[SESSION_DELIVERED], 1);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 2);
	assert_int_equal(fix.sip->transport->cut, 1);
	assert_non_null(c->doom);
	end_client(&ann, c);
}

/* Its own end first, and the reset is the answer to what is written then. */
static void
test_what_was_sent_before_an_end(void **state)
{
	struct client ann;
	struct pollfd p = {.events = POLLRDHUP};
	struct conn *c;

	(void)state;
	c = in_dialog(&ann);
	client_hear(&ann);
	last_words(&ann);
	assert_int_equal(uv_fileno(&c->u.handle, &p.fd), 0);
	assert_int_equal(close(ann.fd), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	fix_send(fix.chat.session, "<b/>", 7, 2);
	do
		assert_int_equal(poll(&p, 1, 10000), 1);
	while ((p.revents & POLLHUP) == 0);
	fix_send(fix.chat.session, "<c/>", 7, 3);
	assert_int_equal(fix.chat.gone, 0);
	until_closed();
	assert_int_equal(fix.chat.infos, 1);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 2);
	end_client(&ann, c);
}

/* The write that fails is one that waited for the client to read. */
static void
test_what_was_sent_before_a_stalled_end(void **state)
{
	struct client ann;
	struct transport *t;
	uv_alloc_cb alloc;
	struct conn *c;
	uv_read_cb read;

	(void)state;
	c = in_dialog(&ann);
	t = c->transport;
	while (c->pending == NULL) {
		for (int line = 0; line < 10000; line++)
			buf_put_text(conn_begin(c),
			    "0123456789012345678901234567890123456789\r\n");
		conn_end(c);
		transport_flush(t);
	}
	last_words(&ann);
	buf_put_text(conn_begin(c), "and more\r\n");
	conn_end(c);
	assert_true(t->unread > 0);
	reset(ann.fd, c);
	/* The write comes before the read, as it might. */
	alloc = c->u.stream.alloc_cb;
	read = c->u.stream.read_cb;
	uv_read_stop(&c->u.stream);
	for (int i = 0; i < 2000 && c->pending != NULL; i++)
		uv_run(&fix.loop, UV_RUN_ONCE);
	assert_null(c->pending);
	assert_int_equal(t->unread, 0);
	assert_true(conn_alive(c));
	assert_false(conn_writable(c));
	assert_int_equal(uv_read_start(&c->u.stream, alloc, read), 0);
	until_closed();
	assert_int_equal(fix.chat.infos, 1);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	end_client(&ann, c);
}

/* Nothing that comes in ends it, so the clock does. */
static void
test_end_that_is_never_read(void **state)
{
	struct client ann;
	struct transport *t;
	struct conn *c;

	(void)state;
	c = in_dialog(&ann);
	t = c->transport;
	reset(ann.fd, c);
	uv_read_stop(&c->u.stream);
	fix_send(fix.chat.session, "<b/>", 7, 2);
	assert_true(conn_alive(c));
	assert_false(conn_writable(c));
	uv_timer_set_repeat(&t->timer, 1);
	assert_int_equal(uv_timer_again(&t->timer), 0);
	until_closed();
	assert_int_equal(fix.chat.last_end, SESSION_LOST);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 2);
	end_client(&ann, c);
}

/* ---- TLS ---- */

static void
write_pem(const char *path, const gnutls_datum_t *d)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(d->data, 1, d->size, f), d->size);
	assert_int_equal(fclose(f), 0);
}

static int
make_certificate(void **state)
{
	gnutls_x509_privkey_t k;
	gnutls_x509_crt_t c;
	gnutls_datum_t pem;
	time_t now = time(NULL);

	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	(void)snprintf(certificate, sizeof(certificate), "%s/c.pem", folder);
	(void)snprintf(key, sizeof(key), "%s/k.pem", folder);
	if (gnutls_x509_privkey_init(&k) < 0 || gnutls_x509_crt_init(&c) < 0 ||
	    gnutls_x509_privkey_generate(k, GNUTLS_PK_ECDSA,
		GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) < 0 ||
	    gnutls_x509_crt_set_version(c, 3) < 0 ||
	    gnutls_x509_crt_set_serial(c, "\1", 1) < 0 ||
	    gnutls_x509_crt_set_activation_time(c, now - 60) < 0 ||
	    gnutls_x509_crt_set_expiration_time(c, now + 3600) < 0 ||
	    gnutls_x509_crt_set_dn(c, "CN=localhost", NULL) < 0 ||
	    gnutls_x509_crt_set_key(c, k) < 0 ||
	    gnutls_x509_crt_sign2(c, c, k, GNUTLS_DIG_SHA256, 0) < 0 ||
	    gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_PEM, &pem) < 0)
		return -1;
	write_pem(certificate, &pem);
	gnutls_free(pem.data);
	if (gnutls_x509_privkey_export2(k, GNUTLS_X509_FMT_PEM, &pem) < 0)
		return -1;
	write_pem(key, &pem);
	gnutls_free(pem.data);
	gnutls_x509_crt_deinit(c);
	gnutls_x509_privkey_deinit(k);
	return 0;
}

static int
remove_certificate(void **state)
{
	(void)state;
	(void)unlink(certificate);
	(void)unlink(key);
	return rmdir(folder);
}

static int
handshake(gnutls_session_t s, int fd)
{
	int rc;

	do {
		rc = gnutls_handshake(s);
		if (rc == GNUTLS_E_AGAIN)
			(void)readable(fd, 1000);
	} while (rc < 0 && gnutls_error_is_fatal(rc) == 0);
	return rc;
}

struct tls_client {
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	int fd;
};

static void
tls_open(struct tls_client *s, const char *priority, bool works)
{
	s->fd = dial();
	assert_int_equal(
	    gnutls_certificate_allocate_credentials(&s->credentials), 0);
	assert_int_equal(
	    gnutls_init(&s->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
	assert_int_equal(
	    gnutls_priority_set_direct(s->session, priority, NULL), 0);
	assert_int_equal(gnutls_credentials_set(s->session,
			     GNUTLS_CRD_CERTIFICATE, s->credentials),
	    0);
	gnutls_transport_set_int(s->session, s->fd);
	assert_int_equal(handshake(s->session, s->fd) == 0, works);
}

static void
tls_say(struct tls_client *s, const char *text)
{
	assert_int_equal(gnutls_record_send(s->session, text, strlen(text)),
	    (ssize_t)strlen(text));
}

static ssize_t
tls_hear(struct tls_client *s, char *text, size_t size)
{
	ssize_t n = GNUTLS_E_AGAIN;

	for (int i = 0; i < 100 && n == GNUTLS_E_AGAIN; i++) {
		(void)readable(s->fd, 100);
		n = gnutls_record_recv(s->session, text, size - 1);
	}
	text[n > 0 ? n : 0] = 0;
	return n;
}

static void
tls_free_client(struct tls_client *s)
{
	gnutls_deinit(s->session);
	gnutls_certificate_free_credentials(s->credentials);
}

static void
talk_tls(const char *priority, bool works)
{
	struct tls_client s;
	char text[4096];

	tls_open(&s, priority, works);
	if (works) {
		tls_say(&s, OPTIONS);
		assert_true(tls_hear(&s, text, sizeof(text)) > 0);
		assert_non_null(strstr(text, "SIP/2.0 200 OK\r\n"));
		/* The client's end is a proper one, and so is ours. */
		assert_int_equal(gnutls_bye(s.session, GNUTLS_SHUT_WR), 0);
		assert_int_equal(tls_hear(&s, text, sizeof(text)), 0);
	}
	tls_free_client(&s);
	close(s.fd);
	until_closed();
}

static void
test_what_was_sent_before_a_reset_over_tls(void **state)
{
	struct transport *t;
	struct tls_client s;
	char text[4096];
	struct conn *c;

	(void)state;
	listen_on(CONF_TLS);
	t = fix.sip->transport;
	tls_open(&s, "NORMAL", true);
	tls_say(&s, OPTIONS);
	assert_true(tls_hear(&s, text, sizeof(text)) > 0);
	c = conn_hold(RING_OF(t->idle.prev, struct conn, idle));
	tls_say(&s, OPTIONS);
	tls_say(&s, OPTIONS);
	reset(s.fd, c);
	buf_put_text(conn_begin(c), "\r\n");
	conn_end(c);
	transport_flush(t);
	assert_true(conn_alive(c));
	assert_false(conn_writable(c));
	assert_int_equal(fix.sip->counters.requests, 1);
	until_closed();
	assert_int_equal(fix.sip->counters.requests, 3);
	conn_drop(c);
	tls_free_client(&s);
}

static void
test_tls(void **state)
{
	(void)state;
	listen_on(CONF_TLS);
	talk_tls("NORMAL", true);
	talk_tls("NORMAL:-VERS-ALL:+VERS-TLS1.2", true);
	talk_tls("NORMAL:-VERS-ALL:+VERS-TLS1.1", false);
}

static void
test_tls_gets_nonsense(void **state)
{
	static const char *const rows[] = {
	    OPTIONS, "\x16\x03\x01\xff\xff", "\x16\x03\x01\x40\x01\x01"};
	char text[4096];

	(void)state;
	listen_on(CONF_TLS);
	fix.conf.limits.message_s = 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int fd = dial(), got;

		say(fd, rows[i]);
		while ((got = hear(fd, 4000, text, sizeof(text))) > 0)
			assert_null(strstr(text, "SIP/2.0"));
		assert_int_equal(got, 0);
		close(fd);
	}
	talk_tls("NORMAL", true);
}

static void
test_bad_listeners(void **state)
{
	char why[256] = "";

	(void)state;
	fix_conf(&fix);
	fix.listens[0].address = (char *)(uintptr_t) "127.0.0.1";
	fix.listens[0].transport = CONF_TLS;
	fix.listens[0].certificate = (char *)(uintptr_t) "/nonexistent";
	fix.listens[0].key = (char *)(uintptr_t) "/nonexistent";
	fix.conf.listen_count = 1;
	fix_start(&fix);
	assert_int_equal(sip_bind(fix.sip, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "/nonexistent"));
	fix.listens[0].transport = CONF_TCP;
	fix.listens[0].address = (char *)(uintptr_t) "192.0.2.1";
	fix_stop(&fix);
	fix_start(&fix);
	assert_int_equal(sip_bind(fix.sip, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "192.0.2.1"));
}

#define CASE(f) cmocka_unit_test_teardown(f, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_tcp),
	    CASE(test_connections),
	    CASE(test_connections_per_address),
	    CASE(test_silence),
	    CASE(test_message_that_is_never_complete),
	    CASE(test_reader_that_does_not_read),
	    CASE(test_unread_in_all),
	    CASE(test_what_was_sent_before_a_reset),
	    CASE(test_what_was_sent_before_an_end),
	    CASE(test_what_was_sent_before_a_stalled_end),
	    CASE(test_end_that_is_never_read),
	    CASE(test_tls),
	    CASE(test_what_was_sent_before_a_reset_over_tls),
	    CASE(test_tls_gets_nonsense),
	    CASE(test_bad_listeners),
	};

	/* As the server does: a write to nobody is an error, no signal. */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(
	    tests, make_certificate, remove_certificate);
}
