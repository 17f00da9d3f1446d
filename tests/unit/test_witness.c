/* Bodies of requests, consistency proofs, keys and cosignatures. */

#include "tests/unit/witness_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/witness_key.h"
#include "export/witness_request.h"
#include "export/witness_tree.h"

#define NAME "witness.example/w1"

static struct wlog log_;

static bool
parses(const struct buf *b, bool is_link, struct witness_request *r,
    const char **why)
{
	return witness_request_parse(buf_view(b), is_link, r, why);
}

static void
expect_bad(const char *text, size_t n, bool is_link, const char *words)
{
	struct witness_request r;
	const char *why = "";

	if (witness_request_parse(view_of(text, n), is_link, &r, &why))
		fail_msg("taken: %.*s", (int)n, text);
	if (strstr(why, words) == NULL)
		fail_msg("reason \"%s\", not \"%s\"", why, words);
}

static void
checkpoint_bodies(void **state)
{
	struct witness_request r;
	uint8_t root[32];
	const char *why;
	struct buf b;

	(void)state;
	buf_init(&b);
	wlog_add_checkpoint(&log_, 5, 77, 0, &b);
	assert_true(parses(&b, false, &r, &why));
	assert_int_equal(r.old, 5);
	assert_int_equal(r.note.size, 77);
	assert_true(r.proofs > 0);
	wlog_root(&log_, 77, root);
	assert_memory_equal(r.note.root, root, 32);
	assert_true(view_is(r.note.origin, WLOG_ORIGIN));
	assert_true(witness_consistent(5, (wlog_root(&log_, 5, root), root), 77,
	    r.note.root, (const uint8_t(*)[32])r.proof, r.proofs));

	wlog_add_checkpoint(&log_, 0, 0, 0, &b);
	assert_true(parses(&b, false, &r, &why));
	assert_int_equal(r.proofs, 0);
	buf_release(&b);
}

/* Every prefix is refused; so is every body with a byte taken out of it. */
static void
cut_bodies(void **state)
{
	struct witness_request r;
	const char *why;
	struct buf b;

	(void)state;
	buf_init(&b);
	for (int link = 0; link < 2; link++) {
		if (link)
			wlog_add_key(&log_, 40, 200, 0, &b);
		else
			wlog_add_checkpoint(&log_, 40, 77, 0, &b);
		assert_true(parses(&b, link, &r, &why));
		for (size_t n = 0; n < b.len; n++) {
			why = "";
			assert_false(witness_request_parse(
			    view_of(b.data, n), link, &r, &why));
			assert_true(strlen(why) > 0);
		}
		/* One kind of body is not the other. */
		assert_false(parses(&b, !link, &r, &why));
	}
	buf_release(&b);
}

static void
malformed_bodies(void **state)
{
	static const char zero[] =
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	static const struct {
		const char *old, *words;
	} bad[] = {{"old", "old size"}, {"old ", "old size"},
	    {"Old 5", "old size"}, {"old 05", "old size"},
	    {"old  5", "old size"}, {"old -5", "old size"},
	    {"old +5", "old size"}, {"old 5 ", "old size"},
	    {"old 5\r", "old size"}, {"old 18446744073709551616", "old size"},
	    {"old 78", "more than"}, {"size 5", "old size"}};
	struct buf note, b;

	(void)state;
	buf_init(&note);
	buf_init(&b);
	wlog_note(&log_, 77, 0, &note);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		buf_clear(&b);
		buf_printf(&b, "%s\n\n%s", bad[i].old, buf_text(&note));
		expect_bad(buf_text(&b), b.len, false, bad[i].words);
	}
	/* 63 lines are taken, 64 are not. */
	for (unsigned lines = 63; lines <= 64; lines++) {
		struct witness_request r;
		const char *why = "";

		buf_clear(&b);
		buf_put_text(&b, "old 5\n");
		for (unsigned i = 0; i < lines; i++)
			buf_printf(&b, "%s\n", zero);
		buf_printf(&b, "\n%s", buf_text(&note));
		assert_int_equal(parses(&b, false, &r, &why), lines == 63);
		if (lines == 63)
			assert_int_equal(r.proofs, 63);
		else
			assert_string_equal(why, "proof malformed");
	}
	buf_clear(&b);
	buf_printf(&b, "old 5\n%.43s\n\n%s", zero, buf_text(&note));
	expect_bad(buf_text(&b), b.len, false, "proof");
	/* An extension line after the root. */
	buf_clear(&b);
	buf_printf(&b,
	    "old 0\n\nexample.test\n1\n%s\nmore\n\n" EM "a AAAAAAAA\n", zero);
	expect_bad(buf_text(&b), b.len, false, "empty line");
	/* Longer than any. */
	buf_clear(&b);
	assert_true(buf_reserve(&b, WITNESS_BODY_MAX + 1));
	while (b.len <= WITNESS_BODY_MAX)
		buf_put_u8(&b, '\n');
	expect_bad(buf_text(&b), b.len, false, "too long");
	buf_release(&b);
	buf_release(&note);
}

