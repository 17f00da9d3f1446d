/* adapters/: messages, proof, files that appear whole, spool. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/filing.h"
#include "adapters/message.h"
#include "adapters/output.h"
#include "adapters/proof.h"
#include "adapters/spool.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"
#include "compliance/tree.h"

#define LEAVES 40

static bool
parse(struct message *m, const char *text)
{
	struct buf why;
	bool ok;

	buf_init(&why);
	ok = message_parse(m, view_text(text), &why);
	assert_true(ok == (why.len == 0));
	buf_release(&why);
	return ok;
}

static void
test_messages_must_be_whole(void **state)
{
	static const char *const bad[] = {"", "x", "1", "[]", "\"end\"", "{}",
	    "{\"type\":1}", "{\"type\":\"end\"}",
	    "{\"type\":\"end\",\"batch\":-1}",
	    "{\"type\":\"end\",\"batch\":1.0}",
	    "{\"type\":\"end\",\"batch\":18446744073709551616}",
	    "{\"type\":\"end\",\"batch\":1,\"batch\":2}",
	    "{\"type\":\"end\",\"batch\":1} x",
	    "{\"type\":\"readback\",\"batch\":1,\"first\":2,\"last\":1,"
	    "\"location\":\"x\"}",
	    "{\"type\":\"hello\",\"protocol\":1,\"adapter\":\"a\"}",
	    "{\"type\":\"hello\",\"protocol\":\"1\"}"};
	struct message m;

	(void)state;
	message_init(&m);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(parse(&m, bad[i]));
	assert_true(parse(&m, "{\"type\":\"end\",\"batch\":9}"));
	assert_int_equal(m.type, MESSAGE_END);
	assert_true(m.number == 9);
	assert_true(parse(&m, "{\"type\":\"tomorrow\"}"));
	assert_int_equal(m.type, MESSAGE_OTHER);
	/* another protocol is told by its number, whatever else it says */
	assert_true(parse(&m, "{\"type\":\"hello\",\"protocol\":2}"));
	assert_true(m.protocol == 2);
	message_release(&m);
}

/* A leaf that commits to one part, as in chancery-journal(5). */
static void
put_leaf(
    struct buf *leaf, unsigned seq, unsigned kind, const struct adapter_part *p)
{
	static const char prefix[] = "part/1\n";
	const struct view pieces[] = {view_of(prefix, sizeof prefix - 1),
	    view_of(p->salt, sizeof p->salt), p->data};
	uint8_t hash[CRYPTO_SHA256_LEN];

	crypto_sha256_parts(pieces, 3, hash);
	buf_printf(leaf, "leaf/1 %u %u\nt 1700000000000001 5 0a1b2c3d 0\np 0 ",
	    seq, kind);
	text_put_base64(leaf, hash, sizeof hash);
	buf_put_u8(leaf, '\n');
}

static bool
check(struct adapter_event e)
{
	struct buf why;
	bool ok;

	buf_init(&why);
	ok = message_check_event(&e, &why);
	if (ok)
		assert_true(e.at == 1700000000000001);
	buf_release(&why);
	return ok;
}

static void
test_parts_open_their_commitments(void **state)
{
	struct adapter_event e = {.seq = 7, .kind = 3, .parts = 1}, other;
	struct buf leaf;

	(void)state;
	buf_init(&leaf);
	memset(e.part[0].salt, 's', sizeof e.part[0].salt);
	e.part[0].data = view_text("{\"v\":1}");
	put_leaf(&leaf, 7, 3, &e.part[0]);
	e.leaf = buf_view(&leaf);
	assert_true(check(e));

	/* every single bit of the leaf counts, but for times nobody checks */
	for (size_t i = 0; i < leaf.len; i++) {
		leaf.data[i] ^= 1;
		if (i < strlen("leaf/1 7 3\nt ") || leaf.data[i] == '\n' ||
		    i >= leaf.len - strlen("p 0 \n") - 44)
			assert_false(check(e));
		leaf.data[i] ^= 1;
	}
	for (size_t n = 0; n < leaf.len; n++) {
		other = e;
		other.leaf = view_of(leaf.data, n);
		assert_false(check(other));
	}
	other = e;
	other.part[0].salt[31] ^= 1;
	assert_false(check(other));
	other = e;
	other.part[0].data = view_text("{\"v\":2}");
	assert_false(check(other));
	other = e;
	other.parts = 0;
	assert_false(check(other));
	other.purged = true;
	assert_true(check(other));
	other = e;
	other.kind = 130;
	assert_false(check(other));
	buf_release(&leaf);
}

