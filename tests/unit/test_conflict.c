/* Which words of another history are a proof, by the key that signed them. */

#include "tests/unit/segments_fixture.h"

#include "compliance/conflict.h"

#define EPOCHS 3
#define LONGER 1000

/* Epochs 0 to 2; the key of epoch 1 was stolen. */
struct world {
	struct fixture f;
	struct crypto_key *key[EPOCHS + 1]; /* the last is anybody's */
};

static void
append_key(struct world *w, unsigned epoch, const char *how)
{
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct buf vkey;
	char fields[512];

	buf_init(&vkey);
	crypto_key_public(w->key[epoch], public);
	note_put_vkey(&vkey, view_text(ORIGIN), public);
	(void)snprintf(fields, sizeof fields,
	    "epoch %u\nvkey %s\nnext " NEXT "\n%s", epoch, buf_text(&vkey),
	    how);
	assert_int_equal(append_text(&w->f, EVENT_KEY, fields, NULL), 0);
	buf_release(&vkey);
}

static void
begin(struct world *w)
{
	static const uint8_t seed[EPOCHS + 1][CRYPTO_SEED_LEN] = {
	    {1, 2, 3}, {4}, {5}, {6}}; /* the first is the fixture's */

	new_fixture(&w->f);
	append_open(&w->f);
	for (unsigned i = 0; i <= EPOCHS; i++)
		w->key[i] = crypto_key_new(seed[i]);
	append_posts(&w->f, 3);
	append_key(w, 1, "reason demand\nclean yes\n");
	append_posts(&w->f, 3);
	append_key(w, 2, "reason compromise\nclean no\n");
	append_posts(&w->f, 3);
}

static void
end(struct world *w)
{
	for (unsigned i = 0; i <= EPOCHS; i++)
		crypto_key_free(w->key[i]);
	end_fixture(&w->f);
}

/* What a checkpoint of that size proves, with that root, by that key. */
static int
proves(struct world *w, const char *origin, uint64_t size,
    const uint8_t root[32], unsigned key)
{
	struct buf body, note;
	int r;

	buf_init(&body);
	buf_init(&note);
	note_put_body(&body, view_text(origin), size, root);
	assert_true(
	    note_sign(&note, buf_view(&body), view_text(origin), w->key[key]));
	r = conflict_is_proof(w->f.j, buf_view(&note));
	buf_release(&note);
	buf_release(&body);
	return r;
}

static void
test_only_keys_of_ours_prove(void **state)
{
	static const int expected[EPOCHS + 1] = {1, 0, 1, 0};
	uint8_t other[32] = {9}, root[32];
	struct world w;

	(void)state;
	begin(&w);
	for (unsigned i = 0; i <= EPOCHS; i++) {
		assert_int_equal(
		    proves(&w, ORIGIN, LONGER, other, i), expected[i]);
		assert_int_equal(proves(&w, ORIGIN, 4, other, i), expected[i]);
	}
	assert_int_equal(
	    proves(&w, "example.test/journal/00000000", LONGER, other, 0), 0);
	for (uint64_t size = 1; size <= journal_size(w.f.j); size++) {
		assert_int_equal(journal_root_at(w.f.j, size, root), 0);
		assert_int_equal(proves(&w, ORIGIN, size, root, 0), 0);
	}
	assert_int_equal(conflict_is_proof(w.f.j, view_text("x\n1\ny\n")), 0);
	end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_only_keys_of_ours_prove),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
