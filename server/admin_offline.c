#include "server/admin_offline.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "server/store.h"
#include "server/store_chat.h"

#define WHY_LEN 512

static const char *
text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

/* What is done has its journal event waiting in the store. */
static json_t *
recorded_later(json_t *result)
{
	if (result != NULL)
		(void)json_object_set_new(result, "recorded", json_false());
	return result;
}

static json_t *
user_add(struct store *s, const json_t *args, const char *by, char *why)
{
	const char *uri = text(args, "uri");
	const char *name = text(args, "name");

	if (uri == NULL) {
		(void)snprintf(why, WHY_LEN, "uri is missing");
		return NULL;
	}
	if (store_user_add(s, uri, name != NULL ? name : "",
		text(args, "password"), by, why, WHY_LEN) != 0)
		return NULL;
	return recorded_later(json_pack("{s:s}", "uri", uri));
}

static void
list_user(void *arg, const struct store_user *u)
{
	(void)json_array_append_new(arg,
	    json_pack("{s:s,s:s,s:b}", "uri", u->uri, "name", u->name,
		"password", u->has_password));
}

static json_t *
user_list(struct store *s, const json_t *args, const char *by, char *why)
{
	json_t *list = json_array();

	(void)args;
	(void)by;
	if (store_users(s, list_user, list) == 0)
		return list;
	(void)snprintf(why, WHY_LEN, "the users cannot be read");
	json_decref(list);
	return NULL;
}

static json_t *
room_add(struct store *s, const json_t *args, const char *by, char *why)
{
	const char *name = text(args, "name");
	const char *privacy = text(args, "privacy");
	const char *description = text(args, "description");
	enum store_privacy p = STORE_OPEN;
	struct buf uri;
	json_t *result = NULL;

	if (name == NULL) {
		(void)snprintf(why, WHY_LEN, "name is missing");
		return NULL;
	}
	if (privacy != NULL && !store_privacy_of(view_text(privacy), &p)) {
		(void)snprintf(
		    why, WHY_LEN, "privacy is open, closed or secret");
		return NULL;
	}
	buf_init(&uri);
	if (store_room_add(s, name, text(args, "guid"), p,
		description != NULL ? description : "", by, &uri, why,
		WHY_LEN) == 0)
		result =
		    recorded_later(json_pack("{s:s}", "uri", buf_text(&uri)));
	buf_release(&uri);
	return result;
}

static void
list_room(void *arg, const struct store_room *r, unsigned members)
{
	(void)json_array_append_new(arg,
	    json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "uri", r->uri, "guid",
		r->guid, "name", r->name, "description", r->description,
		"privacy", store_privacy_name(r->privacy), "members",
		(int)members));
}

static json_t *
room_list(struct store *s, const json_t *args, const char *by, char *why)
{
	json_t *list = json_array();

	(void)args;
	(void)by;
	if (store_rooms(s, list_room, list) == 0)
		return list;
	(void)snprintf(why, WHY_LEN, "the rooms cannot be read");
	json_decref(list);
	return NULL;
}

static json_t *
member_add(struct store *s, const json_t *args, const char *by, char *why)
{
	const char *room = text(args, "room");
	const char *user = text(args, "user");

	if (room == NULL || user == NULL) {
		(void)snprintf(why, WHY_LEN, "room and user are needed");
		return NULL;
	}
	if (store_member_add(s, room, user, by, why, WHY_LEN) != 0)
		return NULL;
	return recorded_later(json_object());
}

static const struct {
	const char *name;
	json_t *(*run)(
	    struct store *s, const json_t *args, const char *by, char *why);
} commands[] = {
    {"user.add", user_add},
    {"user.list", user_list},
    {"room.add", room_add},
    {"room.list", room_list},
    {"room.member.add", member_add},
};

json_t *
admin_offline(
    struct store *s, const char *command, const json_t *args, const char *by)
{
	char why[WHY_LEN] = "out of memory";

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		json_t *result;

		if (strcmp(commands[i].name, command) != 0)
			continue;
		result = commands[i].run(s, args, by, why);
		if (result == NULL)
			return json_pack("{s:b,s:s}", "ok", 0, "error", why);
		return json_pack("{s:b,s:o}", "ok", 1, "result", result);
	}
	return json_pack("{s:b,s:b,s:s}", "ok", 0, "system", 1, "error",
	    "chanceryd is not running");
}
