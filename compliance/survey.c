#include "compliance/survey.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/approval.h"
#include "compliance/hold.h"
#include "compliance/ledger.h"
#include "compliance/plan.h"
#include "compliance/quorum.h"
#include "compliance/reach.h"
#include "compliance/retention.h"
#include "compliance/scan.h"

#define STEP_RECORDS 2000
#define GROUPS_MAX 256
#define REASONS_MAX 16 /* more than there are */
#define OTHERS "others"

/* Reaches besides those of the times. */
enum extra {
	EXTRA_STORED,
	EXTRA_SIGNED,
	EXTRA_OUTSIDE, /* a checkpoint is in other hands */
	EXTRAS
};

struct survey {
	const struct conf *conf;
	struct scan *scan;
	struct ledger *ledger;
	struct holds holds;
	uint64_t approved;
	struct reach *reach; /* by time, then by EXTRA_* */
	uint64_t *end;
	size_t times;
	uint64_t next, size;
	struct survey_group group[GROUPS_MAX + REASONS_MAX];
	size_t groups;
	struct plan_ranges found;
	bool more;
	uv_timer_t timer;
	survey_cb *cb;
	void *arg;
	char why[256];
};

static void
on_closed(uv_handle_t *handle)
{
	struct survey *s = handle->data;

	for (size_t i = 0; s->reach != NULL && i < s->times + EXTRAS; i++)
		reach_release(&s->reach[i]);
	holds_release(&s->holds);
	scan_close(s->scan);
	ledger_close(s->ledger);
	free(s->found.range);
	free(s->reach);
	free(s->end);
	free(s);
}

static void
finish(struct survey *s, const char *failure)
{
	const struct survey_result result = {.group = s->group,
	    .groups = s->groups,
	    .range = s->found.range,
	    .ranges = s->found.count,
	    .more = s->more};

	s->cb(s->arg, failure == NULL ? &result : NULL, failure);
	uv_close((uv_handle_t *)&s->timer, on_closed);
}

static struct survey_group *
find_group(struct survey *s, const char *reason, const char *detail)
{
	struct survey_group *g = s->group;

	while (g < s->group + s->groups &&
	    (g->reason != reason || strcmp(g->detail, detail) != 0))
		g++;
	return g;
}

static void
count(struct survey *s, const struct scan_record *r, const char *reason,
    const char *detail)
{
	struct survey_group *g = find_group(s, reason, detail);

	/* There is room for what has none, as that which goes. */
	if (g == s->group + s->groups && s->groups >= GROUPS_MAX &&
	    detail[0] != '\0') {
		detail = OTHERS;
		g = find_group(s, reason, detail);
	}
	if (g == s->group + s->groups) {
		s->groups++;
		g->reason = reason;
		(void)snprintf(g->detail, sizeof g->detail, "%s", detail);
		g->first = r->seq;
	}
	g->records++;
	g->last = r->seq;
	for (unsigned i = 0; i < r->parts; i++)
		g->bytes += r->part[i].data.n;
}

/* Where the records end that are kept at most so long and may go by time. */
static uint64_t
end_of(const struct survey *s, int64_t after_s)
{
	for (size_t i = 0; i < s->times; i++)
		if (s->reach[i].after_s == after_s)
			return s->end[i];
	return 0;
}

static const char *
adapter_without(const struct reach *r, uint64_t seq)
{
	for (size_t i = 0; i < r->count; i++)
		if (seq >= r->adapter[i].end)
			return r->adapter[i].adapter;
	return NULL;
}

/* Why a record stays, NULL: it goes; the first of all reasons counts. */
static const char *
reason_of(const struct survey *s, const struct scan_record *r, char *detail,
    size_t len)
{
	struct view envelope = r->part[0].data;
	struct retention_class c = retention_of(s->conf, r->kind, envelope);
	const struct hold *hold = holds_match(&s->holds, r->at, envelope);
	const char *lacks =
	    adapter_without(&s->reach[s->times + EXTRA_STORED], r->seq);

	(void)snprintf(detail, len, "%s", c.name);
	if (c.after_s < 0)
		return "kept for ever";
	if (hold != NULL) {
		(void)snprintf(detail, len, "%" PRIu64, hold->n);
		return "held";
	}
	if (s->reach[s->times + EXTRA_STORED].count == 0)
		return "no adapter is required";
	if (lacks != NULL) {
		(void)snprintf(detail, len, "%s", lacks);
		return "not stored";
	}
	lacks = adapter_without(&s->reach[s->times + EXTRA_SIGNED], r->seq);
	if (lacks != NULL) {
		(void)snprintf(detail, len, "%s", lacks);
		return "acknowledgement not signed";
	}
	if (r->seq >= end_of(s, c.after_s))
		return "too young";
	detail[0] = '\0';
	if (r->seq >= s->approved)
		return "not approved";
	if (r->seq >= s->end[s->times + EXTRA_OUTSIDE])
		return "no checkpoint outside";
	return NULL;
}

