#include "compliance/adapter_link.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/line_io.h"

#define CHUNK ((size_t)256 << 10) /* rendered before the socket takes it */
#define LINE_MAX_BYTES ((size_t)1 << 20)
#define ESCAPE_FACTOR 3 /* another writer may escape more */
#define QUARANTINE_AFTER 5
#define JOURNAL_RETRY_MS 1000
#define RUN_NOTE_POLL_MS 50
#define RUN_PATIENCE_MS 10000 /* without an adapter, keeper or note */

struct run {
	struct run *next;
	uint64_t target; /* all below must be acknowledged */
	uint64_t deadline;
	adapter_run_cb *cb;
	void *arg;
};

struct adapter_link {
	const struct adapter_env *env;
	const struct conf_adapter *conf;
	uv_timer_t timer;
	struct scan *scan; /* its own: it keeps a position */
	struct line_io *io;
	bool greeted; /* ready came on this io */
	enum adapter_stage stage;
	uint64_t heard;      /* last sign of life */
	uint64_t lost;       /* since when there is no process */
	uint64_t not_before; /* delay after a failure */
	uint64_t due;        /* next look for something to hand over */
	char program[64];
	unsigned promises;
	bool readback;
	struct batch batch; /* n 0: none */
	uint64_t next;      /* to be sent, or read back */
	uint64_t looked;
	size_t longest; /* event line of the batch */
	struct adapter_says receipt;
	bool recording; /* the keeper has been asked */
	unsigned failures;
	char failure[512];
	struct run *runs;
};

static const char *const stage_names[] = {
    [STAGE_ABSENT] = "absent",
    [STAGE_WAITING] = "waiting",
    [STAGE_HELLO] = "starting",
    [STAGE_IDLE] = "idle",
    [STAGE_CUTTING] = "cutting",
    [STAGE_SENDING] = "sending",
    [STAGE_SENT] = "sent",
    [STAGE_READBACK] = "readback",
    [STAGE_RECORDING] = "recording",
};

static void step(struct adapter_link *l);

const char *
adapter_stage_name(enum adapter_stage s)
{
	return stage_names[s];
}

static uint64_t
now_of(const struct adapter_link *l)
{
	return uv_now(l->env->loop);
}

static void
enter(struct adapter_link *l, enum adapter_stage stage)
{
	log_debug("adapter %s: %s to %s", l->conf->name, stage_names[l->stage],
	    stage_names[stage]);
	l->stage = stage;
	l->heard = now_of(l);
}

static bool
waits_for_keeper(const struct adapter_link *l)
{
	return l->stage == STAGE_CUTTING || l->stage == STAGE_RECORDING;
}

/* The stage when no batch is in somebody's hands. */
static void
rest(struct adapter_link *l)
{
	enter(l,
	    l->io == NULL     ? STAGE_ABSENT
		: !l->greeted ? STAGE_WAITING
			      : STAGE_IDLE);
}

static void
drop_io(struct adapter_link *l)
{
	line_io_free(l->io);
	l->io = NULL;
	l->greeted = false;
	l->lost = now_of(l);
}

/* ---- runs ---- */

static void
finish_runs(struct adapter_link *l, uint64_t below, const char *failure)
{
	struct run *done = NULL;

	for (struct run **at = &l->runs; *at != NULL;) {
		struct run *r = *at;

		if (r->target > below) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		r->next = done;
		done = r;
	}
	while (done != NULL) {
		struct run *next = done->next;

		done->cb(done->arg, NULL, failure);
		free(done);
		done = next;
	}
}

static void
expire_runs(struct adapter_link *l)
{
	static const char *const reasons[] = {
	    [STAGE_ABSENT] = "the adapter is not running",
	    [STAGE_WAITING] = "the adapter is being started again",
	    [STAGE_IDLE] = "no signature covers the newest records",
	    [STAGE_CUTTING] = "the keeper does not answer",
	    [STAGE_RECORDING] = "the keeper does not answer",
	};
	const char *why = (size_t)l->stage < sizeof reasons / sizeof reasons[0]
	    ? reasons[l->stage]
	    : NULL;

	for (const struct run *r = l->runs; why != NULL && r; r = r->next)
		if (r->deadline <= now_of(l)) {
			finish_runs(l, UINT64_MAX, why);
			return;
		}
}

/* ---- failures ---- */

