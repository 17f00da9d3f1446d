#include "server/uas.h"

#include <ctype.h>
#include <string.h>

#include <osipparser2/osip_parser.h>

#include "server/authenticate.h"
#include "server/invite.h"
#include "server/provision.h"
#include "server/registrar.h"
#include "server/request.h"

#define EXTENSION "timer" /* the one option tag that may be required */

typedef void method_fn(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who);

/* Handlers of what needs no sign-in get no identity. */
static method_fn uas_options, uas_cancel;

static const struct method {
	const char *name;
	method_fn *handle; /* NULL: known, but not allowed here */
	bool open;         /* without sign-in */
} methods[] = {
    {"INFO", invite_info, false},
    {"REGISTER", registrar_register, false},
    {"SUBSCRIBE", provision_subscribe, false},
    {"INVITE", invite_invite, false},
    {"UPDATE", invite_update, false},
    {"BYE", invite_bye, false},
    {"OPTIONS", uas_options, true},
    {"CANCEL", uas_cancel, true},
    {"MESSAGE", NULL, false},
    {"NOTIFY", NULL, false},
    {"BENOTIFY", NULL, false},
    {"PRACK", NULL, false},
    {"PUBLISH", NULL, false},
    {"REFER", NULL, false},
    {"SERVICE", NULL, false},
};

/* Fields whose grammar is libosip2's affair. */
static const struct {
	enum head_id id;
	const char *name;
} parsed[] = {
    {HEAD_VIA, "Via"},
    {HEAD_FROM, "From"},
    {HEAD_TO, "To"},
    {HEAD_CALL_ID, "Call-ID"},
    {HEAD_CSEQ, "CSeq"},
    {HEAD_CONTACT, "Contact"},
    {HEAD_CONTENT_TYPE, "Content-Type"},
    {HEAD_RECORD_ROUTE, "Record-Route"},
};

static void
uas_options(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	(void)s;
	(void)c;
	(void)h;
	(void)who; /* everybody is told the same */
	buf_put_text(request_begin(r, 200, NULL),
	    "Allow: " UAS_ALLOW "\r\nAccept: application/sdp, text/plain\r\n"
	    "Supported: " EXTENSION "\r\n");
	request_end(r, NULL, view_of("", 0));
}

/* Every INVITE has its final answer at once, so nothing can be cancelled. */
static void
uas_cancel(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	(void)who;
	if (!conn_reliable(c) && transaction_cancels(&s->transactions, c, h))
		request_reply(r, 200, NULL);
	else
		request_reply(r, 481, NULL);
}

static void
put_parsed_fields(const struct head *h, struct buf *b)
{
	for (size_t i = 0; i < sizeof(parsed) / sizeof(*parsed); i++) {
		struct view v;
		size_t at = 0;

		while (head_each(h, parsed[i].id, &at, &v)) {
			buf_put_text(b, parsed[i].name);
			buf_put_text(b, ": ");
			buf_put_view(b, v);
			buf_put_text(b, "\r\n");
		}
	}
}

/* The request as libosip2 understands it; NULL when it does not. */
static osip_message_t *
parse(struct sip *s, const struct head *h)
{
	osip_message_t *msg = NULL;
	struct buf *b = &s->text;

	buf_clear(b);
	buf_put_view(b, h->method);
	buf_put_u8(b, ' ');
	buf_put_view(b, h->uri);
	buf_put_text(b, " SIP/2.0\r\n");
	put_parsed_fields(h, b);
	buf_put_text(b, "\r\n");
	if (b->failed || osip_message_init(&msg) != 0)
		return NULL;
	if (osip_message_parse(msg, (const char *)b->data, b->len) == 0 &&
	    msg->req_uri != NULL && msg->from != NULL && msg->to != NULL &&
	    msg->call_id != NULL && msg->cseq != NULL &&
	    osip_list_size(&msg->vias) > 0)
		return msg;
	osip_message_free(msg);
	return NULL;
}

static const struct method *
method_of(const struct head *h)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
		if (view_is(h->method, methods[i].name))
			return &methods[i];
	return NULL;
}

/* A URI of another kind than sip and sips: 416, whatever follows in it. */
static bool
scheme_is_foreign(struct view uri)
{
	const uint8_t *colon = memchr(uri.p, ':', uri.n);
	struct view scheme;

	if (colon == NULL || !isalpha(uri.p[0]))
		return false;
	scheme = view_of(uri.p, (size_t)(colon - uri.p));
	for (size_t i = 0; i < scheme.n; i++)
		if (!isalnum(scheme.p[i]) && strchr("+-.", scheme.p[i]) == NULL)
			return false;
	return !view_is_nocase(scheme, "sip") &&
	    !view_is_nocase(scheme, "sips");
}

