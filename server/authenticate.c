#include "server/authenticate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <osipparser2/osip_parser.h>

#include "server/flow.h"
#include "server/session.h"
#include "server/store.h"

void
identity_release(struct identity *i)
{
	free(i->user);
	free(i->name);
	i->user = i->name = NULL;
}

/* Does the client show by its header fields that it is SIPE or Lync? */
static bool
is_ms(const struct head *h)
{
	return head_has(h, HEAD_KEEP_ALIVE) ||
	    head_lists(h, HEAD_SUPPORTED, "msrtc-event-categories");
}

static void
put_lower(struct buf *b, const char *text)
{
	for (; *text != 0; text++)
		buf_put_u8(b, (uint8_t)tolower((unsigned char)*text));
}

char *
authenticate_aor(struct view text)
{
	char *copy = view_dup(text), *aor = NULL;
	osip_uri_t *uri = NULL;
	struct buf b;
	size_t len;

	buf_init(&b);
	if (copy == NULL || osip_uri_init(&uri) != 0 ||
	    osip_uri_parse(uri, copy) != 0)
		goto done;
	if (uri->scheme == NULL || uri->username == NULL || uri->host == NULL ||
	    (strcasecmp(uri->scheme, "sip") != 0 &&
		strcasecmp(uri->scheme, "sips") != 0))
		goto done;
	buf_put_text(&b, "sip:");
	put_lower(&b, uri->username);
	buf_put_u8(&b, '@');
	put_lower(&b, uri->host);
	buf_put_u8(&b, 0);
	if (!b.failed)
		aor = (char *)buf_take(&b, &len);
done:
	buf_release(&b);
	if (uri != NULL)
		osip_uri_free(uri);
	free(copy);
	return aor;
}

static void
challenge(struct sip *s, const struct head *h, struct request *r, bool stale)
{
	struct buf host, *b;

	buf_init(&host);
	conn_put_remote_host(r->conn, &host);
	b = request_begin(r, 407, NULL);
	digest_challenge(
	    &s->digest, buf_view(&host), sip_now_s(s), stale, is_ms(h), b);
	buf_release(&host);
	request_end(r, NULL, view_of("", 0));
}

/* The address that is claimed to sign in must be the user of the Digest. */
static bool
is_user(const struct digest_credentials *c, const char *aor)
{
	struct view name = c->username;

	if (name.n > 4 && strncasecmp((const char *)name.p, "sip:", 4) == 0)
		name = view_of(name.p + 4, name.n - 4);
	return view_is_nocase(name, aor + 4);
}

static bool
same_text(const char *a, const char *b)
{
	return strcasecmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* Scheme, user, host and port; what comes after them changes no target. */
static bool
same_target(struct view a, struct view b)
{
	char *text[2] = {view_dup(a), view_dup(b)};
	osip_uri_t *uri[2] = {NULL, NULL};
	bool same = true;

	for (int i = 0; i < 2; i++)
		same = same && text[i] != NULL && osip_uri_init(&uri[i]) == 0 &&
		    osip_uri_parse(uri[i], text[i]) == 0;
	same = same && same_text(uri[0]->scheme, uri[1]->scheme) &&
	    same_text(uri[0]->username, uri[1]->username) &&
	    same_text(uri[0]->host, uri[1]->host) &&
	    same_text(uri[0]->port, uri[1]->port);
	for (int i = 0; i < 2; i++) {
		if (uri[i] != NULL)
			osip_uri_free(uri[i]);
		free(text[i]);
	}
	return same;
}

/*
 * What the credentials are for must be what is asked for (RFC 7616 section
 * 3.4.6). SIPE answers a 407 with the target of that response, which has
 * none; it signs in by REGISTER on a connection that is trusted then.
 */
static bool
uri_fits(const struct head *h, const struct digest_credentials *c)
{
	if (c->uri.n == h->uri.n && memcmp(c->uri.p, h->uri.p, h->uri.n) == 0)
		return true;
	if (view_is(c->uri, "(null)"))
		return view_is(h->method, "REGISTER") && is_ms(h);
	return same_target(c->uri, h->uri);
}

/* The address, or of IPv6 what one customer has. */
static struct view
network_of(const struct conn *c)
{
	const union conn_address *a = &c->remote;
	const uint8_t *six = a->in6.sin6_addr.s6_addr;

	if (a->any.sa_family == AF_INET)
		return view_of(
		    (const uint8_t *)&a->in.sin_addr, sizeof a->in.sin_addr);
	if (a->any.sa_family != AF_INET6)
		return view_of(NULL, 0);
	return IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr) ? view_of(six + 12, 4)
						       : view_of(six, 8);
}

