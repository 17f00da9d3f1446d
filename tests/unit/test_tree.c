#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/tree.h"

#include "export/verify_tree.h"

#define MOST 600

/* The definition of RFC 6962 section 2.1, word for word. */
static uint8_t leaf_hash[70000][32];

static void
naive_root(uint64_t first, uint64_t end, uint8_t out[32])
{
	uint8_t in[65];
	uint64_t k = 1;

	if (first == end) {
		crypto_sha256("", 0, out);
		return;
	}
	if (end - first == 1) {
		memcpy(out, leaf_hash[first], 32);
		return;
	}
	while (k * 2 < end - first)
		k *= 2;
	in[0] = 1;
	naive_root(first, first + k, in + 1);
	naive_root(first + k, end, in + 33);
	crypto_sha256(in, sizeof in, out);
}

static void
make_leaves(void)
{
	for (uint32_t i = 0; i < sizeof leaf_hash / sizeof leaf_hash[0]; i++) {
		uint8_t in[5] = {0, (uint8_t)(i >> 24), (uint8_t)(i >> 16),
		    (uint8_t)(i >> 8), (uint8_t)i};

		crypto_sha256(in, sizeof in, leaf_hash[i]);
	}
}

/* Full tiles as a journal keeps them. */
static struct {
	uint8_t data[TREE_TILE_LEN];
} tiles[2][300];
static size_t tile_count[2];

static int
keep_tile(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
	(void)arg;
	assert_true(level < 2);
	assert_int_equal(index, tile_count[level]);
	assert_true(index < 300);
	memcpy(tiles[level][index].data, hashes, TREE_TILE_LEN);
	tile_count[level]++;
	return 0;
}

static int
refuse_tile(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
	(void)arg;
	(void)level;
	(void)index;
	(void)hashes;
	return 7;
}

static int
naive_node(void *arg, unsigned height, uint64_t index, uint8_t out[32])
{
	uint64_t *asked = arg;

	if (asked != NULL)
		++*asked;
	naive_root(index << height, (index + 1) << height, out);
	return 0;
}

static struct tree *
new_tree(void)
{
	struct tree *t = malloc(sizeof *t);

	assert_non_null(t);
	tree_init(t);
	tile_count[0] = tile_count[1] = 0;
	return t;
}