static void
take(struct survey *s, const struct scan_record *r)
{
	char detail[sizeof s->group[0].detail];
	const char *reason;

	if (r->parts == 0)
		return;
	if (r->purged) {
		s->found.joined = false;
		return;
	}
	reason = reason_of(s, r, detail, sizeof detail);
	count(s, r, reason, detail);
	if (reason != NULL) {
		s->found.joined = false;
		return;
	}
	if (s->found.joined)
		s->found.range[s->found.count - 1].last = r->seq;
	else if (s->found.count < PURGE_RULES_SPAN)
		s->found.range[s->found.count++] =
		    (struct range){r->seq, r->seq};
	else
		s->more = true;
	s->found.joined = !s->more;
}

static void
on_step(uv_timer_t *timer)
{
	struct survey *s = timer->data;
	struct scan_record r;
	uint64_t seq;
	int got = scan_next_payload(s->scan, s->next, &seq);

	if (got <= 0 || seq >= s->size) {
		finish(s, got < 0 ? scan_error(s->scan) : NULL);
		return;
	}
	if (seq > s->next)
		s->found.joined = false; /* records between are purged */
	if (scan_seek(s->scan, seq) != 0)
		got = -1;
	for (unsigned i = 0; i < STEP_RECORDS && got == 1; i++) {
		got = scan_next(s->scan, &r);
		if (got != 1 || r.seq >= s->size)
			break;
		take(s, &r);
		s->next = r.seq + 1;
	}
	if (got < 0)
		finish(s, scan_error(s->scan));
	else if (got == 0 || s->next >= s->size)
		finish(s, NULL);
	else
		(void)uv_timer_start(timer, on_step, 1, 0); /* always 0 */
}

/* How far each reason reaches. */
static int
measure(struct survey *s)
{
	uint64_t from = scan_purged_to(s->scan), signed_size, outside = 0;
	struct approvals approvals = {0};
	struct sqlite3 *db = ledger_db(s->ledger);
	struct reach_stop stop;
	struct buf note;
	int r;

	buf_init(&note);
	r = scan_note(s->scan, &signed_size, &note);
	buf_release(&note);
	if (r != 0 || db == NULL || holds_read(&s->holds, db, HOLDS_NOW) != 0 ||
	    approvals_read(&approvals, db) != 0 ||
	    quorum_find(db, s->conf, s->conf->stamp.required, 0, &outside) < 0)
		r = -1;
	if (s->conf->anchors.quorum == 0 && !s->conf->stamp.required)
		outside = UINT64_MAX;
	s->approved = approvals_below(&approvals, s->conf->purge_approvals);
	approvals_release(&approvals);
	for (size_t i = 0; r == 0 && i < s->times + EXTRAS; i++)
		r = reach_extend(&s->reach[i], s->scan, s->ledger, from,
		    i == s->times + EXTRA_STORED        ? UINT64_MAX
			: i == s->times + EXTRA_OUTSIDE ? outside
							: signed_size,
		    &s->end[i], &stop);
	s->next = from;
	s->size = scan_size(s->scan);
	return r;
}

static bool
prepare(struct survey *s, const char *journal)
{
	int64_t *times = calloc(s->conf->retention_count + 1, sizeof *times);
	bool ok = times != NULL;

	(void)snprintf(s->why, sizeof s->why, "out of memory");
	s->times = ok ? retention_times(s->conf, times) : 0;
	s->reach = calloc(s->times + EXTRAS, sizeof *s->reach);
	s->end = calloc(s->times + EXTRAS, sizeof *s->end);
	s->found.range = calloc(PURGE_RULES_SPAN, sizeof *s->found.range);
	ok = ok && s->reach != NULL && s->end != NULL && s->found.range != NULL;
	for (size_t i = 0; ok && i < s->times + EXTRAS; i++)
		ok = reach_init(
		    &s->reach[i], s->conf, i < s->times ? times[i] : 0);
	free(times);
	if (!ok)
		return false;
	s->scan = scan_open(journal, false, s->why, sizeof s->why);
	if (s->scan == NULL)
		return false;
	s->ledger = ledger_open(journal, s->why, sizeof s->why);
	if (s->ledger == NULL)
		return false;
	(void)snprintf(s->why, sizeof s->why, "the journal cannot be read");
	return measure(s) == 0;
}

void
survey_start(uv_loop_t *loop, const struct conf *conf, const char *journal,
    survey_cb *cb, void *arg)
{
	struct survey *s = calloc(1, sizeof *s);

	if (s == NULL) {
		cb(arg, NULL, "out of memory");
		return;
	}
	s->conf = conf;
	s->cb = cb;
	s->arg = arg;
	(void)uv_timer_init(loop, &s->timer); /* always 0 */
	s->timer.data = s;
	if (prepare(s, journal))
		(void)uv_timer_start(&s->timer, on_step, 0, 0); /* always 0 */
	else
		finish(s, s->why);
}
