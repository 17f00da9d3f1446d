#include "server/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/ipc.h"
#include "base/log.h"
#include "compliance/wire.h"
#include "server/drops.h"
#include "server/payload.h"
#include "server/record_ring.h"
#include "server/store_chat.h"
#include "server/store_purge.h"

#define AWAY_MS 5000
#define COMMIT_MS 200
#define SYNC_MS 1000
#define DROPS_MS 200 /* refusals are counted so long, and then told */
#define PARTS_MAX 8

struct record {
	uv_loop_t *loop;
	const struct conf *conf;
	struct store *store;
	const struct record_hooks *hooks;
	void *arg;
	struct ipc *link;
	bool live;              /* the replay is over */
	bool writable;          /* the keeper's word */
	bool given_up;          /* it has been away for too long */
	bool settled;           /* this link has been open for events */
	bool wipe;              /* messages were dropped, not their bytes */
	bool silent;            /* the keeper lacks our position */
	enum record_state told; /* to the hooks */
	char why[WIRE_WHY_LEN];

	struct record_ring ops;
	uint64_t unsure; /* those below were sent on an earlier link */
	uint32_t boot;
	uint64_t next_seq; /* the effects of all below were had */

	struct drops drops;

	uv_timer_t away;
	uv_timer_t commit;
	uv_timer_t tell;
	uv_fs_t sync;
	bool syncing;
	bool unsynced; /* the last sync failed */
	bool freed;
	unsigned handles;
	uint64_t sync_at; /* loop time of the last sync */
	uint64_t sync_applied;
	uint64_t told_applied;
	uint64_t stored;
	uint64_t refused;
	struct buf head_text;
};

static void check_store(struct record *r);
static void touch(struct record *r);

enum record_state
record_state(const struct record *r)
{
	if (r->live && r->writable && !store_failed(r->store))
		return RECORD_OPEN;
	/* A keeper that has just started may yet have to meet its signer. */
	if (r->live && r->settled && !store_failed(r->store))
		return RECORD_CLOSED;
	return r->given_up ? RECORD_CLOSED : RECORD_WAIT;
}

const char *
record_why(const struct record *r)
{
	return record_state(r) == RECORD_OPEN ? "" : r->why;
}

bool
record_has_room(const struct record *r)
{
	return r->ops.count < r->conf->limits.inflight;
}

static void
tell_state(struct record *r)
{
	enum record_state now = record_state(r);

	if (now == r->told)
		return;
	r->told = now;
	if (now == RECORD_OPEN) {
		uv_timer_stop(&r->away);
		r->given_up = false;
		r->settled = true;
		log_info("journal open");
		r->hooks->open(r->arg);
	} else if (now == RECORD_CLOSED) {
		log_error("journal closed: %s", r->why);
		r->hooks->closed(r->arg, r->why);
	}
}

