#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/hold.h"
#include "compliance/journal.h"
#include "compliance/leaf.h"

#define MATTER_MAX 200

struct hold_row {
	uint64_t n;
	struct view text;
	struct hold_selector selector;
	uint8_t salt[LEAF_SALT_LEN];
	bool lost; /* text and salt are */
};

static void
put_by(struct buf *b, uint32_t by)
{
	char uid[24];

	(void)snprintf(uid, sizeof uid, "uid:%" PRIu32, by);
	leaf_put_field(b, "by", view_text(uid));
}

/* Appends the one record, with what else belongs to it. */
static int
append(struct journal *j, unsigned kind, const struct buf *fields,
    struct change *c, struct journal_event *out)
{
	int r;

	memset(out, 0, sizeof *out);
	out->kind = kind;
	out->fields = buf_view(fields);
	c->events = out;
	c->count = 1;
	r = fields->failed ? journal_fail(j, "out of memory")
			   : journal_commit(j, c);
	out->fields = view_of(NULL, 0);
	return r;
}

static void
bind_text(sqlite3_stmt *s, int at, struct view v)
{
	if (v.n > 0)
		(void)sqlite3_bind_text64(
		    s, at, (const char *)v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
	else
		(void)sqlite3_bind_null(s, at);
}

static void
bind_time(sqlite3_stmt *s, int at, uint64_t t)
{
	if (t > 0)
		(void)sqlite3_bind_int64(s, at, (sqlite3_int64)t);
	else
		(void)sqlite3_bind_null(s, at);
}

static int
insert_hold(struct journal *j, const void *arg, uint64_t seq)
{
	const struct hold_row *row = arg;
	sqlite3_stmt *s = j->stmt[S_HOLD];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)row->n);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)seq);
	if (row->lost)
		(void)sqlite3_bind_null(s, 3);
	else
		(void)sqlite3_bind_blob(
		    s, 3, row->salt, sizeof row->salt, SQLITE_STATIC);
	bind_text(s, 4, row->text);
	bind_text(s, 5, row->selector.room);
	bind_text(s, 6, row->selector.user);
	bind_time(s, 7, row->selector.from);
	bind_time(s, 8, row->selector.until);
	j->holds_known = false;
	return journal_run(j, S_HOLD, "hold");
}

int
journal_put_hold(struct journal *j, struct view fields, uint64_t seq,
    const struct journal_hold_words *words)
{
	struct hold_row row = {.lost = !words->salted};

	(void)leaf_field_number(fields, "hold", &row.n); /* 0 is refused */
	if (words->salted) {
		row.text = words->selector;
		memcpy(row.salt, words->salt, sizeof row.salt);
		if (!hold_get_selector(row.text, &row.selector))
			return journal_fail(j, "the selector is malformed");
	}
	return insert_hold(j, &row, seq);
}

static int
next_number(struct journal *j, uint64_t *out)
{
	int r = sqlite3_step(j->stmt[S_HOLD_NEXT]);

	if (r == SQLITE_ROW)
		*out = (uint64_t)sqlite3_column_int64(j->stmt[S_HOLD_NEXT], 0);
	(void)sqlite3_reset(j->stmt[S_HOLD_NEXT]); /* repeats r */
	return r == SQLITE_ROW ? 0 : journal_fail_sql(j, "number of the hold");
}

int
journal_hold(
    struct journal *j, struct journal_hold *h, struct journal_event *out)
{
	struct hold_row row = {.text = h->selector};
	struct change c = {.also = insert_hold, .arg = &row};
	uint8_t commitment[CRYPTO_SHA256_LEN];
	struct buf fields, base64;
	int r;

	if (!journal_writable(j))
		return -1;
	if (h->matter.n == 0 || h->matter.n > MATTER_MAX ||
	    !text_is_line(h->matter)) {
		(void)journal_fail(
		    j, "a matter has 1 to %d bytes of one line", MATTER_MAX);
		return 1;
	}
	if (!hold_get_selector(h->selector, &row.selector)) {
		(void)journal_fail(j, "the selector is malformed");
		return 1;
	}
	if (next_number(j, &row.n) != 0)
		return -1;
	crypto_random(row.salt, sizeof row.salt);
	leaf_commit(row.salt, h->selector, commitment);
	buf_init(&fields);
	buf_init(&base64);
	text_put_base64(&base64, commitment, sizeof commitment);
	leaf_put_number(&fields, "hold", row.n);
	leaf_put_field(&fields, "matter", h->matter);
	leaf_put_field(&fields, "selector", buf_view(&base64));
	put_by(&fields, h->by);
	fields.failed |= base64.failed;
	r = append(j, EVENT_HOLD, &fields, &c, out);
	if (r == 0)
		h->n = row.n;
	buf_release(&base64);
	buf_release(&fields);
	return r;
}

