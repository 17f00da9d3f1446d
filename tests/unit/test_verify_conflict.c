/* Conflict records: the hold before them, and what they call proof. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_story.h"

/* The clock, which is set by a second, and a record after it. */
static void
clock_and(struct fix *f, unsigned kind, const char *fields)
{
	struct buf b;
	int64_t offset = (int64_t)FIX_START + 17 - 5000;

	for (unsigned i = 0; i < 2; i++) {
		struct fix_record *r = &f->rec[f->n];

		buf_init(&b);
		r->kind = i == 0 ? 137 : kind;
		r->at = FIX_START + f->n * 1000000 + 17;
		buf_printf(&b,
		    "leaf/1 %" PRIu64 " %u\nt %" PRIu64 " %" PRIu64
		    " 01234abc 0\n",
		    f->n, r->kind, r->at, 5000 + (f->n - 1) * 1000000);
		if (i == 0)
			buf_printf(&b,
			    "old %" PRId64 "\nnew %" PRId64
			    "\nsync no\nerror 1\ntai 0\n",
			    offset, offset + 1000000);
		else
			buf_put_text(&b, fields);
		fix_seal(f, &b);
	}
}

#define CLAIM "witness w\nsize 9\nproof no\nhold 1\nnote -\n"

static void
hold(struct fix *f, unsigned n)
{
	fix_hold_on(f, n, "uid:4", "{\"v\":1}", "NULL,NULL,NULL,NULL");
}

/* seed: of the key that signed the note, 0: there is none. */
static void
conflict(struct fix *f, unsigned hold, const char *proof, uint64_t size,
    uint8_t seed)
{
	struct buf note, base64;
	struct fix other;

	buf_init(&note);
	buf_init(&base64);
	if (seed > 0) {
		fix_init(&other, seed);
		for (unsigned i = 0; i < 9; i++)
			fix_post(&other, "of another history");
		fix_note(&other, 9, &note);
		fix_free(&other);
		text_put_base64(&base64, note.data, note.len);
	} else {
		buf_put_u8(&base64, '-');
	}
	fix_control(f, 146,
	    "witness w\nsize %" PRIu64 "\nproof %s\nhold %u\nnote %s\n", size,
	    proof, hold, buf_text(&base64));
	buf_release(&note);
	buf_release(&base64);
}

static void
conflicts(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "no", 9, 0);
	hold(f, 2);
	conflict(f, 2, "no", 9, 8);
	hold(f, 3);
	conflict(f, 3, "yes", 9, 7);
}

/* Of records that are there: another root is proof, their own is none. */
static void
note_of(struct fix *f, const char *proof, bool ours, uint64_t size)
{
	struct buf note, base64;
	struct fix other;

	buf_init(&note);
	buf_init(&base64);
	fix_init(&other, 7);
	fix_post(&other, "of another history");
	fix_note(ours ? f : &other, 2, &note);
	fix_free(&other);
	hold(f, 1);
	text_put_base64(&base64, note.data, note.len);
	fix_control(f, 146,
	    "witness w\nsize %" PRIu64 "\nproof %s\nhold 1\nnote %s\n", size,
	    proof, buf_text(&base64));
	buf_release(&note);
	buf_release(&base64);
}

static void
proof_of_another_root(struct fix *f)
{
	fix_post(f, "a");
	note_of(f, "yes", false, 2);
}

static void
proof_of_this_history(struct fix *f)
{
	fix_post(f, "a");
	note_of(f, "yes", true, 2);
}

static void
claim_of_this_history(struct fix *f)
{
	fix_post(f, "a");
	note_of(f, "no", true, 2);
}

static void
claim_of_another_root(struct fix *f)
{
	fix_post(f, "a");
	note_of(f, "no", false, 2);
}

static void
claim_of_another_size(struct fix *f)
{
	fix_post(f, "a");
	note_of(f, "no", true, 3);
}

static void
claim_of_its_own_size(struct fix *f)
{
	fix_post(f, "a");
	fix_post(f, "b");
	note_of(f, "no", true, 2);
}

/* The hold's record is not what the journal had. */
static void
proof_of_the_hold(struct fix *f)
{
	note_of(f, "no", false, 2);
}

static void
conflict_after_another(struct fix *f)
{
	hold(f, 1);
	fix_post(f, "a");
	conflict(f, 1, "no", 9, 0);
}

static void
conflict_after_the_clock(struct fix *f)
{
	hold(f, 1);
	clock_and(f, 146, CLAIM);
}

static void
conflict_of_some_records(struct fix *f)
{
	fix_hold_on(f, 1, "uid:4", "{\"v\":1,\"from\":1}", "NULL,NULL,1,NULL");
	conflict(f, 1, "no", 9, 0);
}

