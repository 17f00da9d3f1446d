#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compliance/event.h"
#include "server/chat_state.h"
#include "server/delivery.h"

struct leave_op {
	struct op op;
	struct room *room;         /* a reference */
	struct endpoint *endpoint; /* a reference */
	struct command *command;   /* the part to answer, or NULL */
	const char *reason;
	uint64_t joined;
};

/* A part that came while its join was still being recorded. */
struct part_waiter {
	struct room_waiter waiter;
	struct room *room; /* a reference */
	struct command *command;
};

static const char *const reasons[] = {
    [SESSION_BYE] = "bye",
    [SESSION_EXPIRED] = "expired",
    [SESSION_LOST] = "lost",
    [SESSION_SIGNOFF] = "signoff",
};

const char *
chat_leave_reason(enum session_end end)
{
	return reasons[end];
}

static const char *
leave_write(struct op *op, struct buf *envelope, struct buf *content)
{
	const struct leave_op *l = (struct leave_op *)op;
	const struct payload_room where = chat_room(l->room);
	const struct payload_actor who = {
	    .user = l->endpoint->user,
	    .name = endpoint_name(l->endpoint),
	    .device = endpoint_device(l->endpoint),
	};

	(void)content;
	payload_put_leave(envelope, &where, &who, l->reason, l->joined,
	    op->late ? op->happened : 0);
	return NULL;
}

static void
answer_part(struct chat *c, struct endpoint *e,
    const struct xccos_reference *to, const char *room)
{
	chat_reply_start(c, to, 200, "SUCCESS_OK");
	buf_put_text(&c->out, "<chanib");
	xccos_put_attribute(&c->out, "uri", view_text(room));
	buf_put_text(&c->out, "/>");
	chat_reply_send(c, e);
}

static void
leave_forget(struct op *op)
{
	struct leave_op *l = (struct leave_op *)op;
	struct room_table *t = &op->chat->table;

	command_free(op->chat, l->command);
	endpoint_drop(t, l->endpoint);
	room_drop(t, l->room);
	free(l);
}

static void
leave_stored(struct op *op, uint64_t seq, uint64_t at)
{
	struct leave_op *l = (struct leave_op *)op;
	struct chat *c = op->chat;
	struct room *r = l->room;

	(void)seq;
	(void)at;
	store_drop_joined(c->store, l->joined);
	if (l->command != NULL)
		answer_part(
		    c, l->endpoint, &l->command->reference, r->info.uri);
	if (r->count > 0 && !r->large && !room_has_user(r, l->endpoint)) {
		buf_clear(&c->out);
		xccos_put_part_notice(
		    &c->out, c->envid++, r->info.uri, l->endpoint->user);
		chat_notify(c, r, l->endpoint);
	}
	leave_forget(op);
}

static const struct op_type leave_type = {
    .kind = EVENT_LEAVE,
    .lasting = true,
    .write = leave_write,
    .stored = leave_stored,
    .forget = leave_forget,
};

/* Takes the references to room and endpoint over. */
static struct leave_op *
leave_new(struct chat *c, struct room *r, struct endpoint *e,
    const char *reason, uint64_t joined)
{
	struct leave_op *l = calloc(1, sizeof *l);

	if (l == NULL)
		log_fatal("out of memory for a leave");
	op_init(&l->op, &leave_type, c);
	l->room = r;
	l->endpoint = e;
	l->reason = reason;
	l->joined = joined;
	return l;
}

/* At once nothing more of the room goes to the endpoint. */
static void
leave(struct chat *c, struct member *m, const char *reason, struct command *cmd)
{
	struct leave_op *l =
	    leave_new(c, room_hold(m->room), m->endpoint, reason, m->joined);

	m->endpoint->refs++;
	l->command = cmd;
	if (m->has_news && record_state(c->record) == RECORD_OPEN)
		delivery_flush_room(c, m->room);
	member_leave(&c->table, m);
	op_start(&l->op);
	member_settle(&c->table, m);
}

void
chat_leave(struct chat *c, struct member *m, const char *reason)
{
	leave(c, m, reason, NULL);
}

void
chat_leave_behind(struct chat *c, const struct store_joined *j, bool startup)
{
	struct endpoint *e;
	struct leave_op *l;
	struct room *r;
	char guid[37];

	r = room_guid(&c->table, view_text(j->room_uri), guid)
	    ? room_get(&c->table, guid)
	    : NULL;
	e = endpoint_new(&c->table, j->user, j->name, j->device);
	if (r == NULL || e == NULL)
		log_fatal("out of memory for a leave");
	l = leave_new(c, r, e, "restart", j->seq);
	l->op.startup = startup;
	c->startup += startup;
	op_start(&l->op);
}

/* ---- cmd:part ---- */

static void
on_member(struct chat *c, struct room_waiter *w, const char *why)
{
	struct part_waiter *p = LOOKUP_OF(w, struct part_waiter, waiter);
	struct endpoint *e = p->command->endpoint;
	struct member *m = member_find(&c->table, p->room, e);

	if (why == NULL && m != NULL && m->state == MEMBER_JOINED) {
		leave(c, m, "part", p->command);
	} else {
		answer_part(c, e, &p->command->reference, p->room->info.uri);
		command_free(c, p->command);
	}
	room_drop(&c->table, p->room);
	free(p);
}

static void
wait_to_part(struct member *m, struct command *cmd)
{
	struct part_waiter *p = calloc(1, sizeof *p);

	if (p == NULL)
		log_fatal("out of memory for a leave");
	p->waiter.fn = on_member;
	p->command = cmd;
	p->room = room_hold(m->room);
	chat_wait(m, &p->waiter);
}

void
chat_part(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = {
	    .name = body->name, .envid = body->envid, .seqid = body->seqid};
	struct command *cmd;
	struct member *m;
	struct room *r;
	char guid[37];

	r = room_guid(&c->table, body->room, guid) ? room_get(&c->table, guid)
						   : NULL;
	m = r != NULL ? member_find(&c->table, r, e) : NULL;
	if (m != NULL) {
		cmd = command_new(e, body);
		if (cmd == NULL)
			log_fatal("out of memory for a leave");
		if (m->state == MEMBER_JOINED)
			leave(c, m, "part", cmd);
		else
			wait_to_part(m, cmd);
	} else if (r != NULL && chat_access(c, r, e->user) != ROOM_UNSEEN) {
		answer_part(c, e, &to, r->info.uri);
	} else {
		chat_refuse(c, e, &to, 404, "There is no such room");
	}
	if (r != NULL)
		room_drop(&c->table, r);
}
