#include "compliance/anchors_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#define BACKOFF_MAX 3 /* doublings of the interval after failures */

static uint64_t
interval_ms(const struct anchors *a)
{
	return (uint64_t)a->env->conf->anchors.interval_s * 1000;
}

/*
 * Whole intervals of the clock: whoever is asked then is asked for the
 * same checkpoint, and a quorum comes together also while new ones follow.
 */
uint64_t
anchors_next_ms(uint64_t now, uint64_t interval, unsigned failures)
{
	unsigned times = failures < BACKOFF_MAX ? failures : BACKOFF_MAX;

	return (now / interval + (UINT64_C(1) << times)) * interval;
}

/* When the next try may be; failures make it rarer. */
static void
set_next(struct anchor_source *s)
{
	s->busy = false;
	s->next_ms = anchors_next_ms(uv_now(s->anchors->env->loop),
	    interval_ms(s->anchors), s->failures);
}

/* The record first: a purge that waited comes after it. */
static void
tell_stored(struct anchors *a)
{
	anchors_record(a);
	if (a->env->stored != NULL)
		a->env->stored(a->env->arg);
}

/* ---- witnesses ---- */

static void act(struct anchor_source *s, enum witness_verdict verdict);
static void on_asked(void *arg, unsigned status, struct view body);

static void
end_round(struct anchor_source *s, const char *why)
{
	if (why != NULL)
		anchors_failed(s, view_text(why));
	set_next(s);
}

static void
on_conflict_recorded(void *arg, enum keeper_answer answer, struct view why)
{
	struct anchor_source *s = arg;

	if (answer == KEEPER_REFUSED)
		log_debug("conflict record of %s: %.*s", s->name, (int)why.n,
		    (const char *)why.p);
	end_round(s, witness_client_why(s->client));
}

/* An alarm at once: such a thing does not happen by chance. */
static void
on_conflict(struct anchor_source *s)
{
	uint64_t size;
	struct view note = witness_client_claim(s->client, &size);

	if (s->failures == 0)
		s->failures = 1;
	if (!keeper_link_conflict(s->anchors->env->keeper, s->index, size, note,
		on_conflict_recorded, s))
		end_round(s, witness_client_why(s->client));
}

/*
 * Whether a refusal was for the checkpoint's file alone, which is sealed
 * meanwhile: then nothing failed, and what is in the newest one counts.
 */
static bool
is_behind(struct anchors *a, uint64_t size)
{
	struct buf note;
	bool behind;

	buf_init(&note);
	behind =
	    anchors_open(a) && evidence_note(a->evidence, size, &note) == 0;
	buf_release(&note);
	return behind;
}

static void
on_cosig_stored(void *arg, enum keeper_answer answer, struct view why)
{
	struct anchor_source *s = arg;
	struct anchors *a = s->anchors;
	uint64_t size, at;
	struct view line = witness_client_line(s->client, &size, &at);
	bool behind = answer == KEEPER_REFUSED && is_behind(a, size);

	if (answer == KEEPER_LOST) {
		end_round(s, "the keeper is gone");
		return;
	}
	if (answer == KEEPER_REFUSED && !behind) {
		anchors_failed(s, why);
		set_next(s);
		return;
	}
	if (!behind) {
		anchors_ok(s, size, at, line);
		tell_stored(a);
	}
	act(s, witness_client_go_on(s->client, &a->journal));
	if (behind && !s->busy)
		s->next_ms = 0;
}

static void
act(struct anchor_source *s, enum witness_verdict verdict)
{
	struct anchors *a = s->anchors;
	const struct witness_request *request;
	struct view line;
	uint64_t size, at;

	switch (verdict) {
	case WITNESS_ASK:
		request = witness_client_request(s->client);
		if (anchor_link_ask(a->link, s->index, request->path,
			buf_view(&request->body), on_asked, s))
			return;
		end_round(s, "the anchor role is not running");
		return;
	case WITNESS_COSIGNED:
		line = witness_client_line(s->client, &size, &at);
		if (keeper_link_cosig(
			a->env->keeper, size, line, on_cosig_stored, s))
			return;
		end_round(s, "the keeper is not running");
		return;
	case WITNESS_CONFLICT:
		on_conflict(s);
		return;
	case WITNESS_FAILED:
		end_round(s, witness_client_why(s->client));
		return;
	case WITNESS_DONE:
		end_round(s, NULL);
		return;
	}
}