static void
set_why(struct record *r, struct view text)
{
	size_t n = text.n < sizeof r->why ? text.n : sizeof r->why - 1;

	if (n > 0)
		memcpy(r->why, text.p, n);
	r->why[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (r->why[i] < 0x20 || r->why[i] > 0x7e)
			r->why[i] = '?';
}

static void
refuse_op(struct record *r, uint64_t ref, const char *why)
{
	struct record_op *op = record_ring_take(&r->ops, ref);

	if (op == NULL)
		return;
	r->refused++;
	op->refused(op, why);
}

/* ---- Refusals that the keeper does not know of ---- */

static void
on_tell(uv_timer_t *timer)
{
	struct record *r = timer->data;

	if (r->link != NULL && r->live && drops_due(&r->drops, false))
		drops_tell(&r->drops, r->link, r->boot);
}

static void
drop(struct record *r, enum wire_drop why)
{
	drops_add(&r->drops, why);
	if (!uv_is_active((uv_handle_t *)&r->tell))
		uv_timer_start(&r->tell, on_tell, DROPS_MS, 0);
}

void
record_drop_overload(struct record *r)
{
	drop(r, WIRE_DROP_OVERLOAD);
}

void
record_drop_password(struct record *r)
{
	drop(r, WIRE_DROP_PASSWORD);
}

void
record_drop(struct record *r)
{
	if (store_failed(r->store))
		drop(r, WIRE_DROP_CHAT);
	else
		drop(r, r->live ? WIRE_DROP_STORAGE : WIRE_DROP_KEEPER);
}

/* Gives one up whose fate the keeper will not tell. */
static void
drop_op(struct record *r, uint64_t ref, const char *why, enum wire_drop reason)
{
	const struct record_op *op = record_ring_find(&r->ops, ref);

	if (op != NULL && !op->lasting)
		drop(r, reason);
	refuse_op(r, ref, why);
}

static bool
submit(struct record *r, struct record_op *op, unsigned kind,
    const struct view parts[2], struct view tail)
{
	unsigned count = parts[1].n > 0 ? 2 : 1;
	struct buf *b;

	if (!record_ring_add(&r->ops, op))
		return false;
	b = ipc_begin(r->link, WIRE_EVENT);
	buf_put_u64(b, op->ref);
	buf_put_u8(b, (uint8_t)kind);
	buf_put_u8(b, (uint8_t)count);
	buf_put_u32(b, (uint32_t)(parts[0].n + tail.n));
	buf_put_view(b, parts[0]);
	buf_put_view(b, tail);
	if (count == 2) {
		buf_put_u32(b, (uint32_t)parts[1].n);
		buf_put_view(b, parts[1]);
	}
	ipc_end(r->link);
	return true;
}

bool
record_submit(struct record *r, struct record_op *op, unsigned kind,
    struct view tail, struct view content)
{
	struct view parts[2];

	buf_clear(&r->head_text);
	payload_put_head(&r->head_text, kind, r->boot, r->ops.next);
	if (r->head_text.failed)
		return false;
	parts[0] = buf_view(&r->head_text);
	parts[1] = content;
	return submit(r, op, kind, parts, tail);
}

bool
record_submit_whole(
    struct record *r, struct record_op *op, unsigned kind, struct view envelope)
{
	const struct view parts[2] = {envelope, {0}};

	return submit(r, op, kind, parts, (struct view){0});
}

static void
advance(struct record *r, uint64_t seq)
{
	store_set_applied(r->store, seq + 1);
	if (seq >= r->next_seq)
		r->next_seq = seq + 1;
	touch(r);
}

void
record_settle(struct record *r, struct record_op *op, uint64_t seq, uint64_t at)
{
	/* One that was not handed over yet has no number of its own. */
	if (record_ring_find(&r->ops, op->ref) != op)
		return;
	(void)record_ring_take(&r->ops, op->ref);
	r->stored++;
	op->stored(op, seq, at);
}

/* ---- The link ---- */

static void
lose_link(struct record *r, const char *why)
{
	ipc_free(r->link);
	r->link = NULL;
	r->live = r->settled = false;
	drops_take_theirs(&r->drops);
	r->unsure = r->ops.next;
	set_why(r, view_text(why));
	log_warn("link to the keeper lost: %s", why);
}

static void on_away(uv_timer_t *timer);

static void
wait_for_keeper(struct record *r)
{
	/* A keeper that comes and goes is away all the time. */
	if (!r->given_up && !uv_is_active((uv_handle_t *)&r->away))
		uv_timer_start(&r->away, on_away, AWAY_MS, 0);
	tell_state(r);
}

static void
break_link(struct record *r, const char *why)
{
	lose_link(r, why);
	wait_for_keeper(r);
}

static bool
on_receipts(struct record *r, struct reader *in)
{
	uint32_t n = reader_u32(in);

	if (in->failed || in->n != (size_t)n * 24)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t ref = reader_u64(in);
		uint64_t seq = reader_u64(in);
		uint64_t at = reader_u64(in);
		struct record_op *op = record_ring_find(&r->ops, ref);

		/* The replay may have settled it already. */
		if (seq < r->next_seq && op == NULL)
			continue;
		if (seq < r->next_seq || op == NULL)
			return false;
		record_settle(r, op, seq, at);
		/* Before the replay is over, earlier ones may be missing. */
		if (r->live)
			advance(r, seq);
		else
			r->next_seq = seq + 1;
	}
	return true;
}

