#include "compliance/audit_told.h"

#include <string.h>

#include "base/log.h"

#include "compliance/event.h"
#include "compliance/leaf.h"

#define RETRY_MS 1000

static void
put_fields(struct buf *b, const struct audit_result *r)
{
	leaf_put_number(b, "first", r->first);
	leaf_put_number(b, "last", r->last);
	leaf_put_number(b, "since", r->since);
	leaf_put_field(b, "result", view_text(r->whole ? "whole" : "broken"));
}

static void tell(struct audit_told *t);

static void
on_timer(uv_timer_t *timer)
{
	tell(timer->data);
}

/*
 * The files may tell of records that there never were, but the keeper does
 * not: the result goes as far as it has ever said.
 */
static void
narrow(struct audit_told *t)
{
	struct audit_result *r = &t->result[0];
	uint64_t last = keeper_link_seq(t->keeper);

	if (r->last > last)
		r->last = last;
	if (r->first > r->last)
		r->first = r->last;
}

static void
on_told(void *arg, enum keeper_answer answer, struct view why)
{
	struct audit_told *t = arg;

	t->telling = false;
	if (answer == KEEPER_RECORDED) {
		memmove(
		    t->result, t->result + 1, --t->count * sizeof t->result[0]);
		tell(t);
		return;
	}
	if (answer == KEEPER_REFUSED) {
		log_warn("audit record: %.*s", (int)why.n, (const char *)why.p);
		if (keeper_link_state(t->keeper)->writable)
			narrow(t);
	}
	(void)uv_timer_start(&t->timer, on_timer, RETRY_MS, 0); /* always 0 */
}

static void
tell(struct audit_told *t)
{
	struct buf fields;

	if (t->telling || t->count == 0)
		return;
	buf_init(&fields);
	put_fields(&fields, &t->result[0]);
	t->telling = !fields.failed &&
	    keeper_link_control(
		t->keeper, EVENT_AUDIT, buf_view(&fields), on_told, t);
	buf_release(&fields);
	if (!t->telling)
		(void)uv_timer_start(&t->timer, on_timer, RETRY_MS, 0);
}

void
audit_told_init(
    struct audit_told *t, uv_loop_t *loop, struct keeper_link *keeper)
{
	*t = (struct audit_told){.keeper = keeper};
	(void)uv_timer_init(loop, &t->timer); /* always 0 */
	t->timer.data = t;
}

void
audit_told_add(struct audit_told *t, struct audit_result r)
{
	if (t->count == sizeof t->result / sizeof t->result[0])
		t->count--;
	t->result[t->count++] = r;
	tell(t);
}
