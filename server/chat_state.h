#ifndef SERVER_CHAT_STATE_H
#define SERVER_CHAT_STATE_H

/*
 * What chat's own files share; nobody else includes this.
 *
 * Everything that is recorded is an op: started, then stored or refused.
 * While the keeper is away for a moment ops are held; lasting ones (leaves
 * and deliveries: facts, not wishes) are never refused but come late.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/conf.h"
#include "server/chat.h"
#include "server/payload.h"
#include "server/record.h"
#include "server/room.h"
#include "server/session.h"
#include "server/store_chat.h"
#include "server/xccos.h"
#include "server/xccos_put.h"

/* Why is for the log and the status, not for clients. */
#define CHAT_UNRECORDED "This cannot be recorded now. Please try again later."

struct op;

struct op_type {
	unsigned kind;
	bool lasting;
	/*
	 * Writes what is to be recorded; NULL, or why it no longer can be.
	 * whole: the envelope with its id, else the envelope's tail.
	 */
	const char *(*write)(
	    struct op *op, struct buf *envelope, struct buf *content);
	bool whole;
	/* Either ends the op and frees it. Lasting ones are never refused. */
	void (*stored)(struct op *op, uint64_t seq, uint64_t at);
	void (*refused)(struct op *op, const char *why);
	/* Frees a lasting one at the end of the process. */
	void (*forget)(struct op *op);
};

/* The first member of each kind of op. */
struct op {
	struct record_op record;
	const struct op_type *type;
	struct chat *chat;
	struct op *next;   /* held or late */
	uint64_t happened; /* microseconds since 1970 */
	bool late;
	bool startup; /* ready waits for it */
};

struct op_list {
	struct op *first;
	struct op **end;
	size_t count;
};

struct chat {
	uv_loop_t *loop;
	const struct conf *conf;
	struct store *store;
	struct record *record;
	struct room_table table;
	struct xccos *xccos;
	struct buf envelope, content; /* scratch of ops */
	struct buf out;               /* scratch of bodies */
	char *service;                /* sip:chat@domain */
	uint64_t envid;
	struct op_list held, late;
	struct pending_op *pending; /* under way */
	uv_timer_t flush, retry;
	unsigned handles;
	struct room *news; /* rooms with deliveries to record */
	bool caught_up;    /* what an earlier process left was recorded */
	bool told_ready;
	unsigned startup; /* ops that ready waits for */
	void (*ready)(void *arg);
	void *ready_arg;
	uint64_t posts, copies, refused_posts;
	size_t history_held; /* bytes of histories that wait to be recorded */
};

/* The command that a reply goes back to; strings are its own. */
struct command {
	struct endpoint *endpoint; /* a reference */
	struct xccos_reference reference;
	char text[];
};

/* op.c */
void op_init(struct op *op, const struct op_type *type, struct chat *c);
/* Starts, holds or refuses it; it may be gone afterwards. */
void op_start(struct op *op);
/*
 * Once the journal takes events again: what came late, what was held; or, when
 * it is given up, the held ones are refused.
 */
void op_start_late(struct chat *c);
void op_start_held(struct chat *c);
void op_refuse_held(struct chat *c, const char *why);
/* Frees what is late. */
void op_forget_late(struct chat *c);

/* chat.c */
/* As a payload names them; borrowed. */
struct payload_actor chat_actor(const struct endpoint *e);
struct payload_room chat_room(const struct room *r);
/* What the protocol calls a room's privacy. */
const char *chat_visibility(enum store_privacy p);
/* NULL when out of memory. */
struct command *command_new(struct endpoint *e, const struct xccos_body *body);
/* NULL is allowed. */
void command_free(struct chat *c, struct command *cmd);
/* Starts a reply in c->out; the content of its data element follows. */
void chat_reply_start(struct chat *c, const struct xccos_reference *to,
    unsigned code, const char *text);
/* Ends the reply and sends it to the endpoint's session, if it has one. */
void chat_reply_send(struct chat *c, struct endpoint *e);
/* A reply without content. */
void chat_refuse(struct chat *c, struct endpoint *e,
    const struct xccos_reference *to, unsigned code, const char *text);
/* Sends c->out to the members of a room but those of one user. */
void chat_notify(
    struct chat *c, const struct room *r, const struct endpoint *but);
/* Calls `ready` once nothing of the start is left to wait for. */
void chat_check_ready(struct chat *c);

/* chat_post.c */
void chat_post(struct chat *c, struct endpoint *e, struct request *r,
    const struct xccos_body *body);
/* Stores a recorded post and sends its copies. */
void chat_publish(struct chat *c, struct room *r, uint64_t seq,
    const struct xccos_message *m);

/* chat_join.c */
typedef void command_fn(
    struct chat *c, struct endpoint *e, const struct xccos_body *body);
command_fn chat_join;
enum room_access { ROOM_ALLOWED, ROOM_FORBIDDEN, ROOM_UNSEEN };
/* Whether the user may enter (and read) the room. */
enum room_access chat_access(
    struct chat *c, const struct room *r, const char *user);
/* Waits for a joining member; fn is called once, why is NULL if it joined. */
struct room_waiter {
	struct room_waiter *next;
	void (*fn)(struct chat *c, struct room_waiter *w, const char *why);
};
/* Waiters are called in the order in which they came. */
void chat_wait(struct member *m, struct room_waiter *w);

/* chat_leave.c */
command_fn chat_part;
/* The member leaves for the reason, which is static; recorded like all acts. */
void chat_leave(struct chat *c, struct member *m, const char *reason);
/* "bye", "expired", "lost" or "signoff". */
const char *chat_leave_reason(enum session_end end);
/* A leave by somebody an earlier process had in the room. */
void chat_leave_behind(
    struct chat *c, const struct store_joined *j, bool startup);

/* chat_query.c */
command_fn chat_requri, chat_serverinfo, chat_associations, chat_invitations,
    chat_search, chat_history, chat_preference, chat_unknown;

/* chat_replay.c */
void chat_replay(void *arg, const struct record_event *e);

/* chat_pending.c */
/* Submits what is not under way; startup: ready waits for it. */
void chat_start_pending(struct chat *c, bool startup);
/* The journal tells that the row is recorded. */
void chat_settle_pending(
    struct chat *c, uint64_t id, uint64_t seq, uint64_t at);

#endif
