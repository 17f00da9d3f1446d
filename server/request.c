#include "server/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define RETRY_AFTER_S 5U

static const struct {
	unsigned status;
	const char *phrase;
} phrases[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {407, "Proxy Authentication Required"},
    {413, "Request Entity Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Unsupported URI Scheme"},
    {420, "Bad Extension"},
    {422, "Session Interval Too Small"},
    {423, "Interval Too Brief"},
    {480, "Temporarily Unavailable"},
    {481, "Call/Transaction Does Not Exist"},
    {489, "Bad Event"},
    {500, "Server Internal Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "Version Not Supported"},
};

const char *
request_phrase(unsigned status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Error";
}

/* Text that is safe in a status line; control characters become blanks. */
static void
put_text(struct buf *b, const char *text)
{
	for (; *text != 0; text++)
		buf_put_u8(b,
		    (uint8_t)*text < 0x20 || *text == 0x7f ? ' '
							   : (uint8_t)*text);
}

/* A quoted-string (RFC 3261 section 25.1). */
static void
put_quoted(struct buf *b, const char *text)
{
	buf_put_u8(b, '"');
	for (; *text != 0; text++) {
		if (*text == '"' || *text == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b,
		    (uint8_t)*text < 0x20 || *text == 0x7f ? ' '
							   : (uint8_t)*text);
	}
	buf_put_u8(b, '"');
}

static void
put_field(struct buf *b, const char *name, struct view value)
{
	buf_put_text(b, name);
	buf_put_view(b, value);
	buf_put_text(b, "\r\n");
}

/*
 * The top Via of a datagram gets the address that it came from (RFC 3261
 * section 18.2.1, RFC 3581 section 4).
 */
static void
put_top_via(struct buf *b, const struct conn *c, struct view via)
{
	const uint8_t *at = NULL;
	struct view rport;
	size_t before;

	buf_put_text(b, "Via: ");
	if (!conn_reliable(c) && head_param(via, "rport", &rport) &&
	    rport.n == 0)
		at = memmem(via.p, via.n, ";rport", 6);
	if (at != NULL) {
		before = (size_t)(at - via.p) + 6;
		buf_put(b, via.p, before);
		buf_printf(b, "=%u", conn_remote_port(c));
		via = view_of(via.p + before, via.n - before);
	}
	buf_put_view(b, via);
	if (!conn_reliable(c)) {
		buf_put_text(b, ";received=");
		conn_put_remote_host(c, b);
	}
	buf_put_text(b, "\r\n");
}

/* The fields in the order that clients send them; *to_end is an offset. */
static void
put_echo(
    struct buf *b, const struct conn *c, const struct head *h, size_t *to_end)
{
	struct view via;
	size_t at = 0;
	bool top = true;

	while (head_each(h, HEAD_VIA, &at, &via)) {
		if (top)
			put_top_via(b, c, via);
		else
			put_field(b, "Via: ", via);
		top = false;
	}
	put_field(b, "From: ", head_get(h, HEAD_FROM));
	put_field(b, "To: ", head_get(h, HEAD_TO));
	*to_end = b->len - 2;
	put_field(b, "Call-ID: ", head_get(h, HEAD_CALL_ID));
	put_field(b, "CSeq: ", head_get(h, HEAD_CSEQ));
}

/* The same tag for a request that comes again: no state is needed for it. */
static void
make_tag(struct request *r)
{
	uint64_t hash = lookup_hash(view_of(r->text, r->echo_len));
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < REQUEST_TAG_LEN; i++)
		r->tag[i] = digits[hash >> (4 * i) & 15];
}

struct request *
request_new(
    struct sip *s, struct conn *c, const struct head *h, struct transaction *t)
{
	struct buf *b = &s->text;
	struct request *r = NULL;
	struct view tag;
	size_t to_end = 0, echo_len;