/* False when the request was answered: 420 names what is not understood. */
static bool
check_require(const struct head *h, struct request *r)
{
	struct view list, item;
	struct buf *b = NULL;
	size_t at = 0;

	while (head_each(h, HEAD_REQUIRE, &at, &list)) {
		while (head_item(&list, &item)) {
			if (view_is_nocase(item, EXTENSION))
				continue;
			if (b == NULL) {
				b = request_begin(r, 420, NULL);
				buf_put_text(b, "Unsupported: ");
			} else {
				buf_put_text(b, ", ");
			}
			buf_put_view(b, item);
		}
	}
	if (b == NULL)
		return true;
	buf_put_text(b, "\r\n");
	request_end(r, NULL, view_of("", 0));
	return false;
}

static void
refuse_method(struct request *r, unsigned status)
{
	buf_put_text(
	    request_begin(r, status, NULL), "Allow: " UAS_ALLOW "\r\n");
	request_end(r, NULL, view_of("", 0));
}

static void
dispatch(struct sip *s, struct conn *c, const struct head *h, struct request *r)
{
	const struct method *m = method_of(h);
	struct identity who;

	if (m == NULL) {
		refuse_method(r, 501);
	} else if (!view_is(h->method, "CANCEL") && !check_require(h, r)) {
		return;
	} else if (m->open) {
		m->handle(s, c, h, r, NULL);
	} else if (authenticate(s, c, h, r, &who)) {
		if (m->handle == NULL)
			refuse_method(r, 405);
		else
			m->handle(s, c, h, r, &who);
		identity_release(&who);
	}
}

/*
 * Over UDP an answer is kept for whoever proved who he is; challenges and
 * errors to others leave no state (RFC 3261 section 8.2.7).
 */
static struct transaction *
open_transaction(
    struct sip *s, struct conn *c, const struct head *h, osip_message_t **msg)
{
	struct transaction *t = NULL;

	if (!conn_reliable(c) && head_has(h, HEAD_PROXY_AUTHORIZATION))
		t = transaction_new(&s->transactions, c, h, *msg);
	if (t != NULL)
		*msg = NULL;
	return t;
}

void
uas_request(struct sip *s, struct conn *c, const struct head *h)
{
	bool ack = view_is(h->method, "ACK");
	osip_message_t *msg;
	struct request *r;
	struct dialog *d;

	s->counters.requests++;
	if (view_is(h->method, "INFO") &&
	    (d = invite_plain_info(s, c, h)) != NULL) {
		r = request_new(s, c, h, NULL);
		if (r != NULL)
			invite_take_info(d, h, r);
		else
			conn_doom(c, "out of memory");
		return;
	}
	if (scheme_is_foreign(h->uri)) {
		uas_malformed(s, c, h, 416, request_phrase(416));
		return;
	}
	msg = parse(s, h);
	if (msg == NULL) {
		uas_malformed(s, c, h, 400, "Header field not understood");
		return;
	}
	if (!conn_reliable(c) &&
	    (transaction_absorb(&s->transactions, c, h, msg) ||
		(view_is(h->method, "INVITE") && invite_again(s, c, h))))
		goto done;
	if (ack) {
		invite_ack(s, c, h);
		goto done;
	}
	r = request_new(s, c, h, open_transaction(s, c, h, &msg));
	if (r != NULL)
		dispatch(s, c, h, r);
	else
		conn_doom(c, "out of memory");
done:
	if (msg != NULL)
		osip_message_free(msg);
}

void
uas_malformed(struct sip *s, struct conn *c, const struct head *h,
    unsigned status, const char *why)
{
	struct request *r = NULL;

	s->counters.malformed++;
	transport_complain(s->transport, c, why);
	/* Nothing is sent in answer to an ACK or a response. */
	if (!h->response && !view_is(h->method, "ACK") &&
	    head_get(h, HEAD_VIA).n > 0 && head_get(h, HEAD_FROM).n > 0 &&
	    head_get(h, HEAD_TO).n > 0 && head_get(h, HEAD_CALL_ID).n > 0 &&
	    head_get(h, HEAD_CSEQ).n > 0)
		r = request_new(s, c, h, NULL);
	if (r != NULL)
		request_reply(r, status, why);
	else
		conn_doom(c, why);
}
