/* Purge records that are sound but for a word or two. */

#include "tests/unit/verify_story.h"

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#define PURGE 8

struct edit {
	uint64_t seq;
	const char *from, *to;
};

struct breach {
	const char *finding;
	struct edit edit[2];
};

static const struct breach *breach;

/* The last record as if it had been written so. */
static void
rewrite(struct fix *f)
{
	struct fix_record *r = &f->rec[f->n - 1];

	for (size_t i = 0; breach != NULL && i < 2; i++) {
		const struct edit *e = &breach->edit[i];
		const char *at;
		struct buf b;

		if (e->from == NULL || e->seq != f->n - 1)
			continue;
		at = strstr(r->leaf, e->from);
		assert_non_null(at);
		buf_init(&b);
		buf_put_u8(&b, 0);
		buf_printf(&b, "%.*s%s%s", (int)(at - r->leaf), r->leaf, e->to,
		    at + strlen(e->from));
		crypto_sha256(b.data, b.len, r->hash);
		free(r->leaf);
		r->leaf = view_dup(view_of(b.data + 1, b.len - 1));
		assert_non_null(r->leaf);
		buf_release(&b);
	}
}

/* 3 and 4 are purged, with one approval that nobody asked for. */
static void
story(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	rewrite(f);
	fix_post(f, "a");
	fix_post(f, "b");
	fix_control(f, 145, "below 5\nby uid:4\n");
	fix_batch(f, "records", 1, 0, 4);
	fix_ack(f, "records", 1, 0, 4, "l", sha, 1);
	assert_int_equal(f->n, PURGE);
	fix_purge(f, 1, 3, 4, "records:7");
	rewrite(f);
}

static void
acknowledged_afterwards(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_purge(f, 1, 0, 2, "records:5");
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
}

static void
test_words(void **state)
{
	static const char malformed[] = "purge ranges are malformed";
	static const char approvals[] = "does not name approvals of";
	static const char youngest[] = "the youngest acknowledgement";
	static const struct breach breaches[] = {
	    {"names another policy", {{PURGE, "policy 2", "policy 1"}}},
	    {"number 2 is not the next", {{PURGE, "purge 1", "purge 2"}}},
	    {malformed, {{PURGE, "ranges 3-4", "ranges 3,4"}}},
	    {malformed, {{PURGE, "ranges 3-4", "ranges 4,3"}}},
	    {malformed, {{PURGE, "ranges 3-4", "ranges 3"}}},
	    {malformed, {{PURGE, "ranges 3-4", "ranges 4"}}},
	    {malformed, {{PURGE, "ranges 3-4", "ranges 3-4,"}}},
	    {malformed,
		{{PURGE, "last 4\ncount 2\nranges 3-4",
		    "last 8\ncount 2\nranges 3-8"}}},
	    {"while no adapter was required",
		{{2, "required records", "required -"}}},
	    {"while the policy was never", {{2, "after 0", "after -1"}}},
	    {youngest, {{PURGE, "acks records:7", "acks -"}}},
	    {youngest, {{PURGE, "acks records:7", "acks records:6"}}},
	    {"the newest hold or release", {{PURGE, "hold -", "hold 5"}}},
	    {approvals, {{PURGE, "approvals -", "approvals 5"}}},
	    {approvals, {{2, "approvals 0", "approvals 1"}}},
	    {approvals,
		{{2, "approvals 0", "approvals 2"},
		    {PURGE, "approvals -", "approvals 5"}}},
	    {approvals,
		{{2, "approvals 0", "approvals 2"},
		    {PURGE, "approvals -", "approvals 5,5"}}},
	    {"says that a hold kept 1 events, and none was",
		{{PURGE, "held 0", "held 1"}}},
	    {"names an anchor that no policy",
		{{PURGE, "anchor -", "anchor 8"}}},
	    {"no checkpoint that covers", {{2, "stamp no", "stamp yes"}}},
	    {"without a time-stamp",
		{{2, "stamp no", "stamp yes"},
		    {PURGE, "anchor -", "anchor 8"}}},
	    {"no checkpoint that covers",
		{{2, "stamp no", "stamp yes"},
		    {PURGE, "anchor -", "anchor 7"}}},
	    {"no checkpoint that covers",
		{{2, "stamp no", "stamp yes"},
		    {PURGE, "anchor -", "anchor 9"}}},
	    {"0 of 1 witnesses",
		{{2, "quorum 0", "quorum 1"}, {PURGE, "anchor -", "anchor 8"}}},
	};
	static const struct breach allowed = {NULL,
	    {{2, "approvals 0", "approvals 1"},
		{PURGE, "approvals -", "approvals 5"}}};

	(void)state;
	breach = NULL;
	run_story(story, NULL, -1, NULL);
	breach = &allowed;
	run_story(story, NULL, -1, NULL);
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
		breach = &breaches[i];
		run_story(story, "purges", PURGE, breach->finding);
	}
}

/* Posts are kept for ten years; of that the journal has but a hash. */
static void
early_for_its_class(void **state)
{
	static const struct breach law = {NULL,
	    {{2, "classes -",
		"classes a80c42c7a7e7c409fc6aa6af68bf1fe5"
		"4254ba49b0c461b0a7070c0a70be75d9"}}};

	(void)state;
	breach = &law;
	run_story(story, NULL, -1, NULL);
	breach = NULL;
}

/* Where only the policy's `after` may say never. */
static void
below_nothing(void **state)
{
	static const struct breach below[] = {
	    {NULL, {{PURGE, "hold -", "hold -1"}}},
	    {NULL, {{PURGE, "anchor -", "anchor -1"}}},
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		breach = &below[i];
		run_story(story, "control", PURGE, "value malformed");
	}
	breach = NULL;
}

static void
test_order(void **state)
{
	(void)state;
	run_story(acknowledged_afterwards, "purges", 4, "had not stored");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(below_nothing),
	    cmocka_unit_test(early_for_its_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
