#include "server/store_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store_db.h"

bool
store_room_of_row(struct store *s, sqlite3_stmt *st, struct store_room *out)
{
	*out = (struct store_room){
	    .id = store_u64(st, 0),
	    .guid = strdup(store_text(st, 1)),
	    .name = strdup(store_text(st, 2)),
	    .description = strdup(store_text(st, 3)),
	    .privacy = (enum store_privacy)sqlite3_column_int(st, 4),
	};
	if (out->guid != NULL && out->name != NULL &&
	    out->description != NULL &&
	    asprintf(&out->uri, "ma-chan://%s/%s", s->domain, out->guid) >= 0)
		return true;
	out->uri = NULL;
	store_room_release(out);
	return false;
}

void
store_room_release(struct store_room *r)
{
	free(r->guid);
	free(r->uri);
	free(r->name);
	free(r->description);
	*r = (struct store_room){0};
}

bool
store_room_get(struct store *s, struct view guid, struct store_room *out)
{
	sqlite3_stmt *st = store_statement(s, STORE_GET_ROOM);
	bool found = false;
	int rc;

	s->misread = true;
	if (st == NULL)
		return false;
	store_bind_view(st, 1, guid);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && store_room_of_row(s, st, out)) {
		out->last_chat = store_u64(st, 5);
		found = true;
	}
	s->misread = !found && rc != SQLITE_DONE;
	(void)sqlite3_reset(st);
	return found;
}

bool
store_is_member(struct store *s, uint64_t room, const char *user)
{
	sqlite3_stmt *st = store_statement(s, STORE_IS_MEMBER);
	bool found;

	if (st == NULL)
		return false;
	store_bind_u64(st, 1, room);
	store_bind_text(st, 2, user);
	found = sqlite3_step(st) == SQLITE_ROW;
	(void)sqlite3_reset(st);
	return found;
}

void
store_put_post(
    struct store *s, uint64_t seq, uint64_t room, const struct store_message *m)
{
	sqlite3_stmt *st;

	if (store_begin(s) != 0)
		return;
	st = store_statement(s, STORE_ADD_POST);
	if (st != NULL) {
		store_bind_u64(st, 1, seq);
		store_bind_u64(st, 2, room);
		store_bind_u64(st, 3, m->chat);
		store_bind_u64(st, 4, m->at);
		store_bind_text(st, 5, m->author);
		store_bind_view(st, 6, m->text);
	}
	(void)store_write(s, st); /* remembered in the store */
}

int
store_history(struct store *s, uint64_t room, uint64_t count,
    store_message_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_GET_HISTORY);
	struct store_message m;
	int rc = SQLITE_ERROR;

	if (st == NULL)
		return -1;
	store_bind_u64(st, 1, room);
	store_bind_u64(st, 2, count);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		m.chat = store_u64(st, 0);
		m.at = store_u64(st, 1);
		m.author = store_text(st, 2);
		m.text.p = sqlite3_column_blob(st, 3);
		m.text.n = (size_t)sqlite3_column_bytes(st, 3);
		cb(arg, &m);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
each_room(struct store *s, sqlite3_stmt *st, store_room_cb *cb, void *arg)
{
	struct store_room r;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (!store_room_of_row(s, st, &r))
			break;
		cb(arg, &r, 0);
		store_room_release(&r);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
store_search(struct store *s, struct view criteria, bool extended,
    const char *user, unsigned limit, store_room_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_SEARCH_ROOMS);
	struct buf key = {0};
	int result = -1;

	if (st == NULL)
		return -1;
	store_fold(&key, criteria);
	if (!key.failed) {
		store_bind_view(st, 1, buf_view(&key));
		store_bind_u64(st, 2, extended);
		store_bind_text(st, 3, user);
		store_bind_u64(st, 4, limit);
		result = each_room(s, st, cb, arg);
	}
	buf_release(&key);
	return result;
}

int
store_rooms_of(struct store *s, const char *user, unsigned limit,
    store_room_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_ROOMS_OF);

	if (st == NULL)
		return -1;
	store_bind_text(st, 1, user);
	store_bind_u64(st, 2, limit);
	return each_room(s, st, cb, arg);
}

void
store_put_joined(struct store *s, uint64_t seq, uint64_t room, const char *user,
    const char *name, const char *device)
{
	sqlite3_stmt *st;

	if (store_begin(s) != 0)
		return;
	st = store_statement(s, STORE_ADD_JOINED);
	if (st != NULL) {
		store_bind_u64(st, 1, seq);
		store_bind_u64(st, 2, room);
		store_bind_text(st, 3, user);
		store_bind_text(st, 4, name);
		store_bind_text(st, 5, device);
	}
	(void)store_write(s, st); /* remembered in the store */
}

static void
drop(struct store *s, enum store_statement which, uint64_t id)
{
	sqlite3_stmt *st;

	if (store_begin(s) != 0)
		return;
	st = store_statement(s, which);
	if (st != NULL)
		store_bind_u64(st, 1, id);
	(void)store_write(s, st); /* remembered in the store */
}

void
store_drop_joined(struct store *s, uint64_t seq)
{
	drop(s, STORE_DROP_JOINED, seq);
}

int
store_each_joined(struct store *s, store_joined_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_LIST_JOINED);
	int rc = SQLITE_ERROR;
	char *uri;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (asprintf(&uri, "ma-chan://%s/%s", s->domain,
			store_text(st, 1)) < 0)
			break;
		const struct store_joined j = {
		    .seq = store_u64(st, 0),
		    .room_uri = uri,
		    .room_name = store_text(st, 2),
		    .user = store_text(st, 3),
		    .name = store_text(st, 4),
		    .device = store_text(st, 5),
		};
		cb(arg, &j);
		free(uri);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
store_each_pending(struct store *s, store_pending_cb *cb, void *arg)
{
	sqlite3_stmt *st = store_statement(s, STORE_LIST_PENDING);
	struct store_pending p;
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		p.id = store_u64(st, 0);
		p.kind = (unsigned)sqlite3_column_int(st, 1);
		p.envelope = view_text(store_text(st, 2));
		cb(arg, &p);
	}
	(void)sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

void
store_drop_pending(struct store *s, uint64_t id)
{
	drop(s, STORE_DROP_PENDING, id);
}

uint64_t
store_find_pending(struct store *s, uint32_t boot, uint64_t number)
{
	sqlite3_stmt *st = store_statement(s, STORE_FIND_PENDING);
	uint64_t id = 0;

	if (st == NULL || number > INT64_MAX)
		return 0;
	store_bind_u64(st, 1, boot);
	store_bind_u64(st, 2, number);
	if (sqlite3_step(st) == SQLITE_ROW)
		id = store_u64(st, 0);
	(void)sqlite3_reset(st);
	return id;
}
