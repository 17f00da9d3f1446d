#include "tests/unit/roll_story.h"
#include "tests/unit/verify_once.h"

/*
 * The end of a file with each allocation failing once, the journal's own and
 * SQLite's. CHANCERY_STRIDE=1 takes them all, the suite some.
 */

#define USUAL 4999 /* allocations from one that the suite takes to the next */

static struct {
	unsigned seen, fail_at;
	bool armed;
} memory;
static sqlite3_mem_methods real;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t count, size_t n);
void *__wrap_reallocarray(void *p, size_t count, size_t n);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

static bool
fails(void)
{
	return memory.armed && ++memory.seen == memory.fail_at;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t count, size_t n)
{
	return fails() ? NULL : __real_calloc(count, n);
}

void *
__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *
__wrap_reallocarray(void *p, size_t count, size_t n)
{
	return fails() ? NULL : __real_reallocarray(p, count, n);
}

char *
__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static void *
sqlite_malloc(int n)
{
	return fails() ? NULL : real.xMalloc(n);
}

static void *
sqlite_realloc(void *p, int n)
{
	return fails() ? NULL : real.xRealloc(p, n);
}

static void
pause_failing(bool yes)
{
	memory.armed = !yes;
}

/* The story with the n-th allocation failing; how many it had. */
static unsigned
tell(unsigned n)
{
	struct fixture f;
	struct roll told;
	char when[64];
	bool over;

	(void)snprintf(when, sizeof when, "allocation %u", n);
	roll_begin(&f, &told);
	memory.seen = 0;
	memory.fail_at = n;
	memory.armed = true;
	roll_hooks.pause = pause_failing;
	over = roll_go_on(&f, &told);
	roll_hooks.pause = NULL;
	memory.armed = false;
	if (!over)
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	roll_check(&f, &told, when);
	end_segments(&f);
	return memory.seen;
}

static void
each_allocation_fails_once(void **state)
{
	const char *stride = getenv("CHANCERY_STRIDE");
	const char *seed = getenv("CHANCERY_SEED");
	unsigned step = stride != NULL ? (unsigned)atoi(stride) : USUAL;
	unsigned n = 1, total = tell(0);

	(void)state;
	assert_in_range(total, 1000, 1000000);
	assert_in_range(step, 1, 100000);
	if (seed != NULL)
		n += (unsigned)(strtoull(seed, NULL, 10) % step);
	for (; n <= total; n += step)
		(void)tell(n);
	(void)fprintf(stderr, "# one in %u of %u allocations\n", step, total);
}

static int
prepare(void **state)
{
	sqlite3_mem_methods own;

	(void)state;
	crypto_init();
	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK)
		return -1;
	own = real;
	own.xMalloc = sqlite_malloc;
	own.xRealloc = sqlite_realloc;
	return sqlite3_config(SQLITE_CONFIG_MALLOC, &own) == SQLITE_OK ? 0 : -1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_allocation_fails_once),
	};

	return cmocka_run_group_tests(tests, prepare, NULL);
}