/* An adapter's own words: one line, whole characters. */
static void
tidy(char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	while (n > 0 && !text_utf8_valid(view_of(text, n)))
		text[--n] = '\0';
}

/* Doubles with each failure up to the pace of quarantine. */
static uint64_t
delay_of(const struct adapter_link *l)
{
	uint64_t delay = l->env->backoff_ms;

	if (l->failures >= QUARANTINE_AFTER)
		return l->env->backoff_max_ms;
	for (unsigned i = 1; i < l->failures; i++)
		delay *= 2;
	return delay < l->env->backoff_max_ms ? delay : l->env->backoff_max_ms;
}

static void
count_failure(struct adapter_link *l)
{
	l->failures++;
	l->not_before = now_of(l) + delay_of(l);
	l->due = 0; /* the delay alone decides */
	if (l->batch.n > 0)
		log_warn("adapter %s: batch %" PRIu64 ": %s", l->conf->name,
		    l->batch.n, l->failure);
	else
		log_warn("adapter %s: %s", l->conf->name, l->failure);
	if (l->failures == QUARANTINE_AFTER)
		log_error("adapter %s: failed %u times in a row: quarantined, "
			  "retried every %" PRIu64 " s",
		    l->conf->name, l->failures, l->env->backoff_max_ms / 1000);
}

/*
 * The adapter failed. With restart, its process is no longer trusted with
 * anything. A record that the keeper was asked for goes its way.
 */
static void __attribute__((format(printf, 3, 4)))
fail(struct adapter_link *l, bool restart, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(l->failure, sizeof l->failure, fmt, ap); /* may cut */
	va_end(ap);
	tidy(l->failure);
	count_failure(l);
	if (restart) {
		drop_io(l);
		l->env->restart(l->env->arg, l->conf->name);
	}
	if (!waits_for_keeper(l)) {
		adapter_says_release(&l->receipt);
		rest(l);
		finish_runs(l, UINT64_MAX, l->failure);
	}
	step(l);
}

/* Not the adapter's fault: the batch waits, the adapter is left alone. */
static void
fail_here(struct adapter_link *l, const char *what, struct view why)
{
	char text[sizeof l->failure];

	(void)snprintf(text, sizeof text, "%s: %.*s", what, (int)why.n,
	    (const char *)why.p);
	tidy(text);
	if (strcmp(text, l->failure) != 0)
		log_error("adapter %s: %s", l->conf->name, text);
	memcpy(l->failure, text, sizeof text);
	l->not_before = now_of(l) + JOURNAL_RETRY_MS;
	l->due = 0;
	finish_runs(l, UINT64_MAX, l->failure);
}

/* ---- handing over ---- */

/*
 * Fills up to a chunk; the next one is made when the socket took it all, so
 * that a slow adapter costs neither memory nor anybody else's time.
 */
