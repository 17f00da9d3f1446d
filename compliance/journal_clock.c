#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/leaf.h"

/* What the journal knows of the clock and of its own beats. */

#define STEP_US 250000 /* real minus boot time that moved more was set */

static int64_t
offset_of(uint64_t real, uint64_t boot)
{
	return (int64_t)real - (int64_t)boot;
}

static void
put_signed(struct buf *fields, const char *name, int64_t value)
{
	buf_printf(fields, "%s %" PRId64 "\n", name, value);
}

/*
 * The first records of a file have their place, and nothing comes before
 * them; a clock that was set shows in the record after them.
 */
static bool
is_placed(unsigned kind)
{
	return kind == EVENT_OPEN || kind == EVENT_SEAL;
}

bool
journal_clock_moved(
    const struct journal *j, unsigned kind, const struct clock_reading *now)
{
	if (is_placed(kind))
		return false;
	/* The first of a boot has nothing to compare with but the time. */
	if (!j->offset_known)
		return now->real <= j->at;
	return llabs(offset_of(now->real, now->boot) - j->offset) > STEP_US;
}

void
journal_clock_put(const struct journal *j, const struct clock_reading *now,
    struct buf *fields)
{
	int64_t offset = offset_of(now->real, now->boot);

	put_signed(fields, "old", j->offset_known ? j->offset : offset);
	put_signed(fields, "new", offset);
	clock_put_state(fields);
}

void
journal_clock_took(struct journal *j, const struct leaf_head *head,
    const struct clock_reading *now)
{
	if (head->kind == EVENT_CLOCK ||
	    (head->flags == 0 && !is_placed(head->kind))) {
		j->offset = offset_of(now->real, now->boot);
		j->offset_known = true;
	}
	if (head->kind == EVENT_OPEN || head->kind == EVENT_BEAT)
		j->events = 0;
	else if (head->kind < EVENT_CONTROL)
		j->events++;
}

/* ---- from the file ---- */

/* The offset that a leaf tells; 1, 0 when none, -1 when there will be none. */
static int
told_offset(const struct journal *j, struct view text, int64_t *out)
{
	struct view value;
	struct leaf leaf;
	const char *why;

	if (!leaf_parse(text, &leaf, &why) ||
	    memcmp(leaf.head.boot_id, j->boot_id, 8) != 0)
		return -1;
	if (leaf.head.kind == EVENT_CLOCK) {
		char digits[24];

		if (!leaf_field(leaf.fields, "new", &value) ||
		    value.n >= sizeof digits)
			return -1;
		memcpy(digits, value.p, value.n);
		digits[value.n] = '\0';
		*out = strtoll(digits, NULL, 10);
		return 1;
	}
	if (leaf.head.flags != 0 || is_placed(leaf.head.kind))
		return 0;
	*out = offset_of(leaf.head.at, leaf.head.boot);
	return 1;
}

/*
 * Backwards from a record over those that were held back, to one that was
 * not, or to where the file lacks a record. As told_offset().
 */
static int
search(struct journal *j, sqlite3 *db, uint64_t *below)
{
	sqlite3_stmt *s = db_prepare(
	    db, "SELECT seq, bytes FROM leaf WHERE seq < ? ORDER BY seq DESC");
	int told = 0;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)*below);
	while (s != NULL && told == 0 && sqlite3_step(s) == SQLITE_ROW &&
	    (uint64_t)sqlite3_column_int64(s, 0) + 1 == *below) {
		--*below;
		told = told_offset(j,
		    view_of(sqlite3_column_blob(s, 1),
			(size_t)sqlite3_column_bytes(s, 1)),
		    &j->offset);
	}
	(void)sqlite3_finalize(s); /* how far it came tells */
	return told;
}

/* A file has only copies of some of the records before its own. */
static int
load_offset(struct journal *j)
{
	uint64_t below = j->size, before = below + 1;
	sqlite3 *db = j->db;
	int told = 0;

	while (told == 0 && below > 0 && below < before) {
		if (below < j->size && below <= j->first)
			db = journal_old_db(j, below - 1);
		if (db == NULL)
			break; /* put away: the next record is the first known */
		before = below;
		told = search(j, db, &below);
	}
	j->offset_known = told == 1;
	return told != 0 || below == 0 || db == NULL
	    ? 0
	    : journal_fail(j, "leaf %" PRIu64 " cannot be read", below - 1);
}

static sqlite3_int64
ask(sqlite3_stmt *s, unsigned kind, sqlite3_int64 after)
{
	sqlite3_int64 n = -1;

	(void)sqlite3_bind_int64(s, 1, kind);
	(void)sqlite3_bind_int64(s, 2, after);
	if (sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	(void)sqlite3_reset(s); /* n tells */
	return n;
}

/*
 * User events since the last beat: all records since then but the control
 * records, which an index lists kind by kind.
 */
static int
load_events(struct journal *j)
{
	sqlite3_stmt *last = db_prepare(j->db,
	    "SELECT COALESCE(MAX(seq), ?2) FROM leaf"
	    " WHERE kind = ?1 AND kind >= 128");
	sqlite3_stmt *count = db_prepare(j->db,
	    "SELECT COUNT(*) FROM leaf"
	    " WHERE kind = ?1 AND kind >= 128 AND seq > ?2");
	sqlite3_int64 since = -1, control = 0;
	bool ok = last != NULL && count != NULL;

	if (ok)
		since = ask(last, EVENT_BEAT, ask(last, EVENT_OPEN, -1));
	for (unsigned kind = EVENT_CONTROL; ok && kind < 256; kind++) {
		sqlite3_int64 n = ask(count, kind, since);

		ok = n >= 0;
		control += n;
	}
	(void)sqlite3_finalize(last); /* what was read tells */
	(void)sqlite3_finalize(count);
	if (!ok)
		return journal_fail_sql(j, "the journal cannot be read");
	j->events = j->size - (uint64_t)(since + 1) - (uint64_t)control;
	return 0;
}

int
journal_clock_load(struct journal *j)
{
	return load_offset(j) != 0 || load_events(j) != 0 ? -1 : 0;
}

/* ---- beats ---- */

void
journal_put_beat(
    const struct journal *j, unsigned every_s, uint64_t queue, struct buf *out)
{
	leaf_put_number(out, "every", every_s);
	leaf_put_number(out, "events", j->events);
	leaf_put_number(out, "queue", queue);
	clock_put_state(out);
	journal_put_anchor(j, out);
}

uint64_t
journal_last_at(struct journal *j, unsigned kind)
{
	sqlite3_stmt *s = db_prepare(j->db,
	    "SELECT at FROM leaf WHERE kind = ?1 AND kind >= 128"
	    " ORDER BY seq DESC LIMIT 1");
	uint64_t at = 0;

	(void)sqlite3_bind_int64(s, 1, kind); /* fails where prepare did */
	if (s != NULL && sqlite3_step(s) == SQLITE_ROW)
		at = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* 0 tells */
	return at;
}
