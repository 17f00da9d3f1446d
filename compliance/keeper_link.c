#include "compliance/keeper_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"

#include "compliance/wire.h"

/* One for each adapter's record and one purge; owned by the list. */
struct request {
	struct request *next;
	uint64_t ref;
	keeper_answer_cb *cb;
	void *arg;
};

struct keeper_link {
	uv_loop_t *loop;
	struct ipc *ipc;
	struct request *requests;
	uint64_t last_ref;
	uint64_t last_seq; /* of the newest receipt */
	struct keeper_state state;
	keeper_up_cb *on_up;
	void *arg;
};

static void
answer(
    struct keeper_link *k, uint64_t ref, enum keeper_answer a, struct view why)
{
	for (struct request **at = &k->requests; *at; at = &(*at)->next) {
		struct request *r = *at;

		if (r->ref != ref)
			continue;
		*at = r->next;
		r->cb(r->arg, a, why);
		free(r);
		return;
	}
	log_warn("the keeper answered an unknown request");
}

static void
drop(struct keeper_link *k)
{
	struct request *lost = k->requests;

	ipc_free(k->ipc);
	k->ipc = NULL;
	k->state = (struct keeper_state){0};
	k->requests = NULL;
	while (lost != NULL) {
		struct request *next = lost->next;

		lost->cb(lost->arg, KEEPER_LOST, view_of(NULL, 0));
		free(lost);
		lost = next;
	}
}

static bool
on_receipt(struct keeper_link *k, struct reader *r)
{
	uint32_t n = reader_u32(r);

	for (uint32_t i = 0; i < n && !r->failed; i++) {
		uint64_t ref = reader_u64(r);

		k->last_seq = reader_u64(r);
		(void)reader_u64(r); /* time */
		if (!r->failed)
			answer(k, ref, KEEPER_RECORDED, view_of(NULL, 0));
	}
	return reader_done(r);
}

static bool
on_refused(struct keeper_link *k, struct reader *r)
{
	uint64_t ref = reader_u64(r);
	struct view why = reader_rest(r);

	if (!reader_done(r))
		return false;
	answer(k, ref, KEEPER_REFUSED, why);
	return true;
}

static void
keep_state(struct keeper_link *k, bool writable, struct view why)
{
	k->state.writable = writable;
	(void)snprintf(k->state.why, sizeof k->state.why, "%.*s", (int)why.n,
	    (const char *)why.p);
}

static bool
on_state(struct keeper_link *k, struct reader *r)
{
	bool writable = reader_u8(r) != 0;
	struct view why = reader_rest(r);

	if (!reader_done(r))
		return false;
	keep_state(k, writable, why);
	return true;
}

static bool
on_live(struct keeper_link *k, struct reader *r)
{
	bool writable;

	(void)reader_u64(r); /* size: the journal itself is read */
	writable = reader_u8(r) != 0;
	if (!reader_done(r))
		return false;
	keep_state(k, writable, view_of(NULL, 0));
	return true;
}

static bool
on_alarm(struct keeper_link *k, struct reader *r)
{
	struct view text = reader_rest(r);

	(void)snprintf(k->state.alarm, sizeof k->state.alarm, "%.*s",
	    (int)text.n, (const char *)text.p);
	return true;
}

static const struct {
	uint16_t type;
	bool (*handle)(struct keeper_link *k, struct reader *r);
} frames[] = {
    {WIRE_RECEIPT, on_receipt},
    {WIRE_REFUSED, on_refused},
    {WIRE_STATE, on_state},
    {WIRE_LIVE, on_live},
    {WIRE_ALARM, on_alarm},
};

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct keeper_link *k = arg;
	struct reader r = reader_of(payload);

	if (fd >= 0)
		(void)close(fd); /* the keeper passes none on */
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		if (frames[i].type != type)
			continue;
		if (frames[i].handle(k, &r))
			return;
		break;
	}
	log_error("the keeper sent a malformed frame of type %u", type);
	drop(k);
}

static void
on_closed(void *arg, const char *why)
{
	log_info("link to the keeper: %s", why);
	drop(arg);
}