static void
link_bodies(void **state)
{
	struct witness_request r;
	uint8_t root[32], digest[32];
	const char *why = "";
	struct buf b;

	(void)state;
	buf_init(&b);
	wlog_add_key(&log_, 40, 200, 0, &b);
	assert_true(parses(&b, true, &r, &why));
	assert_int_equal(r.link.seq, 200);
	assert_true(r.link.clean);
	assert_int_equal(r.link.ranges, 3); /* 128 + 64 + 8 */
	assert_memory_equal(r.link.key.public, log_.public[1], 32);
	wlog_digest(&log_, 2, digest);
	assert_memory_equal(r.link.after, digest, 32);
	witness_link_root(&r.link, root);
	assert_memory_equal(root, r.note.root, 32);

	wlog_add_key(&log_, 201, 300, 2, &b);
	assert_true(parses(&b, true, &r, &why));
	assert_false(r.link.clean);
	buf_release(&b);
}

/* `from` in the body is replaced by `to`. */
static void
expect_bad_link(const char *from, const char *to, const char *words)
{
	const char *at;
	struct buf b, changed;

	buf_init(&b);
	buf_init(&changed);
	wlog_add_key(&log_, 40, 200, 0, &b);
	at = strstr(buf_text(&b), from);
	assert_non_null(at);
	buf_put(&changed, b.data, (size_t)(at - (const char *)b.data));
	buf_put_text(&changed, to);
	buf_put_text(&changed, at + strlen(from));
	expect_bad(buf_text(&changed), changed.len, true, words);
	buf_release(&changed);
	buf_release(&b);
}

static void
malformed_links(void **state)
{
	struct buf b;
	char *origin;

	(void)state;
	expect_bad_link("leaf/1 200 135", "leaf/1 200 133", "field");
	expect_bad_link("leaf/1 200 135", "leaf/1 200 200", "key record");
	expect_bad_link("leaf/1 200 135", "leaf/1 201 135", "range");
	/* As many hashes, but not the last record. */
	expect_bad_link("leaf/1 200 135", "leaf/1 208 135", "last");
	expect_bad_link("leaf/1 200 135", "leaf/2 200 135", "");
	expect_bad_link("clean yes", "clean maybe", "key record malformed");
	expect_bad_link("vkey example.test", "vkey example.text", "key id");
	expect_bad_link("reason daily\n", "", "another field");
	expect_bad_link("next ", "next A", "malformed");
	/* The checkpoint of another log than the key's. */
	buf_init(&b);
	wlog_add_key(&log_, 40, 200, 0, &b);
	origin = strstr((char *)buf_text(&b), "\n\n" WLOG_ORIGIN "\n");
	assert_non_null(origin);
	origin[2] = 'X';
	expect_bad(buf_text(&b), b.len, true, "another name");
	buf_release(&b);
}

static void
every_consistency_proof(void **state)
{
	const struct tree_source source = {wlog_node, &log_};
	uint8_t old_root[32], root[32], proof[64][32];
	struct buf b;

	(void)state;
	buf_init(&b);
	for (uint64_t size = 1; size <= 130; size++) {
		wlog_root(&log_, size, root);
		for (uint64_t old = 1; old < size; old++) {
			size_t n;

			wlog_root(&log_, old, old_root);
			buf_clear(&b);
			assert_int_equal(
			    tree_consistency(&source, old, size, &b), 0);
			n = b.len / 32;
			memset(proof, 0, sizeof proof);
			memcpy(proof, b.data, b.len);
			assert_true(witness_consistent(old, old_root, size,
			    root, (const uint8_t(*)[32])proof, n));
			/* One more, one less, and each of them changed. */
			assert_false(witness_consistent(old, old_root, size,
			    root, (const uint8_t(*)[32])proof, n + 1));
			assert_false(witness_consistent(old, old_root, size,
			    root, (const uint8_t(*)[32])proof, n - 1));
			for (size_t i = 0; i < n; i++) {
				proof[i][0] ^= 1;
				assert_false(
				    witness_consistent(old, old_root, size,
					root, (const uint8_t(*)[32])proof, n));
				proof[i][0] ^= 1;
			}
			assert_false(witness_consistent(size, root, old,
			    old_root, (const uint8_t(*)[32])proof, n));
			old_root[31] ^= 1;
			assert_false(witness_consistent(old, old_root, size,
			    root, (const uint8_t(*)[32])proof, n));
		}
	}
	/* Nothing and the same need no proof, and may have none. */
	assert_true(witness_consistent(0, root, 130, root, NULL, 0));
	assert_false(witness_consistent(
	    0, root, 130, root, (const uint8_t(*)[32])proof, 1));
	assert_true(witness_consistent(130, root, 130, root, NULL, 0));
	assert_false(witness_consistent(130, old_root, 130, root, NULL, 0));
	assert_false(witness_consistent(
	    130, root, 130, root, (const uint8_t(*)[32])proof, 1));
	buf_release(&b);
}

