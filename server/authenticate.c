#include "server/authenticate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <osipparser2/osip_parser.h>

#include "server/flow.h"
#include "server/store.h"

void
identity_release(struct identity *i)
{
	free(i->user);
	free(i->name);
	i->user = i->name = NULL;
}

bool
authenticate_is_ms(const struct head *h)
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
	digest_challenge(&s->digest, buf_view(&host), sip_now_s(s), stale,
	    authenticate_is_ms(h), b);
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

static bool
by_digest(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const char *aor, struct identity *out)
{
	struct digest_credentials credentials;
	enum digest_verdict verdict;

	if (!find_credentials(s, h, &credentials)) {
		challenge(s, h, r, false);
		return false;
	}
	verdict = check(s, h, c, &credentials, aor, out);
	digest_credentials_release(&credentials);
	switch (verdict) {
	case DIGEST_GOOD:
		if (out->user != NULL && out->name != NULL)
			return true;
		identity_release(out);
		request_reply(r, 503, NULL);
		return false;
	case DIGEST_STALE:
		challenge(s, h, r, true);
		return false;
	case DIGEST_WRONG:
		s->counters.wrong_passwords++;
		request_reply(r, 403, "Wrong user name or password");
		return false;
	case DIGEST_UNUSABLE:
		request_reply(r, 400,
		    "Digest needs algorithm MD5 or SHA-256 and qop=auth");
		return false;
	}
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
