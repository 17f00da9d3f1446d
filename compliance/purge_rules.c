#include "compliance/purge_rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/db.h"

#include "compliance/event.h"
#include "compliance/quorum.h"
#include "compliance/retention.h"

#define US_PER_S 1000000U

static bool __attribute__((format(printf, 3, 4)))
fail(char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, why_len, fmt, ap); /* may cut: words for people */
	va_end(ap);
	return false;
}

/* First and last record that are to go. */
static uint64_t
first_of(const struct purge_rules *p)
{
	return p->ranges[0].first;
}

static uint64_t
last_of(const struct purge_rules *p)
{
	return p->ranges[p->count - 1].last;
}

/* The youngest ack of the batches over the span, which all must be stored. */
static bool
find_ack(sqlite3 *db, const struct purge_rules *p, const char *adapter,
    uint64_t *ack_seq, uint64_t *ack_at, char *why, size_t why_len)
{
	const uint64_t span[2] = {first_of(p), last_of(p)};
	uint64_t row[3];
	int r;

	/* Batches leave no gaps: the one over `last` and those below it. */
	r = db_row(db,
	    "SELECT b.n FROM batch b LEFT JOIN ack a ON a.adapter = b.adapter"
	    " AND a.n = b.n WHERE b.adapter = ?1 AND b.first >= (SELECT first"
	    " FROM batch WHERE adapter = ?1 AND first <= ?2"
	    " ORDER BY first DESC LIMIT 1) AND b.first <= ?3"
	    " AND (a.state IS NULL OR a.state <> 'stored') LIMIT 1",
	    adapter, span, 2, row, 1);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (r == 1)
		return fail(why, why_len,
		    "%s has not stored its batch %" PRIu64, adapter, row[0]);
	r = db_row(db,
	    "SELECT a.seq, l.at, b.last FROM batch b JOIN ack a ON"
	    " a.adapter = b.adapter AND a.n = b.n JOIN leaf l ON l.seq = a.seq"
	    " WHERE b.adapter = ?1 AND b.first <= ?2"
	    " ORDER BY b.first DESC LIMIT 1",
	    adapter, &span[1], 1, row, 3);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (r == 0 || row[2] < span[1])
		return fail(why, why_len, "%s was never sent record %" PRIu64,
		    adapter, span[1]);
	*ack_seq = row[0];
	*ack_at = row[1];
	return true;
}

/* Puts all acknowledgements; *stored_at: time of the youngest. */
static bool
check_acks(sqlite3 *db, const struct purge_rules *p, struct buf *acks,
    uint64_t *stored_at, char *why, size_t why_len)
{
	for (size_t i = 0; i < p->required_count; i++) {
		uint64_t seq = 0, at = 0;

		if (!find_ack(db, p, p->required[i], &seq, &at, why, why_len))
			return false;
		if (seq >= p->signed_size)
			return fail(why, why_len,
			    "the acknowledgement %" PRIu64
			    " is not covered by a signature yet",
			    seq);
		if (p->now < at)
			return fail(why, why_len,
			    "%s stored it later than the clock says it is now",
			    p->required[i]);
		if (at > *stored_at)
			*stored_at = at;
		buf_printf(acks, "%s%s:%" PRIu64, i > 0 ? "," : "",
		    p->required[i], seq);
	}
	return true;
}

/*
 * Whether the chat store lacks a record that is to be purged. It is told of
 * users' events only, so control records after the last of them do not count.
 */
static int
lacks_record(sqlite3 *db, const struct purge_rules *p)
{
	const uint64_t args[] = {p->applied, last_of(p)};
	uint64_t seq;

	if (last_of(p) < p->applied)
		return 0;
	return db_row(db,
	    "SELECT seq FROM leaf WHERE seq BETWEEN ? AND ? AND kind < 128"
	    " LIMIT 1",
	    NULL, args, 2, &seq, 1);
}

