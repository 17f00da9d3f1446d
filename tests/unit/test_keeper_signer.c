#include "tests/unit/keeper_fixture.h"

#include <sys/file.h>

#include "compliance/tree.h"

static void
no_signer_no_records(void **state)
{
	struct fixture f;
	uint64_t size, at;
	bool writable;
	struct reader r;

	(void)state;
	setup(&f, NULL);
	start_keeper(&f);
	assert_int_equal(hello(&f, 0, &writable, &size), 0);
	assert_false(writable);
	send_post(&f.server, 77, "{\"v\":1}");
	r = expect(&f.server, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), 77);
	assert_true(r.n > 0);
	start_signer(&f);
	link_signer(&f);
	wait_writable(&f.server, true, NULL, 0);
	wait_note(&f, 3); /* the refusal is on record, a second later */
	at = post(&f.server, 1);
	assert_true(at >= 3);
	/* Later the keeper does without one, and catches up afterwards. */
	wait_note(&f, at + 1);
	stop(&f.signer, SIGKILL);
	assert_int_equal(post(&f.server, 400), at + 1);
	start_signer(&f);
	link_signer(&f);
	wait_note(&f, at + 401);
	assert_int_equal(post(&f.server, 1), at + 401);
	wait_note(&f, at + 402);
	teardown(&f);
}

/* A stop in good order leaves every record signed. */
static void
stop_signs_the_last_record(void **state)
{
	struct fixture f;
	struct scan *s;
	uint64_t size;
	struct buf note;

	(void)state;
	setup(&f, NULL);
	buf_init(&note);
	up(&f);
	(void)post(&f.server, 3000);
	stop(&f.keeper, 0);
	s = open_scan(&f);
	assert_int_equal(scan_size(s), 3002);
	assert_int_equal(scan_note(s, &size, &note), 0);
	assert_int_equal(size, 3002);
	scan_close(s);
	buf_release(&note);
	teardown(&f);
}

/* Without a link for long, the signer asks for a new one by ending. */
static void
signer_ends_without_a_link(void **state)
{
	struct fixture f;
	int fd[2], status;
	uint64_t since;

	(void)state;
	setup(&f, NULL);
	start_signer(&f);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	give_link(&f.signer, "keeper", fd[0]);
	nap(100);
	since = now_ms();
	send_frame(fd[1], WIRE_RECEIPT, view_of(NULL, 0), -1);
	assert_int_equal(waitpid(f.signer.pid, &status, 0), f.signer.pid);
	assert_true(now_ms() - since >= 4000);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	assert_int_equal(close(fd[1]), 0);
	end_close(&f.signer.control);
	f.signer.pid = 0;
	teardown(&f);
}

/* The state as the engine is told it, when its reason has the words. */
static void
wait_state(struct end *e, bool writable, const char *words)
{
	char why[1024];

	do
		wait_writable(e, writable, why, sizeof why);
	while (words[0] == '\0' ? why[0] != '\0' : strstr(why, words) == NULL);
}

/* Recording goes on, and who asks is told that nothing is signed. */
static void
unsigned_is_told(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	up(&f);
	wait_note(&f, 2);
	link_test(&f, "engine", &f.engine);
	wait_state(&f.engine, true, "");
	assert_int_equal(chmod(f.signer_dir, 0500), 0);
	assert_int_equal(post(&f.server, 1), 2);
	wait_state(&f.engine, true, "not signed");
	assert_int_equal(chmod(f.signer_dir, 0700), 0);
	wait_state(&f.engine, true, "");
	wait_note(&f, 3);
	stop(&f.signer, SIGKILL);
	wait_state(&f.engine, true, "not signed");
	assert_int_equal(post(&f.server, 1), 3);
	start_signer(&f);
	link_signer(&f);
	wait_state(&f.engine, true, "");
	wait_note(&f, 4);
	teardown(&f);
}

/* One that lives and does not answer is no better. */
static void
silent_signer_is_told(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	f.conf.beat_s = 1;
	up(&f);
	wait_note(&f, 2);
	link_test(&f, "engine", &f.engine);
	wait_state(&f.engine, true, "");
	assert_int_equal(kill(f.signer.pid, SIGSTOP), 0);
	wait_state(&f.engine, true, "does not answer");
	assert_int_equal(kill(f.signer.pid, SIGCONT), 0);
	wait_state(&f.engine, true, "");
	teardown(&f);
}

/* Why the keeper refuses, with the signer at hand. */
static void
refusal(struct fixture *f, char *why, size_t why_len)
{
	uint64_t size;
	bool writable;
	struct reader r;

	start_keeper(f);
	start_signer(f);
	(void)hello(f, 0, &writable, &size);
	assert_false(writable);
	link_signer(f);
	nap(200);
	send_post(&f->server, 5, "{\"v\":1}");
	do {
		r = expect(&f->server, WIRE_REFUSED);
	} while (reader_u64(&r) != 5);
	(void)snprintf(why, why_len, "%.*s", (int)r.n, (const char *)r.p);
}