static bool
on_replay(struct record *r, struct reader *in)
{
	struct record_event e = {0};
	struct record_op *op = NULL;
	uint32_t boot;
	uint64_t ref;
	unsigned parts;

	e.seq = reader_u64(in);
	e.at = reader_u64(in);
	e.kind = reader_u8(in);
	parts = reader_u8(in);
	for (unsigned i = 0; i < parts && i < PARTS_MAX; i++) {
		struct view part = reader_take(in, reader_u32(in));

		if (i == 0)
			e.envelope = part;
		else if (i == 1)
			e.content = part;
	}
	if (!reader_done(in) || r->live)
		return false;
	e.seen = e.seq < r->next_seq;
	if (!e.seen && payload_get_id(e.envelope, &boot, &ref) &&
	    boot == r->boot)
		op = record_ring_find(&r->ops, ref);
	if (op != NULL)
		record_settle(r, op, e.seq, e.at);
	else
		r->hooks->replay(r->arg, &e);
	advance(r, e.seq);
	return true;
}

static bool
on_live(struct record *r, struct reader *in)
{
	uint64_t size = reader_u64(in);
	uint8_t writable = reader_u8(in);

	if (!reader_done(in) || r->live)
		return false;
	log_debug("journal has %llu records", (unsigned long long)size);
	for (uint64_t ref = r->ops.head; ref < r->unsure; ref++)
		drop_op(r, ref, "the journal's keeper was restarted",
		    WIRE_DROP_KEEPER);
	if (r->next_seq > store_applied(r->store))
		advance(r, r->next_seq - 1);
	r->live = true;
	r->writable = writable != 0;
	if (!r->writable)
		set_why(r, view_text("the journal cannot be written"));
	if (drops_due(&r->drops, true))
		drops_tell(&r->drops, r->link, r->boot);
	return true;
}

static bool
on_drops_kept(struct record *r, struct reader *in)
{
	uint64_t ref = reader_u64(in);

	if (!reader_done(in) || !drops_kept(&r->drops, ref))
		return false;
	if (drops_due(&r->drops, false) &&
	    !uv_is_active((uv_handle_t *)&r->tell))
		uv_timer_start(&r->tell, on_tell, DROPS_MS, 0);
	return true;
}

static bool
on_refused(struct record *r, struct reader *in)
{
	uint64_t ref = reader_u64(in);
	struct view text = reader_rest(in);
	const struct record_op *op;
	char why[160];

	if (in->failed)
		return false;
	(void)snprintf(why, sizeof why, "%.*s",
	    (int)(text.n < sizeof why ? text.n : sizeof why - 1),
	    (const char *)text.p);
	op = record_ring_find(&r->ops, ref);
	if (op != NULL && !op->lasting && !r->writable)
		drops_add_theirs(&r->drops);
	refuse_op(r, ref, why);
	return true;
}

static bool
on_state(struct record *r, struct reader *in)
{
	uint8_t writable = reader_u8(in);
	struct view text = reader_rest(in);

	if (in->failed)
		return false;
	r->writable = writable != 0;
	if (!r->writable)
		set_why(r, text);
	else
		drops_settle_theirs(&r->drops);
	return true;
}

static void
ask_gone(struct record *r)
{
	struct buf *b;

	if (r->link == NULL)
		return;
	b = ipc_begin(r->link, WIRE_GONE);
	buf_put_u64(b, store_gone(r->store));
	ipc_end(r->link);
}

/* Records lost their payload: so do our copies. */
static bool
on_purged(struct record *r, struct reader *in)
{
	uint64_t seq = reader_u64(in);
	struct view ranges = reader_rest(in);

	if (!reader_done(in) || !store_purge(r->store, seq, ranges))
		return false;
	r->wipe = true;
	touch(r);
	if (!store_failed(r->store)) /* else after its recovery */
		ask_gone(r);
	return true;
}

