#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

#include "compliance/note.h"

/* The published example of golang.org/x/mod/sumdb/note. */
#define GO_VKEY                                                                \
	"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define GO_TEXT                                                                \
	"If you think cryptography is the answer to your problem,\n"           \
	"then you don't know what your problem is.\n"
#define GO_BLOB                                                                \
	"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="

/* RFC 8032 section 7.1, test 1. */
static const char *const rfc_seed =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
static const char *const rfc_public =
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

static struct crypto_key *
test_key(uint8_t seed[32], uint8_t public[32])
{
	struct crypto_key *key;

	assert_true(text_get_hex(view_text(rfc_seed), seed, 32));
	key = crypto_key_new(seed);
	assert_non_null(key);
	crypto_key_public(key, public);
	return key;
}

static void
published_vkey_and_signature(void **state)
{
	struct note_vkey key;
	uint8_t blob[68];

	(void)state;
	assert_true(note_parse_vkey(view_text(GO_VKEY), &key));
	assert_true(view_is(key.name, "PeterNeumann"));
	assert_int_equal(key.id, 0xc74f20a3);
	assert_true(
	    text_get_base64_fixed(view_text(GO_BLOB), blob, sizeof blob));
	assert_true(
	    crypto_verify(key.public, GO_TEXT, strlen(GO_TEXT), blob + 4));
	assert_memory_equal(blob, "\xc7\x4f\x20\xa3", 4);
}

static void
vkeys_are_strict(void **state)
{
	static const char *const bad[] = {"", "+", "++", "PeterNeumann",
	    "PeterNeumann+c74f20a3", "PeterNeumann+c74f20a3+",
	    "PeterNeumann+c74f20a4+"
	    "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    "Peter Neumann+c74f20a3+"
	    "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    "PeterNeumann+c74f20a3+Apc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWx",
	    "PeterNeumann+c74f20a3+AxpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    "PeterNeumann+c74f20a3 +ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	    GO_VKEY "\n", GO_VKEY "=", "+" GO_VKEY};
	struct note_vkey key;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (note_parse_vkey(view_text(bad[i]), &key))
			fail_msg("accepted: %s", bad[i]);
}

static void
keys_round_trip(void **state)
{
	uint8_t seed[32], public[32], again[32], want[32];
	struct crypto_key *key = test_key(seed, public);
	struct note_vkey vkey;
	struct view name;
	struct buf b;
	uint32_t id;

	(void)state;
	assert_true(text_get_hex(view_text(rfc_public), want, 32));
	assert_memory_equal(public, want, 32);
	buf_init(&b);
	note_put_vkey(&b, view_text("a.test/journal/00"), public);
	assert_true(note_parse_vkey(buf_view(&b), &vkey));
	assert_memory_equal(vkey.public, public, 32);
	assert_int_equal(vkey.id, note_key_id(vkey.name, public));
	buf_clear(&b);
	note_put_skey(&b, view_text("a.test/journal/00"), seed, public);
	assert_true(note_parse_skey(buf_view(&b), &name, &id, again));
	assert_true(view_is(name, "a.test/journal/00"));
	assert_memory_equal(again, seed, 32);
	assert_int_equal(id, vkey.id);
	assert_false(note_parse_vkey(buf_view(&b), &vkey));
	for (size_t n = 0; n < b.len; n++)
		assert_false(
		    note_parse_skey(view_of(b.data, n), &name, &id, again));
	buf_release(&b);
	crypto_key_free(key);
}

static void
names(void **state)
{
	char longest[NOTE_NAME_MAX + 2];

	(void)state;
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_false(note_name_valid(view_text(longest)));
	assert_true(note_name_valid(view_of(longest, NOTE_NAME_MAX)));
	assert_true(
	    note_name_valid(view_text("example.test/journal/0a1b2c3d")));
	assert_true(note_name_valid(view_text("b\xc3\xbc.test")));
	assert_false(note_name_valid(view_text("")));
	assert_false(note_name_valid(view_text("a b")));
	assert_false(note_name_valid(view_text("a+b")));
	assert_false(note_name_valid(view_text("a\nb")));
	assert_false(note_name_valid(view_text("\xff")));
	assert_false(note_name_valid(view_of("a\0b", 3)));
}

static void
make_note(struct buf *note, struct note_vkey *vkey, struct buf *vkey_text)
{
	uint8_t seed[32], public[32], root[32];
	struct crypto_key *key = test_key(seed, public);
	struct buf body;

	memset(root, 0xab, sizeof root);
	buf_init(&body);
	buf_init(note);
	buf_init(vkey_text);
	note_put_body(&body, view_text("a.test/journal/00"), 1234567, root);
	assert_string_equal(buf_text(&body),
	    "a.test/journal/00\n1234567\n"
	    "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n");
	assert_true(note_sign(
	    note, buf_view(&body), view_text("a.test/journal/00"), key));
	note_put_vkey(vkey_text, view_text("a.test/journal/00"), public);
	assert_true(note_parse_vkey(buf_view(vkey_text), vkey));
	buf_release(&body);
	crypto_key_free(key);
}

