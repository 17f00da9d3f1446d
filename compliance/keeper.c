#include "compliance/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"

#include "compliance/event.h"
#include "compliance/keeper_state.h"
#include "compliance/rules.h"
#include "compliance/wire.h"

#define STOP_MS 2000   /* for the last signature */
#define WAL_PAGES 1000 /* between checkpoints */
#define OPEN_FILES 64
#define SILENT_MS 2000 /* then the log tells which peer says nothing */

/* ---- what the peers are told ---- */

bool
keeper_writable(const struct keeper *k)
{
	return k->in_service && !k->doomed && k->ahead == 0 && !k->roll.late &&
	    journal_writable(k->journal);
}

static const char signer_silent[] = "the signer has not come up yet";
static const char server_silent[] =
    "the chat server has not told what it holds, and nothing is recorded "
    "before. Next: when this lasts, see what it last wrote into the log, and "
    "kill its process (chanceryd -R server): it is started again";

/* When the signer signed more than there is, that is the reason. */
static bool
is_ahead(const struct keeper *k)
{
	return k->ahead > 0 && (k->in_service || k->signing.compared);
}

static void
explain_ahead(struct keeper *k)
{
	(void)snprintf(k->why, sizeof k->why,
	    "%s holds %" PRIu64 " records, but the chat store has those up to "
	    "%" PRIu64 ": records are missing (old copies of journal and "
	    "signer restored, or writes lost by the disk: rollback). Nothing "
	    "is recorded. Next: put the newest copies of both folders back, "
	    "or bring back what archives and copies hold: chancery recover "
	    "--from, or go on with new keys: chancery recover "
	    "--new-incarnation --reason signer; see chancery(8)",
	    k->path, journal_size(k->journal), k->ahead - 1);
}

/* Recording goes on, while nobody can check what is recorded. */
static void
explain_unsigned(struct keeper *k)
{
	const struct keeper_signing *s = &k->signing;
	const char *why = s->why;

	if (s->silent)
		why = "the signer does not answer";
	else if (why[0] == '\0' && (k->signer.link == NULL || !s->compared))
		why = "the signer is not there";
	k->why[0] = '\0';
	if (why[0] != '\0')
		(void)snprintf(k->why, sizeof k->why,
		    "what is recorded is not signed: %.700s", why);
}

static void
explain(struct keeper *k)
{
	const char *why = "";

	if (!k->doomed && journal_writable(k->journal) && is_ahead(k)) {
		explain_ahead(k);
		return;
	}
	if (keeper_writable(k)) {
		explain_unsigned(k);
		return;
	}
	if (k->doomed)
		why = k->doom;
	else if (!journal_writable(k->journal))
		why = journal_error(k->journal);
	else if (k->roll.late)
		why = "the journal's file is full, and the signer has not "
		      "signed its end yet";
	else if (!k->in_service && k->signing.why[0] != '\0')
		why = k->signing.why;
	else if (!k->in_service && k->signing.compared && !k->applied_known)
		why = server_silent;
	else if (!k->in_service)
		why = signer_silent;
	(void)snprintf(k->why, sizeof k->why, "%s", why);
}

static void
send_state(struct keeper *k, struct keeper_peer *p)
{
	struct buf *out;

	if (p->link == NULL)
		return;
	out = ipc_begin(p->link, WIRE_STATE);
	buf_put_u8(out, keeper_writable(k));
	buf_put_text(out, k->why);
	ipc_end(p->link);
}

/* At each start that is so for a moment. */
static bool
is_waiting(const struct keeper *k)
{
	return strcmp(k->why, server_silent) == 0 ||
	    strcmp(k->why, signer_silent) == 0;
}

static void
on_silent(uv_timer_t *timer)
{
	const struct keeper *k = timer->data;

	if (is_waiting(k))
		log_warn("no records are taken: %s", k->why);
}

