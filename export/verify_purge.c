#include "export/verify_purge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "export/verify_hold.h"
#include "export/verify_line.h"
#include "export/verify_take.h"

#define PURGE_SPAN 10000 /* records from the first to the last of a purge */
#define US_PER_S 1000000U

/* Places of the fields. */
enum purge_field {
	PURGE_NUMBER,
	PURGE_FIRST,
	PURGE_LAST,
	PURGE_COUNT,
	PURGE_RANGES,
	PURGE_LEAVES,
	PURGE_ACKS,
	PURGE_HELD,
	PURGE_HOLD,
	PURGE_APPROVALS,
	PURGE_ANCHOR,
	PURGE_POLICY
};

enum policy_field {
	POLICY_REQUIRED,
	POLICY_AFTER,
	POLICY_APPROVALS,
	POLICY_QUORUM,
	POLICY_WITNESSES,
	POLICY_STAMP,
	POLICY_CLASSES
};

/* ---- reading ---- */

/* Names with commas between them. */
static bool
is_list(struct view list)
{
	struct view item;
	bool ok = list.p[list.n - 1] != ',';

	while (ok && verify_take_item(&list, &item))
		ok = verify_take_name(item);
	return ok;
}

void
verify_purge_policy(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_policy p = {.seq = l->seq,
	    .after = -1,
	    .stamp = view_is(l->field[POLICY_STAMP].value, "yes")};
	struct view required = l->field[POLICY_REQUIRED].value;
	uint64_t after, v[2]; /* approvals, quorum */

	if (!verify_take_numbers(l, POLICY_APPROVALS, POLICY_QUORUM, v))
		return;
	p.approvals = v[0];
	p.quorum = v[1];
	if (verify_take_numbers(l, POLICY_AFTER, POLICY_AFTER, &after))
		p.after = (int64_t)after;
	if (view_is(required, "-"))
		required.n = 0;
	else if (!is_list(required))
		verify_take_malformed(l, POLICY_REQUIRED, r);
	if (!verify_take_room(c, &c->policy, c->policies, sizeof(p)))
		return;
	p.required = verify_take_copy(c, required);
	verify_anchors_policy(c, l, POLICY_WITNESSES, &p, r);
	c->policy[c->policies++] = p;
}

/* "a" or "a-b", a < b. */
static bool
read_span(struct view item, struct verify_span *out)
{
	const uint8_t *dash = item.n == 0 ? NULL : memchr(item.p, '-', item.n);
	struct view first = item, last = item;

	if (dash != NULL) {
		first.n = (size_t)(dash - item.p);
		last = view_of(dash + 1, item.n - first.n - 1);
	}
	return view_to_u64(first, &out->first) &&
	    view_to_u64(last, &out->last) && out->last <= INT64_MAX &&
	    (dash == NULL || out->first < out->last);
}

/* Takes the ranges up: from first to last, in order, none touching. */
static bool
take_spans(struct verify_control *c, struct verify_purge *p, struct view list)
{
	uint64_t free_from = p->first;
	struct view item;

	if (list.n > 0 && list.p[list.n - 1] == ',')
		return false;
	while (verify_take_item(&list, &item)) {
		struct verify_span s = {.purge = c->purges};

		if (!read_span(item, &s) || s.first < free_from ||
		    (p->spans == 0 && s.first != p->first) || s.last > p->last)
			return false;
		if (!verify_take_room(c, &c->span, c->spans, sizeof(s)))
			return true; /* noted */
		c->span[c->spans++] = s;
		p->spans++;
		free_from = s.last + 2;
	}
	return free_from == p->last + 2;
}

static void
take_texts(struct verify_control *c, const struct verify_leaf *l,
    struct verify_purge *p)
{
	p->ranges = verify_take_copy(c, l->field[PURGE_RANGES].value);
	p->acks = verify_take_copy(c, l->field[PURGE_ACKS].value);
	p->hold = verify_take_copy(c, l->field[PURGE_HOLD].value);
	p->approvals = verify_take_copy(c, l->field[PURGE_APPROVALS].value);
	p->anchor = verify_take_copy(c, l->field[PURGE_ANCHOR].value);
}

