#include "compliance/command_purge.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/conf.h"
#include "base/db.h"
#include "base/text.h"

#include "compliance/engine_state.h"
#include "compliance/hold.h"
#include "compliance/leaf.h"
#include "compliance/survey.h"

#define RANGES_SHOWN 1000
#define KNOWN_MS 5000 /* for the server to tell whether it knows a user */
#define SURVEYS_MAX 4 /* at a time */

/* A request that the keeper works on. */
struct wait {
	struct engine *engine;
	struct control_request *request;
	bool hold;      /* its number is to be told */
	char *user;     /* of a hold, or NULL */
	json_t *result; /* waits for what the server knows of the user */
};

static void
set(json_t *object, const char *name, json_t *value)
{
	/* Out of memory leaves the member out; the dump then tells. */
	(void)json_object_set_new(object, name, value);
}

static uint64_t
hold_of(struct engine *e, uint64_t seq)
{
	sqlite3 *db = ledger_db(e->ledger);
	sqlite3_stmt *s = db == NULL
	    ? NULL
	    : db_prepare(db, "SELECT n FROM hold WHERE seq = ?");
	uint64_t n = 0;

	if (s == NULL)
		return 0;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	if (db_step(s) == SQLITE_ROW)
		n = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* n tells */
	return n;
}

static void
warn(json_t *result, const char *user, const char *what, const char *why)
{
	set(result, "warning",
	    json_sprintf("the user %s %s%s: the hold is placed and keeps what "
			 "names this user; \"chancery user list\" tells who "
			 "there is",
		user, what, why));
}

static void
on_known(void *arg, struct view text, const char *why)
{
	struct wait *w = arg;
	json_t *reply = why != NULL ? NULL
				    : json_loadb((const char *)text.p, text.n,
					  JSON_REJECT_DUPLICATES, NULL);
	const json_t *known =
	    json_object_get(json_object_get(reply, "result"), "known");

	if (json_is_false(known))
		warn(w->result, w->user, "is not known", "");
	else if (!json_is_true(known))
		warn(w->result, w->user, "could not be looked for: ",
		    why != NULL ? why : "the server's answer is malformed");
	control_reply(w->request, w->result);
	json_decref(reply);
	free(w->user);
	free(w);
}

/* A person may be gone by now: what names them is held all the same. */
static void
look_for_user(struct wait *w)
{
	json_t *request = json_pack("{s:s,s:{s:s},s:s}", "cmd", "user.known",
	    "args", "uri", w->user, "by", "engine");
	char *text = json_dumps(request, JSON_COMPACT);

	json_decref(request);
	if (text == NULL)
		on_known(w, view_of(NULL, 0), "out of memory");
	else
		server_link_ask(
		    w->engine->server, view_text(text), KNOWN_MS, on_known, w);
	free(text);
}

static void
on_recorded(void *arg, enum keeper_answer a, struct view why)
{
	struct wait *w = arg;
	uint64_t seq = keeper_link_seq(w->engine->keeper);
	json_t *o;

	switch (a) {
	case KEEPER_RECORDED:
		o = json_pack("{s:I}", "seq", (json_int_t)seq);
		if (w->hold)
			set(o, "hold",
			    json_integer((json_int_t)hold_of(w->engine, seq)));
		purger_kick(w->engine->purger);
		if (w->user != NULL) {
			w->result = o;
			look_for_user(w);
			return;
		}
		control_reply(w->request, o);
		break;
	case KEEPER_REFUSED:
		control_reply_error(
		    w->request, "%.*s", (int)why.n, (const char *)why.p);
		break;
	case KEEPER_LOST:
		control_reply_failure(w->request,
		    "the keeper ended; whether it was recorded, the journal "
		    "tells");
		break;
	}
	free(w->user);
	free(w);
}

static struct wait *
new_wait(struct engine *e, struct control_request *r, bool hold)
{
	struct wait *w = calloc(1, sizeof *w);

	if (w == NULL) {
		control_reply_failure(r, "out of memory");
		return NULL;
	}
	*w = (struct wait){.engine = e, .request = r, .hold = hold};
	return w;
}

/* Answers a request that never reached the keeper. */
static void
not_sent(struct wait *w)
{
	control_reply_failure(w->request, "the keeper is not running");
	free(w->user);
	free(w);
}

/* ---- holds ---- */

/*
 * What a hold names must be what envelopes have: a name that fits no record
 * would keep nothing, and nobody would see that. False: r was answered.
 */
static bool
get_room(const struct engine *e, struct control_request *r, const json_t *args,
    struct buf *out)
{
	const char *text = json_string_value(json_object_get(args, "room"));
	char *uri;

	if (text == NULL)
		return true;
	uri = conf_room_uri(e->conf, text);
	if (uri == NULL) {
		control_reply_error(r,
		    "room: %s: neither the URI of a room of this domain nor "
		    "the identifier at its end; \"chancery room list\" tells "
		    "them",
		    text);
		return false;
	}
	buf_put_text(out, uri);
	free(uri);
	return true;
}

