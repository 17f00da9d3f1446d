#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compliance/event.h"
#include "server/chat_state.h"

enum target_state {
	TARGET_WAITS,
	TARGET_JOINED,
	TARGET_UNSEEN,
	TARGET_FORBIDDEN,
	TARGET_UNRECORDED,
};

struct target {
	struct join_request *join;
	struct room_waiter waiter; /* first of its member's or linked there */
	struct room *room;         /* a reference, or NULL */
	enum target_state state;
	char domain[65]; /* as asked for */
	char guid[65];
};

/* A join or bjoin: answered when the fate of each room is known. */
struct join_request {
	struct chat *chat;
	struct command *command;
	bool batch;
	size_t left;
	size_t count;
	struct target targets[];
};

struct join_op {
	struct op op;
	struct member *member;
};

enum room_access
chat_access(struct chat *c, const struct room *r, const char *user)
{
	if (r->info.privacy == STORE_OPEN ||
	    store_is_member(c->store, r->info.id, user))
		return ROOM_ALLOWED;
	return r->info.privacy == STORE_CLOSED ? ROOM_FORBIDDEN : ROOM_UNSEEN;
}

/* ---- The reply ---- */

/* The users named in one reply; each has one number. */
struct roster_user {
	struct lookup_node node;
	const char *uri;
	unsigned id;
};

struct roster {
	struct lookup lookup;
	struct roster_user *users;
	unsigned count;
};

/* 0 ..: the user's number; first tells that he was not there before. */
static unsigned
roster_add(struct roster *ro, const char *uri)
{
	uint64_t hash = lookup_hash(view_text(uri));
	struct lookup_node *n = lookup_first(&ro->lookup, hash);
	struct roster_user *u;

	for (; n != NULL; n = lookup_next(n)) {
		u = LOOKUP_OF(n, struct roster_user, node);
		if (strcmp(u->uri, uri) == 0)
			return u->id;
	}
	u = &ro->users[ro->count];
	u->uri = uri;
	u->id = ro->count++;
	if (!lookup_add(&ro->lookup, &u->node, hash))
		log_fatal("out of memory for a list of participants");
	return u->id;
}

static void
put_participants(struct buf *b, struct roster *ro, const struct room *r,
    const struct endpoint *self)
{
	unsigned *ids = calloc((size_t)r->count + 1, sizeof *ids);
	unsigned n = 0;

	if (ids == NULL)
		log_fatal("out of memory for a list of participants");
	for (uint32_t i = 0; i < r->count && !r->large; i++)
		ids[n++] = roster_add(ro, r->members[i]->endpoint->user);
	if (r->large)
		ids[n++] = roster_add(ro, self->user);
	buf_put_text(b, "<aib key=\"" XCCOS_PARTICIPANT "\" value=\"");
	for (unsigned i = 0; i < n; i++) {
		bool before = false;

		/* A user with two endpoints is one participant. */
		for (unsigned j = 0; j < i && !before; j++)
			before = ids[j] == ids[i];
		if (before)
			continue;
		if (i > 0)
			buf_put_u8(b, ',');
		buf_put_decimal(b, ids[i]);
	}
	buf_put_text(b, "\"/>");
	free(ids);
}

static void
put_joined_room(struct buf *b, struct roster *ro, const struct room *r,
    const struct endpoint *self)
{
	const struct xccos_room room = {
	    .uri = r->info.uri,
	    .name = r->info.name,
	    .description = r->info.description,
	    .visibility = chat_visibility(r->info.privacy),
	    .participants = r->count,
	};

	xccos_put_room(b, &room);
	put_participants(b, ro, r, self);
	xccos_put_room_details(b, &room);
	xccos_put_room_end(b);
}

static void
put_failure(struct buf *b, const struct target *t)
{
	buf_put_text(b, "<fib key=\"OPERATION_FAILED\"");
	xccos_put_attribute(b, "value", view_text(t->guid));
	xccos_put_attribute(b, "domain", view_text(t->domain));
	buf_put_text(b, "/>");
}