void
keeper_update(struct keeper *k)
{
	char before[sizeof k->why];
	bool was = k->announced;

	memcpy(before, k->why, sizeof before);
	explain(k);
	if (was == keeper_writable(k) && strcmp(before, k->why) == 0)
		return;
	k->announced = keeper_writable(k);
	if (k->announced && !was)
		log_info("records are taken");
	else if (k->announced && k->why[0] == '\0')
		log_info("what is recorded is signed again");
	else if (k->announced)
		log_warn("%s", k->why);
	else if (is_waiting(k))
		(void)uv_timer_start(&k->silent_timer, on_silent, SILENT_MS, 0);
	else if (is_ahead(k))
		log_error("no records are taken: %s", k->why);
	else
		log_warn("no records are taken: %s", k->why);
	send_state(k, &k->server);
	send_state(k, &k->engine);
}

void
keeper_send_refused(struct keeper_peer *p, uint64_t ref, const char *why)
{
	struct buf *out;

	if (p->link == NULL)
		return;
	out = ipc_begin(p->link, WIRE_REFUSED);
	buf_put_u64(out, ref);
	buf_put_text(out, why);
	ipc_end(p->link);
}

void
keeper_send_receipt(
    struct keeper_peer *p, uint64_t ref, const struct journal_event *e)
{
	struct buf *out;

	if (p->link == NULL)
		return;
	out = ipc_begin(p->link, WIRE_RECEIPT);
	buf_put_u32(out, 1);
	buf_put_u64(out, ref);
	buf_put_u64(out, e->seq);
	buf_put_u64(out, e->at);
	ipc_end(p->link);
}

/* ---- events ---- */

/* Moves the WAL into the database each time it grew by so much. */
static void
tend_wal(struct keeper *k)
{
	int pages = journal_wal_pages(k->journal);

	if (pages < k->wal_mark)
		k->wal_mark = 0;
	if (pages - k->wal_mark < WAL_PAGES)
		return;
	k->wal_mark = pages;
	if (journal_checkpoint(k->journal) != 0)
		log_warn("%s: %s", k->path, journal_error(k->journal));
}

static void
send_receipts(struct keeper *k, size_t count)
{
	struct buf *out;
	uint32_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (k->queue[i].generation == k->server.generation)
			n++;
	if (k->server.link == NULL || n == 0)
		return;
	out = ipc_begin(k->server.link, WIRE_RECEIPT);
	buf_put_u32(out, n);
	for (size_t i = 0; i < count; i++) {
		if (k->queue[i].generation != k->server.generation)
			continue;
		buf_put_u64(out, k->queue[i].ref);
		buf_put_u64(out, k->group[i].seq);
		buf_put_u64(out, k->group[i].at);
	}
	ipc_end(k->server.link);
}

/* An incident tells of them when there is one. */
static void
count_refused(struct keeper *k, size_t count)
{
	if (k->outage.unrecorded)
		k->outage.refused += count;
	else
		keeper_refused(k, KEEPER_UNREADY, count);
}

static void
refuse_queue(struct keeper *k, size_t count)
{
	count_refused(k, count);
	for (size_t i = 0; i < count; i++)
		if (k->queue[i].generation == k->server.generation)
			keeper_send_refused(
			    &k->server, k->queue[i].ref, k->why);
}

static void
fill_group(struct keeper *k, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct keeper_event *q = &k->queue[i];
		struct journal_event *e = &k->group[i];

		e->kind = q->kind;
		e->parts = q->parts;
		e->fields = view_of(NULL, 0);
		for (unsigned part = 0; part < q->parts; part++)
			e->part[part] = view_of(
			    k->queue_bytes.data + q->at[part], q->len[part]);
	}
}

/* Events behind those that were committed wait for the next file. */
static void
keep_rest(struct keeper *k, size_t count)
{
	k->queued -= count;
	if (k->queued > 0) {
		memmove(
		    k->queue, k->queue + count, k->queued * sizeof k->queue[0]);
		return;
	}
	if (k->queue_bytes.cap > KEEPER_QUEUE_BYTES)
		buf_release(&k->queue_bytes);
	buf_clear(&k->queue_bytes);
}

