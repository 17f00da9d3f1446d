#include "tests/unit/journal_fixture.h"

#include "compliance/clock.h"
#include "compliance/leaf.h"

#define S INT64_C(1000000)
#define START (INT64_C(1795335000) * S)

/* The clocks of the tests: they stand until somebody moves them. */
static struct {
	int64_t real, boot; /* microseconds */
	int64_t pause;      /* between two readings, the first times */
	unsigned pauses;
	struct timex timex;
	int state;
} fake;

static int
fake_gettime(clockid_t clock, struct timespec *out)
{
	int64_t us = clock == CLOCK_REALTIME ? fake.real : fake.boot;

	out->tv_sec = us / S;
	out->tv_nsec = us % S * 1000;
	if (fake.pauses > 0) {
		fake.pauses--;
		fake.real += fake.pause;
		fake.boot += fake.pause;
	}
	return 0;
}

static int
fake_adjtime(struct timex *t)
{
	*t = fake.timex;
	return fake.state;
}

static const struct clock_source fake_source = {fake_gettime, fake_adjtime};

static int
begin(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof fake);
	fake.real = START;
	fake.boot = 1000 * S;
	fake.timex.maxerror = 27500;
	fake.timex.tai = 37;
	clock_use(&fake_source);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	clock_use(NULL);
	return 0;
}

static void
pass(int64_t us)
{
	fake.real += us;
	fake.boot += us;
}

/* Reads a record; false when there is none. The leaf's text is copied. */
static bool
record(struct fixture *f, uint64_t seq, struct leaf *out)
{
	static uint8_t text[20000];
	struct scan_record r;
	char error[256];
	const char *why = "";
	struct scan *s = scan_open(f->path, false, error, sizeof error);
	bool there;

	assert_non_null(s);
	assert_int_equal(scan_seek(s, seq), 0);
	there = scan_next(s, &r) == 1;
	if (there) {
		memcpy(text, r.leaf.p, r.leaf.n);
		assert_true(leaf_parse(view_of(text, r.leaf.n), out, &why));
	}
	scan_close(s);
	return there;
}

static void
expect_fields(struct fixture *f, uint64_t seq, unsigned kind, const char *want)
{
	struct leaf l;

	assert_true(record(f, seq, &l));
	assert_int_equal(l.head.kind, kind);
	if (!view_is(l.fields, want))
		fail_msg("record %u: %.*s", (unsigned)seq, (int)l.fields.n,
		    (const char *)l.fields.p);
}

static void
expect_head(struct fixture *f, uint64_t seq, unsigned kind, int64_t at,
    int64_t boot, unsigned flags)
{
	struct leaf l;

	assert_true(record(f, seq, &l));
	assert_int_equal(l.head.kind, kind);
	assert_int_equal(l.head.at, at);
	assert_int_equal(l.head.boot, boot);
	assert_int_equal(l.head.flags, flags);
}

static void
clock_fields(char out[256], int64_t old, int64_t new)
{
	(void)snprintf(out, 256,
	    "old %lld\nnew %lld\nsync yes\nerror 27500\ntai 37\n",
	    (long long)old, (long long)new);
}

static void
a_step_is_recorded_first(void **state)
{
	const int64_t offset = START - 1000 * S;
	struct fixture f;
	char want[256];

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	pass(S);
	fake.real += 250000; /* no more than what may be */
	append_posts(&f, 1);
	pass(S);
	fake.real += 250001;
	append_posts(&f, 2);
	clock_fields(want, offset + 250000, offset + 500001);
	expect_fields(&f, 2, EVENT_CLOCK, want);
	expect_head(&f, 2, EVENT_CLOCK, START + 2 * S + 500001, 1002 * S, 0);
	expect_head(&f, 3, EVENT_POST, START + 2 * S + 500002, 1002 * S, 1);
	expect_head(&f, 4, EVENT_POST, START + 2 * S + 500003, 1002 * S, 1);
	check_all(&f, 5);
	end_fixture(&f);
}

static void
time_goes_on_when_the_clock_goes_back(void **state)
{
	const int64_t offset = START - 1000 * S;
	struct fixture f;
	char want[256];

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	pass(S);
	fake.real -= 3600 * S;
	append_posts(&f, 1);
	clock_fields(want, offset, offset - 3600 * S);
	expect_fields(&f, 1, EVENT_CLOCK, want);
	expect_head(&f, 1, EVENT_CLOCK, START + 1, 1001 * S, 1);
	expect_head(&f, 2, EVENT_POST, START + 2, 1001 * S, 1);
	/* Also when the keeper has not seen the step itself. */
	pass(S);
	append_posts(&f, 1);
	reopen(&f);
	append_posts(&f, 1);
	expect_head(&f, 4, EVENT_POST, START + 4, 1002 * S, 1);
	fake.real += 3600 * S;
	reopen(&f);
	append_posts(&f, 1);
	clock_fields(want, offset - 3600 * S, offset);
	expect_fields(&f, 5, EVENT_CLOCK, want);
	expect_head(&f, 6, EVENT_POST, START + 2 * S + 1, 1002 * S, 1);
	pass(2);
	append_posts(&f, 1);
	expect_head(&f, 7, EVENT_POST, START + 2 * S + 2, 1002 * S + 2, 0);
	check_all(&f, 8);
	end_fixture(&f);
}

/* Records that were held back tell no offset; one before them does. */
static void
a_reopened_journal_knows_the_offset(void **state)
{
	const int64_t offset = START - 1000 * S;
	struct fixture f;
	char want[256];

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	fake.real -= 200000; /* below the limit: held back only */
	append_posts(&f, 300);
	reopen(&f);
	append_posts(&f, 1);
	expect_head(&f, 301, EVENT_POST, START + 301, 1000 * S, 1);
	fake.real -= 50001;
	append_posts(&f, 1);
	clock_fields(want, offset, offset - 250001);
	expect_fields(&f, 302, EVENT_CLOCK, want);
	end_fixture(&f);
}

