/*
 * Key chains written by hand, from the words of chancery-journal(5) alone,
 * good and bad: each bad one is of records and checkpoints that some key of
 * the chain has signed, and that a naive reader takes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/unit/verify_fixture.h"

#include "export/verify_chain.h"

#define VECTORS "tests/golden/journal/chains.json"
#define KEYS 4
#define BLOCKS_MAX 4
#define OPEN 128
#define KEY 135
#define RECOVER 140
#define NAMELESS 200 /* a kind that version 1 does not have */
#define OTHER_NAME "example.test/journal/ffff0002"

/* A block: its record, and who signs the checkpoint of how many. */
struct step {
	unsigned kind; /* 0: no further block */
	uint64_t seq;
	unsigned epoch, key;
	const char *reason, *clean;
	uint64_t size;
	unsigned signer;
	const char *name; /* of the key; NULL: the right one */
};

static struct fix keys[KEYS];
static struct verify_key genesis;

static int
make_keys(void **state)
{
	const char *why;

	(void)state;
	for (unsigned k = 0; k < KEYS; k++)
		fix_init(&keys[k], (uint8_t)(k + 1));
	return verify_key_parse(view_text(keys[0].vkey), &genesis, &why) ? 0
									 : -1;
}

static int
free_keys(void **state)
{
	(void)state;
	for (unsigned k = 0; k < KEYS; k++)
		fix_free(&keys[k]);
	return 0;
}

static void
put_vkey(const char *name, const struct fix *key, struct buf *out)
{
	uint8_t id[32], typed[33] = {1};
	struct buf b;

	memcpy(typed + 1, key->public, 32);
	buf_init(&b);
	buf_printf(&b, "%s\n", name);
	buf_put(&b, typed, sizeof(typed));
	crypto_sha256(b.data, b.len, id);
	buf_release(&b);
	buf_printf(out, "%s+", name);
	text_put_hex(out, id, 4);
	buf_put_text(out, "+");
	text_put_base64(out, typed, sizeof(typed));
}

static void
put_record(struct fix *f, const struct step *s)
{
	const struct fix *next = &keys[(s->key + 1) % KEYS];
	struct buf vkey, hex;
	uint8_t digest[32];

	buf_init(&vkey);
	buf_init(&hex);
	put_vkey(s->name != NULL ? s->name : FIX_ORIGIN, &keys[s->key], &vkey);
	crypto_sha256(next->public, 32, digest);
	text_put_hex(&hex, digest, 32);
	if (s->kind == OPEN)
		fix_control(f, OPEN,
		    "journal %s\norigin %s\nvkey %s\nnext %s\n"
		    "software chancery/0.1\nsegment 0\nnote -\n",
		    FIX_UUID, FIX_ORIGIN, buf_text(&vkey), buf_text(&hex));
	else if (s->kind == RECOVER)
		fix_control(f, RECOVER,
		    "old %u\nsize 3\nroot -\norigin %s\nvkey %s\nnext %s\n"
		    "reason %s\nby uid:1\n",
		    s->epoch, FIX_ORIGIN, buf_text(&vkey), buf_text(&hex),
		    s->reason);
	else
		fix_control(f, s->kind,
		    "epoch %u\nvkey %s\nnext %s\nreason %s\nclean %s\n",
		    s->epoch, buf_text(&vkey), buf_text(&hex), s->reason,
		    s->clean);
	buf_release(&vkey);
	buf_release(&hex);
}

/* Posts, and each block's record; where two have one number, the i-th. */
static void
make_tree(struct fix *f, const struct step *all, unsigned i)
{
	while (f->n < all[i].size) {
		const struct step *here = f->n == all[i].seq ? &all[i] : NULL;

		for (unsigned k = 0; here == NULL && k < BLOCKS_MAX; k++)
			if (all[k].kind != 0 && all[k].seq == f->n)
				here = &all[k];
		if (here != NULL)
			put_record(f, here);
		else
			fix_post(f, "as it was said");
	}
}

/* The roots of the perfect subtrees between. */
static void
put_range(struct buf *out, const char *word, const struct fix *f, uint64_t from,
    uint64_t to)
{
	uint8_t hash[32];

	buf_put_text(out, word);
	while (from < to) {
		uint64_t n = 1;

		while (from % (n * 2) == 0 && from + n * 2 <= to)
			n *= 2;
		fix_mth(f, from, n, hash);
		buf_put_text(out, " ");
		text_put_base64(out, hash, sizeof(hash));
		from += n;
	}
	buf_put_text(out, "\n");
}

