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
purge_of_no_policy(struct fix *f)
{
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 1);
	fix_ack(f, "records", 1, 0, 1, "l", sha, 1);
	fix_purge(f, 1, 0, 1, "records:3");
}

/* Of one record: "1" is what it should say. */
static void
purge_of_one_to_itself(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	fix_purge(f, 1, 2, 2, "records:4");
}

static void
purge_of_no_numbers(struct fix *f)
{
	static const char *const numbers[] = {"held x\nhold -\napprovals -\n"
					      "anchor -\npolicy 0\n",
	    "held 0\nhold -\napprovals -\nanchor -\npolicy x\n"};

	for (size_t i = 0; i < 2; i++)
		fix_control(f, 131,
		    "purge 1\nfirst 0\nlast 0\ncount 0\nranges 0\nleaves %s"
		    "\nacks -\n%s",
		    sha, numbers[i]);
	fix_control(f, 131,
	    "purge 1\nfirst 0\nlast 0\ncount 0\nranges 0\nleaves 00\n"
	    "acks -\nheld 0\nhold -\napprovals -\nanchor -\npolicy 0\n");
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

/* Each word of an acknowledgement, after two that are right. */
static void
acks_malformed(struct fix *f)
{
	static const char *const words[] = {
	    "first 1\nlast 1\nstate stored\nlocation l\nsha256 %s\nbytes 1\n"
	    "readback yes\n",
	    "first 0\nlast 0\nstate stored\nlocation l\nsha256 %s\nbytes 1\n"
	    "readback yes\n",
	    "first 0\nlast 1\nstate kept\nlocation l\nsha256 %s\nbytes 1\n"
	    "readback yes\n",
	    "first 0\nlast 1\nstate stored\nlocation l\nsha256 %s\nbytes 1\n"
	    "readback ok\n",
	    "first 0\nlast 1\nstate stored\nlocation l\nsha256 %.63s\nbytes 1\n"
	    "readback yes\n",
	};

	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 1);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct buf b;

		buf_init(&b);
		buf_printf(&b, "adapter records\nbatch 1\n%s", words[i]);
		fix_control(f, 130, buf_text(&b), sha);
		buf_release(&b);
	}
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
ack_twice(struct fix *f)
{
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 1);
	fix_ack(f, "records", 1, 0, 1, "l", sha, 1);
	fix_control(f, 130,
	    "adapter records\nbatch 1\nfirst 0\nlast 1\nstate stored\n"
	    "location l\nsha256 -\nbytes 0\nreadback no\n");
}

static void
batch_of_numbers(
    struct fix *f, unsigned first, unsigned last, unsigned count, unsigned size)
{
	uint8_t root[32];
	struct buf b;

	fix_post(f, "a");
	fix_post(f, "b");
	fix_mth(f, 0, size < f->n ? size : f->n, root);
	buf_init(&b);
	text_put_base64(&b, root, sizeof(root));
	fix_control(f, 129,
	    "adapter records\nbatch 1\nfirst %u\nlast %u\ncount %u\n"
	    "size %u\nroot %s\n",
	    first, last, count, size, buf_text(&b));
	buf_printf(&f->sql, "INSERT INTO batch VALUES('records',1,%u,%u,3);",
	    first, last);
	buf_release(&b);
}

static void
batch_of_more_than_its_tree(struct fix *f)
{
	batch_of_numbers(f, 0, 2, 3, 2);
}

static void
batch_of_itself(struct fix *f)
{
	batch_of_numbers(f, 0, 2, 3, 4);
}

