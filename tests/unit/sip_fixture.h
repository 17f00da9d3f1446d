#ifndef TESTS_UNIT_SIP_FIXTURE_H
#define TESTS_UNIT_SIP_FIXTURE_H

/*
 * A SIP side with a user store of two and a chat that only takes notes, and
 * clients that speak to it in bytes. Shared by the SIP tests and the fuzzer.
 */

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"
#include "server/conn.h"
#include "server/dialog.h"
#include "server/flow.h"
#include "server/invite.h"
#include "server/session.h"
#include "server/session_private.h"
#include "server/sip.h"
#include "server/store.h"
#include "server/transport.h"

#define FIX_DOMAIN "example.test"
#define FIX_PASSWORD "s3cret"
#define FIX_HELD 64

/* ---- the chat that takes notes ---- */

struct chat {
	unsigned opened, infos, overloaded, unsigned_in, outcomes, gone;
	unsigned by_outcome[4];
	enum session_end last_end;
	struct session *session; /* the last one */
	struct request *held[FIX_HELD];
	size_t held_count;
	bool hold; /* keep requests instead of answering them */
	unsigned status;
	struct buf body; /* of the last INFO */
	char id[512];    /* of the last INFO */
	char user[128], name[128], device[128], auth[32], via[8];
};

static inline void
fix_copy(char *to, size_t n, const char *from)
{
	(void)snprintf(to, n, "%s", from);
}

void
chat_opened(struct chat *c, struct session *s)
{
	const struct session_identity *i = session_identity(s);

	c->opened++;
	c->session = s;
	session_set_state(s, c);
	fix_copy(c->user, sizeof(c->user), i->user);
	fix_copy(c->name, sizeof(c->name), i->name);
	fix_copy(c->device, sizeof(c->device), i->device);
	fix_copy(c->auth, sizeof(c->auth), i->auth);
	fix_copy(c->via, sizeof(c->via), i->via);
}

void
chat_info(
    struct chat *c, struct session *s, struct request *r, struct view body)
{
	assert(session_state(s) == c);
	c->infos++;
	c->session = s;
	buf_clear(&c->body);
	buf_put_view(&c->body, body);
	fix_copy(c->id, sizeof(c->id), request_id(r));
	if (c->hold && c->held_count < FIX_HELD)
		c->held[c->held_count++] = r;
	else
		request_answer(r, c->status,
		    c->status == 200 ? "OK" : "No \"way\"\r\nX: y");
}

void
chat_password_refused(struct chat *c)
{
	c->unsigned_in++;
}

void
chat_overloaded(struct chat *c)
{
	c->overloaded++;
}

void
chat_outcome(struct chat *c, struct session *s, uint64_t room, uint64_t number,
    enum session_outcome outcome)
{
	assert(session_state(s) == c && room != 0 && number != 0);
	c->outcomes++;
	c->by_outcome[outcome]++;
}

void
chat_gone(struct chat *c, struct session *s, enum session_end why)
{
	assert(session_state(s) == c);
	c->gone++;
	c->last_end = why;
	if (c->session == s)
		c->session = NULL;
}

/* ---- the user store ---- */

bool
store_user_get(struct store *s, const char *uri, struct store_user *out)
{
	char text[256];

	(void)s;
	if (strcmp(uri, "sip:ann@" FIX_DOMAIN) != 0 &&
	    strcmp(uri, "sip:bob@" FIX_DOMAIN) != 0)
		return false;
	memset(out, 0, sizeof(*out));
	out->uri = strdup(uri);
	out->name = strdup(uri[4] == 'a' ? "Ann" : "Bob");
	out->has_password = true;
	(void)snprintf(
	    text, sizeof(text), "%s:" FIX_DOMAIN ":" FIX_PASSWORD, uri + 4);
	crypto_md5(text, strlen(text), out->ha1_md5);
	crypto_sha256(text, strlen(text), out->ha1_sha256);
	return true;
}

void
store_user_release(struct store_user *u)
{
	free(u->uri);
	free(u->name);
}

/* ---- the server ---- */

struct fix {
	uv_loop_t loop;
	struct conf conf;
	struct conf_listen listens[3];
	struct chat chat;
	struct sip *sip;
};

static inline void
fix_conf(struct fix *f)
{
	memset(&f->conf, 0, sizeof(f->conf));
	f->conf.domain = (char *)(uintptr_t)FIX_DOMAIN;
	f->conf.listens = f->listens;
	f->conf.limits.message_bytes = 65536;
	f->conf.limits.header_count = 100;
	f->conf.limits.connections = 1000;
	f->conf.limits.connections_per_address = 100;
	f->conf.limits.idle_s = 900;
	f->conf.limits.message_s = 30;
	f->conf.limits.unread_bytes = 64 << 20;
	f->conf.limits.inflight = 1000;
	f->conf.limits.session_s = 1800;
	f->conf.limits.register_s = 600;
}

