/* Digest: known answers, what is refused, and what is good only once. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/text.h"
#include "server/digest.h"
#include "server/lookup.h"

#define REALM "chat.example"
#define HOST view_text("192.0.2.7")
#define METHOD view_text("REGISTER")

static void
hash_text(const char *text, uint8_t md5[16], uint8_t sha[32])
{
	crypto_md5(text, strlen(text), md5);
	crypto_sha256(text, strlen(text), sha);
}

/* "nonce" of the challenge line with that algorithm. */
static void
challenge_nonce(
    struct digest *d, uint64_t now, const char *algorithm, char *out, size_t n)
{
	const char *line, *at;
	struct buf b;

	buf_init(&b);
	digest_challenge(d, HOST, now, false, true, &b);
	line = buf_text(&b);
	assert_non_null(line);
	while (strncmp(strstr(line, "algorithm=") + 10, algorithm,
		   strlen(algorithm)) != 0)
		line = strstr(line, "\r\n") + 2;
	at = strstr(line, "nonce=\"") + 7;
	(void)snprintf(out, n, "%.*s", (int)strcspn(at, "\""), at);
	buf_release(&b);
}

static void
hex(const uint8_t *p, size_t n, char *out, size_t out_len)
{
	struct buf b;

	buf_init(&b);
	text_put_hex(&b, p, n);
	(void)snprintf(out, out_len, "%s", buf_text(&b));
	buf_release(&b);
}

/* A Proxy-Authorization value for ann's password "s3cret". */
static void
credentials(const char *nonce, const char *nc, bool sha, const char *password,
    struct buf *out)
{
	uint8_t md5[16], sha256[32];
	char a1[65], a2[65], response[65], text[512];
	size_t n = sha ? 32 : 16;

	(void)snprintf(
	    text, sizeof(text), "ann@" REALM ":" REALM ":%s", password);
	hash_text(text, md5, sha256);
	hex(sha ? sha256 : md5, n, a1, sizeof(a1));
	hash_text("REGISTER:(null)", md5, sha256);
	hex(sha ? sha256 : md5, n, a2, sizeof(a2));
	(void)snprintf(
	    text, sizeof(text), "%s:%s:%s:1a2b3c4d:auth:%s", a1, nonce, nc, a2);
	hash_text(text, md5, sha256);
	hex(sha ? sha256 : md5, n, response, sizeof(response));
	buf_clear(out);
	buf_printf(out,
	    "Digest username=\"ann@" REALM "\", realm=\"" REALM
	    "\", nonce=\"%s\", uri=\"(null)\", qop=auth, nc=%s, "
	    "cnonce=\"1a2b3c4d\", algorithm=%s, response=\"%s\"",
	    nonce, nc, sha ? "SHA-256" : "MD5", response);
}

static enum digest_verdict
check(struct digest *d, const struct buf *value, uint64_t now, struct view host)
{
	struct digest_credentials c;
	struct digest_secret secret;
	enum digest_verdict verdict;
	uint8_t md5[16], sha256[32];

	hash_text("ann@" REALM ":" REALM ":s3cret", md5, sha256);
	secret.ha1_md5 = md5;
	secret.ha1_sha256 = sha256;
	assert_true(digest_parse(d, buf_view(value), &c));
	verdict = digest_check(d, &c, &secret, METHOD, host, now);
	digest_credentials_release(&c);
	return verdict;
}

/* The nonce is strange, the response is right. */
static void
test_known_answers(void **state)
{
	static const struct {
		const char *uri, *response;
		enum digest_verdict want;
	} rows[] = {
	    {"(null)", "b45dfdd93b8a3eee09d18038806b57de", DIGEST_STALE},
	    {"sip:chat.example", "abfd5f528c605433652284895a2163de",
		DIGEST_STALE},
	    {"sip:chat.example", "abfd5f528c605433652284895a2163df",
		DIGEST_STRANGE},
	    {"(null)", "abfd5f528c605433652284895a2163de", DIGEST_STRANGE},
	};
	struct digest d;
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_int_equal(digest_init(&d, REALM), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		buf_clear(&b);
		buf_printf(&b,
		    "Digest username=\"ann@" REALM "\", realm=\"" REALM
		    "\", nonce=\"8f2a1c\", uri=\"%s\", qop=auth, nc=00000001,"
		    " cnonce=\"1a2b3c4d\", response=\"%s\"",
		    rows[i].uri, rows[i].response);
		assert_int_equal(check(&d, &b, 1000, HOST), rows[i].want);
	}
	buf_release(&b);
	digest_release(&d);
}

static void
test_both_algorithms(void **state)
{
	char nonce[128];
	struct digest d;
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_int_equal(digest_init(&d, REALM), 0);
	for (int sha = 0; sha < 2; sha++) {
		challenge_nonce(
		    &d, 5000, sha ? "SHA-256" : "MD5", nonce, sizeof(nonce));
		credentials(nonce, "00000001", sha, "s3cret", &b);
		assert_int_equal(check(&d, &b, 5010, HOST), DIGEST_GOOD);
		credentials(nonce, "00000002", sha, "S3cret", &b);
		assert_int_equal(check(&d, &b, 5010, HOST), DIGEST_WRONG);
	}
	buf_release(&b);
	digest_release(&d);
}