static void
copy_file(const char *from, const char *to)
{
	struct buf b;

	buf_init(&b);
	assert_int_equal(file_read(from, 64U << 20, &b), 0);
	assert_int_equal(file_replace(to, buf_view(&b), 0600), 0);
	give_to_user(to);
	buf_release(&b);
}

static void
restored_backup_is_refused(void **state)
{
	char copy[300], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(copy, sizeof copy, "%s/copy.db", f.dir);
	up(&f);
	(void)post(&f.server, 10);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(f.journal, copy);
	up(&f);
	(void)post(&f.server, 10);
	wait_note(&f, 22);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(copy, f.journal);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "12 records"));
	assert_non_null(strstr(why, "signed 22"));
	teardown(&f);
}

static void
fork_is_refused(void **state)
{
	char copy[300], state_file[160], state_copy[160], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(copy, sizeof copy, "%s/copy.db", f.dir);
	(void)snprintf(state_file, sizeof state_file, "%s/state", f.signer_dir);
	(void)snprintf(state_copy, sizeof state_copy, "%s/state.copy", f.dir);
	copy_file(f.journal, copy);
	copy_file(state_file, state_copy);
	up(&f);
	(void)post(&f.server, 10);
	wait_note(&f, 12);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	/* Another history, longer than the signed one, under the same key. */
	copy_file(copy, f.journal);
	copy_file(state_file, copy);
	copy_file(state_copy, state_file);
	up(&f);
	(void)post(&f.server, 20);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(copy, state_file);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "first 12 records"));
	assert_non_null(strstr(why, "fork"));
	teardown(&f);
}

/* The other one ends, as the words ask for, and nothing else is to be done. */
static void
signer_folder_in_use(void **state)
{
	struct fixture f;
	char why[1024];
	int lock;

	(void)state;
	setup(&f, NULL);
	lock = open(f.signer_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "another signer uses it"));
	assert_int_equal(flock(lock, LOCK_UN), 0);
	assert_int_equal(close(lock), 0);
	wait_state(&f.server, true, "");
	(void)post(&f.server, 1);
	teardown(&f);
}

static void
foreign_key_is_refused(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {9};
	struct crypto_key *key = crypto_key_new(seed);
	uint8_t public[CRYPTO_PUBLIC_LEN];
	char why[1024];
	struct buf vkey;
	struct fixture f;

	(void)state;
	buf_init(&vkey);
	crypto_key_public(key, public);
	note_put_vkey(&vkey, view_text(ORIGIN), public);
	setup(&f, buf_text(&vkey));
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "belongs to the key"));
	assert_non_null(strstr(why, buf_text(&vkey)));
	teardown(&f);
	buf_release(&vkey);
	crypto_key_free(key);
}

static void
lost_signer_state_is_refused(void **state)
{
	char path[160], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(path, sizeof path, "%s/state", f.signer_dir);
	assert_int_equal(unlink(path), 0);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "signed last"));
	teardown(&f);
}

/* ---- the test in the place of the signer ---- */

struct lie {
	const char *origin;
	bool key, root;
	unsigned size; /* that the note says too much */
};

static void
vkey_of(const struct crypto_key *key, struct buf *out)
{
	uint8_t public[CRYPTO_PUBLIC_LEN];

	crypto_key_public(key, public);
	note_put_vkey(out, view_text(ORIGIN), public);
}

/*
 * What a signer says of itself that signed so much, in epoch 0. next: digest
 * of the key to come, and of the one after it.
 */
static void
say_hello(struct end *e, uint64_t size, const uint8_t root[TREE_HASH_LEN],
    const uint8_t next[2 * CRYPTO_SHA256_LEN], const struct crypto_key *key)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, size);
	buf_put(&b, root, TREE_HASH_LEN);
	buf_put_u64(&b, 0);
	buf_put(&b, next, (size_t)2 * CRYPTO_SHA256_LEN);
	vkey_of(key, &b);
	send_frame(e->fd, WIRE_SIGNER, buf_view(&b), -1);
	buf_release(&b);
}

/* Signs what is asked for, but for the lie; its size and root. */
static uint64_t
answer(struct end *e, const struct lie *lie, const struct crypto_key *key,
    const struct crypto_key *other, uint8_t root[TREE_HASH_LEN])
{
	struct reader r = expect(e, WIRE_SIGN);
	struct buf body, out;
	uint64_t size;

	(void)reader_u64(&r);
	size = reader_u64(&r);
	memcpy(root, reader_take(&r, TREE_HASH_LEN).p, TREE_HASH_LEN);
	root[0] ^= lie->root;
	buf_init(&body);
	buf_init(&out);
	note_put_body(&body, view_text(lie->origin), size + lie->size, root);
	buf_put_u64(&out, size);
	assert_true(note_sign(&out, buf_view(&body), view_text(lie->origin),
	    lie->key ? other : key));
	send_frame(e->fd, WIRE_NOTE, buf_view(&out), -1);
	buf_release(&body);
	buf_release(&out);
	return size;
}

