/* Retention classes, and the text of ranges. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"

#include "compliance/event.h"
#include "compliance/ranges.h"
#include "compliance/retention.h"

#define ENVELOPE(room)                                                         \
	"{\"v\":1,\"type\":\"post\",\"id\":\"a-1\",\"room\":\"" room           \
	"\",\"roomname\":\"R\"}"

static char room1[] = "ma-chan://x/1", room2[] = "ma-chan://x/2",
	    room3[] = "ma-chan://x/3", desk[] = "desk", hall[] = "hall",
	    reads[] = "reads";
static char *desk_rooms[] = {room1, room2};
static char *hall_rooms[] = {room3};
static struct conf_retention classes[] = {
    {.name = desk,
	.rooms = desk_rooms,
	.room_count = 2,
	.kinds = 1U << EVENT_POST | 1U << EVENT_JOIN,
	.after_s = 600},
    {.name = hall, .rooms = hall_rooms, .room_count = 1, .after_s = -1},
    {.name = reads, .kinds = 1U << EVENT_HISTORY, .after_s = 60},
};
static const struct conf conf = {
    .purge_after_s = 600, .retentions = classes, .retention_count = 3};

static const char *
class_of(unsigned kind, const char *envelope)
{
	return retention_of(&conf, kind, view_text(envelope)).name;
}

static void
first_that_fits(void **state)
{
	(void)state;
	assert_string_equal(
	    class_of(EVENT_POST, ENVELOPE("ma-chan://x/2")), "desk");
	assert_string_equal(
	    class_of(EVENT_POST, ENVELOPE("MA-CHAN://x/2")), "desk");
	assert_string_equal(
	    class_of(EVENT_LEAVE, ENVELOPE("ma-chan://x/2")), "default");
	assert_string_equal(
	    class_of(EVENT_HISTORY, ENVELOPE("ma-chan://x/2")), "reads");
	assert_string_equal(
	    class_of(EVENT_HISTORY, ENVELOPE("ma-chan://x/3")), "hall");
	assert_string_equal(
	    class_of(EVENT_POST, ENVELOPE("ma-chan://x/33")), "default");
	assert_string_equal(class_of(EVENT_USER, "{\"v\":1}"), "default");
	/* What a string holds is no member. */
	assert_string_equal(
	    class_of(EVENT_POST,
		"{\"name\":\"\\\"room\\\":\\\"ma-chan://x/1\\\"\"}"),
	    "default");
	assert_string_equal(class_of(EVENT_POST, "{\"room\":\"ma-"), "default");
	assert_string_equal(class_of(EVENT_POST, ""), "default");
}

static void
times(void **state)
{
	const struct conf never = {.purge_after_s = -1};
	int64_t t[4];

	(void)state;
	assert_int_equal(retention_times(&conf, t), 2);
	assert_int_equal(t[0], 60);
	assert_int_equal(t[1], 600);
	assert_int_equal(retention_shortest(&conf), 60);
	assert_int_equal(retention_times(&never, t), 0);
	assert_int_equal(retention_shortest(&never), -1);
}

static void
text(void **state)
{
	const struct conf plain = {.purge_after_s = 5};
	struct buf b;

	(void)state;
	buf_init(&b);
	retention_put_text(&b, &conf);
	assert_string_equal(buf_text(&b),
	    "desk 600 join,post ma-chan://x/1,ma-chan://x/2\n"
	    "hall -1 - ma-chan://x/3\nreads 60 history -\ndefault 600 - -\n");
	buf_clear(&b);
	retention_put_classes(&b, &plain);
	assert_string_equal(buf_text(&b), "-");
	buf_clear(&b);
	retention_put_classes(&b, &conf);
	assert_int_equal(b.len, 64);
	buf_release(&b);
}

static void
ranges(void **state)
{
	static const char *const bad[] = {"", "-", "3-", "-3", "5-3", "3-3",
	    "03", "3-9,", ",3", "3-9-12", "3,,4", "3 ", "9223372036854775808"};
	const struct range some[] = {{3, 9}, {12, 12}, {20, 31}};
	const struct range touching[] = {{3, 9}, {10, 12}};
	struct view rest = view_text("3-9,12,20-31");
	struct range r;
	struct buf b;

	(void)state;
	assert_true(ranges_valid(some, 3));
	assert_false(ranges_valid(some, 0));
	assert_false(ranges_valid(touching, 2));
	buf_init(&b);
	ranges_put(&b, some, 3);
	assert_string_equal(buf_text(&b), "3-9,12,20-31");
	buf_release(&b);
	for (size_t i = 0; i < 3; i++) {
		assert_true(ranges_next(&rest, &r));
		assert_int_equal(r.first, some[i].first);
		assert_int_equal(r.last, some[i].last);
	}
	assert_false(ranges_next(&rest, &r));
	assert_int_equal(rest.n, 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		rest = view_text(bad[i]);
		while (ranges_next(&rest, &r))
			;
		if (rest.n == 0 && i > 0)
			fail_msg("taken: %s", bad[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_that_fits),
	    cmocka_unit_test(times),
	    cmocka_unit_test(text),
	    cmocka_unit_test(ranges),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
