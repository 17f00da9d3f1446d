#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define US_PER_S 1000000U

static bool
is_continuation(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

/* Length of the well-formed sequence at p (RFC 3629 section 4), or 0. */
static size_t
utf8_length(const uint8_t *p, size_t n)
{
	if (p[0] < 0x80)
		return p[0] == 0 ? 0 : 1;
	if (p[0] < 0xc2)
		return 0;
	if (p[0] < 0xe0)
		return n >= 2 && is_continuation(p[1]) ? 2 : 0;
	if (p[0] < 0xf0) {
		if (n < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
			return 0;
		if ((p[0] == 0xe0 && p[1] < 0xa0) ||
		    (p[0] == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (p[0] > 0xf4 || n < 4 || !is_continuation(p[1]) ||
	    !is_continuation(p[2]) || !is_continuation(p[3]))
		return 0;
	if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return 4;
}

bool
text_utf8_valid(struct view v)
{
	size_t at = 0;

	while (at < v.n) {
		size_t len = utf8_length(v.p + at, v.n - at);

		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

bool
text_is_line(struct view v)
{
	if (!text_utf8_valid(v))
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x20 || v.p[i] == 0x7f ||
		    (v.p[i] == 0xc2 && v.p[i + 1] < 0xa0))
			return false;
	return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
text_put_base64(struct buf *b, const void *p, size_t n)
{
	const uint8_t *in = p;
	uint8_t *out;

	if (n == 0 || !buf_reserve(b, (n + 2) / 3 * 4))
		return;
	out = b->data + b->len;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t w = (uint32_t)in[i] << 16;

		if (i + 1 < n)
			w |= (uint32_t)in[i + 1] << 8;
		if (i + 2 < n)
			w |= in[i + 2];
		*out++ = (uint8_t)base64_digits[w >> 18];
		*out++ = (uint8_t)base64_digits[w >> 12 & 63];
		*out++ = i + 1 < n ? (uint8_t)base64_digits[w >> 6 & 63] : '=';
		*out++ = i + 2 < n ? (uint8_t)base64_digits[w & 63] : '=';
	}
	b->len += (n + 2) / 3 * 4;
}

/* Value of a base64 digit, or -1. */
static int
base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* One quantum of four digits to at most three bytes; 0 when malformed. */
static size_t
base64_quantum(const uint8_t *in, bool last, uint8_t out[3])
{
	size_t digits = 4;
	uint32_t w = 0;

	if (last && in[3] == '=')
		digits = in[2] == '=' ? 2 : 3;
	for (size_t i = 0; i < digits; i++) {
		int value = base64_value(in[i]);

		if (value < 0)
			return 0;
		w |= (uint32_t)value << (18 - 6 * i);
	}
	if ((digits == 2 && (w & 0xffff) != 0) ||
	    (digits == 3 && (w & 0xff) != 0))
		return 0;
	out[0] = (uint8_t)(w >> 16);
	out[1] = (uint8_t)(w >> 8);
	out[2] = (uint8_t)w;
	return digits - 1;
}

bool
text_get_base64(struct view in, struct buf *out)
{
	size_t before = out->len;

	if (in.n % 4 != 0 || !buf_reserve(out, in.n / 4 * 3))
		return false;
	for (size_t i = 0; i < in.n; i += 4) {
		uint8_t bytes[3];
		size_t n = base64_quantum(in.p + i, i + 4 == in.n, bytes);

		if (n == 0) {
			out->len = before;
			return false;
		}
		buf_put(out, bytes, n);
	}
	return true;
}

bool
text_get_base64_fixed(struct view in, uint8_t *out, size_t n)
{
	size_t done = 0;

	if (in.n != (n + 2) / 3 * 4)
		return false;
	for (size_t i = 0; i < in.n; i += 4) {
		uint8_t bytes[3];
		size_t got = base64_quantum(in.p + i, i + 4 == in.n, bytes);

		if (got == 0 || got > n - done)
			return false;
		memcpy(out + done, bytes, got);
		done += got;
	}
	return done == n;
}

void
text_put_hex(struct buf *b, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *in = p;

	if (!buf_reserve(b, 2 * n))
		return;
	for (size_t i = 0; i < n; i++) {
		b->data[b->len++] = (uint8_t)digits[in[i] >> 4];
		b->data[b->len++] = (uint8_t)digits[in[i] & 15];
	}
}

/* Value of a hex digit of either case, or -1. */
static int
hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
text_get_hex(struct view in, uint8_t *out, size_t n)
{
	if (in.n != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_value(in.p[2 * i]);
		int lo = hex_value(in.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* The two-character escape of a JSON string, or 0 when there is none. */
static char
json_escape(uint8_t c)
{
	switch (c) {
	case '"':
		return '"';
	case '\\':
		return '\\';
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

void
text_put_json(struct buf *b, struct view v)
{
	size_t plain = 0;

	buf_put_u8(b, '"');
	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = v.p[i];
		char escape;

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		buf_put(b, v.p + plain, i - plain);
		plain = i + 1;
		escape = json_escape(c);
		if (escape != 0) {
			char pair[2] = {'\\', escape};

			buf_put(b, pair, sizeof pair);
		} else {
			buf_printf(b, "\\u%04x", c);
		}
	}
	if (plain < v.n)
		buf_put(b, v.p + plain, v.n - plain);
	buf_put_u8(b, '"');
}

static bool
is_token_byte(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("._:/+=@,-", c) != NULL);
}

void
text_put_token(struct buf *b, struct view v)
{
	for (size_t i = 0; i < v.n; i++) {
		if (is_token_byte(v.p[i]))
			buf_put_u8(b, v.p[i]);
		else
			buf_printf(b, "%%%02X", v.p[i]);
	}
}

bool
text_get_token(struct view in, struct buf *out)
{
	size_t before = out->len;

	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (c == '%') {
			if (i + 2 >= in.n ||
			    !text_get_hex(view_of(in.p + i + 1, 2), &c, 1))
				goto malformed;
			i += 2;
		} else if (!is_token_byte(c)) {
			goto malformed;
		}
		buf_put_u8(out, c);
	}
	if (!out->failed)
		return true;
malformed:
	out->len = before;
	return false;
}

void
text_put_time(struct buf *b, uint64_t us)
{
	time_t s = (time_t)(us / US_PER_S);
	struct tm tm;

	if (gmtime_r(&s, &tm) == NULL) {
		b->failed = true;
		return;
	}
	buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    (unsigned)(us % US_PER_S));
}

/* A fraction ".d+" to microseconds; digits past the sixth are dropped. */
static const char *
get_fraction(const char *p, unsigned *us)
{
	unsigned scale = US_PER_S / 10;

	*us = 0;
	if (*p != '.')
		return p;
	p++;
	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9'; p++) {
		*us += (unsigned)(*p - '0') * scale;
		scale /= 10;
	}
	return p;
}

/* "", "Z" or "+hh:mm" to seconds east of UTC. */
static bool
get_zone(const char *p, int *east)
{
	int h, m, used = 0;
	char sign;

	*east = 0;
	if (*p == '\0' || strcmp(p, "Z") == 0 || strcmp(p, "z") == 0)
		return true;
	if (sscanf(p, "%c%2d:%2d%n", &sign, &h, &m, &used) != 3 ||
	    p[used] != '\0' || (sign != '+' && sign != '-') || h > 23 || m > 59)
		return false;
	*east = (h * 3600 + m * 60) * (sign == '-' ? -1 : 1);
	return true;
}

bool
text_get_time(struct view v, uint64_t *us)
{
	struct tm tm = {0}, check;
	char copy[64];
	const char *p;
	unsigned fraction = 0;
	int east = 0;
	int64_t s;

	if (v.n == 0 || v.n >= sizeof copy || memchr(v.p, 0, v.n) != NULL)
		return false;
	memcpy(copy, v.p, v.n);
	copy[v.n] = '\0';
	p = strptime(copy, "%Y-%m-%d", &tm);
	if (p == NULL)
		return false;
	if (*p != '\0') {
		if (*p != 'T' && *p != 't' && *p != ' ')
			return false;
		p = strptime(p + 1, "%H:%M:%S", &tm);
		if (p == NULL || (p = get_fraction(p, &fraction)) == NULL ||
		    !get_zone(p, &east))
			return false;
	}
	check = tm;
	s = timegm(&check);
	/* timegm() carries 31 February over into March: that is no date. */
	if (check.tm_mday != tm.tm_mday || check.tm_mon != tm.tm_mon ||
	    s - east < 0)
		return false;
	*us = (uint64_t)(s - east) * US_PER_S + fraction;
	return true;
}

bool
text_is_uuid(struct view v)
{
	for (size_t i = 0; i < v.n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? v.p[i] != '-' : hex_value(v.p[i]) < 0)
			return false;
	}
	return v.n == 36;
}