/* The code of the whole reply. */
static unsigned
code_of(const struct join_request *j, const char **text)
{
	static const struct {
		unsigned code;
		const char *text;
	} codes[] = {
	    [TARGET_WAITS] = {500, "The room could not be joined"},
	    [TARGET_JOINED] = {200, "SUCCESS_OK"},
	    [TARGET_UNSEEN] = {404, "There is no such room"},
	    [TARGET_FORBIDDEN] = {403, "Only members may join this room"},
	    [TARGET_UNRECORDED] = {500, CHAT_UNRECORDED},
	};
	enum target_state worst = j->targets[0].state;

	for (size_t i = 0; i < j->count && j->batch; i++) {
		if (j->targets[i].state != TARGET_UNRECORDED) {
			worst = TARGET_JOINED;
			break;
		}
	}
	*text = codes[worst].text;
	return codes[worst].code;
}

static void
put_rooms(struct chat *c, const struct join_request *j)
{
	struct endpoint *self = j->command->endpoint;
	struct roster ro = {0};
	struct buf *b = &c->out;
	size_t most = 1;

	for (size_t i = 0; i < j->count; i++)
		if (j->targets[i].state == TARGET_JOINED)
			most += j->targets[i].room->count;
	ro.users = calloc(most, sizeof *ro.users);
	if (ro.users == NULL)
		log_fatal("out of memory for a list of participants");
	for (size_t i = 0; i < j->count; i++) {
		const struct target *t = &j->targets[i];

		/* He may have left it again while others were recorded. */
		if (t->state == TARGET_JOINED &&
		    member_find(&c->table, t->room, self) != NULL)
			put_joined_room(b, &ro, t->room, self);
		else if (j->batch)
			put_failure(b, t);
	}
	for (unsigned i = 0; i < ro.count; i++) {
		buf_put_text(b, "<uib id=\"");
		buf_put_decimal(b, i);
		buf_put_u8(b, '"');
		xccos_put_attribute(b, "uri", view_text(ro.users[i].uri));
		buf_put_text(b, "/>");
	}
	lookup_release(&ro.lookup);
	free(ro.users);
}

/* One room's fate is known, or all were asked for. */
static void
join_one_done(struct join_request *j)
{
	struct chat *c = j->chat;
	struct endpoint *e = j->command->endpoint;
	const char *text;
	unsigned code;

	if (--j->left > 0)
		return;
	if (e->session != NULL) {
		code = code_of(j, &text);
		chat_reply_start(c, &j->command->reference, code, text);
		put_rooms(c, j);
		chat_reply_send(c, e);
	}
	for (size_t i = 0; i < j->count; i++)
		if (j->targets[i].room != NULL)
			room_drop(&c->table, j->targets[i].room);
	command_free(c, j->command);
	free(j);
}

static void
on_member(struct chat *c, struct room_waiter *w, const char *why)
{
	struct target *t = LOOKUP_OF(w, struct target, waiter);

	(void)c;
	t->state = why == NULL ? TARGET_JOINED : TARGET_UNRECORDED;
	join_one_done(t->join);
}

/* ---- Recording ---- */

void
chat_wait(struct member *m, struct room_waiter *w)
{
	struct room_waiter **end = &m->waiters;

	while (*end != NULL)
		end = &(*end)->next;
	w->next = NULL;
	*end = w;
}

static const char *
join_write(struct op *op, struct buf *envelope, struct buf *content)
{
	const struct join_op *j = (struct join_op *)op;
	const struct endpoint *e = j->member->endpoint;
	const struct payload_room where = chat_room(j->member->room);
	struct payload_actor who;

	(void)content;
	if (e->session == NULL)
		return "you signed out before";
	who = chat_actor(e);
	payload_put_join(envelope, &where, &who);
	return NULL;
}

static void
tell_waiters(struct chat *c, struct room_waiter *w, const char *why)
{
	while (w != NULL) {
		struct room_waiter *next = w->next;

		w->fn(c, w, why);
		w = next;
	}
}

static void
join_stored(struct op *op, uint64_t seq, uint64_t at)
{
	struct join_op *j = (struct join_op *)op;
	struct chat *c = op->chat;
	struct member *m = j->member;
	struct endpoint *e = m->endpoint;
	struct room *r = room_hold(m->room);
	struct room_waiter *waiters = m->waiters;

	(void)at;
	free(j);
	e->refs++;
	store_put_joined(c->store, seq, r->info.id, e->user, endpoint_name(e),
	    endpoint_device(e));
	if (!member_enter(&c->table, m, seq))
		log_fatal("out of memory for a member");
	if (e->session == NULL)
		chat_leave(c, m, chat_leave_reason(e->end));
	tell_waiters(
	    c, waiters, e->session != NULL ? NULL : "you signed out before");
	if (e->session != NULL && !r->large && r->count > 1 &&
	    !room_has_user(r, e)) {
		buf_clear(&c->out);
		xccos_put_join_notice(&c->out, c->envid++,
		    store_domain(c->store), r->info.guid, e->user);
		chat_notify(c, r, e);
	}
	endpoint_drop(&c->table, e);
	room_drop(&c->table, r);
}

