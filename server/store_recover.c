#include "server/store_recover.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/event.h"
#include "compliance/scan.h"
#include "server/payload.h"
#include "server/store_db.h"

struct cut {
	struct store *store;
	json_t *told; /* a set: what some record tells of */
	sqlite3_stmt *forget;
	const char *by;
	struct store_cut *out;
};

/* ---- what is told ---- */

/* "room URI", "member URI USER", "user URI"; NULL for all other kinds. */
static char *
name_of(unsigned kind, const char *room, const char *user)
{
	char *name = NULL;
	int n = -1;

	if (kind == EVENT_ROOM && room != NULL)
		n = asprintf(&name, "room %s", room);
	else if (kind == EVENT_MEMBER && room != NULL && user != NULL)
		n = asprintf(&name, "member %s %s", room, user);
	else if (kind == EVENT_USER && user != NULL)
		n = asprintf(&name, "user %s", user);
	return n >= 0 ? name : NULL;
}

static void
take_told(struct cut *c, unsigned kind, struct view envelope)
{
	json_t *o = json_loadb((const char *)envelope.p, envelope.n, 0, NULL);
	char *name =
	    name_of(kind, json_string_value(json_object_get(o, "room")),
		json_string_value(json_object_get(o, "user")));

	if (name != NULL)
		(void)json_object_set_new(c->told, name, json_true());
	free(name);
	json_decref(o);
}

static bool
is_told(const struct cut *c, unsigned kind, const char *room, const char *user)
{
	char *name = name_of(kind, room, user);
	bool told = name != NULL && json_object_get(c->told, name) != NULL;

	free(name);
	return told;
}

static void
on_pending(void *arg, const struct store_pending *p)
{
	take_told(arg, p->kind, p->envelope);
}

/* ---- messages ---- */

static int
forget(struct cut *c, uint64_t seq)
{
	int rc;

	(void)sqlite3_bind_int64(c->forget, 1, (sqlite3_int64)seq);
	rc = sqlite3_step(c->forget);
	(void)sqlite3_reset(c->forget); /* rc tells */
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Reads the journal through: 0, or -1. */
static int
follow(struct cut *c, struct scan *journal)
{
	struct scan_record r;
	int rc = scan_seek(journal, 0);

	while (rc == 0 && (rc = scan_next(journal, &r)) == 1) {
		rc = 0;
		if (r.kind < EVENT_CONTROL && !r.purged && r.parts > 0)
			take_told(c, r.kind, r.part[0].data);
		/* What was purged cannot be told again. */
		if (r.kind != EVENT_POST || !r.purged)
			rc = forget(c, r.seq);
	}
	return rc;
}

static int
run(struct cut *c, const char *sql)
{
	return db_exec(c->store->db, sql);
}

static int
forget_rest(struct cut *c, uint64_t size)
{
	char sql[96];

	(void)snprintf(
	    sql, sizeof sql, "DELETE FROM message WHERE seq >= %" PRIu64, size);
	if (run(c, sql) != 0)
		return -1;
	c->out->messages = (uint64_t)sqlite3_changes(c->store->db);
	return run(c, "DELETE FROM joined");
}

/* ---- rooms, members and users ---- */

static int
again(struct cut *c, unsigned kind, struct buf *tail)
{
	int r = tail->failed
	    ? -1
	    : store_add_pending(c->store, kind, buf_view(tail));

	buf_release(tail);
	c->out->again++;
	return r;
}

static int
users_again(struct cut *c)
{
	sqlite3_stmt *st =
	    db_prepare(c->store->db, "SELECT uri, name FROM user ORDER BY id");
	int r = st != NULL ? 0 : -1, rc = SQLITE_DONE;

	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct buf tail = {0};

		if (is_told(c, EVENT_USER, NULL, store_text(st, 0)))
			continue;
		payload_put_user(
		    &tail, store_text(st, 0), store_text(st, 1), c->by);
		r = again(c, EVENT_USER, &tail);
	}
	(void)sqlite3_finalize(st); /* rc tells */
	return r == 0 && rc == SQLITE_DONE ? 0 : -1;
}

static int
rooms_again(struct cut *c)
{
	sqlite3_stmt *st = db_prepare(c->store->db,
	    "SELECT id, guid, name, description, privacy FROM room"
	    " ORDER BY id");
	int r = st != NULL ? 0 : -1, rc = SQLITE_DONE;

	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct store_room room;
		struct buf tail = {0};

		if (!store_room_of_row(c->store, st, &room)) {
			r = -1;
			break;
		}
		if (!is_told(c, EVENT_ROOM, room.uri, NULL)) {
			const struct payload_room where = {room.uri, room.name};

			payload_put_room(&tail, &where,
			    store_privacy_name(room.privacy), room.description,
			    c->by);
			r = again(c, EVENT_ROOM, &tail);
		}
		store_room_release(&room);
	}
	(void)sqlite3_finalize(st); /* rc tells */
	return r == 0 && rc == SQLITE_DONE ? 0 : -1;
}

static int
members_again(struct cut *c)
{
	sqlite3_stmt *st = db_prepare(c->store->db,
	    "SELECT room.id, room.guid, room.name, room.description,"
	    " room.privacy, member.user FROM member JOIN room"
	    " ON room.id = member.room ORDER BY room.id, member.user");
	int r = st != NULL ? 0 : -1, rc = SQLITE_DONE;

	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *user = store_text(st, 5);
		struct store_room room;
		struct buf tail = {0};

		if (!store_room_of_row(c->store, st, &room)) {
			r = -1;
			break;
		}
		if (!is_told(c, EVENT_MEMBER, room.uri, user)) {
			const struct payload_room where = {room.uri, room.name};

			payload_put_member(&tail, &where, user, c->by);
			r = again(c, EVENT_MEMBER, &tail);
		}
		store_room_release(&room);
	}
	(void)sqlite3_finalize(st); /* rc tells */
	return r == 0 && rc == SQLITE_DONE ? 0 : -1;
}

int
store_cut_back(struct store *s, struct scan *journal, const char *by,
    struct store_cut *out, char *why, size_t why_len)
{
	struct cut c = {.store = s, .by = by, .out = out};
	int r = -1;

	*out = (struct store_cut){0};
	c.told = json_object();
	if (c.told != NULL && store_commit(s) == 0 && store_begin(s) == 0) {
		c.forget =
		    db_prepare(s->db, "DELETE FROM message WHERE seq = ?1");
		if (c.forget != NULL &&
		    store_each_pending(s, on_pending, &c) == 0 &&
		    follow(&c, journal) == 0 &&
		    forget_rest(&c, scan_size(journal)) == 0 &&
		    users_again(&c) == 0 && rooms_again(&c) == 0 &&
		    members_again(&c) == 0)
			r = 0;
		(void)sqlite3_finalize(c.forget); /* was seen */
	}
	if (r == 0) {
		store_set_applied(s, 0);
		r = store_commit_now(s);
	}
	if (r != 0)
		(void)snprintf(why, why_len,
		    "the chat store cannot be cut back: %s; journal: %s",
		    sqlite3_errmsg(s->db), scan_error(journal));
	json_decref(c.told);
	return r;
}
