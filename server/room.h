#ifndef SERVER_ROOM_H
#define SERVER_ROOM_H

/*
 * Who is where: endpoints (chat's side of a session), rooms in memory and
 * the members that join the two. Rooms are loaded when first needed and
 * forgotten when nobody holds them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/lookup.h"
#include "server/session.h"
#include "server/store_chat.h"

/* Above this many members joins and leaves are no longer told to others. */
#define ROOM_LARGE 75
#define ROOM_LARGE_NO_MORE (ROOM_LARGE * 80 / 100)

struct member;
struct room_runs;
struct room_waiter;

/* Held by its session, its members and what is under way for it. */
struct endpoint {
	struct ring ring;
	struct session *session; /* NULL once it is gone */
	struct member *members;  /* joining or joined */
	unsigned refs;
	enum session_end end;
	uint16_t name_at;
	uint16_t device_at;
	char user[]; /* three strings one after another */
};

enum member_state {
	MEMBER_JOINING, /* the join is being recorded */
	MEMBER_JOINED,
	MEMBER_LEFT, /* only its outcomes are awaited or to be recorded */
};

struct member {
	struct lookup_node node; /* joining or joined */
	struct room *room;
	struct endpoint *endpoint;
	struct member *next, *prev; /* of the endpoint */
	struct member *next_news;   /* of the room */
	uint64_t joined;            /* sequence number of the join */
	uint64_t run_first;         /* messages delivered and not recorded */
	uint32_t run_count;
	uint32_t slot;        /* in the room's array */
	uint32_t outstanding; /* copies whose outcome is awaited */
	uint8_t state;
	bool has_news;
	union {
		struct room_waiter *waiters; /* joining */
		struct room_runs *more;      /* joined or left */
	};
};

struct room {
	struct lookup_node node;
	struct store_room info;
	uint64_t given;   /* highest message number given out */
	unsigned posting; /* posts under way */
	unsigned refs;
	bool large;
	bool has_news;
	struct member **members; /* joined */
	uint32_t count;
	uint32_t cap;
	struct member *news;
	struct room *next_news;
};

struct room_table {
	struct store *store;
	struct lookup rooms;
	struct lookup members;
	struct ring endpoints;
	uint64_t joined; /* sum of the rooms' counts */
	uint64_t endpoint_count;
};

/* Empty; release is for when all rooms and endpoints are gone. */
void room_table_init(struct room_table *t, struct store *store);
void room_table_release(struct room_table *t);

/* NULL when out of memory. One reference is the caller's. */
struct endpoint *endpoint_new(struct room_table *t, const char *user,
    const char *name, const char *device);
/* As signed in; live as long as the endpoint. */
const char *endpoint_name(const struct endpoint *e);
const char *endpoint_device(const struct endpoint *e);
/* Gives a reference back. */
void endpoint_drop(struct room_table *t, struct endpoint *e);

/* The GUID of "ma-chan://domain/guid" in lower case; false: it is none. */
bool room_guid(const struct room_table *t, struct view uri, char guid[37]);
/* The same from the parts of a chanid. */
bool room_guid_of(const struct room_table *t, struct view domain,
    struct view value, char guid[37]);
/* A room in memory, without a reference for the caller; NULL when none. */
struct room *room_find(const struct room_table *t, const char *guid);
/* Loads it when needed and takes a reference; NULL: there is none. */
struct room *room_get(struct room_table *t, const char *guid);
/* Takes a reference, gives it back; the last one frees the room. */
struct room *room_hold(struct room *r);
void room_drop(struct room_table *t, struct room *r);

/* In state joining; NULL when out of memory. */
struct member *member_new(
    struct room_table *t, struct room *r, struct endpoint *e);
/* The joining or joined one; NULL when there is none. */
struct member *member_find(
    const struct room_table *t, const struct room *r, const struct endpoint *e);
/* False when out of memory: it is still joining. */
bool member_enter(struct room_table *t, struct member *m, uint64_t joined);
/* From joining or joined to left; member_settle() frees it in time. */
void member_leave(struct room_table *t, struct member *m);
/* Frees a member that left once nothing is awaited of it. */
void member_settle(struct room_table *t, struct member *m);
/* Whether the user is in the room by another endpoint than e. */
bool room_has_user(const struct room *r, const struct endpoint *e);

#endif
