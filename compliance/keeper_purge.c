#include "compliance/keeper_state.h"

#include "base/log.h"

#include "compliance/purge_rules.h"
#include "compliance/wire.h"

/* Purges, holds and approvals that the engine asks for. */

/* The ranges of a purge into their array; 0: malformed. */
static size_t
read_ranges(struct reader *r, struct range *out, size_t max)
{
	size_t count = 0;

	while (r->n > 0 && count < max) {
		out[count].first = reader_u64(r);
		out[count].last = reader_u64(r);
		count++;
	}
	return reader_done(r) ? count : 0;
}

/* Tells the server of the next purge, when it waits for it and there is one. */
static void
tell_server(struct keeper *k)
{
	struct buf ranges, *out;
	uint64_t seq;
	int r;

	if (!k->gone_asked || k->server.link == NULL)
		return;
	buf_init(&ranges);
	r = journal_next_purge(k->journal, k->gone_next, &seq, &ranges);
	if (r == 1) {
		k->gone_asked = false;
		out = ipc_begin(k->server.link, WIRE_PURGED);
		buf_put_u64(out, seq);
		buf_put_view(out, buf_view(&ranges));
		ipc_end(k->server.link);
	} else if (r < 0) {
		log_warn("%s: %s", k->path, journal_error(k->journal));
	}
	buf_release(&ranges);
}

bool
keeper_on_gone(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);

	k->gone_next = reader_u64(&r);
	if (!reader_done(&r) || k->gone_next > INT64_MAX)
		return false;
	k->gone_asked = true;
	tell_server(k);
	return true;
}

/* Whether the engine's request can be looked at; else it is refused. */
static bool
is_ready(struct keeper *k, uint64_t ref)
{
	keeper_commit(k);
	if (!keeper_writable(k))
		keeper_refuse(k, ref, k->why);
	return keeper_writable(k);
}

bool
keeper_on_purge(struct keeper *k, struct view payload)
{
	static struct range ranges[PURGE_RULES_SPAN];
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	struct journal_purge purge = {
	    .ranges = ranges,
	    .count = read_ranges(&r, ranges, PURGE_RULES_SPAN),
	    .applied = k->applied,
	    .conf = k->conf,
	    .required = k->required,
	    .required_count = k->required_count,
	};
	struct journal_event e;
	int result;

	if (purge.count == 0)
		return false;
	if (!is_ready(k, ref))
		return true;
	if (!k->applied_known) {
		keeper_refuse(
		    k, ref, "the chat server has not told what it holds");
		return true;
	}
	result = journal_purge(k->journal, &purge, &e);
	keeper_answer(k, ref, result, &e);
	if (result != 0)
		return true;
	k->signing.removed = e.seq + 1;
	(void)uv_timer_start(&k->truncate_timer, keeper_truncate, 0, 0);
	tell_server(k);
	return true;
}

bool
keeper_on_hold(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	struct journal_hold hold = {.by = reader_u32(&r)};
	struct journal_event e;

	hold.matter = reader_take(&r, reader_u32(&r));
	hold.selector = reader_rest(&r);
	if (!reader_done(&r))
		return false;
	if (is_ready(k, ref))
		keeper_answer(k, ref, journal_hold(k->journal, &hold, &e), &e);
	return true;
}

bool
keeper_on_release(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	uint32_t by = reader_u32(&r);
	uint64_t n = reader_u64(&r);
	struct journal_event e;

	if (!reader_done(&r))
		return false;
	if (is_ready(k, ref))
		keeper_answer(k, ref,
		    journal_release(
			k->journal, n, by, k->conf->purge_approvals >= 2, &e),
		    &e);
	return true;
}

bool
keeper_on_approve(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	uint32_t by = reader_u32(&r);
	uint64_t below = reader_u64(&r);
	struct journal_event e;

	if (!reader_done(&r))
		return false;
	if (is_ready(k, ref))
		keeper_answer(
		    k, ref, journal_approve(k->journal, below, by, &e), &e);
	return true;
}
