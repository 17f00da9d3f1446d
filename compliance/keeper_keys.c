#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/note.h"
#include "compliance/wire.h"

/*
 * From one signing key to the next. The way is always the same: the signer
 * makes ready, the key record is appended, the signer closes the old epoch
 * by a checkpoint that covers the record and nothing after it, and that
 * checkpoint is stored. Where it stopped, it goes on.
 */

/* A key as the journal tells it. */
struct told {
	uint64_t epoch;
	uint64_t seq;
	bool by_key_record; /* else by record 0 */
	bool clean;
	char vkey[KEEPER_VKEY_MAX];
	char next[2 * CRYPTO_SHA256_LEN + 1];
};

static void
put_hex(const uint8_t digest[CRYPTO_SHA256_LEN],
    char out[2 * CRYPTO_SHA256_LEN + 1])
{
	struct buf hex;

	buf_init(&hex);
	text_put_hex(&hex, digest, CRYPTO_SHA256_LEN);
	if (buf_text(&hex) == NULL)
		log_fatal("out of memory");
	memcpy(out, buf_text(&hex), 2 * CRYPTO_SHA256_LEN + 1);
	buf_release(&hex);
}

/* A decoded value; false when it does not fit. */
static bool
take_field(struct view fields, const char *name, char *out, size_t len)
{
	struct view token;
	struct buf b;
	bool ok;

	buf_init(&b);
	ok = leaf_field(fields, name, &token) && text_get_token(token, &b) &&
	    b.len < len;
	if (ok) {
		memcpy(out, b.data, b.len);
		out[b.len] = '\0';
	}
	buf_release(&b);
	return ok;
}

/* Epoch 0 of the journal's present name: what began it tells the key. */
static int
look_up_first(
    struct keeper *k, uint64_t before, struct told *t, struct buf *fields)
{
	int r = journal_fields_before(
	    k->journal, EVENT_RECOVER, before, &t->seq, fields);

	if (r == 0)
		r = journal_fields_before(
		    k->journal, EVENT_OPEN, 1, &t->seq, fields);
	if (r != 1)
		return r;
	return take_field(buf_view(fields), "vkey", t->vkey, sizeof t->vkey) &&
		take_field(buf_view(fields), "next", t->next, sizeof t->next)
	    ? 1
	    : -1;
}

/* The newest key that a record before `before` tells; -1: storage. */
static int
look_up(struct keeper *k, uint64_t before, struct told *t)
{
	struct told first = {.epoch = 0};
	struct buf fields;
	char clean[8];
	bool ok = false;
	int r;

	memset(t, 0, sizeof *t);
	buf_init(&fields);
	r = look_up_first(k, before, &first, &fields);
	if (r != 1) {
		buf_release(&fields);
		return -1;
	}
	buf_clear(&fields);
	r = journal_fields_before(
	    k->journal, EVENT_KEY, before, &t->seq, &fields);
	if (r == 0 || (r == 1 && t->seq < first.seq)) {
		*t = first;
		r = 1;
		ok = true;
	} else if (r == 1) {
		struct view v = buf_view(&fields);

		t->by_key_record = true;
		ok = leaf_field_number(v, "epoch", &t->epoch) &&
		    take_field(v, "vkey", t->vkey, sizeof t->vkey) &&
		    take_field(v, "next", t->next, sizeof t->next) &&
		    take_field(v, "clean", clean, sizeof clean);
		t->clean = ok && strcmp(clean, "yes") == 0;
	}
	if (r == 1 && !ok)
		log_error(
		    "%s: the record of the signing key is malformed", k->path);
	buf_release(&fields);
	return r == 1 && ok ? 0 : -1;
}

/* Whether it is a key of this journal, and the one announced. */
static bool
is_announced(const struct keeper *k, const char *vkey,
    const uint8_t digest[CRYPTO_SHA256_LEN])
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct note_vkey key;

	if (!note_parse_vkey(view_text(vkey), &key) ||
	    !view_is(key.name, journal_origin(k->journal)))
		return false;
	crypto_sha256(key.public, sizeof key.public, hash);
	return memcmp(hash, digest, sizeof hash) == 0;
}