static void
another_start_of_the_machine(void **state)
{
	struct fixture f;
	struct leaf l;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	/* The record before becomes one of another boot. */
	assert_true(record(&f, 0, &l));
	journal_close(f.j);
	f.j = NULL;
	db = open_raw(&f);
	assert_int_equal(
	    db_exec(db,
		"DROP TRIGGER leaf_update; DROP TRIGGER head_update;"
		"UPDATE leaf SET bytes = CAST(replace(CAST(bytes AS TEXT),"
		" ' 1000000000 ', ' 9000000000 ') AS BLOB);"
		"UPDATE leaf SET bytes = CAST(substr(CAST(bytes AS TEXT), 1,"
		" instr(CAST(bytes AS TEXT), '9000000000') + 10) ||"
		" '00000000 0' || substr(CAST(bytes AS TEXT),"
		" instr(CAST(bytes AS TEXT), '9000000000') + 21) AS BLOB)"),
	    0);
	{
		sqlite3_stmt *s = db_prepare(db, "UPDATE head SET root = ?");
		sqlite3_stmt *q = db_prepare(db, "SELECT bytes FROM leaf");
		uint8_t root[32];

		assert_int_equal(sqlite3_step(q), SQLITE_ROW);
		tree_leaf_hash(sqlite3_column_blob(q, 0),
		    (size_t)sqlite3_column_bytes(q, 0), root);
		(void)sqlite3_bind_blob(s, 1, root, 32, SQLITE_STATIC);
		assert_int_equal(sqlite3_step(s), SQLITE_DONE);
		(void)sqlite3_finalize(s);
		(void)sqlite3_finalize(q);
	}
	db_close(db);
	reopen(&f);
	pass(S);
	append_posts(&f, 1);
	expect_head(&f, 1, EVENT_POST, START + S, 1001 * S, 0);
	end_fixture(&f);
}

/* Started anew with a clock that is behind: there is nothing to go by. */
static void
a_start_behind_the_record_before(void **state)
{
	struct fixture f;
	char want[256];

	(void)state;
	new_fixture(&f);
	fake.real = 0; /* the first record is held, so no offset is known */
	append_posts(&f, 1);
	clock_fields(want, -1000 * S, -1000 * S);
	expect_fields(&f, 0, EVENT_CLOCK, want);
	expect_head(&f, 1, EVENT_POST, 2, 1000 * S, 1);
	end_fixture(&f);
}

static void
a_preempted_reading_is_repeated(void **state)
{
	struct clock_reading r;

	(void)state;
	fake.pause = 400000;
	fake.pauses = 4; /* of three readings a time */
	clock_read(&r);
	assert_int_equal(r.real - r.boot, START - 1000 * S);
	/* When it never gets better, the best there was. */
	fake.pauses = 1000;
	clock_read(&r);
	assert_int_equal(r.real - r.boot, START - 1000 * S + 400000);
}

static void
expect_state(const char *want)
{
	struct buf b;

	buf_init(&b);
	clock_put_state(&b);
	assert_string_equal(buf_text(&b), want);
	buf_release(&b);
}

static void
what_the_kernel_says(void **state)
{
	(void)state;
	expect_state("sync yes\nerror 27500\ntai 37\n");
	fake.timex.status = STA_UNSYNC;
	expect_state("sync no\nerror 27500\ntai 37\n");
	fake.timex.status = 0;
	fake.state = TIME_ERROR;
	expect_state("sync no\nerror 27500\ntai 37\n");
	fake.state = -1;
	expect_state("sync no\nerror 0\ntai 0\n");
}

static void
beat(struct fixture *f, uint64_t queue, const char *want)
{
	struct buf b;

	buf_init(&b);
	journal_put_beat(f->j, 60, queue, &b);
	assert_string_equal(buf_text(&b), want);
	assert_int_equal(append_text(f, EVENT_BEAT, buf_text(&b), NULL), 0);
	buf_release(&b);
}

#define BEAT(events, queue)                                                    \
	"every 60\nevents " events "\nqueue " queue                            \
	"\nsync yes\nerror 27500\ntai 37\nanchor -\n"

static void
beats_count_events(void **state)
{
	struct fixture f;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 3);
	assert_int_equal(append_text(&f, EVENT_OPEN, "x 1\n", NULL), 0);
	append_posts(&f, 2);
	assert_int_equal(append_text(&f, EVENT_POLICY, "x 1\n", NULL), 0);
	append_posts(&f, 5);
	reopen(&f);
	beat(&f, 9, BEAT("7", "9"));
	reopen(&f);
	beat(&f, 0, BEAT("0", "0"));
	append_posts(&f, 4);
	fake.real += S;
	append_posts(&f, 1);
	assert_int_equal(journal_recover(f.j), 0);
	beat(&f, 0, BEAT("5", "0"));
	assert_int_equal(journal_last_at(f.j, EVENT_BEAT), START + S + 2);
	assert_int_equal(journal_last_at(f.j, EVENT_AUDIT), 0);
	end_fixture(&f);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
	    TEST(a_step_is_recorded_first),
	    TEST(time_goes_on_when_the_clock_goes_back),
	    TEST(a_reopened_journal_knows_the_offset),
	    TEST(another_start_of_the_machine),
	    TEST(a_start_behind_the_record_before),
	    TEST(a_preempted_reading_is_repeated),
	    TEST(what_the_kernel_says),
	    TEST(beats_count_events),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