static void
cosignatures(void **state)
{
	static const char body[] =
	    "example.test/log\n1\n"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
	char dir[] = "/tmp/chancery-test-XXXXXX", path[64], why[256] = "";
	struct witness_key *k;
	struct buf vkey, line, message;
	uint8_t public[33], blob[76], hash[32];
	const char *text;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/key", dir);
	assert_false(witness_key_make(path, "a b", why, sizeof why));
	assert_true(witness_key_make(path, NAME, why, sizeof why));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(witness_key_make(path, NAME, why, sizeof why));
	assert_non_null(strstr(why, "exists"));
	k = witness_key_load(path, why, sizeof why);
	assert_non_null(k);
	assert_string_equal(witness_key_name(k), NAME);

	buf_init(&vkey);
	witness_key_put_vkey(k, &vkey);
	text = buf_text(&vkey);
	assert_memory_equal(text, NAME "+", sizeof NAME);
	assert_true(text_get_base64_fixed(
	    view_text(text + sizeof NAME + 9), public, sizeof public));
	assert_int_equal(public[0], 4);
	crypto_sha256_parts(
	    (const struct view[]){view_text(NAME "\n"), view_of(public, 33)}, 2,
	    hash);

	buf_init(&line);
	assert_false(witness_key_cosign(k, view_text(body), 0, &line));
	assert_true(witness_key_cosign(k, view_text(body), 1679315147, &line));
	text = buf_text(&line);
	assert_memory_equal(text, EM NAME " ", sizeof EM + sizeof NAME - 1);
	assert_int_equal(line.len, sizeof EM + sizeof NAME - 1 + 104 + 1);
	assert_int_equal(text[line.len - 1], '\n');
	assert_true(text_get_base64_fixed(
	    view_of(text + line.len - 105, 104), blob, sizeof blob));
	assert_memory_equal(blob, hash, 4);
	assert_memory_equal(blob + 4, "\0\0\0\0\x64\x18\x50\xcb", 8);
	buf_init(&message);
	buf_printf(&message, "cosignature/v1\ntime 1679315147\n%s", body);
	assert_true(
	    crypto_verify(public + 1, message.data, message.len, blob + 12));
	buf_release(&message);
	buf_release(&line);
	buf_release(&vkey);
	witness_key_free(k);
	assert_int_equal(unlink(path), 0);
	assert_null(witness_key_load(path, why, sizeof why));
	assert_int_equal(rmdir(dir), 0);
}

static void
broken_key_files(void **state)
{
	static const char *const text[] = {"", "\n", "PRIVATE+KEY+",
	    "PRIVATE+KEY+a+00000000+AA==\n",
	    /* of another algorithm, with another id, without its end */
	    "PRIVATE+KEY+a+00000000+"
	    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	    "PRIVATE+KEY+a+00000000+"
	    "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	    "PRIVATE+KEY+a+00000000+"
	    "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	char path[] = "/tmp/chancery-test-XXXXXX", why[256];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, text[i], strlen(text[i]), 0),
		    (ssize_t)strlen(text[i]));
		assert_null(witness_key_load(path, why, sizeof why));
		assert_non_null(strstr(why, "not the key"));
	}
	assert_int_equal(close(fd), 0);
	assert_int_equal(unlink(path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(checkpoint_bodies),
	    cmocka_unit_test(cut_bodies),
	    cmocka_unit_test(malformed_bodies),
	    cmocka_unit_test(link_bodies),
	    cmocka_unit_test(malformed_links),
	    cmocka_unit_test(every_consistency_proof),
	    cmocka_unit_test(cosignatures),
	    cmocka_unit_test(broken_key_files),
	};
	int failed;

	crypto_init();
	wlog_init(&log_);
	wlog_grow(&log_, 200, "a");
	(void)wlog_rotate(&log_, 1, true);
	wlog_grow(&log_, 300, "a");
	(void)wlog_rotate(&log_, 2, false);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	wlog_free(&log_);
	return failed;
}
