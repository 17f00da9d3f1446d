#ifndef COMPLIANCE_HOLD_H
#define COMPLIANCE_HOLD_H

/* Legal holds: what one selects, and which records a live one keeps. */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Members that are not set are empty, or 0: no limit. */
struct hold_selector {
	struct view room, user;
	uint64_t from, until; /* times: from <= at < until */
};

/* One compact JSON object. */
void hold_put_selector(struct buf *b, const struct hold_selector *s);
/*
 * Whether a text is what hold_put_selector() makes of some selector, which is
 * put into out; its texts are views into the text.
 */
bool hold_get_selector(struct view text, struct hold_selector *out);

/*
 * Holds in force. A user is named by each string of the envelope that is his
 * name, or begins with it and a space (delivery); strings in JSON have their
 * quotes escaped, and neither a room nor a user has anything that is escaped.
 */
struct hold {
	uint64_t n;
	char *room, *user;     /* lower case, NULL: any */
	uint64_t since, until; /* until 0: no end */
	bool wordless; /* what it selects is lost: it keeps everything */
	size_t room_word, user_word;
};

struct holds {
	struct hold *hold;
	size_t count;
	struct view *word; /* all rooms and users, sorted, each once */
	size_t words;
	uint8_t *seen;     /* per word, for the record that is looked at */
	uint64_t released; /* newest release record, 0: none */
};

#define HOLDS_NOW UINT64_MAX

/*
 * Reads those in force at a record, or now, in place of the ones before. 0,
 * or -1: then none are there.
 */
int holds_read(struct holds *h, sqlite3 *db, uint64_t seq);
/*
 * The hold with the smallest number that keeps such a record, or NULL. Costs
 * hardly more when there are more.
 */
const struct hold *holds_match(
    const struct holds *h, uint64_t at, struct view envelope);
void holds_release(struct holds *h);

/*
 * Gives the connection the function held(at, envelope) of the schema's
 * triggers, which asks these holds but for the wordless: those the keeper
 * alone judges. get: NULL when they cannot be read. 0, or -1.
 */
typedef const struct holds *holds_get(void *arg);
int holds_fence(sqlite3 *db, holds_get *get, void *arg);

#endif
