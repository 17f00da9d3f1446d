/*
 * Sends each record as a syslog message (RFC 5424) over UDP, TCP, TLS or
 * RELP; chancery-adapter(7). Only RELP confirms, so only RELP says stored.
 * This is the one program that links librelp, which is GPL-3.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librelp.h>

#include "adapters/adapter.h"
#include "adapters/syslog_message.h"
#include "adapters/transport.h"
#include "base/log.h"

struct syslog {
	const struct adapter_config *config;
	struct transport_target target;
	const struct transport *transport;
	struct adapter *adapter;
	void *link;
	struct buf end; /* the closing message */
	struct syslog_message_source source;
};

/* Messages on their way at once; librelp takes no less than two. */
#define RELP_WINDOW_SMALL 2
#define RELP_WINDOW_LARGE 8
#define RELP_LARGE_BATCH 64

struct relp {
	int window;
	relpEngine_t *engine;
	relpClt_t *client;
	int stop; /* librelp looks at it while it waits */
	bool failed;
	char reason[256];
};

/* The first reason counts; librelp goes on to report its consequences. */
static void
relp_failed(void *arg, char *where, char *what, relpRetVal code)
{
	struct relp *r = arg;

	(void)where; /* the target, which the engine names already */
	if (r == NULL || r->failed)
		return;
	r->failed = true;
	(void)snprintf(r->reason, sizeof r->reason, "%s (%d)", what, code);
}

static void
relp_close(void *link)
{
	struct relp *r = link;

	r->stop = r->failed;
	if (r->client != NULL)
		(void)relpEngineCltDestruct(r->engine, &r->client);
	if (r->engine != NULL)
		(void)relpEngineDestruct(&r->engine);
	free(r);
}

/* librelp's setters take char *, and copy. */
static relpRetVal
relp_tls(struct relp *r, const struct transport_target *t,
    const struct adapter_config *c)
{
	const char *peer = c->peer != NULL ? c->peer : t->host;
	relpRetVal rc = relpCltEnableTLS(r->client);

	if (rc == RELP_RET_OK)
		rc = relpCltSetCACert(r->client, (char *)c->ca);
	if (rc == RELP_RET_OK && c->certificate != NULL)
		rc = relpCltSetOwnCert(r->client, (char *)c->certificate);
	if (rc == RELP_RET_OK && c->key != NULL)
		rc = relpCltSetPrivKey(r->client, (char *)c->key);
	if (rc == RELP_RET_OK)
		rc = relpCltSetAuthMode(r->client, (char *)"name");
	if (rc == RELP_RET_OK)
		rc = relpCltAddPermittedPeer(r->client, (char *)peer);
	return rc;
}

static relpRetVal
relp_set_up(struct relp *r, const struct transport_target *t,
    const struct adapter_config *c)
{
	relpRetVal rc = relpEngineConstruct(&r->engine);

	if (rc ==
	    RELP_RET_OK) /* NULL: nothing is printed; there is no default */
		rc = relpEngineSetDbgprint(r->engine, NULL);
	if (rc == RELP_RET_OK)
		rc = relpEngineSetOnErr(r->engine, relp_failed);
	if (rc == RELP_RET_OK)
		rc = relpEngineSetOnAuthErr(r->engine, relp_failed);
	if (rc == RELP_RET_OK)
		rc = relpEngineSetEnableCmd(r->engine,
		    (unsigned char *)"syslog", eRelpCmdState_Required);
	if (rc != RELP_RET_OK)
		return rc;
	relpEngineSetShutdownImmdtPtr(r->engine, &r->stop);
	rc = relpEngineCltConstruct(r->engine, &r->client);
	if (rc == RELP_RET_OK)
		rc = relpCltSetUsrPtr(r->client, r);
	if (rc == RELP_RET_OK)
		rc = relpCltSetWindowSize(r->client, r->window);
	if (rc == RELP_RET_OK)
		rc = relpCltSetTimeout(r->client, TRANSPORT_STEP_S);
	if (rc == RELP_RET_OK)
		rc = relpCltSetConnTimeout(r->client, TRANSPORT_STEP_S);
	if (rc == RELP_RET_OK && t->scheme == TRANSPORT_RELP_TLS)
		rc = relp_tls(r, t, c);
	return rc;
}

static void *
relp_open(struct adapter *a, const struct transport_target *t,
    const struct adapter_config *c, uint64_t events)
{
	struct relp *r = calloc(1, sizeof *r);
	relpRetVal rc;

	if (r == NULL) {
		adapter_fail(a, "out of memory");
		return NULL;
	}
	r->window =
	    events < RELP_LARGE_BATCH ? RELP_WINDOW_SMALL : RELP_WINDOW_LARGE;
	rc = relp_set_up(r, t, c);
	if (rc == RELP_RET_OK)
		rc = relpCltConnect(r->client, 0, (unsigned char *)t->port,
		    (unsigned char *)t->host);
	if (rc != RELP_RET_OK || r->failed) {
		adapter_fail(a, "RELP to %s port %s: %s", t->host, t->port,
		    r->failed ? r->reason : "no session");
		r->failed = true;
		relp_close(r);
		return NULL;
	}
	return r;
}

