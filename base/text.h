#ifndef BASE_TEXT_H
#define BASE_TEXT_H

/* Text forms of bytes and times: base64, hex, percent, JSON, ISO 8601. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, no NUL. */
bool text_utf8_valid(struct view v);
/* Such text without control characters: a terminal shows it on one line. */
bool text_is_line(struct view v);
/* Standard base64 with padding (RFC 4648 section 4). */
void text_put_base64(struct buf *b, const void *p, size_t n);
/* Strict: padding, alphabet and unused bits are checked. False: b is as was. */
bool text_get_base64(struct view in, struct buf *out);
/* Exactly n bytes, else false. */
bool text_get_base64_fixed(struct view in, uint8_t *out, size_t n);
/* Lower case out; either case in, exactly n bytes, else false. */
void text_put_hex(struct buf *b, const void *p, size_t n);
bool text_get_hex(struct view in, uint8_t *out, size_t n);
/* A JSON string with its quotes (RFC 8259); the input must be valid UTF-8. */
void text_put_json(struct buf *b, struct view v);
/* A value of a control leaf: bytes outside [A-Za-z0-9._:/+=@,-] as %XX. */
void text_put_token(struct buf *b, struct view v);
/* False when it is malformed, or memory is short: out is as it was. */
bool text_get_token(struct view in, struct buf *out);
/* 2026-11-22T07:08:09.123456Z from microseconds since 1970, UTC. */
void text_put_time(struct buf *b, uint64_t us);
/*
 * Microseconds since 1970 of an RFC 3339 date or date-time (a date alone is
 * midnight UTC, a missing zone is UTC); false when it is neither.
 */
bool text_get_time(struct view v, uint64_t *us);
/* 8-4-4-4-12 hexadecimal digits. */
bool text_is_uuid(struct view v);

#endif