static bool
get_user(const struct engine *e, struct control_request *r, const json_t *args,
    struct buf *out)
{
	const char *text = json_string_value(json_object_get(args, "user"));
	const char *name, *at;

	if (text == NULL)
		return true;
	name = strncasecmp(text, "sip:", 4) == 0 ? text + 4 : text;
	at = strchr(name, '@');
	if (at == name || name[0] == '\0' || strpbrk(name, ": \t") != NULL ||
	    (at != NULL && strcasecmp(at + 1, e->conf->domain) != 0)) {
		control_reply_error(r,
		    "user: %s: neither the URI of a user of this domain nor "
		    "the part before its @",
		    text);
		return false;
	}
	buf_printf(out, "sip:%s", name);
	if (at == NULL)
		buf_printf(out, "@%s", e->conf->domain);
	return true;
}

/* A time of the arguments, 0 when there is none. False: r was answered. */
static bool
get_time(struct control_request *r, const json_t *args, const char *name,
    uint64_t *out)
{
	const char *text = json_string_value(json_object_get(args, name));

	*out = 0;
	if (text == NULL || (text_get_time(view_text(text), out) && *out > 0))
		return true;
	control_reply_error(r, "%s: %s: not a time (RFC 3339)", name, text);
	return false;
}

static void
place_hold(struct engine *e, struct control_request *r, const char *matter,
    const struct hold_selector *s)
{
	struct wait *w;
	struct buf text;

	if (s->until > 0 && s->until <= s->from) {
		control_reply_error(r, "until: is not after from");
		return;
	}
	buf_init(&text);
	hold_put_selector(&text, s);
	w = new_wait(e, r, true);
	if (w != NULL && s->user.n > 0)
		w->user = view_dup(s->user);
	if (w != NULL &&
	    !keeper_link_hold(e->keeper, (uint32_t)control_request_uid(r),
		view_text(matter), buf_view(&text), on_recorded, w))
		not_sent(w);
	buf_release(&text);
}

void
command_hold_add(
    struct engine *e, struct control_request *r, const json_t *args)
{
	const char *matter = json_string_value(json_object_get(args, "matter"));
	struct hold_selector s = {0};
	struct buf room, user;

	buf_init(&room);
	buf_init(&user);
	if (matter == NULL) {
		control_reply_error(r, "matter: must be a string");
	} else if (get_room(e, r, args, &room) && get_user(e, r, args, &user) &&
	    get_time(r, args, "from", &s.from) &&
	    get_time(r, args, "until", &s.until)) {
		s.room = buf_view(&room);
		s.user = buf_view(&user);
		place_hold(e, r, matter, &s);
	}
	buf_release(&user);
	buf_release(&room);
}

void
command_hold_release(
    struct engine *e, struct control_request *r, const json_t *args)
{
	const json_t *n = json_object_get(args, "hold");
	struct wait *w;

	if (!json_is_integer(n) || json_integer_value(n) < 1) {
		control_reply_error(r, "hold: must be the number of a hold");
		return;
	}
	w = new_wait(e, r, false);
	if (w != NULL &&
	    !keeper_link_release(e->keeper, (uint32_t)control_request_uid(r),
		(uint64_t)json_integer_value(n), on_recorded, w))
		not_sent(w);
}

/* A field of a control record's leaf, decoded; null when it is not there. */
static json_t *
leaf_text(sqlite3_stmt *s, int column, const char *name)
{
	const char *why;
	struct leaf leaf;
	struct buf b;
	struct view v;
	json_t *text = json_null();

	buf_init(&b);
	if (sqlite3_column_type(s, column) != SQLITE_NULL &&
	    leaf_parse(view_of(sqlite3_column_blob(s, column),
			   (size_t)sqlite3_column_bytes(s, column)),
		&leaf, &why) &&
	    leaf_field(leaf.fields, name, &v) && text_get_token(v, &b))
		text = json_stringn((const char *)b.data, b.len);
	buf_release(&b);
	return text;
}

static json_t *
hold_row(sqlite3_stmt *s)
{
	const char *selector = (const char *)sqlite3_column_text(s, 2);
	/* Without one, as after a recovery, it keeps everything. */
	json_t *o =
	    selector == NULL ? json_object() : json_loads(selector, 0, NULL);

	(void)json_object_del(o, "v"); /* not of interest */
	if (json_object_get(o, "from") != NULL)
		set(o, "from",
		    control_time((uint64_t)sqlite3_column_int64(s, 3)));
	if (json_object_get(o, "until") != NULL)
		set(o, "until",
		    control_time((uint64_t)sqlite3_column_int64(s, 4)));
	set(o, "hold", json_integer(sqlite3_column_int64(s, 0)));
	set(o, "seq", json_integer(sqlite3_column_int64(s, 1)));
	set(o, "matter", leaf_text(s, 5, "matter"));
	set(o, "by", leaf_text(s, 5, "by"));
	set(o, "at", control_time((uint64_t)sqlite3_column_int64(s, 6)));
	set(o, "released", control_time((uint64_t)sqlite3_column_int64(s, 8)));
	set(o, "released_by", leaf_text(s, 7, "by"));
	return o;
}

