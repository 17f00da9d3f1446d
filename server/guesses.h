#ifndef SERVER_GUESSES_H
#define SERVER_GUESSES_H

/*
 * Slows down who guesses passwords: after some wrong ones for a user from a
 * network, or from that network for anybody, each further one makes the pause
 * twice as long before the next from there is looked at. Guesses from one
 * network slow no other, or anybody could keep a user out; those for others
 * do not slow a user who signed in from that network before. Memory is
 * bounded; what is oldest is forgotten.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/lookup.h"

#define GUESSES_USER_FREE 5   /* wrong ones without a pause: for a user, */
#define GUESSES_HOST_FREE 100 /* and for anybody, from a network */
#define GUESSES_STEPS 6       /* pauses of 1, 2, 4, ... seconds */
#define GUESSES_PARDON_S 60   /* after so long one is forgotten */
#define GUESSES_MAX 16384     /* networks, and users there, that are watched */
#define GUESSES_KNOWN_MAX 131072 /* networks of users that signed in */

struct guesses_table {
	struct lookup lookup;
	struct ring by_age;
};

struct guesses {
	struct guesses_table wrong, known;
};

void guesses_init(struct guesses *g);
void guesses_release(struct guesses *g);
/* Seconds until a password may be looked at, 0: now. */
unsigned guesses_wait(const struct guesses *g, struct view user,
    struct view network, uint64_t now_s);
void guesses_wrong(
    struct guesses *g, struct view user, struct view network, uint64_t now_s);
void guesses_right(struct guesses *g, struct view user, struct view network);

#endif
