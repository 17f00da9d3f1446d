#ifndef SERVER_ADMIN_OFFLINE_H
#define SERVER_ADMIN_OFFLINE_H

/*
 * The commands of server/admin.h on the chat store itself, for a daemon that
 * is not running. Changes reach the journal when it starts.
 */

struct json_t;
struct store;

/* The reply, as admin.h has it; NULL when out of memory. */
struct json_t *admin_offline(struct store *s, const char *command,
    const struct json_t *args, const char *by);

#endif
