#include "server/transaction.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <osipparser2/osip_port.h>

#define TICK_MS 200
#define COOKIE "z9hG4bK" /* RFC 3261 section 8.1.1.7 */

struct transaction {
	struct transaction_layer *layer;
	struct lookup_node node;
	struct ring ring;
	osip_transaction_t *osip;
	struct conn *conn;
	struct buf key;
	struct buf text; /* what is sent again */
	bool running;    /* libosip2 is at work on it */
};

static osip_list_t *
list_of(osip_t *osip, osip_fsm_type_t type)
{
	osip_list_t *lists[] = {
	    [ICT] = &osip->osip_ict_transactions,
	    [IST] = &osip->osip_ist_transactions,
	    [NICT] = &osip->osip_nict_transactions,
	    [NIST] = &osip->osip_nist_transactions,
	};

	return lists[type];
}

static void
transaction_free(struct transaction *t)
{
	lookup_remove(&t->layer->table, &t->node);
	ring_remove(&t->ring);
	if (ring_empty(&t->layer->all))
		uv_timer_stop(&t->layer->timer);
	osip_transaction_free2(t->osip);
	conn_drop(t->conn);
	buf_release(&t->key);
	buf_release(&t->text);
	free(t);
}

static bool
is_over(const struct transaction *t)
{
	state_t s = t->osip->state;

	return s == IST_TERMINATED || s == NIST_TERMINATED ||
	    s == NICT_TERMINATED || s == ICT_TERMINATED;
}

/* Runs one event; the transaction may be gone after it. */
static void
run(struct transaction *t, type_t type, osip_message_t *msg)
{
	osip_event_t *e = osip_malloc(sizeof(*e));

	if (e == NULL) {
		if (msg != NULL)
			osip_message_free(msg);
		return;
	}
	e->type = type;
	e->transactionid = t->osip->transactionid;
	e->sip = msg;
	t->running = true;
	osip_transaction_execute(t->osip, e);
	t->running = false;
}

/* libosip2's timers work on its lists: each transaction is put there alone. */
static void
run_timers(struct transaction *t)
{
	osip_t *osip = t->layer->osip;
	osip_fsm_type_t type = t->osip->ctx_type;
	osip_event_t *e;

	if (osip_list_add(list_of(osip, type), t->osip, 0) < 0)
		return;
	switch (type) {
	case ICT:
		osip_timers_ict_execute(osip);
		break;
	case IST:
		osip_timers_ist_execute(osip);
		break;
	case NICT:
		osip_timers_nict_execute(osip);
		break;
	case NIST:
		osip_timers_nist_execute(osip);
		break;
	}
	osip_list_remove(list_of(osip, type), 0);
	while ((e = osip_fifo_tryget(t->osip->transactionff)) != NULL)
		osip_transaction_execute(t->osip, e);
}

static void
on_tick(uv_timer_t *timer)
{
	struct transaction_layer *l = timer->data;
	struct ring *at = l->all.next;

	while (at != &l->all) {
		struct transaction *t = RING_OF(at, struct transaction, ring);

		at = at->next;
		run_timers(t);
		if (is_over(t))
			transaction_free(t);
	}
}

static int
on_send(osip_transaction_t *o, osip_message_t *msg, char *host, int port,
    int socket)
{
	struct transaction *t = osip_transaction_get_your_instance(o);
	struct conn *c = t->conn;

	/* The answer goes where the request came from, in our own bytes. */
	(void)msg;
	(void)host;
	(void)port;
	(void)socket;
	buf_put_view(conn_begin(c), buf_view(&t->text));
	conn_end(c);
	if (!t->running)
		t->layer->resent++;
	return 0;
}

static void
on_message(int type, osip_transaction_t *o, osip_message_t *msg)
{
	/* Everything is known already where the event came from. */
	(void)type;
	(void)o;
	(void)msg;
}

static void
on_kill(int type, osip_transaction_t *o)
{
	/* Whoever ran the event looks at the state afterwards. */
	(void)type;
	(void)o;
}

