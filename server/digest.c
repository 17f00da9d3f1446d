#include "server/digest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <osipparser2/osip_parser.h>

#include "base/crypto.h"
#include "base/text.h"

#define HASH_MAX 32
#define MAC_LEN 16
#define RANDOM_LEN 8
#define NONCE_LEN (4 + RANDOM_LEN + MAC_LEN)

static const struct {
	const char *token; /* algorithm parameter */
	const char *name;
	size_t len;
	void (*hash)(const void *p, size_t n, uint8_t *out);
} algorithms[] = {
    [DIGEST_MD5] = {"MD5", "digest-md5", 16, crypto_md5},
    [DIGEST_SHA256] = {"SHA-256", "digest-sha256", 32, crypto_sha256},
};

/* One combination that was good. */
struct used {
	struct lookup_node node;
	struct ring age;
	uint8_t key[32];
	uint64_t until_s;
};

int
digest_init(struct digest *d, const char *realm)
{
	memset(d, 0, sizeof(*d));
	lookup_init(&d->used);
	ring_init(&d->by_age);
	d->realm = strdup(realm);
	if (d->realm == NULL)
		return -1;
	crypto_random(d->secret, sizeof(d->secret));
	return 0;
}

static void
forget_oldest(struct digest *d)
{
	struct used *u = RING_OF(d->by_age.next, struct used, age);

	ring_remove(&u->age);
	lookup_remove(&d->used, &u->node);
	free(u);
}

void
digest_release(struct digest *d)
{
	while (!ring_empty(&d->by_age))
		forget_oldest(d);
	lookup_release(&d->used);
	crypto_wipe(d->secret, sizeof(d->secret));
	free(d->realm);
	d->realm = NULL;
}

static void
nonce_mac(const struct digest *d, const uint8_t *head, struct view host,
    uint8_t out[MAC_LEN])
{
	const struct view parts[] = {
	    view_of(d->secret, sizeof(d->secret)),
	    view_of(head, 4 + RANDOM_LEN),
	    host,
	};
	uint8_t full[32];

	crypto_sha256_parts(parts, 3, full);
	memcpy(out, full, MAC_LEN);
}

static void
put_nonce(
    const struct digest *d, struct view host, uint64_t now_s, struct buf *out)
{
	uint8_t nonce[NONCE_LEN];

	for (int i = 0; i < 4; i++)
		nonce[i] = (uint8_t)(now_s >> (24 - 8 * i));
	crypto_nonce(nonce + 4, RANDOM_LEN);
	nonce_mac(d, nonce, host, nonce + 4 + RANDOM_LEN);
	text_put_hex(out, nonce, sizeof(nonce));
}

void
digest_challenge(struct digest *d, struct view host, uint64_t now_s, bool stale,
    bool md5_first, struct buf *out)
{
	for (int i = 0; i < 2; i++) {
		int which = md5_first ? i : 1 - i;

		buf_printf(out,
		    "Proxy-Authenticate: Digest realm=\"%s\", nonce=\"",
		    d->realm);
		put_nonce(d, host, now_s, out);
		buf_printf(out, "\", algorithm=%s, qop=\"auth\"%s\r\n",
		    algorithms[which].token, stale ? ", stale=true" : "");
	}
}

/* A parameter as libosip2 keeps it, without its quotes. */
static struct view
bare(const char *s)
{
	struct view v = view_text(s == NULL ? "" : s);

	if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
		v = view_of(v.p + 1, v.n - 2);
	return v;
}

/* Copies all parameters into one text of the credentials' own. */
static bool
keep_all(struct digest_credentials *c)
{
	struct view *all[] = {&c->username, &c->realm, &c->nonce, &c->uri,
	    &c->response, &c->cnonce, &c->nc, &c->qop};
	const size_t count = sizeof(all) / sizeof(*all);
	struct buf text;
	size_t len, at = 0;

	buf_init(&text);
	for (size_t i = 0; i < count; i++)
		buf_put_view(&text, *all[i]);
	buf_put_u8(&text, 0);
	if (!text.failed)
		c->text = (char *)buf_take(&text, &len);
	buf_release(&text);
	if (c->text == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		all[i]->p = (const uint8_t *)c->text + at;
		at += all[i]->n;
	}
	return true;
}

static void
set_algorithm(struct digest_credentials *c, struct view token)
{
	c->algorithm = DIGEST_MD5;
	c->known_algorithm = token.n == 0;
	for (unsigned i = 0; i < sizeof(algorithms) / sizeof(*algorithms);
	     i++) {
		if (!view_is_nocase(token, algorithms[i].token))
			continue;
		c->algorithm = (enum digest_algorithm)i;
		c->known_algorithm = true;
	}
}

bool
digest_parse(
    const struct digest *d, struct view value, struct digest_credentials *out)
{
	osip_proxy_authorization_t *a = NULL;
	char *copy = view_dup(value);
	bool ok = false;

	memset(out, 0, sizeof(*out));
	if (copy == NULL || osip_proxy_authorization_init(&a) != 0)
		goto done;
	if (osip_proxy_authorization_parse(a, copy) != 0 ||
	    a->auth_type == NULL || strcasecmp(a->auth_type, "Digest") != 0)
		goto done;
	out->username = bare(a->username);
	out->realm = bare(a->realm);
	out->nonce = bare(a->nonce);
	out->uri = bare(a->uri);
	out->response = bare(a->response);
	out->cnonce = bare(a->cnonce);
	out->nc = bare(a->nonce_count);
	out->qop = bare(a->message_qop);
	set_algorithm(out, bare(a->algorithm));
	ok = view_is(out->realm, d->realm) && keep_all(out);
done:
	if (a != NULL)
		osip_proxy_authorization_free(a);
	free(copy);
	return ok;
}

