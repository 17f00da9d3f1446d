/* Guessing passwords: how slow it gets, for whom, and what is remembered. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "server/guesses.h"

#define ANN view_text("sip:ann@example.test")
#define BOB view_text("sip:bob@example.test")
#define HERE view_of((const uint8_t *)"\x0a\0\0\1", 4)
#define THERE view_of((const uint8_t *)"\x0a\0\0\2", 4)
#define NOW 100000

static void
wrong(struct guesses *g, struct view user, struct view network, unsigned times,
    uint64_t now)
{
	for (unsigned i = 0; i < times; i++)
		guesses_wrong(g, user, network, now);
}

static void
test_pauses_grow(void **state)
{
	struct guesses g;
	uint64_t now = NOW;

	(void)state;
	guesses_init(&g);
	assert_int_equal(guesses_wait(&g, ANN, HERE, now), 0);
	wrong(&g, ANN, HERE, GUESSES_USER_FREE - 1, now);
	assert_int_equal(guesses_wait(&g, ANN, HERE, now), 0);
	for (unsigned want = 1; want <= 1U << GUESSES_STEPS; want *= 2) {
		wrong(&g, ANN, HERE, 1, now);
		assert_int_equal(guesses_wait(&g, ANN, HERE, now), want);
		/* For this user, and from there, only. */
		assert_int_equal(guesses_wait(&g, ANN, THERE, now), 0);
		assert_int_equal(guesses_wait(&g, BOB, HERE, now), 0);
		assert_int_equal(guesses_wait(&g, BOB, THERE, now), 0);
		assert_int_equal(
		    guesses_wait(&g, ANN, HERE, now + want - 1), 1);
		now += want;
		assert_int_equal(guesses_wait(&g, ANN, HERE, now), 0);
	}
	/* No longer than that, ever; and all is forgiven in time. */
	wrong(&g, ANN, HERE, 100, now);
	assert_int_equal(guesses_wait(&g, ANN, HERE, now), 1U << GUESSES_STEPS);
	now += GUESSES_PARDON_S * (GUESSES_STEPS + 2);
	wrong(&g, ANN, HERE, 1, now);
	assert_int_equal(guesses_wait(&g, ANN, HERE, now), 0);
	guesses_release(&g);
}

/* Many users from one place are slowed, too; the clock may stand or turn. */
static void
test_a_network(void **state)
{
	struct guesses g;
	char user[32];

	(void)state;
	guesses_init(&g);
	for (int i = 0; i < GUESSES_HOST_FREE; i++) {
		assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0);
		(void)snprintf(user, sizeof user, "user%d", i);
		wrong(&g, view_text(user), HERE, 1, NOW);
	}
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 1);
	assert_int_equal(guesses_wait(&g, ANN, THERE, NOW), 0);
	/* A password of one's own opens no way to others'. */
	guesses_right(&g, BOB, HERE);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 1);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW - 5), 0);
	guesses_release(&g);
}

/* Who signed in from there before is not locked out by others. */
static void
test_known_networks(void **state)
{
	struct guesses g;
	char user[32];

	(void)state;
	guesses_init(&g);
	guesses_right(&g, ANN, HERE);
	wrong(&g, ANN, THERE, GUESSES_USER_FREE + 3, NOW);
	assert_int_equal(guesses_wait(&g, ANN, THERE, NOW), 8);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0);
	for (int i = 0; i < 2 * GUESSES_HOST_FREE; i++) {
		(void)snprintf(user, sizeof user, "user%d", i);
		wrong(&g, view_text(user), HERE, 1, NOW);
	}
	assert_true(guesses_wait(&g, BOB, HERE, NOW) > 0);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0);
	/* What is guessed for the user from there holds all the same, */
	wrong(&g, ANN, HERE, GUESSES_USER_FREE, NOW);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 1);
	/* until the right one is given. */
	guesses_right(&g, ANN, HERE);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0);
	guesses_release(&g);
}

/* No number of guessers elsewhere keeps out who never signed in before. */
static void
test_guessers_everywhere(void **state)
{
	struct guesses g;
	uint8_t from[4] = {192, 0, 2, 0};

	(void)state;
	guesses_init(&g);
	for (int i = 0; i < 256; i++) {
		from[3] = (uint8_t)i;
		wrong(&g, ANN, view_of(from, 4), GUESSES_USER_FREE, NOW);
		assert_int_equal(
		    guesses_wait(&g, ANN, view_of(from, 4), NOW), 1);
	}
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0);
	guesses_release(&g);
}

static void
test_memory_is_bounded(void **state)
{
	struct guesses g;
	char user[32];

	(void)state;
	guesses_init(&g);
	wrong(&g, ANN, HERE, GUESSES_USER_FREE, NOW);
	for (int i = 0; i < 2 * GUESSES_KNOWN_MAX; i++) {
		(void)snprintf(user, sizeof user, "user%d", i);
		if (i < GUESSES_MAX)
			guesses_wrong(&g, view_text(user), THERE, NOW);
		guesses_right(&g, view_text(user), HERE);
	}
	assert_int_equal(g.known.lookup.count, GUESSES_KNOWN_MAX);
	for (int i = 0; i < 2 * GUESSES_MAX; i++) {
		(void)snprintf(user, sizeof user, "nobody%d", i);
		guesses_wrong(&g, view_text(user), view_text(user), NOW);
		assert_true(g.wrong.lookup.count <= GUESSES_MAX);
	}
	assert_int_equal(g.wrong.lookup.count, GUESSES_MAX);
	assert_int_equal(guesses_wait(&g, ANN, HERE, NOW), 0); /* oldest */
	guesses_release(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pauses_grow),
	    cmocka_unit_test(test_a_network),
	    cmocka_unit_test(test_known_networks),
	    cmocka_unit_test(test_guessers_everywhere),
	    cmocka_unit_test(test_memory_is_bounded),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