static void
signed_notes_verify(void **state)
{
	struct buf text, vkey_text, more;
	struct note_vkey vkey, other;
	const char *why = "";
	struct note note;

	(void)state;
	make_note(&text, &vkey, &vkey_text);
	assert_true(note_parse(buf_view(&text), &note, &why));
	assert_int_equal(note.size, 1234567);
	assert_true(view_is(note.origin, "a.test/journal/00"));
	assert_int_equal(note.root[31], 0xab);
	assert_true(note_verify(&note, &vkey, &why));
	assert_true(note_parse_vkey(view_text(GO_VKEY), &other));
	assert_false(note_verify(&note, &other, &why));
	/* Lines of others are ignored, wherever they stand. */
	buf_init(&more);
	buf_put_view(&more, note.body);
	buf_put_text(&more, "\n\xe2\x80\x94 PeterNeumann " GO_BLOB "\n");
	buf_put_text(&more, "\xe2\x80\x94 a.test/journal/00 AAAA\n");
	buf_put_view(&more, note.signatures);
	assert_true(note_parse(buf_view(&more), &note, &why));
	assert_true(note_verify(&note, &vkey, &why));
	assert_false(note_verify(&note, &other, &why));
	assert_non_null(strstr(why, "does not verify"));
	buf_release(&more);
	buf_release(&text);
	buf_release(&vkey_text);
}

static void
no_altered_note_passes(void **state)
{
	struct buf text, vkey_text;
	struct note_vkey vkey;
	struct note note;
	const char *why;

	(void)state;
	make_note(&text, &vkey, &vkey_text);
	for (size_t i = 0; i < text.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			text.data[i] ^= (uint8_t)(1 << bit);
			if (note_parse(buf_view(&text), &note, &why))
				assert_false(note_verify(&note, &vkey, &why));
			text.data[i] ^= (uint8_t)(1 << bit);
		}
	for (size_t n = 0; n < text.len; n++)
		assert_false(note_parse(view_of(text.data, n), &note, &why));
	buf_release(&text);
	buf_release(&vkey_text);
}

static void
malformed_notes(void **state)
{
#define ROOT "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="
#define SIG "\xe2\x80\x94 a AAAA\n"
	static const char *const bad[] = {"", "\n", "\n\n", "a\n1\n" ROOT "\n",
	    "a\n1\n" ROOT "\n\n",           /* no signature */
	    "a\n1\n" ROOT "\n\n- a AAAA\n", /* not a dash */
	    "a\n1\n" ROOT "\n\n" SIG "x",   /* no line feed */
	    "a\n01\n" ROOT "\n\n" SIG,      /* leading zero */
	    "a\n-1\n" ROOT "\n\n" SIG, "a\n\n" ROOT "\n\n" SIG,
	    "a\n18446744073709551616\n" ROOT "\n\n" SIG,
	    "a b\n1\n" ROOT "\n\n" SIG, /* space in the origin */
	    "a\n1\nq6ur\n\n" SIG,       /* short root */
	    "a\n1\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6t=\n\n" SIG,
	    "a\n1\n" ROOT "\nextra\n\n" SIG, /* extension line */
	    "a\n1\n" ROOT "\r\n\n" SIG};
	struct note note;
	struct buf many;
	const char *why;

	(void)state;
	assert_true(
	    note_parse(view_text("a\n1\n" ROOT "\n\n" SIG), &note, &why));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (note_parse(view_text(bad[i]), &note, &why))
			fail_msg("accepted: %s", bad[i]);
	buf_init(&many);
	buf_put_text(&many, "a\n1\n" ROOT "\n\n");
	for (unsigned i = 0; i < 64; i++)
		buf_put_text(&many, SIG);
	assert_true(note_parse(buf_view(&many), &note, &why));
	buf_put_text(&many, SIG);
	assert_false(note_parse(buf_view(&many), &note, &why));
	buf_clear(&many);
	buf_put_text(&many, "a\n1\n" ROOT "\n\n\xe2\x80\x94 a ");
	while (many.len < NOTE_MAX)
		buf_put_u8(&many, 'A');
	buf_put_u8(&many, '\n');
	assert_false(note_parse(buf_view(&many), &note, &why));
	buf_release(&many);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vkey_and_signature),
	    cmocka_unit_test(vkeys_are_strict),
	    cmocka_unit_test(keys_round_trip),
	    cmocka_unit_test(names),
	    cmocka_unit_test(signed_notes_verify),
	    cmocka_unit_test(no_altered_note_passes),
	    cmocka_unit_test(malformed_notes),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
