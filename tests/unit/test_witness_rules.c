/* What a witness signs and what not, over a state of its own. */

#include "tests/unit/witness_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/witness_rules.h"

#define NOW 1763800000

struct fix {
	char dir[40];
	char db[64], key[64];
	struct witness w;
	struct witness_key *secret;
	struct wlog log;
	struct buf body;
	struct witness_answer answer;
};

static void
open_state(struct fix *f)
{
	char why[256];

	f->w.store = witness_store_open(f->db, false, why, sizeof why);
	assert_non_null(f->w.store);
}

/* A log of 300 records that changes its key at 100 and, uncleanly, at 200. */
static int
set_up(void **state)
{
	struct fix *f = calloc(1, sizeof *f);
	struct verify_key key;
	uint8_t next[32];
	const char *reason;
	char why[256];
	struct buf vkey;

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->db, sizeof f->db, "%s/witness.db", f->dir);
	(void)snprintf(f->key, sizeof f->key, "%s/key", f->dir);
	assert_true(witness_key_make(f->key, "w.example/1", why, sizeof why));
	f->secret = witness_key_load(f->key, why, sizeof why);
	assert_non_null(f->secret);
	f->w.key = f->secret;
	wlog_init(&f->log);
	wlog_grow(&f->log, 100, "a");
	assert_int_equal(wlog_rotate(&f->log, 1, true), 100);
	wlog_grow(&f->log, 200, "a");
	assert_int_equal(wlog_rotate(&f->log, 2, false), 200);
	wlog_grow(&f->log, 300, "a");

	f->w.store = witness_store_open(f->db, true, why, sizeof why);
	assert_non_null(f->w.store);
	buf_init(&vkey);
	wlog_vkey(&f->log, 0, &vkey);
	assert_true(verify_key_parse(buf_view(&vkey), &key, &reason));
	wlog_digest(&f->log, 1, next);
	assert_true(witness_store_begin(f->w.store) &&
	    witness_store_add_log(f->w.store, &key, next) &&
	    witness_store_commit(f->w.store));
	buf_release(&vkey);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	static const char *const end[] = {"", "-wal", "-shm"};
	struct fix *f = *state;
	char path[80];

	witness_store_close(f->w.store);
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof path, "%s%s", f->db, end[i]);
		(void)unlink(path); /* the last close removes two of them */
	}
	assert_int_equal(unlink(f->key), 0);
	assert_int_equal(rmdir(f->dir), 0);
	witness_key_free(f->secret);
	wlog_free(&f->log);
	buf_release(&f->body);
	witness_answer_release(&f->answer);
	free(f);
	return 0;
}

static unsigned
submit(struct fix *f, bool is_link)
{
	witness_submit(&f->w, buf_view(&f->body), is_link, NOW, &f->answer);
	if (f->answer.status != 200)
		print_message("%u %s\n", f->answer.status, f->answer.why);
	return f->answer.status;
}

static unsigned
checkpoint(struct fix *f, uint64_t old, uint64_t size, unsigned epoch)
{
	wlog_add_checkpoint(&f->log, old, size, epoch, &f->body);
	return submit(f, false);
}

static unsigned
link_key(struct fix *f, uint64_t old, uint64_t seq, unsigned epoch)
{
	wlog_add_key(&f->log, old, seq, epoch, &f->body);
	return submit(f, true);
}

static uint64_t
size_of(struct fix *f)
{
	struct witness_log log;

	assert_int_equal(
	    witness_store_find(f->w.store, view_text(WLOG_ORIGIN), &log),
	    WITNESS_FOUND);
	return log.size;
}

static void
expect_size(struct fix *f, uint64_t size)
{
	char want[32];

	(void)snprintf(want, sizeof want, "%llu\n", (unsigned long long)size);
	assert_int_equal(f->answer.status, 409);
	assert_string_equal(f->answer.type, "text/x.tlog.size");
	assert_string_equal(buf_text(&f->answer.body), want);
}