static bool
relp_send(void *link, struct adapter *a, struct view message)
{
	struct relp *r = link;
	relpRetVal rc;

	adapter_alive(a);
	rc =
	    relpCltSendSyslog(r->client, (unsigned char *)message.p, message.n);
	if (rc == RELP_RET_OK && !r->failed)
		return true;
	if (!r->failed)
		(void)snprintf(r->reason, sizeof r->reason, "error %d", rc);
	r->failed = true;
	return adapter_fail(a, "RELP: %s", r->reason);
}

/*
 * librelp tells nobody which message was acknowledged. But it sends none
 * while a whole window is unacknowledged, and collectors answer in order: so
 * when as many closing messages went out as the window holds, everything
 * before them was acknowledged. They claim nothing about themselves.
 */
static bool
relp_finish(void *link, struct adapter *a, struct view closing)
{
	const struct relp *r = link;

	for (int i = 0; i < r->window; i++)
		if (!relp_send(link, a, closing))
			return false;
	return true;
}

static const struct transport transport_relp = {
    .state = ADAPTER_STORED,
    .limit = TRANSPORT_STREAM_LIMIT,
    .open = relp_open,
    .send = relp_send,
    .finish = relp_finish,
    .close = relp_close,
};

static const struct transport *const transports[] = {
    [TRANSPORT_UDP] = &transport_udp,
    [TRANSPORT_TCP] = &transport_tcp,
    [TRANSPORT_TLS] = &transport_tls,
    [TRANSPORT_RELP] = &transport_relp,
    [TRANSPORT_RELP_TLS] = &transport_relp,
};

static bool
configure(void *self, struct adapter *a, const struct adapter_config *c,
    struct adapter_offer *offer)
{
	struct syslog *s = self;

	if (c->target == NULL || !transport_parse(c->target, &s->target))
		return adapter_fail(a,
		    "target must be udp, tcp, tls, relp or "
		    "relp+tls://host:port");
	if ((s->target.scheme == TRANSPORT_TLS ||
		s->target.scheme == TRANSPORT_RELP_TLS) &&
	    c->ca == NULL)
		return adapter_fail(a, "a TLS target needs ca");
	if ((c->certificate == NULL) != (c->key == NULL))
		return adapter_fail(a, "certificate and key go together");
	s->config = c;
	s->transport = transports[s->target.scheme];
	*offer = (struct adapter_offer){s->transport->state, false};
	return true;
}

static bool
send_message(void *arg, struct view message)
{
	struct syslog *s = arg;

	return s->transport->send(s->link, s->adapter, message);
}

static bool
keep_message(void *arg, struct view message)
{
	struct syslog *s = arg;

	buf_put_view(&s->end, message);
	return !s->end.failed;
}

static void
abandon(void *self)
{
	struct syslog *s = self;

	if (s->link != NULL)
		s->transport->close(s->link);
	s->link = NULL;
}

static bool
begin(void *self, struct adapter *a, const struct adapter_batch *b)
{
	struct syslog *s = self;

	s->adapter = a;
	s->source = (struct syslog_message_source){.config = s->config,
	    .batch = b,
	    .limit = s->transport->limit,
	    .put = send_message,
	    .arg = s};
	s->link = s->transport->open(a, &s->target, s->config, b->count);
	return s->link != NULL &&
	    (syslog_message_batch(&s->source) ||
		adapter_fail(a, "the batch cannot be put into messages"));
}

static bool
event(void *self, struct adapter *a, const struct adapter_event *e)
{
	struct syslog *s = self;

	return syslog_message_event(&s->source, e) ||
	    adapter_fail(a, "an event cannot be put into messages");
}

static bool
end(void *self, struct adapter *a, const struct adapter_batch *b,
    struct adapter_receipt *r)
{
	struct syslog *s = self;
	struct syslog_message_source source = s->source;
	bool ok;

	(void)b; /* is source.batch */
	(void)snprintf(r->location, sizeof r->location, "%s",
	    s->config->target); /* cut when longer: it only informs */
	source.put = keep_message;
	buf_clear(&s->end);
	ok = syslog_message_end(&source) ||
	    adapter_fail(a, "the batch cannot be put into messages");
	ok = ok && s->transport->finish(s->link, a, buf_view(&s->end));
	if (ok)
		abandon(s);
	return ok;
}

/* The closing messages are the checkpoint once more. */
static bool
checkpoint(void *self, struct adapter *a, const struct adapter_checkpoint *c)
{
	struct syslog *s = self;
	struct syslog_message_source source = {.config = s->config,
	    .limit = s->transport->limit,
	    .put = keep_message,
	    .arg = s};
	bool ok;

	s->adapter = a;
	buf_clear(&s->end);
	if (!syslog_message_checkpoint(&source, c))
		return adapter_fail(
		    a, "the checkpoint cannot be put into a message");
	s->link = s->transport->open(a, &s->target, s->config, 1);
	/* Only what is acknowledged needs closing messages behind it. */
	ok = s->link != NULL &&
	    (s->transport->state != ADAPTER_STORED ||
		s->transport->send(s->link, a, buf_view(&s->end))) &&
	    s->transport->finish(s->link, a, buf_view(&s->end));
	abandon(s);
	return ok;
}

int
main(void)
{
	static const struct adapter_ops ops = {
	    .program = "syslog",
	    .configure = configure,
	    .begin = begin,
	    .event = event,
	    .end = end,
	    .abandon = abandon,
	    .checkpoint = checkpoint,
	};
	struct syslog self = {.link = NULL};
	int status = adapter_main(&ops, &self);

	buf_release(&self.end);
	return status;
}
