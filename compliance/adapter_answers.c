#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "compliance/adapter_link_state.h"

#define ESCAPE_FACTOR 3 /* another writer may escape more */

static void
on_ready(struct adapter_link *l, struct adapter_says *s)
{
	if (l->stage != STAGE_HELLO) {
		adapter_link_fail(l, true, "says ready twice");
		return;
	}
	if (s->protocol != ADAPTER_SAYS_PROTOCOL) {
		adapter_link_fail(l, true,
		    "speaks protocol %" PRIu64 ", not %d", s->protocol,
		    ADAPTER_SAYS_PROTOCOL);
		return;
	}
	(void)snprintf(l->program, sizeof l->program, "%.*s", (int)s->program.n,
	    (const char *)s->program.p);
	l->promises = s->promises;
	l->readback = s->readback;
	l->checkpoints = s->checkpoints;
	l->greeted = true;
	adapter_link_enter(l, STAGE_IDLE);
	adapter_link_step(l);
}

static void
ignore(struct adapter_link *l, struct adapter_says *s)
{
	(void)l;
	(void)s;
}

static const char *
check_receipt(const struct adapter_link *l, const struct adapter_says *s)
{
	if (l->stage == STAGE_SENDING)
		return "gave a receipt before the end of the batch";
	if (l->stage != STAGE_SENT)
		return "gave a receipt that nobody asked for";
	if (s->batch != l->batch.n)
		return "gave a receipt for another batch";
	if (s->count != l->batch.last - l->batch.first + 1)
		return "gave a receipt with a wrong count";
	if (memcmp(s->root, l->batch.root, sizeof s->root) != 0)
		return "gave a receipt with a wrong root";
	if ((l->promises & (1U << s->promise)) == 0)
		return "gave a receipt with a state that it had not announced";
	return NULL;
}

static void
on_receipt(struct adapter_link *l, struct adapter_says *s)
{
	const char *why = check_receipt(l, s);

	if (why != NULL) {
		adapter_link_fail(l, true, "%s", why);
		return;
	}
	l->receipt = *s;
	s->json = NULL; /* moved */
	if (!l->readback) {
		adapter_link_enter(l, STAGE_RECORDING);
		adapter_link_step(l);
		return;
	}
	l->next = l->batch.first;
	(void)scan_seek(l->scan, l->next); /* was reached before */
	line_io_limit(
	    l->io, ADAPTER_LINK_LINE_MAX + ESCAPE_FACTOR * l->longest);
	batch_put_readback(line_io_out(l->io), &l->batch, l->receipt.location);
	adapter_link_enter(l, STAGE_READBACK);
	line_io_send(l->io);
}

static void
on_error(struct adapter_link *l, struct adapter_says *s)
{
	bool has_it = l->stage == STAGE_SENDING || l->stage == STAGE_SENT ||
	    l->stage == STAGE_READBACK;

	if (s->has_batch && (!has_it || s->batch != l->batch.n))
		adapter_link_fail(
		    l, true, "reports an error of a batch that it has not");
	else
		adapter_link_fail(l, !s->has_batch, "%.*s", (int)s->reason.n,
		    (const char *)s->reason.p);
}

static void
on_event(struct adapter_link *l, struct adapter_says *s)
{
	struct scan_record r;
	const char *why;

	if (l->stage != STAGE_READBACK) {
		adapter_link_fail(
		    l, true, "sends events that nobody asked for");
		return;
	}
	if (l->next > l->batch.last) {
		adapter_link_fail(l, true, "read back more than the batch");
		return;
	}
	if (scan_next(l->scan, &r) != 1) {
		adapter_link_fail(
		    l, true, "the journal cannot be read at %" PRIu64, l->next);
		return;
	}
	why = batch_compare(&r, s);
	if (why != NULL)
		adapter_link_fail(
		    l, true, "record %" PRIu64 ": %s", l->next, why);
	else
		l->next++;
}

static void
on_readback_end(struct adapter_link *l, struct adapter_says *s)
{
	const char *why = NULL;

	if (l->stage != STAGE_READBACK)
		why = "ended a read-back that nobody asked for";
	else if (s->batch != l->batch.n)
		why = "read back another batch";
	else if (l->next != l->batch.last + 1)
		why = "read back less than the batch";
	else if (l->receipt.hashed &&
	    (!s->hashed ||
		memcmp(s->sha256, l->receipt.sha256, sizeof s->sha256) != 0))
		why = "read back an archive with another SHA-256";
	if (why != NULL) {
		adapter_link_fail(l, true, "%s", why);
		return;
	}
	line_io_limit(l->io, ADAPTER_LINK_LINE_MAX);
	adapter_link_enter(l, STAGE_RECORDING);
	adapter_link_step(l);
}

static void (*const handlers[])(
    struct adapter_link *l, struct adapter_says *s) = {
    [SAID_READY] = on_ready,
    [SAID_ALIVE] = ignore,
    [SAID_RECEIPT] = on_receipt,
    [SAID_ERROR] = on_error,
    [SAID_EVENT] = on_event,
    [SAID_READBACK_END] = on_readback_end,
    [SAID_ANCHORED] = adapter_link_on_anchored,
    [SAID_OTHER] = ignore,
};

void
adapter_link_hear(struct adapter_link *l, struct view line)
{
	struct adapter_says s;
	const char *why;

	l->heard = adapter_link_now(l);
	if (adapter_says_parse(line, &s, &why) == 0)
		handlers[s.said](l, &s);
	else
		adapter_link_fail(l, true, "%s", why);
	adapter_says_release(&s);
}
