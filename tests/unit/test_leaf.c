#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/leaf.h"

#define HEAD "leaf/1 7 3\nt 1700000000000001 55 0a1b2c3d 0\n"
#define CONTROL "leaf/1 7 130\nt 1700000000000001 55 0a1b2c3d 1\n"
#define ZERO "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static const struct leaf_head head = {.seq = 7,
    .kind = 3,
    .at = 1700000000000001,
    .boot = 55,
    .boot_id = "0a1b2c3d"};

static void
text_of_a_user_event(void **state)
{
	static const uint8_t zero[32];
	struct leaf leaf;
	const char *why = "";
	struct buf b;

	(void)state;
	buf_init(&b);
	leaf_put_head(&b, &head);
	leaf_put_part(&b, 0, zero);
	leaf_put_part(&b, 1, zero);
	assert_string_equal(buf_text(&b), HEAD "p 0 " ZERO "\np 1 " ZERO "\n");
	assert_true(leaf_parse(buf_view(&b), &leaf, &why));
	assert_int_equal(leaf.head.seq, 7);
	assert_int_equal(leaf.head.kind, 3);
	assert_int_equal(leaf.head.at, 1700000000000001);
	assert_int_equal(leaf.head.boot, 55);
	assert_int_equal(leaf.head.flags, 0);
	assert_string_equal(leaf.head.boot_id, "0a1b2c3d");
	assert_int_equal(leaf.parts, 2);
	assert_int_equal(leaf.fields.n, 0);
	buf_release(&b);
}

static void
text_of_a_control_record(void **state)
{
	struct leaf_head control = head;
	struct leaf leaf;
	struct view name, value, fields;
	const char *why = "";
	uint64_t number;
	struct buf b;

	(void)state;
	buf_init(&b);
	control.kind = 130;
	control.flags = LEAF_TIME_HELD;
	leaf_put_head(&b, &control);
	leaf_put_field(&b, "location", view_text("a b\n\xc3\xbc%.xml"));
	leaf_put_number(&b, "bytes", 12);
	assert_string_equal(
	    buf_text(&b), CONTROL "location a%20b%0A%C3%BC%25.xml\nbytes 12\n");
	assert_true(leaf_parse(buf_view(&b), &leaf, &why));
	assert_int_equal(leaf.head.flags, LEAF_TIME_HELD);
	assert_int_equal(leaf.parts, 0);
	assert_true(leaf_field(leaf.fields, "location", &value));
	assert_true(view_is(value, "a%20b%0A%C3%BC%25.xml"));
	assert_true(leaf_field_number(leaf.fields, "bytes", &number));
	assert_int_equal(number, 12);
	assert_false(leaf_field_number(leaf.fields, "location", &number));
	assert_false(leaf_field(leaf.fields, "loc", &value));
	fields = leaf.fields;
	assert_true(leaf_next_field(&fields, &name, &value));
	assert_true(leaf_next_field(&fields, &name, &value));
	assert_true(view_is(name, "bytes"));
	assert_false(leaf_next_field(&fields, &name, &value));
	buf_release(&b);
}

/* SHA-256 over printf 'part/1\n', 32 zero bytes and "yes". */
static void
commitment_is_the_documented_hash(void **state)
{
	static const uint8_t salt[32];
	uint8_t got[32], want[32], joined[7 + 32 + 3];

	(void)state;
	leaf_commit(salt, view_text("yes"), got);
	assert_true(text_get_hex(
	    view_text(
		"c05b83da410b513e7f7179626ba62e2c6aacc32faa540c04bd077d982ae42792"),
	    want, 32));
	assert_memory_equal(got, want, 32);
	memcpy(joined, "part/1\n", 7);
	memcpy(joined + 7, salt, 32);
	memcpy(joined + 39, "yes", 3);
	crypto_sha256(joined, sizeof joined, want);
	assert_memory_equal(got, want, 32);
	leaf_commit(salt, view_text("no"), want);
	assert_memory_not_equal(got, want, 32);
}