bool
verify_purge_read(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_purge p = {
	    .seq = l->seq, .at = l->at, .newest_hold = c->newest_hold};
	uint64_t v[4]; /* purge, first, last, count */

	if (!verify_take_numbers(l, PURGE_NUMBER, PURGE_COUNT, v) ||
	    !verify_take_numbers(l, PURGE_HELD, PURGE_HELD, &p.held) ||
	    !verify_take_numbers(l, PURGE_POLICY, PURGE_POLICY, &p.policy) ||
	    !verify_hex(l->field[PURGE_LEAVES].value, p.leaves, 32))
		return false;
	p.n = v[0];
	p.first = v[1];
	p.last = v[2];
	p.count = v[3];
	if (!verify_take_room(c, &c->purge, c->purges, sizeof(p)))
		return false;
	if (p.last < p.first || p.last >= p.seq ||
	    !take_spans(c, &p, l->field[PURGE_RANGES].value)) {
		verify_report_finding(r, VERIFY_PURGES, verify_at(l->seq),
		    "purge ranges are malformed, or not from its first to its "
		    "last record, or not before it");
		c->spans -= p.spans;
		p.spans = 0;
	} else if (p.last - p.first >= PURGE_SPAN) {
		verify_report_finding(r, VERIFY_PURGES, verify_at(l->seq),
		    "purge over more than %d records", PURGE_SPAN);
	}
	take_texts(c, l, &p);
	c->purge[c->purges++] = p;
	return true;
}

void
verify_purge_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	if (verify_purge_read(c, l, r) &&
	    c->purge[c->purges - 1].n != c->purges)
		verify_report_finding(r, VERIFY_PURGES, verify_at(l->seq),
		    "purge number %" PRIu64 " is not the next one",
		    c->purge[c->purges - 1].n);
}

/* ---- judging ---- */

/* First batch of the adapter that ends at or after seq. */
static size_t
batch_at(const struct verify_adapter *a, uint64_t seq)
{
	size_t low = 0, high = a->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->batch[middle].last < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The youngest acknowledgement of the records from first to last, when the
 * adapter had stored all of them before the purge; else NULL.
 */
static const struct verify_ack *
stored_before(const struct verify_adapter *a, const struct verify_purge *p)
{
	const struct verify_ack *youngest = NULL;
	uint64_t next = p->first;

	for (size_t i = batch_at(a, next); next <= p->last; i++) {
		const struct verify_batch *b;

		if (i >= a->count)
			return NULL;
		b = &a->batch[i];
		if (b->first > next || !b->ack.stored || b->ack.seq >= p->seq)
			return NULL;
		youngest = &b->ack;
		next = b->last + 1;
	}
	return youngest;
}

/* What one required adapter must have done before the purge. */
static void
judge_required(const struct verify_control *c, const struct verify_purge *p,
    const struct verify_policy *policy, struct view name, struct buf *acks,
    struct verify_report *r)
{
	const struct verify_adapter *a = verify_control_adapter(c, name);
	const struct verify_ack *ack = a == NULL ? NULL : stored_before(a, p);

	if (ack == NULL) {
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge of records %" PRIu64 "-%" PRIu64
		    " that the required adapter %.*s had not stored",
		    p->first, p->last, (int)name.n, (const char *)name.p);
		return;
	}
	buf_printf(acks, "%s%s:%" PRIu64, acks->len == 0 ? "" : ",", a->name,
	    ack->seq);
	if (policy->after >= 0 &&
	    (p->at < ack->at ||
		(p->at - ack->at) / US_PER_S < (uint64_t)policy->after))
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge before %" PRId64
		    " s had passed since adapter %s stored the records",
		    policy->after, a->name);
}

