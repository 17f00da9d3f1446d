#include "server/invite.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "server/flow.h"
#include "server/session_private.h"
#include "server/uas.h"

#define MIN_SE 90           /* RFC 4028 section 4 */
#define ACK_WAIT_MS 32000   /* 64*T1 */
#define ACK_FIRST_MS 500    /* T1 */
#define ACK_LONGEST_MS 4000 /* T2 */
#define RETRANSMIT_TICK_MS 100

/* User parts under which the chat service is called. */
static const char *const services[] = {"chat", "ocschat"};

static bool
is_service(const struct sip *s, struct view uri)
{
	char *aor = authenticate_aor(uri);
	bool found = false;

	for (size_t i = 0;
	     aor != NULL && i < sizeof(services) / sizeof(*services); i++) {
		size_t n = strlen(services[i]);

		if (strncmp(aor + 4, services[i], n) == 0 &&
		    aor[4 + n] == '@' &&
		    strcasecmp(aor + 5 + n, s->conf->domain) == 0)
			found = true;
	}
	free(aor);
	return found;
}

/* The user's own dialog that a request is in. */
static struct dialog *
dialog_of(struct sip *s, const struct head *h, const struct identity *who)
{
	struct view local, remote;
	struct dialog *d;

	if (!head_param(head_get(h, HEAD_TO), "tag", &local) ||
	    !head_param(head_get(h, HEAD_FROM), "tag", &remote))
		return NULL;
	d = dialog_find(s, head_get(h, HEAD_CALL_ID), local, remote);
	if (d != NULL && strcmp(d->session->identity.user, who->user) != 0)
		return NULL;
	return d;
}

/* Finds the dialog and keeps the order of CSeq, or answers. */
static struct dialog *
enter(struct sip *s, const struct head *h, struct request *r,
    const struct identity *who)
{
	struct dialog *d = dialog_of(s, h, who);

	if (d == NULL) {
		request_reply(r, 481, NULL);
	} else if (h->cseq <= d->remote_cseq) {
		request_reply(r, 500, "CSeq is not higher than one before");
		d = NULL;
	} else {
		d->remote_cseq = h->cseq;
		d->alive_ms = uv_now(s->loop);
	}
	return d;
}

/* ---- session timer ---- */

static bool
get_interval(const struct head *h, enum head_id id, uint64_t *out)
{
	return view_to_u64(head_bare(head_get(h, id)), out) &&
	    *out <= UINT32_MAX;
}

/* False: the request was answered. */
static bool
negotiate(
    struct sip *s, const struct head *h, struct request *r, uint32_t *interval)
{
	uint64_t asked = s->conf->limits.session_s, least = 0;

	if ((head_has(h, HEAD_SESSION_EXPIRES) &&
		!get_interval(h, HEAD_SESSION_EXPIRES, &asked)) ||
	    (head_has(h, HEAD_MIN_SE) &&
		!get_interval(h, HEAD_MIN_SE, &least))) {
		request_reply(r, 400, "bad Session-Expires or Min-SE");
		return false;
	}
	if (head_has(h, HEAD_SESSION_EXPIRES) && asked < MIN_SE) {
		buf_printf(
		    request_begin(r, 422, NULL), "Min-SE: %d\r\n", MIN_SE);
		request_end(r, NULL, view_of("", 0));
		return false;
	}
	if (asked > s->conf->limits.session_s)
		asked = s->conf->limits.session_s;
	if (asked < least)
		asked = least;
	*interval = (uint32_t)asked;
	return true;
}

static void
put_session_timer(struct buf *b, const struct head *h, uint32_t interval)
{
	if (head_lists(h, HEAD_SUPPORTED, "timer"))
		buf_put_text(b, "Require: timer\r\n");
	buf_printf(b,
	    "Supported: timer\r\nSession-Expires: %u;refresher=uac\r\n",
	    interval);
}

/* ---- INVITE ---- */

static void
put_sdp(const struct sip *s, const struct conn *c, struct buf *b)
{
	const char *family;
	struct buf host;

	buf_init(&host);
	conn_put_local_host(c, &host);
	family = memchr(host.data, ':', host.len) == NULL ? "4" : "6";
	buf_put_text(b, "v=0\r\n");
	for (int i = 0; i < 2; i++) {
		buf_printf(b, "%sIN IP%s ", i == 0 ? "o=- 0 0 " : "c=", family);
		buf_put_view(b, buf_view(&host));
		buf_put_text(b, i == 0 ? "\r\ns=session\r\n" : "\r\n");
	}
	buf_printf(b,
	    "t=0 0\r\nm=message 5060 sip sip:chat@%s\r\n"
	    "a=accept-types:text/plain\r\n",
	    s->conf->domain);
	buf_release(&host);
}

