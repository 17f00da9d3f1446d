#include "server/room.h"

#include <stdlib.h>
#include <string.h>

#define GUID_LEN 36
#define NO_SLOT UINT32_MAX
#define SCHEME "ma-chan://"

void
room_table_init(struct room_table *t, struct store *store)
{
	*t = (struct room_table){.store = store};
	lookup_init(&t->rooms);
	lookup_init(&t->members);
	ring_init(&t->endpoints);
}

void
room_table_release(struct room_table *t)
{
	lookup_release(&t->rooms);
	lookup_release(&t->members);
}

struct endpoint *
endpoint_new(struct room_table *t, const char *user, const char *name,
    const char *device)
{
	size_t user_len = strlen(user) + 1, name_len = strlen(name) + 1,
	       device_len = strlen(device) + 1;
	struct endpoint *e;

	if (user_len + name_len > UINT16_MAX)
		return NULL;
	e = calloc(1, sizeof *e + user_len + name_len + device_len);
	if (e == NULL)
		return NULL;
	e->refs = 1;
	e->end = SESSION_LOST;
	e->name_at = (uint16_t)user_len;
	e->device_at = (uint16_t)(user_len + name_len);
	memcpy(e->user, user, user_len);
	memcpy(e->user + e->name_at, name, name_len);
	memcpy(e->user + e->device_at, device, device_len);
	ring_append(&t->endpoints, &e->ring);
	t->endpoint_count++;
	return e;
}

const char *
endpoint_name(const struct endpoint *e)
{
	return e->user + e->name_at;
}

const char *
endpoint_device(const struct endpoint *e)
{
	return e->user + e->device_at;
}

void
endpoint_drop(struct room_table *t, struct endpoint *e)
{
	if (--e->refs > 0)
		return;
	ring_remove(&e->ring);
	t->endpoint_count--;
	free(e);
}

bool
room_guid_of(const struct room_table *t, struct view domain, struct view value,
    char guid[37])
{
	if (value.n != GUID_LEN ||
	    !view_is_nocase(domain, store_domain(t->store)))
		return false;
	for (size_t i = 0; i < GUID_LEN; i++) {
		uint8_t c = value.p[i];

		if (c >= 'A' && c <= 'F')
			c = (uint8_t)(c - 'A' + 'a');
		if (c != '-' && !(c >= '0' && c <= '9') &&
		    !(c >= 'a' && c <= 'f'))
			return false;
		guid[i] = (char)c;
	}
	guid[GUID_LEN] = '\0';
	return true;
}

bool
room_guid(const struct room_table *t, struct view uri, char guid[37])
{
	const size_t scheme = strlen(SCHEME);
	const uint8_t *slash;
	struct view rest;

	if (uri.n <= scheme || !view_is_nocase(view_of(uri.p, scheme), SCHEME))
		return false;
	rest = view_of(uri.p + scheme, uri.n - scheme);
	slash = memchr(rest.p, '/', rest.n);
	if (slash == NULL)
		return false;
	return room_guid_of(t, view_of(rest.p, (size_t)(slash - rest.p)),
	    view_of(slash + 1, (size_t)(rest.p + rest.n - slash - 1)), guid);
}

struct room *
room_find(const struct room_table *t, const char *guid)
{
	struct lookup_node *n =
	    lookup_first(&t->rooms, lookup_hash(view_text(guid)));

	for (; n != NULL; n = lookup_next(n)) {
		struct room *r = LOOKUP_OF(n, struct room, node);

		if (strcmp(r->info.guid, guid) == 0)
			return r;
	}
	return NULL;
}

struct room *
room_hold(struct room *r)
{
	r->refs++;
	return r;
}

struct room *
room_get(struct room_table *t, const char *guid)
{
	struct room *r = room_find(t, guid);

	if (r != NULL)
		return room_hold(r);
	r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	if (!store_room_get(t->store, view_text(guid), &r->info)) {
		free(r);
		return NULL;
	}
	if (!lookup_add(&t->rooms, &r->node, lookup_hash(view_text(guid)))) {
		store_room_release(&r->info);
		free(r);
		return NULL;
	}
	return room_hold(r);
}

void
room_drop(struct room_table *t, struct room *r)
{
	if (--r->refs > 0)
		return;
	lookup_remove(&t->rooms, &r->node);
	store_room_release(&r->info);
	free(r->members);
	free(r);
}

static uint64_t
member_hash(const struct room *r, const struct endpoint *e)
{
	const void *key[2] = {r, e};

	return lookup_hash(view_of(key, sizeof key));
}

struct member *
member_find(
    const struct room_table *t, const struct room *r, const struct endpoint *e)
{
	struct lookup_node *n = lookup_first(&t->members, member_hash(r, e));

	for (; n != NULL; n = lookup_next(n)) {
		struct member *m = LOOKUP_OF(n, struct member, node);

		if (m->room == r && m->endpoint == e)
			return m;
	}
	return NULL;
}

struct member *
member_new(struct room_table *t, struct room *r, struct endpoint *e)
{
	struct member *m = calloc(1, sizeof *m);

	if (m == NULL)
		return NULL;
	if (!lookup_add(&t->members, &m->node, member_hash(r, e))) {
		free(m);
		return NULL;
	}
	m->state = MEMBER_JOINING;
	m->slot = NO_SLOT;
	m->room = room_hold(r);
	m->endpoint = e;
	e->refs++;
	m->next = e->members;
	if (m->next != NULL)
		m->next->prev = m;
	e->members = m;
	return m;
}

bool
member_enter(struct room_table *t, struct member *m, uint64_t joined)
{
	struct room *r = m->room;

	if (r->count == r->cap) {
		uint32_t cap = r->cap == 0 ? 4 : r->cap + r->cap / 2;
		struct member **grown =
		    reallocarray(r->members, cap, sizeof *grown);

		if (grown == NULL)
			return false;
		r->members = grown;
		r->cap = cap;
	}
	m->slot = r->count;
	r->members[r->count++] = m;
	t->joined++;
	if (r->count > ROOM_LARGE)
		r->large = true;
	m->joined = joined;
	m->state = MEMBER_JOINED;
	m->more = NULL;
	return true;
}

void
member_leave(struct room_table *t, struct member *m)
{
	struct room *r = m->room;

	if (m->state == MEMBER_JOINED) {
		r->members[m->slot] = r->members[--r->count];
		r->members[m->slot]->slot = m->slot;
		m->slot = NO_SLOT;
		t->joined--;
		if (r->count < ROOM_LARGE_NO_MORE)
			r->large = false;
	} else {
		m->more = NULL;
	}
	lookup_remove(&t->members, &m->node);
	if (m->prev != NULL)
		m->prev->next = m->next;
	else
		m->endpoint->members = m->next;
	if (m->next != NULL)
		m->next->prev = m->prev;
	m->next = m->prev = NULL;
	m->state = MEMBER_LEFT;
}

void
member_settle(struct room_table *t, struct member *m)
{
	if (m->state != MEMBER_LEFT || m->outstanding > 0 || m->has_news)
		return;
	endpoint_drop(t, m->endpoint);
	room_drop(t, m->room);
	free(m);
}

bool
room_has_user(const struct room *r, const struct endpoint *e)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct endpoint *other = r->members[i]->endpoint;

		if (other != e && strcmp(other->user, e->user) == 0)
			return true;
	}
	return false;
}