static bool
check_form(sqlite3 *db, const struct purge_rules *p, char *why, size_t why_len)
{
	int r;

	if (!ranges_valid(p->ranges, p->count))
		return fail(why, why_len, "the ranges are out of order");
	if (last_of(p) - first_of(p) >= PURGE_RULES_SPAN)
		return fail(why, why_len,
		    "a purge takes 1 to %d records at a time",
		    PURGE_RULES_SPAN);
	r = lacks_record(db, p);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (r == 1)
		return fail(why, why_len,
		    "the chat store has applied only up to %" PRIu64,
		    p->applied);
	return true;
}

static bool
check_overlaps(
    sqlite3 *db, const struct purge_rules *p, char *why, size_t why_len)
{
	for (size_t i = 0; i < p->count; i++) {
		uint64_t end = 0;
		int r = db_row(db,
		    "SELECT last FROM purge_range WHERE first <= ?"
		    " ORDER BY first DESC LIMIT 1",
		    NULL, &p->ranges[i].last, 1, &end, 1);

		if (r < 0)
			return fail(why, why_len, "%s", sqlite3_errmsg(db));
		if (r == 1 && end >= p->ranges[i].first)
			return fail(
			    why, why_len, "purged already up to %" PRIu64, end);
	}
	return true;
}

/* A record of the ranges would lose its payload: by its class, and holds. */
static bool
check_record(const struct purge_rules *p, sqlite3_stmt *s, uint64_t stored_at,
    const struct hold *hold, char *why, size_t why_len)
{
	struct view envelope = view_of(
	    sqlite3_column_blob(s, 3), (size_t)sqlite3_column_bytes(s, 3));
	struct retention_class c =
	    retention_of(p->conf, (unsigned)sqlite3_column_int(s, 1), envelope);
	uint64_t seq = (uint64_t)sqlite3_column_int64(s, 0);

	if (c.after_s < 0)
		return fail(why, why_len,
		    "the configuration keeps record %" PRIu64
		    " for ever (class %s)",
		    seq, c.name);
	if ((p->now - stored_at) / US_PER_S < (uint64_t)c.after_s)
		return fail(why, why_len,
		    "record %" PRIu64 " was stored less than %" PRId64
		    " s ago (class %s)",
		    seq, c.after_s, c.name);
	if (hold != NULL)
		return fail(why, why_len,
		    "record %" PRIu64 " is held by hold %" PRIu64, seq,
		    hold->n);
	return true;
}

/* All records with payload from first to last; counts those that are held. */
static bool
walk(const struct purge_rules *p, sqlite3_stmt *s, uint64_t stored_at,
    uint64_t *held_count, char *why, size_t why_len)
{
	size_t range = 0;
	int step;

	while ((step = db_step(s)) == SQLITE_ROW) {
		uint64_t seq = (uint64_t)sqlite3_column_int64(s, 0);
		const struct hold *hold =
		    holds_match(p->holds, (uint64_t)sqlite3_column_int64(s, 2),
			view_of(sqlite3_column_blob(s, 3),
			    (size_t)sqlite3_column_bytes(s, 3)));

		if (hold != NULL)
			++*held_count;
		while (p->ranges[range].last < seq)
			range++;
		if (p->ranges[range].first <= seq &&
		    !check_record(p, s, stored_at, hold, why, why_len))
			return false;
	}
	return step == SQLITE_DONE ||
	    fail(why, why_len, "payloads cannot be read");
}