/* What strangers send is not to be repeated in our log. */
static void
on_trace(const char *file, int line, osip_trace_level_t level,
    const char *format, va_list ap)
{
	(void)file;
	(void)line;
	(void)level;
	(void)format;
	(void)ap;
}

int
transaction_layer_init(struct transaction_layer *l, uv_loop_t *loop)
{
	memset(l, 0, sizeof(*l));
	lookup_init(&l->table);
	ring_init(&l->all);
	if (osip_init(&l->osip) != 0)
		return -1;
	osip_trace_initialize_func(TRACE_LEVEL0, on_trace);
	osip_set_cb_send_message(l->osip, on_send);
	for (int i = 0; i < OSIP_MESSAGE_CALLBACK_COUNT; i++)
		osip_set_message_callback(l->osip, i, on_message);
	for (int i = 0; i < OSIP_KILL_CALLBACK_COUNT; i++)
		osip_set_kill_transaction_callback(l->osip, i, on_kill);
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	return 0;
}

void
transaction_layer_release(struct transaction_layer *l)
{
	while (!ring_empty(&l->all))
		transaction_free(
		    RING_OF(l->all.next, struct transaction, ring));
	lookup_release(&l->table);
	osip_release(l->osip);
	uv_close((uv_handle_t *)&l->timer, NULL);
}

/* RFC 3261 section 17.2.3, with the remote address as part of it. */
static void
server_key(
    struct conn *c, const struct head *h, struct view method, struct buf *key)
{
	struct view via = head_get(h, HEAD_VIA), branch;

	if (view_is(method, "ACK"))
		method = view_text("INVITE");
	buf_put_text(key, "S ");
	buf_put_view(key, head_bare(via));
	buf_put_u8(key, ' ');
	conn_put_remote(c, key);
	buf_put_u8(key, ' ');
	buf_put_view(key, method);
	buf_put_u8(key, ' ');
	if (head_param(via, "branch", &branch) && branch.n > 7 &&
	    view_is(view_of(branch.p, 7), COOKIE)) {
		buf_put_view(key, branch);
		return;
	}
	/* RFC 2543: the request URI and To tag of an ACK may differ. */
	buf_put_view(key, head_get(h, HEAD_CALL_ID));
	buf_put_u8(key, ' ');
	buf_put_decimal(key, h->cseq);
	buf_put_u8(key, ' ');
	if (head_param(head_get(h, HEAD_FROM), "tag", &branch))
		buf_put_view(key, branch);
	buf_put_view(key, via);
}

static void
client_key(struct conn *c, struct view branch, struct buf *key)
{
	buf_put_text(key, "C ");
	conn_put_remote(c, key);
	buf_put_u8(key, ' ');
	buf_put_view(key, branch);
}

/* Takes the key's memory over. */
static struct transaction *
find(struct transaction_layer *l, struct buf *key)
{
	struct transaction *found = NULL;
	struct lookup_node *n = NULL;

	if (!key->failed)
		n = lookup_first(&l->table, lookup_hash(buf_view(key)));
	for (; n != NULL && found == NULL; n = lookup_next(n)) {
		struct transaction *t = LOOKUP_OF(n, struct transaction, node);

		if (t->key.len == key->len &&
		    memcmp(t->key.data, key->data, key->len) == 0)
			found = t;
	}
	buf_release(key);
	return found;
}

bool
transaction_absorb(struct transaction_layer *l, struct conn *c,
    const struct head *h, const osip_message_t *msg)
{
	bool ack = view_is(h->method, "ACK");
	osip_message_t *copy = NULL;
	struct transaction *t;
	struct buf key;

	buf_init(&key);
	server_key(c, h, h->method, &key);
	t = find(l, &key);
	if (t == NULL)
		return false;
	if (osip_message_clone(msg, &copy) != 0)
		return true;
	if (ack)
		run(t, RCV_REQACK, copy);
	else
		run(t, t->osip->ctx_type == IST ? RCV_REQINVITE : RCV_REQUEST,
		    copy);
	if (is_over(t))
		transaction_free(t);
	return true;
}