static void
commit_some(struct keeper *k, size_t room)
{
	size_t count = k->queued < room ? k->queued : room;

	if (count == 0 || (keeper_rolling(k) && !k->roll.late))
		return;
	if (count > k->drops.queue)
		k->drops.queue = count;
	fill_group(k, count);
	if (keeper_writable(k) &&
	    journal_append(k->journal, k->group, count) == 0) {
		send_receipts(k, count);
		keeper_count_late(k, k->group, count);
	} else {
		if (k->in_service && !k->doomed && k->ahead == 0 &&
		    !k->roll.late)
			keeper_storage_failed(k);
		refuse_queue(k, count);
	}
	keep_rest(k, count);
	if (k->server.link != NULL)
		ipc_flush(k->server.link);
	keeper_sign(k);
	tend_wal(k);
}

void
keeper_commit(struct keeper *k)
{
	commit_some(k, SIZE_MAX);
}

static void
on_polled(uv_check_t *check)
{
	struct keeper *k = check->data;

	commit_some(k, keeper_roll_room(k));
	keeper_roll(k);
}

static bool
queue_event(struct keeper *k, struct view payload)
{
	struct keeper_event *e = &k->queue[k->queued];
	struct reader r = reader_of(payload);

	e->generation = k->server.generation;
	e->ref = reader_u64(&r);
	e->kind = reader_u8(&r);
	e->parts = reader_u8(&r);
	if (e->kind >= EVENT_CONTROL || event_name(e->kind) == NULL ||
	    e->parts == 0 || e->parts > LEAF_PARTS_MAX)
		return false;
	for (unsigned i = 0; i < e->parts; i++) {
		struct view part = reader_take(&r, reader_u32(&r));

		e->at[i] = k->queue_bytes.len;
		e->len[i] = part.n;
		buf_put_view(&k->queue_bytes, part);
	}
	return reader_done(&r);
}

static bool
on_event(struct keeper *k, struct view payload)
{
	struct reader head = reader_of(payload);

	if (!keeper_writable(k)) {
		count_refused(k, 1);
		keeper_send_refused(&k->server, reader_u64(&head), k->why);
		return !head.failed;
	}
	if (payload.n > KEEPER_EVENT_BYTES) {
		keeper_refused(k, KEEPER_LARGE, 1);
		keeper_send_refused(
		    &k->server, reader_u64(&head), "the event is too large");
		return true;
	}
	/* Links are held while a file is sealed, so this is not to happen. */
	if (k->queued == KEEPER_QUEUE_MAX) {
		keeper_refused(k, KEEPER_UNREADY, 1);
		keeper_send_refused(&k->server, reader_u64(&head),
		    "too many events wait for the next file");
		return true;
	}
	if (!queue_event(k, payload))
		return false;
	if (k->queue_bytes.failed)
		log_fatal("out of memory for events");
	if (++k->queued == KEEPER_QUEUE_MAX ||
	    k->queue_bytes.len > KEEPER_QUEUE_BYTES)
		keeper_commit(k);
	return true;
}

static bool
on_hello(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t applied = reader_u64(&r), size;

	if (!reader_done(&r))
		return false;
	keeper_commit(k);
	size = journal_size(k->journal);
	k->ahead = applied > size ? applied : 0;
	k->applied = applied < size ? applied : size;
	k->applied_known = true;
	keeper_update(k);
	keeper_enter_service(k);
	keeper_sign(k);
	keeper_server_came(k);
	keeper_replay_start(k, k->applied);
	return true;
}

static bool
on_applied(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t applied = reader_u64(&r);

	if (!reader_done(&r) || applied > journal_size(k->journal))
		return false;
	k->applied = applied;
	return true;
}

static void
on_server_down(struct keeper *k)
{
	k->applied_known = false;
	k->gone_asked = false;
	keeper_replay_stop(k);
	keeper_server_lost(k);
}

/* ---- control records and purges ---- */

void
keeper_refuse(struct keeper *k, uint64_t ref, const char *why)
{
	keeper_send_refused(&k->engine, ref, why);
}

void
keeper_answer(
    struct keeper *k, uint64_t ref, int result, const struct journal_event *e)
{
	switch (result) {
	case 0:
		keeper_publish_after(k, e->seq);
		keeper_send_receipt(&k->engine, ref, e);
		break;
	case 1:
		keeper_send_refused(&k->engine, ref, journal_error(k->journal));
		break;
	default:
		keeper_storage_failed(k);
		keeper_send_refused(&k->engine, ref, k->why);
		break;
	}
	keeper_sign(k);
	tend_wal(k);
}

