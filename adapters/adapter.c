#include "adapters/adapter.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "adapters/message.h"
#include "adapters/proof.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"
#include "compliance/line.h"

#define ALIVE_S 3
#define CHUNK ((size_t)64 << 10)

enum phase {
	PHASE_IDLE,  /* a batch or a read-back may come */
	PHASE_BATCH, /* between batch and end */
	PHASE_SKIP   /* the batch failed; the rest of it is not looked at */
};

struct adapter {
	const struct adapter_ops *ops;
	void *self;
	int in;
	int out;
	time_t wrote; /* monotonic second of the last line */
	bool broken;  /* the engine's end is gone */
	bool usage;   /* the engine speaks out of turn: no way on */
	struct line_reader lines;
	struct message hello;
	struct message batch;
	struct message now;
	struct adapter_offer offer;
	enum phase phase;
	uint64_t next; /* seq that is due */
	uint64_t last;
	bool emitting;
	struct proof proof;
	struct buf why;
	struct buf line;
};

static const char *const state_names[] = {
    [ADAPTER_SENT] = "sent",
    [ADAPTER_ACCEPTED] = "accepted",
    [ADAPTER_STORED] = "stored",
};

static time_t
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

bool
adapter_fail(struct adapter *a, const char *fmt, ...)
{
	va_list ap;

	if (a->why.len != 0)
		return false;
	va_start(ap, fmt);
	buf_vprintf(&a->why, fmt, ap);
	va_end(ap);
	return false;
}

/* Writes a->line and an LF as a whole; false when the engine is gone. */
static bool
send_line(struct adapter *a)
{
	size_t at = 0;

	buf_put_u8(&a->line, '\n');
	if (a->line.failed)
		return adapter_fail(a, "out of memory");
	while (at < a->line.len && !a->broken) {
		ssize_t n = write(a->out, a->line.data + at, a->line.len - at);

		if (n < 0 && errno != EINTR)
			a->broken = true;
		else if (n > 0)
			at += (size_t)n;
	}
	a->wrote = now_s();
	buf_clear(&a->line);
	return !a->broken;
}

static void
put_text_field(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, ",\"%s\":", name);
	text_put_json(b, view_text(value));
}

void
adapter_alive(struct adapter *a)
{
	if (now_s() - a->wrote < ALIVE_S)
		return;
	buf_put_text(&a->line, "{\"type\":\"alive\"}");
	(void)send_line(a); /* the next receipt meets the same failure */
}

/* The reason goes to the engine as JSON, so it has to be UTF-8. */
static void
send_error(struct adapter *a, const uint64_t *batch)
{
	const char *why =
	    a->why.len == 0 ? "no reason given" : buf_text(&a->why);

	if (why == NULL || !text_utf8_valid(view_text(why)))
		why = "a reason that is not text";
	log_warn("%s", why);
	buf_put_text(&a->line, "{\"type\":\"error\"");
	if (batch != NULL)
		buf_printf(&a->line, ",\"batch\":%" PRIu64, *batch);
	put_text_field(&a->line, "reason", why);
	buf_put_u8(&a->line, '}');
	buf_clear(&a->why);
	(void)send_line(a); /* seen through a->broken */
}

static void
abandon(struct adapter *a)
{
	if (a->ops->abandon != NULL)
		a->ops->abandon(a->self);
}

/* Ends the batch at hand without a receipt. */
static void
fail_batch(struct adapter *a)
{
	abandon(a);
	send_error(a, &a->batch.number);
	a->phase = PHASE_SKIP;
}

static void
begin_batch(struct adapter *a)
{
	const struct adapter_batch *b = &a->batch.batch;
	struct message spare = a->batch;

	a->batch = a->now;
	a->now = spare;
	a->phase = PHASE_BATCH;
	a->next = b->first;
	if (!proof_begin(&a->proof, b)) {
		adapter_fail(a,
		    "left does not cover the records before %" PRIu64,
		    b->first);
		fail_batch(a);
	} else if (a->ops->begin != NULL && !a->ops->begin(a->self, a, b)) {
		fail_batch(a);
	}
}

