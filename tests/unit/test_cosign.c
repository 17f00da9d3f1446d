/* Cosignature lines: made, read, and refused when one byte is another. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"

#include "compliance/cosign.h"

static const char body[] = "example.test/journal/0a1b2c3d\n5\n"
			   "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n";
#define TIME 1795335000

struct made {
	struct crypto_key *key;
	struct buf line, vkey;
	struct note_vkey parsed;
};

static void
make(struct made *m)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	uint8_t public[CRYPTO_PUBLIC_LEN];

	m->key = crypto_key_new(seed);
	assert_non_null(m->key);
	crypto_key_public(m->key, public);
	buf_init(&m->line);
	buf_init(&m->vkey);
	cosign_put_vkey(&m->vkey, view_text("witness.example/a"), public);
	assert_true(cosign_parse_vkey(buf_view(&m->vkey), &m->parsed));
	assert_true(cosign_put_line(&m->line, view_text(body),
	    view_text("witness.example/a"), TIME, m->key));
}

static void
drop(struct made *m)
{
	crypto_key_free(m->key);
	buf_release(&m->line);
	buf_release(&m->vkey);
}

static void
test_round(void **state)
{
	struct cosign c;
	struct made m;

	(void)state;
	make(&m);
	assert_true(cosign_parse_line(buf_view(&m.line), &c));
	assert_true(view_is(c.name, "witness.example/a"));
	assert_true(c.time == TIME);
	assert_true(cosign_verify(&c, view_text(body), &m.parsed));
	drop(&m);
}

static void
test_each_byte_counts(void **state)
{
	struct cosign c;
	struct made m;

	(void)state;
	make(&m);
	for (size_t i = 0; i < m.line.len; i++) {
		m.line.data[i] ^= 1;
		assert_false(cosign_parse_line(buf_view(&m.line), &c) &&
		    cosign_verify(&c, view_text(body), &m.parsed));
		m.line.data[i] ^= 1;
	}
	for (size_t i = 0; i < m.vkey.len; i++) {
		struct note_vkey key;

		m.vkey.data[i] ^= 1;
		assert_false(cosign_parse_vkey(buf_view(&m.vkey), &key));
		m.vkey.data[i] ^= 1;
	}
	drop(&m);
}

static void
test_another_body_or_key(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {8};
	struct crypto_key *other = crypto_key_new(seed);
	struct note_vkey key;
	struct cosign c;
	struct made m;

	(void)state;
	make(&m);
	assert_true(cosign_parse_line(buf_view(&m.line), &c));
	assert_false(cosign_verify(&c, view_text("x\n"), &m.parsed));
	key = m.parsed;
	crypto_key_public(other, key.public);
	assert_false(cosign_verify(&c, view_text(body), &key));
	key = m.parsed;
	key.name = view_text("witness.example/b");
	assert_false(cosign_verify(&c, view_text(body), &key));
	crypto_key_free(other);
	drop(&m);
}

static void
test_forms_refused(void **state)
{
	static const char *const lines[] = {
	    "",
	    "\n",
	    "- a AAAA\n",
	    "\xe2\x80\x94 a\n",
	    "\xe2\x80\x94 a AAAA\n",
	    "\xe2\x80\x94 a+b AAAA\n",
	};
	struct cosign c;
	struct made m;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		assert_false(cosign_parse_line(view_text(lines[i]), &c));
	make(&m);
	assert_false(cosign_parse_line(
	    view_of(m.line.data, m.line.len - 1), &c)); /* without LF */
	buf_put_u8(&m.line, '\n');
	assert_false(cosign_parse_line(buf_view(&m.line), &c));
	drop(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round),
	    cmocka_unit_test(test_each_byte_counts),
	    cmocka_unit_test(test_another_body_or_key),
	    cmocka_unit_test(test_forms_refused),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
