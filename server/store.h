#ifndef SERVER_STORE_H
#define SERVER_STORE_H

/*
 * chat.db: users, rooms, members, history for clients, who is joined now,
 * and how far the journal was applied. A projection of the journal (users'
 * credentials aside); used by the server role, and by chancery(8) while the
 * daemon is not running.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct store;

struct store_user {
	char *uri;  /* "sip:ann@example.test" */
	char *name; /* display name, "" when none */
	uint8_t ha1_md5[16];
	uint8_t ha1_sha256[32];
	bool has_password;
};

enum store_privacy { STORE_OPEN, STORE_CLOSED, STORE_SECRET };

struct store_room {
	uint64_t id; /* row id, never 0 */
	char *guid;  /* lower-case, no braces */
	char *uri;   /* ma-chan://domain/guid */
	char *name;
	char *description;
	enum store_privacy privacy;
	uint64_t last_chat; /* highest message number, 0 when none */
};

/* Makes an empty chat.db; 0, or -1 with the reason in why. */
int store_create(
    const char *path, const char *domain, char *why, size_t why_len);
struct store *store_open(const char *path, char *why, size_t why_len);
void store_close(struct store *s);

/*
 * Administration. Each change is checked (names unique, URIs well-formed and
 * of the domain, room exists), stored, and leaves a row in `pending` with
 * the JSON of its journal event (room, member or user), all in one
 * transaction. 0, or -1 with a reason for people in why. by: "uid:0".
 * password may be NULL: the user cannot sign in until one is set.
 */
int store_user_add(struct store *s, const char *uri, const char *name,
    const char *password, const char *by, char *why, size_t why_len);
int store_room_add(struct store *s, const char *name, const char *guid,
    enum store_privacy privacy, const char *description, const char *by,
    struct buf *uri, char *why, size_t why_len);
/* room: name, GUID or URI. */
int store_member_add(struct store *s, const char *room, const char *user,
    const char *by, char *why, size_t why_len);
typedef void store_user_cb(void *arg, const struct store_user *u);
typedef void store_room_cb(
    void *arg, const struct store_room *r, unsigned members);
int store_users(struct store *s, store_user_cb *cb, void *arg);
int store_rooms(struct store *s, store_room_cb *cb, void *arg);

/* False when there is no such user. Free the content with release. */
bool store_user_get(struct store *s, const char *uri, struct store_user *out);
void store_user_release(struct store_user *u);

#endif
