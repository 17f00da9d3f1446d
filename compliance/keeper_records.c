#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#include "compliance/clock.h"
#include "compliance/event.h"
#include "compliance/retention.h"

/* The records that the keeper makes by itself, and its way out of outages. */

#define RETRY_FIRST_MS 250
#define RETRY_LAST_MS 2000
#define STEADY_MS 10000 /* after that long the pauses begin short again */
#define LATE_MS 1000    /* late events are counted for so long */

static int
append_own(struct keeper *k, unsigned kind, const struct buf *fields)
{
	struct journal_event e = {.kind = kind, .fields = buf_view(fields)};

	if (fields->failed || journal_append(k->journal, &e, 1) != 0)
		return -1;
	if (kind == EVENT_OPEN)
		keeper_publish_after(k, e.seq);
	return 0;
}

static int
append_incident(struct keeper *k)
{
	struct keeper_outage *o = &k->outage;
	uint64_t until = clock_now();
	struct buf fields;
	int r;

	buf_init(&fields);
	leaf_put_field(&fields, "what", view_text(o->what));
	leaf_put_number(&fields, "since", o->since);
	leaf_put_number(&fields, "until", until);
	leaf_put_number(&fields, "refused", o->refused);
	r = append_own(k, EVENT_INCIDENT, &fields);
	buf_release(&fields);
	if (r == 0) {
		o->refused = 0;
		o->unrecorded = false;
		o->late_since = o->since;
		o->late_until = until;
	}
	return r;
}

/* Record 0 announces the second key, and later files repeat what it says. */
static int
put_first_next(struct keeper *k, struct buf *out)
{
	struct view value;
	struct buf fields;
	uint64_t seq;
	int r;

	if (journal_size(k->journal) == 0) {
		text_put_hex(out, k->signing.next, sizeof k->signing.next);
		return 0;
	}
	buf_init(&fields);
	r = journal_fields_before(k->journal, EVENT_OPEN, 1, &seq, &fields);
	if (r == 1 && leaf_field(buf_view(&fields), "next", &value))
		buf_put_view(out, value);
	buf_release(&fields);
	return out->len > 0 ? 0 : -1;
}

static int
append_late(struct keeper *k)
{
	struct keeper_outage *o = &k->outage;
	struct buf fields;
	int r;

	buf_init(&fields);
	leaf_put_number(&fields, "since", o->late_since);
	leaf_put_number(&fields, "until", o->late_until);
	leaf_put_number(&fields, "count", o->late);
	r = append_own(k, EVENT_LATE, &fields);
	buf_release(&fields);
	if (r == 0)
		o->late = 0;
	return r;
}

static int
append_open(struct keeper *k)
{
	struct buf fields, next, base;
	int r;

	buf_init(&fields);
	buf_init(&next);
	buf_init(&base);
	r = put_first_next(k, &next);
	leaf_put_field(&fields, "journal", view_text(journal_uuid(k->journal)));
	leaf_put_field(
	    &fields, "origin", view_text(journal_origin(k->journal)));
	leaf_put_field(&fields, "vkey", view_text(journal_vkey(k->journal)));
	leaf_put_field(&fields, "next", buf_view(&next));
	leaf_put_field(
	    &fields, "software", view_text("chancery/" CHANCERY_VERSION));
	leaf_put_number(&fields, "segment", journal_segment(k->journal));
	if (r == 0)
		r = journal_put_base(k->journal, &base);
	leaf_put_field(&fields, "note", buf_view(&base));
	if (r == 0)
		r = next.failed || base.failed
		    ? -1
		    : append_own(k, EVENT_OPEN, &fields);
	buf_release(&fields);
	buf_release(&next);
	buf_release(&base);
	if (r == 0 && journal_segment(k->journal) == 0)
		keeper_keys_fresh(k);
	return r;
}

int
keeper_open_file(struct keeper *k)
{
	return journal_opens(k->journal) ? append_open(k) : 0;
}

/* Records which adapters must store, when that is not known already. */
static int
append_policy(struct keeper *k)
{
	struct buf names, fields, last, classes;
	char after[24];
	int r;

	buf_init(&names);
	buf_init(&classes);
	buf_init(&fields);
	buf_init(&last);
	for (size_t i = 0; i < k->required_count; i++)
		buf_printf(&names, "%s%s", i > 0 ? "," : "", k->required[i]);
	if (k->required_count == 0)
		buf_put_text(&names, "-");
	(void)snprintf(
	    after, sizeof after, "%" PRId64, retention_shortest(k->conf));
	retention_put_classes(&classes, k->conf);
	leaf_put_field(&fields, "required", buf_view(&names));
	leaf_put_field(&fields, "after", view_text(after));
	leaf_put_number(&fields, "approvals", k->conf->purge_approvals);
	keeper_put_anchors(&fields, k->conf);
	leaf_put_field(&fields, "classes", buf_view(&classes));
	r = names.failed || classes.failed
	    ? -1
	    : journal_last_fields(k->journal, EVENT_POLICY, &last);
	if (r == 0 ||
	    (r == 1 &&
		(last.len != fields.len ||
		    memcmp(last.data, fields.data, last.len) != 0)))
		r = append_own(k, EVENT_POLICY, &fields);
	buf_release(&last);
	buf_release(&fields);
	buf_release(&classes);
	buf_release(&names);
	return r < 0 ? -1 : 0;
}

