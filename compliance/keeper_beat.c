#include "compliance/keeper_state.h"

#include <string.h>

#include "base/log.h"

#include "compliance/clock.h"
#include "compliance/event.h"

/* Beats, and with them what was refused since the last one. */

#define OWN_MS 1000 /* the keeper's own counts are in memory so long at most */

static const char *const own_names[KEEPER_REFUSALS] = {
    [KEEPER_UNREADY] = "unready",
    [KEEPER_LARGE] = "large",
};

static const char *const told_names[WIRE_DROPS_COUNT] = {
    [WIRE_DROP_OVERLOAD] = "overload",
    [WIRE_DROP_KEEPER] = "keeper",
    [WIRE_DROP_STORAGE] = "storage",
    [WIRE_DROP_CHAT] = "chat",
    [WIRE_DROP_PASSWORD] = "password",
};

#define GROUP_MAX (KEEPER_REFUSALS + 2 * WIRE_DROPS_COUNT + 2)

/* Records of one transaction; their fields lie in one buffer. */
struct group {
	struct journal_event event[GROUP_MAX];
	size_t start[GROUP_MAX + 1];
	size_t count;
	struct buf fields;
};

static void
add(struct group *g, unsigned kind)
{
	g->event[g->count] = (struct journal_event){.kind = kind};
	g->start[++g->count] = g->fields.len;
}

static void
add_drop(struct group *g, const char *what, const struct keeper_drop *d)
{
	if (d->count == 0)
		return;
	leaf_put_field(&g->fields, "what", view_text(what));
	leaf_put_number(&g->fields, "since", d->since);
	leaf_put_number(&g->fields, "until", d->until);
	leaf_put_number(&g->fields, "count", d->count);
	add(g, EVENT_DROP);
}

static void
add_drops(struct group *g, const struct keeper_drops *d)
{
	for (size_t i = 0; i < KEEPER_REFUSALS; i++)
		add_drop(g, own_names[i], &d->own[i]);
	for (size_t i = 0; i < WIRE_DROPS_COUNT; i++) {
		add_drop(g, told_names[i], &d->left[i]);
		add_drop(g, told_names[i], &d->told[i]);
	}
}

static void
add_lost(struct group *g, const struct keeper_drop *lost)
{
	if (lost->count == 0)
		return;
	leaf_put_field(&g->fields, "what", view_text("server"));
	leaf_put_number(&g->fields, "since", lost->since);
	leaf_put_number(&g->fields, "until", lost->until);
	leaf_put_number(&g->fields, "refused", 0);
	add(g, EVENT_INCIDENT);
}

static void
tell_kept(struct keeper *k)
{
	struct buf *out;

	if (k->server.link == NULL || !k->drops.here)
		return;
	out = ipc_begin(k->server.link, WIRE_DROPS_KEPT);
	buf_put_u64(out, k->drops.kept);
	ipc_end(k->server.link);
}

static int
append(struct keeper *k, struct group *g)
{
	struct keeper_drops *d = &k->drops;

	for (size_t i = 0; i < g->count; i++)
		g->event[i].fields = view_of(g->fields.data + g->start[i],
		    g->start[i + 1] - g->start[i]);
	if (g->fields.failed ||
	    journal_append(k->journal, g->event, g->count) != 0)
		return -1;
	memset(d->own, 0, sizeof d->own);
	memset(d->told, 0, sizeof d->told);
	memset(d->left, 0, sizeof d->left);
	d->lost = (struct keeper_drop){0};
	if (d->ref != d->kept) {
		d->kept = d->ref;
		tell_kept(k);
	}
	return 0;
}

static void on_beat(uv_timer_t *timer);
static void on_drops(uv_timer_t *timer);

/* Nothing is appended to a sealed file: the next one is there in a moment. */
static void
record_later(struct keeper *k, bool beat)
{
	if (beat)
		(void)uv_timer_start(&k->beat_timer, on_beat, OWN_MS,
		    (uint64_t)k->conf->beat_s * 1000);
	else
		(void)uv_timer_start(&k->drop_timer, on_drops, OWN_MS, 0);
}

/* Drops and, at its time, the beat, in one transaction. */
static void
record(struct keeper *k, bool beat)
{
	struct group g = {.count = 0};
	int r = 0;

