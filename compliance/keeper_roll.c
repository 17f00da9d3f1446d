#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"

#include "compliance/segments.h"

#define LATE_MS 2000 /* then what waits for the seal's signature is refused */

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
is_long(const struct keeper *k)
{
	char *path = segments_path(k->path, journal_segment(k->journal));
	struct stat st;
	bool is = path != NULL && stat(path, &st) == 0 &&
	    (uint64_t)st.st_size >= k->conf->segment_bytes;

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
		(c->segment_bytes != 0 && is_long(k))))
		end = next;
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
