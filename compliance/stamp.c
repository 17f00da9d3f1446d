#include "compliance/stamp.h"

#include <openssl/err.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crypto.h"

#define NONCE_LEN 16

struct stamp_query {
	TS_REQ *request;
};

static bool
set_imprint(TS_REQ *request, struct view bytes)
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	TS_MSG_IMPRINT *imprint = TS_MSG_IMPRINT_new();
	X509_ALGOR *algorithm = X509_ALGOR_new();
	bool ok;

	crypto_sha256(bytes.p, bytes.n, hash);
	ok = imprint != NULL && algorithm != NULL &&
	    X509_ALGOR_set0(
		algorithm, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) == 1 &&
	    TS_MSG_IMPRINT_set_algo(imprint, algorithm) == 1 &&
	    TS_MSG_IMPRINT_set_msg(imprint, hash, sizeof hash) == 1 &&
	    TS_REQ_set_msg_imprint(request, imprint) == 1;
	X509_ALGOR_free(algorithm);
	TS_MSG_IMPRINT_free(imprint);
	return ok;
}

static bool
set_nonce(TS_REQ *request)
{
	uint8_t bytes[NONCE_LEN];
	ASN1_INTEGER *nonce = NULL;
	BIGNUM *number;
	bool ok;

	crypto_random(bytes, sizeof bytes);
	bytes[0] |= 1; /* its length is always the same */
	number = BN_bin2bn(bytes, sizeof bytes, NULL);
	if (number != NULL)
		nonce = BN_to_ASN1_INTEGER(number, NULL);
	ok = nonce != NULL && TS_REQ_set_nonce(request, nonce) == 1;
	ASN1_INTEGER_free(nonce);
	BN_free(number);
	return ok;
}

static bool
put_der(struct buf *out, int n, unsigned char *const *der)
{
	if (n <= 0)
		return false;
	buf_put(out, *der, (size_t)n);
	OPENSSL_free(*der);
	return !out->failed;
}

struct stamp_query *
stamp_query_new(struct view bytes, struct buf *der)
{
	struct stamp_query *q = calloc(1, sizeof *q);
	unsigned char *out = NULL;

	if (q != NULL && (q->request = TS_REQ_new()) != NULL &&
	    TS_REQ_set_version(q->request, 1) == 1 &&
	    set_imprint(q->request, bytes) && set_nonce(q->request) &&
	    TS_REQ_set_cert_req(q->request, 1) == 1 &&
	    put_der(der, i2d_TS_REQ(q->request, &out), &out))
		return q;
	stamp_query_free(q);
	return NULL;
}

void
stamp_query_free(struct stamp_query *q)
{
	if (q != NULL)
		TS_REQ_free(q->request);
	free(q);
}

static bool
fail(char *why, size_t why_len, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	(void)snprintf(why, why_len, "%s%s%s", what, reason != NULL ? ": " : "",
	    reason != NULL ? reason : "");
	ERR_clear_error();
	return false;
}

/* What the query demands, and who may sign. */
static TS_VERIFY_CTX *
make_context(const struct stamp_query *q, const char *ca)
{
	TS_VERIFY_CTX *context = TS_REQ_to_TS_VERIFY_CTX(q->request, NULL);
	X509_STORE *store = X509_STORE_new();

	if (context == NULL || store == NULL ||
	    X509_STORE_load_file(store, ca) != 1) {
		X509_STORE_free(store);
		TS_VERIFY_CTX_free(context);
		return NULL;
	}
	(void)TS_VERIFY_CTX_add_flags(
	    context, TS_VFY_SIGNATURE);                /* returns them */
	(void)TS_VERIFY_CTX_set_store(context, store); /* takes it */
	return context;
}

static bool
read_time(TS_TST_INFO *info, uint64_t *at)
{
	struct tm tm;
	time_t t;

	if (ASN1_TIME_to_tm(TS_TST_INFO_get_time(info), &tm) != 1 ||
	    (t = timegm(&tm)) < 0)
		return false;
	*at = (uint64_t)t;
	return true;
}

static bool
check(const struct stamp_query *q, TS_RESP *answer, const char *ca,
    struct buf *token, uint64_t *at, char *why, size_t why_len)
{
	TS_VERIFY_CTX *context = make_context(q, ca);
	unsigned char *der = NULL;
	bool ok;

	if (context == NULL)
		return fail(why, why_len, ca);
	ok = TS_RESP_verify_response(context, answer) == 1;
	TS_VERIFY_CTX_free(context);
	if (!ok)
		return fail(why, why_len, "its answer does not hold");
	if (!read_time(TS_RESP_get_tst_info(answer), at))
		return fail(why, why_len, "its token has no time");
	if (!put_der(token, i2d_PKCS7(TS_RESP_get_token(answer), &der), &der))
		return fail(why, why_len, "its token cannot be written");
	return true;
}

bool
stamp_check(const struct stamp_query *q, struct view answer, const char *ca,
    struct buf *token, uint64_t *at, char *why, size_t why_len)
{
	const unsigned char *p = answer.p;
	TS_RESP *response;
	bool ok;

	ERR_clear_error();
	response = answer.n > 0 && answer.n < INT32_MAX
	    ? d2i_TS_RESP(NULL, &p, (long)answer.n)
	    : NULL;
	if (response == NULL)
		return fail(why, why_len, "its answer is no time-stamp answer");
	if (p != answer.p + answer.n) {
		TS_RESP_free(response);
		return fail(why, why_len, "there is more behind its answer");
	}
	ok = check(q, response, ca, token, at, why, why_len);
	TS_RESP_free(response);
	return ok;
}