static void
put_block(struct buf *out, const struct step *all, unsigned i)
{
	const char *leaf;
	struct fix f;
	struct buf note;

	fix_init(&f, 1);
	make_tree(&f, all, i);
	f.former = &keys[all[i].signer];
	f.turn = f.n;
	leaf = f.rec[all[i].seq].leaf;
	buf_init(&note);
	fix_note(&f, f.n, &note);
	buf_put_text(out, "leaf ");
	text_put_base64(out, leaf, strlen(leaf));
	put_range(out, "\nleft", &f, 0, all[i].seq);
	put_range(out, "right", &f, all[i].seq + 1, f.n);
	buf_put_text(out, "note ");
	text_put_base64(out, note.data, note.len);
	buf_put_text(out, "\n");
	buf_release(&note);
	fix_free(&f);
}

static bool
read_chain(const struct step *all, struct verify_chain *out, unsigned *line,
    const char **why)
{
	struct buf text;
	bool ok;

	buf_init(&text);
	buf_put_text(&text, "chancery/keys/1\n");
	for (unsigned i = 0; i < BLOCKS_MAX && all[i].kind != 0; i++)
		put_block(&text, all, i);
	ok = verify_chain_parse(buf_view(&text), &genesis, out, line, why);
	buf_release(&text);
	return ok;
}

#define GENESIS                                                                \
	{                                                                      \
		.kind = OPEN, .size = 3                                        \
	}
#define LINK(seq, epoch, reason, clean, size, signer)                          \
	{                                                                      \
		KEY, seq, epoch, epoch, reason, clean, size, signer, NULL      \
	}
#define CLEAN LINK(4, 1, "daily", "yes", 5, 0)
#define STOLEN LINK(4, 1, "compromise", "no", 5, 1)

static void
links(void **state)
{
	static const struct step all[BLOCKS_MAX] = {GENESIS, CLEAN,
	    LINK(5, 2, "compromise", "no", 6, 2),
	    LINK(6, 3, "start", "yes", 7, 2)};
	static const uint64_t from[BLOCKS_MAX] = {0, 6, 6, 8};
	struct verify_chain chain;
	const char *why;
	unsigned line;

	(void)state;
	if (!read_chain(all, &chain, &line, &why))
		fail_msg("line %u: %s", line, why);
	assert_int_equal(chain.count, BLOCKS_MAX);
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		assert_int_equal(chain.epoch[i].epoch, i);
		assert_int_equal(chain.epoch[i].from, from[i]);
		assert_memory_equal(
		    chain.epoch[i].key.public, keys[i].public, 32);
	}
	verify_chain_release(&chain);
}

