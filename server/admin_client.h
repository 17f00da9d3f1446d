#ifndef SERVER_ADMIN_CLIENT_H
#define SERVER_ADMIN_CLIENT_H

/*
 * Administration from the outside: over the control socket of a running
 * daemon, else, under the state's lock, on the chat store itself.
 */

#include <stddef.h>

#include "base/conf.h"

struct admin_client;
struct json_t;

/* NULL with the reason in why. */
struct admin_client *admin_client_open(
    const struct conf *conf, char *why, size_t why_len);
/*
 * The reply to one command, an object with "ok"; NULL with the reason in why
 * when there is none. Takes the reference to args.
 */
struct json_t *admin_client_ask(struct admin_client *c, const char *command,
    struct json_t *args, char *why, size_t why_len);
/* NULL is allowed. What it changed is committed. */
void admin_client_close(struct admin_client *c);

#endif
