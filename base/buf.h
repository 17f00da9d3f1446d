#ifndef BASE_BUF_H
#define BASE_BUF_H

/*
 * The one growable byte buffer, and the view and reader of borrowed bytes.
 * A buffer that ran out of memory says so in `failed` and ignores further
 * puts, so that a caller checks once, at the end.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes; never freed through the view, not NUL-terminated. */
struct view {
	const uint8_t *p;
	size_t n;
};

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	bool failed;
};

/* Reads an encoded record front to back; `failed` after a read past the end. */
struct reader {
	const uint8_t *p;
	size_t n;
	bool failed;
};

/* n bytes at p; a string without its NUL. */
struct view view_of(const void *p, size_t n);
struct view view_text(const char *s);
/* Whether the bytes are those of s; nocase: but for case in ASCII letters. */
bool view_is(struct view v, const char *s);
bool view_is_nocase(struct view v, const char *s);
/* Decimal digits only, no sign, no leading zeros but "0"; false otherwise. */
bool view_to_u64(struct view v, uint64_t *out);
/* NUL-terminated copy, or NULL when out of memory or a NUL is inside. */
char *view_dup(struct view v);

/* Empty, without memory; a zeroed buf is the same. Release ends it so again. */
void buf_init(struct buf *b);
void buf_release(struct buf *b);
/* Forgets the content, keeps the memory, clears `failed`. */
void buf_clear(struct buf *b);
/* Makes room for n more bytes; false (and failed) when out of memory. */
bool buf_reserve(struct buf *b, size_t n);
/* Drops n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/*
 * Append; out of memory only sets `failed`, and later puts do nothing. Whole
 * numbers are big-endian.
 */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_view(struct buf *b, struct view v);
void buf_put_text(struct buf *b, const char *s);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* Unsigned decimal, the fast way. */
void buf_put_decimal(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
/* The content, borrowed until the next change. */
struct view buf_view(const struct buf *b);
/* The content as a string owned by the buffer; NULL when failed. */
const char *buf_text(struct buf *b);
/* Moves the memory out to the caller, who frees it; the buffer is empty. */
uint8_t *buf_take(struct buf *b, size_t *len);

/* Whole numbers are big-endian; 0 (and failed) past the end. */
struct reader reader_of(struct view v);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* The next n bytes, borrowed; empty and failed when there are fewer. */
struct view reader_take(struct reader *r, size_t n);
/* All that is left. */
struct view reader_rest(struct reader *r);
/* True when nothing failed and every byte was read. */
bool reader_done(const struct reader *r);

#endif
