#include "tests/unit/journal_fixture.h"

#include "compliance/batch.h"

/*
 * The first line of a batch with each allocation failing once: it is whole,
 * or it is known that it is not. An archive that lacks some of it would be
 * acknowledged, and its records purged. The same of where an adapter goes on:
 * a batch that it has acknowledged must not come again, and become another
 * archive of the same name.
 */

static unsigned fail_at, seen;
static sqlite3_mem_methods real;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *
__wrap_realloc(void *p, size_t n)
{
	return ++seen == fail_at ? NULL : __real_realloc(p, n);
}

static void *
sqlite_malloc(int n)
{
	return ++seen == fail_at ? NULL : real.xMalloc(n);
}

static int
put_begin(struct scan *s, struct buf *out)
{
	struct batch batch = {.n = 1, .first = 1, .last = 3};
	char why[256];

	buf_init(out);
	return batch_put_begin(out, s, &batch, "records", why, sizeof why);
}

static void
each_allocation_fails_once(void **state)
{
	struct fixture f;
	struct buf whole, out;
	char fields[512], why[256];
	struct scan *s;
	unsigned total;

	(void)state;
	new_fixture(&f);
	(void)snprintf(fields, sizeof fields,
	    "journal %s\norigin %s\nvkey %s\nnext %064d\nsoftware test/0\n"
	    "segment 0\nnote -\n",
	    UUID, ORIGIN, f.vkey, 0);
	assert_int_equal(append_text(&f, EVENT_OPEN, fields, NULL), 0);
	append_posts(&f, 5);
	sign_head(&f, true);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	seen = 0;
	assert_int_equal(put_begin(s, &whole), 0);
	assert_false(whole.failed);
	total = seen;
	assert_in_range(total, 4, 1000);
	for (unsigned n = 1; n <= total; n++) {
		seen = 0;
		fail_at = n;
		if (put_begin(s, &out) == 0 && !out.failed) {
			assert_int_equal(out.len, whole.len);
			assert_memory_equal(out.data, whole.data, out.len);
		}
		fail_at = 0;
		buf_release(&out);
	}
	buf_release(&whole);
	scan_close(s);
	end_fixture(&f);
}

static void
a_cursor_is_right_or_none(void **state)
{
	struct scan_cursor is, want;
	struct fixture f;
	char why[256];
	struct scan *s;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 5);
	assert_int_equal(append_batch(&f, "records", 1, 0, 4), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 4, "stored"), 0);
	assert_int_equal(append_batch(&f, "records", 2, 5, 6), 0);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_cursor(s, "records", &want), 0);
	assert_int_equal(want.acked_n, 1);
	assert_int_equal(want.open_n, 2);
	for (unsigned n = 1; seen >= fail_at; n++) {
		assert_in_range(n, 1, 1000);
		seen = 0;
		fail_at = n;
		if (scan_cursor(s, "records", &is) == 0)
			assert_memory_equal(&is, &want, sizeof is);
	}
	fail_at = 0;
	scan_close(s);
	end_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_allocation_fails_once),
	    cmocka_unit_test(a_cursor_is_right_or_none),
	};
	sqlite3_mem_methods mem;

	assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real), 0);
	mem = real;
	mem.xMalloc = sqlite_malloc;
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &mem), 0);
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), 0);
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