/* Whether the signer stands where the journal does, or one step before. */
static bool
agrees(struct keeper *k, const struct told *t, const struct told *before)
{
	const struct keeper_signing *s = &k->signing;
	char next[2 * CRYPTO_SHA256_LEN + 1], after[sizeof next];

	put_hex(s->next, next);
	put_hex(s->after, after);
	if (s->epoch == t->epoch)
		return strcmp(s->vkey, t->vkey) == 0 &&
		    strcmp(next, t->next) == 0;
	return t->by_key_record && s->epoch + 1 == t->epoch &&
	    strcmp(s->vkey, before->vkey) == 0 &&
	    is_announced(k, t->vkey, s->next) && strcmp(after, t->next) == 0;
}

static void
keep_turn(struct keeper *k, const struct told *t, const char *before)
{
	struct keeper_turn *turn = &k->turn;

	turn->stage = TURN_RECORDED;
	turn->epoch = t->epoch;
	turn->seq = t->seq;
	turn->clean = t->clean;
	memcpy(turn->vkey, t->vkey, sizeof turn->vkey);
	memcpy(
	    turn->closing, t->clean ? before : t->vkey, sizeof turn->closing);
}

/* Answers who asked for the turn, if anybody did. */
static void
answer(struct keeper *k, const char *why)
{
	struct keeper_turn *turn = &k->turn;
	const struct journal_event e = {.seq = turn->seq, .at = turn->at};

	if (!turn->asked)
		return;
	turn->asked = false;
	if (turn->generation != k->engine.generation)
		return;
	if (why != NULL)
		keeper_send_refused(&k->engine, turn->ref, why);
	else
		keeper_send_receipt(&k->engine, turn->ref, &e);
}

/* When none is under way. */
static void
begin_turn(struct keeper *k, const char *reason, bool clean)
{
	struct keeper_turn *turn = &k->turn;

	if (turn->stage != TURN_NONE || k->doomed)
		return;
	turn->stage = TURN_WANTED;
	turn->reason = reason;
	turn->clean = clean;
	keeper_sign(k);
}

static void
on_daily(uv_timer_t *timer)
{
	begin_turn(timer->data, "daily", true);
}

static void
set_timer(struct keeper *k)
{
	uint64_t ms = (uint64_t)k->conf->rotate_s * 1000;

	if (ms > 0)
		(void)uv_timer_start(&k->turn_timer, on_daily, ms, ms);
}

static void
finish(struct keeper *k)
{
	k->turn.stage = TURN_NONE;
	k->turn.done = true;
	log_info("epoch %" PRIu64 " begins with record %" PRIu64,
	    k->signing.epoch, k->turn.seq + 1);
	answer(k, NULL);
	set_timer(k);
	keeper_enter_service(k);
}

bool
keeper_keys_compare(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;
	struct told t, before = {.epoch = 0};

	if (journal_size(k->journal) == 0)
		return s->epoch == 0 &&
		    strcmp(s->vkey, journal_vkey(k->journal)) == 0;
	if (look_up(k, INT64_MAX, &t) != 0 ||
	    (t.by_key_record && look_up(k, t.seq, &before) != 0)) {
		keeper_storage_failed(k);
		return true;
	}
	if (!agrees(k, &t, &before))
		return false;
	if (s->epoch != t.epoch ||
	    (t.by_key_record && journal_signed_size(k->journal) <= t.seq)) {
		/* Or only the answer was lost: then it comes again. */
		keep_turn(k, &t, before.vkey);
	} else if (k->turn.stage == TURN_RECORDED) {
		k->turn.stage = TURN_CLOSED;
	}
	return true;
}

uint64_t
keeper_keys_since(struct keeper *k)
{
	struct told first = {.seq = 0};
	struct buf fields;

	buf_init(&fields);
	(void)look_up_first(k, INT64_MAX, &first, &fields); /* 0 is as well */
	buf_release(&fields);
	return first.seq;
}

