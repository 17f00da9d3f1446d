/* What the engine says of a key record is what a witness takes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compliance/add_key.h"

#include "export/witness_request.h"

#include "tests/unit/verify_fixture.h"

#define NEXT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void
a_witness_takes_it(void **state)
{
	char path[] = "/tmp/chancery-test-XXXXXX", why[256];
	const uint64_t key[] = {1, 300, 511};
	struct witness_request r;
	const char *reason = "";
	uint8_t root[32];
	struct scan *s;
	struct fix f;
	struct buf b;

	(void)state;
	assert_true(close(mkstemp(path)) == 0 && unlink(path) == 0);
	fix_init(&f, 7);
	fix_open(&f);
	for (size_t i = 0; i < 3; i++) {
		char fields[512];

		while (f.n < key[i])
			fix_post(&f, "words");
		(void)snprintf(fields, sizeof fields,
		    "epoch %zu\nvkey %s\nnext " NEXT
		    "\nreason daily\nclean yes\n",
		    i + 1, f.vkey);
		fix_control(&f, 135, fields);
		f.stored[f.stored_count++] = f.n;
	}
	fix_post(&f, "words");
	fix_control(&f, 135,
	    "epoch 4\nvkey a\nnext " NEXT "\nreason daily\nclean yes\n");
	fix_post(&f, "words");
	f.note_size = f.n;
	fix_write(&f, path);
	s = scan_open(path, true, why, sizeof why);
	if (s == NULL)
		fail_msg("%s", why);
	buf_init(&b);
	for (size_t i = 0; i < 3; i++) {
		buf_clear(&b);
		buf_put_text(&b, "old 0\n\n");
		assert_int_equal(add_key_put(s, key[i], &b), 0);
		if (!witness_request_parse(buf_view(&b), true, &r, &reason))
			fail_msg("key %zu: %s", i, reason);
		assert_int_equal(r.link.seq, key[i]);
		assert_int_equal(r.note.size, key[i] + 1);
		witness_link_root(&r.link, root);
		assert_memory_equal(root, r.note.root, 32);
	}
	/* Not a key record, none at all, and one that ends no checkpoint. */
	assert_int_equal(add_key_put(s, 2, &b), -1);
	assert_non_null(strstr(scan_error(s), "no key record"));
	assert_int_equal(add_key_put(s, f.n, &b), -1);
	assert_int_equal(add_key_put(s, f.n - 2, &b), -1);
	assert_non_null(strstr(scan_error(s), "stored checkpoint"));
	buf_release(&b);
	scan_close(s);
	fix_free(&f);
	assert_int_equal(unlink(path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_witness_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