/* Where a chain may begin, and from which size on its key signs. */
static void
beginnings(void **state)
{
	static const struct {
		struct step step[BLOCKS_MAX];
		uint64_t epoch, from;
	} all[] = {
	    {{{OPEN, 0, 0, 0, NULL, NULL, 1, 0, NULL}}, 0, 0},
	    {{{RECOVER, 4, 0, 0, "compromise", NULL, 5, 0, NULL}}, 0, 5},
	    {{{KEY, 4, 7, 0, "demand", "yes", 6, 0, NULL}}, 7, 6},
	    {{{KEY, 4, 7, 0, "compromise", "no", 5, 0, NULL}}, 7, 5},
	    /* Only a clean change ends with its record. */
	    {{GENESIS, LINK(4, 1, "compromise", "no", 7, 1)}, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct verify_chain chain;
		const char *why;
		unsigned line;

		if (!read_chain(all[i].step, &chain, &line, &why))
			fail_msg("row %zu: line %u: %s", i, line, why);
		assert_int_equal(chain.epoch[0].epoch, all[i].epoch);
		assert_int_equal(chain.epoch[0].from, all[i].from);
		verify_chain_release(&chain);
	}
}

static void
broken_links(void **state)
{
	static const char record[] = "not the key record of the next epoch",
			  close[] = "the checkpoint does not end with the key "
				    "record",
			  first[] = "does not begin with a record that can "
				    "begin a chain";
	static const struct {
		struct step step[BLOCKS_MAX];
		const char *why;
	} all[] = {
	    {{GENESIS, {RECOVER, 4, 1, 1, "compromise", NULL, 5, 0, NULL}},
		record},
	    {{GENESIS, {NAMELESS, 4, 1, 1, "daily", "yes", 5, 0, NULL}},
		record},
	    {{GENESIS, {KEY, 4, 1, 1, "daily", "yes", 5, 0, OTHER_NAME}},
		record},
	    {{GENESIS, LINK(4, 2, "daily", "yes", 5, 0)}, record},
	    {{GENESIS, {KEY, 4, 1, 2, "daily", "yes", 5, 0, NULL}},
		"the key is not the one announced before"},
	    {{GENESIS, CLEAN, LINK(3, 2, "daily", "yes", 4, 1)}, record},
	    {{GENESIS, CLEAN, LINK(3, 2, "daily", "yes", 4, 0)}, record},
	    {{GENESIS, CLEAN, LINK(4, 2, "daily", "yes", 5, 1)}, record},
	    {{GENESIS, STOLEN, LINK(3, 2, "daily", "yes", 4, 1)}, record},
	    /* a record that the block before shows to be another one */
	    {{GENESIS, LINK(0, 1, "daily", "yes", 1, 0)}, record},
	    {{GENESIS, STOLEN, LINK(4, 2, "daily", "yes", 5, 1)}, record},
	    {{GENESIS, STOLEN, LINK(4, 2, "compromise", "no", 5, 2)}, record},
	    {{GENESIS, LINK(4, 1, "daily", "yes", 6, 0)}, close},
	    {{GENESIS, LINK(4, 1, "daily", "yes", 6, 1)}, close},
	    {{GENESIS, CLEAN, LINK(7, 2, "demand", "yes", 9, 1)}, close},
	    /* words that do not go together, with what each would allow */
	    {{GENESIS, LINK(4, 1, "daily", "no", 5, 1)}, record},
	    {{GENESIS, LINK(4, 1, "compromise", "yes", 5, 0)}, record},
	    {{GENESIS, LINK(4, 1, "boredom", "yes", 5, 0)}, record},
	    {{GENESIS, LINK(4, 1, "boredom", "no", 5, 1)}, record},
	    /* the first */
	    {{{KEY, 4, 0, 0, "daily", "yes", 6, 0, NULL}}, first},
	    {{{KEY, 4, 1, 0, "daily", "no", 6, 0, NULL}}, first},
	    {{{NAMELESS, 4, 1, 0, "daily", "yes", 6, 0, NULL}}, first},
	    {{{OPEN, 1, 0, 0, NULL, NULL, 3, 0, NULL}}, first},
	    {{{OPEN, 0, 0, 1, NULL, NULL, 3, 0, NULL}},
		"begins with another key than the one given"},
	    {{{KEY, 4, 1, 0, "daily", "yes", 5, 0, NULL}},
		"the checkpoint is of an epoch before"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct verify_chain chain;
		const char *why;
		unsigned line, blocks = 0;

		while (blocks < BLOCKS_MAX && all[i].step[blocks].kind != 0)
			blocks++;
		if (read_chain(all[i].step, &chain, &line, &why))
			fail_msg("row %zu: taken", i);
		if (strcmp(why, all[i].why) != 0)
			fail_msg("row %zu: %s", i, why);
		assert_int_equal(line, 1 + 4 * blocks);
		assert_int_equal(chain.count, 0);
	}
}

/* What the second verifier reads, too. */
static void
vectors(void **state)
{
	static const char *const lists[] = {"bad_chains", "chains"};
	json_t *file = json_load_file(VECTORS, JSON_REJECT_DUPLICATES, NULL);

	(void)state;
	assert_string_equal(
	    json_string_value(json_object_get(file, "vkey")), keys[0].vkey);
	for (int good = 0; good < 2; good++) {
		const json_t *list = json_object_get(file, lists[good]), *item;
		size_t i;

		assert_int_equal(json_array_size(list), good ? 1 : 7);
		json_array_foreach(list, i, item)
		{
			struct view text = view_text(
			    json_string_value(json_object_get(item, "text")));
			struct verify_chain chain;
			const char *why;
			unsigned line;

			if (verify_chain_parse(
				text, &genesis, &chain, &line, &why) != good)
				fail_msg("%s: %s",
				    json_string_value(
					json_object_get(item, "why")),
				    why);
			verify_chain_release(&chain);
		}
	}
	json_decref(file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(links),
	    cmocka_unit_test(beginnings),
	    cmocka_unit_test(broken_links),
	    cmocka_unit_test(vectors),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