bool
keeper_keys_ready(struct keeper *k)
{
	if (k->turn.stage != TURN_NONE)
		return false;
	if (!k->turn.done && k->conf->rotate_at_start) {
		begin_turn(k, "start", true);
		return false;
	}
	if (!k->turn.done)
		set_timer(k);
	k->turn.done = true;
	return true;
}

void
keeper_keys_fresh(struct keeper *k)
{
	k->turn.done = true;
	set_timer(k);
}

/* ---- the steps ---- */

static void
ask_rotate(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;

	keeper_asked(k);
	buf_put_u64(ipc_begin(k->signer.link, WIRE_ROTATE), s->epoch + 1);
	ipc_end(k->signer.link);
}

static void
ask_turn(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;
	uint64_t size = k->turn.seq + 1;
	struct buf proof;
	struct buf *out;

	buf_init(&proof);
	if (journal_root_at(k->journal, size, s->asked_root) != 0 ||
	    journal_proof(k->journal, s->size, size, &proof) != 0) {
		buf_release(&proof);
		keeper_storage_failed(k);
		return;
	}
	keeper_asked(k);
	s->asked_size = size;
	out = ipc_begin(k->signer.link, WIRE_TURN);
	buf_put_u64(out, k->turn.epoch);
	buf_put_u8(out, k->turn.clean);
	keeper_put_request(k, &proof, out);
	ipc_end(k->signer.link);
	buf_release(&proof);
}

/* At once, and before a larger one: no later row can make room for it. */
static bool
store_closing(struct keeper *k)
{
	struct keeper_signing *s = &k->signing;

	if (s->closing.len > 0) {
		journal_note(
		    k->journal, s->closing_size, buf_view(&s->closing), true);
		/* Without it the epoch would never be closed. */
		if (!journal_note_waits(k->journal))
			log_fatal("out of memory");
		if (journal_store_note(k->journal) != 0) {
			keeper_storage_failed(k);
			return false;
		}
		buf_clear(&s->closing);
	}
	return true;
}

/* The key record is never the one that a file begins or ends with. */
static bool
may_append(struct keeper *k)
{
	return !k->stopping && !k->doomed && k->ahead == 0 &&
	    !keeper_rolling(k) && !journal_opens(k->journal) &&
	    keeper_roll_room(k) > 0;
}

/* A turn that left no record yet. */
static void
turn_down(struct keeper *k, const char *why)
{
	answer(k, why);
	k->turn.stage = TURN_NONE;
}

bool
keeper_keys_step(struct keeper *k)
{
	struct told t;

	switch (k->turn.stage) {
	case TURN_NONE:
		return false;
	case TURN_WANTED:
		if (k->doomed) {
			turn_down(k, k->doom);
			return false;
		}
		if (!may_append(k))
			return false;
		/* A failed commit may have reached the disk all the same. */
		if (look_up(k, INT64_MAX, &t) != 0) {
			keeper_storage_failed(k);
		} else if (t.epoch == k->signing.epoch + 1) {
			keep_turn(k, &t, k->signing.vkey);
			ask_turn(k);
		} else {
			ask_rotate(k);
		}
		return true;
	case TURN_RECORDED:
		ask_turn(k);
		return true;
	case TURN_CLOSED:
		if (!store_closing(k))
			return true;
		finish(k);
		return k->signing.busy;
	}
	return false;
}

static int
append_key(struct keeper *k, uint64_t epoch, struct view vkey, const char *next)
{
	struct keeper_turn *turn = &k->turn;
	struct journal_event e = {.kind = EVENT_KEY};
	struct buf fields;
	int r = -1;

	buf_init(&fields);
	leaf_put_number(&fields, "epoch", epoch);
	leaf_put_field(&fields, "vkey", vkey);
	leaf_put_field(&fields, "next", view_text(next));
	leaf_put_field(&fields, "reason", view_text(turn->reason));
	leaf_put_field(&fields, "clean", view_text(turn->clean ? "yes" : "no"));
	e.fields = buf_view(&fields);
	if (!fields.failed && journal_append(k->journal, &e, 1) == 0)
		r = 0;
	buf_release(&fields);
	turn->epoch = epoch;
	turn->seq = e.seq;
	turn->at = e.at;
	return r;
}