void
digest_credentials_release(struct digest_credentials *c)
{
	free(c->text);
	c->text = NULL;
}

/* response = H(HA1:nonce:nc:cnonce:qop:HA2) */
static bool
response_matches(
    const struct digest_credentials *c, const uint8_t *ha1, struct view method)
{
	const size_t len = algorithms[c->algorithm].len;
	uint8_t ha2[HASH_MAX], want[HASH_MAX], got[HASH_MAX] = {0};
	bool shaped, ok = false;
	struct buf text;

	shaped =
	    c->response.n == 2 * len && text_get_hex(c->response, got, len);
	buf_init(&text);
	buf_put_view(&text, method);
	buf_put_u8(&text, ':');
	buf_put_view(&text, c->uri);
	if (text.failed)
		goto done;
	algorithms[c->algorithm].hash(text.data, text.len, ha2);
	buf_clear(&text);
	text_put_hex(&text, ha1, len);
	for (int i = 0; i < 4; i++) {
		const struct view part[] = {c->nonce, c->nc, c->cnonce, c->qop};

		buf_put_u8(&text, ':');
		buf_put_view(&text, part[i]);
	}
	buf_put_u8(&text, ':');
	text_put_hex(&text, ha2, len);
	if (text.failed)
		goto done;
	algorithms[c->algorithm].hash(text.data, text.len, want);
	ok = crypto_equal(want, got, len) && shaped;
done:
	if (text.data != NULL)
		crypto_wipe(text.data, text.len);
	buf_release(&text);
	return ok;
}

static bool
nonce_is_ours(
    const struct digest *d, struct view nonce, struct view host, uint64_t now_s)
{
	uint8_t bytes[NONCE_LEN], mac[MAC_LEN];
	uint32_t made = 0;

	if (nonce.n != 2 * NONCE_LEN || !text_get_hex(nonce, bytes, NONCE_LEN))
		return false;
	nonce_mac(d, bytes, host, mac);
	if (!crypto_equal(mac, bytes + 4 + RANDOM_LEN, MAC_LEN))
		return false;
	for (int i = 0; i < 4; i++)
		made = made << 8 | bytes[i];
	/* The difference of 32-bit times is right across their overflow. */
	return (uint32_t)now_s - made < DIGEST_NONCE_LIFE_S;
}

/* False when the combination was used before, or cannot be remembered. */
static bool
use_once(struct digest *d, const struct digest_credentials *c, uint64_t now_s)
{
	const struct view parts[] = {
	    c->nonce, c->nc, view_text(":"), c->cnonce};
	struct lookup_node *n;
	struct used *u;
	uint8_t key[32];
	uint64_t hash;

	while (!ring_empty(&d->by_age) &&
	    RING_OF(d->by_age.next, struct used, age)->until_s <= now_s)
		forget_oldest(d);
	crypto_sha256_parts(parts, 4, key);
	hash = lookup_hash(view_of(key, sizeof(key)));
	for (n = lookup_first(&d->used, hash); n != NULL; n = lookup_next(n))
		if (memcmp(LOOKUP_OF(n, struct used, node)->key, key,
			sizeof(key)) == 0)
			return false;
	if (d->used.count >= DIGEST_REPLAY_MAX)
		return false;
	u = calloc(1, sizeof(*u));
	if (u == NULL || !lookup_add(&d->used, &u->node, hash)) {
		free(u);
		return false;
	}
	memcpy(u->key, key, sizeof(key));
	u->until_s = now_s + DIGEST_NONCE_LIFE_S;
	ring_append(&d->by_age, &u->age);
	return true;
}

enum digest_verdict
digest_check(struct digest *d, const struct digest_credentials *c,
    const struct digest_secret *secret, struct view method, struct view host,
    uint64_t now_s)
{
	/* Nobody's: an unknown user costs the same work as a known one. */
	static const uint8_t nobody[HASH_MAX] = {0};
	const uint8_t *ha1 =
	    c->algorithm == DIGEST_MD5 ? secret->ha1_md5 : secret->ha1_sha256;
	bool right, ours;

	if (!c->known_algorithm || !view_is_nocase(c->qop, "auth") ||
	    c->nc.n != 8 || c->cnonce.n == 0)
		return DIGEST_UNUSABLE;
	right = response_matches(c, ha1 == NULL ? nobody : ha1, method);
	ours = nonce_is_ours(d, c->nonce, host, now_s);
	if (!right || ha1 == NULL)
		return ours ? DIGEST_WRONG : DIGEST_STRANGE;
	if (!ours || !use_once(d, c, now_s))
		return DIGEST_STALE;
	return DIGEST_GOOD;
}

const char *
digest_name(enum digest_algorithm a)
{
	return algorithms[a].name;
}
