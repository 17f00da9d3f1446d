#include "server/registrar.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "server/flow.h"
#include "server/session_private.h"

#define EXPIRES_MIN 60
/* SIPE sends an empty line after so many idle seconds. */
#define KEEP_ALIVE_S 300

/* What a REGISTER asks for. */
struct wish {
	struct view contact; /* its URI, empty: a question only */
	struct view instance;
	uint64_t expires;
	bool all; /* "*" */
};

/* delta-seconds; what is larger than any number is still a long time. */
static bool
get_seconds(struct view v, uint64_t *out)
{
	if (v.n == 0)
		return false;
	*out = 0;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		if (*out < UINT32_MAX)
			*out = *out * 10 + (uint64_t)(v.p[i] - '0');
	}
	return true;
}

/* NULL, or what is wrong. */
static const char *
read_wish(const struct sip *s, const struct head *h, struct wish *w)
{
	struct view list = head_get(h, HEAD_CONTACT), item, expires;

	memset(w, 0, sizeof(*w));
	w->expires = s->conf->limits.register_s;
	if (head_has(h, HEAD_EXPIRES) &&
	    !get_seconds(head_get(h, HEAD_EXPIRES), &w->expires))
		return "bad Expires";
	if (!head_item(&list, &item))
		return NULL;
	w->contact = head_addr(item);
	if (view_is(w->contact, "*")) {
		w->all = true;
		return w->expires == 0 ? NULL : "Contact * needs Expires 0";
	}
	if (head_param(item, "expires", &expires) &&
	    !get_seconds(expires, &w->expires))
		return "bad expires in Contact";
	if (!head_param(item, "+sip.instance", &w->instance))
		w->instance = view_of("", 0);
	if (w->contact.n == 0 ||
	    memchr(w->contact.p, ' ', w->contact.n) != NULL)
		return "bad Contact";
	if (w->expires > s->conf->limits.register_s)
		w->expires = s->conf->limits.register_s;
	return NULL;
}

static void
put_contact(
    struct buf *b, struct view uri, uint64_t expires, struct view instance)
{
	buf_put_text(b, "Contact: <");
	buf_put_view(b, uri);
	buf_printf(b, ">;expires=%llu", (unsigned long long)expires);
	if (instance.n > 0) {
		buf_put_text(b, ";+sip.instance=");
		buf_put_view(b, instance);
	}
	buf_put_text(b, "\r\n");
}

/* SIPE reads Supported only alone on its line, Allow-Events without blanks. */
static void
answer(struct sip *s, const struct head *h, struct request *r,
    const struct wish *w)
{
	unsigned silence = s->conf->limits.idle_s / 2;
	struct buf *b = request_begin(r, 200, NULL);

	if (w->contact.n > 0 && w->expires > 0)
		put_contact(b, w->contact, w->expires, w->instance);
	buf_printf(b, "Expires: %llu\r\n", (unsigned long long)w->expires);
	buf_put_text(b,
	    "Supported: msrtc-event-categories\r\n"
	    "Allow-Events: vnd-microsoft-provisioning-v2\r\n");
	if (head_has(h, HEAD_KEEP_ALIVE))
		buf_printf(b,
		    "ms-keep-alive: UAS; tcp=no; hop-hop=yes; end-end=no; "
		    "timeout=%u\r\n",
		    silence < KEEP_ALIVE_S ? silence : KEEP_ALIVE_S);
	request_end(r, NULL, view_of("", 0));
}

static void
sign_off(struct sip *s, const struct head *h, struct request *r, struct flow *f,
    const struct wish *w)
{
	answer(s, h, r, w);
	flow_end_sessions(f, SESSION_SIGNOFF);
	log_debug("signed off: %s", f->user == NULL ? "-" : f->user);
	flow_sign_out(f);
	flow_release(f);
}

/* The device signs in: what it had on another connection is lost. */
static void
replace_device(struct flow *f, const struct identity *who, struct view device)
{
	struct session *old;

	if (device.n == 0)
		return;
	old = session_find(f->sip, who->user, device);
	if (old != NULL && old->flow != f)
		session_end(old, SESSION_LOST);
}

static void
sign_in(const struct head *h, struct request *r, struct flow *f,
    const struct identity *who, const struct wish *w)
{
	bool known = f->user != NULL && strcmp(f->user, who->user) == 0;
	struct view device = view_of("", 0);
	struct sip *s = f->sip;
	char *contact = view_dup(w->contact);

	if (contact == NULL ||
	    !flow_sign_in(f, who, uv_now(s->loop) + w->expires * 1000)) {
		free(contact);
		flow_release(f);
		request_reply(r, 503, NULL);
		return;
	}
	free(f->contact);
	f->contact = contact;
	(void)head_param(head_get(h, HEAD_FROM), "epid", &device);
	free(f->device);
	f->device = view_dup(device);
	answer(s, h, r, w);
	if (known)
		return;
	s->counters.sign_ins++;
	log_debug("signed in: %s by %s", who->user, who->auth);
	replace_device(f, who, device);
}

/* What is registered on this flow, without a change. */
static void
answer_question(struct sip *s, const struct head *h, struct request *r,
    const struct flow *f)
{
	struct wish w = {.expires = 0};

	if (f->user != NULL && f->contact != NULL) {
		uint64_t now = uv_now(s->loop);

		w.contact = view_text(f->contact);
		w.expires = f->until_ms > now ? (f->until_ms - now) / 1000 : 0;
	}
	answer(s, h, r, &w);
}

void
registrar_register(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	char *to = authenticate_aor(head_addr(head_get(h, HEAD_TO)));
	bool own = to != NULL && strcasecmp(to, who->user) == 0;
	struct flow *f;
	struct wish w;
	const char *why;

	free(to);
	if (!own) {
		request_reply(r, 403, "To is not who signs in");
		return;
	}
	why = read_wish(s, h, &w);
	if (why != NULL) {
		request_reply(r, 400, why);
		return;
	}
	if (w.expires > 0 && w.expires < EXPIRES_MIN &&
	    w.expires < s->conf->limits.register_s) {
		buf_printf(request_begin(r, 423, NULL), "Min-Expires: %d\r\n",
		    EXPIRES_MIN);
		request_end(r, NULL, view_of("", 0));
		return;
	}
	f = flow_of(s, c);
	if (f == NULL) {
		request_reply(r, 503, NULL);
	} else if (w.contact.n == 0) {
		answer_question(s, h, r, f);
		flow_release(f);
	} else if (w.expires == 0) {
		sign_off(s, h, r, f, &w);
	} else {
		sign_in(h, r, f, who, &w);
	}
}
