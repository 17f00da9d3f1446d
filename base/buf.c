#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct view
view_of(const void *p, size_t n)
{
	return (struct view){.p = p, .n = n};
}

struct view
view_text(const char *s)
{
	return (struct view){.p = (const uint8_t *)s, .n = strlen(s)};
}

bool
view_is(struct view v, const char *s)
{
	return v.n == strlen(s) && (v.n == 0 || memcmp(v.p, s, v.n) == 0);
}

bool
view_is_nocase(struct view v, const char *s)
{
	return v.n == strlen(s) &&
	    (v.n == 0 || strncasecmp((const char *)v.p, s, v.n) == 0);
}

bool
view_to_u64(struct view v, uint64_t *out)
{
	uint64_t n = 0;

	if (v.n == 0 || (v.n > 1 && v.p[0] == '0'))
		return false;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(v.p[i] - '0'), &n))
			return false;
	}
	*out = n;
	return true;
}

char *
view_dup(struct view v)
{
	char *s;

	if (v.n > 0 && memchr(v.p, '\0', v.n) != NULL)
		return NULL;
	s = malloc(v.n + 1);
	if (s == NULL)
		return NULL;
	if (v.n > 0)
		memcpy(s, v.p, v.n);
	s[v.n] = '\0';
	return s;
}

void
buf_init(struct buf *b)
{
	*b = (struct buf){0};
}

void
buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

bool
buf_reserve(struct buf *b, size_t n)
{
	size_t want, cap;
	uint8_t *data;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, n, &want)) {
		b->failed = true;
		return false;
	}
	if (want <= b->cap)
		return true;
	cap = b->cap < 64 ? 64 : b->cap;
	while (cap < want)
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			cap = want;
	data = realloc(b->data, cap);
	if (data == NULL) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

void
buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->len, p, n);
	b->len += n;
}

void
buf_put_view(struct buf *b, struct view v)
{
	buf_put(b, v.p, v.n);
}

void
buf_put_text(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void
buf_put_u16(struct buf *b, uint16_t v)
{
	uint8_t p[2] = {(uint8_t)(v >> 8), (uint8_t)v};

	buf_put(b, p, sizeof p);
}

void
buf_put_u32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
	buf_put(b, p, sizeof p);
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
	uint8_t p[8];

	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
	buf_put(b, p, sizeof p);
}

void
buf_put_decimal(struct buf *b, uint64_t v)
{
	char digits[20];
	size_t at = sizeof digits;

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	buf_put(b, digits + at, sizeof digits - at);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	if (b->failed)
		return;
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0 || !buf_reserve(b, (size_t)n + 1)) {
		b->failed = true;
		return;
	}
	(void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

struct view
buf_view(const struct buf *b)
{
	return view_of(b->data, b->len);
}

const char *
buf_text(struct buf *b)
{
	if (!buf_reserve(b, 1))
		return NULL;
	b->data[b->len] = '\0';
	return (const char *)b->data;
}

uint8_t *
buf_take(struct buf *b, size_t *len)
{
	uint8_t *data = b->data;

	*len = b->len;
	*b = (struct buf){0};
	return data;
}

struct reader
reader_of(struct view v)
{
	return (struct reader){.p = v.p, .n = v.n};
}

struct view
reader_take(struct reader *r, size_t n)
{
	struct view v = {0};

	if (r->failed || n > r->n) {
		r->failed = true;
		return v;
	}
	v = view_of(r->p, n);
	r->p = n > 0 ? r->p + n : r->p;
	r->n -= n;
	return v;
}

static uint64_t
take_number(struct reader *r, size_t bytes)
{
	struct view v = reader_take(r, bytes);
	uint64_t n = 0;

	for (size_t i = 0; i < v.n; i++)
		n = n << 8 | v.p[i];
	return n;
}

uint8_t
reader_u8(struct reader *r)
{
	return (uint8_t)take_number(r, 1);
}

uint16_t
reader_u16(struct reader *r)
{
	return (uint16_t)take_number(r, 2);
}

uint32_t
reader_u32(struct reader *r)
{
	return (uint32_t)take_number(r, 4);
}

uint64_t
reader_u64(struct reader *r)
{
	return take_number(r, 8);
}

struct view
reader_rest(struct reader *r)
{
	return reader_take(r, r->n);
}

bool
reader_done(const struct reader *r)
{
	return !r->failed && r->n == 0;
}