static const struct {
	uint16_t type;
	bool (*read)(struct record *r, struct reader *in);
} frames[] = {
    {WIRE_RECEIPT, on_receipts},
    {WIRE_REPLAY, on_replay},
    {WIRE_LIVE, on_live},
    {WIRE_REFUSED, on_refused},
    {WIRE_STATE, on_state},
    {WIRE_PURGED, on_purged},
    {WIRE_DROPS_KEPT, on_drops_kept},
};

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct record *r = arg;
	struct reader in = reader_of(payload);
	bool good = false;

	if (fd >= 0)
		close(fd);
	if (r->link == NULL)
		return;
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
		if (frames[i].type == type)
			good = frames[i].read(r, &in);
	if (!good) {
		log_error("keeper broke the protocol, frame %u", type);
		break_link(r, "the keeper broke the protocol");
		return;
	}
	check_store(r);
	tell_state(r);
}

static void
on_closed(void *arg, const char *why)
{
	struct record *r = arg;

	break_link(r, why);
}

/* On disk first: the keeper may purge below the position. */
static void
say_hello(struct record *r)
{
	struct buf *b;

	r->live = false;
	tell_state(r); /* who is held from here on is heard of again */
	r->silent = store_commit(r->store) != 0 || store_sync(r->store) != 0;
	if (r->silent) {
		log_error("chat.db cannot be synced");
		set_why(r, view_text("chat.db cannot be written"));
		touch(r);
		return;
	}
	b = ipc_begin(r->link, WIRE_HELLO);
	buf_put_u64(b, store_applied(r->store));
	ipc_end(r->link);
	r->told_applied = store_applied(r->store);
	ask_gone(r);
}

void
record_link(struct record *r, int fd)
{
	if (r->link != NULL)
		lose_link(r, "a new link replaces it");
	r->link = ipc_new(r->loop, fd, on_frame, on_closed, r);
	if (r->link == NULL)
		log_fatal("out of memory");
	set_why(r, view_text("the journal is being read"));
	if (store_failed(r->store))
		check_store(r);
	else
		say_hello(r);
	wait_for_keeper(r);
}

/* ---- Timers ---- */

static void
on_away(uv_timer_t *timer)
{
	struct record *r = timer->data;

	r->given_up = true;
	/* What went out on the present link is still going to be answered. */
	for (uint64_t ref = r->ops.head; ref < r->unsure; ref++) {
		struct record_op *op = record_ring_find(&r->ops, ref);

		if (op != NULL && !op->lasting)
			drop_op(r, ref, r->why, WIRE_DROP_KEEPER);
	}
	tell_state(r);
}

static void
tell_applied(struct record *r)
{
	struct buf *b;

	if (r->link == NULL || !r->live)
		return;
	b = ipc_begin(r->link, WIRE_APPLIED);
	buf_put_u64(b, r->sync_applied);
	ipc_end(r->link);
	r->told_applied = r->sync_applied;
}

static void
on_synced(uv_fs_t *fs)
{
	struct record *r = fs->data;

	r->syncing = false;
	r->unsynced = fs->result < 0;
	if (!r->unsynced)
		tell_applied(r);
	else
		log_error("chat.db: sync: %s", uv_strerror((int)fs->result));
	if (r->unsynced && !r->freed)
		store_unsynced(r->store);
	uv_fs_req_cleanup(fs);
	if (r->freed && r->handles == 0)
		free(r);
}

/* The position is told only once it is on disk. */
static void
start_sync(struct record *r)
{
	int fd = store_sync_fd(r->store);

	if (r->syncing || fd < 0 || uv_now(r->loop) < r->sync_at + SYNC_MS)
		return;
	r->sync_at = uv_now(r->loop);
	r->sync_applied = store_applied(r->store);
	if (r->unsynced) {
		r->unsynced = store_sync(r->store) != 0;
		if (!r->unsynced)
			tell_applied(r);
		return;
	}
	r->sync.data = r;
	r->syncing =
	    uv_fs_fdatasync(r->loop, &r->sync, (uv_file)fd, on_synced) == 0;
}

/*
 * When chat.db could not be written, what it lacks is asked for again as
 * soon as it can be.
 */
