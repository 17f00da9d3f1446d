#include "export/verify_clock.h"

#include <inttypes.h>
#include <string.h>

#include "export/verify_line.h"

#define STEP_US 250000
#define SLACK_S 5
#define US_PER_S 1000000U
#define S_MAX (INT64_MAX / 1000000)

enum { CLOCK_OLD, CLOCK_NEW, CLOCK_SYNC };
enum { BEAT_EVERY, BEAT_EVENTS, BEAT_QUEUE, BEAT_SYNC };
enum { DROP_WHAT, DROP_SINCE, DROP_UNTIL, DROP_COUNT };
enum { AUDIT_FIRST, AUDIT_LAST, AUDIT_SINCE, AUDIT_RESULT };
enum { CONFLICT_WITNESS, CONFLICT_SIZE, CONFLICT_PROOF };

static bool
get_signed(struct view v, int64_t *out)
{
	bool negative = v.n > 0 && v.p[0] == '-';
	uint64_t n;

	if (!view_to_u64(view_of(v.p + negative, v.n - negative), &n) ||
	    n > INT64_MAX || (negative && n == 0))
		return false;
	*out = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

static uint64_t
distance(int64_t a, int64_t b)
{
	return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* "12.345 s" of microseconds. */
static void
put_seconds(struct buf *b, uint64_t us)
{
	buf_printf(b, "%" PRIu64 ".%03" PRIu64 " s", us / US_PER_S,
	    us % US_PER_S / 1000);
}

/* ---- the clock ---- */

static void
take_step(struct verify_clock *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	int64_t old, new;
	struct buf b;

	if (!get_signed(l->field[CLOCK_OLD].value, &old) ||
	    !get_signed(l->field[CLOCK_NEW].value, &new)) {
		c->offset_known = false;
		return; /* said by the control records' check */
	}
	if (c->offset_known && old != c->offset)
		verify_report_finding(r, VERIFY_TIME, verify_at_line(l->seq, 3),
		    "clock record does not begin where the records before it "
		    "stood");
	if (c->offset_known ? distance(old, new) <= STEP_US : old != new)
		verify_report_finding(r, VERIFY_TIME, verify_at_line(l->seq, 4),
		    c->offset_known ? "clock record of no step"
				    : "clock record of a step in the first "
				      "record of a start of the machine");
	if (l->flags == 0 && new != (int64_t)l->at - (int64_t)l->boot)
		verify_report_finding(r, VERIFY_TIME, verify_at_line(l->seq, 4),
		    "clock record is not of its own time");
	buf_init(&b);
	put_seconds(&b, distance(old, new));
	if (old == new)
		verify_report_observe(r, l->seq,
		    "when the machine had started, the clock was behind the "
		    "record before");
	else
		verify_report_observe(r, l->seq, "the clock was set %s by %s",
		    new < old ? "back" : "forward", buf_text(&b));
	buf_release(&b);
	c->offset = new;
	c->offset_known = true;
}

static void
check_clock(struct verify_clock *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	int64_t offset = (int64_t)l->at - (int64_t)l->boot;
	bool begins;

	if (l->seq == 0)
		c->known = true; /* of no boot */
	begins = c->known && memcmp(c->boot_id, l->boot_id, 8) != 0;
	if (l->kind == VERIFY_KIND_OPEN || l->kind == VERIFY_KIND_SEAL)
		return;
	if (!c->known || begins)
		c->offset_known = false;
	memcpy(c->boot_id, l->boot_id, 8);
	c->known = true;
	if (l->kind == VERIFY_KIND_CLOCK) {
		take_step(c, l, r);
		return;
	}
	if (begins && l->flags != 0)
		verify_report_finding(r, VERIFY_TIME, verify_at_line(l->seq, 2),
		    "when the machine had started, the clock was behind the "
		    "record before, and no clock record says so");
	if (l->flags != 0)
		return;
	if (c->offset_known && distance(offset, c->offset) > STEP_US)
		verify_report_finding(r, VERIFY_TIME, verify_at_line(l->seq, 2),
		    "the clock was set, and no clock record says so");
	c->offset = offset;
	c->offset_known = true;
}

/* ---- beats and silence ---- */

static void
observe_silence(const struct verify_clock *c, const struct verify_leaf *l,
    uint64_t every_s, struct verify_report *r)
{
	bool same = memcmp(c->beat.boot_id, l->boot_id, 8) == 0;
	/* What the clock of the day says only counts without the other. */
	uint64_t from = same ? c->beat.boot : c->beat.at;
	uint64_t to = same ? l->boot : l->at;
	uint64_t longest;
	struct buf b;

	if (every_s > S_MAX / 4)
		every_s = S_MAX / 4;
	longest = (2 * every_s + SLACK_S) * US_PER_S;
	if (to <= from || to - from <= longest)
		return;
	buf_init(&b);
	put_seconds(&b, to - from);
	buf_printf(
	    &b, " without a beat after record %" PRIu64 "; ", c->beat.seq);
	if (!same)
		buf_put_text(&b, "the machine was started anew");
	else if (c->restart != UINT64_MAX)
		buf_printf(
		    &b, "the keeper began anew, record %" PRIu64, c->restart);
	else if (c->incident != UINT64_MAX)
		buf_printf(&b, "an incident is recorded, record %" PRIu64,
		    c->incident);
	else
		buf_put_text(&b, "nothing on record explains it");
	verify_report_observe(r, l->seq, "%s", buf_text(&b));
	buf_release(&b);
}

static void
end_unsynchronised(struct verify_clock *c, struct verify_report *r)
{
	if (c->unsynchronised.beats == 0)
		return;
	verify_report_observe(r, c->unsynchronised.first,
	    "the kernel did not call the clock synchronised, in %" PRIu64
	    " beat%s up to record %" PRIu64,
	    c->unsynchronised.beats, c->unsynchronised.beats == 1 ? "" : "s",
	    c->unsynchronised.last);
	c->unsynchronised.beats = 0;
}

static void
take_beat(struct verify_clock *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	uint64_t every = 0, events = 0;

	if (!verify_leaf_number(l, BEAT_EVERY, &every) ||
	    !verify_leaf_number(l, BEAT_EVENTS, &events))
		every = 0; /* said by the control records' check */
	else if (c->counting && events != c->events)
		verify_report_finding(r, VERIFY_CONTROL,
		    verify_at_line(l->seq, 3 + BEAT_EVENTS),
		    "beat says %" PRIu64 " events since the last, there are "
		    "%" PRIu64,
		    events, c->events);
	if (c->beat.known)
		observe_silence(
		    c, l, c->beat.every_s > every ? c->beat.every_s : every, r);
	if (!view_is(l->field[BEAT_SYNC].value, "no")) {
		end_unsynchronised(c, r);
	} else {
		if (c->unsynchronised.beats++ == 0)
			c->unsynchronised.first = l->seq;
		c->unsynchronised.last = l->seq;
	}
	c->beat.every_s = every;
}

static void
begin_count(struct verify_clock *c, const struct verify_leaf *l)
{
	c->counting = true;
	c->events = 0;
	c->restart = c->incident = UINT64_MAX;
	c->beat.known = true;
	c->beat.seq = l->seq;
	c->beat.at = l->at;
	c->beat.boot = l->boot;
	memcpy(c->beat.boot_id, l->boot_id, 8);
}

/* ---- what else is told ---- */

static void
take_drop(const struct verify_leaf *l, struct verify_report *r)
{
	verify_report_observe(r, l->seq, "events were refused: %.*s (%.*s)",
	    (int)l->field[DROP_COUNT].value.n,
	    (const char *)l->field[DROP_COUNT].value.p,
	    (int)l->field[DROP_WHAT].value.n,
	    (const char *)l->field[DROP_WHAT].value.p);
}

static void
take_audit(const struct verify_leaf *l, struct verify_report *r)
{
	if (view_is(l->field[AUDIT_RESULT].value, "broken"))
		verify_report_observe(r, l->seq,
		    "an audit found records %.*s-%.*s broken",
		    (int)l->field[AUDIT_FIRST].value.n,
		    (const char *)l->field[AUDIT_FIRST].value.p,
		    (int)l->field[AUDIT_LAST].value.n,
		    (const char *)l->field[AUDIT_LAST].value.p);
}

static void
take_conflict(const struct verify_leaf *l, struct verify_report *r)
{
	struct view witness = l->field[CONFLICT_WITNESS].value;
	struct view size = l->field[CONFLICT_SIZE].value;

	verify_report_observe(r, l->seq,
	    "witness %.*s %s another history of this journal, of %.*s records",
	    (int)witness.n, (const char *)witness.p,
	    view_is(l->field[CONFLICT_PROOF].value, "yes") ? "proved"
							   : "claimed",
	    (int)size.n, (const char *)size.p);
}

void
verify_clock_take(struct verify_clock *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	check_clock(c, l, r);
	if (l->kind < VERIFY_KIND_CONTROL) {
		c->events++;
		return;
	}
	switch (l->kind) {
	case VERIFY_KIND_BEAT:
		take_beat(c, l, r);
		begin_count(c, l);
		break;
	case VERIFY_KIND_OPEN:
		c->beat.every_s = 0;
		begin_count(c, l);
		break;
	case VERIFY_KIND_KEY:
	case VERIFY_KIND_RECOVER:
		c->restart = l->seq;
		break;
	case VERIFY_KIND_INCIDENT:
		c->incident = l->seq;
		break;
	case VERIFY_KIND_DROP:
		take_drop(l, r);
		break;
	case VERIFY_KIND_AUDIT:
		take_audit(l, r);
		break;
	case VERIFY_KIND_CONFLICT:
		take_conflict(l, r);
		break;
	default:
		break;
	}
}

void
verify_clock_gap(struct verify_clock *c)
{
	c->known = c->counting = c->beat.known = false;
}

void
verify_clock_finish(struct verify_clock *c, struct verify_report *r)
{
	end_unsynchronised(c, r);
}
