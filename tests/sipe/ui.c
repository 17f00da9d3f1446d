/* What libpurple would show to a person, as JSON events. */

#include <stdarg.h>

#include "tests/sipe/sipe-driver.h"

/* {"event":name, key:value, ...}; the list ends with NULL. */
static void
emit(const char *name, ...)
{
	json_t *event = json_object();
	const char *key, *value;
	va_list args;

	json_object_set_new(event, "event", json_string(name));
	va_start(args, name);
	while ((key = va_arg(args, const char *)) != NULL) {
		value = va_arg(args, const char *);
		json_object_set_new(event, key,
		    value != NULL ? json_string(value) : json_null());
	}
	va_end(args);
	driver_emit(event);
}

static const char *
room_of(PurpleConversation *conv)
{
	return purple_conversation_get_title(conv);
}

static void
write_conv(PurpleConversation *conv, const char *name, const char *alias,
    const char *message, PurpleMessageFlags flags, time_t when)
{
	char *text = purple_markup_strip_html(message);
	char at[32];

	(void)alias;
	g_snprintf(at, sizeof(at), "%lld", (long long)when);
	if (flags & PURPLE_MESSAGE_ERROR)
		emit("room-error", "room", room_of(conv), "text", text, NULL);
	else if (flags & PURPLE_MESSAGE_SYSTEM)
		emit("notice", "room", room_of(conv), "text", text, NULL);
	else
		emit("message", "room", room_of(conv), "who", name, "text",
		    text, "when", at, NULL);
	g_free(text);
}

static void
chat_add_users(PurpleConversation *conv, GList *people, gboolean arrived)
{
	const PurpleConvChatBuddy *buddy;

	(void)arrived;
	for (; people != NULL; people = people->next) {
		buddy = people->data;
		emit("enter", "room", room_of(conv), "who", buddy->name, NULL);
	}
}

static void
chat_remove_users(PurpleConversation *conv, GList *people)
{
	for (; people != NULL; people = people->next)
		emit("exit", "room", room_of(conv), "who", people->data, NULL);
}

static void *
notify_message(PurpleNotifyMsgType type, const char *title, const char *primary,
    const char *secondary)
{
	char *text = g_strconcat(primary != NULL ? primary : "", "\n",
	    secondary != NULL ? secondary : "", NULL);

	(void)title;
	emit(type == PURPLE_NOTIFY_MSG_ERROR ? "error" : "info", "text", text,
	    NULL);
	g_free(text);
	return NULL;
}

static void *
notify_formatted(const char *title, const char *primary, const char *secondary,
    const char *text)
{
	(void)title;
	(void)secondary;
	emit("info", "text", primary, "more", text, NULL);
	return NULL;
}

struct yes {
	PurpleRequestActionCb call;
	int action;
	void *arg;
	void *handle;
};

/* Answering from within the question would surprise libpurple. */
static gboolean
say_yes(gpointer data)
{
	struct yes *y = data;

	y->call(y->arg, y->action);
	purple_request_close(PURPLE_REQUEST_ACTION, y->handle);
	return FALSE;
}

/* The first action of a question is to accept (a certificate, that is). */
static void *
request_action(const char *title, const char *primary, const char *secondary,
    int preset, PurpleAccount *account, const char *who,
    PurpleConversation *conv, void *arg, size_t count, va_list actions)
{
	struct yes *y = g_new0(struct yes, 1);
	const char *label;
	size_t i;

	(void)title;
	(void)preset;
	(void)account;
	(void)who;
	(void)conv;
	label = "";
	for (i = 0; i < count; i++) {
		const char *name = va_arg(actions, const char *);
		PurpleRequestActionCb call =
		    va_arg(actions, PurpleRequestActionCb);

		if (i == 0) {
			label = name;
			y->call = call;
		}
	}
	y->arg = arg;
	y->handle = y;
	emit("request", "text", primary, "more", secondary, "answer", label,
	    NULL);
	g_idle_add(say_yes, y);
	return y;
}

static void
request_closed(PurpleRequestType type, void *handle)
{
	(void)type;
	g_free(handle);
}

static void
show_room(PurpleRoomlist *list, PurpleRoomlistRoom *room)
{
	json_t *event = json_object();
	GList *fields = room->fields, *names = list->fields;

	json_object_set_new(event, "event", json_string("room"));
	json_object_set_new(event, "name", json_string(room->name));
	for (; fields != NULL && names != NULL;
	     fields = fields->next, names = names->next) {
		const PurpleRoomlistField *field = names->data;

		if (field->type == PURPLE_ROOMLIST_FIELD_STRING)
			json_object_set_new(event, field->name,
			    fields->data != NULL ? json_string(fields->data)
						 : json_null());
		else
			json_object_set_new(event, field->name,
			    json_integer(GPOINTER_TO_INT(fields->data)));
	}
	driver_emit(event);
}

static void
rooms_in_progress(PurpleRoomlist *list, gboolean going_on)
{
	(void)list;
	if (!going_on)
		emit("rooms-end", NULL);
}

void
driver_ui_init(void)
{
	static PurpleConversationUiOps conversation = {
	    .write_conv = write_conv,
	    .chat_add_users = chat_add_users,
	    .chat_remove_users = chat_remove_users,
	};
	static PurpleNotifyUiOps notify = {
	    .notify_message = notify_message,
	    .notify_formatted = notify_formatted,
	};
	static PurpleRequestUiOps request = {
	    .request_action = request_action,
	    .close_request = request_closed,
	};
	static PurpleRoomlistUiOps roomlist = {
	    .add_room = show_room,
	    .in_progress = rooms_in_progress,
	};

	purple_conversations_set_ui_ops(&conversation);
	purple_notify_set_ui_ops(&notify);
	purple_request_set_ui_ops(&request);
	purple_roomlist_set_ui_ops(&roomlist);
}