static inline void
fix_start(struct fix *f)
{
	crypto_init();
	log_init("test", LOG_LEVEL_ERROR);
	memset(&f->chat, 0, sizeof(f->chat));
	f->chat.status = 200;
	buf_init(&f->chat.body);
	uv_loop_init(&f->loop);
	f->sip = sip_new(&f->loop, &f->conf, NULL, &f->chat);
	assert(f->sip != NULL);
}

static inline void
fix_stop(struct fix *f)
{
	int left;

	while (f->chat.held_count > 0)
		request_answer(f->chat.held[--f->chat.held_count], 200, "OK");
	sip_close(f->sip);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	sip_free(f->sip);
	left = uv_loop_close(&f->loop);
	assert(left == 0);
	buf_release(&f->chat.body);
}

/* ---- a client ---- */

struct client {
	struct fix *fix;
	struct conn *conn;
	int fd; /* the other end of a connection with a socket, 0: none */
	struct buf out; /* what the server has sent */
	const char *user;
	char from_tag[32], to_tag[64], call_id[64];
	char branch[64]; /* ";branch=...", empty as SIPE has it */
	unsigned cseq;
};

static inline void
client_sink(void *arg, struct view bytes)
{
	struct client *c = arg;

	buf_put_view(&c->out, bytes);
}

/* A client at the other end of a connection that there is. */
static inline void
client_take(
    struct client *c, struct fix *f, struct conn *conn, const char *user)
{
	static unsigned serial;

	memset(c, 0, sizeof(*c));
	c->fix = f;
	c->user = user;
	buf_init(&c->out);
	c->conn = conn_hold(conn);
	serial++;
	(void)snprintf(c->from_tag, sizeof(c->from_tag), "f%u", serial);
	(void)snprintf(c->call_id, sizeof(c->call_id), "call-%u", serial);
}

static inline void
client_open(
    struct client *c, struct fix *f, enum conn_kind kind, const char *user)
{
	struct conn *conn =
	    transport_loopback(f->sip->transport, kind, client_sink, c);

	assert(conn != NULL);
	client_take(c, f, conn, user);
}

/* Takes what the server wrote to the socket. */
static inline void
client_hear(struct client *c)
{
	int fd, left = 1;
	char text[4096];
	ssize_t n;

	if (uv_fileno(&c->conn->u.handle, &fd) < 0)
		return;
	for (int i = 0; i < 5000 && ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0;
	     i++)
		uv_sleep(1);
	while ((n = recv(c->fd, text, sizeof(text), MSG_DONTWAIT)) > 0)
		buf_put(&c->out, text, (size_t)n);
}

static inline void
client_feed(struct client *c, const void *p, size_t n)
{
	uint8_t *copy = malloc(n + 1);

	if (n > 0)
		memcpy(copy, p, n);
	conn_feed(c->conn, copy, n);
	free(copy);
	transport_flush(c->fix->sip->transport);
	if (c->fd != 0)
		client_hear(c);
}

static inline bool
client_alive(const struct client *c)
{
	return conn_alive(c->conn);
}

static inline void
client_close(struct client *c)
{
	conn_doom(c->conn, NULL);
	transport_flush(c->fix->sip->transport);
	if (c->conn->kind == CONN_UDP)
		conn_drop(c->conn);
	conn_drop(c->conn);
	buf_release(&c->out);
}

static inline const char *
client_text(struct client *c)
{
	const char *text = buf_text(&c->out);

	return text == NULL ? "" : text;
}

static inline void
client_forget(struct client *c)
{
	buf_clear(&c->out);
}

static inline bool
client_has(struct client *c, const char *what)
{
	return strstr(client_text(c), what) != NULL;
}

/* Sends a text in printf form. */
static inline void __attribute__((format(printf, 2, 3)))
client_say(struct client *c, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	buf_init(&b);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	assert(!b.failed);
	client_feed(c, b.data, b.len);
	buf_release(&b);
}

static inline void
fix_hex_hash(bool sha, const char *text, char out[65])
{
	uint8_t h[32];
	struct buf b;

	buf_init(&b);
	if (sha)
		crypto_sha256(text, strlen(text), h);
	else
		crypto_md5(text, strlen(text), h);
	text_put_hex(&b, h, sha ? 32 : 16);
	(void)snprintf(out, 65, "%s", buf_text(&b));
	buf_release(&b);
}