static void
malformed_leaves(void **state)
{
	static const char *const bad[] = {"", "\n", "leaf/1", "leaf/1 7 3\n",
	    HEAD, /* no parts */
	    "leaf/2 7 3\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 07 3\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1  7 3\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 7 3 \nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 7 0\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 7 256\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 9223372036854775808 3\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 7 3\r\nt 1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    "leaf/1 7 3\nt 1 5 0a1b2c3 0\np 0 " ZERO "\n",
	    "leaf/1 7 3\nt 1 5 0A1B2C3D 0\np 0 " ZERO "\n",
	    "leaf/1 7 3\nt 1 5 0a1b2c3d 2\np 0 " ZERO "\n",
	    "leaf/1 7 3\nt 1 5 0a1b2c3d\np 0 " ZERO "\n",
	    "leaf/1 7 3\nt -1 5 0a1b2c3d 0\np 0 " ZERO "\n",
	    HEAD "p 1 " ZERO "\n",               /* starts at 1 */
	    HEAD "p 0 " ZERO "\np 0 " ZERO "\n", /* twice */
	    HEAD "p 0 " ZERO "\np 2 " ZERO "\n", /* gap */
	    HEAD "p 0 " ZERO,                    /* no line feed */
	    HEAD "p 0 " ZERO "\n\n",
	    HEAD "p 0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
	    HEAD "p 0 AAAA\n", HEAD "p 0  " ZERO "\n", HEAD "name value\n",
	    HEAD "p 0 " ZERO "\nname value\n", CONTROL "p 0 " ZERO "\nbad\n",
	    CONTROL "name\n", CONTROL "name \n", CONTROL " value\n",
	    CONTROL "name two words\n", CONTROL "Name value\n",
	    CONTROL "name val\xc3\xbc\n", CONTROL "name a%2\n",
	    CONTROL "name a%2g\n", CONTROL "name %41\n", /* needlessly */
	    CONTROL "name %0a\n",                        /* lower case */
	    CONTROL "name value", CONTROL "\n"};
	struct leaf leaf;
	const char *why;

	(void)state;
	assert_true(leaf_parse(view_text(HEAD "p 0 " ZERO "\n"), &leaf, &why));
	assert_true(leaf_parse(view_text(CONTROL), &leaf, &why));
	assert_true(leaf_parse(view_text(CONTROL "name a%20b\n"), &leaf, &why));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (leaf_parse(view_text(bad[i]), &leaf, &why))
			fail_msg("accepted: %s", bad[i]);
	assert_false(leaf_parse(
	    view_of("leaf/1 7 3\0\nt 1 5 0a1b2c3d 0\n", 29), &leaf, &why));
}

static void
limits(void **state)
{
	static const uint8_t zero[32];
	struct leaf leaf;
	const char *why;
	struct buf b;

	(void)state;
	buf_init(&b);
	leaf_put_head(&b, &head);
	for (unsigned i = 0; i < LEAF_PARTS_MAX; i++)
		leaf_put_part(&b, i, zero);
	assert_true(leaf_parse(buf_view(&b), &leaf, &why));
	assert_int_equal(leaf.parts, LEAF_PARTS_MAX);
	leaf_put_part(&b, LEAF_PARTS_MAX, zero);
	assert_false(leaf_parse(buf_view(&b), &leaf, &why));
	buf_clear(&b);
	buf_put_text(&b, "name ");
	while (b.len < LEAF_FIELDS_MAX - 1)
		buf_put_u8(&b, 'x');
	buf_put_u8(&b, '\n');
	assert_true(leaf_fields_valid(buf_view(&b)));
	buf_consume(&b, 1);
	buf_put_text(&b, "a b\n");
	assert_false(leaf_fields_valid(buf_view(&b)));
	buf_release(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_of_a_user_event),
	    cmocka_unit_test(text_of_a_control_record),
	    cmocka_unit_test(commitment_is_the_documented_hash),
	    cmocka_unit_test(malformed_leaves),
	    cmocka_unit_test(limits),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