/* Reasons of before may come first. */
static void
expect_doom(struct fixture *f, const char *words)
{
	char why[1024] = "";

	while (strstr(why, words) == NULL)
		wait_writable(&f->server, false, why, sizeof why);
}

/* The keeper believes neither another note than asked for nor another key. */
static void
a_signer_that_lies(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {9}, seed2[32] = {10};
	static const struct lie lies[] = {
	    {.origin = "f" ORIGIN},
	    {.origin = ORIGIN, .key = true},
	    {.origin = ORIGIN, .root = true},
	    {.origin = ORIGIN, .size = 1},
	    {.origin = ORIGIN},
	};
	static const uint8_t next[2 * CRYPTO_SHA256_LEN] = {1};
	static const uint8_t another[2 * CRYPTO_SHA256_LEN] = {2};
	struct crypto_key *key = crypto_key_new(seed);
	struct crypto_key *other = crypto_key_new(seed2);
	uint8_t root[TREE_HASH_LEN];
	uint64_t size, first;
	struct end signer = {.fd = -1};
	struct fixture f;
	struct buf vkey;
	bool writable;

	(void)state;
	buf_init(&vkey);
	vkey_of(key, &vkey);
	setup(&f, buf_text(&vkey));
	start_keeper(&f);
	(void)hello(&f, 0, &writable, &size);
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		link_test(&f, "signer", &signer);
		tree_empty_root(root);
		say_hello(&signer, 0, root, next, key);
		first = answer(&signer, &lies[i], key, other, root);
		if (i + 1 < sizeof lies / sizeof lies[0])
			expect_closed(&signer);
	}
	wait_note(&f, first);
	/* The same key, and another one announced than the journal's. */
	link_test(&f, "signer", &signer);
	say_hello(&signer, first, root, another, key);
	expect_doom(&f, "announced after it");
	/* Its folder is one of before the journal's newest signature. */
	stop(&f.keeper, SIGKILL);
	start_keeper(&f);
	(void)hello(&f, 0, &writable, &size);
	link_test(&f, "signer", &signer);
	tree_empty_root(root);
	say_hello(&signer, 0, root, next, key);
	expect_doom(&f, "its folder is an old copy");
	end_close(&signer);
	teardown(&f);
	buf_release(&vkey);
	crypto_key_free(key);
	crypto_key_free(other);
}

/* How many checkpoints there are, and whether the key made all of them. */
static unsigned
checkpoints(struct fixture *f, const struct crypto_key *key, bool *hold)
{
	struct scan *s = open_scan(f);
	struct buf text, vkey;
	uint64_t size = 0;
	struct note_vkey by;
	struct note note;
	unsigned n = 0;
	const char *why;

	buf_init(&text);
	buf_init(&vkey);
	vkey_of(key, &vkey);
	assert_true(note_parse_vkey(buf_view(&vkey), &by));
	*hold = true;
	while (buf_clear(&text),
	    scan_checkpoint_from(s, size + 1, &size, &text) == 1) {
		n++;
		*hold &= note_parse(buf_view(&text), &note, &why) &&
		    note_verify(&note, &by, &why);
	}
	buf_release(&vkey);
	buf_release(&text);
	scan_close(s);
	return n;
}

/* Nothing gets into other hands whose signature is not the key's. */
static void
a_lie_that_waits(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {9}, seed2[32] = {10};
	static const uint8_t next[2 * CRYPTO_SHA256_LEN] = {1};
	static const struct lie truth = {.origin = ORIGIN};
	static const struct lie lie = {.origin = ORIGIN, .key = true};
	struct crypto_key *key = crypto_key_new(seed);
	struct crypto_key *other = crypto_key_new(seed2);
	uint8_t root[TREE_HASH_LEN];
	struct end signer = {.fd = -1};
	struct fixture f;
	struct buf vkey;
	uint64_t size;
	bool writable, hold;

	(void)state;
	buf_init(&vkey);
	vkey_of(key, &vkey);
	setup(&f, buf_text(&vkey));
	start_keeper(&f);
	(void)hello(&f, 0, &writable, &size);
	link_test(&f, "signer", &signer);
	tree_empty_root(root);
	say_hello(&signer, 0, root, next, key);
	wait_writable(&f.server, true, NULL, 0);
	/* Appended before the first note comes, which is to be published. */
	(void)post(&f.server, 1);
	(void)answer(&signer, &truth, key, other, root);
	(void)answer(&signer, &lie, key, other, root);
	expect_closed(&signer);
	/* The first, when it did not wait for so long. */
	assert_true(checkpoints(&f, key, &hold) <= 1);
	assert_true(hold);
	end_close(&signer);
	teardown(&f);
	buf_release(&vkey);
	crypto_key_free(key);
	crypto_key_free(other);
}