/* A Proxy-Authorization line for the challenge among what was received. */
static inline void
client_credentials(struct client *c, bool sha, const char *method,
    const char *uri, const char *password, char *out, size_t n)
{
	char ha1[65], ha2[65], response[65], text[512], nonce[128] = "";
	const char *line = client_text(c);

	while ((line = strstr(line, "Proxy-Authenticate: ")) != NULL) {
		const char *at = strstr(line, "nonce=\"");
		const char *alg = strstr(line, "algorithm=");

		assert(at != NULL && alg != NULL);
		if (strncmp(alg + 10, sha ? "SHA-256" : "MD5", 3) == 0) {
			(void)snprintf(nonce, sizeof(nonce), "%.*s",
			    (int)strcspn(at + 7, "\""), at + 7);
			break;
		}
		line++;
	}
	assert(nonce[0] != 0);
	(void)snprintf(text, sizeof(text),
	    "%s@" FIX_DOMAIN ":" FIX_DOMAIN ":%s", c->user, password);
	fix_hex_hash(sha, text, ha1);
	(void)snprintf(text, sizeof(text), "%s:%s", method, uri);
	fix_hex_hash(sha, text, ha2);
	(void)snprintf(text, sizeof(text), "%s:%s:00000001:1a2b3c4d:auth:%s",
	    ha1, nonce, ha2);
	fix_hex_hash(sha, text, response);
	(void)snprintf(out, n,
	    "Proxy-Authorization: Digest username=\"%s@" FIX_DOMAIN
	    "\", realm=\"" FIX_DOMAIN "\", nonce=\"%s\", uri=\"%s\", "
	    "algorithm=%s, qop=auth, nc=00000001, cnonce=\"1a2b3c4d\", "
	    "response=\"%s\"\r\n",
	    c->user, nonce, uri, sha ? "SHA-256" : "MD5", response);
}

#define FIX_SIPE                                                               \
	"Supported: gruu-10, adhoclist, msrtc-event-categories, "              \
	"com.microsoft.msrtc.presence\r\nEvent: registration\r\n"              \
	"Allow-Events: presence\r\nms-keep-alive: UAC;hop-hop=yes\r\n"

/* REGISTER as SIPE writes it; more: further header lines. */
static inline void
client_register(struct client *c, const char *more)
{
	c->cseq++;
	client_say(c,
	    "REGISTER sip:" FIX_DOMAIN " SIP/2.0\r\n"
	    "Via: SIP/2.0/tcp 192.0.2.10:40001;branch=z9hG4bKr%s%u\r\n"
	    "From: <sip:%s@" FIX_DOMAIN ">;tag=r%u;epid=0a1b%s\r\n"
	    "To: <sip:%s@" FIX_DOMAIN ">\r\nMax-Forwards: 70\r\n"
	    "CSeq: %u REGISTER\r\nUser-Agent: UCCAPI\r\nCall-ID: reg-%s\r\n"
	    "Contact: <sip:192.0.2.10:40001;transport=tcp;ms-opaque=d3470f>;"
	    "methods=\"INVITE, MESSAGE\";proxy=replace;+sip.instance="
	    "\"<urn:uuid:de10a125-5cc8-51fb-bb6d-02bc1abe9ca2>\"\r\n" FIX_SIPE
	    "%sContent-Length: 0\r\n\r\n",
	    c->from_tag, c->cseq, c->user, c->cseq, c->user, c->user, c->cseq,
	    c->user, more);
}

static inline void
client_sign_in(struct client *c)
{
	char line[1024];

	client_register(c, "");
	assert(client_has(c, "SIP/2.0 407 "));
	client_credentials(
	    c, false, "REGISTER", "(null)", FIX_PASSWORD, line, sizeof(line));
	client_forget(c);
	c->cseq--;
	client_register(c, line);
	assert(client_has(c, "SIP/2.0 200 OK\r\n"));
	client_forget(c);
}

#define FIX_SDP                                                                \
	"v=0\r\no=- 0 0 IN IP4 192.0.2.10\r\ns=session\r\n"                    \
	"c=IN IP4 192.0.2.10\r\nt=0 0\r\nm=message 5060 sip null\r\n"          \
	"a=accept-types:text/plain text/html\r\n"