static void
check_store(struct record *r)
{
	if (!store_failed(r->store))
		return;
	set_why(r, view_text("chat.db cannot be written"));
	r->live = false;
	wait_for_keeper(r);
	touch(r);
}

static void
on_commit(uv_timer_t *timer)
{
	struct record *r = timer->data;

	if (store_failed(r->store)) {
		if (r->link == NULL || uv_now(r->loop) < r->sync_at + SYNC_MS)
			return;
		r->sync_at = uv_now(r->loop);
		if (store_recover(r->store) == 0) {
			log_info("chat.db can be written again");
			say_hello(r);
		}
		return;
	}
	if (r->silent && r->link != NULL) {
		if (uv_now(r->loop) >= r->sync_at + SYNC_MS) {
			r->sync_at = uv_now(r->loop);
			say_hello(r);
		}
		return;
	}
	if (store_commit(r->store) != 0) {
		check_store(r);
		return;
	}
	store_tidy(r->store);
	if (r->wipe && !r->syncing && !r->unsynced)
		r->wipe = store_wipe(r->store) != 0;
	if (store_applied(r->store) == r->told_applied || r->link == NULL ||
	    !r->live) {
		if (!r->wipe)
			uv_timer_stop(timer);
		return;
	}
	start_sync(r);
}

/* chat.db has changes that are to be committed soon. */
static void
touch(struct record *r)
{
	if (!uv_is_active((uv_handle_t *)&r->commit))
		uv_timer_start(&r->commit, on_commit, COMMIT_MS, COMMIT_MS);
}

struct record *
record_new(uv_loop_t *loop, const struct conf *conf, struct store *store)
{
	struct record *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->loop = loop;
	r->conf = conf;
	r->store = store;
	r->told = RECORD_WAIT;
	r->next_seq = store_applied(store);
	r->told_applied = r->next_seq;
	r->wipe = true; /* the last life may not have come to it */
	set_why(r, view_text("there is no link to the keeper"));
	do
		crypto_nonce(&r->boot, sizeof r->boot);
	while (r->boot == 0);
	/* Neither call can fail (libuv's manual). */
	(void)uv_timer_init(loop, &r->away);
	(void)uv_timer_init(loop, &r->commit);
	(void)uv_timer_init(loop, &r->tell);
	r->away.data = r->commit.data = r->tell.data = r;
	r->handles = 3;
	return r;
}

void
record_set_hooks(struct record *r, const struct record_hooks *hooks, void *arg)
{
	r->hooks = hooks;
	r->arg = arg;
	uv_timer_start(&r->away, on_away, AWAY_MS, 0);
}

void
record_refuse_all(struct record *r, const char *why)
{
	for (uint64_t ref = r->ops.head; ref < r->ops.next; ref++)
		refuse_op(r, ref, why);
}

void
record_flush(struct record *r)
{
	if (r->link != NULL && r->live)
		drops_tell_last(&r->drops, r->link, r->boot);
	if (r->link != NULL && drops_all_told(&r->drops))
		ipc_send(r->link, WIRE_BYE, view_of(NULL, 0));
	if (r->link != NULL)
		ipc_flush(r->link);
}

void
record_counters(const struct record *r, struct record_counters *out)
{
	*out = (struct record_counters){
	    .applied = store_applied(r->store),
	    .stored = r->stored,
	    .refused = r->refused,
	    .inflight = r->ops.count,
	};
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct record *r = handle->data;

	if (--r->handles == 0 && !r->syncing)
		free(r);
}

void
record_free(struct record *r)
{
	if (r == NULL)
		return;
	if (store_commit(r->store) != 0)
		log_error("chat.db lacks the last changes; they come again");
	if (r->link != NULL)
		ipc_free(r->link);
	r->link = NULL;
	r->freed = true;
	buf_release(&r->head_text);
	record_ring_release(&r->ops);
	uv_close((uv_handle_t *)&r->away, on_handle_closed);
	uv_close((uv_handle_t *)&r->commit, on_handle_closed);
	uv_close((uv_handle_t *)&r->tell, on_handle_closed);
}
