#ifndef COMPLIANCE_HTTP_H
#define COMPLIANCE_HTTP_H

/* The one place that uses libcurl: requests on a libuv loop. */

#include <uv.h>

#include "base/buf.h"

#define HTTP_BODY_MAX 65536 /* a longer answer is none */

struct http;

/* status 0: no answer came, and body says why. Borrowed. */
typedef void http_answer_cb(void *arg, unsigned status, struct view body);

/* Once in a process; ends it when the library is unfit. */
struct http *http_new(uv_loop_t *loop);
/*
 * Posts a body; https:// URLs with the authorities of ca (NULL: the
 * system's) and at least TLS 1.2, http:// ones only with plain set. No
 * redirection is followed. Calls cb once, from the loop.
 */
void http_post(struct http *h, const char *url, bool plain, const char *ca,
    const char *type, struct view body, http_answer_cb *cb, void *arg);
/* The same for a GET, by https:// alone. */
void http_get(struct http *h, const char *url, const char *ca,
    http_answer_cb *cb, void *arg);

#endif
