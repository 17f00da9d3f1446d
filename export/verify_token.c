#include "export/verify_token.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#define INTEGER 0x02
#define OCTETS 0x04
#define OID 0x06
#define TIME 0x18
#define SEQUENCE 0x30
#define SET 0x31
#define CONTENT 0xa0 /* [0] */

#define OID_VIEW(s) view_of((const uint8_t *)(s), sizeof(s) - 1)
#define SIGNED_DATA OID_VIEW("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
#define TST_INFO OID_VIEW("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04")
#define SHA256 OID_VIEW("\x60\x86\x48\x01\x65\x03\x04\x02\x01")

static bool
is(struct view v, struct view other)
{
	return v.n == other.n && memcmp(v.p, other.p, v.n) == 0;
}

/* The next value, its length in as few bytes as DER wants. */
static bool
take_any(struct view *in, uint8_t *tag, struct view *out)
{
	size_t n, head = 2;

	if (in->n < 2)
		return false;
	*tag = in->p[0];
	n = in->p[1];
	if (n > 127) {
		head += n - 128;
		if (head < 3 || head > 6 || in->n < head || in->p[2] == 0)
			return false;
		n = 0;
		for (size_t i = 2; i < head; i++)
			n = n << 8 | in->p[i];
		if (n < 128)
			return false;
	}
	if (in->n - head < n)
		return false;
	*out = view_of(in->p + head, n);
	*in = view_of(in->p + head + n, in->n - head - n);
	return true;
}

static bool
take(struct view *in, uint8_t tag, struct view *out)
{
	uint8_t found;

	return take_any(in, &found, out) && found == tag;
}

/* Values of any kind, or none. */
static bool
is_rest(struct view in)
{
	struct view value;
	uint8_t tag;

	while (in.n > 0)
		if (!take_any(&in, &tag, &value))
			return false;
	return true;
}

static bool
only(struct view in, uint8_t tag, struct view *out)
{
	return take(&in, tag, out) && in.n == 0;
}

/* What is of that type, as the identifier before it says. */
static bool
of_type(struct view in, struct view type, struct view *out)
{
	struct view oid;

	return take(&in, OID, &oid) && is(oid, type) && only(in, CONTENT, out);
}

static bool
imprint(struct view in, uint8_t hash[32])
{
	struct view algorithm, oid, digest;

	if (!take(&in, SEQUENCE, &algorithm) || !only(in, OCTETS, &digest) ||
	    !take(&algorithm, OID, &oid) || !is_rest(algorithm) ||
	    !is(oid, SHA256) || digest.n != 32)
		return false;
	memcpy(hash, digest.p, 32);
	return true;
}

static bool
digits(const uint8_t *p, size_t n, int *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (p[i] - '0');
	}
	return true;
}

/* YYYYMMDDHHMMSS, maybe a fraction of the second, Z. */
static bool
seconds(struct view v, uint64_t *at)
{
	struct tm tm = {0}, same;
	int year, month, ignored;
	time_t t;

	if (v.n < 15 || v.p[v.n - 1] != 'Z' || !digits(v.p, 4, &year) ||
	    !digits(v.p + 4, 2, &month) || !digits(v.p + 6, 2, &tm.tm_mday) ||
	    !digits(v.p + 8, 2, &tm.tm_hour) ||
	    !digits(v.p + 10, 2, &tm.tm_min) ||
	    !digits(v.p + 12, 2, &tm.tm_sec))
		return false;
	if (v.n > 15 && (v.n < 17 || v.p[14] != '.'))
		return false;
	for (size_t i = 15; i + 1 < v.n; i++)
		if (!digits(v.p + i, 1, &ignored))
			return false;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	same = tm;
	t = timegm(&same);
	if (t < 0 || same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday ||
	    same.tm_hour != tm.tm_hour || same.tm_min != tm.tm_min ||
	    same.tm_sec != tm.tm_sec)
		return false;
	*at = (uint64_t)t;
	return true;
}

bool
verify_token_read(struct view token, uint8_t hash[32], uint64_t *at)
{
	struct view v, info, stamped, when, ignored;

	return only(token, SEQUENCE, &v) && of_type(v, SIGNED_DATA, &v) &&
	    only(v, SEQUENCE, &v) && take(&v, INTEGER, &ignored) &&
	    take(&v, SET, &ignored) && take(&v, SEQUENCE, &info) &&
	    is_rest(v) && of_type(info, TST_INFO, &v) && only(v, OCTETS, &v) &&
	    only(v, SEQUENCE, &v) && take(&v, INTEGER, &ignored) &&
	    take(&v, OID, &ignored) && take(&v, SEQUENCE, &stamped) &&
	    take(&v, INTEGER, &ignored) && take(&v, TIME, &when) &&
	    is_rest(v) && imprint(stamped, hash) && seconds(when, at);
}
