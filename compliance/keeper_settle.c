#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "compliance/clock.h"
#include "compliance/event.h"

/*
 * Sealed files are held to the purge records, one after another, at the start
 * and then all the time: an old copy of one would bring back what was purged.
 * One without payloads is written anew, and smaller.
 */

#define STEP_MS 2               /* within a file, and in the first round */
#define FILE_MS 60000           /* from file to file in later rounds, */
#define ALARM_MS 1000           /* and while there is an alarm */
#define SHRINK_MS 20            /* between steps of writing a file anew */
#define AGAIN_MS 1000           /* while nothing can be recorded */
#define SHRINK_AGAIN_MS 3600000 /* after a failure: perhaps a full disk */
#define TRUNCATE_MS 500
#define TRUNCATE_MAX_MS 60000

/* ---- what a person must mend ---- */

/* Instead of a file's number: whichever the newest purge is in. */
#define NEWEST UINT_MAX

void
keeper_send_alarm(struct keeper *k)
{
	if (k->engine.link == NULL)
		return;
	buf_put_text(ipc_begin(k->engine.link, WIRE_ALARM), k->settling.alarm);
	ipc_end(k->engine.link);
}

/*
 * Logged when it is news. The newest purge goes first: while it waits, there
 * is no other.
 */
static void
raise_alarm(struct keeper *k, unsigned file, bool news, const char *what)
{
	struct keeper_settling *s = &k->settling;
	char text[sizeof s->alarm];

	(void)snprintf(text, sizeof text,
	    "%s: %s. Next: see that the file is there, can be written and is "
	    "not being read all the time; an old copy does in its place; when "
	    "there is none, make the journal anew from archives (chancery "
	    "recover --from)",
	    what, journal_error(k->journal));
	if (news)
		log_error("AUDIT: %s", text);
	if (s->alarm[0] != '\0' && s->alarmed != file && file != NEWEST)
		return;
	s->alarmed = file;
	if (strcmp(text, s->alarm) == 0)
		return;
	memcpy(s->alarm, text, sizeof text);
	keeper_send_alarm(k);
}

static void
end_alarm(struct keeper *k, unsigned file)
{
	struct keeper_settling *s = &k->settling;

	if (s->alarm[0] == '\0' || s->alarmed != file)
		return;
	s->alarm[0] = '\0';
	if (file == NEWEST)
		log_info("the newest purge is carried out: others may follow");
	else
		log_info("file %u is held to the purge records again", file);
	keeper_send_alarm(k);
}

/* ---- the newest purge ---- */

void
keeper_truncate(uv_timer_t *timer)
{
	struct keeper *k = timer->data;
	struct keeper_settling *s = &k->settling;

	if (journal_truncate(k->journal) == 0) {
		k->wal_mark = 0;
		s->truncate_ms = 0;
		end_alarm(k, NEWEST);
		return;
	}
	if (!journal_undone(k->journal)) {
		/* A reader is in the way, which is nothing to tell. */
		s->truncate_ms = 0;
		end_alarm(k, NEWEST);
		(void)uv_timer_start(timer, keeper_truncate, TRUNCATE_MS, 0);
		return;
	}
	if (s->truncate_ms == 0) {
		log_warn("the newest purge waits for its file: %s",
		    journal_error(k->journal));
		s->truncate_ms = TRUNCATE_MS;
	} else {
		raise_alarm(k, NEWEST, s->truncate_ms == 2 * TRUNCATE_MS,
		    "nothing is purged: the newest purge cannot be carried out "
		    "in its file");
	}
	(void)uv_timer_start(timer, keeper_truncate, s->truncate_ms, 0);
	if (s->truncate_ms < TRUNCATE_MAX_MS)
		s->truncate_ms *= 2;
}

/* ---- all of them ---- */

/* Whether it is told for the first time of this file, whose state it is. */
static bool
is_news(struct keeper_settling *s, unsigned segment, bool failed)
{
	bool *grown;

	if (segment >= s->files) {
		grown = reallocarray(s->failed, segment + 1, sizeof *grown);
		if (grown == NULL)
			return true;
		memset(grown + s->files, 0, segment + 1 - s->files);
		s->failed = grown;
		s->files = segment + 1;
	}
	if (s->failed[segment] == failed)
		return false;
	s->failed[segment] = failed;
	return true;
}

/* An audit record shall tell so. */
static void
note_broken(struct keeper_settling *s, uint64_t first, uint64_t last)
{
	if (s->since == 0) {
		s->whole = false;
		s->since = clock_now();
		s->first = first;
		s->last = last;
	}
	if (first < s->first)
		s->first = first;
	if (last > s->last)
		s->last = last;
}

