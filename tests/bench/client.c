#include "tests/bench/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"

static bool
header_is(struct view line, const char *name, size_t n)
{
	return line.n > n && line.p[n] == ':' &&
	    strncasecmp((const char *)line.p, name, n) == 0;
}

static struct view
header_value(struct view line, size_t name_len)
{
	struct view v = {line.p + name_len + 1, line.n - name_len - 1};

	while (v.n > 0 && *v.p == ' ') {
		v.p++;
		v.n--;
	}
	return v;
}

bool
client_has(struct view v, const char *text)
{
	return memmem(v.p, v.n, text, strlen(text)) != NULL;
}

static void
header_take(struct client_message *m, struct view line, size_t *body_len)
{
	uint64_t n;

	switch (line.p[0] | 0x20) {
	case 'v':
		if (header_is(line, "Via", 3))
			m->via = line;
		break;
	case 'f':
		if (header_is(line, "From", 4))
			m->from = line;
		break;
	case 't':
		if (header_is(line, "To", 2))
			m->to = line;
		break;
	case 'c':
		if (header_is(line, "CSeq", 4))
			m->cseq = line;
		else if (header_is(line, "Call-ID", 7))
			m->call_id = line;
		else if (header_is(line, "Contact", 7))
			m->contact = line;
		else if (header_is(line, "Content-Length", 14) &&
		    view_to_u64(header_value(line, 14), &n))
			*body_len = (size_t)n;
		break;
	case 'p':
		if (header_is(line, "Proxy-Authenticate", 18) &&
		    m->challenge.n == 0 &&
		    (client_has(line, "MD5") || !client_has(line, "algorithm")))
			m->challenge = line;
		break;
	}
}

size_t
client_scan(const uint8_t *p, size_t n, struct client_message *m)
{
	const uint8_t *at = p, *end = p + n;
	size_t body_len = 0;

	*m = (struct client_message){0};
	for (;;) {
		const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));
		if (lf == NULL)
			return 0;
		if (lf == at || lf[-1] != '\r')
			log_fatal("a line of the server does not end in CR LF");
		struct view line = {at, (size_t)(lf - 1 - at)};
		at = lf + 1;
		if (line.n == 0 && m->line.n == 0)
			continue; /* keep-alive */
		if (line.n == 0)
			break;
		if (m->line.n == 0)
			m->line = line;
		else
			header_take(m, line, &body_len);
	}
	if ((size_t)(end - at) < body_len)
		return 0;
	if (m->line.n > 12 && memcmp(m->line.p, "SIP/2.0 ", 8) == 0)
		m->status = (unsigned)atoi((const char *)m->line.p + 8);
	m->body = view_of(at, body_len);
	return (size_t)(at - p) + body_len;
}

uint32_t
client_cseq(struct view line)
{
	struct view v = header_value(line, 4);
	const uint8_t *blank = memchr(v.p, ' ', v.n);
	uint64_t n;

	if (blank == NULL)
		return 0;
	v.n = (size_t)(blank - v.p);
	return view_to_u64(v, &n) && n <= UINT32_MAX ? (uint32_t)n : 0;
}

struct view
client_between(struct view v, const char *from, char until)
{
	const uint8_t *p = memmem(v.p, v.n, from, strlen(from));

	if (p == NULL)
		return view_of(NULL, 0);
	p += strlen(from);
	const uint8_t *end = memchr(p, until, (size_t)(v.p + v.n - p));
	if (end == NULL)
		end = v.p + v.n;
	return view_of(p, (size_t)(end - p));
}

static void
put_request(
    const struct client *c, struct buf *b, const char *method, const char *uri)
{
	buf_printf(b,
	    "%s %s SIP/2.0\r\n"
	    "Via: SIP/2.0/TCP 127.0.0.1:%u;branch=z9hG4bK%s-%u-%s-%u\r\n"
	    "Max-Forwards: 70\r\n",
	    method, uri, c->port, c->run->id, c->index, method, c->cseq);
}

void
client_put_register(
    struct client *c, struct buf *out, const char *authorization)
{
	char uri[160];

