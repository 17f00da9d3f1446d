/*
 * Proofs by our own code, for another implementation to compare.
 *
 * usage: prover sizes N        for each size up to N the root, and SHA-256
 *                              over all its proofs (see below)
 *        prover journal PATH   answers lines of standard input:
 *                              leaf INDEX SIZE, tree OLD SIZE, range 0 SIZE
 *
 * The records of `sizes` are their numbers, four bytes. The proofs are those of
 * inclusion of each leaf, then those of consistency of each smaller tree.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/scan.h"
#include "compliance/tree.h"

#include "export/verify_tree.h"
#include "export/witness_tree.h"

#define HEIGHTS 24

/* All nodes of perfect subtrees, by height. */
static struct buf nodes[HEIGHTS];
static uint64_t leaves;

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "prover: %s\n", what);
	exit(3);
}

static void
add_leaf(const void *p, size_t n)
{
	uint8_t hash[32];

	tree_leaf_hash(p, n, hash);
	leaves++;
	for (unsigned h = 0; h < HEIGHTS; h++) {
		buf_put(&nodes[h], hash, 32);
		if (nodes[h].failed)
			die("out of memory");
		if (nodes[h].len / 32 % 2 == 1)
			return;
		tree_node_hash(nodes[h].data + nodes[h].len - 64,
		    nodes[h].data + nodes[h].len - 32, hash);
	}
}

static int
node(void *arg, unsigned height, uint64_t index, uint8_t out[32])
{
	(void)arg;
	if (height >= HEIGHTS || index >= nodes[height].len / 32)
		return -1;
	memcpy(out, nodes[height].data + index * 32, 32);
	return 0;
}

static const struct tree_source source = {node, NULL};

static void
root_at(uint64_t size, uint8_t out[32])
{
	if (tree_root_at(&source, size, out) != 0)
		die("no root");
}

/* The outsiders' code must agree with the writer's before Go is asked. */
static void
check_consistency(uint64_t old, uint64_t size, const uint8_t root[32],
    const struct buf *proof)
{
	uint8_t hashes[TREE_PROOF_MAX][32], old_root[32];

	if (proof->len > sizeof hashes)
		die("proof too long");
	memcpy(hashes, proof->data, proof->len);
	root_at(old, old_root);
	if (!witness_consistent(old, old_root, size, root,
		(const uint8_t(*)[32])hashes, proof->len / 32))
		die("a witness refuses the proof of consistency");
}

static void
check_inclusion(uint64_t index, uint64_t size, const uint8_t root[32],
    const struct buf *proof)
{
	uint8_t leaf[32], found[32];

	if (node(NULL, 0, index, leaf) != 0 ||
	    !verify_tree_inclusion(index, size, leaf, buf_view(proof), found) ||
	    memcmp(found, root, 32) != 0)
		die("the verifier refuses the proof of inclusion");
}

static void
print_size(uint64_t size, const struct verify_tree *theirs)
{
	struct crypto_hash *all = crypto_hash_new();
	uint8_t root[32], digest[32];
	struct buf proof, line;

	if (all == NULL)
		die("out of memory");
	buf_init(&proof);
	buf_init(&line);
	root_at(size, root);
	verify_tree_root(theirs, digest);
	if (memcmp(root, digest, 32) != 0)
		die("the verifier has another root");
	for (uint64_t i = 0; i < size; i++) {
		buf_clear(&proof);
		if (tree_inclusion(&source, i, size, &proof) != 0)
			die("no proof of inclusion");
		check_inclusion(i, size, root, &proof);
		crypto_hash_add(all, proof.data, proof.len);
	}
	for (uint64_t old = 1; old < size; old++) {
		buf_clear(&proof);
		if (tree_consistency(&source, old, size, &proof) != 0)
			die("no proof of consistency");
		check_consistency(old, size, root, &proof);
		crypto_hash_add(all, proof.data, proof.len);
	}
	crypto_hash_get(all, digest);
	text_put_base64(&line, root, 32);
	buf_put_u8(&line, ' ');
	text_put_base64(&line, digest, 32);
	puts(buf_text(&line));
	crypto_hash_free(all);
	buf_release(&line);
	buf_release(&proof);
}

static int
sizes(const char *most)
{
	uint64_t n;
	struct verify_tree theirs;

	if (!view_to_u64(view_text(most), &n))
		return 2;
	verify_tree_init(&theirs);
	for (uint64_t i = 0; i < n; i++) {
		uint8_t bytes[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16),
		    (uint8_t)(i >> 8), (uint8_t)i};

		add_leaf(bytes, sizeof bytes);
		verify_tree_add(&theirs, nodes[0].data + i * 32, NULL, NULL);
		print_size(i + 1, &theirs);
	}
	return 0;
}

static void
answer(const char *what, uint64_t a, uint64_t size)
{
	struct buf proof, line;
	int r;

	buf_init(&proof);
	buf_init(&line);
	if (strcmp(what, "leaf") == 0)
		r = tree_inclusion(&source, a, size, &proof);
	else if (strcmp(what, "tree") == 0)
		r = tree_consistency(&source, a, size, &proof);
	else
		r = tree_range(&source, a, size, &proof);
	if (r != 0)
		die("no such proof");
	for (size_t at = 0; at < proof.len; at += 32) {
		if (at > 0)
			buf_put_u8(&line, ' ');
		text_put_base64(&line, proof.data + at, 32);
	}
	puts(line.len == 0 ? "" : buf_text(&line));
	(void)fflush(stdout); /* what failed is missed by who asked */
	buf_release(&line);
	buf_release(&proof);
}

static int
journal(const char *path)
{
	struct scan_record record;
	char why[256], what[8];
	struct scan *s = scan_open(path, false, why, sizeof why);
	uint64_t a, size;
	int r;

	if (s == NULL)
		die(why);
	r = scan_seek(s, 0);
	while (r == 0 && (r = scan_next(s, &record)) == 1) {
		add_leaf(record.leaf.p, record.leaf.n);
		r = 0;
	}
	if (r != 0)
		die(scan_error(s));
	scan_close(s);
	while (scanf("%7s %" SCNu64 " %" SCNu64, what, &a, &size) == 3)
		answer(what, a, size);
	return 0;
}

int
main(int argc, char **argv)
{
	int status = 2;

	crypto_init();
	if (argc == 3 && strcmp(argv[1], "sizes") == 0)
		status = sizes(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "journal") == 0)
		status = journal(argv[2]);
	for (unsigned h = 0; h < HEIGHTS; h++)
		buf_release(&nodes[h]);
	return status;
}
