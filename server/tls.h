#ifndef SERVER_TLS_H
#define SERVER_TLS_H

/*
 * The one place that uses GnuTLS: the server's side of TLS 1.2 and 1.3 over
 * bytes that somebody else moves.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct tls_config; /* certificate, key and versions of a listener */
struct tls;        /* one connection */

enum tls_verdict { TLS_GOOD, TLS_ENDED, TLS_FAILED };

/* NULL when the files make no usable pair: the reason is in why. */
struct tls_config *tls_config_new(
    const char *certificate, const char *key, char *why, size_t why_len);
/* NULL is allowed, as for tls_free(). */
void tls_config_free(struct tls_config *c);

/* NULL when out of memory. The configuration must outlive it. */
struct tls *tls_new(struct tls_config *c);
void tls_free(struct tls *t);
/*
 * Takes bytes from the network: text is appended to plain, bytes that must
 * go out (handshake, alerts) to wire. After any verdict but TLS_GOOD wire is
 * to be sent and the connection closed; *why is a static text.
 */
enum tls_verdict tls_receive(struct tls *t, struct view in, struct buf *plain,
    struct buf *wire, const char **why);
/* Encrypts text into wire; false when that cannot be. */
bool tls_send(struct tls *t, struct view plain, struct buf *wire);
/* Puts the closing alert into wire. */
void tls_bye(struct tls *t, struct buf *wire);
/* Whether the handshake is done. */
bool tls_established(const struct tls *t);

#endif
