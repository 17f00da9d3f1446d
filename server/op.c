#include "server/chat_state.h"

#include <time.h>

#include "base/log.h"

#define RETRY_MS 1000

static void
list_append(struct op_list *l, struct op *op)
{
	if (l->first == NULL)
		l->end = &l->first;
	op->next = NULL;
	*l->end = op;
	l->end = &op->next;
	l->count++;
}

static struct op *
list_take_all(struct op_list *l)
{
	struct op *first = l->first;

	*l = (struct op_list){0};
	return first;
}

static struct op *
op_of(struct record_op *r)
{
	return (struct op *)r; /* its first member */
}

static void
ended(struct chat *c, bool startup)
{
	if (!startup || c->told_ready)
		return;
	c->startup--;
	chat_check_ready(c);
}

static void
on_stored(struct record_op *r, uint64_t seq, uint64_t at)
{
	struct op *op = op_of(r);
	struct chat *c = op->chat;
	bool startup = op->startup;

	op->type->stored(op, seq, at);
	ended(c, startup);
}

static void
on_retry(uv_timer_t *timer)
{
	op_start_late(timer->data);
}

/* A fact stays; a wish ends here. */
static void
set_aside(struct op *op, const char *why)
{
	struct chat *c = op->chat;
	bool startup = op->startup;

	if (op->type->lasting) {
		op->late = true;
		op->startup = false;
		list_append(&c->late, op);
		if (!uv_is_active((uv_handle_t *)&c->retry))
			uv_timer_start(&c->retry, on_retry, RETRY_MS, 0);
	} else {
		op->type->refused(op, why);
	}
	ended(c, startup);
}

static void
on_refused(struct record_op *r, const char *why)
{
	set_aside(op_of(r), why);
}

void
op_init(struct op *op, const struct op_type *type, struct chat *c)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	*op = (struct op){
	    .record =
		{
		    .lasting = type->lasting,
		    .stored = on_stored,
		    .refused = on_refused,
		},
	    .type = type,
	    .chat = c,
	    .happened =
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
	};
}

static void
submit(struct op *op)
{
	struct chat *c = op->chat;
	const char *why;
	bool sent;

	buf_clear(&c->envelope);
	buf_clear(&c->content);
	why = op->type->write(op, &c->envelope, &c->content);
	if (why == NULL && (c->envelope.failed || c->content.failed))
		why = "the server is short of memory";
	if (why != NULL) {
		set_aside(op, why);
		return;
	}
	if (op->type->whole)
		sent = record_submit_whole(c->record, &op->record,
		    op->type->kind, buf_view(&c->envelope));
	else
		sent = record_submit(c->record, &op->record, op->type->kind,
		    buf_view(&c->envelope), buf_view(&c->content));
	if (!sent)
		set_aside(op, "the server is short of memory");
}

/* The journal is to tell of wishes that were never handed over. */
static void
overload(struct op *op)
{
	if (!op->type->lasting)
		record_drop_overload(op->chat->record);
	set_aside(op, "too many requests at once");
}

static void
drop(struct op *op, const char *why)
{
	if (!op->type->lasting)
		record_drop(op->chat->record);
	set_aside(op, why);
}

void
op_start(struct op *op)
{
	struct chat *c = op->chat;

	switch (record_state(c->record)) {
	case RECORD_OPEN:
		/* Administration is in chat.db already: a fact, too. */
		if (op->type->lasting || op->type->whole ||
		    record_has_room(c->record))
			submit(op);
		else
			overload(op);
		break;
	case RECORD_WAIT:
		if (!op->type->lasting &&
		    c->held.count < c->conf->limits.inflight)
			list_append(&c->held, op);
		else
			overload(op);
		break;
	case RECORD_CLOSED:
		drop(op, record_why(c->record));
		break;
	}
}

static void
start_all(struct op *op)
{
	while (op != NULL) {
		struct op *next = op->next;

		op_start(op);
		op = next;
	}
}

void
op_start_late(struct chat *c)
{
	if (c->late.count == 0 || record_state(c->record) != RECORD_OPEN)
		return;
	log_info("%zu late events are handed over", c->late.count);
	start_all(list_take_all(&c->late));
}

void
op_start_held(struct chat *c)
{
	start_all(list_take_all(&c->held));
}

void
op_refuse_held(struct chat *c, const char *why)
{
	struct op *op = list_take_all(&c->held);

	while (op != NULL) {
		struct op *next = op->next;

		drop(op, why);
		op = next;
	}
}

void
op_forget_late(struct chat *c)
{
	struct op *op = list_take_all(&c->late);

	while (op != NULL) {
		struct op *next = op->next;

		op->type->forget(op);
		op = next;
	}
}
