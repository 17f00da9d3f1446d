#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "compliance/event.h"
#include "server/chat_state.h"

struct post_op {
	struct op op;
	struct room *room;         /* a reference */
	struct endpoint *endpoint; /* a reference */
	struct request *request;
	uint64_t chat; /* 0 until it is given */
	size_t len;
	char text[];
};

static void
post_end(struct post_op *p)
{
	struct room_table *t = &p->op.chat->table;

	if (p->chat != 0)
		p->room->posting--;
	room_drop(t, p->room);
	endpoint_drop(t, p->endpoint);
	free(p);
}

/* The request's id, made JSON whatever bytes the client chose. */
static void
put_client(struct buf *out, const char *id)
{
	struct view v = view_text(id);

	if (text_utf8_valid(v))
		buf_put_view(out, v);
	else
		text_put_token(out, v);
}

static const char *
post_write(struct op *op, struct buf *envelope, struct buf *content)
{
	struct post_op *p = (struct post_op *)op;
	struct chat *c = op->chat;
	struct room *r = p->room;
	const struct member *m = member_find(&c->table, r, p->endpoint);
	struct payload_room where = chat_room(r);
	struct payload_actor who;

	if (p->endpoint->session == NULL || m == NULL ||
	    m->state != MEMBER_JOINED)
		return "you left the room before";
	/* Numbers of refused posts are given again once none is under way. */
	if (r->posting == 0)
		r->given = r->info.last_chat;
	p->chat = ++r->given;
	r->posting++;
	who = chat_actor(p->endpoint);
	put_client(content, request_id(p->request));
	payload_put_post(envelope, &where, &who, p->chat, buf_view(content));
	buf_clear(content);
	payload_put_content(content, view_of(p->text, p->len));
	return NULL;
}

void
chat_publish(
    struct chat *c, struct room *r, uint64_t seq, const struct xccos_message *m)
{
	const struct store_message row = {
	    .chat = m->chat, .at = m->at, .author = m->author, .text = m->text};
	struct message *body;

	store_put_post(c->store, seq, r->info.id, &row);
	if (m->chat > r->info.last_chat)
		r->info.last_chat = m->chat;
	if (r->count == 0)
		return;
	buf_clear(&c->out);
	xccos_put_post(&c->out, c->envid++, m);
	body = c->out.failed ? NULL : message_new(buf_view(&c->out));
	if (body == NULL)
		log_fatal("out of memory for a recorded message");
	for (uint32_t i = 0; i < r->count; i++) {
		struct member *to = r->members[i];

		to->outstanding++;
		session_send(to->endpoint->session, body,
		    (uint64_t)(uintptr_t)to, m->chat);
	}
	c->copies += r->count;
	message_drop(body);
}

static void
post_stored(struct op *op, uint64_t seq, uint64_t at)
{
	struct post_op *p = (struct post_op *)op;
	const struct xccos_message m = {
	    .room = p->room->info.uri,
	    .author = p->endpoint->user,
	    .chat = p->chat,
	    .at = at,
	    .text = view_of(p->text, p->len),
	};

	op->chat->posts++;
	request_answer(p->request, 200, "OK");
	chat_publish(op->chat, p->room, seq, &m);
	post_end(p);
}

static void
post_refused(struct op *op, const char *why)
{
	struct post_op *p = (struct post_op *)op;

	(void)why;
	op->chat->refused_posts++;
	request_answer(p->request, 503, CHAT_UNRECORDED);
	post_end(p);
}

static const struct op_type post_type = {
    .kind = EVENT_POST,
    .write = post_write,
    .stored = post_stored,
    .refused = post_refused,
};

static bool
is_blank(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] != ' ' && v.p[i] != '\t' && v.p[i] != '\r' &&
		    v.p[i] != '\n')
			return false;
	return true;
}

/* The room the endpoint may post to; else the answer. */
static struct room *
room_of(struct chat *c, struct endpoint *e, const struct xccos_body *body,
    unsigned *status, const char **why)
{
	const struct member *m;
	struct room *r;
	char guid[37];

	*status = 400;
	*why = "The message names no room";
	if (body->post_room.p == NULL)
		return NULL;
	*why = "The message is empty";
	if (is_blank(body->text))
		return NULL;
	*status = 413;
	*why = "The message is too long";
	if (body->text.n > c->conf->limits.text_bytes)
		return NULL;
	*status = 403;
	*why = "You are not in this room";
	if (!room_guid(&c->table, body->post_room, guid) ||
	    (r = room_find(&c->table, guid)) == NULL)
		return NULL;
	m = member_find(&c->table, r, e);
	return m != NULL && m->state == MEMBER_JOINED ? r : NULL;
}

void
chat_post(struct chat *c, struct endpoint *e, struct request *request,
    const struct xccos_body *body)
{
	unsigned status;
	const char *why;
	struct room *r = room_of(c, e, body, &status, &why);
	struct post_op *p;

	if (r == NULL) {
		c->refused_posts++;
		request_answer(request, status, why);
		return;
	}
	p = malloc(sizeof *p + body->text.n);
	if (p == NULL) {
		c->refused_posts++;
		chat_overloaded(c);
		request_answer(request, 503, "The server is short of memory");
		return;
	}
	op_init(&p->op, &post_type, c);
	p->room = room_hold(r);
	p->endpoint = e;
	e->refs++;
	p->request = request;
	p->chat = 0;
	p->len = body->text.n;
	memcpy(p->text, body->text.p, body->text.n);
	op_start(&p->op);
}
