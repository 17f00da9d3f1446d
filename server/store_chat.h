#ifndef SERVER_STORE_CHAT_H
#define SERVER_STORE_CHAT_H

/*
 * chat.db as the server role uses it while it runs. Writes gather in one
 * transaction until store_commit(). A write that fails is remembered
 * (store_failed) and nothing of the transaction is kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/store.h"

struct store_message {
	uint64_t chat;
	uint64_t at;
	const char *author;
	struct view text;
};

struct store_joined {
	uint64_t seq; /* of the join event */
	const char *room_uri;
	const char *room_name;
	const char *user;
	const char *name;
	const char *device;
};

struct store_pending {
	uint64_t id;
	unsigned kind;
	struct view envelope;
};

typedef void store_message_cb(void *arg, const struct store_message *m);
typedef void store_joined_cb(void *arg, const struct store_joined *j);
typedef void store_pending_cb(void *arg, const struct store_pending *p);

const char *store_domain(const struct store *s);
/* GUIDs made by store_create(): of the root category and of this database. */
const char *store_root(const struct store *s);
const char *store_version(const struct store *s);
/* "open", "closed" or "secret"; STORE_OPEN..; false when it is none. */
const char *store_privacy_name(enum store_privacy p);
bool store_privacy_of(struct view name, enum store_privacy *out);

/* First sequence number whose event is not in chat.db. */
uint64_t store_applied(const struct store *s);
void store_set_applied(struct store *s, uint64_t applied);
/* Ends the transaction; -1 when its changes are lost. */
int store_commit(struct store *s);
bool store_dirty(const struct store *s);
/* Something written since the last commit was lost: replay is needed. */
bool store_failed(const struct store *s);
/* Fails the store when its last look for a room was in vain for an error. */
void store_fail_misread(struct store *s);
/* Forgets the failure; what store_applied() says is what chat.db holds. */
int store_recover(struct store *s);
/* Descriptor to fdatasync() for all commits so far to last; -1 on failure. */
int store_sync_fd(struct store *s);
/*
 * A sync of that descriptor failed. What was written before it is never taken
 * for durable because a later sync succeeds: store_sync() writes it again.
 */
void store_unsynced(struct store *s);
/* Waits until what is committed is on disk. */
int store_sync(struct store *s);
/* Copies old pages out of the write-ahead log when it has grown long. */
void store_tidy(struct store *s);

/* False when there is no such room; free the content with release. */
bool store_room_get(struct store *s, struct view guid, struct store_room *out);
void store_room_release(struct store_room *r);
bool store_is_member(struct store *s, uint64_t room, const char *user);

void store_put_post(struct store *s, uint64_t seq, uint64_t room,
    const struct store_message *m);
/* The newest `count` messages, oldest first; -1 on failure. */
int store_history(struct store *s, uint64_t room, uint64_t count,
    store_message_cb *cb, void *arg);
/* Rooms the user can see, in order of name; extended: also descriptions. */
int store_search(struct store *s, struct view criteria, bool extended,
    const char *user, unsigned limit, store_room_cb *cb, void *arg);
/* Rooms the user is a member of, in order of name. */
int store_rooms_of(struct store *s, const char *user, unsigned limit,
    store_room_cb *cb, void *arg);

void store_put_joined(struct store *s, uint64_t seq, uint64_t room,
    const char *user, const char *name, const char *device);
void store_drop_joined(struct store *s, uint64_t seq);
int store_each_joined(struct store *s, store_joined_cb *cb, void *arg);

/* In the order in which they were made. */
int store_each_pending(struct store *s, store_pending_cb *cb, void *arg);
void store_drop_pending(struct store *s, uint64_t id);
/* The id of the row with that envelope id; 0 when there is none. */
uint64_t store_find_pending(struct store *s, uint32_t boot, uint64_t number);

/* Administration told again by the journal: adds what is missing. */
void store_replay_user(struct store *s, const char *uri, const char *name);
void store_replay_room(struct store *s, struct view guid, const char *name,
    const char *description, enum store_privacy privacy);
void store_replay_member(struct store *s, uint64_t room, const char *user);

#endif