bool
keeper_keys_on_key(struct keeper *k, struct view payload)
{
	struct keeper_signing *s = &k->signing;
	struct keeper_turn *turn = &k->turn;
	struct reader r = reader_of(payload);
	uint64_t epoch = reader_u64(&r);
	struct view digest = reader_take(&r, CRYPTO_SHA256_LEN);
	struct view vkey = reader_rest(&r);
	char next[2 * CRYPTO_SHA256_LEN + 1], name[KEEPER_VKEY_MAX];

	if (!reader_done(&r) || !s->busy || turn->stage != TURN_WANTED ||
	    epoch != s->epoch + 1 || vkey.n >= sizeof name)
		return false;
	(void)snprintf(
	    name, sizeof name, "%.*s", (int)vkey.n, (const char *)vkey.p);
	if (!is_announced(k, name, s->next)) {
		log_error("the signer's next key is not the announced one");
		return false;
	}
	s->busy = false;
	memcpy(s->after, digest.p, sizeof s->after);
	put_hex(s->after, next);
	if (!journal_writable(k->journal))
		return true; /* asked again when it is */
	if (!may_append(k)) {
		keeper_sign(k);
		return true;
	}
	if (append_key(k, epoch, vkey, next) != 0) {
		keeper_storage_failed(k);
		return true;
	}
	memcpy(turn->vkey, name, sizeof turn->vkey);
	memcpy(
	    turn->closing, turn->clean ? s->vkey : name, sizeof turn->closing);
	turn->stage = TURN_RECORDED;
	keeper_sign(k);
	return true;
}

bool
keeper_keys_awaits_note(const struct keeper *k)
{
	return k->turn.stage == TURN_RECORDED;
}

const char *
keeper_keys_signing(const struct keeper *k)
{
	return k->turn.stage == TURN_RECORDED ? k->turn.closing
					      : k->signing.vkey;
}

void
keeper_keys_took_note(struct keeper *k, struct view text)
{
	struct keeper_signing *s = &k->signing;

	buf_clear(&s->closing);
	buf_put_view(&s->closing, text);
	if (s->closing.failed)
		log_fatal("out of memory");
	s->closing_size = s->asked_size;
	if (s->epoch != k->turn.epoch) {
		s->epoch = k->turn.epoch;
		memcpy(s->vkey, k->turn.vkey, sizeof s->vkey);
		memcpy(s->next, s->after, sizeof s->next);
		memset(s->after, 0, sizeof s->after);
	}
	k->turn.stage = TURN_CLOSED;
}

void
keeper_keys_refused(struct keeper *k, const char *why)
{
	answer(k, why);
	/* A turn that nobody else asked for, and that left no record yet. */
	if (k->turn.stage == TURN_WANTED && k->turn.done)
		k->turn.stage = TURN_NONE;
}

bool
keeper_keys_on_asked(struct keeper *k, struct view payload)
{
	struct keeper_turn *turn = &k->turn;
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	bool compromised = reader_u8(&r) != 0;

	if (!reader_done(&r))
		return false;
	if (!keeper_writable(k)) {
		keeper_send_refused(&k->engine, ref, k->why);
		return true;
	}
	if (turn->stage != TURN_NONE || !k->signing.compared) {
		keeper_send_refused(&k->engine, ref,
		    turn->stage != TURN_NONE
			? "the key is being changed just now"
			: "the signer is away just now");
		return true;
	}
	turn->asked = true;
	turn->ref = ref;
	turn->generation = k->engine.generation;
	if (compromised)
		begin_turn(k, "compromise", false);
	else
		begin_turn(k, "demand", true);
	return true;
}
