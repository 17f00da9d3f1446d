#include "tests/unit/chat_double.h"

/* What the server refuses by itself is told until the keeper has it. */
static void
test_drops_are_told(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r[12];
	uint64_t first;

	(void)state;
	join(rig, ann, OPS);
	for (int i = 0; i < 10; i++)
		post(rig, ann, &r[i], OPS_URI, "x");
	assert_int_equal(r[8].status, 503);
	assert_int_equal(rig->drops_ref, 0);
	run_for(rig, 300);
	assert_int_not_equal(rig->drops_ref, 0);
	assert_int_equal(rig->drops[WIRE_DROP_OVERLOAD], 2);
	keeper_store_all(rig);
	/* More of them while the first wait. */
	keeper_state(rig, false, "no space left");
	post(rig, ann, &r[10], OPS_URI, "x");
	assert_int_equal(r[10].status, 503);
	run_for(rig, 300);
	assert_int_equal(rig->drops[WIRE_DROP_STORAGE], 0);
	keeper_state(rig, true, "");
	first = rig->drops_ref;
	rig->drops_ref = 0;
	/* The keeper dies before it wrote them down: they come again. */
	keeper_lose(rig);
	keeper_restart(rig, 0, true);
	run(rig);
	assert_int_equal(rig->drops_ref, first);
	assert_int_equal(rig->drops[WIRE_DROP_OVERLOAD], 2);
	assert_int_equal(rig->drops[WIRE_DROP_STORAGE], 0);
	keeper_keep_drops(rig);
	run_for(rig, 300);
	assert_int_not_equal(rig->drops_ref, 0);
	assert_int_equal(rig->drops[WIRE_DROP_OVERLOAD], 0);
	assert_int_equal(rig->drops[WIRE_DROP_STORAGE], 1);
	keeper_keep_drops(rig);
	run_for(rig, 300);
	assert_int_equal(rig->drops_ref, 0);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* What a keeper refused that died before it could tell is told for it. */
static void
test_refusals_of_a_dead_keeper(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r[5];

	(void)state;
	join(rig, ann, OPS);
	for (int i = 0; i < 3; i++)
		post(rig, ann, &r[i], OPS_URI, "x");
	run(rig);
	keeper_refuse(rig, "the event is too large"); /* its own to tell */
	keeper_state(rig, false, "no space left");
	keeper_refuse(rig, "no space left");
	/* It could write again, so its incident has that one. */
	keeper_state(rig, true, "");
	keeper_refuse(rig, "the event is too large");
	for (int i = 3; i < 5; i++)
		post(rig, ann, &r[i], OPS_URI, "x");
	run(rig);
	keeper_state(rig, false, "no space left");
	keeper_refuse(rig, "no space left");
	keeper_refuse(rig, "no space left");
	run_for(rig, 300);
	assert_int_equal(rig->drops_ref, 0);
	keeper_lose(rig);
	keeper_restart(rig, 0, true);
	run_for(rig, 300);
	assert_int_equal(rig->drops[WIRE_DROP_STORAGE], 2);
	keeper_keep_drops(rig);
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* An end in good order tells also what came after the last frame. */
static void
test_the_last_drops_are_told(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r[2];
	uint64_t first;

	(void)state;
	join(rig, ann, OPS);
	keeper_state(rig, false, "no space left");
	post(rig, ann, &r[0], OPS_URI, "x");
	run_for(rig, 300);
	first = rig->drops_ref;
	assert_int_not_equal(first, 0);
	post(rig, ann, &r[1], OPS_URI, "x");
	run_for(rig, 300);
	assert_int_equal(rig->drops_ref, first);
	assert_false(rig->bye);
	chat_stop(rig->chat);
	keeper_read(rig);
	assert_true(rig->drops_ref > first);
	assert_int_equal(rig->drops[WIRE_DROP_STORAGE], 1);
	assert_true(rig->bye);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_drops_are_told),
	    cmocka_unit_test(test_refusals_of_a_dead_keeper),
	    cmocka_unit_test(test_the_last_drops_are_told),
	};

	return cmocka_run_group_tests(
	    tests, rig_make_folder, rig_remove_folder);
}
