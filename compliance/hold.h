#ifndef COMPLIANCE_HOLD_H
#define COMPLIANCE_HOLD_H

/* Legal holds: what one selects, and which records a live one keeps. */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * The one definition of what a row h of `hold` keeps: body b (part 0) of leaf
 * l. A string of the envelope that is the user, or begins with it and a
 * space (delivery), names him; strings in JSON have their quotes escaped, and
 * neither a room nor a user has anything that is escaped.
 */
#define HOLD_TEXT "lower(CAST(b.data AS TEXT))"
#define HOLD_MATCH                                                             \
	"(h.since IS NULL OR l.at >= h.since)"                                 \
	" AND (h.until IS NULL OR l.at < h.until)"                             \
	" AND (h.room IS NULL"                                                 \
	" OR instr(" HOLD_TEXT ", '\"room\":\"' || h.room || '\"') > 0)"       \
	" AND (h.user IS NULL"                                                 \
	" OR instr(" HOLD_TEXT ", '\"' || h.user || '\"') > 0"                 \
	" OR instr(" HOLD_TEXT ", '\"' || h.user || ' ') > 0)"

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

/* Live holds, for those who cannot ask the database about each record. */
struct hold {
	uint64_t n;
	char *room, *user;     /* lower case, NULL: any */
	uint64_t since, until; /* until 0: no end */
};

struct holds {
	struct hold *hold;
	size_t count;
	uint64_t released; /* newest release record, 0: none */
};

/* Reads those in force now in place of the ones before. 0, or -1. */
int holds_read(struct holds *h, sqlite3 *db);
/* The hold with the smallest number that keeps such a record, or NULL. */
const struct hold *holds_match(
    const struct holds *h, uint64_t at, struct view envelope);
void holds_release(struct holds *h);

/*
 * Calls for each record of [first,last] with payload that a live hold keeps,
 * in order, with the smallest number of such a hold. 0, or -1.
 */
typedef void hold_record_cb(void *arg, uint64_t seq, uint64_t hold);
int hold_each(
    sqlite3 *db, uint64_t first, uint64_t last, hold_record_cb *cb, void *arg);

#endif
