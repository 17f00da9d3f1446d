/*
 * The vectors of tests/golden/journal against what writes the journal and
 * against what verifies it: two implementations, one set of bytes. The
 * second verifier reads the same file, in tests/e2e/test_golden.py.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/tree.h"

#include "export/verify_leaf.h"
#include "export/verify_note.h"
#include "export/verify_tree.h"

#define VECTORS "tests/golden/journal/vectors.json"

static json_t *vectors;

static int
load(void **state)
{
	json_error_t error;

	(void)state;
	crypto_init();
	vectors = json_load_file(VECTORS, JSON_REJECT_DUPLICATES, &error);
	if (vectors == NULL)
		fprintf(stderr, VECTORS ": %s\n", error.text);
	return vectors == NULL ? -1 : 0;
}

static int
unload(void **state)
{
	(void)state;
	json_decref(vectors);
	return 0;
}

static const json_t *
member(const json_t *o, const char *name)
{
	const json_t *m = json_object_get(o, name);

	assert_non_null(m);
	return m;
}

static struct view
text_of(const json_t *s)
{
	assert_true(json_is_string(s));
	return view_of(json_string_value(s), json_string_length(s));
}

static void
assert_hex(const uint8_t hash[32], const json_t *stated)
{
	uint8_t wanted[32];

	assert_true(text_get_hex(text_of(stated), wanted, 32));
	assert_memory_equal(hash, wanted, 32);
}

static void
leaves(void **state)
{
	const json_t *list = member(vectors, "leaves"), *item;
	struct verify_leaf seen;
	struct leaf made;
	const char *why;
	uint8_t hash[32];
	unsigned line;
	size_t i;

	(void)state;
	assert_true(json_array_size(list) > 9);
	json_array_foreach(list, i, item)
	{
		struct view text = text_of(member(item, "text"));

		assert_true(leaf_parse(text, &made, &why));
		assert_true(verify_leaf_parse(text, &seen, &line, &why));
		assert_int_equal(made.head.seq, seen.seq);
		assert_int_equal(made.head.kind, seen.kind);
		assert_int_equal(made.head.at, seen.at);
		assert_int_equal(made.head.flags, seen.flags);
		assert_int_equal(made.parts, seen.parts);
		tree_leaf_hash(text.p, text.n, hash);
		assert_hex(hash, member(item, "hash"));
		verify_leaf_hash(text, hash);
		assert_hex(hash, member(item, "hash"));
	}
}

/* Whoever adds a kind of control record adds its bytes. */
static void
every_control_kind(void **state)
{
	const json_t *list = member(vectors, "leaves"), *item;
	bool seen[256] = {false};
	size_t i;

	(void)state;
	json_array_foreach(list, i, item)
	{
		struct verify_leaf leaf;
		const char *why;
		unsigned line;

		assert_true(verify_leaf_parse(
		    text_of(member(item, "text")), &leaf, &line, &why));
		seen[leaf.kind] = true;
	}
	for (unsigned kind = EVENT_CONTROL; kind < 256; kind++)
		if (event_name(kind) != NULL && !seen[kind])
			fail_msg(
			    "no vector of kind %u, %s", kind, event_name(kind));
}

static void
bad_leaves(void **state)
{
	const json_t *list = member(vectors, "bad_leaves"), *item;
	struct verify_leaf seen;
	struct leaf made;
	const char *why;
	unsigned line;
	size_t i;

	(void)state;
	assert_true(json_array_size(list) > 10);
	json_array_foreach(list, i, item)
	{
		if (leaf_parse(text_of(item), &made, &why))
			fail_msg("leaf_parse() takes bad leaf %zu", i);
		if (verify_leaf_parse(text_of(item), &seen, &line, &why))
			fail_msg("verify_leaf_parse() takes bad leaf %zu", i);
	}
}

static void
commitment(void **state)
{
	const json_t *c = member(vectors, "commitment");
	struct view data = text_of(member(c, "data"));
	uint8_t salt[32], wanted[32], found[32];

	(void)state;
	assert_true(text_get_hex(text_of(member(c, "salt")), salt, 32));
	assert_true(text_get_base64_fixed(
	    text_of(member(c, "commitment")), wanted, 32));
	leaf_commit(salt, data, found);
	assert_memory_equal(found, wanted, 32);
	verify_commitment(view_of(salt, 32), data, found);
	assert_memory_equal(found, wanted, 32);
}

static int
no_tile(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
	(void)arg;
	(void)level;
	(void)index;
	(void)hashes;
	return 0;
}

static void
add_leaf(struct tree *made, struct verify_tree *seen, uint64_t seq)
{
	const json_t *t = member(vectors, "tree");
	uint64_t first = (uint64_t)json_integer_value(member(t, "first_time"));
	struct leaf_head head = {.seq = seq,
	    .kind = 133,
	    .at = first + seq,
	    .boot = seq,
	    .boot_id = "5f0c1e9a"};
	uint8_t hash[32];
	struct buf text;

	buf_init(&text);
	leaf_put_head(&text, &head);
	tree_leaf_hash(text.data, text.len, hash);
	assert_int_equal(tree_add(made, hash, no_tile, NULL), 0);
	verify_leaf_hash(buf_view(&text), hash);
	verify_tree_add(seen, hash, NULL, NULL);
	buf_release(&text);
}

static void
roots(void **state)
{
	const json_t *list = member(member(vectors, "tree"), "roots"), *item;
	struct tree *made = calloc(1, sizeof(*made));
	struct verify_tree seen;
	uint8_t root[32];
	size_t i;

	(void)state;
	assert_non_null(made);
	tree_init(made);
	verify_tree_init(&seen);
	assert_int_equal(json_array_size(list), 12);
	json_array_foreach(list, i, item)
	{
		uint64_t size =
		    (uint64_t)json_integer_value(member(item, "size"));

		while (seen.size < size)
			add_leaf(made, &seen, seen.size);
		tree_root(made, root);
		assert_hex(root, member(item, "root"));
		verify_tree_root(&seen, root);
		assert_hex(root, member(item, "root"));
	}
	free(made);
}

static bool
writer_takes(struct view text)
{
	struct note_vkey key;
	struct note note;
	const char *why;

	assert_true(note_parse_vkey(text_of(member(vectors, "vkey")), &key));
	return note_parse(text, &note, &why) && note.size == 300 &&
	    note_verify(&note, &key, &why);
}

static bool
verifier_takes(struct view text)
{
	struct verify_key key;
	struct verify_note note;
	const char *why;
	unsigned line;

	assert_true(
	    verify_key_parse(text_of(member(vectors, "vkey")), &key, &why));
	return verify_note_parse(text, &note, &line, &why) &&
	    note.size == 300 && verify_note_signed(&note, &key, &why);
}

static void
notes(void **state)
{
	static const char *const lists[] = {"bad_notes", "notes"};
	const json_t *item;
	size_t i;

	(void)state;
	for (unsigned good = 0; good < 2; good++) {
		const json_t *list = member(vectors, lists[good]);

		assert_true(json_array_size(list) >= 3);
		json_array_foreach(list, i, item)
		{
			if (writer_takes(text_of(item)) != good)
				fail_msg(
				    "note_verify(): %s %zu", lists[good], i);
			if (verifier_takes(text_of(item)) != good)
				fail_msg("verify_note_signed(): %s %zu",
				    lists[good], i);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(leaves),
	    cmocka_unit_test(every_control_kind),
	    cmocka_unit_test(bad_leaves),
	    cmocka_unit_test(commitment),
	    cmocka_unit_test(roots),
	    cmocka_unit_test(notes),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
