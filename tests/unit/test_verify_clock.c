/* Journals whose clock and beats break their rules, or tell of silence. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_run.h"

#define S INT64_C(1000000)
#define OFFSET ((int64_t)FIX_START + 17 - 5000) /* of fix_head()'s records */

/* A control record of the given times, in microseconds after the start. */
static void __attribute__((format(printf, 7, 8)))
record(struct fix *f, unsigned kind, int64_t at, int64_t boot,
    const char *boot_id, unsigned flags, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	fix_head(f, kind, &b);
	buf_clear(&b);
	f->rec[f->n].at = FIX_START + 17 + (uint64_t)at;
	buf_printf(&b,
	    "leaf/1 %" PRIu64 " %u\nt %" PRIu64 " %" PRId64 " %s %u\n", f->n,
	    kind, f->rec[f->n].at, 5000 + boot, boot_id, flags);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	fix_seal(f, &b);
}

#define BOOT "01234abc"
#define OTHER "76543cba"
#define LATE "since 1\nuntil 2\ncount 3\n"
#define BEAT(every, events)                                                    \
	"every " every "\nevents " events                                      \
	"\nqueue 1\nsync yes\nerror 1\ntai 37\n"                               \
	"anchor -\n"

static void
late(struct fix *f, int64_t at, int64_t boot, const char *boot_id,
    unsigned flags)
{
	record(f, 142, at, boot, boot_id, flags, LATE);
}

static void
step(struct fix *f, int64_t at, int64_t boot, unsigned flags, int64_t old,
    int64_t new)
{
	record(f, 137, at, boot, BOOT, flags,
	    "old %" PRId64 "\nnew %" PRId64 "\nsync yes\nerror 1\ntai 37\n",
	    OFFSET + old, OFFSET + new);
}

static bool held_from_start; /* the record after the first is */

/* check: NULL for none, "" for any; words: of the finding, or of an observation. */
static void
check_story(void (*story)(struct fix *), const char *check, int64_t seq,
    const char *words)
{
	char folder[] = "/tmp/verify.XXXXXX", path[160];
	struct fix f;
	json_t *o;
	bool good;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/story.db", folder);
	fix_init(&f, 7);
	fix_open(&f);
	if (!held_from_start)
		late(&f, 1000, 1000, BOOT, 0);
	story(&f);
	f.note_size = f.n;
	fix_write(&f, path);
	o = run_journal(path, f.vkey, NULL, 0);
	good = check != NULL && check[0] == '\0' ? run_observed(o, seq, words)
	    : check != NULL
	    ? run_status(o) == 1 && run_found(o, check, seq, words)
	    : run_status(o) == 0 &&
		(words == NULL ? run_observations(o) == 0
			       : run_observed(o, seq, words));
	assert_true(run_observations(o) <= VERIFY_OBSERVATIONS_MAX);
	if (!good) {
		run_print(o);
		fail_msg("expected %s at %lld: %s",
		    check == NULL ? "no finding" : check, (long long)seq,
		    words == NULL ? "" : words);
	}
	json_decref(o);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
}

/* ---- clock ---- */

static void
drifts(struct fix *f)
{
	late(f, 1 * S + 250000, 1 * S, BOOT, 0);
	late(f, 2 * S + 500000, 2 * S, BOOT, 0);
	late(f, 3 * S + 250000, 3 * S, BOOT, 0);
}

static void
silent_step(struct fix *f)
{
	late(f, 1 * S + 250001, 1 * S, BOOT, 0);
}

static void
silent_step_back(struct fix *f)
{
	late(f, 5 * S, 5 * S, BOOT, 0);
	late(f, 6 * S - 250001, 6 * S, BOOT, 0);
}

/* Records held back tell nothing, what follows is compared with the rest. */
static void
step_behind_held_records(struct fix *f)
{
	late(f, 1001, 1 * S, BOOT, 1);
	late(f, 1002, 2 * S, BOOT, 1);
	late(f, 3 * S - 300000, 3 * S, BOOT, 0);
}

static void
step_told(struct fix *f)
{
	step(f, 11 * S, 1 * S, 0, 0, 10 * S);
	late(f, 12 * S, 2 * S, BOOT, 0);
}

static void
step_back_told(struct fix *f)
{
	step(f, 1001, 1 * S, 1, 0, -3600 * S);
	late(f, 1002, 2 * S, BOOT, 1);
	step(f, 3 * S, 3 * S, 0, -3600 * S, 0);
	late(f, 4 * S, 4 * S, BOOT, 0);
}