static void
judge_acks(struct verify_control *c, const struct verify_purge *p,
    const struct verify_policy *policy, struct verify_report *r)
{
	struct view required, item;
	struct buf acks;

	buf_init(&acks);
	required = view_text(policy->required);
	while (verify_take_item(&required, &item))
		judge_required(c, p, policy, item, &acks, r);
	if (acks.failed)
		c->out_of_memory = true;
	else if (!view_is(buf_view(&acks), p->acks))
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge does not name the youngest acknowledgement of each "
		    "required adapter: %s",
		    p->acks);
	buf_release(&acks);
}

static bool
leaves_file(const struct verify_control *c, const struct verify_purge *p)
{
	for (size_t i = 0; i < c->segments; i++)
		if (c->segment[i].sealed && p->first <= c->segment[i].seal &&
		    p->last > c->segment[i].seal)
			return true;
	return false;
}

static void
judge(struct verify_control *c, const struct verify_purge *p,
    struct verify_report *r)
{
	const struct verify_policy *policy = verify_control_policy(c, p->seq);
	uint64_t hold;

	if (p->spans > 0 && leaves_file(c, p))
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge over the end of a file");
	if (policy == NULL || policy->required[0] == '\0') {
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge while no adapter was required");
		return;
	}
	if (p->policy != policy->seq)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge names another policy than the newest before it");
	if (policy->after < 0)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge while the policy was never to purge");
	if (p->newest_hold == 0 ? strcmp(p->hold, "-") != 0
				: !view_to_u64(view_text(p->hold), &hold) ||
		    hold != p->newest_hold)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge does not name the newest hold or release before "
		    "it: %s",
		    p->hold);
	verify_hold_judge(c, p, policy, r);
	if (p->spans > 0)
		judge_acks(c, p, policy, r);
}

static int
by_first(const void *a, const void *b)
{
	const struct verify_span *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->purge < y->purge ? -1 : x->purge > y->purge;
}

/* Sorts the ranges; a purge of which one overlaps another is left out. */
static void
sort_spans(struct verify_control *c, struct verify_report *r)
{
	uint64_t free_from = 0;
	size_t kept = 0;

	if (c->spans > 0)
		qsort(c->span, c->spans, sizeof(*c->span), by_first);
	for (size_t i = 0; i < c->spans; i++) {
		struct verify_purge *p = &c->purge[c->span[i].purge];

		if (c->span[i].first < free_from) {
			verify_report_finding(r, VERIFY_PURGES,
			    verify_at(p->seq),
			    "purge range %" PRIu64 "-%" PRIu64
			    " overlaps another",
			    c->span[i].first, c->span[i].last);
			p->spans = 0;
			continue;
		}
		free_from = c->span[i].last + 1;
	}
	for (size_t i = 0; i < c->spans; i++)
		if (c->purge[c->span[i].purge].spans > 0)
			c->span[kept++] = c->span[i];
	c->spans = kept;
}

void
verify_purge_finish(struct verify_control *c, struct verify_report *r)
{
	sort_spans(c, r);
	for (size_t i = 0; i < c->purges; i++) {
		if (c->purge[i].later)
			continue;
		verify_report_count(r, VERIFY_PURGES, 1);
		judge(c, &c->purge[i], r);
	}
}

const struct verify_span *
verify_control_span(
    const struct verify_control *c, size_t *cursor, uint64_t seq)
{
	while (*cursor < c->spans && c->span[*cursor].last < seq)
		(*cursor)++;
	if (*cursor == c->spans || c->span[*cursor].first > seq)
		return NULL;
	return &c->span[*cursor];
}

void
verify_purge_release(struct verify_control *c)
{
	for (size_t i = 0; i < c->purges; i++) {
		free(c->purge[i].ranges);
		free(c->purge[i].acks);
		free(c->purge[i].hold);
		free(c->purge[i].approvals);
		free(c->purge[i].anchor);
	}
	for (size_t i = 0; i < c->policies; i++) {
		free(c->policy[i].required);
		free(c->policy[i].witnesses);
	}
	free(c->purge);
	free(c->span);
	free(c->policy);
}