/* Whether a record is the engine's to make, and in its form; else why not. */
static bool
is_of_engine(
    struct keeper *k, const struct journal_event *e, char *why, size_t why_len)
{
	uint64_t size = journal_size(k->journal);

	switch (e->kind) {
	case EVENT_BATCH:
	case EVENT_ACK:
		return true; /* checked as they are appended */
	case EVENT_ANCHOR:
		return rules_check_anchor(e->fields, size, why, why_len);
	case EVENT_AUDIT:
		return rules_check_audit(e->fields, size, why, why_len);
	}
	(void)snprintf(
	    why, why_len, "records of this kind are the keeper's own");
	return false;
}

static bool
on_control(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	struct journal_event e = {0};
	uint64_t ref = reader_u64(&r);
	char why[128];

	e.kind = reader_u8(&r);
	e.fields = reader_rest(&r);
	if (!reader_done(&r))
		return false;
	keeper_commit(k);
	if (!keeper_writable(k))
		keeper_send_refused(&k->engine, ref, k->why);
	else if (!is_of_engine(k, &e, why, sizeof why))
		keeper_send_refused(&k->engine, ref, why);
	else
		keeper_answer(k, ref, journal_append(k->journal, &e, 1), &e);
	return true;
}

static void
on_engine_up(struct keeper *k)
{
	send_state(k, &k->engine);
	if (k->settling.alarm[0] != '\0')
		keeper_send_alarm(k);
}

/* ---- links ---- */

static const struct keeper_frame_row server_frames[] = {
    {WIRE_EVENT, on_event},
    {WIRE_HELLO, on_hello},
    {WIRE_APPLIED, on_applied},
    {WIRE_GONE, keeper_on_gone},
    {WIRE_DROPS, keeper_take_drops},
    {WIRE_BYE, keeper_take_bye},
};

static const struct keeper_frame_row engine_frames[] = {
    {WIRE_CONTROL, on_control},
    {WIRE_COSIG, keeper_on_cosig},
    {WIRE_STAMP, keeper_on_stamp},
    {WIRE_CONFLICT, keeper_on_conflict},
    {WIRE_PURGE, keeper_on_purge},
    {WIRE_HOLD, keeper_on_hold},
    {WIRE_RELEASE, keeper_on_release},
    {WIRE_APPROVE, keeper_on_approve},
    {WIRE_KEY_TURN, keeper_keys_on_asked},
};

void
keeper_drop(struct keeper_peer *p, const char *why)
{
	if (p->link == NULL)
		return;
	log_warn("link to the %s ended: %s", p->name, why);
	ipc_free(p->link);
	p->link = NULL;
	p->generation++;
	role_lost(p->keeper->role, p->name);
	if (p->on_down != NULL)
		p->on_down(p->keeper);
}

static void
on_closed(void *arg, const char *why)
{
	keeper_drop(arg, why);
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct keeper_peer *p = arg;

	if (fd >= 0) {
		(void)close(fd); /* nothing was written to it */
		keeper_drop(p, "unexpected descriptor");
		return;
	}
	for (size_t i = 0; i < p->frame_count; i++) {
		if (p->frames[i].type != type)
			continue;
		if (!p->frames[i].handle(p->keeper, payload))
			keeper_drop(p, "malformed frame");
		return;
	}
	keeper_drop(p, "unexpected frame");
}

static void
on_link(void *arg, const char *name, int fd)
{
	struct keeper *k = arg;
	struct keeper_peer *const peers[] = {
	    &k->server, &k->engine, &k->signer};

	for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
		struct keeper_peer *p = peers[i];

		if (strcmp(p->name, name) != 0)
			continue;
		keeper_drop(p, "a new one came");
		p->link = ipc_new(&k->loop, fd, on_frame, on_closed, p);
		if (p->link == NULL)
			log_fatal("link to the %s: out of memory", name);
		ipc_hold(p->link, k->roll.held && p != &k->signer);
		if (p->on_up != NULL)
			p->on_up(k);
		return;
	}
	log_warn("unexpected link to %s", name);
	(void)close(fd); /* nothing was written to it */
}

