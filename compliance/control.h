#ifndef COMPLIANCE_CONTROL_H
#define COMPLIANCE_CONTROL_H

/*
 * The control socket: JSON lines from root and from the daemon's owner,
 * {"cmd":C,"args":{...}}, each answered in order by {"ok":true,"result":R}
 * or {"ok":false,"error":"text"}, which has "system":true beside it when the
 * fault is not in the request.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#define CONTROL_LINE_MAX ((size_t)1 << 20)
#define CONTROL_CONNECTIONS_MAX 64
/* So often a refused connection is logged, and how many there were. */
#define CONTROL_REFUSALS_MS 60000

struct control;
struct control_request;
struct json_t;

/*
 * A request of a permitted peer. args is an object (empty when there was
 * none), borrowed for the call. Each request is answered exactly once, now
 * or later, by one of the functions below.
 */
typedef void control_command_cb(void *arg, struct control_request *r,
    const char *command, const struct json_t *args);

/*
 * Binds the socket in place of a stale one, for the owner's eyes only: 0600,
 * given to uid and gid when we are root. -1 with the reason in why.
 */
int control_bind(
    const char *path, uid_t uid, gid_t gid, char *why, size_t why_len);
/* Serves a bound socket, which it takes over. owner: allowed beside root. */
struct control *control_new(uv_loop_t *loop, int fd, uid_t owner,
    control_command_cb *on_command, void *arg);
/* Users who may connect besides; the array is copied. False: no memory. */
bool control_set_officers(struct control *c, const uid_t *uids, size_t count);
/* Whether the peer is only that. */
bool control_request_is_officer(const struct control_request *r);
/* The peer's, as the kernel tells it (SO_PEERCRED). */
uid_t control_request_uid(const struct control_request *r);
/* Takes the reference to result. */
void control_reply(struct control_request *r, struct json_t *result);
/* What was asked for is refused, or there is no such thing. */
void control_reply_error(struct control_request *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Something that is needed does not work; marked by "system":true. */
void control_reply_failure(struct control_request *r, const char *why);
/* A reply as a whole: an object with "ok". Takes the reference. */
void control_reply_whole(struct control_request *r, struct json_t *reply);
/*
 * Ends all connections. Requests not answered yet must still be answered.
 * The loop must turn once more.
 */
void control_free(struct control *c);

/* A time in microseconds as text, null for 0. NULL when out of memory. */
json_t *control_time(uint64_t us);
/* Words for people, which may have been cut within a character. */
json_t *control_words(const char *text);

#endif