static enum digest_verdict
check(struct sip *s, const struct head *h, struct conn *c,
    const struct digest_credentials *credentials, const char *aor,
    struct identity *out)
{
	struct digest_secret secret = {NULL, NULL};
	struct store_user user = {0};
	enum digest_verdict verdict;
	struct buf host;
	bool known =
	    is_user(credentials, aor) && store_user_get(s->store, aor, &user);

	if (known && user.has_password) {
		secret.ha1_md5 = user.ha1_md5;
		secret.ha1_sha256 = user.ha1_sha256;
	}
	buf_init(&host);
	conn_put_remote_host(c, &host);
	verdict = digest_check(&s->digest, credentials, &secret, h->method,
	    buf_view(&host), sip_now_s(s));
	buf_release(&host);
	if (verdict == DIGEST_GOOD) {
		out->user = strdup(user.uri);
		out->name = strdup(user.name);
		out->auth = digest_name(credentials->algorithm);
		out->fresh = true;
	}
	if (known)
		store_user_release(&user);
	return verdict;
}

/* The first credentials that are for our realm. */
static bool
find_credentials(
    struct sip *s, const struct head *h, struct digest_credentials *out)
{
	struct view v;
	size_t at = 0;

	while (head_each(h, HEAD_PROXY_AUTHORIZATION, &at, &v))
		if (digest_parse(&s->digest, v, out))
			return true;
	return false;
}

static void
refuse_password(struct sip *s, struct request *r, unsigned wait_s)
{
	chat_password_refused(s->chat);
	if (wait_s == 0) {
		s->counters.wrong_passwords++;
		request_reply(r, 403, "Wrong user name or password");
	} else {
		s->counters.guesses_slowed++;
		request_retry(r, wait_s, "Too many wrong passwords");
	}
}

/* What the verdict is worth, and the answer when that is nothing. */
static bool
judge(struct sip *s, struct conn *c, const struct head *h, struct request *r,
    const char *aor, enum digest_verdict verdict)
{
	switch (verdict) {
	case DIGEST_GOOD:
		guesses_right(&s->guesses, view_text(aor), network_of(c));
		return true;
	case DIGEST_STALE:
	case DIGEST_STRANGE: /* so that no answer tells of the password */
		challenge(s, h, r, true);
		return false;
	case DIGEST_WRONG:
		guesses_wrong(
		    &s->guesses, view_text(aor), network_of(c), sip_now_s(s));
		refuse_password(s, r, 0);
		return false;
	case DIGEST_UNUSABLE:
		request_reply(r, 400,
		    "Digest needs algorithm MD5 or SHA-256 and qop=auth");
		return false;
	}
	return false;
}

static bool
by_digest(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const char *aor, struct identity *out)
{
	struct digest_credentials credentials;
	enum digest_verdict verdict;
	unsigned wait_s;
	bool fits;

	if (!find_credentials(s, h, &credentials)) {
		challenge(s, h, r, false);
		return false;
	}
	fits = uri_fits(h, &credentials);
	wait_s = guesses_wait(
	    &s->guesses, view_text(aor), network_of(c), sip_now_s(s));
	if (!fits) {
		digest_credentials_release(&credentials);
		request_reply(
		    r, 400, "uri of the Digest is not the Request-URI");
		return false;
	}
	if (wait_s > 0) {
		digest_credentials_release(&credentials);
		refuse_password(s, r, wait_s);
		return false;
	}
	verdict = check(s, h, c, &credentials, aor, out);
	digest_credentials_release(&credentials);
	if (!judge(s, c, h, r, aor, verdict))
		return false;
	if (out->user != NULL && out->name != NULL)
		return true;
	identity_release(out);
	request_reply(r, 503, NULL);
	return false;
}

/* True when the connection itself says who it is. */
static bool
by_flow(const struct conn *c, struct identity *out)
{
	const struct flow *f = flow_get(c);

	if (!conn_reliable(c) || f == NULL || f->user == NULL)
		return false;
	out->user = strdup(f->user);
	out->name = strdup(f->name);
	out->auth = f->auth;
	return true;
}

bool
authenticate(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, struct identity *out)
{
	char *aor = authenticate_aor(head_addr(head_get(h, HEAD_FROM)));
	bool ok = false;

	memset(out, 0, sizeof(*out));
	if (aor == NULL) {
		request_reply(r, 400, "From is not a SIP address of a user");
	} else if (!by_flow(c, out)) {
		ok = by_digest(s, c, h, r, aor, out);
	} else if (out->user == NULL || out->name == NULL) {
		request_reply(r, 503, NULL);
	} else if (strcasecmp(out->user, aor) != 0) {
		request_reply(r, 403, "From is not who signed in");
	} else {
		ok = true;
	}
	if (!ok)
		identity_release(out);
	free(aor);
	return ok;
}