/* The line of a 200 is the witness's over these three lines. */
static void
expect_cosigned(struct fix *f, uint64_t size)
{
	uint8_t root[32];
	struct buf body, line;

	buf_init(&body);
	buf_init(&line);
	wlog_root(&f->log, size, root);
	note_put_body(&body, view_text(WLOG_ORIGIN), size, root);
	assert_true(witness_key_cosign(f->secret, buf_view(&body), NOW, &line));
	assert_int_equal(f->answer.status, 200);
	assert_string_equal(buf_text(&f->answer.body), buf_text(&line));
	assert_int_equal(size_of(f), size);
	buf_release(&line);
	buf_release(&body);
}

static void
grows_with_proofs(void **state)
{
	struct fix *f = *state;

	assert_int_equal(checkpoint(f, 0, 3, 0), 200);
	expect_cosigned(f, 3);
	assert_int_equal(checkpoint(f, 3, 64, 0), 200);
	expect_cosigned(f, 64);
	assert_int_equal(checkpoint(f, 64, 64, 0), 200);
	expect_cosigned(f, 64);
	assert_int_equal(checkpoint(f, 64, 99, 0), 200);
	expect_cosigned(f, 99);
}

static void
empty_tree(void **state)
{
	static const char zero[] =
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	struct fix *f = *state;
	struct buf body;

	buf_init(&body);
	buf_printf(&body, WLOG_ORIGIN "\n0\n%s\n", zero);
	buf_put_text(&f->body, "old 0\n\n");
	assert_true(note_sign(
	    &f->body, buf_view(&body), view_text(WLOG_ORIGIN), f->log.key[0]));
	assert_int_equal(submit(f, false), 422);
	assert_int_equal(checkpoint(f, 0, 0, 0), 200);
	expect_cosigned(f, 0);
	assert_int_equal(checkpoint(f, 0, 7, 0), 200);
	expect_cosigned(f, 7);
	buf_release(&body);
}

static void
tells_its_size(void **state)
{
	struct fix *f = *state;

	assert_int_equal(checkpoint(f, 5, 9, 0), 409);
	expect_size(f, 0);
	assert_int_equal(checkpoint(f, 0, 9, 0), 200);
	assert_int_equal(checkpoint(f, 0, 20, 0), 409);
	expect_size(f, 9);
	assert_int_equal(checkpoint(f, 8, 20, 0), 409);
	expect_size(f, 9);
	/* Back: whatever is said of the old size, it is refused. */
	assert_int_equal(checkpoint(f, 4, 8, 0), 409);
	expect_size(f, 9);
	wlog_add_checkpoint(&f->log, 8, 8, 0, &f->body);
	f->body.data[4] = '9';
	assert_int_equal(submit(f, false), 400);
	assert_int_equal(size_of(f), 9);
}

static void
refuses_signers(void **state)
{
	struct fix *f = *state;
	struct buf note;

	/* A key not in force, whose name is right. */
	assert_int_equal(checkpoint(f, 0, 9, 1), 403);
	/* Lines of others do no harm. */
	wlog_add_checkpoint(&f->log, 0, 9, 0, &f->body);
	buf_put_text(&f->body, EM "other AAAAAAAAAAAAAAAA\n");
	assert_int_equal(submit(f, false), 200);
	expect_cosigned(f, 9);
	/* A wrong line of the known key beside the right one does. */
	wlog_add_checkpoint(&f->log, 9, 12, 0, &f->body);
	buf_init(&note);
	wlog_note(&f->log, 11, 0, &note);
	buf_put_text(&f->body, strstr(buf_text(&note), EM));
	assert_int_equal(submit(f, false), 403);
	buf_release(&note);
	assert_int_equal(size_of(f), 9);
}

