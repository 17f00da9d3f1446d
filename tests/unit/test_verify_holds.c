/* Holds, releases and approvals as the verifier judges them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/log.h"

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_story.h"

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#define SELECTOR "{\"v\":1,\"room\":\"ma-chan://x/1\"}"

/* A hold of that, and its row. */
static void
fix_hold(struct fix *f, unsigned n, const char *by)
{
	fix_hold_on(f, n, by, SELECTOR, "'ma-chan://x/1',NULL,NULL,NULL");
}

/* Records 0 to 2, stored by acknowledgement 4. */
static void
stored(struct fix *f, const char *approvals)
{
	fix_control(f, 134,
	    "required records\nafter 0\napprovals %s\nquorum 0\nwitnesses -\n"
	    "stamp no\nclasses -\n",
	    approvals);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
}

static void
purge(struct fix *f, const char *hold, const char *approvals)
{
	fix_purge_on(f, 1, 0, 2, "records:4", hold, approvals);
}

static void
approve(struct fix *f, unsigned below, const char *by)
{
	fix_control(f, 145, "below %u\nby %s\n", below, by);
}

static void
sound(struct fix *f)
{
	stored(f, "2");
	fix_hold(f, 1, "uid:4");
	fix_release(f, 1, "uid:5");
	approve(f, 3, "uid:4"); /* 7 */
	approve(f, 5, "uid:4");
	approve(f, 4, "uid:5"); /* 9 */
	purge(f, "6", "7,9");
	fix_hold(f, 2, "uid:4");
}

static void
lost_selector(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(
	    &f->sql, "UPDATE hold SET salt=NULL,selector=NULL,room=NULL;");
}

static void
wrong_hold(struct fix *f)
{
	stored(f, "0");
	fix_hold(f, 1, "uid:4");
	purge(f, "-", "-");
}

static void
old_hold(struct fix *f)
{
	stored(f, "0");
	fix_hold(f, 1, "uid:4"); /* 5 */
	fix_release(f, 1, "uid:4");
	purge(f, "5", "-");
}

static void
held_by_a_name(struct fix *f)
{
	fix_hold(f, 1, "ann");
}

static void
held_by_a_group(struct fix *f)
{
	fix_hold(f, 1, "gid:4");
}

static void
released_by_a_name(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	fix_release(f, 1, "uid:");
}

static void
approved_by_a_name(struct fix *f)
{
	approve(f, 1, "uid:04");
}

static void
hold_skips(struct fix *f)
{
	fix_hold(f, 2, "uid:4");
}

static void
released_twice(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	fix_release(f, 1, "uid:4");
	fix_release(f, 1, "uid:4");
}

static void
released_alone(struct fix *f)
{
	stored(f, "2");
	fix_hold(f, 1, "uid:4");
	fix_release(f, 1, "uid:4");
}

static void
other_selector(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql,
	    "UPDATE hold SET selector=replace(selector,'/1','/2'),"
	    "room='ma-chan://x/2';");
}

static void
other_column(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql, "UPDATE hold SET until=5;");
}

/* The keeper would heed the columns, and find no such room. */
static void
column_with_more(struct fix *f)
{
	fix_hold_on(f, 1, "uid:4",
	    "{\"v\":1,\"room\":\"ma-chan://x/1\",\"user\":\"sip:a\"}",
	    "'ma-chan://x/1\",\"user\":\"sip:a',NULL,NULL,NULL");
}

static void
approved_by_too_many(struct fix *f)
{
	approve(f, 1, "uid:9223372036854775808");
}

static void
released_in_table(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql, "UPDATE hold SET released=1;");
}

static void
no_row(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql, "DELETE FROM hold;");
}

static void
row_of_another_record(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql, "UPDATE hold SET seq=seq+1;");
}

static void
row_of_no_record(struct fix *f)
{
	buf_put_text(&f->sql,
	    "INSERT INTO hold VALUES(1,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);");
}

/* Not NULL: who asks so takes it for released. */
static void
released_by_0(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	buf_put_text(&f->sql, "UPDATE hold SET released=0;");
}

static void
released_before_it_was(struct fix *f)
{
	fix_hold(f, 1, "uid:4");
	fix_release(f, 2, "uid:4");
}

static void
approved_ahead(struct fix *f)
{
	approve(f, 2, "uid:4");
}

static void
one_person(struct fix *f)
{
	stored(f, "2");
	approve(f, 3, "uid:4"); /* 5 */
	approve(f, 4, "uid:4");
	purge(f, "-", "5,6");
}

static void
too_low(struct fix *f)
{
	stored(f, "1");
	approve(f, 2, "uid:4"); /* 5 */
	purge(f, "-", "5");
}

static void
none_named(struct fix *f)
{
	stored(f, "1");
	approve(f, 3, "uid:4");
	purge(f, "-", "-");
}

static void
not_asked_for(struct fix *f)
{
	stored(f, "0");
	approve(f, 3, "uid:4");
	purge(f, "-", "5");
}

static void
no_approve_record(struct fix *f)
{
	stored(f, "1");
	purge(f, "-", "4");
}

static void
test_kept(void **in)
{
	(void)in;
	run_story(sound, NULL, -1, NULL);
	run_story(lost_selector, NULL, -1, NULL);
}

static void
test_broken(void **in)
{
	(void)in;
	run_story(wrong_hold, "purges", 6, "newest hold");
	run_story(old_hold, "purges", 7, "newest hold");
	run_story(held_by_a_name, "control", 1, "value malformed");
	run_story(held_by_a_group, "control", 1, "value malformed");
	run_story(released_by_a_name, "control", 2, "value malformed");
	run_story(approved_by_a_name, "control", 1, "value malformed");
	run_story(hold_skips, "control", 1, "not the next");
	run_story(released_twice, "control", 3, "released already");
	run_story(released_alone, "control", 6, "who placed it");
	run_story(other_selector, "tables", 1, "commits to");
	run_story(other_column, "tables", 1, "commits to");
	run_story(column_with_more, "tables", 1, "commits to");
	run_story(approved_by_too_many, "control", 1, "value malformed");
	run_story(released_in_table, "tables", 1, "commits to");
	run_story(no_row, "tables", 1, "no row");
	run_story(row_of_another_record, "tables", 1, "commits to");
	run_story(row_of_no_record, "tables", -1, "commits to");
	run_story(released_by_0, "tables", 1, "commits to");
	run_story(released_before_it_was, "control", 2, "is not there");
	run_story(approved_ahead, "control", 1, "come after it");
	run_story(one_person, "purges", 7, "different persons");
	run_story(too_low, "purges", 6, "different persons");
	run_story(none_named, "purges", 6, "different persons");
	run_story(not_asked_for, "purges", 6, "different persons");
	run_story(no_approve_record, "purges", 5, "different persons");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kept),
	    cmocka_unit_test(test_broken),
	};

	log_init("test_verify_holds", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
