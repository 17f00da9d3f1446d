#include "compliance/plan.h"

#include <stdlib.h>

#include "compliance/reach.h"
#include "compliance/retention.h"

#define RANGE_TEXT 40  /* "a-b," with two numbers below 2^63 */
#define SKIP_AFTER 256 /* purged records on end, before one looks for more */

/* Records of all classes that are kept so long, or shorter. */
struct pass {
	struct reach reach;
	uint64_t next; /* everything before was looked at */
	bool begun;
};

struct plan {
	const struct conf *conf;
	struct pass *pass;
	size_t passes;
	struct holds holds;
	struct approvals approvals;
	uint64_t released; /* release record that the passes know of */
	struct plan_ranges found;
	size_t finder;       /* pass that found them */
	uint64_t found_next; /* where it goes on then */
	uint64_t wait_ms;
	bool unsigned_;
};

struct plan *
plan_new(const struct conf *conf)
{
	struct plan *p = calloc(1, sizeof *p);
	int64_t *times = calloc(conf->retention_count + 1, sizeof *times);

	if (p == NULL || times == NULL) {
		free(times);
		free(p);
		return NULL;
	}
	p->conf = conf;
	p->found.range = calloc(PLAN_SPAN, sizeof *p->found.range);
	p->passes = retention_times(conf, times);
	p->pass = calloc(p->passes + 1, sizeof *p->pass);
	for (size_t i = 0; p->pass != NULL && i < p->passes; i++)
		if (!reach_init(&p->pass[i].reach, conf, times[i]))
			p->passes = 0;
	free(times);
	if (p->pass != NULL && p->found.range != NULL)
		return p;
	plan_free(p);
	return NULL;
}

void
plan_free(struct plan *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; p->pass != NULL && i < p->passes; i++)
		reach_release(&p->pass[i].reach);
	holds_release(&p->holds);
	approvals_release(&p->approvals);
	free(p->pass);
	free(p->found.range);
	free(p);
}

/* False when the record does not fit any more. */
static bool
add_record(struct plan_ranges *r, uint64_t seq)
{
	if (r->count > 0 && seq - r->range[0].first >= PLAN_SPAN)
		return false;
	if (r->count > 0 && r->joined) {
		r->range[r->count - 1].last = seq;
		return true;
	}
	if (r->count == PLAN_SPAN || r->text + RANGE_TEXT > PURGE_RULES_TEXT)
		return false;
	r->range[r->count++] = (struct range){seq, seq};
	r->text += RANGE_TEXT;
	r->joined = true;
	return true;
}

/* Whether it goes in this pass. */
static bool
goes(const struct plan *p, const struct pass *pass,
    const struct scan_record *rec)
{
	struct view envelope = rec->part[0].data;
	struct retention_class c = retention_of(p->conf, rec->kind, envelope);

	return c.after_s >= 0 && c.after_s <= pass->reach.after_s &&
	    holds_match(&p->holds, rec->at, envelope) == NULL;
}

/* Goes on behind payloads that are not there; -1, or 1 when none is left. */
static int
skip_purged(struct scan *scan, uint64_t *next, uint64_t end)
{
	uint64_t seq;
	int r = scan_next_payload(scan, *next, &seq);

	if (r < 0)
		return -1;
	if (r == 0 || seq >= end)
		seq = end;
	*next = seq;
	return seq == end ? 1 : scan_seek(scan, seq);
}