	c->cseq++;
	snprintf(uri, sizeof uri, "sip:%s", c->run->domain);
	put_request(c, out, "REGISTER", uri);
	buf_printf(out,
	    "From: <sip:%s>;tag=r%u;epid=%012x\r\n"
	    "To: <sip:%s>\r\n"
	    "CSeq: %u REGISTER\r\n"
	    "Call-ID: reg-%s-%u\r\n"
	    "Contact: <sip:127.0.0.1:%u;transport=tcp>;methods=\"INVITE, "
	    "INFO, BYE, ACK\";+sip.instance=\"<urn:uuid:%08x-0000-5000-8000-"
	    "000000000000>\"\r\n"
	    "Supported: gruu-10, adhoclist, msrtc-event-categories\r\n"
	    "Event: registration\r\n"
	    "%sContent-Length: 0\r\n\r\n",
	    c->user, c->cseq, c->index + 1, c->user, c->cseq, c->run->id,
	    c->index, c->port, c->index, authorization);
}

static void
md5_hex(const struct buf *b, char out[33])
{
	uint8_t digest[CRYPTO_MD5_LEN];
	struct buf hex;

	crypto_md5(b->data, b->len, digest);
	buf_init(&hex);
	text_put_hex(&hex, digest, sizeof digest);
	snprintf(out, 33, "%s", buf_text(&hex));
	buf_release(&hex);
}

void
client_put_authorized_register(
    struct client *c, struct buf *out, struct view challenge)
{
	struct view realm = client_between(challenge, "realm=\"", '"');
	struct view nonce = client_between(challenge, "nonce=\"", '"');
	char ha1[33], ha2[33], response[33];
	struct buf b;

	buf_init(&b);
	buf_printf(&b, "%s:%.*s:%s", c->user, (int)realm.n,
	    (const char *)realm.p, c->run->password);
	md5_hex(&b, ha1);
	buf_clear(&b);
	buf_printf(&b, "REGISTER:sip:%s", c->run->domain);
	md5_hex(&b, ha2);
	buf_clear(&b);
	buf_printf(&b, "%s:%.*s:00000001:%08x:auth:%s", ha1, (int)nonce.n,
	    (const char *)nonce.p, c->index, ha2);
	md5_hex(&b, response);
	buf_clear(&b);
	buf_printf(&b,
	    "Proxy-Authorization: Digest username=\"%s\", realm=\"%.*s\", "
	    "nonce=\"%.*s\", uri=\"sip:%s\", qop=auth, nc=00000001, "
	    "cnonce=\"%08x\", response=\"%s\", algorithm=MD5\r\n",
	    c->user, (int)realm.n, (const char *)realm.p, (int)nonce.n,
	    (const char *)nonce.p, c->run->domain, c->index, response);
	client_put_register(c, out, buf_text(&b));
	buf_release(&b);
}

static void
put_dialog(const struct client *c, struct buf *b, struct view to)
{
	buf_printf(b, "From: <sip:%s>;tag=d%u;epid=%012x\r\n", c->user,
	    c->index, c->index + 1);
	buf_put_view(b, to);
	buf_printf(b, "\r\nCall-ID: dlg-%s-%u\r\n", c->run->id, c->index);
}

void
client_put_invite(struct client *c, struct buf *out)
{
	static const char sdp[] = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n"
				  "s=session\r\nc=IN IP4 127.0.0.1\r\n"
				  "t=0 0\r\nm=message 5060 sip null\r\n"
				  "a=accept-types:text/plain\r\n";
	char uri[160], to[180];

	c->cseq = 1;
	snprintf(uri, sizeof uri, "sip:%s@%s", c->run->service, c->run->domain);
	snprintf(to, sizeof to, "To: <%s>", uri);
	put_request(c, out, "INVITE", uri);
	put_dialog(c, out, view_text(to));
	buf_printf(out,
	    "CSeq: 1 INVITE\r\n"
	    "Supported: ms-sender\r\n"
	    "Contact: <sip:%s:%u;maddr=127.0.0.1;transport=tcp>;proxy=replace"
	    "\r\n"
	    "Content-Type: application/sdp\r\n"
	    "Content-Length: %zu\r\n\r\n%s",
	    c->user, c->port, sizeof sdp - 1, sdp);
}