static void
on_asked(void *arg, unsigned status, struct view body)
{
	struct anchor_source *s = arg;

	act(s,
	    witness_client_answer(
		s->client, &s->anchors->journal, status, body));
}

/* At the start also when there is nothing new: it may be ahead of us. */
static void
ask_witness(struct anchor_source *s)
{
	struct anchors *a = s->anchors;

	if (s->busy || uv_now(a->env->loop) < s->next_ms ||
	    (s->asked && s->failures == 0 && s->tried == a->newest))
		return;
	s->busy = true;
	s->asked = true;
	s->tried = a->newest;
	act(s,
	    witness_client_begin(
		s->client, &a->journal, a->newest, buf_view(&a->note)));
}

/* ---- the authority ---- */

static void
on_stamp_stored(void *arg, enum keeper_answer answer, struct view why)
{
	struct anchor_source *s = arg;
	struct anchors *a = s->anchors;

	set_next(s);
	if (answer == KEEPER_RECORDED) {
		s->record_due = true;
		anchors_ok(s, s->tried, a->token_at, buf_view(&a->token));
		tell_stored(a);
	} else if (answer == KEEPER_REFUSED && is_behind(a, s->tried)) {
		s->next_ms = 0;
	} else {
		anchors_failed(s,
		    answer == KEEPER_REFUSED ? why
					     : view_text("the keeper is gone"));
	}
}

static void
on_stamped(void *arg, bool granted, uint64_t at, struct view bytes)
{
	struct anchor_source *s = arg;
	struct anchors *a = s->anchors;

	if (!granted) {
		anchors_failed(s, bytes);
		set_next(s);
		return;
	}
	buf_clear(&a->token);
	buf_put_view(&a->token, bytes);
	a->token_at = at;
	if (!a->token.failed &&
	    keeper_link_stamp(
		a->env->keeper, s->tried, at, bytes, on_stamp_stored, s))
		return;
	end_round(s, "the keeper is not running");
}

/*
 * Whether a token is due: by the interval, or because acknowledgements wait
 * for one. *size: the checkpoint that it is asked for.
 */
static bool
stamp_due(struct anchors *a, uint64_t *size)
{
	const struct conf *conf = a->env->conf;
	uint64_t stamped = 0, at = 0, acked = 0, both = 0;
	uint64_t now = (uint64_t)time(NULL);
	int got;

	if (evidence_stamped(a->evidence, &stamped, &at) < 0)
		return false;
	got = evidence_anchored(a->evidence, conf, false, size);
	if (got < 0)
		return false;
	if (got == 0) /* no quorum yet: a plain one is better than none */
		*size = a->newest;
	if (*size <= stamped)
		return false;
	if (at == 0 || now < at || now - at >= conf->stamp.interval_s)
		return true;
	/* What was stamped without a quorum serves no purge. */
	return conf->stamp.required && got == 1 &&
	    evidence_anchored(a->evidence, conf, true, &both) >= 0 &&
	    evidence_acked(a->evidence, &acked) == 1 && acked >= both &&
	    acked < *size;
}

static void
ask_stamp(struct anchors *a)
{
	struct anchor_source *s = &a->stamp;
	struct buf note;
	uint64_t size;

	if (s->busy || a->env->conf->stamp.url == NULL ||
	    uv_now(a->env->loop) < s->next_ms || !stamp_due(a, &size))
		return;
	buf_init(&note);
	s->tried = size;
	if (evidence_note(a->evidence, size, &note) == 1) {
		s->busy =
		    anchor_link_stamp(a->link, buf_view(&note), on_stamped, s);
		if (!s->busy)
			end_round(s, "the anchor role is not running");
	}
	buf_release(&note);
}

void
anchors_ask(struct anchors *a)
{
	for (size_t i = 0; i < a->env->conf->witness_count; i++)
		ask_witness(&a->witnesses[i]);
	ask_stamp(a);
}