/* Looks at records from pass->next on; 1: ranges are full or the end. */
static int
look(struct plan *p, struct pass *pass, struct scan *scan, uint64_t end,
    unsigned *budget)
{
	unsigned purged = 0;
	struct scan_record rec;
	uint64_t next = pass->next;
	int r = 0;

	if (scan_seek(scan, next) != 0)
		return -1;
	for (; r == 0 && *budget > 0 && next < end; --*budget) {
		if (scan_next(scan, &rec) != 1)
			return -1;
		if (rec.parts ==
		    0) { /* a control record: neither here nor there */
			next = rec.seq + 1;
			continue;
		}
		purged = rec.purged ? purged + 1 : 0;
		if (rec.purged || !goes(p, pass, &rec)) {
			p->found.joined = false;
		} else if (p->found.count > 0 &&
		    rec.seq >= scan_file_end(scan, p->found.range[0].first)) {
			r = 1; /* no purge reaches over the end of a file */
			break;
		} else if (!add_record(&p->found, rec.seq)) {
			r = 1;
			break;
		}
		next = rec.seq + 1;
		if (purged >= SKIP_AFTER) {
			r = skip_purged(scan, &next, end);
			purged = 0;
		}
	}
	p->found_next = next;
	return r < 0 ? -1 : r == 1 || next >= end;
}

/* What a pass may look at now; an end that others set, too. */
static int
end_of(struct plan *p, struct pass *pass, const struct plan_view *view,
    uint64_t signed_size, uint64_t *end)
{
	struct reach_stop stop;
	uint64_t approved =
	    approvals_below(&p->approvals, p->conf->purge_approvals);

	if (!pass->begun && scan_purged_to(view->scan) > pass->next)
		pass->next = scan_purged_to(view->scan);
	pass->begun = true;
	if (reach_extend(&pass->reach, view->scan, view->ledger, pass->next,
		signed_size, end, &stop) != 0)
		return -1;
	if (approved < *end)
		*end = approved;
	if (stop.wait_ms < p->wait_ms)
		p->wait_ms = stop.wait_ms;
	p->unsigned_ |= stop.unsigned_;
	return 0;
}

/* What holds and approvals say now, and what is signed. */
static int
read_view(struct plan *p, const struct plan_view *view, uint64_t *signed_size)
{
	struct sqlite3 *db = ledger_db(view->ledger);
	struct buf note;
	int r;

	if (db == NULL || holds_read(&p->holds, db, HOLDS_NOW) != 0 ||
	    approvals_read(&p->approvals, db) != 0)
		return -1;
	if (p->holds.released != p->released)
		for (size_t i = 0; i < p->passes; i++) {
			p->pass[i].next = 0;
			p->pass[i].begun = false;
		}
	p->released = p->holds.released;
	buf_init(&note);
	r = scan_note(view->scan, signed_size, &note);
	buf_release(&note);
	return r;
}

enum plan_result
plan_step(struct plan *p, const struct plan_view *view, unsigned budget)
{
	uint64_t signed_size, end;

	p->wait_ms = UINT64_MAX;
	p->unsigned_ = false;
	if (read_view(p, view, &signed_size) != 0)
		return PLAN_FAILED;
	for (size_t i = 0; i < p->passes; i++) {
		struct pass *pass = &p->pass[i];
		int r;

		if (end_of(p, pass, view, signed_size, &end) != 0)
			return PLAN_FAILED;
		if (pass->next >= end)
			continue;
		p->found.count = p->found.text = 0;
		p->found.joined = false;
		r = look(p, pass, view->scan, end, &budget);
		if (r < 0)
			return PLAN_FAILED;
		p->finder = i;
		/* Few records are worth a purge only when no more can come. */
		if (p->found.count > 0)
			return PLAN_FOUND;
		pass->next = p->found_next;
		if (r == 0)
			return PLAN_MORE;
	}
	return PLAN_DONE;
}

const struct range *
plan_ranges(const struct plan *p, size_t *count)
{
	*count = p->found.count;
	return p->found.range;
}

void
plan_gone(struct plan *p)
{
	p->pass[p->finder].next = p->found_next;
	p->found.count = 0;
}

uint64_t
plan_wait_ms(const struct plan *p)
{
	return p->wait_ms;
}

bool
plan_unsigned(const struct plan *p)
{
	return p->unsigned_;
}