static void
conflict_of_an_old_hold(struct fix *f)
{
	hold(f, 1);
	hold(f, 2);
	conflict(f, 1, "no", 9, 0);
}

static void
conflict_after_the_release(struct fix *f)
{
	hold(f, 1);
	fix_release(f, 1, "uid:4");
	conflict(f, 1, "no", 9, 0);
}

static void
conflict_without_proof(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "yes", 9, 0);
}

static void
conflict_of_another_key(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "yes", 9, 8);
}

static void
conflict_of_another_size(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "yes", 8, 7);
}

static void
conflict_played_down(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "no", 9, 7);
}

static void
conflict_of_no_note(struct fix *f)
{
	hold(f, 1);
	fix_control(f, 146, "witness w\nsize 9\nproof no\nhold 1\nnote eA==\n");
}

/* What comes after a proof: nothing but another name, and the clock first. */
static void
proof(struct fix *f)
{
	hold(f, 1);
	conflict(f, 1, "yes", 9, 7);
}

static void
post_after_a_proof(struct fix *f)
{
	proof(f);
	fix_post(f, "a");
}

static void
beat_after_a_proof(struct fix *f)
{
	proof(f);
	fix_beat(f);
}

static void
seal_after_a_proof(struct fix *f)
{
	proof(f);
	while (f->n < 255)
		fix_post(f, "a");
	fix_control(f, 136, "segment 0\nfirst 0\ncount 256\n");
}

static void
clock_after_a_proof(struct fix *f)
{
	proof(f);
	clock_and(f, 142, "since 1\nuntil 2\ncount 3\n");
}

#define RECOVER                                                                \
	"old " FIX_ORIGIN "\nsize 0\n"                                         \
	"root 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"                  \
	"origin example.test/journal/ffff0001\nvkey x\nnext -\n"               \
	"reason signer\nby uid:0\n"

static void
name_after_a_proof(struct fix *f)
{
	proof(f);
	fix_control(f, 140, RECOVER);
	fix_post(f, "a");
}

static void
clock_and_name_after_a_proof(struct fix *f)
{
	proof(f);
	clock_and(f, 140, RECOVER);
}

static void
post_and_name_after_a_proof(struct fix *f)
{
	proof(f);
	fix_post(f, "a");
	fix_control(f, 140, RECOVER);
}

/* The new name's key is not one: that is all that is said. */
static void
run_named(void (*story)(struct fix *), int64_t seq)
{
	json_t *o = judge_story(story);

	assert_true(run_found(o, "control", seq, "value malformed"));
	assert_false(run_found(o, "control", -1, "follows a proof"));
	json_decref(o);
}

static void
test_a_proof_is_the_end(void **in)
{
	(void)in;
	run_story(proof, NULL, -1, NULL);
	run_story(post_after_a_proof, "control", 3, "follows a proof");
	run_story(beat_after_a_proof, "control", 3, "follows a proof");
	run_story(seal_after_a_proof, "control", 255, "follows a proof");
	run_story(clock_after_a_proof, "control", 4, "follows a proof");
	run_story(post_and_name_after_a_proof, "control", 4, "follows a proof");
	run_named(name_after_a_proof, 3);
	run_named(clock_and_name_after_a_proof, 4);
}

static void
test_conflicts(void **in)
{
	(void)in;
	run_story(conflicts, NULL, -1, NULL);
	run_story(conflict_after_the_clock, NULL, -1, NULL);
	run_story(conflict_of_an_old_hold, "control", 3, "its hold");
	run_story(conflict_after_the_release, "control", 3, "its hold");
	run_story(conflict_after_another, "control", 3, "its hold");
	run_story(conflict_of_some_records, "control", 2, "keep everything");
}

static void
test_notes(void **in)
{
	(void)in;
	run_story(proof_of_another_root, NULL, -1, NULL);
	run_story(claim_of_this_history, NULL, -1, NULL);
	run_story(claim_of_its_own_size, NULL, -1, NULL);
	run_story(conflict_without_proof, "control", 2, "shows none");
	run_story(conflict_of_another_key, "control", 2, "no key of the");
	run_story(conflict_of_another_size, "control", 2, "another size");
	run_story(claim_of_another_size, "control", 3, "another size");
	run_story(conflict_played_down, "control", 2, "calls a claim");
	run_story(proof_of_the_hold, "control", 2, "calls a claim");
	run_story(claim_of_another_root, "roots", 3, "of this claim");
	run_story(proof_of_this_history, "control", 3, "this very history");
	run_story(conflict_of_no_note, "control", 2, "no checkpoint");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_conflicts),
	    cmocka_unit_test(test_notes),
	    cmocka_unit_test(test_a_proof_is_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