static void
test_once_and_in_time(void **state)
{
	char nonce[128];
	struct digest d, other;
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_int_equal(digest_init(&d, REALM), 0);
	assert_int_equal(digest_init(&other, REALM), 0);
	challenge_nonce(&d, 5000, "MD5", nonce, sizeof(nonce));
	credentials(nonce, "00000001", false, "s3cret", &b);
	assert_int_equal(
	    check(&d, &b, 5000, view_text("192.0.2.8")), DIGEST_STALE);
	assert_int_equal(check(&other, &b, 5000, HOST), DIGEST_STALE);
	assert_int_equal(
	    check(&d, &b, 5000 + DIGEST_NONCE_LIFE_S, HOST), DIGEST_STALE);
	assert_int_equal(check(&d, &b, 5001, HOST), DIGEST_GOOD);
	assert_int_equal(check(&d, &b, 5001, HOST), DIGEST_STALE);
	credentials(nonce, "00000002", false, "s3cret", &b);
	assert_int_equal(check(&d, &b, 5002, HOST), DIGEST_GOOD);
	assert_int_equal(d.used.count, 2);
	/* Old combinations are forgotten when their nonce is of no use. */
	challenge_nonce(&d, 6000, "MD5", nonce, sizeof(nonce));
	credentials(nonce, "00000001", false, "s3cret", &b);
	assert_int_equal(check(&d, &b, 6000, HOST), DIGEST_GOOD);
	assert_int_equal(d.used.count, 1);
	buf_release(&b);
	digest_release(&d);
	digest_release(&other);
}

static void
test_changed_nonce(void **state)
{
	char nonce[128];
	struct digest d;
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_int_equal(digest_init(&d, REALM), 0);
	challenge_nonce(&d, 5000, "MD5", nonce, sizeof(nonce));
	for (size_t i = 0; i < strlen(nonce); i++) {
		char old = nonce[i];

		nonce[i] = old == '0' ? '1' : '0';
		credentials(nonce, "00000001", false, "s3cret", &b);
		assert_int_equal(check(&d, &b, 5000, HOST), DIGEST_STALE);
		nonce[i] = old;
	}
	buf_release(&b);
	digest_release(&d);
}

/* What is missing or unknown never reaches a comparison of passwords. */
static void
test_unusable(void **state)
{
	static const char *const rows[] = {
	    "nonce=\"1\", uri=\"x\", nc=00000001, cnonce=\"1\", response=\"00\"",
	    "nonce=\"1\", uri=\"x\", qop=auth, nc=1, cnonce=\"1\", response=\"0\"",
	    "nonce=\"1\", uri=\"x\", qop=auth, nc=00000001, response=\"00\"",
	    "nonce=\"1\", uri=\"x\", qop=auth-int, nc=00000001, cnonce=\"1\"",
	    "algorithm=MD5-sess, qop=auth, nc=00000001, cnonce=\"1\"",
	};
	struct digest d;
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_int_equal(digest_init(&d, REALM), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		buf_clear(&b);
		buf_printf(&b,
		    "Digest username=\"ann@" REALM "\", realm=\"" REALM
		    "\", %s",
		    rows[i]);
		assert_int_equal(check(&d, &b, 5000, HOST), DIGEST_UNUSABLE);
	}
	buf_release(&b);
	digest_release(&d);
}

static void
test_not_for_us(void **state)
{
	static const char *const rows[] = {
	    "",
	    "Digest",
	    "Digest username=\"ann\"",
	    "Basic cmVhbG0=",
	    "Digest username=\"ann\", realm=\"other.example\", nonce=\"1\"",
	    "NTLM realm=\"" REALM "\", targetname=\"x\"",
	    "Digest username=\"ann",
	};
	struct digest_credentials c;
	struct digest d;

	(void)state;
	assert_int_equal(digest_init(&d, REALM), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_false(digest_parse(&d, view_text(rows[i]), &c));
		digest_credentials_release(&c);
	}
	digest_release(&d);
}

/* The vector of the SipHash paper, appendix A. */
static void
test_siphash(void **state)
{
	const uint64_t key[2] = {0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
	uint8_t in[15];

	(void)state;
	for (uint8_t i = 0; i < sizeof(in); i++)
		in[i] = i;
	assert_true(lookup_siphash(key, view_of(in, sizeof(in))) ==
	    0xa129ca6149be45e5U);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_answers),
	    cmocka_unit_test(test_both_algorithms),
	    cmocka_unit_test(test_once_and_in_time),
	    cmocka_unit_test(test_changed_nonce),
	    cmocka_unit_test(test_unusable),
	    cmocka_unit_test(test_not_for_us),
	    cmocka_unit_test(test_siphash),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