/* Signs the first records of a new journal: their number and root. */
static uint64_t
sign_first(struct fixture *f, struct end *signer, const uint8_t next[],
    const struct crypto_key *key, uint8_t root[TREE_HASH_LEN])
{
	static const struct lie none = {.origin = ORIGIN};
	uint64_t size;
	bool writable;

	start_keeper(f);
	(void)hello(f, 0, &writable, &size);
	link_test(f, "signer", signer);
	tree_empty_root(root);
	say_hello(signer, 0, root, next, key);
	size = answer(signer, &none, key, key, root);
	wait_note(f, size);
	stop(&f->keeper, SIGKILL);
	return size;
}

/* The key of epoch 1, and by next[1] the one after it, on demand. */
static void
give_key(struct end *e, const uint8_t next[], const struct crypto_key *key)
{
	struct reader r = expect(e, WIRE_ROTATE);
	struct buf b;

	assert_int_equal(reader_u64(&r), 1);
	buf_init(&b);
	buf_put_u64(&b, 1);
	buf_put(&b, next + CRYPTO_SHA256_LEN, CRYPTO_SHA256_LEN);
	vkey_of(key, &b);
	send_frame(e->fd, WIRE_KEY, buf_view(&b), -1);
	buf_release(&b);
}

/* An epoch begins with the key that the one before announced, or never. */
static void
only_the_announced_key(void **state)
{
	static const uint8_t seed[][CRYPTO_SEED_LEN] = {{9}, {10}, {11}};
	uint8_t next[2 * CRYPTO_SHA256_LEN] = {0}, public[CRYPTO_PUBLIC_LEN];
	struct crypto_key *key[3];
	uint8_t root[TREE_HASH_LEN];
	struct end signer = {.fd = -1};
	struct fixture f;
	uint64_t first, size;
	struct buf vkey;
	bool writable;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		key[i] = crypto_key_new(seed[i]);
	crypto_key_public(key[1], public);
	crypto_sha256(public, sizeof public, next);
	buf_init(&vkey);
	vkey_of(key[0], &vkey);
	setup(&f, buf_text(&vkey));
	first = sign_first(&f, &signer, next, key[0], root);
	f.conf.rotate_at_start = true;
	start_keeper(&f);
	(void)hello(&f, 0, &writable, &size);
	link_test(&f, "signer", &signer);
	say_hello(&signer, first, root, next, key[0]);
	next[CRYPTO_SHA256_LEN] = 5;
	give_key(&signer, next, key[2]);
	expect_closed(&signer);
	link_test(&f, "signer", &signer);
	say_hello(&signer, first, root, next, key[0]);
	give_key(&signer, next, key[1]);
	(void)expect(&signer, WIRE_TURN);
	/* The key is recorded: the signer knows of both, or of another one. */
	link_test(&f, "signer", &signer);
	say_hello(&signer, first, root, next, key[0]);
	(void)expect(&signer, WIRE_TURN);
	for (unsigned i = 0; i < 2; i++) {
		stop(&f.keeper, SIGKILL);
		start_keeper(&f);
		(void)hello(&f, 0, &writable, &size);
		next[i * CRYPTO_SHA256_LEN] ^= 1;
		link_test(&f, "signer", &signer);
		say_hello(&signer, first, root, next, key[0]);
		expect_doom(&f, "announced after it");
		next[i * CRYPTO_SHA256_LEN] ^= 1;
	}
	end_close(&signer);
	teardown(&f);
	buf_release(&vkey);
	for (unsigned i = 0; i < 3; i++)
		crypto_key_free(key[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_signer_no_records),
	    cmocka_unit_test(stop_signs_the_last_record),
	    cmocka_unit_test(signer_ends_without_a_link),
	    cmocka_unit_test(unsigned_is_told),
	    cmocka_unit_test(silent_signer_is_told),
	    cmocka_unit_test(restored_backup_is_refused),
	    cmocka_unit_test(fork_is_refused),
	    cmocka_unit_test(signer_folder_in_use),
	    cmocka_unit_test(foreign_key_is_refused),
	    cmocka_unit_test(lost_signer_state_is_refused),
	    cmocka_unit_test(a_signer_that_lies),
	    cmocka_unit_test(a_lie_that_waits),
	    cmocka_unit_test(only_the_announced_key),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