static void
take_event(struct adapter *a)
{
	const struct adapter_event *e = &a->now.event;

	if (e->seq != a->next || e->seq > a->batch.batch.last) {
		adapter_fail(a,
		    "event %" PRIu64 " came where %" PRIu64 " was due", e->seq,
		    a->next);
		fail_batch(a);
		return;
	}
	a->next++;
	proof_add(&a->proof, e->leaf);
	if (a->ops->event != NULL && !a->ops->event(a->self, a, e)) {
		fail_batch(a);
		return;
	}
	adapter_alive(a);
}

static void
send_receipt(struct adapter *a, const struct adapter_receipt *r)
{
	const struct adapter_batch *b = &a->batch.batch;
	struct buf *l = &a->line;

	buf_printf(l,
	    "{\"type\":\"receipt\",\"batch\":%" PRIu64 ",\"count\":%" PRIu64,
	    b->number, b->count);
	put_text_field(l, "root", b->root);
	put_text_field(l, "state", state_names[r->state]);
	put_text_field(l, "location", r->location);
	if (r->hashed) {
		buf_put_text(l, ",\"sha256\":\"");
		text_put_hex(l, r->sha256, sizeof r->sha256);
		buf_printf(l, "\",\"bytes\":%" PRIu64, r->bytes);
	}
	buf_put_u8(l, '}');
	(void)send_line(a); /* seen through a->broken */
}

static void
end_batch(struct adapter *a)
{
	const struct adapter_batch *b = &a->batch.batch;
	struct adapter_receipt r = {.state = a->offer.state};

	if (a->now.number != b->number)
		adapter_fail(a,
		    "end of batch %" PRIu64 " within batch %" PRIu64,
		    a->now.number, b->number);
	else if (a->next != b->last + 1)
		adapter_fail(a, "batch ended before event %" PRIu64, a->next);
	else if (!proof_end(&a->proof, b))
		adapter_fail(a, "the events do not lead to the batch's root");
	if (a->why.len != 0 ||
	    (a->ops->end != NULL && !a->ops->end(a->self, a, b, &r))) {
		fail_batch(a);
	} else {
		send_receipt(a, &r);
	}
	a->phase = PHASE_IDLE;
}

bool
adapter_emit(struct adapter *a, const struct adapter_event *e)
{
	if (e->seq != a->next || e->seq > a->last)
		return adapter_fail(a,
		    "the archive holds event %" PRIu64 " where %" PRIu64
		    " was due",
		    e->seq, a->next);
	a->next++;
	adapter_put_event(&a->line, e);
	return send_line(a);
}

static void
read_back(struct adapter *a)
{
	const struct adapter_request *q = &a->now.request;
	uint8_t sha256[ADAPTER_HASH_LEN];

	a->next = q->first;
	a->last = q->last;
	if (!a->offer.readback || a->ops->readback == NULL)
		adapter_fail(a, "read-back was not offered");
	else if (a->ops->readback(a->self, a, q, sha256) &&
	    a->next != q->last + 1)
		adapter_fail(
		    a, "the archive ends before event %" PRIu64, a->next);
	if (a->why.len != 0 || a->next != q->last + 1) {
		send_error(a, &q->number);
		return;
	}
	buf_printf(&a->line,
	    "{\"type\":\"readback-end\",\"batch\":%" PRIu64 ",\"sha256\":\"",
	    q->number);
	text_put_hex(&a->line, sha256, sizeof sha256);
	buf_put_text(&a->line, "\"}");
	(void)send_line(a); /* seen through a->broken */
}