static void
accept_invite(struct dialog *d, const struct head *h, struct request *r)
{
	struct sip *s = d->sip;
	struct view route;
	struct buf sdp, *b;
	size_t at = 0;

	/* The To tag of the answer is the dialog's. */
	if (!r->tagged)
		memcpy(r->tag, d->local_tag.p, DIALOG_TAG_LEN);
	b = request_begin(r, 200, NULL);
	while (head_each(h, HEAD_RECORD_ROUTE, &at, &route)) {
		buf_put_text(b, "Record-Route: ");
		buf_put_view(b, route);
		buf_put_text(b, "\r\n");
	}
	buf_put_text(b, "Contact: ");
	buf_put_view(b, d->contact);
	buf_put_text(b, "\r\nAllow: " UAS_ALLOW "\r\n");
	put_session_timer(b, h, d->interval_s);
	buf_init(&sdp);
	put_sdp(s, d->conn, &sdp);
	request_end(r, "application/sdp", buf_view(&sdp));
	buf_release(&sdp);
}

static void
on_retransmit(uv_timer_t *timer)
{
	invite_retransmit(timer->data);
}

/* The wait for the ACK; over UDP the 200 is kept to be sent again. */
static void
await_ack(struct dialog *d)
{
	struct sip *s = d->sip;
	uint64_t now = uv_now(s->loop);

	ring_append(&s->unconfirmed, &d->unconfirmed);
	d->ok_until_ms = now + ACK_WAIT_MS;
	if (conn_reliable(d->conn))
		return;
	buf_put_view(&d->ok, buf_view(&s->reply));
	d->ok_interval_ms = ACK_FIRST_MS;
	d->ok_next_ms = now + ACK_FIRST_MS;
	uv_timer_start(&s->retransmit, on_retransmit, RETRANSMIT_TICK_MS,
	    RETRANSMIT_TICK_MS);
}

static bool
check_offer(const struct head *h, struct request *r)
{
	if (h->body.n == 0 ||
	    (view_is_nocase(head_bare(head_get(h, HEAD_CONTENT_TYPE)),
		 "application/sdp") &&
		!head_has(h, HEAD_CONTENT_ENCODING)))
		return true;
	buf_put_text(
	    request_begin(r, 415, NULL), "Accept: application/sdp\r\n");
	request_end(r, NULL, view_of("", 0));
	return false;
}

/* The URI of the Contact; empty: the request was answered. */
static struct view
get_target(const struct head *h, struct request *r)
{
	struct view list = head_get(h, HEAD_CONTACT), item = list, uri;

	(void)head_item(&list, &item); /* an empty list leaves no item */
	uri = head_addr(item);
	if (uri.n > 0 && memchr(uri.p, ' ', uri.n) == NULL &&
	    memchr(uri.p, '\t', uri.n) == NULL)
		return uri;
	request_reply(r, 400, "Contact with one URI is needed");
	return view_of("", 0);
}

/* re-INVITE: the session goes on (RFC 3261 section 14.2). */
static void
reinvite(struct sip *s, const struct head *h, struct request *r,
    const struct identity *who)
{
	struct dialog *d = enter(s, h, r, who);
	struct view target;
	uint32_t interval;

	if (d == NULL || !check_offer(h, r) || !negotiate(s, h, r, &interval))
		return;
	target = get_target(h, r);
	if (target.n == 0)
		return;
	if (!dialog_retarget(d, target)) {
		request_reply(r, 503, NULL);
		return;
	}
	d->interval_s = interval;
	accept_invite(d, h, r);
}

static struct session *
session_for(struct sip *s, struct conn *c, const struct head *h,
    const struct identity *who)
{
	struct view device = view_of("", 0);
	struct session *session;
	struct flow *f;

	if (s->dialogs.count >= 2U * s->conf->limits.connections)
		return NULL;
	f = flow_of(s, c);
	if (f == NULL)
		return NULL;
	(void)head_param(head_get(h, HEAD_FROM), "epid", &device);
	session = session_open(f, who, device);
	if (session == NULL)
		flow_release(f);
	return session;
}

