#ifndef SERVER_STORE_DB_H
#define SERVER_STORE_DB_H

/* What the store's own files share; nobody else includes this. */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/db.h"
#include "server/store_chat.h"

enum store_statement {
	STORE_BEGIN,
	STORE_COMMIT,
	STORE_ROLLBACK,
	STORE_SET_APPLIED,
	STORE_PROBE,
	STORE_ADD_USER,
	STORE_GET_USER,
	STORE_LIST_USERS,
	STORE_REPLAY_USER,
	STORE_ADD_ROOM,
	STORE_REPLAY_ROOM,
	STORE_GET_ROOM,
	STORE_FIND_ROOM,
	STORE_LIST_ROOMS,
	STORE_ADD_MEMBER,
	STORE_IS_MEMBER,
	STORE_ADD_PENDING,
	STORE_LIST_PENDING,
	STORE_DROP_PENDING,
	STORE_FIND_PENDING,
	STORE_ADD_POST,
	STORE_KEEP_CHATS,
	STORE_DROP_MESSAGES,
	STORE_SET_GONE,
	STORE_GET_HISTORY,
	STORE_SEARCH_ROOMS,
	STORE_ROOMS_OF,
	STORE_ADD_JOINED,
	STORE_DROP_JOINED,
	STORE_LIST_JOINED,
	STORE_STATEMENTS
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[STORE_STATEMENTS];
	char *path;
	char *domain;
	char *root;
	char *version;
	uint64_t applied;
	uint64_t applied_written;
	int wal_fd;
	bool in_transaction;
	bool failed;
	bool complained; /* since the last commit that succeeded */
	bool unsynced;   /* a sync of the WAL failed */
	bool misread;    /* the last room could not be read */
};

/* The statement, reset and without parameters; NULL on failure. */
sqlite3_stmt *store_statement(struct store *s, enum store_statement which);
void store_bind_text(sqlite3_stmt *st, int at, const char *text);
void store_bind_view(sqlite3_stmt *st, int at, struct view v);
void store_bind_u64(sqlite3_stmt *st, int at, uint64_t v);
/* Text of a column, valid until the next step; "" when it is NULL. */
const char *store_text(sqlite3_stmt *st, int column);
uint64_t store_u64(sqlite3_stmt *st, int column);
/* Steps a statement that returns nothing inside the transaction. */
int store_write(struct store *s, sqlite3_stmt *st);
/* Opens the transaction when none is open. */
int store_begin(struct store *s);
/* An envelope's tail becomes a row of pending. */
int store_add_pending(struct store *s, unsigned kind, struct view tail);
/* Commits and waits until the commit is on disk. */
int store_commit_now(struct store *s);
/* Lower case of UTF-8 text, for comparison without case. */
void store_fold(struct buf *out, struct view v);
/* A random GUID, lower case. */
void store_make_guid(char out[37]);
/* The columns id, guid, name, description, privacy of a row. */
bool store_room_of_row(
    struct store *s, sqlite3_stmt *st, struct store_room *out);

#endif