void
client_put_ack(
    struct client *c, struct buf *out, const char *target, struct view to)
{
	put_request(c, out, "ACK", target);
	put_dialog(c, out, to);
	buf_put_text(out, "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
}

static void
put_info(struct client *c, struct buf *out, const char *uri, struct view to,
    struct view body)
{
	c->cseq++;
	put_request(c, out, "INFO", uri);
	put_dialog(c, out, to);
	buf_printf(out,
	    "CSeq: %u INFO\r\n"
	    "Content-Type: text/plain\r\n"
	    "Content-Length: %zu\r\n\r\n",
	    c->cseq, body.n);
	buf_put_view(out, body);
}

void
client_put_join(
    struct client *c, struct buf *out, const char *uri, struct view to)
{
	struct buf body;

	buf_init(&body);
	buf_printf(&body,
	    "<xccos ver=\"1\" envid=\"%u\" xmlns=\"urn:parlano:xml:ns:xccos\">"
	    "<cmd id=\"cmd:join\" seqid=\"1\"><data><chanid key=\"0\" "
	    "domain=\"%s\" value=\"%08x-0000-4000-8000-000000000000\"/>"
	    "</data></cmd></xccos>",
	    c->cseq, c->run->domain, c->room);
	put_info(c, out, uri, to, buf_view(&body));
	buf_release(&body);
}

void
client_prepare_post(struct client *c, const char *target, struct view to)
{
	static const char filling[] = "the quick brown fox jumps over the "
				      "lazy dog and comes back once more to "
				      "do the same again until all is full";
	static const char end[] = "</chat></grpchat></xccos>";
	struct buf *b = &c->post;

	c->cseq = 10000000;
	put_request(c, b, "INFO", target);
	c->at_branch = b->len - strlen("00000000\r\nMax-Forwards: 70\r\n");
	put_dialog(c, b, to);
	buf_printf(b, "CSeq: ");
	c->at_cseq = b->len;
	buf_printf(b,
	    "%u INFO\r\n"
	    "Content-Type: text/plain\r\n"
	    "Content-Length: %u\r\n\r\n",
	    c->cseq, CLIENT_POST_LEN);
	size_t body = b->len;
	buf_printf(b,
	    "<xccos ver=\"1\" envid=\"7%05u\" "
	    "xmlns=\"urn:parlano:xml:ns:xccos\"><grpchat id=\"grpchat\" "
	    "seqid=\"1\" chanUri=\"ma-chan://%s/%08x-0000-4000-8000-"
	    "000000000000\" author=\"sip:%s\" ts=\"",
	    c->index, c->run->domain, c->room, c->user);
	c->at_stamp = b->len;
	buf_printf(b, "%s\"><chat>", c->run->stamp);
	c->at_text = b->len;
	buf_printf(b, "%u ", c->cseq);
	size_t used = b->len - body + sizeof end - 1;
	if (used > CLIENT_POST_LEN ||
	    CLIENT_POST_LEN - used > sizeof filling - 1)
		log_fatal(
		    "the domain is too long or too short for a post of %u "
		    "bytes",
		    CLIENT_POST_LEN);
	buf_put(b, filling, CLIENT_POST_LEN - used);
	buf_put(b, end, sizeof end - 1);
}

void
client_put_post(struct client *c, struct buf *out)
{
	size_t start = out->len;
	char digits[9];

	c->cseq++;
	buf_put(out, c->post.data, c->post.len);
	if (out->failed)
		log_fatal("out of memory");
	snprintf(digits, sizeof digits, "%08u", c->cseq);
	memcpy(out->data + start + c->at_branch, digits, 8);
	memcpy(out->data + start + c->at_cseq, digits, 8);
	memcpy(out->data + start + c->at_text, digits, 8);
	memcpy(out->data + start + c->at_stamp, c->run->stamp,
	    strlen(c->run->stamp));
}

static void
put_line(struct buf *out, struct view line)
{
	buf_put_view(out, line);
	buf_put(out, "\r\n", 2);
}

void
client_put_ok(struct buf *out, const struct client_message *m)
{
	buf_put_text(out, "SIP/2.0 200 OK\r\n");
	put_line(out, m->via);
	put_line(out, m->from);
	put_line(out, m->to);
	put_line(out, m->call_id);
	put_line(out, m->cseq);
	buf_put_text(out, "Content-Length: 0\r\n\r\n");
}