	buf_clear(b);
	put_echo(b, c, h, &to_end);
	echo_len = b->len;
	buf_put_view(b, head_get(h, HEAD_CALL_ID));
	buf_put_u8(b, ' ');
	buf_put_decimal(b, h->cseq);
	buf_put_u8(b, 0);
	if (!b->failed)
		r = malloc(sizeof(*r) + b->len);
	if (r == NULL) {
		if (t != NULL)
			transaction_abandon(t);
		return NULL;
	}
	memset(r, 0, sizeof(*r));
	memcpy(r->text, b->data, b->len);
	r->sip = s;
	r->conn = conn_hold(c);
	r->transaction = t;
	r->to_end = to_end;
	r->echo_len = echo_len;
	r->id = r->text + echo_len;
	r->tagged = head_param(head_get(h, HEAD_TO), "tag", &tag);
	if (!r->tagged)
		make_tag(r);
	return r;
}

static void
put_diagnostics(struct request *r, struct buf *b, const char *reason)
{
	if (r->status == 503)
		buf_printf(b, "Retry-After: %u\r\n",
		    r->retry_after_s > 0 ? r->retry_after_s : RETRY_AFTER_S);
	buf_printf(b,
	    "ms-diagnostics: %u;source=\"%s\";reason=", 20000 + r->status,
	    r->sip->conf->domain);
	put_quoted(b, reason);
	buf_put_text(b, ";component=\"GroupChat\"\r\n");
}

struct buf *
request_begin(struct request *r, unsigned status, const char *reason)
{
	bool stream = conn_reliable(r->conn);
	struct buf *b = stream ? conn_begin(r->conn) : &r->sip->reply;

	r->status = status;
	if (reason == NULL || *reason == 0)
		reason = request_phrase(status);
	if (!stream)
		buf_clear(b);
	buf_put_text(b, "SIP/2.0 ");
	buf_put_decimal(b, status);
	buf_put_u8(b, ' ');
	put_text(b, reason);
	buf_put_text(b, "\r\n");
	buf_put(b, r->text, r->to_end);
	if (!r->tagged) {
		buf_put_text(b, ";tag=");
		buf_put_text(b, r->tag);
	}
	buf_put(b, r->text + r->to_end, r->echo_len - r->to_end);
	/* A challenge is no error to be explained. */
	if (status >= 400 && status != 407)
		put_diagnostics(r, b, reason);
	return b;
}

static void
release(struct request *r)
{
	if (r->counted)
		r->sip->inflight--;
	if (r->transaction != NULL)
		transaction_abandon(r->transaction);
	conn_drop(r->conn);
	free(r);
}

void
request_end(struct request *r, const char *type, struct view body)
{
	bool stream = conn_reliable(r->conn);
	struct buf *b = stream ? conn_begin(r->conn) : &r->sip->reply;

	if (type != NULL)
		put_field(b, "Content-Type: ", view_text(type));
	buf_put_text(b, "Content-Length: ");
	buf_put_decimal(b, body.n);
	buf_put_text(b, "\r\n\r\n");
	buf_put_view(b, body);
	r->sip->counters.answered[r->status / 100 % 7]++;
	if (stream) {
		conn_end(r->conn);
	} else if (b->failed) {
		/* Out of memory: the client asks again. */
	} else if (r->transaction != NULL) {
		transaction_answer(r->transaction, r->status, buf_view(b));
		r->transaction = NULL;
	} else {
		buf_put_view(conn_begin(r->conn), buf_view(b));
		conn_end(r->conn);
	}
	release(r);
}

void
request_reply(struct request *r, unsigned status, const char *reason)
{
	request_begin(r, status, reason);
	request_end(r, NULL, view_of("", 0));
}

void
request_retry(struct request *r, unsigned after_s, const char *reason)
{
	r->retry_after_s = after_s;
	request_reply(r, 503, reason);
}

void
request_answer(struct request *r, unsigned status, const char *reason)
{
	request_reply(r, status, reason);
}

const char *
request_id(const struct request *r)
{
	return r->id;
}