static void
pump(struct adapter_link *l)
{
	struct buf *out = line_io_out(l->io);

	while (l->stage == STAGE_SENDING && out->len < CHUNK) {
		size_t before = out->len;
		struct scan_record r;

		if (l->next > l->batch.last) {
			batch_put_end(out, &l->batch);
			enter(l, STAGE_SENT);
			break;
		}
		if (scan_next(l->scan, &r) != 1 || r.seq != l->next) {
			fail(l, true, "the journal cannot be read at %" PRIu64,
			    l->next);
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

	if (batch_put_begin(line_io_out(l->io), l->scan, &l->batch,
		l->conf->name, why, sizeof why) != 0 ||
	    scan_seek(l->scan, l->batch.first) != 0) {
		fail_here(l, "journal", view_text(why));
		rest(l);
		return;
	}
	adapter_says_release(&l->receipt);
	l->next = l->batch.first;
	l->longest = 0;
	enter(l, STAGE_SENDING);
	pump(l);
}

static void
finish_batch(struct adapter_link *l)
{
	struct adapter_delivery d = {l->batch, &l->receipt, l->readback};
	bool full = l->batch.last - l->batch.first + 1 >= l->env->batch_events;

	l->failures = 0;
	l->not_before = 0;
	l->failure[0] = '\0';
	l->due = now_of(l) + (full ? 0 : (uint64_t)l->conf->interval_s * 1000);
	for (const struct run *r = l->runs; r != NULL; r = r->next)
		r->cb(r->arg, &d, NULL);
	finish_runs(l, l->batch.last + 1, NULL);
	adapter_says_release(&l->receipt);
	memset(&l->batch, 0, sizeof l->batch);
	rest(l);
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
			rest(l);
		return;
	case KEEPER_REFUSED:
		fail_here(l, "the keeper refuses a batch", why);
		break;
	case KEEPER_LOST:
		l->due = 0;
		break;
	}
	memset(&l->batch, 0, sizeof l->batch);
	rest(l); /* whether it was recorded is seen when planning again */
}

static void
on_ack_answer(struct adapter_link *l, enum keeper_answer a, struct view why)
{
	switch (a) {
	case KEEPER_RECORDED:
		finish_batch(l);
		return;
	case KEEPER_REFUSED:
		fail_here(l, "the keeper refuses an acknowledgement", why);
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
	step(l);
}

/* Asks the keeper for the record of the stage, when it has a keeper. */
static void
record(struct adapter_link *l)
{
	struct buf fields;
	unsigned kind = l->stage == STAGE_CUTTING ? EVENT_BATCH : EVENT_ACK;
	struct scan_cursor cursor;

	if (kind == EVENT_ACK) {
		/* A former request may have succeeded unheard. */
		if (scan_cursor(l->scan, l->conf->name, &cursor) == 0 &&
		    cursor.acked_n >= l->batch.n) {
			finish_batch(l);
			step(l);
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

/* ---- what the adapter says ---- */

static void
on_ready(struct adapter_link *l, struct adapter_says *s)
{
	if (l->stage != STAGE_HELLO) {
		fail(l, true, "says ready twice");
		return;
	}
	if (s->protocol != ADAPTER_SAYS_PROTOCOL) {
		fail(l, true, "speaks protocol %" PRIu64 ", not %d",
		    s->protocol, ADAPTER_SAYS_PROTOCOL);
		return;
	}
	(void)snprintf(l->program, sizeof l->program, "%.*s", (int)s->program.n,
	    (const char *)s->program.p);
	l->promises = s->promises;
	l->readback = s->readback;
	l->greeted = true;
	enter(l, STAGE_IDLE);
	step(l);
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
		fail(l, true, "%s", why);
		return;
	}
	l->receipt = *s;
	s->json = NULL; /* moved */
	if (!l->readback) {
		enter(l, STAGE_RECORDING);
		step(l);
		return;
	}
	l->next = l->batch.first;
	(void)scan_seek(l->scan, l->next); /* was reached before */
	line_io_limit(l->io, LINE_MAX_BYTES + ESCAPE_FACTOR * l->longest);
	batch_put_readback(line_io_out(l->io), &l->batch, l->receipt.location);
	enter(l, STAGE_READBACK);
	line_io_send(l->io);
}

static void
on_error(struct adapter_link *l, struct adapter_says *s)
{
	bool has_it = l->stage == STAGE_SENDING || l->stage == STAGE_SENT ||
	    l->stage == STAGE_READBACK;

	if (s->has_batch && (!has_it || s->batch != l->batch.n))
		fail(l, true, "reports an error of a batch that it has not");
	else
		fail(l, !s->has_batch, "%.*s", (int)s->reason.n,
		    (const char *)s->reason.p);
}

static void
on_event(struct adapter_link *l, struct adapter_says *s)
{
	struct scan_record r;
	const char *why;

	if (l->stage != STAGE_READBACK) {
		fail(l, true, "sends events that nobody asked for");
		return;
	}
	if (l->next > l->batch.last) {
		fail(l, true, "read back more than the batch");
		return;
	}
	if (scan_next(l->scan, &r) != 1) {
		fail(
		    l, true, "the journal cannot be read at %" PRIu64, l->next);
		return;
	}
	why = batch_compare(&r, s);
	if (why != NULL)
		fail(l, true, "record %" PRIu64 ": %s", l->next, why);
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
		fail(l, true, "%s", why);
		return;
	}
	line_io_limit(l->io, LINE_MAX_BYTES);
	enter(l, STAGE_RECORDING);
	step(l);
}

static void (*const handlers[])(
    struct adapter_link *l, struct adapter_says *s) = {
    [SAID_READY] = on_ready,
    [SAID_ALIVE] = ignore,
    [SAID_RECEIPT] = on_receipt,
    [SAID_ERROR] = on_error,
    [SAID_EVENT] = on_event,
    [SAID_READBACK_END] = on_readback_end,
    [SAID_OTHER] = ignore,
};

static void
on_line(void *arg, struct view line)
{
	struct adapter_link *l = arg;
	struct adapter_says s;
	const char *why;

	l->heard = now_of(l);
	if (adapter_says_parse(line, &s, &why) == 0)
		handlers[s.said](l, &s);
	else
		fail(l, true, "%s", why);
	adapter_says_release(&s);
}

static void
on_drained(void *arg)
{
	struct adapter_link *l = arg;

	l->heard = now_of(l);
	if (l->stage == STAGE_SENDING)
		pump(l);
}

static void
on_closed(void *arg, const char *why, bool gone)
{
	struct adapter_link *l = arg;

	if (gone && l->stage == STAGE_IDLE) {
		log_info("adapter %s: %s", l->conf->name, why);
		drop_io(l);
		rest(l);
		step(l);
		return;
	}
	drop_io(l);
	fail(l, !gone, "%s while %s", why, stage_names[l->stage]);
}

static const struct line_io_events io_events = {
    .line = on_line,
    .drained = on_drained,
    .closed = on_closed,
};

/* ---- what is to be done now ---- */

static bool
open_journal(struct adapter_link *l)
{
	char why[256];

	if (l->scan != NULL)
		return true;
	l->scan = scan_open(l->env->journal, false, why, sizeof why);
	if (l->scan == NULL)
		fail_here(l, "journal", view_text(why));
	return l->scan != NULL;
}

static void
put_setting(struct buf *b, const char *name, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(b, "\"%s\":", name);
	text_put_json(b, view_text(value));
	buf_put_u8(b, ',');
}

static void
put_hello(struct buf *b, const struct adapter_link *l)
{
	const struct conf_adapter *c = l->conf;

	buf_printf(
	    b, "{\"type\":\"hello\",\"protocol\":%d,", ADAPTER_SAYS_PROTOCOL);
	put_setting(b, "adapter", c->name);
	put_setting(b, "software", "chancery/" CHANCERY_VERSION);
	put_setting(b, "domain", l->env->domain);
	put_setting(b, "origin", scan_meta(l->scan, "origin"));
	put_setting(b, "vkey", scan_meta(l->scan, "vkey"));
	buf_put_text(b, "\"config\":{");
	put_setting(b, "directory", c->directory);
	put_setting(b, "target", c->target);
	put_setting(b, "ca", c->ca);
	put_setting(b, "certificate", c->certificate);
	put_setting(b, "key", c->key);
	put_setting(b, "peer", c->peer);
	buf_printf(b, "\"strict\":%s}}\n", c->strict ? "true" : "false");
}

static void
greet(struct adapter_link *l)
{
	if (!open_journal(l))
		return;
	put_hello(line_io_out(l->io), l);
	enter(l, STAGE_HELLO);
	line_io_read(l->io, true);
	line_io_send(l->io);
}

/* Nothing to hand over under a note of that size. */
static void
be_idle(struct adapter_link *l, uint64_t signed_size)
{
	if (l->failures == 0)
		l->failure[0] = '\0';
	finish_runs(l, signed_size, NULL);
	if (l->runs != NULL)
		l->not_before = now_of(l) + RUN_NOTE_POLL_MS;
}

static void
begin(struct adapter_link *l)
{
	struct batch b;
	char why[256];

	l->due = now_of(l) + (uint64_t)l->conf->interval_s * 1000;
	switch (batch_plan(l->scan, l->conf->name, l->env->batch_events,
	    &l->looked, &b, why, sizeof why)) {
	case BATCH_FAILED:
		fail_here(l, "journal", view_text(why));
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
		enter(l, STAGE_CUTTING);
		record(l);
		return;
	}
}

/* When something must happen without a word from anybody. */
static uint64_t
deadline(const struct adapter_link *l)
{
	uint64_t at = UINT64_MAX;
	uint64_t silence = (uint64_t)l->conf->timeout_s * 1000;

	switch (l->stage) {
	case STAGE_ABSENT:
		at = l->lost + silence;
		break;
	case STAGE_WAITING:
		at = l->not_before;
		break;
	case STAGE_IDLE:
		at = l->runs != NULL ? 0 : l->due;
		if (at < l->not_before)
			at = l->not_before;
		break;
	case STAGE_CUTTING:
	case STAGE_RECORDING:
		if (!l->recording && keeper_link_state(l->env->keeper)->linked)
			at = l->not_before;
		break;
	case STAGE_HELLO:
	case STAGE_SENDING:
	case STAGE_SENT:
	case STAGE_READBACK:
		at = l->heard + silence;
		break;
	}
	return at;
}

static void
on_silence(struct adapter_link *l)
{
	switch (l->stage) {
	case STAGE_ABSENT:
		/* It closed its end, but does the process still exist? */
		l->lost = now_of(l);
		l->env->restart(l->env->arg, l->conf->name);
		return;
	case STAGE_WAITING:
		greet(l);
		return;
	case STAGE_IDLE:
		begin(l);
		return;
	case STAGE_CUTTING:
	case STAGE_RECORDING:
		record(l);
		return;
	case STAGE_HELLO:
	case STAGE_SENDING:
	case STAGE_SENT:
	case STAGE_READBACK:
		fail(l, true, "silent for %u s while %s", l->conf->timeout_s,
		    stage_names[l->stage]);
		return;
	}
}

static void
on_timer(uv_timer_t *timer)
{
	struct adapter_link *l = timer->data;

	expire_runs(l);
	if (deadline(l) <= now_of(l))
		on_silence(l);
	step(l);
}

/* Sets the timer for the next thing to do, at once if it is due. */
static void
step(struct adapter_link *l)
{
	uint64_t at = deadline(l);
	uint64_t now = now_of(l);

	for (const struct run *r = l->runs; r != NULL; r = r->next)
		if (r->deadline < at && r->deadline > now)
			at = r->deadline;
	(void)uv_timer_stop(&l->timer); /* always 0 */
	if (at != UINT64_MAX)
		(void)uv_timer_start(
		    &l->timer, on_timer, at > now ? at - now : 0, 0);
}

struct adapter_link *
adapter_link_new(const struct adapter_env *env, const struct conf_adapter *conf)
{
	struct adapter_link *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	l->env = env;
	l->conf = conf;
	(void)uv_timer_init(env->loop, &l->timer); /* always 0 */
	l->timer.data = l;
	l->lost = now_of(l);
	step(l);
	return l;
}

void
adapter_link_attach(struct adapter_link *l, int fd)
{
	bool working = l->stage != STAGE_IDLE && l->stage != STAGE_ABSENT &&
	    l->stage != STAGE_WAITING && !waits_for_keeper(l);

	if (l->io != NULL)
		drop_io(l);
	if (working)
		fail(l, false, "ended while %s", stage_names[l->stage]);
	l->io = line_io_new(l->env->loop, fd, LINE_MAX_BYTES, &io_events, l);
	if (l->io == NULL)
		log_fatal("out of memory");
	if (!waits_for_keeper(l))
		rest(l);
	step(l);
}

void
adapter_link_kick(struct adapter_link *l)
{
	if (waits_for_keeper(l))
		l->not_before = 0;
	step(l);
}

void
adapter_link_run(struct adapter_link *l, adapter_run_cb *cb, void *arg)
{
	struct run *r;

	if (!open_journal(l) || (r = calloc(1, sizeof *r)) == NULL) {
		cb(arg, NULL, l->scan == NULL ? l->failure : "out of memory");
		return;
	}
	r->target = scan_size(l->scan);
	r->deadline = now_of(l) + RUN_PATIENCE_MS;
	r->cb = cb;
	r->arg = arg;
	r->next = l->runs;
	l->runs = r;
	l->not_before = 0;
	step(l);
}

void
adapter_link_status(const struct adapter_link *l, struct adapter_status *out)
{
	out->conf = l->conf;
	out->stage = l->stage;
	out->program = l->program;
	out->batch = l->batch;
	out->failures = l->failures;
	out->quarantined = l->failures >= QUARANTINE_AFTER;
	out->failure = l->failure;
	out->queued = l->io != NULL ? line_io_queued(l->io) : 0;
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
adapter_link_free(struct adapter_link *l)
{
	if (l == NULL)
		return;
	while (l->runs != NULL) {
		struct run *next = l->runs->next;

		free(l->runs);
		l->runs = next;
	}
	adapter_says_release(&l->receipt);
	line_io_free(l->io);
	scan_close(l->scan);
	uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
