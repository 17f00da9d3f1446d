/* Journals, sound in form and signature, whose records break the rules. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_story.h"

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void
purge_unacked(struct fix *f)
{
	fix_control(f, 134, "required records,xml\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_batch(f, "xml", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:5");
}

static void
purge_beyond(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_post(f, "b");
	fix_purge(f, 1, 0, 5, "records:4");
}

static void
purge_never(struct fix *f)
{
	fix_control(f, 134, "required records\nafter -1\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:4");
}

static void
purge_early(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 3600\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:4");
}

static void
purge_wrong_ack(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:3");
}

static void
purge_old_ack(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_post(f, "b");
	fix_batch(f, "records", 2, 3, 5);
	fix_ack(f, "records", 2, 3, 5, "l", sha, 1);
	fix_purge(f, 1, 0, 5, "records:4");
}

static void
purge_more_acks(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_batch(f, "xml", 1, 0, 2);
	fix_ack(f, "xml", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:4,xml:6");
}

static void
purge_too_many(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	for (unsigned i = 0; i < 10000; i++)
		fix_beat(f);
	fix_batch(f, "records", 1, 0, 10001);
	fix_ack(f, "records", 1, 0, 10001, "l", sha, 1);
	fix_purge(f, 1, 0, 10000, "records:10003");
}

static void
ack_before(struct fix *f)
{
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 1);
	fix_batch(f, "records", 2, 2, 2);
	fix_ack(f, "records", 2, 2, 2, "l", sha, 1);
}

static void
adapter_named(struct fix *f)
{
	fix_post(f, "a");
	fix_batch(f, "Records", 1, 0, 1);
}

static void
beat_field(struct fix *f)
{
	fix_control(f, 133, "every 60\nmembers 0\n");
}

static void
meta_row(struct fix *f)
{
	buf_put_text(&f->sql, "INSERT INTO meta VALUES('more','x');");
}

static void
purge_twice(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 0, 2, "records:4");
	fix_purge(f, 2, 1, 2, "records:4");
}

static void
purge_miscounted(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	f->rec[2].purged = true;
	fix_control(f, 131,
	    "purge 1\nfirst 0\nlast 2\ncount 2\nranges 0-2\nleaves %s\n"
	    "acks records:4\nheld 0\nhold -\napprovals -\nanchor -\npolicy 1\n",
	    sha);
	buf_put_text(&f->sql, "INSERT INTO purge_range VALUES(0,2,1,5);");
}

static void
ack_unknown(struct fix *f)
{
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
}

static void
batch_gap(struct fix *f)
{
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 0);
	fix_batch(f, "records", 2, 2, 2);
}

static void
batch_root(struct fix *f)
{
	fix_post(f, "a");
	fix_control(f, 129,
	    "adapter records\nbatch 1\nfirst 0\nlast 1\ncount 2\nsize 2\n"
	    "root AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
	buf_put_text(&f->sql, "INSERT INTO batch VALUES('records',1,0,1,2);");
}

static void
second_open(struct fix *f)
{
	fix_open(f);
}

static void
time_back(struct fix *f)
{
	struct buf b;

	fix_post(f, "a");
	buf_init(&b);
	fix_head(f, 142, &b);
	f->rec[f->n].at = f->rec[1].at;
	buf_clear(&b);
	buf_printf(&b,
	    "leaf/1 2 142\nt %" PRIu64 " 1005000 01234abc 0\n"
	    "since 1\nuntil 2\ncount 3\n",
	    f->rec[1].at);
	fix_seal(f, &b);
}

static void
time_held(struct fix *f)
{
	struct buf b;

	buf_init(&b);
	fix_head(f, 142, &b);
	buf_clear(&b);
	buf_printf(&b,
	    "leaf/1 1 142\nt %" PRIu64 " 0 01234abc 1\n"
	    "since 1\nuntil 2\ncount 3\n",
	    f->rec[1].at);
	fix_seal(f, &b);
}

static void
wrong_type(struct fix *f)
{
	fix_event(f, 2, "{\"v\":1,\"type\":\"join\",\"id\":\"x-1\"}", NULL);
}

static void
not_json(struct fix *f)
{
	fix_event(f, 2, "{\"v\":1,\"type\":\"leave\",\"id\":\"x-1\",}", NULL);
}

static void
purge_sound(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 1\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_post(f, "b");
	fix_purge(f, 1, 0, 2, "records:4");
}

/* The same kind of story without a breach. */
static void
test_rule_kept(void **in)
{
	(void)in;
	run_story(purge_sound, NULL, -1, NULL);
}

static void
test_stories(void **in)
{
	(void)in;
	run_story(purge_unacked, "purges", 6, "adapter xml had not");
	run_story(purge_beyond, "purges", 6, "had not stored");
	run_story(purge_never, "purges", 5, "never to purge");
	run_story(purge_early, "purges", 5, "3600 s");
	run_story(purge_wrong_ack, "purges", 5, "youngest");
	run_story(purge_old_ack, "purges", 8, "youngest");
	run_story(purge_more_acks, "purges", 7, "youngest");
	run_story(purge_too_many, "purges", 10004, "over more than 10000");
	run_story(ack_before, "control", 4, "before the one before");
	run_story(adapter_named, "control", 2, "malformed");
	run_story(beat_field, "syntax", 1, "another field");
	run_story(meta_row, "tables", -1, "meta");
	run_story(purge_twice, "purges", 6, "overlaps");
	run_story(purge_miscounted, "purges", 5, "hold 1");
	run_story(purge_miscounted, "purges", 5, "digest");
	run_story(ack_unknown, "control", 1, "was not cut");
	run_story(batch_gap, "control", 3, "does not begin");
	run_story(batch_root, "roots", 2, "this batch record");
	run_story(second_open, "control", 1, "not the first");
	run_story(wrong_type, "payloads", 1, "type");
	run_story(not_json, "payloads", 1, "JSON");
	run_story(time_back, "time", 2, "not after");
	run_story(time_held, "time", 1, "held back");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rule_kept),
	    cmocka_unit_test(test_stories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
