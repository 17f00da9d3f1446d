#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"

#include "compliance/segments.h"

#define LATE_MS 2000 /* then what waits for the seal's signature is refused */
/* The next file is prepared when this one is full to so many eighths. */
#define NEAR 7
#define NEAR_US ((uint64_t)3600 * 1000000) /* or its year so near the end */
#define LOOK_MS 1000   /* whether that is so, and what came since */
#define STEP_MS 20     /* while there is more */
#define AGAIN_MS 10000 /* after a failure */

bool
keeper_rolling(const struct keeper *k)
{
	return journal_sealed(k->journal);
}

static bool
is_another_year(struct keeper *k)
{
	if (k->roll.year_end == 0)
		k->roll.year_end = segments_year_end(journal_begun(k->journal));
	return journal_time(k->journal) >= k->roll.year_end;
}

static bool
is_long(const struct keeper *k, uint64_t bytes)
{
	char *path = segments_path(k->path, journal_segment(k->journal));
	struct stat st;
	bool is = path != NULL && stat(path, &st) == 0 &&
	    (uint64_t)st.st_size >= bytes;

	free(path);
	return is;
}

static bool
can_seal(const struct keeper *k)
{
	return keeper_writable(k) && !keeper_rolling(k) && !k->stopping &&
	    k->signing.compared && k->signer.link != NULL &&
	    !journal_opens(k->journal);
}

/* ---- preparing ---- */

static void on_prepare(uv_timer_t *timer);

/* Does a part of it; whether the file may be sealed now. */
static bool
prepare(struct keeper *k)
{
	int r = -1;

	if (uv_now(&k->loop) >= k->roll.prepare_after)
		r = journal_prepare(k->journal);
	else
		return false;
	if (r < 0) {
		log_error("%s: the next file cannot be prepared: %s", k->path,
		    journal_error(k->journal));
		k->roll.prepare_after = uv_now(&k->loop) + AGAIN_MS;
	}
	(void)uv_timer_start(
	    &k->next_timer, on_prepare, r == 0 ? STEP_MS : LOOK_MS, 0);
	return r == 1;
}

static bool
is_near(struct keeper *k)
{
	const struct conf *c = k->conf;
	uint64_t here = journal_size(k->journal) - journal_first(k->journal);

	if (c->segment_records != 0 &&
	    here / NEAR >= c->segment_records / (NEAR + 1))
		return true;
	if (c->segment_yearly &&
	    (is_another_year(k) ||
		k->roll.year_end - journal_time(k->journal) < NEAR_US))
		return true;
	return c->segment_bytes != 0 &&
	    is_long(k, c->segment_bytes / (NEAR + 1) * NEAR);
}

static void
on_prepare(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	(void)uv_timer_start(timer, on_prepare, LOOK_MS, 0); /* always 0 */
	if (can_seal(k) && is_near(k))
		(void)prepare(k);
}

void
keeper_roll_start(struct keeper *k)
{
	(void)uv_timer_start(&k->next_timer, on_prepare, LOOK_MS, 0);
}

size_t
keeper_roll_room(struct keeper *k)
{
	const struct conf *c = k->conf;
	uint64_t size = journal_size(k->journal);
	uint64_t next = size | (JOURNAL_SEGMENT_UNIT - 1), end = UINT64_MAX;

	if (!can_seal(k))
		return SIZE_MAX;
	if (c->segment_records != 0)
		end = (journal_first(k->journal) + c->segment_records - 1) |
		    (JOURNAL_SEGMENT_UNIT - 1);
	if (end < next)
		end = next;
	/* Asked only where the file could end. */
	if (end > next && size + k->queued >= next &&
	    ((c->segment_yearly && is_another_year(k)) ||
		(c->segment_bytes != 0 && is_long(k, c->segment_bytes))))
		end = next;
	/* It grows over its end as long as the next one is not prepared. */
	if (size + k->queued >= end && !prepare(k))
		end = (size + k->queued + JOURNAL_SEGMENT_UNIT) |
		    (JOURNAL_SEGMENT_UNIT - 1);
	return end - size;
}

/* ---- waiting ---- */

static void
hold(struct keeper *k, bool hold_them)
{
	if (k->roll.held == hold_them)
		return;
	k->roll.held = hold_them;
	if (k->server.link != NULL)
		ipc_hold(k->server.link, hold_them);
	if (k->engine.link != NULL)
		ipc_hold(k->engine.link, hold_them);
}

static void
on_late(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	if (!keeper_rolling(k))
		return;
	keeper_begin_outage(k, "storage");
	k->roll.late = true;
	keeper_update(k);
	keeper_commit(k);
	hold(k, false);
}

static void
seal(struct keeper *k)
{
	struct journal_event e;

	if (journal_seal(k->journal, &e) != 0) {
		keeper_storage_failed(k);
		return;
	}
	log_info("%s: file %u is full and sealed", k->path,
	    journal_segment(k->journal));
	hold(k, true);
	(void)uv_timer_start(&k->roll_timer, on_late, LATE_MS, 0);
	keeper_sign(k);
}

/* False when its last checkpoint is not there yet, or storage failed. */
static bool
turn(struct keeper *k)
{
	uint64_t begun = uv_hrtime();
	int r = journal_roll(k->journal);

	if (r < 0)
		keeper_storage_failed(k);
	if (r != 0)
		return false;
	k->wal_mark = 0;
	k->roll.year_end = 0;
	(void)uv_timer_start(&k->truncate_timer, keeper_truncate, 0, 0);
	log_info("%s goes on in file %u, made in %" PRIu64 " ms", k->path,
	    journal_segment(k->journal), (uv_hrtime() - begun) / 1000000);
	return true;
}

void
keeper_roll(struct keeper *k)
{
	if (keeper_roll_room(k) == 0)
		seal(k);
	if (!keeper_rolling(k) || !k->signing.compared ||
	    !journal_writable(k->journal) || !turn(k))
		return;
	(void)uv_timer_stop(&k->roll_timer); /* always 0 */
	k->roll.late = false;
	if (k->in_service && keeper_open_file(k) != 0) {
		keeper_storage_failed(k);
	} else {
		keeper_end_outage(k);
		keeper_update(k);
		keeper_commit(k);
	}
	hold(k, false);
	keeper_enter_service(k);
}