static void
step_from_elsewhere(struct fix *f)
{
	step(f, 11 * S, 1 * S, 0, 1, 10 * S);
}

static void
step_of_nothing(struct fix *f)
{
	step(f, 1 * S, 1 * S, 0, 0, 0);
}

static void
step_of_another_time(struct fix *f)
{
	step(f, 11 * S, 1 * S, 0, 0, 10 * S + 1);
}

static void
step_lied_about(struct fix *f)
{
	step(f, 1001, 1 * S, 1, 0, -3600 * S);
	late(f, 2 * S, 2 * S, BOOT, 0);
}

static void
another_boot(struct fix *f)
{
	late(f, 100 * S, 3 * S, OTHER, 0);
	late(f, 101 * S, 4 * S, OTHER, 0);
}

static void
another_boot_behind(struct fix *f)
{
	record(f, 137, 1001, 0, OTHER, 1,
	    "old -3\nnew -3\nsync no\nerror 1\ntai 0\n");
	late(f, 1002, 1 * S, OTHER, 1);
}

static void
another_boot_unsaid(struct fix *f)
{
	late(f, 1001, 1, "89abcdef", 1);
}

static void
another_boot_with_a_step(struct fix *f)
{
	record(
	    f, 137, 1, 0, OTHER, 1, "old 3\nnew -3\nsync no\nerror 1\ntai 0\n");
}

static void
minus_nothing(struct fix *f)
{
	record(
	    f, 137, 1, 0, OTHER, 1, "old -0\nnew 0\nsync no\nerror 1\ntai 0\n");
}

static void
test_clock(void **in)
{
	(void)in;
	check_story(drifts, NULL, -1, NULL);
	check_story(silent_step, "time", 2, "no clock record");
	check_story(silent_step_back, "time", 3, "no clock record");
	check_story(step_behind_held_records, "time", 4, "no clock record");
	check_story(step_told, NULL, 2, "set forward by 10.000 s");
	check_story(step_back_told, NULL, 2, "set back by 3600.000 s");
	check_story(step_back_told, NULL, 4, "set forward by 3600.000 s");
	check_story(step_from_elsewhere, "time", 2, "does not begin where");
	check_story(step_of_nothing, "time", 2, "of no step");
	check_story(step_of_another_time, "time", 2, "of its own time");
	check_story(step_lied_about, "time", 3, "no clock record");
	check_story(another_boot, NULL, -1, NULL);
	check_story(another_boot_behind, NULL, 2, "behind the record before");
	check_story(another_boot_unsaid, "time", 2, "no clock record says so");
	check_story(another_boot_with_a_step, "time", 2, "first record of a");
	check_story(minus_nothing, "control", 2, "value malformed");
}

/* The open record is at 0; what comes after it is held back. */
static void
start_behind(struct fix *f)
{
	record(
	    f, 137, 1, 0, BOOT, 1, "old -3\nnew -3\nsync no\nerror 1\ntai 0\n");
	late(f, 2, 1 * S, BOOT, 1);
}

static void
start_behind_unsaid(struct fix *f)
{
	late(f, 1, 1, BOOT, 1);
}

static void
test_start(void **in)
{
	(void)in;
	held_from_start = true;
	check_story(drifts, NULL, -1, NULL);
	check_story(start_behind, NULL, 1, "behind the record before");
	check_story(start_behind_unsaid, "time", 1, "no clock record says so");
	held_from_start = false;
}

/* ---- beats ---- */

static void
beat(struct fix *f, int64_t at, const char *boot_id, const char *fields)
{
	record(f, 133, at, at, boot_id, 0, "%s", fields);
}

static void
beats(struct fix *f)
{
	fix_post(f, "a");
	beat(f, 60 * S, BOOT, BEAT("60", "1"));
	beat(f, 180 * S, BOOT, BEAT("60", "0"));
}

static void
beat_miscounted(struct fix *f)
{
	fix_post(f, "a");
	fix_post(f, "b");
	beat(f, 60 * S, BOOT, BEAT("60", "1"));
}

static void
beat_kept_count(struct fix *f)
{
	fix_post(f, "a");
	beat(f, 60 * S, BOOT, BEAT("60", "1"));
	beat(f, 120 * S, BOOT, BEAT("60", "1"));
}

