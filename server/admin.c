#include "server/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/ipc.h"
#include "base/log.h"
#include "compliance/wire.h"
#include "server/chat.h"
#include "server/store_chat.h"

#define WHY_MAX (WIRE_WHY_LEN + 128)
#define REPLY_MAX (IPC_FRAME_MAX - 64)

struct admin {
	uv_loop_t *loop;
	struct store *store;
	struct chat *chat;
	struct ipc *link;
	unsigned links; /* so far: a reply goes where its request came from */
	struct admin_job *jobs;
	void (*add_status)(void *arg, json_t *result);
	void *status_arg;
	void (*lost)(void *arg);
	void *lost_arg;
};

/* A change that waits for the journal. */
struct admin_job {
	struct admin_job *next;
	struct admin *admin;
	uint64_t ref;
	unsigned link;
	json_t *result;
};

struct request_args {
	const json_t *args;
	const char *by;
	char *why; /* WHY_MAX bytes */
};

static void
reply(struct admin *a, uint64_t ref, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	struct buf *b;

	if (text != NULL && strlen(text) > REPLY_MAX) {
		free(text);
		text = strdup("{\"ok\":false,\"error\":"
			      "\"the list is too long for one reply\"}");
	}
	if (text == NULL)
		log_error("out of memory for a reply to an administrator");
	else if (a->link != NULL) {
		b = ipc_begin(a->link, WIRE_JSON);
		buf_put_u64(b, ref);
		buf_put_text(b, text);
		ipc_end(a->link);
	}
	free(text);
	json_decref(body);
}

static void
reply_error(struct admin *a, uint64_t ref, const char *why)
{
	json_t *error = json_string(why);

	/* A long text may have been cut within a character. */
	if (error == NULL)
		error = json_string("the request was refused");
	reply(a, ref, json_pack("{s:b,s:o}", "ok", 0, "error", error));
}

/* Takes result over. */
static void
reply_result(struct admin *a, uint64_t ref, json_t *result)
{
	reply(a, ref, json_pack("{s:b,s:o}", "ok", 1, "result", result));
}

/* "" when it is not given; NULL and why when it is no text. */
static const char *
text_arg(const struct request_args *r, const char *key, bool required)
{
	const json_t *v = json_object_get(r->args, key);

	if (json_is_string(v))
		return json_string_value(v);
	if (v == NULL && !required)
		return "";
	(void)snprintf(
	    r->why, WHY_MAX, "args: \"%s\" must be given as text", key);
	return NULL;
}

static json_t *
user_add(struct admin *a, const struct request_args *r)
{
	const char *uri = text_arg(r, "uri", true);
	const char *name = uri != NULL ? text_arg(r, "name", false) : NULL;
	const char *password =
	    name != NULL ? text_arg(r, "password", false) : NULL;

	if (password == NULL)
		return NULL;
	if (json_object_get(r->args, "password") == NULL)
		password = NULL;
	if (store_user_add(
		a->store, uri, name, password, r->by, r->why, WHY_MAX) != 0)
		return NULL;
	return json_pack("{s:s}", "uri", uri);
}

static json_t *
room_add(struct admin *a, const struct request_args *r)
{
	const char *name = text_arg(r, "name", true);
	const char *description =
	    name != NULL ? text_arg(r, "description", false) : NULL;
	const char *guid =
	    description != NULL ? text_arg(r, "guid", false) : NULL;
	const char *word = guid != NULL ? text_arg(r, "privacy", false) : NULL;
	enum store_privacy privacy = STORE_OPEN;
	struct buf uri = {0};
	json_t *result = NULL;

	if (word == NULL)
		return NULL;
	if (*word != '\0' && !store_privacy_of(view_text(word), &privacy)) {
		(void)snprintf(
		    r->why, WHY_MAX, "privacy must be open, closed or secret");
		return NULL;
	}
	if (store_room_add(a->store, name, *guid != '\0' ? guid : NULL, privacy,
		description, r->by, &uri, r->why, WHY_MAX) == 0)
		result =
		    json_pack("{s:s%}", "uri", (const char *)uri.data, uri.len);
	buf_release(&uri);
	return result;
}

static json_t *
member_add(struct admin *a, const struct request_args *r)
{
	const char *room = text_arg(r, "room", true);
	const char *user = room != NULL ? text_arg(r, "user", true) : NULL;

	if (user == NULL ||
	    store_member_add(a->store, room, user, r->by, r->why, WHY_MAX) != 0)
		return NULL;
	return json_object();
}

static void
list_user(void *arg, const struct store_user *u)
{
	json_t *row = json_pack("{s:s,s:s,s:b}", "uri", u->uri, "name", u->name,
	    "password", u->has_password);

	if (json_array_append_new(arg, row) != 0)
		log_error("out of memory for a list of users");
}

static json_t *
user_list(struct admin *a, const struct request_args *r)
{
	json_t *list = json_array();

	(void)r;
	if (store_users(a->store, list_user, list) == 0)
		return list;
	(void)snprintf(r->why, WHY_MAX, "chat.db cannot be read");
	json_decref(list);
	return NULL;
}

static json_t *
user_known(struct admin *a, const struct request_args *r)
{
	const char *uri = text_arg(r, "uri", true);
	struct store_user u;
	bool known;

	if (uri == NULL)
		return NULL;
	known = store_user_get(a->store, uri, &u);
	if (known)
		store_user_release(&u);
	return json_pack("{s:b}", "known", known);
}