static bool
check_records(sqlite3 *db, const struct purge_rules *p, uint64_t stored_at,
    struct purge_facts *out, char *why, size_t why_len)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT b.id >> 8, l.kind, l.at, b.data FROM body b"
	    " CROSS JOIN leaf l ON l.seq = b.id >> 8"
	    " WHERE b.id >= ? AND b.id < ? AND b.id & 255 = 0");
	bool ok;

	if (s == NULL ||
	    db_row(db,
		"SELECT MAX(COALESCE((SELECT seq FROM leaf WHERE kind = 138"
		" AND kind >= 128 ORDER BY seq DESC LIMIT 1), 0),"
		" COALESCE((SELECT seq FROM leaf WHERE kind = 139"
		" AND kind >= 128 ORDER BY seq DESC LIMIT 1), 0))",
		NULL, NULL, 0, &out->hold, 1) != 1) {
		(void)sqlite3_finalize(s); /* was never stepped */
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	}
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)(first_of(p) << 8));
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)((last_of(p) + 1) << 8));
	ok = walk(p, s, stored_at, &out->held, why, why_len);
	(void)sqlite3_finalize(s); /* results of steps are known */
	return ok;
}

/* The largest number in "name:seq,...". */
static uint64_t
youngest_of(struct view acks)
{
	uint64_t largest = 0;

	for (size_t i = 0; i < acks.n; i++) {
		uint64_t seq = 0;

		if (acks.p[i] != ':')
			continue;
		while (++i < acks.n && acks.p[i] != ',')
			seq = seq * 10 + (uint64_t)(acks.p[i] - '0');
		if (seq > largest)
			largest = seq;
	}
	return largest;
}

/* Whether others hold a checkpoint over all the acknowledgements. */
static bool
check_anchor(sqlite3 *db, const struct purge_rules *p, struct purge_facts *out,
    char *why, size_t why_len)
{
	const struct conf *conf = p->conf;
	int r;

	out->anchor = 0;
	if (conf->anchors.quorum == 0 && !conf->stamp.required)
		return true;
	r = quorum_find(db, conf, conf->stamp.required,
	    youngest_of(buf_view(&out->acks)), &out->anchor);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (r == 0)
		return fail(why, why_len,
		    "no checkpoint that covers the acknowledgements is in "
		    "enough other hands yet (%u witnesses%s are needed)",
		    conf->anchors.quorum,
		    conf->stamp.required ? " and a time-stamp" : "");
	return true;
}

static bool
check_approvals(sqlite3 *db, const struct purge_rules *p, struct buf *out,
    char *why, size_t why_len)
{
	unsigned persons = p->conf->purge_approvals;

	if (approvals_read(p->approvals, db) != 0)
		return fail(why, why_len, "approvals cannot be read: %s",
		    sqlite3_errmsg(db));
	return approvals_put(p->approvals, persons, last_of(p), out) ||
	    fail(why, why_len,
		"record %" PRIu64 " is not approved by %u persons", last_of(p),
		persons);
}

void
purge_facts_init(struct purge_facts *f)
{
	*f = (struct purge_facts){0};
	buf_init(&f->acks);
	buf_init(&f->approvals);
}

void
purge_facts_release(struct purge_facts *f)
{
	buf_release(&f->acks);
	buf_release(&f->approvals);
}

bool
purge_rules_check(sqlite3 *db, const struct purge_rules *p,
    struct purge_facts *out, char *why, size_t why_len)
{
	uint64_t stored_at = 0;

	if (retention_shortest(p->conf) < 0)
		return fail(
		    why, why_len, "the configuration keeps all records");
	if (p->required_count == 0)
		return fail(why, why_len, "no adapter is required");
	if (db_row(db,
		"SELECT seq FROM leaf WHERE kind = 134 AND kind >= 128"
		" ORDER BY seq DESC LIMIT 1",
		NULL, NULL, 0, &out->policy, 1) != 1)
		return fail(why, why_len, "no policy is recorded");
	return check_form(db, p, why, why_len) &&
	    check_overlaps(db, p, why, why_len) &&
	    check_approvals(db, p, &out->approvals, why, why_len) &&
	    check_acks(db, p, &out->acks, &stored_at, why, why_len) &&
	    check_anchor(db, p, out, why, why_len) &&
	    check_records(db, p, stored_at, out, why, why_len);
}
