#ifndef EXPORT_WITNESS_HTTP_H
#define EXPORT_WITNESS_HTTP_H

/* The one place that uses libmicrohttpd: HTTPS in front of the rules. */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#include "export/witness_rules.h"

struct witness_http;

/*
 * Listens on "address:port" and answers in a thread of its own, which alone
 * uses the witness until the stop. NULL with the reason. Caller stops.
 */
struct witness_http *witness_http_start(const struct witness *w,
    const char *listen, const char *cert, const char *key, char *why,
    size_t why_len);
/* Where it listens, "127.0.0.1:8443". */
const char *witness_http_address(const struct witness_http *h);
/* Takes nothing new, ends what is begun, and frees. NULL is allowed. */
void witness_http_stop(struct witness_http *h);

#endif
