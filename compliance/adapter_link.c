#include "compliance/adapter_link.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#include "compliance/adapter_link_state.h"

#define QUARANTINE_AFTER 5
#define JOURNAL_RETRY_MS 1000
#define RUN_PATIENCE_MS 10000 /* without an adapter, keeper or note */

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
    [STAGE_ANCHORING] = "anchoring",
};

const char *
adapter_stage_name(enum adapter_stage s)
{
	return stage_names[s];
}

uint64_t
adapter_link_now(const struct adapter_link *l)
{
	return uv_now(l->env->loop);
}

void
adapter_link_enter(struct adapter_link *l, enum adapter_stage stage)
{
	log_debug("adapter %s: %s to %s", l->conf->name, stage_names[l->stage],
	    stage_names[stage]);
	l->stage = stage;
	l->heard = adapter_link_now(l);
}

/* In a stage whose next step is the keeper's. */
static bool
waits_for_keeper(const struct adapter_link *l)
{
	return l->stage == STAGE_CUTTING || l->stage == STAGE_RECORDING;
}

/* The stage when no batch is in somebody's hands. */
void
adapter_link_rest(struct adapter_link *l)
{
	adapter_link_enter(l,
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
	l->lost = adapter_link_now(l);
}

/* ---- runs ---- */

void
adapter_link_finish_runs(
    struct adapter_link *l, uint64_t below, const char *failure)
{
	struct adapter_run *done = NULL;

	for (struct adapter_run **at = &l->runs; *at != NULL;) {
		struct adapter_run *r = *at;

		if (r->target > below) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		r->next = done;
		done = r;
	}
	while (done != NULL) {
		struct adapter_run *next = done->next;

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
	const struct keeper_state *keeper = keeper_link_state(l->env->keeper);
	const char *why = (size_t)l->stage < sizeof reasons / sizeof reasons[0]
	    ? reasons[l->stage]
	    : NULL;

	/* Then nothing is signed either. */
	if (l->stage == STAGE_IDLE && !keeper->writable &&
	    keeper->why[0] != '\0')
		why = keeper->why;
	for (const struct adapter_run *r = l->runs; why != NULL && r;
	     r = r->next)
		if (r->deadline <= adapter_link_now(l)) {
			adapter_link_finish_runs(l, UINT64_MAX, why);
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
	l->not_before = adapter_link_now(l) + delay_of(l);
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
void
adapter_link_fail(struct adapter_link *l, bool restart, const char *fmt, ...)
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
		adapter_link_rest(l);
		adapter_link_finish_runs(l, UINT64_MAX, l->failure);
	}
	adapter_link_step(l);
}

/* Not the adapter's fault: the batch waits, the adapter is left alone. */
void
adapter_link_wait_here(
    struct adapter_link *l, const char *what, struct view why)
{
	char text[sizeof l->failure];

	(void)snprintf(text, sizeof text, "%s: %.*s", what, (int)why.n,
	    (const char *)why.p);
	tidy(text);
	if (strcmp(text, l->failure) != 0)
		log_error("adapter %s: %s", l->conf->name, text);
	memcpy(l->failure, text, sizeof text);
	l->not_before = adapter_link_now(l) + JOURNAL_RETRY_MS;
	l->due = 0;
	adapter_link_finish_runs(l, UINT64_MAX, l->failure);
}

/* ---- the process ---- */

static void
on_line(void *arg, struct view line)
{
	adapter_link_hear(arg, line);
}

static void
on_drained(void *arg)
{
	struct adapter_link *l = arg;

	l->heard = adapter_link_now(l);
	if (l->stage == STAGE_SENDING)
		adapter_link_pump(l);
}

static void
on_closed(void *arg, const char *why, bool gone)
{
	struct adapter_link *l = arg;

	if (gone && l->stage == STAGE_IDLE) {
		log_info("adapter %s: %s", l->conf->name, why);
		drop_io(l);
		adapter_link_rest(l);
		adapter_link_step(l);
		return;
	}
	drop_io(l);
	adapter_link_fail(l, !gone, "%s while %s", why, stage_names[l->stage]);
}

static const struct line_io_events io_events = {
    .line = on_line,
    .drained = on_drained,
    .closed = on_closed,
};

/* ---- what is to be done now ---- */

/*
 * How it stood when the engine before us ended: a batch that waited longer
 * than all the tries before a quarantine take has had them.
 */
static void
look_back(struct adapter_link *l)
{
	struct scan_cursor cursor;
	uint64_t tries_ms = 0;

	for (l->failures = 1; l->failures < QUARANTINE_AFTER; l->failures++)
		tries_ms += delay_of(l);
	l->failures = 0;
	if (scan_cursor(l->scan, l->conf->name, &cursor) != 0 ||
	    cursor.open_n == 0 || cursor.open_us / 1000 < tries_ms)
		return;
	l->failures = QUARANTINE_AFTER;
	(void)snprintf(l->failure, sizeof l->failure,
	    "batch %" PRIu64 " failed before this start", cursor.open_n);
	log_warn(
	    "adapter %s: %s: still quarantined", l->conf->name, l->failure);
}

static bool
open_journal(struct adapter_link *l)
{
	char why[256];

	if (l->scan != NULL)
		return true;
	l->scan = scan_open(l->env->journal, false, why, sizeof why);
	if (l->scan == NULL)
		adapter_link_wait_here(l, "journal", view_text(why));
	else if (l->failures == 0)
		look_back(l);
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
	adapter_link_enter(l, STAGE_HELLO);
	line_io_read(l->io, true);
	line_io_send(l->io);
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
		if (l->note_size > 0)
			at = 0;
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
	case STAGE_ANCHORING:
		at = l->heard + silence;
		break;
	}
	return at;
}

/* It says so itself; who asks for a run is told by its refusal. */
static bool
keeper_is_shut(const struct adapter_link *l)
{
	const struct keeper_state *keeper = keeper_link_state(l->env->keeper);

	return l->runs == NULL && keeper->linked && !keeper->writable;
}

static void
on_silence(struct adapter_link *l)
{
	switch (l->stage) {
	case STAGE_ABSENT:
		/* It closed its end, but does the process still exist? */
		l->lost = adapter_link_now(l);
		l->env->restart(l->env->arg, l->conf->name);
		return;
	case STAGE_WAITING:
		greet(l);
		return;
	case STAGE_IDLE:
		if (l->note_size > 0)
			adapter_link_anchor(l);
		else if (keeper_is_shut(l))
			l->not_before = adapter_link_now(l) + JOURNAL_RETRY_MS;
		else
			adapter_link_begin(l);
		return;
	case STAGE_CUTTING:
	case STAGE_RECORDING:
		adapter_link_record(l);
		return;
	case STAGE_HELLO:
	case STAGE_SENDING:
	case STAGE_SENT:
	case STAGE_READBACK:
	case STAGE_ANCHORING:
		adapter_link_fail(l, true, "silent for %u s while %s",
		    l->conf->timeout_s, stage_names[l->stage]);
		return;
	}
}

static void
on_timer(uv_timer_t *timer)
{
	struct adapter_link *l = timer->data;

	expire_runs(l);
	if (deadline(l) <= adapter_link_now(l))
		on_silence(l);
	adapter_link_step(l);
}

/* Sets the timer for the next thing to do, at once if it is due. */
void
adapter_link_step(struct adapter_link *l)
{
	uint64_t at = deadline(l);
	uint64_t now = adapter_link_now(l);

	for (const struct adapter_run *r = l->runs; r != NULL; r = r->next)
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
	l->lost = adapter_link_now(l);
	adapter_link_step(l);
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
		adapter_link_fail(
		    l, false, "ended while %s", stage_names[l->stage]);
	l->io =
	    line_io_new(l->env->loop, fd, ADAPTER_LINK_LINE_MAX, &io_events, l);
	if (l->io == NULL)
		log_fatal("out of memory");
	if (!waits_for_keeper(l))
		adapter_link_rest(l);
	adapter_link_step(l);
}

void
adapter_link_kick(struct adapter_link *l)
{
	if (waits_for_keeper(l))
		l->not_before = 0;
	adapter_link_step(l);
}

void
adapter_link_run(struct adapter_link *l, adapter_run_cb *cb, void *arg)
{
	struct adapter_run *r;

	if (!open_journal(l) || (r = calloc(1, sizeof *r)) == NULL) {
		cb(arg, NULL, l->scan == NULL ? l->failure : "out of memory");
		return;
	}
	r->target = scan_size(l->scan);
	r->deadline = adapter_link_now(l) + RUN_PATIENCE_MS;
	r->cb = cb;
	r->arg = arg;
	r->next = l->runs;
	l->runs = r;
	l->not_before = 0;
	adapter_link_step(l);
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
		struct adapter_run *next = l->runs->next;

		free(l->runs);
		l->runs = next;
	}
	adapter_says_release(&l->receipt);
	line_io_free(l->io);
	buf_release(&l->note);
	scan_close(l->scan);
	uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