static void
silence(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("60", "0"));
	beat(f, 186 * S, BOOT, BEAT("60", "0"));
}

static void
silence_of_a_restart(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("60", "0"));
	record(f, 135, 500 * S, 500 * S, BOOT, 0,
	    "epoch 1\nvkey x\nnext x\nreason start\nclean no\n");
	beat(f, 501 * S, BOOT, BEAT("60", "0"));
}

static void
silence_of_an_incident(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("60", "0"));
	record(f, 132, 500 * S, 500 * S, BOOT, 0,
	    "what storage\nsince 1\nuntil 2\nrefused 3\n");
	beat(f, 501 * S, BOOT, BEAT("60", "0"));
}

static void
silence_of_the_machine(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("60", "0"));
	beat(f, 501 * S, OTHER, BEAT("60", "0"));
}

/* The clock of the day went an hour on, and nothing was silent. */
static void
no_silence(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("60", "0"));
	step(f, 3720 * S, 120 * S, 0, 0, 3600 * S);
	record(f, 133, 3720 * S + 1, 120 * S, BOOT, 1, BEAT("60", "0"));
}

static void
unsynchronised(struct fix *f)
{
	for (int i = 1; i < 4; i++)
		beat(f, i * 60 * S, BOOT,
		    "every 60\nevents 0\nqueue 1\nsync no\nerror 1\ntai 0\n"
		    "anchor -\n");
	beat(f, 240 * S, BOOT, BEAT("60", "0"));
}

static void
many_silences(struct fix *f)
{
	for (int i = 1; i < 150; i++)
		beat(f, i * 600 * S, BOOT, BEAT("60", "0"));
}

static void
beat_of_words(struct fix *f)
{
	beat(f, 60 * S, BOOT, BEAT("soon", "0"));
}

static void
beat_of_no_anchor(struct fix *f)
{
	beat(f, 60 * S, BOOT,
	    "every 60\nevents 0\nqueue 1\nsync no\nerror 1\ntai 0\nanchor x\n");
}

static void
refusals(struct fix *f)
{
	fix_control(f, 143, "what overload\nsince 1\nuntil 2\ncount 30\n");
}

static void
refusals_of_words(struct fix *f)
{
	fix_control(f, 143, "what load\nsince 1\nuntil 2\ncount 30\n");
}

static void
incident_of_words(struct fix *f)
{
	fix_control(f, 132, "what overload\nsince 1\nuntil 2\nrefused 3\n");
}

static void
audit_broken(struct fix *f)
{
	fix_control(f, 142, LATE);
	fix_control(f, 144, "first 0\nlast 1\nsince 1\nresult broken\n");
}

static void
audit_ahead(struct fix *f)
{
	fix_control(f, 144, "first 0\nlast 2\nsince 1\nresult whole\n");
}

static void
audit_of_words(struct fix *f)
{
	fix_control(f, 144, "first 0\nlast 0\nsince 1\nresult fine\n");
}

static void
test_beats(void **in)
{
	(void)in;
	check_story(beats, NULL, -1, NULL);
	check_story(beat_miscounted, "control", 4, "says 1 events");
	check_story(beat_kept_count, "control", 4, "there are 0");
	check_story(
	    silence, NULL, 3, "126.000 s without a beat after record 2");
	check_story(silence, NULL, 3, "nothing on record explains it");
	check_story(silence_of_a_restart, "", 4, "began anew, record 3");
	check_story(silence_of_an_incident, NULL, 4, "incident is recorded");
	check_story(silence_of_the_machine, NULL, 3, "machine was started");
	check_story(no_silence, NULL, 3, "set forward by 3600.000 s");
	check_story(unsynchronised, NULL, 2, "in 3 beats up to record 4");
	check_story(many_silences, NULL, 3, "nothing on record");
	check_story(beat_of_words, "control", 2, "value malformed");
	check_story(beat_of_no_anchor, "control", 2, "value malformed");
	check_story(refusals, NULL, 2, "refused: 30 (overload)");
	check_story(refusals_of_words, "control", 2, "value malformed");
	check_story(incident_of_words, "control", 2, "value malformed");
	check_story(audit_broken, NULL, 3, "records 0-1 broken");
	check_story(audit_ahead, "control", 2, "not there");
	check_story(audit_of_words, "control", 2, "value malformed");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_clock),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_beats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
