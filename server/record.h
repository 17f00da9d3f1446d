#ifndef SERVER_RECORD_H
#define SERVER_RECORD_H

/*
 * The link to the keeper: hands events over, keeps them until they are
 * recorded or refused, and keeps chat.db's position. What is said about
 * the journal here is all that the server role knows of it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/conf.h"

struct record;
struct store;

enum record_state {
	RECORD_OPEN,   /* events are taken */
	RECORD_WAIT,   /* the keeper is away, not yet for long */
	RECORD_CLOSED, /* nothing can be recorded now */
};

/*
 * One event under way; embedded in its owner's object, which lives until
 * exactly one of the two calls was made.
 */
struct record_op {
	uint64_t ref;
	/* Lasting events are never given up while their fate is unknown. */
	bool lasting;
	void (*stored)(struct record_op *op, uint64_t seq, uint64_t at);
	void (*refused)(struct record_op *op, const char *why);
};

/* A committed event that the keeper tells again. */
struct record_event {
	uint64_t seq;
	uint64_t at;
	unsigned kind;
	struct view envelope; /* empty when its payload was purged */
	struct view content;  /* empty when it has none */
	bool seen; /* its effects were had before: only chat.db lacks it */
};

struct record_hooks {
	/* An event that no op waits for. */
	void (*replay)(void *arg, const struct record_event *e);
	/* From now on, events are taken; those refused may come again. */
	void (*open)(void *arg);
	/* From now on nothing is taken: refuse what waits. */
	void (*closed)(void *arg, const char *why);
};

struct record_counters {
	uint64_t applied; /* first sequence number not in chat.db */
	uint64_t stored;
	uint64_t refused;
	size_t inflight;
};

/* NULL when out of memory. conf and store outlive it. */
struct record *record_new(
    uv_loop_t *loop, const struct conf *conf, struct store *store);
/* Before the first link. */
void record_set_hooks(
    struct record *r, const struct record_hooks *hooks, void *arg);
/* A (new) link to the keeper; fd is taken over. */
void record_link(struct record *r, int fd);
/* Whether record_submit() may be called now. */
enum record_state record_state(const struct record *r);
/* Why events are not taken now; "" when they are. */
const char *record_why(const struct record *r);
/* Events that may still be handed over before limits.inflight is reached. */
bool record_has_room(const struct record *r);
/*
 * Hands an event over; only while the state is RECORD_OPEN. tail: the
 * envelope after its "id" (payload.h); content: part 1, or empty. False when
 * out of memory: nothing was handed over and no call will be made.
 */
bool record_submit(struct record *r, struct record_op *op, unsigned kind,
    struct view tail, struct view content);
/* The same with a complete envelope, whose id the owner knows. */
bool record_submit_whole(struct record *r, struct record_op *op, unsigned kind,
    struct view envelope);
/* Settles an op from the replay hook, where its owner recognised it. */
void record_settle(
    struct record *r, struct record_op *op, uint64_t seq, uint64_t at);
/* An event was refused that was not handed over: the journal is to tell. */
void record_drop(struct record *r);
/* The same, because there were too many at once. */
void record_drop_overload(struct record *r);
/* Somebody was not signed in: no right password, or too many wrong ones. */
void record_drop_password(struct record *r);
/* Refuses all that is under way, before the end of the process. */
void record_refuse_all(struct record *r, const char *why);
/* Gives what was handed over to the system, before the process ends. */
void record_flush(struct record *r);
/* As of now. */
void record_counters(const struct record *r, struct record_counters *out);
/* Commits chat.db; no op may be under way. */
void record_free(struct record *r);

#endif