static void
list_room(void *arg, const struct store_room *r, unsigned members)
{
	json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "uri", r->uri,
	    "guid", r->guid, "name", r->name, "description", r->description,
	    "privacy", store_privacy_name(r->privacy), "members", (int)members);

	if (json_array_append_new(arg, row) != 0)
		log_error("out of memory for a list of rooms");
}

static json_t *
room_list(struct admin *a, const struct request_args *r)
{
	json_t *list = json_array();

	if (store_rooms(a->store, list_room, list) == 0)
		return list;
	(void)snprintf(r->why, WHY_MAX, "chat.db cannot be read");
	json_decref(list);
	return NULL;
}

static json_t *
status(struct admin *a, const struct request_args *r)
{
	struct chat_counters n;
	json_t *o;

	(void)r;
	chat_counters(a->chat, &n);
	o = json_pack("{s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
	    "writable", n.writable, "why", n.why, "applied",
	    (json_int_t)n.applied, "endpoints", (json_int_t)n.endpoints,
	    "joined", (json_int_t)n.joined, "rooms_loaded", (json_int_t)n.rooms,
	    "inflight", (json_int_t)n.inflight, "waiting",
	    (json_int_t)n.waiting, "late", (json_int_t)n.late, "posts",
	    (json_int_t)n.posts, "copies", (json_int_t)n.copies,
	    "refused_posts", (json_int_t)n.refused_posts);
	if (o != NULL && a->add_status != NULL)
		a->add_status(a->status_arg, o);
	return o;
}

static const struct {
	const char *cmd;
	json_t *(*run)(struct admin *a, const struct request_args *r);
	bool changes;
} commands[] = {
    {"user.add", user_add, true},
    {"user.known", user_known, false},
    {"user.list", user_list, false},
    {"room.add", room_add, true},
    {"room.list", room_list, false},
    {"room.member.add", member_add, true},
    {"status.server", status, false},
};

static void
on_recorded(void *arg, const char *why)
{
	struct admin_job *job = arg, **at = &job->admin->jobs;
	char warning[WHY_MAX];
	int failed;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	failed = json_object_set_new(
	    job->result, "recorded", json_boolean(why == NULL));
	if (why != NULL) {
		(void)snprintf(warning, sizeof warning,
		    "the change is stored but not yet in the journal (%s);"
		    " it is recorded as soon as that is possible",
		    why);
		failed |= json_object_set_new(
		    job->result, "warning", json_string(warning));
	}
	if (failed != 0)
		log_error("out of memory for a reply to an administrator");
	if (job->link == job->admin->links)
		reply_result(job->admin, job->ref, job->result);
	else
		json_decref(job->result);
	free(job);
}

/* Takes result over; the reply waits for the journal. */
static void
record_change(struct admin *a, uint64_t ref, json_t *result)
{
	struct admin_job *job = calloc(1, sizeof *job);

	if (job == NULL)
		log_fatal("out of memory for administration");
	job->admin = a;
	job->ref = ref;
	job->link = a->links;
	job->result = result;
	job->next = a->jobs;
	a->jobs = job;
	chat_submit_pending(a->chat, on_recorded, job);
}

static void
run(struct admin *a, uint64_t ref, const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));
	char why[WHY_MAX] = "out of memory";
	const struct request_args r = {
	    .args = json_object_get(request, "args"),
	    .by = json_string_value(json_object_get(request, "by")),
	    .why = why,
	};
	json_t *result;

	if (cmd == NULL || r.by == NULL) {
		reply_error(a, ref, "the request lacks \"cmd\" or \"by\"");
		return;
	}
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(cmd, commands[i].cmd) != 0)
			continue;
		result = commands[i].run(a, &r);
		if (result == NULL)
			reply_error(a, ref, why);
		else if (commands[i].changes)
			record_change(a, ref, result);
		else
			reply_result(a, ref, result);
		return;
	}
	reply_error(a, ref, "the server does not know this command");
}

static void
lose_link(struct admin *a)
{
	ipc_free(a->link);
	a->link = NULL;
	if (a->lost != NULL)
		a->lost(a->lost_arg);
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct admin *a = arg;
	struct reader in = reader_of(payload);
	uint64_t ref = reader_u64(&in);
	struct view text = reader_rest(&in);
	json_t *request;

	if (fd >= 0)
		close(fd);
	if (type != WIRE_JSON || in.failed) {
		log_error("engine broke the protocol, frame %u", type);
		lose_link(a);
		return;
	}
	request = json_loadb(
	    (const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	run(a, ref, request);
	json_decref(request);
}

static void
on_closed(void *arg, const char *why)
{
	struct admin *a = arg;

	log_warn("link to the engine lost: %s", why);
	lose_link(a);
}

struct admin *
admin_new(uv_loop_t *loop, struct store *store, struct chat *chat)
{
	struct admin *a = calloc(1, sizeof *a);

	if (a == NULL)
		return NULL;
	a->loop = loop;
	a->store = store;
	a->chat = chat;
	return a;
}

void
admin_on_status(
    struct admin *a, void (*add)(void *arg, json_t *result), void *arg)
{
	a->add_status = add;
	a->status_arg = arg;
}

void
admin_on_lost(struct admin *a, void (*lost)(void *arg), void *arg)
{
	a->lost = lost;
	a->lost_arg = arg;
}

void
admin_link(struct admin *a, int fd)
{
	if (a->link != NULL)
		ipc_free(a->link);
	a->links++;
	a->link = ipc_new(a->loop, fd, on_frame, on_closed, a);
	if (a->link == NULL)
		log_fatal("out of memory");
}

void
admin_free(struct admin *a)
{
	if (a == NULL)
		return;
	if (a->link != NULL)
		ipc_free(a->link);
	free(a);
}