/* Inputs and roots of the test data that RFC 6962 implementations share. */
static void
published_vectors(void **state)
{
	static const char *const input[8] = {"", "00", "10", "2021", "3031",
	    "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
	static const char *const root[9] = {
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
	struct tree *t = new_tree();
	uint8_t got[32], want[32];

	(void)state;
	for (size_t n = 0; n <= 8; n++) {
		uint8_t bytes[16], hash[32];
		size_t len;

		tree_root(t, got);
		assert_true(text_get_hex(view_text(root[n]), want, 32));
		assert_memory_equal(got, want, 32);
		if (n == 8)
			break;
		len = strlen(input[n]) / 2;
		assert_true(
		    len == 0 || text_get_hex(view_text(input[n]), bytes, len));
		tree_leaf_hash(bytes, len, hash);
		assert_int_equal(tree_add(t, hash, keep_tile, NULL), 0);
	}
	free(t);
}

static void
roots_agree_with_the_definition(void **state)
{
	struct tree *t = new_tree();
	const struct tree_source naive = {naive_node, NULL};
	uint8_t got[32], want[32];

	(void)state;
	for (uint64_t n = 0; n <= MOST; n++) {
		naive_root(0, n, want);
		tree_root(t, got);
		assert_memory_equal(got, want, 32);
		assert_int_equal(tree_root_at(&naive, n, got), 0);
		assert_memory_equal(got, want, 32);
		assert_int_equal(tree_add(t, leaf_hash[n], keep_tile, NULL), 0);
	}
	assert_int_equal(t->size, MOST + 1);
	assert_int_equal(tile_count[0], 2);
	free(t);
}

static int
load_from_tiles(
    void *arg, unsigned level, uint64_t first, unsigned count, uint8_t *hashes)
{
	(void)arg;
	for (unsigned i = 0; i < count; i++, hashes += 32)
		if (level == 0)
			memcpy(hashes, leaf_hash[first + i], 32);
		else
			tree_tile_node(
			    tiles[level - 1][first + i].data, 8, 0, hashes);
	return 0;
}

/* Over the border of the second tile level, and loaded again at many sizes. */
static void
large_and_loaded_trees(void **state)
{
	static const uint64_t sizes[] = {1, 255, 256, 257, 511, 512, 65535,
	    65536, 65537, 65791, 65792, 65793, 69999};
	struct tree *t = new_tree();
	struct tree *u = malloc(sizeof *u);
	uint8_t got[32], want[32];
	size_t next = 0;

	(void)state;
	assert_non_null(u);
	for (uint64_t n = 0; n < 70000; n++) {
		if (next < sizeof sizes / sizeof sizes[0] && n == sizes[next]) {
			next++;
			naive_root(0, n, want);
			tree_root(t, got);
			assert_memory_equal(got, want, 32);
			assert_int_equal(
			    tree_load(u, n, load_from_tiles, NULL), 0);
			tree_root(u, got);
			assert_memory_equal(got, want, 32);
		}
		assert_int_equal(tree_add(t, leaf_hash[n], keep_tile, NULL), 0);
		if (next > 0 && u->size == n && n % 7 != 3)
			assert_int_equal(
			    tree_add(u, leaf_hash[n], refuse_tile, NULL),
			    n % 256 == 255 ? 7 : 0);
	}
	assert_int_equal(next, sizeof sizes / sizeof sizes[0]);
	assert_int_equal(tile_count[0], 70000 / 256);
	assert_int_equal(tile_count[1], 1);
	tree_tile_node(tiles[1][0].data, 8, 0, got);
	naive_root(0, 65536, want);
	assert_memory_equal(got, want, 32);
	free(u);
	free(t);
}

/* Every node that the edge says it holds is the right one. */
static void
held_nodes_are_right(void **state)
{
	struct tree *t = new_tree();
	struct tree *u = malloc(sizeof *u);
	uint8_t got[32], want[32];
	unsigned held = 0;

	(void)state;
	assert_non_null(u);
	for (uint64_t n = 0; n < 700; n++)
		assert_int_equal(tree_add(t, leaf_hash[n], keep_tile, NULL), 0);
	assert_int_equal(tree_load(u, 700, load_from_tiles, NULL), 0);
	for (unsigned h = 0; h < 10; h++)
		for (uint64_t i = 0; i < 700; i++) {
			if (tree_held(t, h, i, got)) {
				assert_true((i + 1) << h <= 700);
				naive_root(i << h, (i + 1) << h, want);
				assert_memory_equal(got, want, 32);
				held++;
			}
			if (tree_held(u, h, i, got)) {
				naive_root(i << h, (i + 1) << h, want);
				assert_memory_equal(got, want, 32);
			}
		}
	assert_true(held > 256);
	assert_false(tree_held(t, 0, 0, got));
	assert_false(tree_held(t, 0, 700, got));
	assert_false(tree_held(t, 64, 0, got));
	assert_true(tree_held(t, 0, 699, got));
	assert_true(tree_held(t, 8, 1, got));
	free(u);
	free(t);
}

static void
every_consistency_proof(void **state)
{
	const struct tree_source naive = {naive_node, NULL};
	uint8_t old_root[32], root[32];
	struct buf proof;

	(void)state;
	buf_init(&proof);
	for (uint64_t n = 0; n <= 70; n++) {
		naive_root(0, n, root);
		for (uint64_t m = 0; m <= n; m++) {
			naive_root(0, m, old_root);
			buf_clear(&proof);
			assert_int_equal(
			    tree_consistency(&naive, m, n, &proof), 0);
			assert_true(proof.len <= TREE_PROOF_MAX * 32);
			assert_true(tree_consistency_check(
			    m, old_root, n, root, buf_view(&proof)));
			/* Each wrong hash, root, size and length is refused. */
			for (size_t i = 0; i < proof.len; i += 32) {
				proof.data[i] ^= 1;
				assert_false(tree_consistency_check(
				    m, old_root, n, root, buf_view(&proof)));
				proof.data[i] ^= 1;
			}
			/* Any tree adds to the empty one. */
			root[31] ^= 1;
			assert_int_equal(tree_consistency_check(m, old_root, n,
					     root, buf_view(&proof)),
			    m == 0 && n > 0);
			root[31] ^= 1;
			old_root[0] ^= 1;
			assert_false(tree_consistency_check(
			    m, old_root, n, root, buf_view(&proof)));
			old_root[0] ^= 1;
			if (proof.len > 0)
				assert_false(
				    tree_consistency_check(m, old_root, n, root,
					view_of(proof.data, proof.len - 32)));
			buf_put(&proof, root, 32);
			assert_false(tree_consistency_check(
			    m, old_root, n, root, buf_view(&proof)));
			if (m > 0 && m < n)
				assert_false(tree_consistency_check(n, root, m,
				    old_root, view_of(proof.data, 0)));
		}
	}
	assert_int_equal(tree_consistency(&naive, 5, 4, &proof), -1);
	buf_release(&proof);
}

static void
every_inclusion_proof(void **state)
{
	const struct tree_source naive = {naive_node, NULL};
	uint8_t leaf[32], root[32], got[32];
	struct buf path;

	(void)state;
	buf_init(&path);
	for (uint64_t n = 1; n <= 70; n++) {
		naive_root(0, n, root);
		for (uint64_t m = 0; m < n; m++) {
			naive_root(m, m + 1, leaf);
			buf_clear(&path);
			assert_int_equal(
			    tree_inclusion(&naive, m, n, &path), 0);
			assert_true(verify_tree_inclusion(
			    m, n, leaf, buf_view(&path), got));
			assert_memory_equal(got, root, 32);
			for (size_t i = 0; i < path.len; i += 32) {
				path.data[i] ^= 1;
				assert_true(verify_tree_inclusion(
				    m, n, leaf, buf_view(&path), got));
				assert_memory_not_equal(got, root, 32);
				path.data[i] ^= 1;
			}
			if (path.len > 0)
				assert_false(verify_tree_inclusion(m, n, leaf,
				    view_of(path.data, path.len - 32), got));
			buf_put(&path, root, 32);
			assert_false(verify_tree_inclusion(
			    m, n, leaf, buf_view(&path), got));
		}
		assert_int_equal(tree_inclusion(&naive, n, n, &path), -1);
		assert_false(verify_tree_inclusion(
		    n, n, leaf, view_of(path.data, 0), got));
	}
	buf_release(&path);
}

/* RFC 6962 section 2.1.3: the seven-leaf example names the nodes. */
static void
rfc_example_nodes(void **state)
{
	const struct tree_source naive = {naive_node, NULL};
	uint8_t want[4][32];
	struct buf proof;

	(void)state;
	buf_init(&proof);
	naive_root(2, 3, want[0]); /* c */
	naive_root(3, 4, want[1]); /* d */
	naive_root(0, 2, want[2]); /* g */
	naive_root(4, 7, want[3]); /* l */
	assert_int_equal(tree_consistency(&naive, 3, 7, &proof), 0);
	assert_int_equal(proof.len, sizeof want);
	assert_memory_equal(proof.data, want, sizeof want);
	buf_clear(&proof);
	assert_int_equal(tree_consistency(&naive, 4, 7, &proof), 0);
	assert_int_equal(proof.len, 32);
	assert_memory_equal(proof.data, want[3], 32);
	buf_clear(&proof);
	naive_root(4, 6, want[0]);
	naive_root(6, 7, want[1]);
	naive_root(0, 4, want[2]);
	assert_int_equal(tree_consistency(&naive, 6, 7, &proof), 0);
	assert_int_equal(proof.len, 96);
	assert_memory_equal(proof.data, want, 96);
	buf_release(&proof);
}

/* left, the batch's leaves and right fold to the root: what adapters check. */
static void
ranges_fold_to_the_root(void **state)
{
	const struct tree_source naive = {naive_node, NULL};

	(void)state;
	for (uint64_t size = 1; size <= 40; size++)
		for (uint64_t first = 0; first < size; first++)
			for (uint64_t end = first + 1; end <= size; end++) {
				struct buf all;
				uint64_t width[64 + 64], at = 0;
				uint8_t node[64 + 64][32], want[32];
				size_t n = 0, used = 0;

				buf_init(&all);
				assert_int_equal(
				    tree_range(&naive, 0, first, &all), 0);
				for (uint64_t i = first; i < end; i++)
					buf_put(&all, leaf_hash[i], 32);
				assert_int_equal(
				    tree_range(&naive, end, size, &all), 0);
				/* A stack of perfect subtrees, by position. */
				while (at < size) {
					uint64_t w = 1;

					if (at < first || at >= end) {
						uint64_t stop =
						    at < first ? first : size;

						while (at % (w * 2) == 0 &&
						    at + w * 2 <= stop)
							w *= 2;
					}
					memcpy(node[n], all.data + used, 32);
					width[n++] = w;
					used += 32;
					at += w;
					while (n >= 2 &&
					    width[n - 1] == width[n - 2] &&
					    at % (2 * width[n - 1]) == 0) {
						n--;
						tree_node_hash(node[n - 1],
						    node[n], node[n - 1]);
						width[n - 1] *= 2;
					}
				}
				assert_int_equal(used, all.len);
				for (; n > 1; n--)
					tree_node_hash(node[n - 2], node[n - 1],
					    node[n - 2]);
				naive_root(0, size, want);
				assert_memory_equal(node[0], want, 32);
				buf_release(&all);
			}
}

static int
no_node(void *arg, unsigned height, uint64_t index, uint8_t out[32])
{
	(void)arg;
	(void)height;
	(void)index;
	(void)out;
	return -1;
}

static void
missing_nodes_are_reported(void **state)
{
	const struct tree_source none = {no_node, NULL};
	uint8_t root[32], empty[32];
	struct buf out;

	(void)state;
	buf_init(&out);
	assert_int_equal(tree_root_at(&none, 3, root), -1);
	assert_int_equal(tree_consistency(&none, 2, 3, &out), -1);
	assert_int_equal(tree_range(&none, 0, 3, &out), -1);
	assert_int_equal(tree_root_at(&none, 0, root), 0);
	tree_empty_root(empty);
	assert_memory_equal(root, empty, 32);
	buf_release(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vectors),
	    cmocka_unit_test(roots_agree_with_the_definition),
	    cmocka_unit_test(large_and_loaded_trees),
	    cmocka_unit_test(held_nodes_are_right),
	    cmocka_unit_test(every_consistency_proof),
	    cmocka_unit_test(every_inclusion_proof),
	    cmocka_unit_test(rfc_example_nodes),
	    cmocka_unit_test(ranges_fold_to_the_root),
	    cmocka_unit_test(missing_nodes_are_reported),
	};

	crypto_init();
	make_leaves();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
