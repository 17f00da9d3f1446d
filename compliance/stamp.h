#ifndef COMPLIANCE_STAMP_H
#define COMPLIANCE_STAMP_H

/*
 * Time-stamps of RFC 3161 over bytes, and the one place that uses OpenSSL.
 * chancery-journal(5), ANCHORS.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct stamp_query;

/*
 * A query over SHA-256 of the bytes, with a nonce, that asks for the
 * certificate; its DER is appended. NULL when out of memory.
 */
struct stamp_query *stamp_query_new(struct view bytes, struct buf *der);
/*
 * Whether the answer grants a token for exactly that query, signed by who
 * the certificates in the file ca allow to stamp; then the token's DER is
 * appended and *at is its time in seconds. Else why tells.
 */
bool stamp_check(const struct stamp_query *q, struct view answer,
    const char *ca, struct buf *token, uint64_t *at, char *why, size_t why_len);
/* NULL is allowed. */
void stamp_query_free(struct stamp_query *q);

#endif