/* What fails here is no batch: the engine goes on with those. */
static void
hand_on(struct adapter *a)
{
	const struct adapter_checkpoint *c = &a->now.checkpoint;
	const char *state = state_names[a->offer.state], *why = NULL;

	if (a->ops->checkpoint == NULL)
		adapter_fail(a, "no checkpoints were asked for");
	else
		(void)a->ops->checkpoint(a->self, a, c); /* a->why tells */
	if (a->why.len != 0) {
		state = "failed";
		why = buf_text(&a->why);
		if (why == NULL || !text_utf8_valid(view_text(why)))
			why = "a reason that is not text";
		log_warn("checkpoint: %s", why);
	}
	buf_printf(
	    &a->line, "{\"type\":\"anchored\",\"size\":%" PRIu64, c->size);
	put_text_field(&a->line, "state", state);
	if (why != NULL)
		put_text_field(&a->line, "reason", why);
	buf_put_u8(&a->line, '}');
	buf_clear(&a->why);
	(void)send_line(a); /* seen through a->broken */
}

static void
out_of_turn(struct adapter *a)
{
	adapter_fail(a, "a message came out of turn");
	send_error(a, NULL);
	a->usage = true;
}

static void
handle(struct adapter *a)
{
	static void (*const actions[][3])(struct adapter *) = {
	    /* idle, within a batch, after its failure */
	    [MESSAGE_HELLO] = {out_of_turn, out_of_turn, out_of_turn},
	    [MESSAGE_BATCH] = {begin_batch, out_of_turn, begin_batch},
	    [MESSAGE_EVENT] = {out_of_turn, take_event, NULL},
	    [MESSAGE_END] = {out_of_turn, end_batch, NULL},
	    [MESSAGE_READBACK] = {read_back, out_of_turn, read_back},
	    [MESSAGE_CHECKPOINT] = {hand_on, out_of_turn, hand_on},
	    /* a later minor may add messages that need no answer */
	    [MESSAGE_OTHER] = {NULL, NULL, NULL},
	};
	void (*action)(struct adapter *) = actions[a->now.type][a->phase];

	if (action != NULL)
		action(a);
}

/* Adds what the engine wrote; an exit code when there is no more. */
static bool
read_more(struct adapter *a, int *status)
{
	uint8_t chunk[CHUNK];
	ssize_t n;

	do
		n = read(a->in, chunk, sizeof chunk);
	while (n < 0 && errno == EINTR);
	if (n == 0) {
		*status = ADAPTER_EXIT_DONE;
		return false;
	}
	if (n < 0 || !line_reader_put(&a->lines, view_of(chunk, (size_t)n))) {
		log_error("cannot read from the engine: %s",
		    n < 0 ? strerror(errno) : "out of memory");
		*status = ADAPTER_EXIT_SYSTEM;
		return false;
	}
	return true;
}

/* One line into m; *parsed tells whether it was a message. */
static bool
receive(struct adapter *a, struct message *m, bool *parsed, int *status)
{
	struct view line;
	enum line_verdict v;

	while ((v = line_reader_next(&a->lines, ADAPTER_LINE_MAX, &line)) ==
	    LINE_MORE)
		if (!read_more(a, status))
			return false;
	if (v == LINE_LONG) {
		adapter_fail(
		    a, "a line is longer than %zu bytes", ADAPTER_LINE_MAX);
		send_error(
		    a, a->phase == PHASE_BATCH ? &a->batch.number : NULL);
		*status = ADAPTER_EXIT_USAGE;
		return false;
	}
	*parsed = message_parse(m, line, &a->why);
	return true;
}

/* A line that is no message spoils the batch it stands in, no more. */
static void
not_understood(struct adapter *a)
{
	if (a->phase == PHASE_BATCH) {
		fail_batch(a);
	} else if (a->phase == PHASE_SKIP && a->now.type != MESSAGE_BATCH) {
		buf_clear(&a->why);
	} else if (a->now.type == MESSAGE_BATCH ||
	    a->now.type == MESSAGE_READBACK) {
		send_error(a, &a->now.number);
		a->phase = PHASE_SKIP;
	} else {
		send_error(a, NULL);
		a->usage = true;
	}
}