static void
take_found(struct keeper *k, const struct journal_settled *found)
{
	struct keeper_settling *s = &k->settling;

	if (found->ranges == 0)
		return;
	if (!found->older) {
		log_info(
		    "the newest purge is carried out in file %u", s->segment);
		return;
	}
	log_error("AUDIT: file %u held payloads that were purged before, of "
		  "records from %" PRIu64 " to %" PRIu64
		  ": an old copy? They are removed again",
	    s->segment, found->first, found->last);
	note_broken(s, found->first, found->last);
}

/* Of what was found; false: later. */
static bool
record_found(struct keeper *k)
{
	struct keeper_settling *s = &k->settling;
	struct journal_event e = {.kind = EVENT_AUDIT};
	struct buf fields;
	int r;

	if (s->since == 0)
		return true;
	if (!keeper_writable(k) || keeper_rolling(k))
		return false;
	buf_init(&fields);
	leaf_put_number(&fields, "first", s->first);
	leaf_put_number(&fields, "last", s->last);
	leaf_put_number(&fields, "since", s->since);
	leaf_put_field(
	    &fields, "result", view_text(s->whole ? "whole" : "broken"));
	e.fields = buf_view(&fields);
	r = fields.failed ? -1 : journal_append(k->journal, &e, 1);
	buf_release(&fields);
	if (r != 0) {
		keeper_storage_failed(k);
		return false;
	}
	s->since = 0;
	keeper_publish_after(k, e.seq);
	keeper_sign(k);
	return true;
}

/* Holds the file to the purge records; false: there is more of it. */
static bool
settle(struct keeper *k)
{
	struct keeper_settling *s = &k->settling;
	struct journal_settled found;
	int r = journal_settle(k->journal, s->segment, &s->next, &found);

	bool news = is_news(s, s->segment, r != 0);

	if (r != 0)
		raise_alarm(k, s->segment, news,
		    "a sealed file cannot be held to the purge records");
	else
		end_alarm(k, s->segment);
	if (r == 0 && journal_undone(k->journal))
		(void)uv_timer_start(&k->truncate_timer, keeper_truncate, 0, 0);
	if (found.missing && news)
		note_broken(s, found.first, found.last);
	take_found(k, &found);
	s->settled = r == 0 && !found.more;
	return r != 0 || !found.more;
}

/* A step of writing the file anew; true: there are more. */
static bool
shrink(struct keeper *k)
{
	struct keeper_settling *s = &k->settling;
	struct range records;
	int r;

	if (uv_now(&k->loop) < s->shrink_after)
		return false;
	r = journal_shrink(k->journal, s->segment, &records);
	if (r < 0) {
		log_warn("a sealed file cannot be written anew: %s",
		    journal_error(k->journal));
		s->shrink_after = uv_now(&k->loop) + SHRINK_AGAIN_MS;
	}
	if (r == JOURNAL_SHRUNK) {
		log_info("file %u, of which all payloads are purged, is "
			 "written anew",
		    s->segment);
		s->whole = true;
		s->since = s->begun;
		s->first = records.first;
		s->last = records.last;
	}
	return r == JOURNAL_SHRINKING;
}

static void
next_file(struct keeper *k)
{
	struct keeper_settling *s = &k->settling;

	s->segment++;
	s->next = 0;
	s->settled = false;
	s->begun = 0;
}

static uint64_t
file_ms(const struct keeper_settling *s)
{
	return s->alarm[0] == '\0' ? FILE_MS : ALARM_MS;
}

static void
on_settle(uv_timer_t *timer)
{
	struct keeper *k = timer->data;
	struct keeper_settling *s = &k->settling;
	uint64_t pause = STEP_MS;

	if (!keeper_writable(k) || !record_found(k)) {
		pause = AGAIN_MS;
	} else if (s->segment >= journal_segment(k->journal)) {
		s->segment = 0;
		s->again = true;
		pause = file_ms(s);
	} else if (s->settled || settle(k)) {
		if (s->begun == 0)
			s->begun = clock_now();
		if (s->settled && s->since == 0 && shrink(k))
			pause = SHRINK_MS;
		else
			next_file(k);
		if (s->begun == 0 && s->again && s->since == 0)
			pause = file_ms(s);
	}
	(void)uv_timer_start(timer, on_settle, pause, 0); /* always 0 */
}

void
keeper_settle_start(struct keeper *k)
{
	/* A purge in a sealed file may have been interrupted. */
	(void)uv_timer_start(&k->truncate_timer, keeper_truncate, 0, 0);
	(void)uv_timer_start(&k->settle_timer, on_settle, 0, 0);
}
