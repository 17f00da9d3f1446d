#include "server/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/gnutls.h>

#define RECORD_MAX 16384

struct tls_config {
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
};

struct tls {
	gnutls_session_t session;
	bool established;
	/* Only during a call into the library: */
	struct view in;
	struct buf *wire;
};

struct tls_config *
tls_config_new(
    const char *certificate, const char *key, char *why, size_t why_len)
{
	struct tls_config *c = calloc(1, sizeof(*c));
	const char *what = "out of memory";
	int rc = GNUTLS_E_MEMORY_ERROR;

	if (c == NULL)
		goto failed;
	what = "credentials";
	rc = gnutls_certificate_allocate_credentials(&c->credentials);
	if (rc < 0)
		goto failed;
	what = certificate;
	rc = gnutls_certificate_set_x509_key_file(
	    c->credentials, certificate, key, GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		goto failed;
	what = "priorities";
	rc = gnutls_priority_init(&c->priority,
	    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE",
	    NULL);
	if (rc < 0)
		goto failed;
	return c;
failed:
	snprintf(why, why_len, "%s: %s", what, gnutls_strerror(rc));
	tls_config_free(c);
	return NULL;
}

void
tls_config_free(struct tls_config *c)
{
	if (c == NULL)
		return;
	if (c->credentials != NULL)
		gnutls_certificate_free_credentials(c->credentials);
	if (c->priority != NULL)
		gnutls_priority_deinit(c->priority);
	free(c);
}

static ssize_t
pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct tls *t = arg;

	if (t->in.n == 0) {
		gnutls_transport_set_errno(t->session, EAGAIN);
		return -1;
	}
	if (n > t->in.n)
		n = t->in.n;
	memcpy(p, t->in.p, n);
	t->in = view_of(t->in.p + n, t->in.n - n);
	return (ssize_t)n;
}

/* The handshake reads only what is there, so waiting is over at once. */
static int
pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	const struct tls *t = arg;

	(void)ms; /* memory never becomes readable later */
	return t->in.n > 0;
}

static ssize_t
push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct tls *t = arg;

	buf_put(t->wire, p, n);
	if (t->wire->failed) {
		gnutls_transport_set_errno(t->session, ENOMEM);
		return -1;
	}
	return (ssize_t)n;
}

struct tls *
tls_new(struct tls_config *c)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	if (gnutls_init(&t->session,
		GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    GNUTLS_NO_TICKETS) < 0) {
		free(t);
		return NULL;
	}
	if (gnutls_priority_set(t->session, c->priority) < 0 ||
	    gnutls_credentials_set(
		t->session, GNUTLS_CRD_CERTIFICATE, c->credentials) < 0) {
		tls_free(t);
		return NULL;
	}
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_pull_function(t->session, pull);
	gnutls_transport_set_pull_timeout_function(t->session, pull_timeout);
	gnutls_transport_set_push_function(t->session, push);
	return t;
}

void
tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	gnutls_deinit(t->session);
	free(t);
}

/* True when the handshake is over. */
static bool
shake(struct tls *t, enum tls_verdict *verdict, const char **why)
{
	int rc;

	do {
		rc = gnutls_handshake(t->session);
		/* A warning such as an unknown server name is no failure. */
	} while (rc == GNUTLS_E_INTERRUPTED ||
	    rc == GNUTLS_E_WARNING_ALERT_RECEIVED);
	if (rc == GNUTLS_E_SUCCESS) {
		t->established = true;
		return true;
	}
	if (rc != GNUTLS_E_AGAIN) {
		*verdict = TLS_FAILED;
		*why = gnutls_strerror(rc);
		(void)gnutls_alert_send_appropriate(t->session, rc);
	}
	return false;
}

enum tls_verdict
tls_receive(struct tls *t, struct view in, struct buf *plain, struct buf *wire,
    const char **why)
{
	enum tls_verdict verdict = TLS_GOOD;
	ssize_t got;

	*why = NULL;
	t->in = in;
	t->wire = wire;
	if (!t->established && !shake(t, &verdict, why))
		goto done;
	for (;;) {
		if (!buf_reserve(plain, RECORD_MAX)) {
			verdict = TLS_FAILED;
			*why = "out of memory";
			break;
		}
		got = gnutls_record_recv(
		    t->session, plain->data + plain->len, RECORD_MAX);
		if (got > 0) {
			plain->len += (size_t)got;
			continue;
		}
		if (got == GNUTLS_E_INTERRUPTED ||
		    got == GNUTLS_E_WARNING_ALERT_RECEIVED)
			continue;
		if (got == 0) {
			verdict = TLS_ENDED;
			*why = "closed by the client";
		} else if (got != GNUTLS_E_AGAIN) {
			verdict = TLS_FAILED;
			*why = gnutls_strerror((int)got);
			(void)gnutls_alert_send_appropriate(
			    t->session, (int)got);
		}
		break;
	}
done:
	t->in = view_of("", 0);
	t->wire = NULL;
	return verdict;
}

bool
tls_send(struct tls *t, struct view plain, struct buf *wire)
{
	ssize_t sent = 0;

	if (!t->established)
		return false;
	t->wire = wire;
	while (plain.n > 0) {
		sent = gnutls_record_send(t->session, plain.p, plain.n);
		if (sent <= 0)
			break;
		plain = view_of(plain.p + sent, plain.n - (size_t)sent);
	}
	t->wire = NULL;
	return plain.n == 0;
}

void
tls_bye(struct tls *t, struct buf *wire)
{
	t->wire = wire;
	if (t->established)
		(void)gnutls_bye(t->session, GNUTLS_SHUT_WR);
	t->wire = NULL;
}

bool
tls_established(const struct tls *t)
{
	return t->established;
}