/* Batches and read-backs until the engine closes. */
static int
serve(struct adapter *a)
{
	bool parsed;
	int status;

	while (receive(a, &a->now, &parsed, &status)) {
		if (parsed)
			handle(a);
		else
			not_understood(a);
		if (a->usage)
			status = ADAPTER_EXIT_USAGE;
		else if (a->broken)
			status = ADAPTER_EXIT_SYSTEM;
		else
			continue;
		break;
	}
	if (a->broken)
		log_warn("the engine closed while an answer was due");
	if (a->phase == PHASE_BATCH)
		abandon(a);
	return status;
}

static bool
greet(struct adapter *a, int *status)
{
	bool parsed;

	if (!receive(a, &a->hello, &parsed, status))
		return false;
	*status = ADAPTER_EXIT_USAGE;
	a->offer = (struct adapter_offer){.state = ADAPTER_STORED};
	if (!parsed)
		adapter_fail(a, "hello is not understood"); /* has its why */
	else if (a->hello.type != MESSAGE_HELLO)
		adapter_fail(a, "hello must come first");
	else if (a->hello.protocol != ADAPTER_PROTOCOL)
		adapter_fail(a, "protocol %" PRIu64 " is not spoken, only %d",
		    a->hello.protocol, ADAPTER_PROTOCOL);
	else if (a->ops->configure == NULL ||
	    a->ops->configure(a->self, a, &a->hello.config, &a->offer)) {
		buf_printf(&a->line, "{\"type\":\"ready\",\"protocol\":%d",
		    ADAPTER_PROTOCOL);
		put_text_field(&a->line, "program", a->ops->program);
		buf_printf(&a->line, ",\"states\":[\"%s\"],\"readback\":%s%s}",
		    state_names[a->offer.state],
		    a->offer.readback ? "true" : "false",
		    a->ops->checkpoint != NULL ? ",\"checkpoints\":true" : "");
		*status = ADAPTER_EXIT_SYSTEM;
		return send_line(a);
	}
	send_error(a, NULL);
	return false;
}

int
adapter_run(const struct adapter_ops *ops, void *self, int in, int out)
{
	struct adapter a = {.ops = ops, .self = self, .in = in, .out = out};
	int status;

	a.wrote = now_s();
	line_reader_init(&a.lines);
	message_init(&a.hello);
	message_init(&a.batch);
	message_init(&a.now);
	buf_init(&a.why);
	buf_init(&a.line);
	if (greet(&a, &status))
		status = serve(&a);
	buf_release(&a.line);
	buf_release(&a.why);
	message_release(&a.now);
	message_release(&a.batch);
	message_release(&a.hello);
	line_reader_release(&a.lines);
	return status;
}

int
adapter_main(const struct adapter_ops *ops, void *self)
{
	int out;

	log_init(ops->program, LOG_LEVEL_INFO);
	log_never_wait();
	crypto_init();
	signal(SIGPIPE, SIG_IGN);
	/* A library that prints must not be able to break the protocol. */
	out = dup(STDOUT_FILENO);
	if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		log_error("cannot set up stdout: %s", strerror(errno));
		return ADAPTER_EXIT_SYSTEM;
	}
	return adapter_run(ops, self, STDIN_FILENO, out);
}

void
adapter_put_event(struct buf *b, const struct adapter_event *e)
{
	buf_put_text(b, "{\"type\":\"event\",\"seq\":");
	buf_put_decimal(b, e->seq);
	buf_put_text(b, ",\"kind\":");
	buf_put_decimal(b, e->kind);
	buf_put_text(b, ",\"leaf\":");
	text_put_json(b, e->leaf);
	buf_put_text(b, ",\"parts\":[");
	for (size_t i = 0; i < e->parts; i++) {
		buf_put_text(b, i == 0 ? "{\"salt\":\"" : ",{\"salt\":\"");
		text_put_base64(b, e->part[i].salt, sizeof e->part[i].salt);
		buf_put_text(b, "\",\"data\":");
		text_put_json(b, e->part[i].data);
		buf_put_u8(b, '}');
	}
	buf_put_u8(b, ']');
	if (e->purged)
		buf_put_text(b, ",\"purged\":true");
	named_put_json(b, &e->named);
	buf_put_u8(b, '}');
}