static void
first_invite(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct session *session;
	struct dialog *d, *old;
	struct view target;
	uint32_t interval;

	if (!is_service(s, h->uri)) {
		request_reply(r, 404, "No chat service at this address");
		return;
	}
	if (!check_offer(h, r) || !negotiate(s, h, r, &interval))
		return;
	target = get_target(h, r);
	if (target.n == 0)
		return;
	session = session_for(s, c, h, who);
	d = session == NULL ? NULL : dialog_new(s, session, c, h, target);
	if (d == NULL) {
		if (session != NULL && session->dialog == NULL)
			session_suspend(session, SESSION_EXPIRED);
		request_reply(r, 503, NULL);
		return;
	}
	old = session->dialog;
	if (old != NULL)
		dialog_end(old);
	session->dialog = d;
	d->resumes = session->opened;
	d->interval_s = interval;
	accept_invite(d, h, r);
	await_ack(d);
}

void
invite_invite(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct view tag;

	if (!head_param(head_get(h, HEAD_FROM), "tag", &tag))
		request_reply(r, 400, "From has no tag");
	else if (r->tagged)
		reinvite(s, h, r, who);
	else
		first_invite(s, c, h, r, who);
}

/* Whose ACK never came, and that is not known otherwise to be alive. */
static void
give_up(struct dialog *d)
{
	session_suspend(d->session, SESSION_EXPIRED);
}

void
invite_retransmit(struct sip *s)
{
	uint64_t now = uv_now(s->loop);
	struct ring *at = s->unconfirmed.next;
	bool any = false;

	while (at != &s->unconfirmed) {
		struct dialog *d = RING_OF(at, struct dialog, unconfirmed);

		at = at->next;
		if (now >= d->ok_until_ms) {
			give_up(d);
			continue;
		}
		if (conn_reliable(d->conn))
			continue;
		any = true;
		if (now < d->ok_next_ms)
			continue;
		buf_put_view(conn_begin(d->conn), buf_view(&d->ok));
		conn_end(d->conn);
		d->ok_interval_ms *= 2;
		if (d->ok_interval_ms > ACK_LONGEST_MS)
			d->ok_interval_ms = ACK_LONGEST_MS;
		d->ok_next_ms = now + d->ok_interval_ms;
	}
	if (!any)
		uv_timer_stop(&s->retransmit);
}

bool
invite_again(struct sip *s, struct conn *c, const struct head *h)
{
	struct view call_id = head_get(h, HEAD_CALL_ID), tag;
	struct lookup_node *n = lookup_first(&s->dialogs, lookup_hash(call_id));

	if (head_param(head_get(h, HEAD_TO), "tag", &tag) ||
	    !head_param(head_get(h, HEAD_FROM), "tag", &tag))
		return false;
	for (; n != NULL; n = lookup_next(n)) {
		struct dialog *d = LOOKUP_OF(n, struct dialog, node);

		if (d->conn != c || d->invite_cseq != h->cseq ||
		    d->call_id.n != call_id.n || d->remote_tag.n != tag.n ||
		    memcmp(d->call_id.p, call_id.p, call_id.n) != 0 ||
		    memcmp(d->remote_tag.p, tag.p, tag.n) != 0)
			continue;
		if (d->ok.len > 0) {
			buf_put_view(conn_begin(c), buf_view(&d->ok));
			conn_end(c);
		}
		return true;
	}
	return false;
}

/* ---- within the dialog ---- */

void
invite_ack(struct sip *s, struct conn *c, const struct head *h)
{
	struct view local, remote;
	struct dialog *d;

	if (!head_param(head_get(h, HEAD_TO), "tag", &local) ||
	    !head_param(head_get(h, HEAD_FROM), "tag", &remote))
		return;
	d = dialog_find(s, head_get(h, HEAD_CALL_ID), local, remote);
	if (d == NULL || d->conn != c || d->confirmed ||
	    d->session->dialog != d || h->cseq != d->invite_cseq)
		return;
	d->alive_ms = uv_now(s->loop);
	session_confirm(d->session);
}

