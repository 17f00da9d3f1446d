#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "compliance/adapter_link_state.h"
#include "compliance/event.h"

#define CHUNK ((size_t)256 << 10) /* rendered before the socket takes it */
#define NOTE_POLL_MS 50

/*
 * Fills up to a chunk; the next one is made when the socket took it all, so
 * that a slow adapter costs neither memory nor anybody else's time.
 */
void
adapter_link_pump(struct adapter_link *l)
{
	struct buf *out = line_io_out(l->io);

	while (l->stage == STAGE_SENDING && out->len < CHUNK) {
		size_t before = out->len;
		struct scan_record r;

		if (l->next > l->batch.last) {
			batch_put_end(out, &l->batch);
			adapter_link_enter(l, STAGE_SENT);
			break;
		}
		if (scan_next(l->scan, &r) != 1 || r.seq != l->next ||
		    scan_named(l->scan, &r) != 0) {
			adapter_link_fail(l, true,
			    "the journal cannot be read at %" PRIu64, l->next);
			return;
		}
		batch_put_event(out, &r);
		if (out->len - before > l->longest)
			l->longest = out->len - before;
		l->next++;
	}
	line_io_send(l->io);
}

static void
start_sending(struct adapter_link *l)
{
	char why[256];
	int r = batch_put_begin(line_io_out(l->io), l->scan, &l->batch,
	    l->conf->name, why, sizeof why);

	if (r == 1) {
		l->not_before = adapter_link_now(l) + NOTE_POLL_MS;
		l->due = 0;
		adapter_link_rest(l);
		return;
	}
	if (r != 0 || scan_seek(l->scan, l->batch.first) != 0) {
		adapter_link_wait_here(l, "journal",
		    view_text(r != 0 ? why : scan_error(l->scan)));
		adapter_link_rest(l);
		return;
	}
	adapter_says_release(&l->receipt);
	l->next = l->batch.first;
	l->longest = 0;
	adapter_link_enter(l, STAGE_SENDING);
	adapter_link_pump(l);
}

static void
finish_batch(struct adapter_link *l)
{
	struct adapter_delivery d = {l->batch, &l->receipt, l->readback};
	bool full = l->batch.last - l->batch.first + 1 >= l->env->batch_events;

	l->failures = 0;
	l->not_before = 0;
	l->failure[0] = '\0';
	l->due = adapter_link_now(l) +
	    (full ? 0 : (uint64_t)l->conf->interval_s * 1000);
	for (const struct adapter_run *r = l->runs; r != NULL; r = r->next)
		r->cb(r->arg, &d, NULL);
	adapter_link_finish_runs(l, l->batch.last + 1, NULL);
	adapter_says_release(&l->receipt);
	memset(&l->batch, 0, sizeof l->batch);
	adapter_link_rest(l);
	l->env->acked(l->env->arg);
}

/* ---- records ---- */

static void
on_cut_answer(struct adapter_link *l, enum keeper_answer a, struct view why)
{
	switch (a) {
	case KEEPER_RECORDED:
		if (l->greeted)
			start_sending(l);
		else
			adapter_link_rest(l);
		return;
	case KEEPER_REFUSED:
		adapter_link_wait_here(l, "the keeper refuses a batch", why);
		break;
	case KEEPER_LOST:
		l->due = 0;
		break;
	}
	memset(&l->batch, 0, sizeof l->batch);
	adapter_link_rest(
	    l); /* whether it was recorded is seen when planning again */
}

static void
on_ack_answer(struct adapter_link *l, enum keeper_answer a, struct view why)
{
	switch (a) {
	case KEEPER_RECORDED:
		finish_batch(l);
		return;
	case KEEPER_REFUSED:
		adapter_link_wait_here(
		    l, "the keeper refuses an acknowledgement", why);
		return;
	case KEEPER_LOST:
		return; /* asked again when the keeper is there */
	}
}

static void
on_answer(void *arg, enum keeper_answer a, struct view why)
{
	struct adapter_link *l = arg;

	l->recording = false;
	if (l->stage == STAGE_CUTTING)
		on_cut_answer(l, a, why);
	else
		on_ack_answer(l, a, why);
	adapter_link_step(l);
}

/* Asks the keeper for the record of the stage, when it has a keeper. */
void
adapter_link_record(struct adapter_link *l)
{
	struct buf fields;
	unsigned kind = l->stage == STAGE_CUTTING ? EVENT_BATCH : EVENT_ACK;
	struct scan_cursor cursor;

	if (kind == EVENT_ACK) {
		/* A former request may have succeeded unheard. */
		if (scan_cursor(l->scan, l->conf->name, &cursor) == 0 &&
		    cursor.acked_n >= l->batch.n) {
			finish_batch(l);
			adapter_link_step(l);
			return;
		}
	}
	buf_init(&fields);
	if (kind == EVENT_BATCH)
		batch_put_fields(&fields, &l->batch, l->conf->name);
	else
		batch_put_ack(&fields, &l->batch, l->conf->name, &l->receipt,
		    l->readback);
	if (!fields.failed)
		l->recording = keeper_link_control(
		    l->env->keeper, kind, buf_view(&fields), on_answer, l);
	buf_release(&fields);
}

/* Nothing to hand over under a note of that size. */
static void
be_idle(struct adapter_link *l, uint64_t signed_size)
{
	if (l->failures == 0)
		l->failure[0] = '\0';
	adapter_link_finish_runs(l, signed_size, NULL);
	if (l->runs != NULL)
		l->not_before = adapter_link_now(l) + NOTE_POLL_MS;
}

void
adapter_link_begin(struct adapter_link *l)
{
	struct batch b;
	char why[256];

	l->due = adapter_link_now(l) + (uint64_t)l->conf->interval_s * 1000;
	switch (batch_plan(l->scan, l->conf->name, l->env->batch_events,
	    &l->looked, &b, why, sizeof why)) {
	case BATCH_FAILED:
		adapter_link_wait_here(l, "journal", view_text(why));
		return;
	case BATCH_NOTHING:
		be_idle(l, b.size);
		return;
	case BATCH_OPEN:
		l->batch = b;
		start_sending(l);
		return;
	case BATCH_NEW:
		l->batch = b;
		adapter_link_enter(l, STAGE_CUTTING);
		adapter_link_record(l);
		return;
	}
}