static void
refuses_unknown_logs(void **state)
{
	struct fix *f = *state;
	struct buf body;

	buf_init(&body);
	buf_put_text(&f->body, "old 0\n\n");
	buf_put_text(&body,
	    "elsewhere.test/log\n1\n"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
	assert_true(note_sign(&f->body, buf_view(&body),
	    view_text("elsewhere.test/log"), f->log.key[0]));
	assert_int_equal(submit(f, false), 404);
	assert_non_null(strstr(f->answer.why, "elsewhere.test/log"));
	buf_clear(&f->body);
	buf_put_text(&f->body, "rubbish");
	assert_int_equal(submit(f, false), 400);
	buf_release(&body);
}

static bool
one_conflict(void *arg, struct view kept, struct view refused)
{
	unsigned *count = arg;
	struct verify_note a, b;
	unsigned line;
	const char *why;

	assert_true(verify_note_parse(kept, &a, &line, &why));
	assert_true(verify_note_parse(refused, &b, &line, &why));
	assert_int_equal(a.size, b.size);
	assert_memory_not_equal(a.root, b.root, 32);
	++*count;
	return true;
}

static void
refuses_forks(void **state)
{
	struct fix *f = *state;
	struct wlog fork;
	uint8_t root[32];
	unsigned count = 0;
	struct witness_log log;

	assert_int_equal(checkpoint(f, 0, 50, 0), 200);
	wlog_init(&fork);
	wlog_grow(&fork, 40, "a");
	wlog_grow(&fork, 90, "b");
	/* Longer, with the proof that its own tree gives. */
	wlog_add_checkpoint(&fork, 50, 90, 0, &f->body);
	assert_int_equal(submit(f, false), 422);
	assert_null(strstr(f->answer.why, "fork"));
	/* The same size: two signatures that contradict each other. */
	wlog_add_checkpoint(&fork, 50, 50, 0, &f->body);
	assert_int_equal(submit(f, false), 422);
	assert_non_null(strstr(f->answer.why, "fork"));
	/* A proof where none belongs, and none where one does. */
	wlog_add_checkpoint(&f->log, 50, 60, 0, &f->body);
	memcpy(f->body.data, "old 60", 6);
	assert_int_equal(submit(f, false), 409);
	buf_clear(&f->body);
	wlog_proof(&f->log, 50, 60, &f->body);
	wlog_note(&f->log, 50, 0, &f->body);
	assert_int_equal(submit(f, false), 422);
	buf_clear(&f->body);
	buf_put_text(&f->body, "old 50\n\n");
	wlog_note(&f->log, 60, 0, &f->body);
	assert_int_equal(submit(f, false), 422);

	assert_int_equal(
	    witness_store_find(f->w.store, view_text(WLOG_ORIGIN), &log),
	    WITNESS_FOUND);
	assert_int_equal(log.size, 50);
	wlog_root(&f->log, 50, root);
	assert_memory_equal(log.root, root, 32);
	assert_int_equal(log.conflicts, 1);
	assert_true(
	    witness_store_each_conflict(f->w.store, one_conflict, &count));
	assert_int_equal(count, 1);
	wlog_free(&fork);
}

static void
conflicts_are_bounded(void **state)
{
	struct fix *f = *state;
	struct witness_log log;

	assert_int_equal(checkpoint(f, 0, 50, 0), 200);
	for (unsigned i = 0; i < 70; i++) {
		struct wlog fork;
		char salt[16];

		(void)snprintf(salt, sizeof salt, "%u", i);
		wlog_init(&fork);
		wlog_grow(&fork, 50, salt);
		wlog_add_checkpoint(&fork, 50, 50, 0, &f->body);
		witness_submit(
		    &f->w, buf_view(&f->body), false, NOW, &f->answer);
		assert_int_equal(f->answer.status, 422);
		wlog_free(&fork);
	}
	assert_int_equal(
	    witness_store_find(f->w.store, view_text(WLOG_ORIGIN), &log),
	    WITNESS_FOUND);
	assert_int_equal(log.conflicts, 64);
}

static void
follows_keys(void **state)
{
	struct fix *f = *state;

	assert_int_equal(checkpoint(f, 0, 60, 0), 200);
	/* Of a later epoch: not known yet. */
	assert_int_equal(checkpoint(f, 60, 150, 1), 403);
	assert_int_equal(link_key(f, 60, 100, 0), 200);
	expect_cosigned(f, 101);
	/* Once more, as after an answer that was lost. */
	assert_int_equal(link_key(f, 60, 100, 0), 409);
	expect_size(f, 101);
	assert_int_equal(link_key(f, 101, 100, 0), 200);
	expect_cosigned(f, 101);
	/* The old key is over; the new one goes on. */
	assert_int_equal(checkpoint(f, 101, 102, 0), 403);
	assert_int_equal(checkpoint(f, 101, 150, 1), 200);
	expect_cosigned(f, 150);
	/* Unclean: the new key signs the checkpoint itself, the old not. */
	assert_int_equal(link_key(f, 150, 200, 1), 403);
	assert_int_equal(link_key(f, 150, 200, 2), 200);
	expect_cosigned(f, 201);
	assert_int_equal(link_key(f, 201, 200, 2), 200);
	assert_int_equal(checkpoint(f, 201, 300, 1), 403);
	assert_int_equal(checkpoint(f, 201, 300, 2), 200);
	expect_cosigned(f, 300);
}

/* The closing checkpoint came first, as any other. */
static void
follows_keys_afterwards(void **state)
{
	struct fix *f = *state;

	assert_int_equal(checkpoint(f, 0, 101, 0), 200);
	assert_int_equal(checkpoint(f, 101, 110, 1), 403);
	assert_int_equal(link_key(f, 101, 100, 0), 200);
	assert_int_equal(checkpoint(f, 101, 110, 1), 200);
	expect_cosigned(f, 110);
}

static void
refuses_keys(void **state)
{
	struct fix *f = *state;
	struct wlog other;
	char *at;

	/* One epoch left out: its key was announced by the one between. */
	assert_int_equal(link_key(f, 0, 200, 2), 403);
	assert_non_null(strstr(f->answer.why, "announced"));
	/* The announced key, closed by itself instead of the one before. */
	assert_int_equal(link_key(f, 0, 100, 1), 403);
	/* Signed by the right key, but the record is not in that tree. */
	wlog_add_key(&f->log, 0, 100, 0, &f->body);
	at = strstr((char *)buf_text(&f->body), "reason daily");
	assert_non_null(at);
	at[7] = 'x';
	assert_int_equal(submit(f, true), 422);
	/* A thief with the current key who announces his own after it. */
	wlog_init(&other);
	wlog_grow(&other, 100, "thief");
	(void)wlog_rotate(&other, 3, true);
	wlog_add_key(&other, 0, 100, 0, &f->body);
	assert_int_equal(submit(f, true), 403);
	wlog_free(&other);
	/* The right key in another history than the one cosigned. */
	assert_int_equal(checkpoint(f, 0, 60, 0), 200);
	wlog_init(&other);
	wlog_grow(&other, 100, "fork");
	(void)wlog_rotate(&other, 1, true);
	wlog_add_key(&other, 60, 100, 0, &f->body);
	assert_int_equal(submit(f, true), 422);
	wlog_free(&other);
	/* None of these left a trace. */
	assert_int_equal(size_of(f), 60);
	assert_int_equal(checkpoint(f, 60, 100, 0), 200);
	assert_int_equal(link_key(f, 100, 100, 0), 200);
	expect_cosigned(f, 101);
}

static void
fixed_keys_stay(void **state)
{
	struct fix *f = *state;
	struct verify_key key;
	const char *reason, *fixed = "example.org/fixed";
	struct buf vkey;

	buf_init(&vkey);
	note_put_vkey(&vkey, view_text(fixed), f->log.public[0]);
	assert_true(verify_key_parse(buf_view(&vkey), &key, &reason));
	assert_true(witness_store_begin(f->w.store) &&
	    witness_store_add_log(f->w.store, &key, NULL) &&
	    witness_store_commit(f->w.store));
	buf_release(&vkey);
	{
		struct witness_log log;

		assert_int_equal(
		    witness_store_find(f->w.store, view_text(fixed), &log),
		    WITNESS_FOUND);
		assert_false(log.rotates);
		assert_false(log.cosigned);
	}
	/* A name that is taken is not taken twice. */
	assert_true(witness_store_begin(f->w.store));
	assert_false(witness_store_add_log(f->w.store, &key, NULL));
	witness_store_abort(f->w.store);
}

static void
remembers(void **state)
{
	struct fix *f = *state;

	assert_int_equal(checkpoint(f, 0, 60, 0), 200);
	assert_int_equal(link_key(f, 60, 100, 0), 200);
	witness_store_close(f->w.store);
	open_state(f);
	assert_int_equal(checkpoint(f, 0, 101, 0), 409);
	expect_size(f, 101);
	assert_int_equal(checkpoint(f, 101, 150, 0), 403);
	assert_int_equal(checkpoint(f, 101, 150, 1), 200);
	expect_cosigned(f, 150);
}

/* Two processes on one state: what one has cosigned the other knows. */
static void
one_step_for_all(void **state)
{
	struct fix *f = *state;
	struct witness_store *first = f->w.store, *second;
	char why[256];

	second = witness_store_open(f->db, false, why, sizeof why);
	assert_non_null(second);
	assert_int_equal(checkpoint(f, 0, 60, 0), 200);
	f->w.store = second;
	assert_int_equal(checkpoint(f, 0, 70, 0), 409);
	expect_size(f, 60);
	assert_int_equal(checkpoint(f, 60, 70, 0), 200);
	f->w.store = first;
	assert_int_equal(checkpoint(f, 60, 65, 0), 409);
	expect_size(f, 70);
	/* While one is inside its step, the other signs nothing. */
	assert_true(witness_store_begin(second));
	assert_int_equal(checkpoint(f, 70, 80, 0), 500);
	witness_store_abort(second);
	assert_int_equal(checkpoint(f, 70, 80, 0), 200);
	witness_store_close(second);
}

/* The fence in the database, should a rule be wrong one day. */
static void
state_does_not_go_back(void **state)
{
	struct fix *f = *state;
	const struct view note = view_text("n");
	uint8_t root[32] = {0};

	assert_int_equal(checkpoint(f, 0, 60, 0), 200);
	assert_true(witness_store_begin(f->w.store));
	assert_false(
	    witness_store_keep(f->w.store, WLOG_ORIGIN, 59, root, note, NOW));
	assert_non_null(strstr(witness_store_error(f->w.store), "goes back"));
	assert_false(
	    witness_store_keep(f->w.store, WLOG_ORIGIN, 60, root, note, NOW));
	witness_store_abort(f->w.store);
	assert_int_equal(size_of(f), 60);
}

static void
hands_out_the_newest(void **state)
{
	struct fix *f = *state;
	uint8_t hash[32];
	struct buf hex, want;

	buf_init(&hex);
	buf_init(&want);
	crypto_sha256(WLOG_ORIGIN, strlen(WLOG_ORIGIN), hash);
	text_put_hex(&hex, hash, 32);
	witness_newest(&f->w, buf_view(&hex), &f->answer);
	assert_int_equal(f->answer.status, 404);
	/* What others wrote into the note is not handed on. */
	wlog_add_checkpoint(&f->log, 0, 60, 0, &f->body);
	buf_put_text(&f->body, EM "w.example/1 AAAAAAAAAAAAAAAA\n");
	assert_int_equal(submit(f, false), 200);
	wlog_note(&f->log, 60, 0, &want);
	buf_put_view(&want, buf_view(&f->answer.body));
	witness_newest(&f->w, buf_view(&hex), &f->answer);
	assert_int_equal(f->answer.status, 200);
	assert_string_equal(buf_text(&f->answer.body), buf_text(&want));
	/* Other hashes: unknown, short, in capitals. */
	witness_newest(&f->w, view_of(hex.data, 63), &f->answer);
	assert_int_equal(f->answer.status, 404);
	hex.data[0] = hex.data[0] == '0' ? '1' : '0';
	witness_newest(&f->w, buf_view(&hex), &f->answer);
	assert_int_equal(f->answer.status, 404);
	buf_release(&want);
	buf_release(&hex);
}

static void
other_files_are_refused(void **state)
{
	struct fix *f = *state;
	char why[256] = "", path[80];
	struct stat st;

	assert_int_equal(stat(f->db, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_null(witness_store_open(f->db, true, why, sizeof why));
	assert_non_null(strstr(why, "exists"));
	(void)snprintf(path, sizeof path, "%s/none.db", f->dir);
	assert_null(witness_store_open(path, false, why, sizeof why));
	assert_null(witness_store_open(f->key, false, why, sizeof why));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(grows_with_proofs),
	    TEST(empty_tree), TEST(tells_its_size), TEST(refuses_signers),
	    TEST(refuses_unknown_logs), TEST(refuses_forks),
	    TEST(conflicts_are_bounded), TEST(follows_keys),
	    TEST(follows_keys_afterwards), TEST(refuses_keys),
	    TEST(fixed_keys_stay), TEST(remembers), TEST(one_step_for_all),
	    TEST(state_does_not_go_back), TEST(hands_out_the_newest),
	    TEST(other_files_are_refused)};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
