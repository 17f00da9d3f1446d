#include "server/delivery.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "compliance/event.h"
#include "server/chat_state.h"

#define FLUSH_MS 1000
#define EVENT_BYTES_MAX (256U << 10)

/* Message numbers first .. first + count - 1 with one outcome. */
struct run {
	uint64_t first;
	uint32_t count;
	uint32_t outcome;
};

/* Runs beside the one that every member has room for. */
struct room_runs {
	uint32_t count;
	uint32_t cap;
	struct run list[];
};

struct delivery_op {
	struct op op;
	struct room *room; /* a reference */
	struct buf tail;
};

/* A member's numbers with one outcome, as text in the flush's buffer. */
struct entry {
	const struct endpoint *endpoint;
	uint32_t outcome;
	uint32_t len;
	size_t at;
	const uint8_t *text;
};

struct flush {
	struct chat *chat;
	struct room *room;
	struct entry *entries;
	size_t count;
	size_t cap;
	struct buf text;
	struct buf event;
};

static const char *const whys[] = {
    [SESSION_DELIVERED] = "",
    [SESSION_REFUSED] = "refused",
    [SESSION_TIMEOUT] = "timeout",
    [SESSION_GONE] = "lost",
};

static void
add_more(struct member *m, struct run run)
{
	struct room_runs *l = m->more;
	uint32_t cap;

	if (l != NULL && l->count > 0) {
		struct run *last = &l->list[l->count - 1];

		if (last->outcome == run.outcome &&
		    last->first + last->count == run.first) {
			last->count += run.count;
			return;
		}
	}
	if (l == NULL || l->count == l->cap) {
		cap = l == NULL ? 4 : l->cap * 2;
		l = realloc(l, sizeof *l + cap * sizeof l->list[0]);
		if (l == NULL)
			log_fatal("out of memory for outcomes of messages");
		if (m->more == NULL)
			l->count = 0;
		l->cap = cap;
		m->more = l;
	}
	l->list[l->count++] = run;
}

static void
add_outcome(struct member *m, uint64_t number, enum session_outcome outcome)
{
	if (outcome != SESSION_DELIVERED) {
		add_more(m, (struct run){number, 1, (uint32_t)outcome});
	} else if (m->run_count > 0 && number == m->run_first + m->run_count) {
		m->run_count++;
	} else {
		if (m->run_count > 0)
			add_more(m,
			    (struct run){
				m->run_first, m->run_count, SESSION_DELIVERED});
		m->run_first = number;
		m->run_count = 1;
	}
}

static void
on_flush(uv_timer_t *timer)
{
	delivery_flush(timer->data);
}

void
delivery_outcome(struct chat *c, struct member *m, uint64_t number,
    enum session_outcome outcome)
{
	struct room *r = m->room;

	m->outstanding--;
	add_outcome(m, number, outcome);
	if (!m->has_news) {
		m->has_news = true;
		m->next_news = r->news;
		r->news = m;
	}
	if (!r->has_news) {
		r->has_news = true;
		r->next_news = c->news;
		c->news = room_hold(r);
	}
	if (!uv_is_active((uv_handle_t *)&c->flush))
		uv_timer_start(&c->flush, on_flush, FLUSH_MS, 0);
}

void
delivery_forget(struct member *m)
{
	if (m->state != MEMBER_JOINING)
		free(m->more);
	m->more = NULL;
	m->run_count = 0;
	m->has_news = false;
}

/* ---- One event ---- */

static int
compare_runs(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->outcome != y->outcome)
		return x->outcome < y->outcome ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

static void
put_range(struct buf *b, uint64_t first, uint64_t last)
{
	buf_put_decimal(b, first);
	if (last == first)
		return;
	buf_put_u8(b, '-');
	buf_put_decimal(b, last);
}

static struct entry *
add_entry(struct flush *f, const struct member *m, uint32_t outcome)
{
	if (f->count == f->cap) {
		size_t cap = f->cap == 0 ? 64 : f->cap * 2;
		struct entry *grown =
		    reallocarray(f->entries, cap, sizeof *grown);

		if (grown == NULL)
			log_fatal("out of memory for outcomes of messages");
		f->entries = grown;
		f->cap = cap;
	}
	f->entries[f->count] = (struct entry){
	    .endpoint = m->endpoint, .outcome = outcome, .at = f->text.len};
	return &f->entries[f->count++];
}

/* Sorted runs become one entry for each outcome. */
static void
put_runs(
    struct flush *f, const struct member *m, const struct run *runs, uint32_t n)
{
	struct entry *e = NULL;

	for (uint32_t i = 0; i < n;) {
		uint64_t next = runs[i].first + runs[i].count;
		uint32_t j = i + 1;

		if (e == NULL || e->outcome != runs[i].outcome)
			e = add_entry(f, m, runs[i].outcome);
		else
			buf_put_u8(&f->text, ',');
		while (j < n && runs[j].outcome == runs[i].outcome &&
		    runs[j].first == next)
			next += runs[j++].count;
		put_range(&f->text, runs[i].first, next - 1);
		e->len = (uint32_t)(f->text.len - e->at);
		i = j;
	}
}

