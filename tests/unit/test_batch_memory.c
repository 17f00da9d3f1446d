#include "tests/unit/journal_fixture.h"

#include "compliance/batch.h"

/*
 * The first line of a batch with each allocation failing once: it is whole,
 * or it is known that it is not. An archive that lacks some of it would be
 * acknowledged, and its records purged.
 */

static unsigned fail_at, seen;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *
__wrap_realloc(void *p, size_t n)
{
	return ++seen == fail_at ? NULL : __real_realloc(p, n);
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
	assert_in_range(total, 4, 100);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_allocation_fails_once),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
