#include "export/verify_token.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/ts.h>
#include <string.h>
#include <time.h>

/* Whether that is all of the text, and its only encoding. */
static bool
is_der(PKCS7 *token, struct view text)
{
	unsigned char *der = NULL;
	int n = i2d_PKCS7(token, &der);
	bool same =
	    n >= 0 && (size_t)n == text.n && memcmp(der, text.p, text.n) == 0;

	OPENSSL_free(der);
	return same;
}

static bool
read_hash(TS_TST_INFO *info, uint8_t hash[32])
{
	TS_MSG_IMPRINT *imprint = TS_TST_INFO_get_msg_imprint(info);
	const ASN1_OBJECT *algorithm;
	ASN1_OCTET_STRING *digest;

	X509_ALGOR_get0(
	    &algorithm, NULL, NULL, TS_MSG_IMPRINT_get_algo(imprint));
	digest = TS_MSG_IMPRINT_get_msg(imprint);
	if (OBJ_obj2nid(algorithm) != NID_sha256 ||
	    ASN1_STRING_length(digest) != 32)
		return false;
	memcpy(hash, ASN1_STRING_get0_data(digest), 32);
	return true;
}

static bool
read_time(TS_TST_INFO *info, uint64_t *at)
{
	const ASN1_GENERALIZEDTIME *when = TS_TST_INFO_get_time(info);
	int n = ASN1_STRING_length(when);
	struct tm tm;
	time_t t;

	if (n < 1 || ASN1_STRING_get0_data(when)[n - 1] != 'Z' ||
	    ASN1_TIME_to_tm(when, &tm) != 1 || (t = timegm(&tm)) < 0)
		return false;
	*at = (uint64_t)t;
	return true;
}

bool
verify_token_read(struct view token, uint8_t hash[32], uint64_t *at)
{
	const unsigned char *p = token.p;
	TS_TST_INFO *info = NULL;
	PKCS7 *content = NULL;
	bool ok;

	if (token.n <= INT_MAX)
		content = d2i_PKCS7(NULL, &p, (long)token.n);
	if (content != NULL && is_der(content, token))
		info = PKCS7_to_TS_TST_INFO(content);
	ok = info != NULL && read_hash(info, hash) && read_time(info, at);
	TS_TST_INFO_free(info);
	PKCS7_free(content);
	ERR_clear_error();
	return ok;
}
