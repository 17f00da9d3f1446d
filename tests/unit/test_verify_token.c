/* What a time-stamp token says, and each way in which one is none. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "export/verify_token.h"

#include "tests/unit/token_fixture.h"

#define AT 1795335000
#define VERSION 45 /* places of values that nobody looks at */
#define SIGNED_VERSION 19
#define POLICY 48
#define SERIAL 102

static const uint8_t stamped[32] = {1, 2, 3};

static void
test_said(void **state)
{
	struct buf token;
	uint8_t hash[32];
	uint64_t at = 0;

	(void)state;
	buf_init(&token);
	token_put(&token, stamped, AT);
	assert_int_equal(token.len, TOKEN_LEN);
	assert_true(verify_token_read(buf_view(&token), hash, &at));
	assert_memory_equal(hash, stamped, 32);
	assert_int_equal(at, AT);
	buf_release(&token);
}

/* The first bit of a policy's byte tells that its number goes on. */
static bool
is_free(size_t at, unsigned bit)
{
	return at == SIGNED_VERSION || at == VERSION ||
	    (at >= POLICY && at < POLICY + 2) ||
	    (at == POLICY + 2 && bit < 7) || at == SERIAL ||
	    (at >= TOKEN_HASH && at < TOKEN_HASH + 32);
}

static void
test_each_byte(void **state)
{
	struct buf token;
	uint8_t hash[32];
	uint64_t at;

	(void)state;
	buf_init(&token);
	for (size_t i = 0; i < TOKEN_LEN; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			bool read;

			buf_clear(&token);
			token_put(&token, stamped, AT);
			token.data[i] ^= (uint8_t)(1U << bit);
			at = AT;
			read = verify_token_read(buf_view(&token), hash, &at);
			if (read != is_free(i, bit) && at == AT)
				fail_msg("byte %zu, bit %u", i, bit);
		}
	for (size_t i = 0; i < TOKEN_LEN; i++)
		assert_false(
		    verify_token_read(view_of(token.data, i), hash, &at));
	buf_put_u8(&token, 0);
	assert_false(verify_token_read(buf_view(&token), hash, &at));
	buf_release(&token);
}

/* A token whose time is that text, all lengths being right. */
static bool
is_time(const char *text, uint64_t *at)
{
	static const uint8_t outer[] = {
	    1, 14, 16, 23, 38, 40, 42}; /* lengths */
	struct buf token;
	uint8_t hash[32];
	size_t n = strlen(text);
	bool read;

	buf_init(&token);
	token_put(&token, stamped, AT);
	token.len = TOKEN_TIME;
	token.data[TOKEN_TIME - 1] = (uint8_t)n;
	buf_put(&token, text, n);
	buf_put(&token, "\x31\x00", 2);
	for (size_t i = 0; i < sizeof(outer); i++)
		token.data[outer[i]] = (uint8_t)(token.data[outer[i]] + n - 15);
	read = verify_token_read(buf_view(&token), hash, at);
	buf_release(&token);
	return read;
}

static void
test_times(void **state)
{
	static const char *const bad[] = {"20261122000000", "20261122000000.Z",
	    "20261122000000,5Z", "20261322000000Z", "20260230000000Z",
	    "20261122240000Z", "20261122006000Z", "20261122000060Z",
	    "2026112200000Z", "20261122000000ZZ", "19691231235959Z",
	    "20261122000000.5", "2026112200000xZ", "20260022000000Z"};
	uint64_t at;

	(void)state;
	assert_true(is_time("19700101000117Z", &at));
	assert_int_equal(at, 77);
	assert_true(is_time("19700101000117.9Z", &at));
	assert_int_equal(at, 77);
	assert_true(is_time("20240229235959Z", &at));
	assert_int_equal(at, 1709251199);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (is_time(bad[i], &at))
			fail_msg("taken: %s", bad[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_said),
	    cmocka_unit_test(test_each_byte),
	    cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