/* Root of the leaves [first, end), by the definition of RFC 6962. */
static void
root_of(uint8_t hashes[][TREE_HASH_LEN], size_t first, size_t end,
    uint8_t out[TREE_HASH_LEN])
{
	uint8_t left[TREE_HASH_LEN], right[TREE_HASH_LEN];
	size_t split = 1;

	if (end - first == 1) {
		memcpy(out, hashes[first], TREE_HASH_LEN);
		return;
	}
	while (split * 2 < end - first)
		split *= 2;
	root_of(hashes, first, first + split, left);
	root_of(hashes, first + split, end, right);
	tree_node_hash(left, right, out);
}

static void
put_range(
    struct buf *b, uint8_t hashes[][TREE_HASH_LEN], size_t first, size_t end)
{
	uint8_t root[TREE_HASH_LEN];

	while (first < end) {
		size_t width = 1;

		while (first % (width * 2) == 0 && first + width * 2 <= end)
			width *= 2;
		root_of(hashes, first, first + width, root);
		buf_put(b, root, sizeof root);
		first += width;
	}
}

/* Whether a batch of that place is led to the root, some byte being off. */
static bool
prove(uint8_t hashes[][TREE_HASH_LEN], size_t first, size_t last, size_t size,
    size_t spoil)
{
	uint8_t root[TREE_HASH_LEN];
	struct buf left, right, text;
	struct adapter_batch b = {.first = first, .last = last, .size = size};
	struct proof p;
	bool ok;

	buf_init(&left);
	buf_init(&right);
	buf_init(&text);
	put_range(&left, hashes, 0, first);
	put_range(&right, hashes, last + 1, size);
	root_of(hashes, 0, size, root);
	if (spoil < left.len)
		left.data[spoil] ^= 1;
	else if (spoil < left.len + right.len)
		right.data[spoil - left.len] ^= 1;
	else if (spoil < left.len + right.len + sizeof root)
		root[spoil - left.len - right.len] ^= 1;
	text_put_base64(&text, root, sizeof root);
	b.left = buf_view(&left);
	b.right = buf_view(&right);
	b.root = buf_text(&text);
	ok = proof_begin(&p, &b);
	for (size_t i = first; i <= last; i++) {
		char leaf[16];
		int n = snprintf(leaf, sizeof leaf, "leaf %zu", i);

		proof_add(&p, view_of(leaf, (size_t)n));
	}
	ok = ok && proof_end(&p, &b);
	buf_release(&left);
	buf_release(&right);
	buf_release(&text);
	return ok;
}

static void
test_proof_of_every_place(void **state)
{
	uint8_t hashes[LEAVES][TREE_HASH_LEN];

	(void)state;
	for (size_t i = 0; i < LEAVES; i++) {
		char leaf[16];
		int n = snprintf(leaf, sizeof leaf, "leaf %zu", i);

		tree_leaf_hash(leaf, (size_t)n, hashes[i]);
	}
	for (size_t size = 1; size <= LEAVES; size++)
		for (size_t first = 0; first < size; first++)
			for (size_t last = first; last < size; last++)
				assert_true(
				    prove(hashes, first, last, size, SIZE_MAX));
	for (size_t spoil = 0; spoil < 8 * TREE_HASH_LEN; spoil++)
		assert_false(prove(hashes, 11, 20, 37, spoil));
}

static void
test_output_appears_whole(void **state)
{
	char folder[] = "/tmp/chancery-adapter-XXXXXX";
	uint8_t sha256[CRYPTO_SHA256_LEN], want[CRYPTO_SHA256_LEN];
	uint64_t bytes;
	char *path, *part;
	struct output o;
	struct buf got;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = file_join(folder, "x");
	part = file_join(folder, "x.part");
	assert_int_equal(output_open(&o, path), 0);
	output_put(&o, "one ", 4);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(part, F_OK), 0);
	output_discard(&o);
	output_discard(&o);
	assert_int_equal(access(part, F_OK), -1);

	/* what a crash left behind is no hindrance */
	assert_int_equal(
	    file_replace(part, view_text("long rubbish"), 0600), 0);
	assert_int_equal(output_open(&o, path), 0);
	output_put(&o, "one ", 4);
	output_put(&o, "two", 3);
	assert_int_equal(output_commit(&o, sha256, &bytes), 0);
	crypto_sha256("one two", 7, want);
	assert_memory_equal(sha256, want, sizeof want);
	assert_int_equal(bytes, 7);
	buf_init(&got);
	assert_int_equal(file_read(path, 100, &got), 0);
	assert_string_equal(buf_text(&got), "one two");
	assert_int_equal(access(part, F_OK), -1);
	buf_release(&got);

	/* a link that stands in its way is not followed */
	assert_int_equal(symlink("/dev/null", part), 0);
	assert_int_equal(output_open(&o, path), -1);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(unlink(part), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	free(part);
	free(path);
}