/* ---- life ---- */

void
keeper_end(struct keeper *k)
{
	if (keeper_writable(k) && journal_note_waits(k->journal))
		(void)journal_store_note(k->journal); /* ends anyway */
	if (k->server.link != NULL)
		ipc_flush(k->server.link);
	if (k->engine.link != NULL)
		ipc_flush(k->engine.link);
	uv_stop(&k->loop);
}

static void
on_stop_timer(uv_timer_t *timer)
{
	log_warn("the last records are not signed yet");
	keeper_end(timer->data);
}

/* The others have ended; only the signature of the last records is awaited. */
static void
on_stop(void *arg)
{
	struct keeper *k = arg;

	keeper_commit(k);
	keeper_report_late(k);
	keeper_report_drops(k);
	if (!keeper_signature_awaited(k)) {
		keeper_end(k);
		return;
	}
	k->stopping = true;
	(void)uv_timer_start(&k->stop_timer, on_stop_timer, STOP_MS, 0);
	keeper_sign(k);
}

static void
init_peers(struct keeper *k)
{
	k->server = (struct keeper_peer){.keeper = k,
	    .name = "server",
	    .frames = server_frames,
	    .frame_count = sizeof server_frames / sizeof server_frames[0],
	    .on_down = on_server_down};
	k->engine = (struct keeper_peer){.keeper = k,
	    .name = "engine",
	    .frames = engine_frames,
	    .frame_count = sizeof engine_frames / sizeof engine_frames[0],
	    .on_up = on_engine_up};
	k->signer = (struct keeper_peer){.keeper = k,
	    .name = "signer",
	    .frames = keeper_signer_frames,
	    .frame_count = keeper_signer_frame_count,
	    .on_down = keeper_signer_down};
}

static void
init_loop(struct keeper *k)
{
	uv_timer_t *const timers[] = {&k->recover_timer, &k->note_timer,
	    &k->rest_timer, &k->beat_timer, &k->late_timer, &k->drop_timer,
	    &k->replay_timer, &k->truncate_timer, &k->stop_timer,
	    &k->roll_timer, &k->publish_timer, &k->turn_timer, &k->settle_timer,
	    &k->next_timer, &k->silent_timer};

	if (uv_loop_init(&k->loop) != 0)
		log_fatal("no event loop");
	for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
		(void)uv_timer_init(&k->loop, timers[i]); /* always 0 */
		timers[i]->data = k;
	}
	(void)uv_check_init(&k->loop, &k->after_poll); /* always 0 */
	k->after_poll.data = k;
	(void)uv_check_start(&k->after_poll, on_polled); /* always 0 */
}

static void
init_required(struct keeper *k)
{
	k->required = calloc(k->conf->adapter_count + 1, sizeof *k->required);
	if (k->required == NULL)
		log_fatal("out of memory");
	for (size_t i = 0; i < k->conf->adapter_count; i++)
		if (k->conf->adapters[i].required)
			k->required[k->required_count++] =
			    k->conf->adapters[i].name;
}

int
keeper_main(const struct conf *conf, int parent_fd)
{
	static struct keeper *k; /* for the life of the process */
	char why[512];

	k = calloc(1, sizeof *k);
	if (k == NULL ||
	    (k->path = conf_state_path(conf, "journal/journal.db")) == NULL)
		log_fatal("out of memory");
	k->conf = conf;
	buf_init(&k->queue_bytes);
	init_required(k);
	keeper_check_witnesses(conf);
	init_peers(k);
	init_loop(k);
	k->role = role_new(&k->loop, parent_fd, on_link, on_stop, k);
	if (process_drop(conf->user_keeper, OPEN_FILES) != 0)
		log_fatal("rights cannot be dropped: %s", strerror(errno));
	k->journal = journal_open(k->path, why, sizeof why);
	if (k->journal == NULL)
		log_fatal("%s", why);
	keeper_settle_start(k);
	keeper_roll_start(k);
	explain(k);
	role_ready(k->role);
	(void)uv_run(&k->loop, UV_RUN_DEFAULT); /* until on_stop() */
	keeper_replay_stop(k);
	journal_close(k->journal);
	return 0;
}