static void
join_refused(struct op *op, const char *why)
{
	struct join_op *j = (struct join_op *)op;
	struct chat *c = op->chat;
	struct member *m = j->member;
	struct room_waiter *waiters = m->waiters;

	free(j);
	member_leave(&c->table, m);
	tell_waiters(c, waiters, why);
	member_settle(&c->table, m);
}

static const struct op_type join_type = {
    .kind = EVENT_JOIN,
    .write = join_write,
    .stored = join_stored,
    .refused = join_refused,
};

/* Makes the endpoint a member, or waits for that; false: no memory. */
static bool
start_join(struct chat *c, struct endpoint *e, struct target *t)
{
	struct member *m = member_find(&c->table, t->room, e);
	struct join_op *j = NULL;

	if (m != NULL && m->state == MEMBER_JOINED) {
		t->state = TARGET_JOINED;
		return true;
	}
	if (m == NULL) {
		j = calloc(1, sizeof *j);
		m = j != NULL ? member_new(&c->table, t->room, e) : NULL;
		if (m == NULL) {
			free(j);
			return false;
		}
	}
	t->waiter.fn = on_member;
	chat_wait(m, &t->waiter);
	t->join->left++;
	if (j != NULL) {
		op_init(&j->op, &join_type, c);
		j->member = m;
		op_start(&j->op);
	}
	return true;
}

static void
copy_view(char *out, size_t out_len, struct view v)
{
	size_t n = v.n < out_len ? v.n : 0;

	if (n > 0)
		memcpy(out, v.p, n);
	out[n] = '\0';
}

static void
start_target(struct chat *c, struct endpoint *e, struct target *t,
    const struct xccos_chanid *id)
{
	char guid[37];

	copy_view(t->domain, sizeof t->domain, id->domain);
	copy_view(t->guid, sizeof t->guid, id->value);
	t->state = TARGET_UNSEEN;
	if (!room_guid_of(&c->table, id->domain, id->value, guid))
		return;
	t->room = room_get(&c->table, guid);
	if (t->room == NULL)
		return;
	switch (chat_access(c, t->room, e->user)) {
	case ROOM_UNSEEN:
		return;
	case ROOM_FORBIDDEN:
		t->state = TARGET_FORBIDDEN;
		return;
	case ROOM_ALLOWED:
		break;
	}
	t->state = TARGET_WAITS;
	if (!start_join(c, e, t))
		t->state = TARGET_UNRECORDED;
}

/* Whether an earlier part of the command names the same room. */
static bool
is_repeated(const struct xccos_body *body, size_t i)
{
	struct view v = body->chanids[i].value;

	for (size_t k = 0; k < i; k++)
		if (body->chanids[k].value.n == v.n &&
		    strncasecmp((const char *)body->chanids[k].value.p,
			(const char *)v.p, v.n) == 0)
			return true;
	return false;
}

void
chat_join(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = {
	    .name = body->name, .envid = body->envid, .seqid = body->seqid};
	struct join_request *j;
	size_t n = body->chanid_count;

	if (n == 0 || (n > 1 && body->verb == XCCOS_JOIN)) {
		chat_refuse(c, e, &to, 400,
		    n == 0 ? "The command names no room"
			   : "Only one room can be joined at a time");
		return;
	}
	j = calloc(1, sizeof *j + n * sizeof j->targets[0]);
	if (j == NULL || (j->command = command_new(e, body)) == NULL) {
		free(j);
		chat_refuse(c, e, &to, 500, "The server is short of memory");
		return;
	}
	j->chat = c;
	j->batch = body->verb == XCCOS_BJOIN;
	j->left = 1; /* until all were asked for */
	for (size_t i = 0; i < n; i++) {
		struct target *t = &j->targets[j->count];

		if (is_repeated(body, i))
			continue;
		j->count++;
		t->join = j;
		start_target(c, e, t, &body->chanids[i]);
	}
	join_one_done(j);
}