struct keeper_link *
keeper_link_new(uv_loop_t *loop, keeper_up_cb *on_up, void *arg)
{
	struct keeper_link *k = calloc(1, sizeof *k);

	if (k == NULL)
		return NULL;
	k->loop = loop;
	k->on_up = on_up;
	k->arg = arg;
	return k;
}

void
keeper_link_attach(struct keeper_link *k, int fd)
{
	if (k->ipc != NULL)
		drop(k);
	k->ipc = ipc_new(k->loop, fd, on_frame, on_closed, k);
	if (k->ipc == NULL)
		log_fatal("out of memory");
	k->state.linked = true;
	k->state.writable = true; /* until the keeper says otherwise */
	k->on_up(k->arg);
}

const struct keeper_state *
keeper_link_state(const struct keeper_link *k)
{
	return &k->state;
}

static struct request *
add_request(struct keeper_link *k, keeper_answer_cb *cb, void *arg)
{
	struct request *r;

	if (k->ipc == NULL)
		return NULL;
	r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->ref = ++k->last_ref;
	r->cb = cb;
	r->arg = arg;
	r->next = k->requests;
	k->requests = r;
	return r;
}

bool
keeper_link_control(struct keeper_link *k, unsigned kind, struct view fields,
    keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_CONTROL);
	buf_put_u64(b, r->ref);
	buf_put_u8(b, (uint8_t)kind);
	buf_put_view(b, fields);
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_purge(struct keeper_link *k, const struct range *ranges,
    size_t count, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_PURGE);
	buf_put_u64(b, r->ref);
	for (size_t i = 0; i < count; i++) {
		buf_put_u64(b, ranges[i].first);
		buf_put_u64(b, ranges[i].last);
	}
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_cosig(struct keeper_link *k, uint64_t size, struct view line,
    keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_COSIG);
	buf_put_u64(b, r->ref);
	buf_put_u64(b, size);
	buf_put_view(b, line);
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_stamp(struct keeper_link *k, uint64_t size, uint64_t at,
    struct view token, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_STAMP);
	buf_put_u64(b, r->ref);
	buf_put_u64(b, size);
	buf_put_u64(b, at);
	buf_put_view(b, token);
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_conflict(struct keeper_link *k, unsigned witness, uint64_t size,
    struct view note, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_CONFLICT);
	buf_put_u64(b, r->ref);
	buf_put_u8(b, (uint8_t)witness);
	buf_put_u64(b, size);
	buf_put_view(b, note);
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_hold(struct keeper_link *k, uint32_t by, struct view matter,
    struct view selector, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_HOLD);
	buf_put_u64(b, r->ref);
	buf_put_u32(b, by);
	buf_put_u32(b, (uint32_t)matter.n);
	buf_put_view(b, matter);
	buf_put_view(b, selector);
	ipc_end(k->ipc);
	return true;
}

static bool
ask_number(struct keeper_link *k, enum wire_frame type, uint32_t by,
    uint64_t number, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, (uint16_t)type);
	buf_put_u64(b, r->ref);
	buf_put_u32(b, by);
	buf_put_u64(b, number);
	ipc_end(k->ipc);
	return true;
}

bool
keeper_link_release(struct keeper_link *k, uint32_t by, uint64_t n,
    keeper_answer_cb *cb, void *arg)
{
	return ask_number(k, WIRE_RELEASE, by, n, cb, arg);
}

bool
keeper_link_approve(struct keeper_link *k, uint32_t by, uint64_t below,
    keeper_answer_cb *cb, void *arg)
{
	return ask_number(k, WIRE_APPROVE, by, below, cb, arg);
}

bool
keeper_link_turn(
    struct keeper_link *k, bool compromised, keeper_answer_cb *cb, void *arg)
{
	const struct request *r = add_request(k, cb, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	b = ipc_begin(k->ipc, WIRE_KEY_TURN);
	buf_put_u64(b, r->ref);
	buf_put_u8(b, compromised);
	ipc_end(k->ipc);
	return true;
}

uint64_t
keeper_link_seq(const struct keeper_link *k)
{
	return k->last_seq;
}

void
keeper_link_free(struct keeper_link *k)
{
	if (k == NULL)
		return;
	while (k->requests != NULL) {
		struct request *next = k->requests->next;

		free(k->requests);
		k->requests = next;
	}
	ipc_free(k->ipc);
	free(k);
}
