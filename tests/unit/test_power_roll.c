#include "tests/unit/power_names.h"
#include "tests/unit/roll_story.h"
#include "tests/unit/verify_once.h"

/*
 * The end of a file on a disk that loses power or fails at any operation:
 * sealed, gone on from in the next one, purged of its payloads and written
 * anew. What was acknowledged is there afterwards, what was purged is not,
 * the verifier finds nothing, and the journal goes on as the keeper does.
 * CHANCERY_SEED varies what a cut loses.
 */

#define USUAL 31 /* operations from one that the suite takes to the next */

static uint64_t seed;

static bool
is_dead(void)
{
	return power.dead;
}

static void
begin(struct fixture *f, struct roll *told)
{
	roll_begin(f, told);
	power.operations = 0;
	power_names_begin();
}

/* As the keeper does when it starts. */
static void
start(struct fixture *f, const struct roll *told, const char *when)
{
	struct journal_settled out = {.ranges = 0, .more = true};
	char why[256] = "";
	uint64_t next = 0;

	f->j = journal_open(f->path, why, sizeof why);
	if (f->j == NULL)
		fail_msg("%s: %s", when, why);
	while (journal_segment(f->j) > 0 && out.more)
		if (journal_settle(f->j, 0, &next, &out) != 0)
			fail_msg("%s: %s", when, journal_error(f->j));
	if (told->purged && out.ranges > 0)
		fail_msg("%s: something is back that was purged before", when);
}

/* Whether the power went before the story was over. */
static bool
cut_once(unsigned operation, unsigned draw)
{
	struct fixture f;
	struct roll told;
	char when[64];
	bool whole;

	(void)snprintf(when, sizeof when, "power cut at operation %u, draw %u",
	    operation, draw);
	power_begin(seed + operation * POWER_DRAWS + draw);
	begin(&f, &told);
	power.cut_at = operation;
	whole = roll_go_on(&f, &told);
	journal_close(f.j);
	power_names_restore(f.dir);
	told.over = false;
	start(&f, &told, when);
	assert_true(roll_note(&f));
	roll_check(&f, &told, when);
	if (!roll_go_on(&f, &told))
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	roll_check(&f, &told, when);
	end_segments(&f);
	return !whole;
}

static bool
cut_at(unsigned operation)
{
	bool went = cut_once(operation, 0);

	for (unsigned draw = 1; power_names.open > 0 && draw < power.draws;
	     draw++)
		(void)cut_once(operation, draw);
	return went;
}

static void
power_goes_at_every_operation(void **state)
{
	unsigned n, step = power_stride(USUAL, &n);

	(void)state;
	while (cut_at(n))
		n += step;
	assert_in_range(n, 100, 5000);
	(void)fprintf(stderr, "# about %u operations\n", n);
}

/* One operation fails, once; the keeper recovers as it does in life. */
static bool
fail_at(unsigned operation, int failure)
{
	struct fixture f;
	struct roll told;
	char when[64];
	bool failed;

	(void)snprintf(when, sizeof when, "failure %d at operation %u", failure,
	    operation);
	power_begin(seed + operation);
	begin(&f, &told);
	power.fail_at = operation;
	power.failure = failure;
	if (!roll_go_on(&f, &told))
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	failed = power.operations >= operation;
	power.fail_at = 0;
	power_names_end(false);
	roll_check(&f, &told, when);
	end_segments(&f);
	return failed;
}

static void
every_operation_fails_once(void **state)
{
	static const int failures[] = {SQLITE_IOERR_WRITE, SQLITE_FULL};
	unsigned n, step;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (step = power_stride(2 * USUAL, &n);
		     fail_at(n, failures[i]); n += step)
			assert_in_range(n, 1, 5000);
}

static int
prepare(void **state)
{
	const char *text = getenv("CHANCERY_SEED");

	(void)state;
	seed = text != NULL ? strtoull(text, NULL, 10) : 1;
	crypto_init();
	power_install();
	roll_hooks.dead = is_dead;
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	power_uninstall();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(power_goes_at_every_operation),
	    cmocka_unit_test(every_operation_fails_once),
	};

	return cmocka_run_group_tests(tests, prepare, finish);
}