	if (!keeper_writable(k))
		return;
	if (keeper_rolling(k)) {
		record_later(k, beat);
		return;
	}
	buf_init(&g.fields);
	add_drops(&g, &k->drops);
	add_lost(&g, &k->drops.lost);
	if (beat) {
		journal_put_beat(
		    k->journal, k->conf->beat_s, k->drops.queue, &g.fields);
		add(&g, EVENT_BEAT);
	}
	if (g.count > 0)
		r = append(k, &g);
	buf_release(&g.fields);
	if (r != 0) {
		keeper_storage_failed(k);
		return;
	}
	if (beat)
		k->drops.queue = 0;
	keeper_sign(k);
}

static void
on_beat(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	record(k, true);
	if (!keeper_writable(k))
		return;
	k->wal_mark = journal_wal_pages(k->journal);
	if (journal_checkpoint(k->journal) != 0)
		log_warn("%s: %s", k->path, journal_error(k->journal));
}

void
keeper_beat_start(struct keeper *k)
{
	uint64_t every = (uint64_t)k->conf->beat_s * 1000;
	uint64_t now = clock_now();
	uint64_t last = journal_last_at(k->journal, EVENT_BEAT);
	uint64_t first = every;

	if (last == 0)
		last = journal_last_at(k->journal, EVENT_OPEN);
	if (now > last)
		first = (now - last) / 1000 < every
		    ? every - (now - last) / 1000
		    : 0;
	(void)uv_timer_start(&k->beat_timer, on_beat, first, every);
}

/* ---- refusals ---- */

static void
on_drops(uv_timer_t *timer)
{
	record(timer->data, false);
}

void
keeper_refused(struct keeper *k, enum keeper_refusal why, uint64_t n)
{
	struct keeper_drop *d = &k->drops.own[why];

	d->until = clock_now();
	if (d->count == 0)
		d->since = d->until;
	d->count += n;
	if (!uv_is_active((uv_handle_t *)&k->drop_timer))
		(void)uv_timer_start(&k->drop_timer, on_drops, OWN_MS, 0);
}

void
keeper_report_drops(struct keeper *k)
{
	record(k, false);
}

/* What waits to be recorded stays, and what is told now comes to it. */
static void
keep_left(struct keeper_drops *d)
{
	for (size_t i = 0; i < WIRE_DROPS_COUNT; i++) {
		struct keeper_drop *left = &d->left[i];
		const struct keeper_drop *told = &d->told[i];

		if (told->count == 0)
			continue;
		if (left->count == 0)
			left->since = told->since;
		left->until = told->until;
		left->count += told->count;
	}
}

/* The server tells again what it does not know to be recorded. */
bool
keeper_take_drops(struct keeper *k, struct view payload)
{
	struct keeper_drop told[WIRE_DROPS_COUNT] = {0};
	struct keeper_drops *d = &k->drops;
	struct reader r = reader_of(payload);
	uint32_t server = reader_u32(&r);
	uint64_t ref = reader_u64(&r);

	while (!r.failed && r.n > 0) {
		unsigned why = reader_u8(&r);
		struct keeper_drop one = {0};

		one.since = reader_u64(&r);
		one.until = reader_u64(&r);
		one.count = reader_u64(&r);
		if (why >= WIRE_DROPS_COUNT || one.since > one.until ||
		    one.count > INT64_MAX || one.until > INT64_MAX)
			return false;
		told[why] = one;
	}
	if (!reader_done(&r) || server == 0 || ref == 0)
		return false;
	d->here = true;
	if (server == d->server && ref == d->kept) {
		tell_kept(k);
		return true;
	}
	if (server != d->server || ref != d->ref)
		keep_left(d);
	if (server != d->server)
		d->kept = 0;
	memcpy(d->told, told, sizeof told);
	d->server = server;
	d->ref = ref;
	d->heard_at = clock_now();
	return true;
}

bool
keeper_take_bye(struct keeper *k, struct view payload)
{
	k->drops.heard_at = 0;
	return payload.n == 0;
}

void
keeper_server_came(struct keeper *k)
{
	k->drops.heard_at = clock_now();
}

void
keeper_server_lost(struct keeper *k)
{
	struct keeper_drops *d = &k->drops;

	d->here = false;
	if (d->heard_at == 0)
		return;
	if (d->lost.count++ == 0)
		d->lost.since = d->heard_at;
	d->lost.until = clock_now();
	if (d->lost.until < d->lost.since) /* the clock was set back */
		d->lost.since = d->lost.until;
	d->heard_at = 0;
	if (!uv_is_active((uv_handle_t *)&k->drop_timer))
		(void)uv_timer_start(&k->drop_timer, on_drops, OWN_MS, 0);
}
