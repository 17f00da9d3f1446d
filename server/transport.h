#ifndef SERVER_TRANSPORT_H
#define SERVER_TRANSPORT_H

/*
 * Listeners and all connections: limits of number, silence and slowness
 * (conf limits), and the writing at the end of each turn of the loop.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"
#include "server/conn.h"

struct transport_events {
	/*
	 * A message. status is 0, or the answer to a message that is
	 * ill-formed, with the reason in why; h then holds what could be
	 * read.
	 */
	void (*message)(void *arg, struct conn *c, struct head *h,
	    unsigned status, const char *why);
	/* A connection that was seen before is gone. */
	void (*closed)(void *arg, struct conn *c);
	/* Before the writes of a turn. */
	void (*turn)(void *arg);
	void *arg;
};

struct transport_listener;

#define TRANSPORT_READ_SIZE 65536
#define TRANSPORT_SPARE 32

struct transport {
	uv_loop_t *loop;
	const struct conf *conf;
	struct transport_events events;
	struct transport_listener *listeners;
	size_t listener_count;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_timer_t timer;
	struct ring idle, partial, dirty, doomed, stalled, mute;
	struct lookup hosts; /* with stream connections */
	struct lookup flows; /* UDP */
	size_t stream_count;
	size_t unread; /* bytes that wait for clients to read */
	uint64_t accepted, refused, cut;
	struct buf spare[TRANSPORT_SPARE]; /* memory of finished writes */
	size_t spare_count;
	struct buf scratch;
	uint64_t complaint_ms;
	unsigned complaints, silenced;
	uint8_t read[TRANSPORT_READ_SIZE];
};

/* NULL when out of memory. */
struct transport *transport_new(uv_loop_t *loop, const struct conf *conf,
    const struct transport_events *events);
/* Binds every address of the configuration; -1 with the reason in why. */
int transport_bind(struct transport *t, char *why, size_t why_len);
/* Starts to accept; -1 with the reason in why. */
int transport_listen(struct transport *t, char *why, size_t why_len);
/* Port that a listener got (for "port 0"). */
unsigned transport_port(const struct transport *t, size_t listener);
/* Closes the listeners, and so UDP as a whole; connections go on. */
void transport_stop(struct transport *t);
/* Writes everything, closes what is doomed. Runs by itself each turn. */
void transport_flush(struct transport *t);
/*
 * Closes everything; the memory is freed with transport_free() after the
 * loop has run the close callbacks.
 */
void transport_close(struct transport *t);
/* NULL is allowed. */
void transport_free(struct transport *t);

/* A connection whose output goes to a function: for tests and fuzzing. */
struct conn *transport_loopback(
    struct transport *t, enum conn_kind kind, conn_sink_cb *sink, void *arg);
/* A stream connection is no longer counted. */
void transport_leave(struct transport *t, struct conn *c);
/* Logs what a peer did wrong, at a bounded rate. */
void transport_complain(
    struct transport *t, const struct conn *c, const char *why);

#endif