bool
transaction_cancels(
    struct transaction_layer *l, struct conn *c, const struct head *h)
{
	struct buf key;

	buf_init(&key);
	server_key(c, h, view_text("INVITE"), &key);
	return find(l, &key) != NULL;
}

/* Takes over key and, on success, msg. */
static struct transaction *
make(struct transaction_layer *l, struct conn *c, osip_fsm_type_t type,
    struct buf *key, osip_message_t *msg)
{
	struct transaction *t = NULL;

	if (l->table.count >= TRANSACTION_MAX || key->failed)
		goto failed;
	t = calloc(1, sizeof(*t));
	if (t == NULL ||
	    osip_transaction_init(&t->osip, type, l->osip, msg) != 0)
		goto failed;
	osip_remove_transaction(l->osip, t->osip);
	if (!lookup_add(&l->table, &t->node, lookup_hash(buf_view(key)))) {
		osip_transaction_free2(t->osip);
		goto failed;
	}
	osip_transaction_set_your_instance(t->osip, t);
	t->layer = l;
	t->conn = conn_hold(c);
	t->key = *key;
	buf_init(&t->text);
	if (ring_empty(&l->all))
		uv_timer_start(&l->timer, on_tick, TICK_MS, TICK_MS);
	ring_append(&l->all, &t->ring);
	return t;
failed:
	buf_release(key);
	free(t);
	return NULL;
}

struct transaction *
transaction_new(struct transaction_layer *l, struct conn *c,
    const struct head *h, osip_message_t *msg)
{
	bool invite = view_is(h->method, "INVITE");
	struct transaction *t;
	struct buf key;

	buf_init(&key);
	server_key(c, h, h->method, &key);
	t = make(l, c, invite ? IST : NIST, &key, msg);
	if (t != NULL)
		run(t, invite ? RCV_REQINVITE : RCV_REQUEST, msg);
	return t;
}

void
transaction_answer(struct transaction *t, unsigned status, struct view text)
{
	osip_message_t *msg = NULL;

	buf_clear(&t->text);
	buf_put_view(&t->text, text);
	if (t->text.failed || osip_message_init(&msg) != 0 ||
	    osip_message_parse(msg, (const char *)text.p, text.n) != 0) {
		if (msg != NULL)
			osip_message_free(msg);
		buf_put_view(conn_begin(t->conn), text);
		conn_end(t->conn);
		transaction_free(t);
		return;
	}
	run(t, status < 300 ? SND_STATUS_2XX : SND_STATUS_3456XX, msg);
	if (is_over(t))
		transaction_free(t);
}

void
transaction_abandon(struct transaction *t)
{
	transaction_free(t);
}

void
transaction_send(struct transaction_layer *l, struct conn *c,
    struct view branch, struct view text)
{
	osip_message_t *msg = NULL;
	struct transaction *t = NULL;
	struct buf key;

	buf_init(&key);
	client_key(c, branch, &key);
	if (osip_message_init(&msg) == 0 &&
	    osip_message_parse(msg, (const char *)text.p, text.n) == 0)
		t = make(l, c, NICT, &key, msg);
	else
		buf_release(&key);
	if (t != NULL)
		buf_put_view(&t->text, text);
	if (t == NULL || t->text.failed) {
		/* Once is better than not at all. */
		buf_put_view(conn_begin(c), text);
		conn_end(c);
		if (t != NULL)
			transaction_free(t);
		if (msg != NULL)
			osip_message_free(msg);
		return;
	}
	run(t, SND_REQUEST, msg);
	if (is_over(t))
		transaction_free(t);
}

void
transaction_answered(
    struct transaction_layer *l, struct conn *c, const struct head *h)
{
	struct transaction *t;
	struct view branch;
	struct buf key;

	if (h->status < 200 ||
	    !head_param(head_get(h, HEAD_VIA), "branch", &branch))
		return;
	buf_init(&key);
	client_key(c, branch, &key);
	t = find(l, &key);
	/* What a final answer says is SIP's affair: nothing is sent again. */
	if (t != NULL)
		transaction_free(t);
}