int
journal_hold_lives(struct journal *j, uint64_t n)
{
	sqlite3_stmt *s = j->stmt[S_HOLD_FIND];
	int step, lives;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)n);
	step = sqlite3_step(s);
	lives = step == SQLITE_ROW && sqlite3_column_type(s, 0) == SQLITE_NULL;
	(void)sqlite3_reset(s); /* step tells */
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return journal_fail_sql(j, "hold");
	return lives;
}

static int
set_released(struct journal *j, const void *arg, uint64_t seq)
{
	sqlite3_stmt *s = j->stmt[S_RELEASE];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64) * (const uint64_t *)arg);
	j->holds_known = false;
	return journal_run(j, S_RELEASE, "release");
}

int
journal_put_release(struct journal *j, struct view fields, uint64_t seq)
{
	uint64_t n = 0;

	(void)leaf_field_number(fields, "hold", &n); /* 0 finds none */
	return set_released(j, &n, seq);
}

static bool
is_by(struct view leaf_text, uint32_t by)
{
	char uid[24];
	const char *why;
	struct leaf leaf;
	struct view v;

	(void)snprintf(uid, sizeof uid, "uid:%" PRIu32, by);
	return leaf_parse(leaf_text, &leaf, &why) &&
	    leaf_field(leaf.fields, "by", &v) && view_is(v, uid);
}

/* 0; 1 with the reason; -1. */
static int
may_release(struct journal *j, uint64_t n, uint32_t by, bool others)
{
	sqlite3_stmt *s = j->stmt[S_HOLD_FIND];
	int step, r = 0;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)n);
	step = sqlite3_step(s);
	if (step == SQLITE_DONE ||
	    (step == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)) {
		(void)journal_fail(j,
		    step == SQLITE_ROW ? "hold %" PRIu64 " is released already"
				       : "there is no hold %" PRIu64,
		    n);
		r = 1;
	} else if (step == SQLITE_ROW && others &&
	    is_by(view_of(sqlite3_column_blob(s, 1),
		      (size_t)sqlite3_column_bytes(s, 1)),
		by)) {
		(void)journal_fail(j,
		    "hold %" PRIu64 " must be released by another person than "
		    "the one who placed it",
		    n);
		r = 1;
	} else if (step != SQLITE_ROW) {
		r = journal_fail_sql(j, "hold");
	}
	(void)sqlite3_reset(s); /* repeats the step's result */
	return r;
}

int
journal_release(struct journal *j, uint64_t n, uint32_t by, bool others,
    struct journal_event *out)
{
	struct change c = {.also = set_released, .arg = &n};
	struct buf fields;
	int r;

	if (!journal_writable(j))
		return -1;
	r = may_release(j, n, by, others);
	if (r != 0)
		return r;
	buf_init(&fields);
	leaf_put_number(&fields, "hold", n);
	put_by(&fields, by);
	r = append(j, EVENT_RELEASE, &fields, &c, out);
	buf_release(&fields);
	return r;
}

int
journal_approve(
    struct journal *j, uint64_t below, uint32_t by, struct journal_event *out)
{
	struct change c = {.count = 0};
	struct buf fields;
	int r;

	if (!journal_writable(j))
		return -1;
	if (below == 0 || below > journal_size(j)) {
		(void)journal_fail(j,
		    "records below %" PRIu64 " cannot be approved: there are "
		    "%" PRIu64 " in all",
		    below, journal_size(j));
		return 1;
	}
	buf_init(&fields);
	leaf_put_number(&fields, "below", below);
	put_by(&fields, by);
	r = append(j, EVENT_APPROVE, &fields, &c, out);
	buf_release(&fields);
	return r;
}

int
journal_next_purge(
    struct journal *j, uint64_t from, uint64_t *seq, struct buf *ranges)
{
	sqlite3_stmt *s = j->stmt[S_NEXT_PURGE];
	struct leaf leaf;
	struct view v;
	const char *why;
	int step, r = -1;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)from);
	step = sqlite3_step(s);
	if (step == SQLITE_DONE) {
		r = 0;
	} else if (step == SQLITE_ROW &&
	    leaf_parse(view_of(sqlite3_column_blob(s, 1),
			   (size_t)sqlite3_column_bytes(s, 1)),
		&leaf, &why) &&
	    leaf_field(leaf.fields, "ranges", &v)) {
		*seq = (uint64_t)sqlite3_column_int64(s, 0);
		buf_put_view(ranges, v);
		r = ranges->failed ? -1 : 1;
	}
	(void)sqlite3_reset(s); /* repeats the step's result */
	return r >= 0 ? r : journal_fail(j, "purge records cannot be read");
}
