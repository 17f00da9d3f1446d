#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compliance/event.h"
#include "server/chat_state.h"

#define SEARCH_LIMIT 999
/* One more history is taken while no more than this waits in memory. */
#define HISTORY_HELD_MAX (64U << 20)

struct history_op {
	struct op op;
	struct room *room; /* a reference */
	struct command *command;
	struct payload_history history;
	struct buf messages; /* the reply's, as they were when asked for */
	size_t held;         /* its share of chat.history_held */
};

static struct xccos_reference
reference_of(const struct xccos_body *body)
{
	return (struct xccos_reference){
	    .name = body->name, .envid = body->envid, .seqid = body->seqid};
}

static void
start_success(struct chat *c, const struct xccos_body *body)
{
	const struct xccos_reference to = reference_of(body);

	chat_reply_start(c, &to, 200, "SUCCESS_OK");
}

void
chat_requri(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	start_success(c, body);
	buf_put_text(&c->out, "<uib");
	xccos_put_attribute(&c->out, "uri", view_text(c->service));
	buf_put_text(&c->out, "/>");
	chat_reply_send(c, e);
}

void
chat_serverinfo(
    struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	struct buf *b = &c->out;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	start_success(c, body);
	buf_put_text(b, "<sib");
	xccos_put_attribute(b, "domain", view_text(store_domain(c->store)));
	if (body->info_type.p != NULL)
		xccos_put_attribute(b, "infoType", body->info_type);
	buf_put_text(b, " serverTime=\"");
	xccos_put_time(
	    b, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	buf_printf(b,
	    "\" searchLimit=\"%u\" messageSizeLimit=\"%u\""
	    " storySizeLimit=\"%u\"",
	    SEARCH_LIMIT, c->conf->limits.text_bytes,
	    c->conf->limits.text_bytes);
	buf_printf(b, " rootUri=\"ma-cat://%s/%s\" dbVersion=\"%s\"/>",
	    store_domain(c->store), store_root(c->store),
	    store_version(c->store));
	chat_reply_send(c, e);
}

/* There are no invitations. */
void
chat_invitations(
    struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	start_success(c, body);
	chat_reply_send(c, e);
}

void
chat_preference(
    struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = reference_of(body);

	chat_refuse(
	    c, e, &to, 501, "Preferences are not stored by this server");
}

void
chat_unknown(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = reference_of(body);

	chat_refuse(c, e, &to, 501, "This server does not know the command");
}

/* ---- Lists of rooms ---- */

static void
put_room(void *arg, const struct store_room *r, unsigned members)
{
	struct chat *c = arg;
	const struct room *live = room_find(&c->table, r->guid);
	const struct xccos_room room = {
	    .uri = r->uri,
	    .name = r->name,
	    .description = r->description,
	    .visibility = chat_visibility(r->privacy),
	    .participants = live != NULL ? live->count : 0,
	};

	(void)members;
	xccos_put_room(&c->out, &room);
	xccos_put_room_details(&c->out, &room);
	xccos_put_room_end(&c->out);
}

static void
send_rooms(struct chat *c, struct endpoint *e, const struct xccos_body *body,
    int result)
{
	const struct xccos_reference to = reference_of(body);

	if (result == 0)
		chat_reply_send(c, e);
	else
		chat_refuse(c, e, &to, 500, "The rooms cannot be read now");
}

void
chat_associations(
    struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	uint64_t limit = SEARCH_LIMIT;
	int result = 0;

	if (!view_to_u64(body->max_results, &limit) || limit > SEARCH_LIMIT)
		limit = SEARCH_LIMIT;
	start_success(c, body);
	/* Rooms have no managers. */
	if (!view_is_nocase(body->association, "MANAGER"))
		result = store_rooms_of(
		    c->store, e->user, (unsigned)limit, put_room, c);
	send_rooms(c, e, body, result);
}

void
chat_search(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = reference_of(body);

	if (!view_is_nocase(body->qtype, "BYNAME")) {
		chat_refuse(
		    c, e, &to, 501, "Rooms can only be searched by name");
		return;
	}
	start_success(c, body);
	send_rooms(c, e, body,
	    store_search(c->store, body->criteria,
		view_is_nocase(body->extended, "true"), e->user, SEARCH_LIMIT,
		put_room, c));
}

/* ---- History ---- */

static void
history_end(struct history_op *h)
{
	struct chat *c = h->op.chat;

	c->history_held -= h->held;
	room_drop(&c->table, h->room);
	command_free(c, h->command);
	buf_release(&h->messages);
	free(h);
}

static const char *
history_write(struct op *op, struct buf *envelope, struct buf *content)
{
	const struct history_op *h = (struct history_op *)op;
	const struct endpoint *e = h->command->endpoint;
	const struct payload_room where = chat_room(h->room);
	struct payload_actor who;

	(void)content;
	if (e->session == NULL)
		return "you signed out before";
	who = chat_actor(e);
	payload_put_history(envelope, &where, &who, &h->history);
	return NULL;
}

static void
history_stored(struct op *op, uint64_t seq, uint64_t at)
{
	struct history_op *h = (struct history_op *)op;
	struct chat *c = op->chat;

	(void)seq;
	(void)at;
	chat_reply_start(c, &h->command->reference, 200, "SUCCESS_OK");
	buf_put_text(&c->out, "<chanib");
	xccos_put_attribute(&c->out, "uri", view_text(h->room->info.uri));
	buf_put_u8(&c->out, '>');
	buf_put_view(&c->out, buf_view(&h->messages));
	buf_put_text(&c->out, "</chanib>");
	chat_reply_send(c, h->command->endpoint);
	history_end(h);
}

static void
history_refused(struct op *op, const char *why)
{
	struct history_op *h = (struct history_op *)op;

	(void)why;
	chat_refuse(op->chat, h->command->endpoint, &h->command->reference, 500,
	    CHAT_UNRECORDED);
	history_end(h);
}

static const struct op_type history_type = {
    .kind = EVENT_HISTORY,
    .write = history_write,
    .stored = history_stored,
    .refused = history_refused,
};

static void
on_message(void *arg, const struct store_message *row)
{
	struct history_op *h = arg;
	const struct xccos_message m = {
	    .room = h->room->info.uri,
	    .author = row->author,
	    .chat = row->chat,
	    .at = row->at,
	    .text = row->text,
	};

	if (h->history.count++ == 0)
		h->history.first = row->chat;
	h->history.last = row->chat;
	xccos_put_msg(&h->messages, &m);
}

/* Takes the reference to the room over. */
static void
start_history(struct chat *c, struct endpoint *e, struct room *r,
    const struct xccos_body *body, uint64_t asked)
{
	const struct xccos_reference to = reference_of(body);
	uint64_t most = c->conf->limits.history;
	struct history_op *h = calloc(1, sizeof *h);

	if (h != NULL)
		h->command = command_new(e, body);
	if (h == NULL || h->command == NULL) {
		free(h);
		room_drop(&c->table, r);
		chat_refuse(c, e, &to, 500, "The server is short of memory");
		return;
	}
	op_init(&h->op, &history_type, c);
	h->room = r;
	h->history.asked = asked;
	if (c->history_held > HISTORY_HELD_MAX) {
		chat_refuse(c, e, &to, 500,
		    "Too much history is being read. Please try again later.");
		history_end(h);
		return;
	}
	if (store_history(c->store, r->info.id, asked < most ? asked : most,
		on_message, h) != 0 ||
	    h->messages.failed) {
		chat_refuse(c, e, &to, 500, "The history cannot be read now");
		history_end(h);
		return;
	}
	h->held = h->messages.len;
	c->history_held += h->held;
	op_start(&h->op);
}

void
chat_history(struct chat *c, struct endpoint *e, const struct xccos_body *body)
{
	const struct xccos_reference to = reference_of(body);
	enum room_access access;
	struct room *r;
	uint64_t asked;
	char guid[37];

	if (body->other_query || !view_to_u64(body->last, &asked)) {
		chat_refuse(c, e, &to, 501,
		    "Only the last messages of a room can be asked for");
		return;
	}
	r = room_guid(&c->table, body->room, guid) ? room_get(&c->table, guid)
						   : NULL;
	access = r != NULL ? chat_access(c, r, e->user) : ROOM_UNSEEN;
	if (access == ROOM_ALLOWED) {
		start_history(c, e, r, body, asked);
		return;
	}
	chat_refuse(c, e, &to, access == ROOM_FORBIDDEN ? 403 : 404,
	    access == ROOM_FORBIDDEN ? "Only members may read this room"
				     : "There is no such room");
	if (r != NULL)
		room_drop(&c->table, r);
}
