#ifndef SERVER_CONN_H
#define SERVER_CONN_H

/*
 * One transport flow: a TCP or TLS connection, or a UDP remote address. Takes
 * bytes apart into messages within the limits, and gathers what is written
 * during one turn of the loop into one write. Holds no buffer while idle.
 *
 * Nothing here calls back from within a function that writes: a connection
 * that must go is marked and dealt with by transport_flush().
 *
 * A peer that is gone may have sent something before, and that is still to be
 * read: a write that fails for this makes the connection mute. Nothing more is
 * written to it, and it goes when its input ends.
 */

#include <netinet/in.h>
#include <sys/socket.h>

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "server/head.h"
#include "server/lookup.h"

enum conn_kind { CONN_TCP, CONN_TLS, CONN_UDP };

struct transport;
struct transport_host;
struct tls;

union conn_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Output of a connection without a socket (tests, fuzzing). */
typedef void conn_sink_cb(void *arg, struct view bytes);

struct conn_write {
	uv_write_t request;
	struct conn *conn;
	struct buf bytes;
	size_t size;
	uint64_t since_ms;
};

struct conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		struct {
			uv_udp_t *socket; /* the listener's */
			conn_sink_cb *sink;
			void *sink_arg;
		} other;
	} u;
	struct transport *transport;
	enum conn_kind kind;
	unsigned refs;
	union conn_address remote, local;
	bool has_handle; /* u.tcp is in use */
	bool dirty, doomed, closed;
	uint8_t mute;   /* 0: no, else ticks since, and one */
	uint8_t blanks; /* empty lines in a row */
	const char *doom;
	struct tls *tls;
	struct buf in;  /* an incomplete message */
	size_t scanned; /* of in: no end of header before */
	size_t need;    /* size of the incomplete message, 0: unknown */
	struct buf out; /* text to be written this turn */
	struct conn_write *pending;
	size_t unread; /* of these two, as the transport counts it */
	uint64_t active_ms, partial_ms;
	struct ring idle, partial, dirty_ring, doomed_ring;
	struct ring stalled; /* with pending; or in the transport's mute */
	struct lookup_node by_address; /* UDP: in the transport's flows */
	struct transport_host *host;   /* streams */
	void *user;                    /* SIP's */
};

/* One reference is the caller's; hold takes another. */
void conn_init(struct conn *c, struct transport *t, enum conn_kind kind);
struct conn *conn_hold(struct conn *c);
/* Frees a connection that is closed and that nobody holds. */
void conn_drop(struct conn *c);

/* False once the connection is (about to be) closed. */
bool conn_alive(const struct conn *c);
/* False also once it is mute. */
bool conn_writable(const struct conn *c);
/* "tcp", "tls", "udp" */
const char *conn_via(const struct conn *c);
/* Not UDP. */
bool conn_reliable(const struct conn *c);
/* "192.0.2.1:4000", "[2001:db8::1]:4000" */
void conn_put_remote(const struct conn *c, struct buf *out);
/* The same of our own end. */
void conn_put_local(const struct conn *c, struct buf *out);
void conn_put_local_host(const struct conn *c, struct buf *out);
/* The remote address without port. */
void conn_put_remote_host(const struct conn *c, struct buf *out);
/* 0 when the address has none. */
unsigned conn_remote_port(const struct conn *c);

/* Bytes from the network (for UDP: one datagram); they are changed. */
void conn_feed(struct conn *c, uint8_t *p, size_t n);
/* A buffer to append one whole message to, then conn_end(). */
struct buf *conn_begin(struct conn *c);
/* Sent at the end of this turn of the loop. */
void conn_end(struct conn *c);
/* To be closed at the end of this turn, after what was written so far. */
void conn_doom(struct conn *c, const char *why);
/* A write failed with this libuv error. */
void conn_write_failed(struct conn *c, int error);
/* Writes what is there, as far as the socket takes it. */
void conn_flush(struct conn *c);
/* Closes the socket now; SIP's `closed` was called before. */
void conn_close(struct conn *c);

#endif