/* The common fields of a request in (or for) the chat dialog. */
static inline void
client_put(struct client *c, struct buf *b, const char *method)
{
	buf_printf(b,
	    "%s sip:chat@" FIX_DOMAIN " SIP/2.0\r\n"
	    "Via: SIP/2.0/%s 192.0.2.10:40001%s\r\n"
	    "From: <sip:%s@" FIX_DOMAIN ">;tag=%s;epid=0a1b%s\r\n"
	    "To: <sip:chat@" FIX_DOMAIN ">%s%s\r\nMax-Forwards: 70\r\n"
	    "CSeq: %u %s\r\nUser-Agent: UCCAPI\r\nCall-ID: %s\r\n",
	    method, conn_reliable(c->conn) ? "tcp" : "UDP", c->branch, c->user,
	    c->from_tag, c->user, c->to_tag[0] == 0 ? "" : ";tag=", c->to_tag,
	    c->cseq, method, c->call_id);
}

static inline void
client_request(
    struct client *c, const char *method, const char *more, const char *body)
{
	struct buf b;

	if (strcmp(method, "ACK") != 0)
		c->cseq++;
	buf_init(&b);
	client_put(c, &b, method);
	buf_printf(
	    &b, "%sContent-Length: %zu\r\n\r\n%s", more, strlen(body), body);
	assert(!b.failed);
	client_feed(c, b.data, b.len);
	buf_release(&b);
}

#define FIX_CONTACT                                                            \
	"Contact: <sip:ann@" FIX_DOMAIN                                        \
	":40001;maddr=192.0.2.10;transport=tcp>;proxy=replace\r\n"

static inline void
client_invite_only(struct client *c, const char *more)
{
	const char *at;
	char lines[512];

	client_forget(c);
	c->cseq = 0;
	c->to_tag[0] = 0;
	(void)snprintf(lines, sizeof(lines),
	    "Supported: ms-sender\r\n" FIX_CONTACT
	    "%sContent-Type: application/sdp\r\n",
	    more);
	client_request(c, "INVITE", lines, FIX_SDP);
	at = strstr(client_text(c), "To: ");
	at = at == NULL ? NULL : strstr(at, ";tag=");
	if (at != NULL)
		(void)snprintf(c->to_tag, sizeof(c->to_tag), "%.*s",
		    (int)strcspn(at + 5, ";\r\n"), at + 5);
}

/* A fresh dialog up to the ACK. */
static inline void
client_invite(struct client *c)
{
	static unsigned serial;

	(void)snprintf(c->call_id, sizeof(c->call_id), "dlg-%u", ++serial);
	client_invite_only(c, "");
	assert(client_has(c, "SIP/2.0 200 OK\r\n"));
	client_request(c, "ACK", "", "");
	client_forget(c);
}

/* The answer to an INFO as SIPE writes it. */
static inline void
client_put_answer(
    struct client *c, struct buf *b, unsigned cseq, const char *status)
{
	buf_printf(b,
	    "SIP/2.0 %s\r\nVia: SIP/2.0/TCP 0.0.0.0:0;branch=z9hG4bKx\r\n"
	    "From: <sip:chat@" FIX_DOMAIN ">;tag=%s\r\n"
	    "To: <sip:%s@" FIX_DOMAIN ">;tag=%s;epid=0a1b%s\r\n"
	    "Call-ID: %s\r\nCSeq: %u INFO\r\n" FIX_CONTACT
	    "User-Agent: UCCAPI\r\nContent-Length: 0\r\n\r\n",
	    status, c->to_tag, c->user, c->from_tag, c->user, c->call_id, cseq);
}

static inline void
client_answer_info(struct client *c, unsigned cseq, const char *status)
{
	struct buf b;

	buf_init(&b);
	client_put_answer(c, &b, cseq, status);
	assert(!b.failed);
	client_feed(c, b.data, b.len);
	buf_release(&b);
}

/* ---- checks ---- */

static inline void
fix_fail(const char *how, const char *what, const char *text)
{
	(void)fprintf(stderr, "\"%s\" %s:\n%s\n", what, how, text);
	abort();
}

static inline void
client_expect(struct client *c, const char *what)
{
	if (!client_has(c, what))
		fix_fail("is not in", what, client_text(c));
}

static inline void
client_expect_not(struct client *c, const char *what)
{
	if (client_has(c, what))
		fix_fail("is in", what, client_text(c));
}

static inline void
fix_send(struct session *s, const char *body, uint64_t room, uint64_t number)
{
	struct message *m = message_new(view_text(body));

	assert(m != NULL);
	session_send(s, message_hold(m), room, number);
	message_drop(m);
	message_drop(m);
	transport_flush(s->sip->transport);
}

static inline unsigned
client_count(struct client *c, const char *what)
{
	const char *at = client_text(c);
	unsigned n = 0;

	for (; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

#endif
