#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "compliance/event.h"
#include "server/chat_state.h"

/* What the journal tells again, applied to chat.db and to those present. */

static const char *
text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text != NULL ? text : "";
}

static uint64_t
number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static struct room *
room_of(struct chat *c, const json_t *envelope)
{
	struct room *r;
	char guid[37];

	if (!room_guid(&c->table, view_text(text_of(envelope, "room")), guid))
		return NULL;
	r = room_get(&c->table, guid);
	/* The event is not passed over: it is going to be told again. */
	if (r == NULL)
		store_fail_misread(c->store);
	return r;
}

static void
replay_join(struct chat *c, const struct record_event *e, const json_t *o)
{
	const struct store_joined j = {
	    .seq = e->seq,
	    .room_uri = text_of(o, "room"),
	    .room_name = text_of(o, "roomname"),
	    .user = text_of(o, "user"),
	    .name = text_of(o, "name"),
	    .device = text_of(o, "device"),
	};
	struct room *r = room_of(c, o);

	if (r == NULL)
		return;
	store_put_joined(
	    c->store, e->seq, r->info.id, j.user, j.name, j.device);
	/* Its client was told that it had failed: it is not in the room. */
	if (!e->seen && c->caught_up)
		chat_leave_behind(c, &j, false);
	room_drop(&c->table, r);
}

static void
replay_leave(struct chat *c, const struct record_event *e, const json_t *o)
{
	(void)e;
	store_drop_joined(c->store, number_of(o, "joined"));
}

static void
replay_post(struct chat *c, const struct record_event *e, const json_t *o)
{
	json_t *content =
	    json_loadb((const char *)e->content.p, e->content.n, 0, NULL);
	const json_t *text = json_object_get(content, "text");
	struct room *r = room_of(c, o);

	if (r != NULL && json_is_string(text)) {
		const struct xccos_message m = {
		    .room = r->info.uri,
		    .author = text_of(o, "user"),
		    .chat = number_of(o, "chat"),
		    .at = e->at,
		    .text = view_of(
			json_string_value(text), json_string_length(text)),
		};
		const struct store_message row = {
		    .chat = m.chat,
		    .at = m.at,
		    .author = m.author,
		    .text = m.text,
		};

		if (!e->seen) {
			chat_publish(c, r, e->seq, &m);
		} else {
			store_put_post(c->store, e->seq, r->info.id, &row);
			/* It was loaded when chat.db had lost the message. */
			if (m.chat > r->info.last_chat)
				r->info.last_chat = m.chat;
		}
	}
	if (r != NULL)
		room_drop(&c->table, r);
	json_decref(content);
}

/* An administrative event also ends its row of pending. */
static void
settle(struct chat *c, const struct record_event *e)
{
	uint64_t number, id;
	uint32_t boot;

	if (!payload_get_id(e->envelope, &boot, &number))
		return;
	id = store_find_pending(c->store, boot, number);
	if (id == 0)
		return;
	store_drop_pending(c->store, id);
	chat_settle_pending(c, id, e->seq, e->at);
}

static void
replay_room(struct chat *c, const struct record_event *e, const json_t *o)
{
	enum store_privacy privacy = STORE_SECRET;
	char guid[37];

	settle(c, e);
	if (!store_privacy_of(view_text(text_of(o, "privacy")), &privacy))
		log_warn("room of unknown privacy is taken as secret");
	if (room_guid(&c->table, view_text(text_of(o, "room")), guid))
		store_replay_room(c->store, view_text(guid),
		    text_of(o, "roomname"), text_of(o, "description"), privacy);
}

static void
replay_member(struct chat *c, const struct record_event *e, const json_t *o)
{
	struct room *r = room_of(c, o);

	settle(c, e);
	if (r == NULL)
		return;
	store_replay_member(c->store, r->info.id, text_of(o, "user"));
	room_drop(&c->table, r);
}

static void
replay_user(struct chat *c, const struct record_event *e, const json_t *o)
{
	settle(c, e);
	store_replay_user(c->store, text_of(o, "user"), text_of(o, "name"));
}

/* History reads and deliveries leave nothing in chat.db. */
static void (*const replays[])(
    struct chat *c, const struct record_event *e, const json_t *o) = {
    [EVENT_JOIN] = replay_join,
    [EVENT_LEAVE] = replay_leave,
    [EVENT_POST] = replay_post,
    [EVENT_HISTORY] = NULL,
    [EVENT_DELIVERY] = NULL,
    [EVENT_ROOM] = replay_room,
    [EVENT_MEMBER] = replay_member,
    [EVENT_USER] = replay_user,
};

void
chat_replay(void *arg, const struct record_event *e)
{
	json_t *o;

	if (e->kind >= sizeof replays / sizeof replays[0] ||
	    replays[e->kind] == NULL || e->envelope.n == 0)
		return; /* purged: what it said is nobody's any more */
	o = json_loadb((const char *)e->envelope.p, e->envelope.n, 0, NULL);
	if (o != NULL)
		replays[e->kind](arg, e, o);
	else
		log_warn("event %llu has no payload that could be read",
		    (unsigned long long)e->seq);
	json_decref(o);
}
