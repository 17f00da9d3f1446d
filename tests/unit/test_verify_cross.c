/* Which archives cover what a journal purged: three batches, one purge. */

#include "tests/unit/verify_story.h"

#define BATCHES 3
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddee"

/* What is given of each batch's archive. */
enum given { WELL, NOT_GIVEN, NOT_WHOLE, NOT_HELD, OTHER_FILE, LONGER };

static const struct {
	uint64_t first, last;
} batch[BATCHES] = {{0, 2}, {3, 5}, {6, 7}};

static void
story(struct fix *f)
{
	fix_open(f);
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	while (f->n < 8)
		fix_post(f, "word");
	for (unsigned i = 0; i < BATCHES; i++)
		fix_batch(f, "records", i + 1, batch[i].first, batch[i].last);
	for (unsigned i = 0; i < BATCHES; i++) {
		char sha[80];

		snprintf(sha, sizeof(sha), HASH "%02x", i);
		fix_ack(f, "records", i + 1, batch[i].first, batch[i].last, "l",
		    sha, 9);
	}
	fix_purge(f, 1, 0, 7, "records:13");
	f->note_size = f->n;
}

static void
put_archive(struct verify_archive *a, unsigned i, enum given given)
{
	static char path[] = "archive";
	char hex[80];

	memset(a, 0, sizeof(*a));
	snprintf(
	    hex, sizeof(hex), HASH "%02x", given == OTHER_FILE ? 0xffU : i);
	assert_true(text_get_hex(view_text(hex), a->sha256, 32));
	a->path = path;
	snprintf(a->origin, sizeof(a->origin), "%s", FIX_ORIGIN);
	snprintf(a->adapter, sizeof(a->adapter), "records");
	a->batch = i + 1;
	a->first = batch[i].first;
	a->last = batch[i].last;
	a->bytes = given == LONGER ? 10 : 9;
	a->holds = given != NOT_HELD;
	a->whole = given != NOT_WHOLE;
}

/* first -1: all is covered; acks: an archive is another file. */
static void
judge(const char *path, const char *vkey, const enum given given[BATCHES],
    int64_t first, int64_t last, bool acks)
{
	struct verify_report *r = verify_report_new();
	struct verify_archive archive[BATCHES];
	struct verify_journal j;
	struct verify_key key;
	const char *why;
	struct buf text;
	size_t n = 0;
	json_t *o;

	/* The newest first: their order does not matter. */
	for (unsigned i = BATCHES; i-- > 0;)
		if (given[i] != NOT_GIVEN)
			put_archive(&archive[n++], i, given[i]);
	assert_true(verify_key_parse(view_text(vkey), &key, &why));
	verify_journal_run(
	    &(const struct verify_group){&path, 1, true}, &key, NULL, 0, r, &j);
	verify_cross(&j, archive, n, r);
	verify_journal_release(&j);
	buf_init(&text);
	assert_true(verify_report_json(r, &text));
	o = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(o);
	for (int64_t seq = 0; seq < 8; seq++)
		if (run_found(o, "coverage", seq, "none of the archives") !=
		    (seq >= first && seq <= last)) {
			run_print(o);
			fail_msg("record %d", (int)seq);
		}
	assert_int_equal(run_status(o), first >= 0 || acks);
	assert_int_equal(run_found(o, "acks", -1, "is not the file"), acks);
	json_decref(o);
	buf_release(&text);
	verify_report_free(r);
}

static void
test_cover(void **state)
{
	static const struct {
		enum given given[BATCHES];
		int64_t first, last; /* in none */
		bool acks;           /* one is another file */
	} cases[] = {
	    {{WELL, WELL, WELL}, -1, -1, false},
	    {{NOT_GIVEN, WELL, WELL}, 0, 2, false},
	    {{WELL, NOT_GIVEN, WELL}, 3, 5, false},
	    {{WELL, WELL, NOT_GIVEN}, 6, 7, false},
	    {{NOT_GIVEN, NOT_GIVEN, WELL}, 0, 5, false},
	    {{WELL, NOT_WHOLE, WELL}, 3, 5, false},
	    {{WELL, NOT_HELD, WELL}, 3, 5, false},
	    {{WELL, OTHER_FILE, WELL}, 3, 5, true},
	    {{WELL, LONGER, WELL}, 3, 5, true},
	    {{NOT_GIVEN, NOT_GIVEN, NOT_GIVEN}, 0, 7, false},
	};
	char folder[] = "/tmp/verify.XXXXXX", path[64];
	struct fix f;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/story.db", folder);
	fix_init(&f, 7);
	story(&f);
	fix_write(&f, path);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		judge(path, f.vkey, cases[i].given, cases[i].first,
		    cases[i].last, cases[i].acks);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
