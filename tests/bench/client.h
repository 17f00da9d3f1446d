#ifndef TESTS_BENCH_CLIENT_H
#define TESTS_BENCH_CLIENT_H

/*
 * What one client of the load generator reads and writes: SIP messages as a
 * real client sends them, put together from prepared pieces. Nothing here
 * waits or touches a socket.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define CLIENT_POST_LEN 278U  /* of the body of a post */
#define CLIENT_WINDOW_MAX 64U /* posts of one sender without an answer */

/* What all clients of a run have in common. */
struct client_run {
	const char *domain, *password, *service;
	char id[9];     /* keeps the Call-IDs of two runs apart */
	char stamp[32]; /* what clients say the time is */
};

enum client_stage {
	CLIENT_WAITING,
	CLIENT_REGISTERING,
	CLIENT_INVITING,
	CLIENT_JOINING,
	CLIENT_JOINED
};

struct client {
	const struct client_run *run;
	enum client_stage stage;
	int fd;
	unsigned index, room;
	bool sender, challenged, wants_out;
	uint16_t port;
	uint32_t cseq;
	/* When the post of CSeq n was sent, at n % CLIENT_WINDOW_MAX; else 0. */
	uint64_t sent_at[CLIENT_WINDOW_MAX];
	uint64_t retry_at; /* after a refusal */
	unsigned withheld; /* posts that were refused and wait for retry_at */
	char user[80];     /* u00001@example.test */
	struct buf post;   /* as sent each time, but for these places: */
	size_t at_branch, at_cseq, at_stamp, at_text;
	struct buf in;  /* a message that is not complete yet */
	struct buf out; /* what the socket did not take */
};

/* The parts of a message that a client looks at; borrowed. */
struct client_message {
	unsigned status; /* 0: a request */
	struct view line, via, from, to, call_id, cseq, contact;
	struct view challenge; /* the first with MD5 */
	struct view body;
};

/* Length of the message at p; 0 when it is not complete. */
size_t client_scan(const uint8_t *p, size_t n, struct client_message *m);
bool client_has(struct view v, const char *text);
/* The number of a CSeq line; 0 when it is none. */
uint32_t client_cseq(struct view line);
/* What stands between `from` and the next `until`; empty when not there. */
struct view client_between(struct view v, const char *from, char until);

/* Each appends one message to out. */
void client_put_register(
    struct client *c, struct buf *out, const char *authorization);
void client_put_authorized_register(
    struct client *c, struct buf *out, struct view challenge);
void client_put_invite(struct client *c, struct buf *out);
void client_put_ack(
    struct client *c, struct buf *out, const char *target, struct view to);
void client_put_join(
    struct client *c, struct buf *out, const char *target, struct view to);
/* 200 to a request of the server. */
void client_put_ok(struct buf *out, const struct client_message *m);
/*
 * A post is made once. What changes from one to the next has a fixed length
 * and is patched in: eight digits of CSeq in three places, and the time.
 */
void client_prepare_post(struct client *c, const char *target, struct view to);
void client_put_post(struct client *c, struct buf *out);

#endif