void
invite_update(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct dialog *d = enter(s, h, r, who);
	struct view target;
	uint32_t interval;
	struct buf *b;

	(void)c; /* the dialog stays on its connection */
	if (d == NULL || !check_offer(h, r) || !negotiate(s, h, r, &interval))
		return;
	/* SIPE's UPDATE has a Contact, but it need not. */
	if (head_has(h, HEAD_CONTACT)) {
		target = get_target(h, r);
		if (target.n == 0)
			return;
		if (!dialog_retarget(d, target)) {
			request_reply(r, 503, NULL);
			return;
		}
	}
	if (head_has(h, HEAD_SESSION_EXPIRES))
		d->interval_s = interval;
	b = request_begin(r, 200, NULL);
	buf_put_text(b, "Contact: ");
	buf_put_view(b, d->contact);
	buf_put_text(b, "\r\n");
	put_session_timer(b, h, d->interval_s);
	request_end(r, NULL, view_of("", 0));
}

void
invite_take_info(struct dialog *d, const struct head *h, struct request *r)
{
	struct sip *s = d->sip;

	d->infos++;
	/* Its first INFO shows that the client has the 200. */
	if (!d->confirmed)
		session_confirm(d->session);
	if (head_has(h, HEAD_CONTENT_ENCODING)) {
		buf_put_text(request_begin(r, 415, NULL),
		    "Accept-Encoding: identity\r\n");
		request_end(r, NULL, view_of("", 0));
	} else if (!text_utf8_valid(h->body)) {
		request_reply(r, 400, "The body is not UTF-8 text");
	} else if (s->inflight >= s->conf->limits.inflight) {
		s->counters.overload++;
		chat_overloaded(s->chat);
		request_reply(r, 503, "Chat service busy");
	} else {
		r->counted = true;
		s->inflight++;
		chat_info(s->chat, d->session, r, h->body);
	}
}

void
invite_info(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct dialog *d = enter(s, h, r, who);

	(void)c; /* the answer goes back by the request */
	if (d != NULL)
		invite_take_info(d, h, r);
}

void
invite_bye(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct dialog *d = enter(s, h, r, who);
	struct session *session;

	(void)c; /* as above */
	if (d == NULL)
		return;
	request_reply(r, 200, NULL);
	session = d->session;
	/*
	 * After a 481 SIPE looks the service up again, in a dialog of its own
	 * with one command, ends that and sets up the next. What the session
	 * had joined before stays.
	 */
	if (d->resumes && d->infos <= 1)
		session_suspend(session, SESSION_BYE);
	else
		session_end(session, SESSION_BYE);
}

static bool
same(struct view a, struct view b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

struct dialog *
invite_plain_info(struct sip *s, struct conn *c, const struct head *h)
{
	const struct flow *f = flow_get(c);
	struct view local, remote;
	struct dialog *d;

	if (f == NULL || f->user == NULL || !conn_reliable(c) ||
	    head_has(h, HEAD_REQUIRE) ||
	    !head_param(head_get(h, HEAD_TO), "tag", &local) ||
	    !head_param(head_get(h, HEAD_FROM), "tag", &remote))
		return NULL;
	d = dialog_find(s, head_get(h, HEAD_CALL_ID), local, remote);
	if (d == NULL || d->conn != c || h->cseq <= d->remote_cseq ||
	    !same(d->remote, head_get(h, HEAD_FROM)) ||
	    strcmp(d->session->identity.user, f->user) != 0)
		return NULL;
	d->remote_cseq = h->cseq;
	d->alive_ms = uv_now(s->loop);
	return d;
}

void
invite_response(struct sip *s, struct conn *c, const struct head *h)
{
	struct view local, remote;
	struct dialog *d;

	if (!view_is(h->cseq_method, "INFO") ||
	    !head_param(head_get(h, HEAD_FROM), "tag", &local) ||
	    !head_param(head_get(h, HEAD_TO), "tag", &remote))
		return;
	d = dialog_find(s, head_get(h, HEAD_CALL_ID), local, remote);
	if (d == NULL || d->conn != c || h->cseq > d->local_cseq)
		return;
	d->alive_ms = uv_now(s->loop);
	dialog_answered(d, h->cseq, h->status);
	/* The client has no such dialog (RFC 3261 12.2.1.2; SIPE: 487). */
	if (h->status == 481 || h->status == 408 || h->status == 487)
		session_suspend(d->session, SESSION_EXPIRED);
}
