#ifndef TESTS_UNIT_WITNESS_FIXTURE_H
#define TESTS_UNIT_WITNESS_FIXTURE_H

/*
 * A log to be witnessed, made by the writer's code, and bodies of requests.
 * A fork is another one whose records differ from some point on.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/note.h"
#include "compliance/tree.h"

#define WLOG_MAX 400
#define WLOG_KEYS 4
#define WLOG_ORIGIN "example.test/journal/0a1b2c3d"
#define EM "\xe2\x80\x94 "

struct wlog {
	uint64_t size;
	uint8_t hash[WLOG_MAX][32];
	char leaf[WLOG_MAX][512];
	struct crypto_key *key[WLOG_KEYS];
	uint8_t public[WLOG_KEYS][32];
};

static inline void
wlog_add(struct wlog *l, const char *text)
{
	assert_true(l->size < WLOG_MAX);
	(void)snprintf(l->leaf[l->size], sizeof l->leaf[0], "%s", text);
	tree_leaf_hash(text, strlen(text), l->hash[l->size++]);
}

/* Any records up to that size; `salt` tells forks apart. */
static inline void
wlog_grow(struct wlog *l, uint64_t size, const char *salt)
{
	char text[128];

	while (l->size < size) {
		(void)snprintf(text, sizeof text, "record %llu %s\n",
		    (unsigned long long)l->size, salt);
		wlog_add(l, text);
	}
}

static inline void
wlog_init(struct wlog *l)
{
	memset(l, 0, sizeof *l);
	for (uint8_t i = 0; i < WLOG_KEYS; i++) {
		const uint8_t seed[32] = {7, i};

		l->key[i] = crypto_key_new(seed);
		assert_non_null(l->key[i]);
		crypto_key_public(l->key[i], l->public[i]);
	}
}

static inline void
wlog_free(struct wlog *l)
{
	for (unsigned i = 0; i < WLOG_KEYS; i++)
		crypto_key_free(l->key[i]);
}

static inline void
wlog_digest(const struct wlog *l, unsigned epoch, uint8_t out[32])
{
	crypto_sha256(l->public[epoch], 32, out);
}

static inline void
wlog_vkey(const struct wlog *l, unsigned epoch, struct buf *out)
{
	note_put_vkey(out, view_text(WLOG_ORIGIN), l->public[epoch]);
}

/* The record that makes `epoch` the signing one; its number. */
static inline uint64_t
wlog_rotate(struct wlog *l, unsigned epoch, bool clean)
{
	uint8_t next[32];
	struct buf b;

	wlog_digest(l, (epoch + 1) % WLOG_KEYS, next);
	buf_init(&b);
	buf_printf(&b, "leaf/1 %llu 135\nt %llu 5 5f0c1e9a 0\nepoch %u\nvkey ",
	    (unsigned long long)l->size, 1000 + (unsigned long long)l->size,
	    epoch);
	wlog_vkey(l, epoch, &b);
	buf_put_text(&b, "\nnext ");
	text_put_hex(&b, next, 32);
	buf_printf(&b, "\nreason daily\nclean %s\n", clean ? "yes" : "no");
	wlog_add(l, buf_text(&b));
	buf_release(&b);
	return l->size - 1;
}

static inline int
wlog_node(void *arg, unsigned height, uint64_t index, uint8_t out[32])
{
	struct wlog *l = arg;
	uint8_t left[32], right[32];

	if (height == 0) {
		memcpy(out, l->hash[index], 32);
		return 0;
	}
	(void)wlog_node(l, height - 1, 2 * index, left);
	(void)wlog_node(l, height - 1, 2 * index + 1, right);
	tree_node_hash(left, right, out);
	return 0;
}

static inline void
wlog_root(struct wlog *l, uint64_t size, uint8_t out[32])
{
	const struct tree_source source = {wlog_node, l};

	assert_int_equal(tree_root_at(&source, size, out), 0);
}

static inline void
wlog_note(struct wlog *l, uint64_t size, unsigned epoch, struct buf *out)
{
	uint8_t root[32];
	struct buf body;

	wlog_root(l, size, root);
	buf_init(&body);
	note_put_body(&body, view_text(WLOG_ORIGIN), size, root);
	assert_true(note_sign(
	    out, buf_view(&body), view_text(WLOG_ORIGIN), l->key[epoch]));
	buf_release(&body);
}

static inline void
put_hashes(struct buf *out, struct view hashes)
{
	for (; hashes.n > 0; hashes = view_of(hashes.p + 32, hashes.n - 32)) {
		text_put_base64(out, hashes.p, 32);
		buf_put_u8(out, '\n');
	}
}

/* The first lines of a body, with the empty one. */
static inline void
wlog_proof(struct wlog *l, uint64_t old, uint64_t size, struct buf *out)
{
	const struct tree_source source = {wlog_node, l};
	struct buf proof;

	buf_init(&proof);
	if (old > 0 && old < size)
		assert_int_equal(
		    tree_consistency(&source, old, size, &proof), 0);
	buf_printf(out, "old %llu\n", (unsigned long long)old);
	put_hashes(out, buf_view(&proof));
	buf_put_u8(out, '\n');
	buf_release(&proof);
}

static inline void
wlog_add_checkpoint(struct wlog *l, uint64_t old, uint64_t size, unsigned epoch,
    struct buf *out)
{
	buf_clear(out);
	wlog_proof(l, old, size, out);
	wlog_note(l, size, epoch, out);
}

/* seq: of the key record. */
static inline void
wlog_add_key(
    struct wlog *l, uint64_t old, uint64_t seq, unsigned epoch, struct buf *out)
{
	const struct tree_source source = {wlog_node, l};
	struct buf range;

	buf_clear(out);
	buf_init(&range);
	wlog_proof(l, old, seq + 1, out);
	buf_put_text(out, l->leaf[seq]);
	buf_put_u8(out, '\n');
	assert_int_equal(tree_range(&source, 0, seq, &range), 0);
	put_hashes(out, buf_view(&range));
	buf_put_u8(out, '\n');
	wlog_note(l, seq + 1, epoch, out);
	buf_release(&range);
}

#endif
