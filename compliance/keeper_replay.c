#include "compliance/keeper_state.h"

#include "base/log.h"

#include "compliance/event.h"
#include "compliance/wire.h"

/*
 * A replay goes in steps between which events are recorded, and never has
 * more than so many bytes waiting in the link.
 */
#define STEP_RECORDS 500
#define STEP_BYTES (512U << 10)
#define QUEUE_BYTES (4U << 20)
#define WAIT_MS 5

void
keeper_replay_stop(struct keeper *k)
{
	(void)uv_timer_stop(&k->replay_timer); /* always 0 */
	scan_close(k->replay);
	k->replay = NULL;
}

static void
send_record(struct keeper *k, const struct scan_record *r)
{
	struct buf *out = ipc_begin(k->server.link, WIRE_REPLAY);
	unsigned parts = r->purged ? 0 : r->parts;

	buf_put_u64(out, r->seq);
	buf_put_u64(out, r->at);
	buf_put_u8(out, (uint8_t)r->kind);
	buf_put_u8(out, (uint8_t)parts);
	for (unsigned i = 0; i < parts; i++) {
		buf_put_u32(out, (uint32_t)r->part[i].data.n);
		buf_put_view(out, r->part[i].data);
	}
	ipc_end(k->server.link);
}

static void
send_live(struct keeper *k)
{
	struct buf *out = ipc_begin(k->server.link, WIRE_LIVE);

	buf_put_u64(out, journal_size(k->journal));
	buf_put_u8(out, keeper_writable(k));
	ipc_end(k->server.link);
	if (keeper_writable(k))
		return;
	out = ipc_begin(k->server.link, WIRE_STATE);
	buf_put_u8(out, 0);
	buf_put_text(out, k->why);
	ipc_end(k->server.link);
}

/* 1: more to come; 0: all sent; -1: cannot be read. */
static int
send_some(struct keeper *k)
{
	size_t before = ipc_queued(k->server.link);
	struct scan_record record;
	int r = 1;

	for (unsigned i = 0; i < STEP_RECORDS && r == 1; i++) {
		r = scan_next(k->replay, &record);
		if (r == 1 && record.kind < EVENT_CONTROL)
			send_record(k, &record);
		if (ipc_queued(k->server.link) > before + STEP_BYTES)
			break;
	}
	return r;
}

static void
on_replay(uv_timer_t *timer)
{
	struct keeper *k = timer->data;
	uint64_t wait = 0;
	int r = 1;

	if (ipc_queued(k->server.link) > QUEUE_BYTES)
		wait = WAIT_MS;
	else
		r = send_some(k);
	if (r == 1) {
		(void)uv_timer_start(timer, on_replay, wait, 0);
		return;
	}
	if (r == 0) {
		send_live(k);
		keeper_replay_stop(k);
		return;
	}
	log_error("replay: %s", scan_error(k->replay));
	keeper_drop(&k->server, "the replay failed");
}

void
keeper_replay_start(struct keeper *k, uint64_t from)
{
	char why[256];

	keeper_replay_stop(k);
	k->replay = scan_open(k->path, false, why, sizeof why);
	if (k->replay == NULL || scan_seek(k->replay, from) != 0) {
		log_error("replay: %s",
		    k->replay == NULL ? why : scan_error(k->replay));
		keeper_drop(&k->server, "the replay failed");
		return;
	}
	(void)uv_timer_start(&k->replay_timer, on_replay, 0, 0);
}