static void
take_news(struct flush *f, struct member *m)
{
	if (m->run_count > 0 && m->more != NULL)
		add_more(m,
		    (struct run){
			m->run_first, m->run_count, SESSION_DELIVERED});
	if (m->more != NULL) {
		qsort(m->more->list, m->more->count, sizeof m->more->list[0],
		    compare_runs);
		put_runs(f, m, m->more->list, m->more->count);
	} else {
		const struct run run = {
		    m->run_first, m->run_count, SESSION_DELIVERED};

		put_runs(f, m, &run, 1);
	}
	delivery_forget(m);
}

static int
compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->outcome != y->outcome)
		return x->outcome < y->outcome ? -1 : 1;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->text, y->text, x->len);
}

static const char *
write_event(struct op *op, struct buf *envelope, struct buf *content)
{
	struct delivery_op *d = (struct delivery_op *)op;

	(void)content;
	buf_put_view(envelope, buf_view(&d->tail));
	return NULL;
}

static void
forget(struct op *op)
{
	struct delivery_op *d = (struct delivery_op *)op;

	room_drop(&op->chat->table, d->room);
	buf_release(&d->tail);
	free(d);
}

static void
stored(struct op *op, uint64_t seq, uint64_t at)
{
	(void)seq;
	(void)at;
	forget(op);
}

static const struct op_type delivery_type = {
    .kind = EVENT_DELIVERY,
    .lasting = true,
    .write = write_event,
    .stored = stored,
    .forget = forget,
};

static void
send_event(struct flush *f)
{
	struct delivery_op *d = calloc(1, sizeof *d);

	buf_put_u8(&f->event, '}');
	if (d == NULL || f->event.failed)
		log_fatal("out of memory for outcomes of messages");
	op_init(&d->op, &delivery_type, f->chat);
	d->room = room_hold(f->room);
	d->tail.data = buf_take(&f->event, &d->tail.len);
	d->tail.cap = d->tail.len;
	op_start(&d->op);
}

/* {"chats":..,"to":[..]} from entry i on, as many as one event may hold. */
static size_t
put_group(struct flush *f, size_t i)
{
	const struct entry *head = &f->entries[i];
	struct buf *b = &f->event, *to = &f->chat->content;

	buf_put_text(b, "{\"chats\":\"");
	buf_put(b, head->text, head->len);
	buf_put_text(b, "\",\"to\":[");
	do {
		const struct endpoint *e = f->entries[i].endpoint;

		if (&f->entries[i] != head)
			buf_put_u8(b, ',');
		buf_clear(to);
		buf_put_text(to, e->user);
		buf_put_u8(to, ' ');
		buf_put_text(to, endpoint_device(e));
		text_put_json(b, buf_view(to));
		i++;
	} while (i < f->count && b->len <= EVENT_BYTES_MAX &&
	    compare_entries(head, &f->entries[i]) == 0);
	buf_put_u8(b, ']');
	if (head->outcome != SESSION_DELIVERED) {
		buf_put_text(b, ",\"why\":\"");
		buf_put_text(b, whys[head->outcome]);
		buf_put_u8(b, '"');
	}
	buf_put_u8(b, '}');
	return i;
}

/* One event from entry i on; what it leaves out goes into the next. */
static size_t
put_event(struct flush *f, size_t i)
{
	const struct payload_room where = chat_room(f->room);
	struct buf *b = &f->event;
	bool failed = false;

	payload_put_delivery(b, &where);
	buf_put_text(b, ",\"sets\":[");
	for (size_t first = i; i < f->count && b->len <= EVENT_BYTES_MAX;) {
		if (!failed && f->entries[i].outcome != SESSION_DELIVERED) {
			buf_put_text(b, "],\"failed\":[");
			failed = true;
			first = i;
		}
		if (i > first)
			buf_put_u8(b, ',');
		i = put_group(f, i);
	}
	buf_put_u8(b, ']');
	send_event(f);
	return i;
}

static void
settle_all(struct chat *c, struct member *news)
{
	while (news != NULL) {
		struct member *next = news->next_news;

		news->next_news = NULL;
		member_settle(&c->table, news);
		news = next;
	}
}

void
delivery_forget_room(struct chat *c, struct room *r)
{
	struct member *news = r->news;

	r->news = NULL;
	for (struct member *m = news; m != NULL; m = m->next_news)
		delivery_forget(m);
	settle_all(c, news);
}

void
delivery_flush_room(struct chat *c, struct room *r)
{
	struct flush f = {.chat = c, .room = r};
	struct member *news = r->news;

	if (news == NULL)
		return;
	r->news = NULL;
	for (struct member *m = news; m != NULL; m = m->next_news)
		take_news(&f, m);
	if (f.text.failed)
		log_fatal("out of memory for outcomes of messages");
	for (size_t i = 0; i < f.count; i++)
		f.entries[i].text = f.text.data + f.entries[i].at;
	if (f.count > 0)
		qsort(f.entries, f.count, sizeof f.entries[0], compare_entries);
	for (size_t i = 0; i < f.count;)
		i = put_event(&f, i);
	settle_all(c, news);
	free(f.entries);
	buf_release(&f.text);
	buf_release(&f.event);
}

void
delivery_flush(struct chat *c)
{
	if (record_state(c->record) != RECORD_OPEN)
		return;
	while (c->news != NULL) {
		struct room *r = c->news;

		c->news = r->next_news;
		r->has_news = false;
		delivery_flush_room(c, r);
		room_drop(&c->table, r);
	}
}
