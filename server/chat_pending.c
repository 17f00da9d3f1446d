#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "compliance/event.h"
#include "server/chat_state.h"

/* Administrative changes on their way from `pending` into the journal. */

struct pending_op {
	struct op op;
	struct pending_op *next;
	struct pending_batch *batch; /* NULL: nobody asks */
	uint64_t id;
	unsigned kind;
	char *envelope;
};

/* One call of chat_submit_pending(). */
struct pending_batch {
	void (*done)(void *arg, const char *why);
	void *arg;
	unsigned left;
	char why[160];
};

static void
batch_one(struct pending_batch *b, const char *why)
{
	if (b == NULL)
		return;
	if (why != NULL)
		(void)snprintf(b->why, sizeof b->why, "%s", why);
	if (--b->left > 0)
		return;
	if (b->done != NULL)
		b->done(b->arg, b->why[0] != '\0' ? b->why : NULL);
	free(b);
}

static void
pending_end(struct pending_op *p, const char *why)
{
	struct pending_op **at = &p->op.chat->pending;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	batch_one(p->batch, why);
	free(p->envelope);
	free(p);
}

static const char *
pending_write(struct op *op, struct buf *envelope, struct buf *content)
{
	struct pending_op *p = (struct pending_op *)op;

	(void)content;
	buf_put_text(envelope, p->envelope);
	return NULL;
}

static void
pending_stored(struct op *op, uint64_t seq, uint64_t at)
{
	struct pending_op *p = (struct pending_op *)op;

	(void)seq;
	(void)at;
	store_drop_pending(op->chat->store, p->id);
	pending_end(p, NULL);
}

static void
pending_refused(struct op *op, const char *why)
{
	pending_end((struct pending_op *)op, why);
}

static const struct op_type pending_types[] = {
    {.kind = EVENT_ROOM,
	.write = pending_write,
	.whole = true,
	.stored = pending_stored,
	.refused = pending_refused},
    {.kind = EVENT_MEMBER,
	.write = pending_write,
	.whole = true,
	.stored = pending_stored,
	.refused = pending_refused},
    {.kind = EVENT_USER,
	.write = pending_write,
	.whole = true,
	.stored = pending_stored,
	.refused = pending_refused},
};

struct pending_walk {
	struct chat *chat;
	struct pending_batch *batch;
	struct pending_op *first;
	struct pending_op **end;
};

static bool
is_under_way(const struct chat *c, uint64_t id)
{
	for (const struct pending_op *p = c->pending; p != NULL; p = p->next)
		if (p->id == id)
			return true;
	return false;
}

static void
on_pending(void *arg, const struct store_pending *row)
{
	struct pending_walk *w = arg;
	const struct op_type *type = NULL;
	struct pending_op *p;

	for (size_t i = 0; i < 3; i++)
		if (pending_types[i].kind == row->kind)
			type = &pending_types[i];
	if (type == NULL || is_under_way(w->chat, row->id))
		return;
	p = calloc(1, sizeof *p);
	if (p == NULL || (p->envelope = view_dup(row->envelope)) == NULL)
		log_fatal("out of memory for administration");
	op_init(&p->op, type, w->chat);
	p->id = row->id;
	p->batch = w->batch;
	w->batch->left++;
	*w->end = p;
	w->end = &p->next;
}

static void
submit(struct chat *c, struct pending_batch *b, bool startup)
{
	struct pending_walk w = {.chat = c, .batch = b};
	struct pending_op *p, *next, **end;

	w.end = &w.first;
	b->left = 1;
	if (store_each_pending(c->store, on_pending, &w) != 0)
		(void)snprintf(b->why, sizeof b->why, "chat.db cannot be read");
	/* In the order of their receipts, so that each is found at once. */
	for (end = &c->pending; *end != NULL; end = &(*end)->next)
		;
	*end = w.first;
	for (p = w.first; p != NULL; p = next) {
		next = p->next;
		p->op.startup = startup;
		c->startup += startup;
		op_start(&p->op);
	}
	batch_one(b, NULL);
}

void
chat_submit_pending(
    struct chat *c, void (*done)(void *arg, const char *why), void *arg)
{
	struct pending_batch *b = calloc(1, sizeof *b);

	if (b == NULL) {
		done(arg, "the server is short of memory");
		return;
	}
	b->done = done;
	b->arg = arg;
	submit(c, b, false);
}

void
chat_start_pending(struct chat *c, bool startup)
{
	struct pending_batch *b = calloc(1, sizeof *b);

	if (b == NULL)
		log_fatal("out of memory for administration");
	submit(c, b, startup);
}

void
chat_settle_pending(struct chat *c, uint64_t id, uint64_t seq, uint64_t at)
{
	for (struct pending_op *p = c->pending; p != NULL; p = p->next) {
		if (p->id != id)
			continue;
		record_settle(c->record, &p->op.record, seq, at);
		return;
	}
}