static void
test_output_reports_a_full_disk(void **state)
{
	uint8_t sha256[CRYPTO_SHA256_LEN];
	uint64_t bytes;
	struct output o;
	char chunk[4096] = "x";
	char folder[] = "/tmp/chancery-adapter-XXXXXX";
	char *path;
	int full;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = file_join(folder, "x");
	assert_int_equal(output_open(&o, path), 0);
	full = open("/dev/full", O_WRONLY);
	assert_true(full >= 0);
	assert_true(dup2(full, o.fd) == o.fd);
	assert_int_equal(close(full), 0);
	for (size_t i = 0; i < 100; i++)
		output_put(&o, chunk, sizeof chunk);
	assert_int_equal(output_commit(&o, sha256, &bytes), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
	free(path);
}

static void
test_spool_gives_back_any_event(void **state)
{
	struct adapter_event e = {.kind = 3, .parts = 1};
	struct spool *s = spool_new("/tmp");
	uint8_t digest[CRYPTO_SHA256_LEN], want[CRYPTO_SHA256_LEN];
	struct message m;
	struct buf leaf, all;
	struct view line;

	(void)state;
	assert_non_null(s);
	message_init(&m);
	buf_init(&leaf);
	buf_init(&all);
	for (unsigned i = 0; i < 3000; i++) {
		char data[64];

		(void)snprintf(data, sizeof data, "{\"n\":%u}", i);
		e.seq = i;
		e.part[0].data = view_text(data);
		buf_clear(&leaf);
		put_leaf(&leaf, i, 3, &e.part[0]);
		e.leaf = buf_view(&leaf);
		assert_int_equal(spool_add(s, &e), 0);
		adapter_put_event(&all, &e);
		buf_put_u8(&all, '\n');
	}
	assert_int_equal(spool_count(s), 3000);
	assert_int_equal(spool_bytes(s), all.len);
	for (size_t i = 2999; i < 3000; i -= 7) {
		assert_int_equal(spool_event(s, i, &m), 0);
		assert_true(m.event.seq == i);
	}
	assert_int_equal(spool_line(s, 0, &line), 0);
	assert_memory_equal(line.p, all.data, line.n);
	assert_int_equal(all.data[line.n], '\n');
	assert_int_equal(spool_digest(s, digest), 0);
	crypto_sha256(all.data, all.len, want);
	assert_memory_equal(digest, want, sizeof want);
	message_release(&m);
	buf_release(&leaf);
	buf_release(&all);
	spool_free(s);
	assert_null(spool_new("/nowhere/at/all"));
}

static void
test_file_names_sort_by_time(void **state)
{
	struct adapter_config c = {
	    .adapter = "records", .origin = "example.test/journal/0a1b2c3d"};
	static const char *const bad[] = {"", "x/", "x/..", "x/a b", "x/a.b",
	    "x/012345678901234567890123456789012"};
	struct buf name;

	(void)state;
	buf_init(&name);
	assert_true(filing_name(&c, 1763795289123456, 7, &name));
	assert_string_equal(buf_text(&name),
	    "20251122T070809.123456Z-0a1b2c3d-records-00000007");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		c.origin = bad[i];
		assert_false(filing_name(&c, 0, 1, &name));
	}
	c.origin = "x/y";
	c.adapter = "../z";
	assert_false(filing_name(&c, 0, 1, &name));
	buf_release(&name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_messages_must_be_whole),
	    cmocka_unit_test(test_parts_open_their_commitments),
	    cmocka_unit_test(test_proof_of_every_place),
	    cmocka_unit_test(test_output_appears_whole),
	    cmocka_unit_test(test_output_reports_a_full_disk),
	    cmocka_unit_test(test_spool_gives_back_any_event),
	    cmocka_unit_test(test_file_names_sort_by_time),
	};

	crypto_init();
	return cmocka_run_group_tests_name("adapter", tests, NULL, NULL);
}