static void
batch_miscounted(struct fix *f)
{
	batch_of_numbers(f, 0, 1, 3, 3);
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

/* Record 0 once more, under these names. */
static void
begin_anew(struct fix *f, const char *origin, const char *vkey)
{
	free(f->rec[0].leaf);
	f->n = 0;
	fix_control(f, 128,
	    "journal " FIX_UUID "\norigin %s\nvkey %s\nnext " FIX_NEXT
	    "\nsoftware chancery/0.1\nsegment 0\nnote -\n",
	    origin, vkey);
}

static void
origin_of_another(struct fix *f)
{
	begin_anew(f, "example.test/journal/0a1b2c3e", f->vkey);
}

static void
key_of_another(struct fix *f)
{
	begin_anew(f, "example.org/journal/0a1b2c3d", f->vkey);
}

/* Records 0-255 and the first of a second file. */
static void
second_file(struct fix *f, const char *vkey, const char *next)
{
	while (f->n < 255)
		fix_beat(f);
	fix_control(f, 136, "segment 0\nfirst 0\ncount 256\n");
	fix_control(f, 128,
	    "journal " FIX_UUID "\norigin %s\nvkey %s\nnext %s"
	    "\nsoftware chancery/0.1\nsegment 1\nnote %s\n",
	    f->origin, vkey, next, sha);
}

static void
second_file_of_another_key(struct fix *f)
{
	struct fix other;

	fix_init(&other, 9);
	second_file(f, other.vkey, FIX_NEXT);
	fix_free(&other);
}

static void
second_file_of_another_next(struct fix *f)
{
	second_file(f, f->vkey, sha);
}

static void
purge_over_the_end(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	second_file(f, f->vkey, FIX_NEXT);
	fix_batch(f, "records", 1, 0, 256);
	fix_ack(f, "records", 1, 0, 256, "l", sha, 1);
	fix_purge(f, 1, 250, 256, "records:258");
}

static void
policy_of_no_names(struct fix *f)
{
	fix_control(f, 134, "required records,\nafter 0\n" POLICY_REST);
	fix_control(f, 134, "required Records\nafter 0\n" POLICY_REST);
}

static void
failed_at_a_time(struct fix *f)
{
	fix_control(f, 141,
	    "what witness\nname w\nstate failed\nsize 1\ntime 5\n"
	    "sha256 -\n");
}

static void
failed_of_more(struct fix *f)
{
	fix_control(f, 141,
	    "what witness\nname w\nstate failed\nsize 2\ntime 0\n"
	    "sha256 -\n");
}

static void
without_id(struct fix *f)
{
	fix_event(f, 2, "{\"v\":1,\"type\":\"leave\"}", NULL);
}

static void
another_id(struct fix *f)
{
	fix_event(
	    f, 2, "{\"v\":1,\"type\":\"leave\",\"id\":\"0a0b0c0d-01\"}", NULL);
}

static void
content_of_version_2(struct fix *f)
{
	fix_event(f, 3, "{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-1\"}",
	    "{\"v\":2,\"text\":\"a\"}");
}

/* Who reads the escapes takes it for a join, or for another event. */
static void
type_in_disguise(struct fix *f)
{
	fix_event(f, 2,
	    "{\"v\":1,\"type\":\"leave\",\"id\":\"0a0b0c0d-1\","
	    "\"t\\u0079pe\":\"join\"}",
	    NULL);
}

static void
other_names_with_escapes(struct fix *f)
{
	fix_event(f, 2,
	    "{\"v\":1,\"type\":\"leave\",\"id\":\"0a0b0c0d-1\","
	    "\"x\":[{\"\\n\":4}]}",
	    NULL);
}

static void
version_twice(struct fix *f)
{
	fix_event(f, 2,
	    "{\"v\":2,\"type\":\"leave\",\"id\":\"0a0b0c0d-1\",\"v\":1}", NULL);
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

static void
seal(struct fix *f, unsigned records, const char *fields)
{
	while (f->n < records - 1)
		fix_beat(f);
	fix_control(f, 136, "%s", fields);
}

static void
seal_of_no_file(struct fix *f)
{
	seal(f, 256, "segment 1\nfirst 0\ncount 256\n");
}

static void
seal_from_elsewhere(struct fix *f)
{
	seal(f, 256, "segment 0\nfirst 1\ncount 255\n");
}

static void
seal_miscounted(struct fix *f)
{
	seal(f, 256, "segment 0\nfirst 0\ncount 255\n");
}

static void
seal_too_early(struct fix *f)
{
	seal(f, 255, "segment 0\nfirst 0\ncount 255\n");
}

static void
seal_twice(struct fix *f)
{
	seal(f, 256, "segment 0\nfirst 0\ncount 256\n");
	seal(f, 512, "segment 0\nfirst 0\ncount 512\n");
}

static void
key_before_all(struct fix *f)
{
	free(f->rec[0].leaf);
	f->n = 0;
	fix_control(f, 135,
	    "epoch 1\nvkey %s\nnext " FIX_NEXT "\nreason daily\nclean yes\n",
	    f->vkey);
}

static void
hold_of_no_selector(struct fix *f)
{
	fix_control(f, 138, "hold 1\nmatter m\nselector eA==\nby uid:4\n");
}

/* Each field of a policy has its own form. */
static void
policies_malformed(struct fix *f)
{
	static const char *const rest[] = {
	    "approvals 3\nquorum 0\nwitnesses -\nstamp no\nclasses -\n",
	    "approvals 0\nquorum x\nwitnesses -\nstamp no\nclasses -\n",
	    "approvals 0\nquorum 0\nwitnesses w\nstamp no\nclasses -\n",
	    "approvals 0\nquorum 0\nwitnesses -\nstamp on\nclasses -\n",
	    "approvals 0\nquorum 0\nwitnesses -\nstamp no\nclasses 00\n",
	};

	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		fix_control(f, 134, "required records\nafter 0\n%s", rest[i]);
	fix_control(f, 134, "required records\nafter -2\n" POLICY_REST);
}

static void
payload_below_all(struct fix *f)
{
	buf_put_text(
	    &f->sql, "INSERT INTO body VALUES(-1, zeroblob(32), x'7b7d');");
}

static void
tile_cut_short(struct fix *f)
{
	while (f->n < 256)
		fix_beat(f);
	buf_put_text(&f->sql, "UPDATE tile SET data=zeroblob(8160);");
}

/* Of neither text nor tile nobody knows the hash: no root can be made. */
static void
record_of_no_tile(struct fix *f)
{
	fix_post(f, "a");
	fix_post(f, "b");
	f->stored[f->stored_count++] = f->n;
	fix_post(f, "c");
	buf_put_text(&f->sql, "DELETE FROM leaf WHERE seq=1;");
}

/* Of what is stored nowhere, and of what did not come. */
static void
anchors_of_nothing(struct fix *f)
{
	fix_control(f, 141,
	    "what syslog\nname s\nstate ok\nsize 1\ntime 5\nsha256 -\n");
	fix_control(f, 141,
	    "what witness\nname w\nstate failed\nsize 1\ntime 0\n"
	    "sha256 -\n");
}

/* By adapters that keep nothing. */
static void
acks_of_less(struct fix *f)
{
	static const char *const states[] = {"sent", "accepted"};

	for (unsigned i = 0; i < 2; i++) {
		fix_batch(f, states[i], 1, 0, 0);
		fix_control(f, 130,
		    "adapter %s\nbatch 1\nfirst 0\nlast 0\nstate %s\n"
		    "location l\nsha256 -\nbytes 1\nreadback no\n",
		    states[i], states[i]);
		buf_printf(&f->sql,
		    "INSERT INTO ack VALUES('%s',1,'%s',%" PRIu64 ");",
		    states[i], states[i], f->n - 1);
	}
}

/* The same kind of story without a breach. */
static void
test_rule_kept(void **in)
{
	(void)in;
	run_story(purge_sound, NULL, -1, NULL);
	run_story(anchors_of_nothing, NULL, -1, NULL);
	run_story(acks_of_less, NULL, -1, NULL);
}

static void
test_stories(void **in)
{
	(void)in;
	run_story(purge_unacked, "purges", 6, "adapter xml had not");
	run_story(purge_beyond, "purges", 6, "had not stored");
	run_story(purge_of_no_policy, "purges", 4, "no adapter was required");
	run_story(purge_of_one_to_itself, "purges", 5, "malformed");
	for (int64_t i = 1; i <= 3; i++)
		run_story(purge_of_no_numbers, "control", i, "malformed");
	run_story(purge_never, "purges", 5, "never to purge");
	run_story(purge_early, "purges", 5, "3600 s");
	run_story(purge_wrong_ack, "purges", 5, "youngest");
	run_story(purge_old_ack, "purges", 8, "youngest");
	run_story(purge_more_acks, "purges", 7, "youngest");
	run_story(purge_too_many, "purges", 10004, "over more than 10000");
	run_story(ack_before, "control", 4, "before the one before");
	for (int64_t i = 3; i <= 7; i++)
		run_story(acks_malformed, "control", i, NULL);
	run_story(adapter_named, "control", 2, "malformed");
	run_story(beat_field, "syntax", 1, "another field");
	run_story(meta_row, "tables", -1, "meta");
	run_story(purge_twice, "purges", 6, "overlaps");
	run_story(purge_miscounted, "purges", 5, "hold 1");
	run_story(purge_miscounted, "purges", 5, "digest");
	run_story(ack_twice, "control", 4, "is acknowledged twice");
	run_story(batch_of_more_than_its_tree, "control", 3, "the tree it");
	run_story(batch_of_itself, "control", 3, "the tree it names");
	run_story(batch_miscounted, "control", 3, "count is not that of");
	run_story(ack_unknown, "control", 1, "was not cut");
	run_story(batch_gap, "control", 3, "does not begin");
	run_story(batch_root, "roots", 2, "this batch record");
	run_story(second_open, "control", 1, "not the first");
	run_story(origin_of_another, "control", 0, "not a name of this");
	run_story(key_of_another, "control", 0, "not that of the key");
	run_story(second_file_of_another_key, "control", 256, "record 0");
	run_story(second_file_of_another_next, "control", 256, "record 0");
	run_story(purge_over_the_end, "purges", 259, "end of a file");
	run_story(policy_of_no_names, "control", 1, "malformed");
	run_story(policy_of_no_names, "control", 2, "malformed");
	run_story(failed_at_a_time, "control", 1, "malformed");
	run_story(failed_of_more, "anchors", 1, "covers itself");
	run_story(without_id, "payloads", 1, "no id");
	run_story(another_id, "payloads", 1, "another form");
	run_story(content_of_version_2, "payloads", 1, "version 1");
	run_story(wrong_type, "payloads", 1, "type");
	run_story(type_in_disguise, "payloads", 1, "escape in the name");
	run_story(
	    other_names_with_escapes, "payloads", 1, "escape in the name");
	run_story(version_twice, "payloads", 1, "given twice");
	run_story(not_json, "payloads", 1, "JSON");
	run_story(time_back, "time", 2, "not after");
	run_story(time_held, "time", 1, "held back");
	run_story(seal_of_no_file, "control", 255, "seal does not end");
	run_story(seal_from_elsewhere, "control", 255, "seal does not end");
	run_story(seal_miscounted, "control", 255, "seal does not end");
	run_story(seal_too_early, "control", 254, "seal does not end");
	run_story(seal_twice, "control", 511, "seal does not end");
	run_story(key_before_all, "epochs", 0, "without an open record");
	run_story(hold_of_no_selector, "control", 1, "malformed");
	for (int64_t i = 1; i <= 6; i++)
		run_story(policies_malformed, "control", i, "malformed");
	run_story(payload_below_all, "completeness", -1, "payload row -1");
	run_story(tile_cut_short, "tiles", 0, "tile 0/0 is not of 8192 bytes");
	run_story(record_of_no_tile, "roots", -1,
	    "the root that the stored checkpoint states for size 3 cannot be");
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