void
keeper_enter_service(struct keeper *k)
{
	uint64_t last = journal_time(k->journal);

	/* The chat store is asked, too, before anything is added. */
	if (k->in_service || !k->signing.compared || !k->applied_known ||
	    k->ahead > 0 || keeper_rolling(k)) {
		keeper_update(k);
		return;
	}
	if (keeper_open_file(k) != 0) {
		keeper_storage_failed(k);
		return;
	}
	if (!keeper_keys_ready(k))
		return;
	if (append_policy(k) != 0) {
		keeper_storage_failed(k);
		return;
	}
	k->in_service = true;
	/* What comes late now was kept from us while we were away. */
	if (k->outage.late_since == 0) {
		k->outage.late_since = last;
		k->outage.late_until = clock_now();
	}
	keeper_beat_start(k);
	/* One that began before, and ended while the key was changed. */
	keeper_end_outage(k);
	keeper_update(k);
}

/* ---- outages ---- */

static void
on_recover(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	if (journal_recover(k->journal) != 0) {
		k->retry_ms = k->retry_ms * 2 < RETRY_LAST_MS ? k->retry_ms * 2
							      : RETRY_LAST_MS;
		(void)uv_timer_start(timer, on_recover, k->retry_ms, 0);
		keeper_update(k);
		return;
	}
	k->recovered_ms = uv_now(&k->loop);
	log_info("%s can be written again", k->path);
	(void)uv_timer_start(&k->truncate_timer, keeper_truncate, 0, 0);
	keeper_compare(k);
	/* A proof whose commit failed may have reached the disk. */
	if (k->signing.compared && !k->doomed && !keeper_conflicts_clear(k)) {
		keeper_sign(k);
		return;
	}
	keeper_roll(k);
	/* Storage may have failed between a new file and its first record. */
	if (k->in_service && !keeper_rolling(k) && keeper_open_file(k) != 0) {
		keeper_storage_failed(k);
		return;
	}
	keeper_enter_service(k);
	keeper_end_outage(k);
	keeper_update(k);
	keeper_sign(k);
}

void
keeper_begin_outage(struct keeper *k, const char *what)
{
	struct keeper_outage *o = &k->outage;

	if (o->unrecorded)
		return;
	o->what = what;
	o->since = clock_now();
	o->unrecorded = true;
}

void
keeper_end_outage(struct keeper *k)
{
	if (!k->outage.unrecorded || !keeper_writable(k) || keeper_rolling(k))
		return;
	/* Those before it, whose time perhaps came meanwhile. */
	if ((k->outage.late > 0 && append_late(k) != 0) ||
	    append_incident(k) != 0)
		keeper_storage_failed(k);
}

void
keeper_storage_failed(struct keeper *k)
{
	bool steady = uv_now(&k->loop) - k->recovered_ms > STEADY_MS;

	if (uv_is_active((uv_handle_t *)&k->recover_timer))
		return;
	if (k->retry_ms == 0 || steady)
		k->retry_ms = RETRY_FIRST_MS;
	log_error("%s: %s", k->path, journal_error(k->journal));
	keeper_begin_outage(k, "storage");
	(void)uv_timer_start(&k->recover_timer, on_recover, k->retry_ms, 0);
	keeper_update(k);
}

static void
on_late(uv_timer_t *timer)
{
	keeper_report_late(timer->data);
}

void
keeper_report_late(struct keeper *k)
{
	if (k->outage.late == 0 || !keeper_writable(k))
		return;
	if (keeper_rolling(k)) {
		(void)uv_timer_start(&k->late_timer, on_late, LATE_MS, 0);
		return;
	}
	if (append_late(k) != 0)
		keeper_storage_failed(k);
	else
		keeper_sign(k);
}

/*
 * The server marks an event that it had to hold back. Quotes inside strings
 * are escaped in JSON, so these bytes are the member itself.
 */
static bool
is_late(const struct journal_event *e)
{
	static const char member[] = ",\"late\":true";

	return e->kind == EVENT_LEAVE &&
	    memmem(e->part[0].p, e->part[0].n, member, sizeof member - 1) !=
	    NULL;
}

void
keeper_count_late(
    struct keeper *k, const struct journal_event *events, size_t count)
{
	uint64_t before = k->outage.late;

	for (size_t i = 0; i < count; i++)
		if (is_late(&events[i]))
			k->outage.late++;
	if (k->outage.late > before &&
	    !uv_is_active((uv_handle_t *)&k->late_timer))
		(void)uv_timer_start(&k->late_timer, on_late, LATE_MS, 0);
}
