#include "server/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"
#include "server/chat_state.h"
#include "server/delivery.h"

#define DEVICE_MAX 64

struct payload_room
chat_room(const struct room *r)
{
	return (struct payload_room){.uri = r->info.uri, .name = r->info.name};
}

struct payload_actor
chat_actor(const struct endpoint *e)
{
	struct payload_actor who = {
	    .user = e->user,
	    .name = endpoint_name(e),
	    .device = endpoint_device(e),
	};

	if (e->session != NULL) {
		const struct session_identity *id =
		    session_identity(e->session);

		who.auth = id->auth;
		who.via = id->via;
		who.peer = id->peer;
	}
	return who;
}

const char *
chat_visibility(enum store_privacy p)
{
	static const char *const names[] = {
	    [STORE_OPEN] = "OPEN",
	    [STORE_CLOSED] = "SCOPE",
	    [STORE_SECRET] = "PRIVATE",
	};

	return names[p];
}

/* ---- Replies and notices ---- */

static struct view
keep(char **at, struct view v)
{
	struct view kept = {.p = (uint8_t *)*at, .n = v.n};

	memcpy(*at, v.p, v.n);
	*at += v.n;
	return kept;
}

struct command *
command_new(struct endpoint *e, const struct xccos_body *body)
{
	struct command *cmd =
	    malloc(sizeof *cmd + body->name.n + body->envid.n + body->seqid.n);
	char *at;

	if (cmd == NULL)
		return NULL;
	at = cmd->text;
	cmd->endpoint = e;
	e->refs++;
	cmd->reference.name = keep(&at, body->name);
	cmd->reference.envid = keep(&at, body->envid);
	cmd->reference.seqid = keep(&at, body->seqid);
	return cmd;
}

void
command_free(struct chat *c, struct command *cmd)
{
	if (cmd == NULL)
		return;
	endpoint_drop(&c->table, cmd->endpoint);
	free(cmd);
}

void
chat_reply_start(struct chat *c, const struct xccos_reference *to,
    unsigned code, const char *text)
{
	buf_clear(&c->out);
	xccos_put_reply(&c->out, c->envid++, to, code, text);
}

void
chat_reply_send(struct chat *c, struct endpoint *e)
{
	struct message *m;

	xccos_put_reply_end(&c->out);
	if (e->session == NULL)
		return;
	m = c->out.failed ? NULL : message_new(buf_view(&c->out));
	if (m == NULL) {
		log_error("out of memory for a reply");
		return;
	}
	session_send(e->session, m, 0, 0);
	message_drop(m);
}

void
chat_refuse(struct chat *c, struct endpoint *e,
    const struct xccos_reference *to, unsigned code, const char *text)
{
	chat_reply_start(c, to, code, text);
	chat_reply_send(c, e);
}

void
chat_notify(struct chat *c, const struct room *r, const struct endpoint *but)
{
	struct message *m =
	    c->out.failed ? NULL : message_new(buf_view(&c->out));

	if (m == NULL) {
		log_error("out of memory for a notice");
		return;
	}
	for (uint32_t i = 0; i < r->count; i++) {
		struct endpoint *e = r->members[i]->endpoint;

		if (e != but)
			session_send(e->session, m, 0, 0);
	}
	message_drop(m);
}

/* ---- Sessions ---- */

/* The device as the client names it, if that is a name at all. */
static const char *
device_of(const struct session_identity *id)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789._-";
	size_t n = strlen(id->device);

	return n > 0 && n <= DEVICE_MAX && strspn(id->device, allowed) == n
	    ? id->device
	    : "-";
}

static struct endpoint *
endpoint_of(struct chat *c, struct session *s)
{
	struct endpoint *e = session_state(s);
	const struct session_identity *id;

	if (e != NULL)
		return e;
	id = session_identity(s);
	if (!text_utf8_valid(view_text(id->user)) ||
	    !text_utf8_valid(view_text(id->name)))
		return NULL;
	e = endpoint_new(&c->table, id->user, id->name, device_of(id));
	if (e == NULL)
		return NULL;
	e->session = s;
	session_set_state(s, e);
	return e;
}

void
chat_opened(struct chat *c, struct session *s)
{
	if (endpoint_of(c, s) == NULL)
		log_error("out of memory for a chat session");
}

void
chat_gone(struct chat *c, struct session *s, enum session_end why)
{
	struct endpoint *e = session_state(s);
	struct member *m, *next;

	if (e == NULL)
		return;
	session_set_state(s, NULL);
	e->session = NULL;
	e->end = why;
	for (m = e->members; m != NULL; m = next) {
		next = m->next;
		/* One that is still joining leaves when its join is known. */
		if (m->state == MEMBER_JOINED)
			chat_leave(c, m, chat_leave_reason(why));
	}
	endpoint_drop(&c->table, e);
}

void
chat_outcome(struct chat *c, struct session *s, uint64_t room, uint64_t number,
    enum session_outcome outcome)
{
	(void)s;
	/* What chat_publish() gave the session as its room. */
	delivery_outcome(c, (struct member *)(uintptr_t)room, number, outcome);
}

static command_fn *const commands[XCCOS_VERBS] = {
    [XCCOS_UNKNOWN] = chat_unknown,
    [XCCOS_REQURI] = chat_requri,
    [XCCOS_GETSERVERINFO] = chat_serverinfo,
    [XCCOS_GETASSOCIATIONS] = chat_associations,
    [XCCOS_GETINV] = chat_invitations,
    [XCCOS_CHANSRCH] = chat_search,
    [XCCOS_JOIN] = chat_join,
    [XCCOS_BJOIN] = chat_join,
    [XCCOS_PART] = chat_part,
    [XCCOS_BCCONTEXT] = chat_history,
    [XCCOS_GETPREF] = chat_preference,
    [XCCOS_SETPREF] = chat_preference,
};

