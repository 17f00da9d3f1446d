/*
 * What somebody without a key writes behind the last signed checkpoint: it may
 * not excuse anything that was signed before.
 */

#include "tests/unit/verify_story.h"

#define SIGNED 4 /* records under the last checkpoint */

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void
tell(struct fix *f)
{
	fix_open(f);
	fix_post(f, "a");
	fix_post(f, "b");
	fix_post(f, "c");
	assert_int_equal(f->n, SIGNED);
	f->stored[f->stored_count++] = SIGNED;
}

/* A policy, its archive and a purge by all rules, as far as these go. */
static void
purge(struct fix *f)
{
	fix_control(f, 134, "required x\nafter 0\n" POLICY_REST);
	fix_batch(f, "x", 1, 0, 4);
	fix_ack(f, "x", 1, 0, 4, "l", sha, 1);
	fix_purge(f, 1, 1, 3, "x:6");
}

static json_t *
run(void (*story)(struct fix *), uint64_t covered)
{
	char folder[] = "/tmp/verify.XXXXXX", path[64];
	struct fix f;
	json_t *o;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/journal.db", folder);
	fix_init(&f, 7);
	tell(&f);
	story(&f);
	f.note_size = covered;
	fix_write(&f, path);
	o = run_journal(path, f.vkey, NULL, 0);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
	return o;
}

static void
a_purge(void **state)
{
	json_t *o = run(purge, 8);

	(void)state;
	assert_int_equal(run_status(o), 0);
	json_decref(o);
	o = run(purge, SIGNED);
	if (run_status(o) != 1 ||
	    !run_found(o, "purges", 7, "no signed checkpoint covers")) {
		run_print(o);
		fail();
	}
	json_decref(o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_purge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
