#ifndef SERVER_ADMIN_H
#define SERVER_ADMIN_H

/*
 * Administration as the engine forwards it (WIRE_JSON). Requests are
 * {"cmd":C,"args":{...},"by":"uid:N"}; replies {"ok":true,"result":R} or
 * {"ok":false,"error":"text"}.
 *
 *   user.add         uri name password              -> {"uri":..}
 *   user.list                                       -> [{"uri","name","password":bool}]
 *   room.add         name privacy description guid  -> {"uri":..}
 *   room.list                                       -> [{"uri","guid","name","description","privacy","members"}]
 *   room.member.add  room user                      -> {}
 *   status.server                                   -> {...}
 *
 * Of the args, name and password of user.add and all but name of room.add
 * may be left out; privacy is "open" (then the default), "closed" or
 * "secret"; room is a name, GUID or URI. "by" stands beside "cmd" (it is
 * the engine's word, so nothing in args can forge it). The result of a
 * change has "recorded":true once the journal holds it; when the journal
 * cannot be written it has "recorded":false and a "warning" in words: the
 * change stands and is recorded as soon as that is possible.
 */

#include <uv.h>

struct admin;
struct chat;
struct store;
struct json_t;

struct admin *admin_new(
    uv_loop_t *loop, struct store *store, struct chat *chat);
/* Adds members to the result (a json_t object) of status.server. */
void admin_on_status(
    struct admin *a, void (*add)(void *arg, struct json_t *result), void *arg);
/* Calls back when the link breaks: somebody is to get a new one. */
void admin_on_lost(struct admin *a, void (*lost)(void *arg), void *arg);
/* A (new) link to the engine; fd is taken over. */
void admin_link(struct admin *a, int fd);
void admin_free(struct admin *a);

#endif