void
chat_password_refused(struct chat *c)
{
	record_drop_password(c->record);
}

void
chat_overloaded(struct chat *c)
{
	record_drop_overload(c->record);
}

void
chat_info(
    struct chat *c, struct session *s, struct request *r, struct view body)
{
	struct endpoint *e = endpoint_of(c, s);
	struct xccos_body parsed;
	const char *why = NULL;
	enum xccos_verdict verdict = XCCOS_MEMORY;

	if (e != NULL)
		verdict = xccos_parse(c->xccos, body, &parsed, &why);
	switch (verdict) {
	case XCCOS_MEMORY:
		chat_overloaded(c);
		request_answer(r, 503, "The server is short of memory");
		return;
	case XCCOS_BAD:
		request_answer(r, 400, why);
		return;
	case XCCOS_OK:
		break;
	}
	if (parsed.verb == XCCOS_POST) {
		chat_post(c, e, r, &parsed);
		return;
	}
	request_answer(r, 200, "OK");
	/* The answer may have been the end of the session. */
	if (e->session != NULL)
		commands[parsed.verb](c, e, &parsed);
}

/* ---- The journal's state ---- */

void
chat_check_ready(struct chat *c)
{
	if (c->told_ready || c->startup > 0)
		return;
	c->told_ready = true;
	c->ready(c->ready_arg);
}

static void
on_left_behind(void *arg, const struct store_joined *j)
{
	chat_leave_behind(arg, j, true);
}

static void
on_open(void *arg)
{
	struct chat *c = arg;

	c->startup++; /* not ready before everything was started */
	chat_start_pending(c, !c->told_ready);
	if (!c->caught_up) {
		c->caught_up = true;
		if (store_each_joined(c->store, on_left_behind, c) != 0)
			log_fatal("chat.db cannot be read");
	}
	op_start_late(c);
	delivery_flush(c);
	op_start_held(c);
	c->startup--;
	chat_check_ready(c);
}

static void
on_closed(void *arg, const char *why)
{
	struct chat *c = arg;

	op_refuse_held(c, why);
	/* People may sign in all the same. */
	c->startup = 0;
	chat_check_ready(c);
}

static const struct record_hooks hooks = {
    .replay = chat_replay,
    .open = on_open,
    .closed = on_closed,
};

/* ---- Life ---- */

struct chat *
chat_new(uv_loop_t *loop, const struct conf *conf, struct store *store,
    struct record *record, void (*ready)(void *arg), void *arg)
{
	struct chat *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->xccos = xccos_new();
	if (c->xccos == NULL ||
	    asprintf(&c->service, "sip:chat@%s", conf->domain) < 0) {
		xccos_free(c->xccos);
		free(c);
		return NULL;
	}
	c->loop = loop;
	c->conf = conf;
	c->store = store;
	c->record = record;
	c->ready = ready;
	c->ready_arg = arg;
	room_table_init(&c->table, store);
	crypto_nonce(&c->envid, sizeof c->envid);
	c->envid >>= 2;
	/* Neither call can fail (libuv's manual). */
	(void)uv_timer_init(loop, &c->flush);
	(void)uv_timer_init(loop, &c->retry);
	c->flush.data = c->retry.data = c;
	c->handles = 2;
	record_set_hooks(record, &hooks, c);
	return c;
}

void
chat_counters(const struct chat *c, struct chat_counters *out)
{
	struct record_counters r;

	record_counters(c->record, &r);
	*out = (struct chat_counters){
	    .writable = record_state(c->record) == RECORD_OPEN,
	    .why = record_why(c->record),
	    .applied = r.applied,
	    .endpoints = c->table.endpoint_count,
	    .joined = c->table.joined,
	    .rooms = c->table.rooms.count,
	    .inflight = r.inflight,
	    .waiting = c->held.count,
	    .late = c->late.count,
	    .posts = c->posts,
	    .copies = c->copies,
	    .refused_posts = c->refused_posts,
	};
}

void
chat_stop(struct chat *c)
{
	delivery_flush(c);
	record_flush(c->record);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct chat *c = handle->data;

	if (--c->handles == 0)
		free(c);
}

static void
forget_endpoint(struct chat *c, struct endpoint *e)
{
	while (e->members != NULL) {
		struct member *m = e->members;

		delivery_forget(m);
		m->outstanding = 0;
		member_leave(&c->table, m);
		member_settle(&c->table, m);
	}
	if (e->session != NULL)
		session_set_state(e->session, NULL);
	endpoint_drop(&c->table, e);
}

void
chat_free(struct chat *c)
{
	if (c == NULL)
		return;
	c->told_ready = true;
	record_refuse_all(c->record, "the server stops");
	op_refuse_held(c, "the server stops");
	op_forget_late(c);
	while (c->news != NULL) {
		struct room *r = c->news;

		c->news = r->next_news;
		delivery_forget_room(c, r);
		room_drop(&c->table, r);
	}
	while (!ring_empty(&c->table.endpoints))
		forget_endpoint(
		    c, RING_OF(c->table.endpoints.next, struct endpoint, ring));
	room_table_release(&c->table);
	xccos_free(c->xccos);
	buf_release(&c->envelope);
	buf_release(&c->content);
	buf_release(&c->out);
	free(c->service);
	uv_close((uv_handle_t *)&c->flush, on_handle_closed);
	uv_close((uv_handle_t *)&c->retry, on_handle_closed);
}