void
command_hold_list(
    struct engine *e, struct control_request *r, const json_t *args)
{
	sqlite3 *db = ledger_db(e->ledger);
	sqlite3_stmt *s = db == NULL
	    ? NULL
	    : db_prepare(db,
		  "SELECT h.n, h.seq, h.selector, h.since, h.until, l.bytes,"
		  " l.at, m.bytes, m.at FROM hold h JOIN leaf l"
		  " ON l.seq = h.seq LEFT JOIN leaf m ON m.seq = h.released"
		  " ORDER BY h.n");
	json_t *list = json_array();
	int step = SQLITE_ERROR;

	(void)args;
	while (s != NULL && (step = db_step(s)) == SQLITE_ROW)
		(void)json_array_append_new(list, hold_row(s));
	(void)sqlite3_finalize(s); /* repeats the step's result */
	if (step == SQLITE_DONE) {
		control_reply(r, list);
		return;
	}
	json_decref(list);
	control_reply_failure(r, ledger_error(e->ledger));
}

/* ---- purges ---- */

void
command_purge_approve(
    struct engine *e, struct control_request *r, const json_t *args)
{
	const json_t *seq = json_object_get(args, "below");
	uint64_t below = 0, before;
	struct wait *w;

	if (!get_time(r, args, "before", &before))
		return;
	if (json_is_integer(seq) && json_integer_value(seq) > 0)
		below = (uint64_t)json_integer_value(seq);
	else if (before > 0)
		below = scan_find_time(e->scan, before);
	if (below == 0) {
		control_reply_error(r, "there are no records before");
		return;
	}
	w = new_wait(e, r, false);
	if (w != NULL &&
	    !keeper_link_approve(e->keeper, (uint32_t)control_request_uid(r),
		below, on_recorded, w))
		not_sent(w);
}

static void
on_purged(void *arg, uint64_t purges, uint64_t records, const char *failure)
{
	struct control_request *r = arg;
	json_t *o;

	if (failure != NULL && purges == 0) {
		control_reply_error(r, "%s", failure);
		return;
	}
	o = json_pack("{s:I,s:I}", "purges", (json_int_t)purges, "records",
	    (json_int_t)records);
	if (failure != NULL)
		set(o, "warning", json_string(failure));
	control_reply(r, o);
}

void
command_purge_now(
    struct engine *e, struct control_request *r, const json_t *args)
{
	(void)args;
	purger_run(e->purger, on_purged, r);
}

static json_t *
group_json(const struct survey_group *g)
{
	return json_pack("{s:s?,s:s,s:I,s:I,s:I,s:I}", "reason", g->reason,
	    "detail", g->detail, "records", (json_int_t)g->records, "bytes",
	    (json_int_t)g->bytes, "first", (json_int_t)g->first, "last",
	    (json_int_t)g->last);
}

static void
on_surveyed(void *arg, const struct survey_result *result, const char *failure)
{
	struct wait *w = arg;
	struct control_request *r = w->request;
	json_t *goes = NULL, *stays = json_array(), *ranges;
	size_t shown;
	struct buf text;

	w->engine->surveys--;
	free(w);
	if (result == NULL) {
		json_decref(stays);
		control_reply_failure(r, failure);
		return;
	}
	for (size_t i = 0; i < result->groups; i++) {
		if (result->group[i].reason == NULL)
			goes = group_json(&result->group[i]);
		else
			(void)json_array_append_new(
			    stays, group_json(&result->group[i]));
	}
	if (goes == NULL)
		goes = json_pack("{s:i,s:i}", "records", 0, "bytes", 0);
	(void)json_object_del(goes, "reason"); /* they have none */
	(void)json_object_del(goes, "detail");
	shown = result->ranges < RANGES_SHOWN ? result->ranges : RANGES_SHOWN;
	buf_init(&text);
	ranges_put(&text, result->range, shown);
	ranges = json_stringn((const char *)text.data, text.len);
	buf_release(&text);
	set(goes, "ranges", ranges);
	set(goes, "more", json_boolean(result->more || shown < result->ranges));
	control_reply(r, json_pack("{s:o,s:o}", "goes", goes, "stays", stays));
}

void
command_purge_dry(
    struct engine *e, struct control_request *r, const json_t *args)
{
	struct wait *w;

	(void)args;
	if (e->surveys == SURVEYS_MAX) {
		control_reply_error(
		    r, "%d dry runs are under way: try later", SURVEYS_MAX);
		return;
	}
	w = new_wait(e, r, false);
	if (w == NULL)
		return;
	e->surveys++;
	survey_start(&e->loop, e->conf, e->journal, on_surveyed, w);
}
