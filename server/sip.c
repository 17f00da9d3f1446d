#include "server/sip.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/dialog.h"
#include "server/flow.h"
#include "server/invite.h"
#include "server/session_private.h"
#include "server/uas.h"

#define TICK_MS 1000
/* All sessions are looked at once in so many ticks. */
#define SWEEP_TICKS 16
#define SWEEP_LEAST 1024
#define GRACE_MS 64000 /* twice 64*T1 */

uint64_t
sip_now_s(const struct sip *s)
{
	return uv_now(s->loop) / 1000;
}

/* ---- transport's events ---- */

static void
on_message(
    void *arg, struct conn *c, struct head *h, unsigned status, const char *why)
{
	struct sip *s = arg;

	if (status != 0) {
		uas_malformed(s, c, h, status, why);
	} else if (!h->response) {
		uas_request(s, c, h);
	} else if (h->status >= 200) {
		if (!conn_reliable(c))
			transaction_answered(&s->transactions, c, h);
		invite_response(s, c, h);
	}
}

static void
on_closed(void *arg, struct conn *c)
{
	(void)arg; /* the flow knows */
	if (c->user != NULL)
		flow_lost(c->user);
}

static void
on_turn(void *arg)
{
	session_tell_returned(arg);
}

/* ---- time ---- */

static void
sweep_sessions(struct sip *s, uint64_t now)
{
	size_t n = s->sessions.count / SWEEP_TICKS + 1;

	if (n < SWEEP_LEAST)
		n = SWEEP_LEAST;
	if (n > s->sessions.count)
		n = s->sessions.count;
	while (n-- > 0 && !ring_empty(&s->all)) {
		struct session *one = RING_OF(s->all.next, struct session, all);

		ring_remove(&one->all);
		ring_append(&s->all, &one->all);
		session_expire(one, now);
	}
}

static void
sweep_flows(struct sip *s, uint64_t now)
{
	size_t n = s->flow_count / SWEEP_TICKS + 1;

	if (n < SWEEP_LEAST)
		n = SWEEP_LEAST;
	if (n > s->flow_count)
		n = s->flow_count;
	while (n-- > 0 && !ring_empty(&s->flows)) {
		struct flow *one = RING_OF(s->flows.next, struct flow, ring);

		ring_remove(&one->ring);
		ring_append(&s->flows, &one->ring);
		flow_expire(one, now);
	}
}

static void
on_timer(uv_timer_t *timer)
{
	struct sip *s = timer->data;
	uint64_t now = uv_now(s->loop);
	struct ring *at = s->waiting.next;

	while (at != &s->waiting) {
		struct dialog *d = RING_OF(at, struct dialog, waiting);

		at = at->next;
		dialog_expire(d, now);
	}
	invite_retransmit(s);
	sweep_sessions(s, now);
	sweep_flows(s, now);
}

/* ---- life ---- */

static void
start_timers(struct sip *s)
{
	uv_timer_init(s->loop, &s->timer);
	uv_timer_init(s->loop, &s->retransmit);
	s->timer.data = s->retransmit.data = s;
	uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&s->timer);
}

struct sip *
sip_new(uv_loop_t *loop, const struct conf *conf, struct store *store,
    struct chat *chat)
{
	struct sip *s = calloc(1, sizeof(*s));
	struct transport_events events = {on_message, on_closed, on_turn, s};

	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->conf = conf;
	s->store = store;
	s->chat = chat;
	s->grace_ms = GRACE_MS;
	lookup_init(&s->dialogs);
	lookup_init(&s->sessions);
	ring_init(&s->flows);
	ring_init(&s->all);
	ring_init(&s->waiting);
	ring_init(&s->unconfirmed);
	ring_init(&s->returned);
	buf_init(&s->reply);
	buf_init(&s->text);
	guesses_init(&s->guesses);
	if (digest_init(&s->digest, conf->domain) < 0)
		goto failed;
	if (transaction_layer_init(&s->transactions, loop) < 0)
		goto failed;
	s->transport = transport_new(loop, conf, &events);
	if (s->transport == NULL)
		log_fatal("out of memory");
	start_timers(s);
	return s;
failed:
	digest_release(&s->digest);
	guesses_release(&s->guesses);
	free(s);
	return NULL;
}

int
sip_bind(struct sip *s, char *why, size_t why_len)
{
	return transport_bind(s->transport, why, why_len);
}

int
sip_listen(struct sip *s, char *why, size_t why_len)
{
	return transport_listen(s->transport, why, why_len);
}

static void
set_number(json_t *out, const char *name, uint64_t value)
{
	if (json_object_set_new(out, name, json_integer((json_int_t)value)) < 0)
		log_warn("status: out of memory");
}

void
sip_status(const struct sip *s, json_t *out)
{
	const struct sip_counters *c = &s->counters;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	    {"connections", s->transport->stream_count},
	    {"connections_accepted", s->transport->accepted},
	    {"connections_refused", s->transport->refused},
	    {"connections_cut", s->transport->cut},
	    {"unread_bytes", s->transport->unread},
	    {"sessions", s->sessions.count},
	    {"dialogs", s->dialogs.count},
	    {"requests", c->requests},
	    {"requests_malformed", c->malformed},
	    {"requests_inflight", s->inflight},
	    {"answers_2xx", c->answered[2]},
	    {"answers_4xx", c->answered[4]},
	    {"answers_5xx", c->answered[5]},
	    {"overload", c->overload},
	    {"sign_ins", c->sign_ins},
	    {"wrong_passwords", c->wrong_passwords},
	    {"guesses_slowed", c->guesses_slowed},
	    {"infos_sent", c->infos_sent},
	    {"deliveries", c->delivered},
	    {"deliveries_refused", c->refused},
	    {"deliveries_timeout", c->timeout},
	    {"deliveries_gone", c->gone},
	    {"udp_transactions", s->transactions.table.count},
	    {"udp_retransmissions", s->transactions.resent},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		set_number(out, rows[i].name, rows[i].value);
}

void
sip_close(struct sip *s)
{
	/* Chat is not told: what is joined stays so over a restart. */
	while (!ring_empty(&s->all))
		session_forget(RING_OF(s->all.next, struct session, all));
	while (!ring_empty(&s->flows))
		flow_forget(RING_OF(s->flows.next, struct flow, ring));
	transport_close(s->transport);
	transaction_layer_release(&s->transactions);
	uv_close((uv_handle_t *)&s->timer, NULL);
	uv_close((uv_handle_t *)&s->retransmit, NULL);
}

void
sip_free(struct sip *s)
{
	transport_free(s->transport);
	digest_release(&s->digest);
	guesses_release(&s->guesses);
	lookup_release(&s->dialogs);
	lookup_release(&s->sessions);
	buf_release(&s->reply);
	buf_release(&s->text);
	free(s);
}
