/* What the engine hands in of witnesses: the keeper looks for itself. */

#include "tests/unit/keeper_fixture.h"

#include "compliance/cosign.h"

#define NAME "witness.example/a"

static struct conf_witness witness;
static struct buf vkey;

/* A keeper that knows one witness, and the newest checkpoint's note. */
static uint64_t
begin(struct fixture *f, const struct crypto_key *key, struct buf *note)
{
	uint8_t public[CRYPTO_PUBLIC_LEN];
	uint64_t size = 0, until = now_ms() + WAIT_MS;
	char why[256];
	sqlite3 *db;

	setup(f, NULL);
	buf_init(&vkey);
	crypto_key_public(key, public);
	cosign_put_vkey(&vkey, view_text(NAME), public);
	witness = (struct conf_witness){
	    .name = (char *)"a", .vkey = (char *)buf_text(&vkey)};
	f->conf.witnesses = &witness;
	f->conf.witness_count = 1;
	f->conf.anchors.quorum = 1;
	up(f);
	link_test(f, "engine", &f->engine);
	(void)post(&f->server, 1);
	db = db_open(f->journal, DB_READ, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(db);
	while (size == 0) {
		sqlite3_stmt *s =
		    db_prepare(db, "SELECT size, note FROM checkpoint");

		if (sqlite3_step(s) == SQLITE_ROW) {
			size = (uint64_t)sqlite3_column_int64(s, 0);
			buf_put(note, sqlite3_column_blob(s, 1),
			    (size_t)sqlite3_column_bytes(s, 1));
		}
		(void)sqlite3_finalize(s);
		assert_true(now_ms() < until);
		nap(10);
	}
	db_close(db);
	return size;
}

static void
send_evidence(struct end *e, uint16_t type, uint64_t ref, uint64_t size,
    struct view bytes)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u64(&b, size);
	if (type == WIRE_STAMP)
		buf_put_u64(&b, 1795335000);
	buf_put_view(&b, bytes);
	send_frame(e->fd, type, buf_view(&b), -1);
	buf_release(&b);
}

/* Whether it was taken. */
static bool
answered(struct end *e, uint64_t ref)
{
	struct view payload;
	struct reader r;
	uint16_t type;

	do {
		assert_int_equal(receive(e, &type, &payload, WAIT_MS), 1);
	} while (type == WIRE_STATE);
	r = reader_of(payload);
	if (type == WIRE_RECEIPT)
		assert_int_equal(reader_u32(&r), 1);
	else
		assert_int_equal(type, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), ref);
	return type == WIRE_RECEIPT;
}

static int64_t
count(struct fixture *f, const char *sql)
{
	char why[256];
	sqlite3 *db =
	    db_open(f->journal, DB_READ, DB_SYNC_FULL, why, sizeof why);
	int64_t n = db_int(db, sql, -1);

	db_close(db);
	return n;
}

static void
test_only_what_holds_is_stored(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7}, seed2[32] = {8};
	struct crypto_key *key = crypto_key_new(seed);
	struct crypto_key *other = crypto_key_new(seed2);
	struct buf text, line;
	struct fixture f;
	struct note note;
	const char *why;
	uint64_t size;

	(void)state;
	buf_init(&text);
	buf_init(&line);
	size = begin(&f, key, &text);
	assert_true(note_parse(buf_view(&text), &note, &why));
	/* By another key; of another checkpoint; cut short; of none. */
	assert_true(
	    cosign_put_line(&line, note.body, view_text(NAME), 1, other));
	send_evidence(&f.engine, WIRE_COSIG, 1, size, buf_view(&line));
	assert_false(answered(&f.engine, 1));
	buf_clear(&line);
	assert_true(cosign_put_line(
	    &line, view_text("x\n1\ny\n"), view_text(NAME), 1, key));
	send_evidence(&f.engine, WIRE_COSIG, 2, size, buf_view(&line));
	assert_false(answered(&f.engine, 2));
	buf_clear(&line);
	assert_true(
	    cosign_put_line(&line, note.body, view_text(NAME), 77, key));
	send_evidence(
	    &f.engine, WIRE_COSIG, 3, size, view_of(line.data, line.len - 1));
	assert_false(answered(&f.engine, 3));
	send_evidence(&f.engine, WIRE_COSIG, 4, size + 1000, buf_view(&line));
	assert_false(answered(&f.engine, 4));
	assert_int_equal(count(&f, "SELECT COUNT(*) FROM cosig"), 0);
	/* Itself, and once more. */
	send_evidence(&f.engine, WIRE_COSIG, 5, size, buf_view(&line));
	assert_true(answered(&f.engine, 5));
	send_evidence(&f.engine, WIRE_COSIG, 6, size, buf_view(&line));
	assert_true(answered(&f.engine, 6));
	assert_int_equal(count(&f, "SELECT COUNT(*) FROM cosig"), 1);
	assert_int_equal(count(&f, "SELECT at FROM cosig"), 77);
	/* Tokens: by their form. */
	send_evidence(&f.engine, WIRE_STAMP, 7, size, view_text("token"));
	assert_false(answered(&f.engine, 7));
	send_evidence(&f.engine, WIRE_STAMP, 8, size, view_text("\x30token"));
	assert_true(answered(&f.engine, 8));
	assert_int_equal(count(&f, "SELECT COUNT(*) FROM stamp"), 1);
	assert_true(post(&f.server, 1) >= size); /* work goes on */
	buf_release(&line);
	buf_release(&text);
	buf_release(&vkey);
	crypto_key_free(key);
	crypto_key_free(other);
	teardown(&f);
}

/* A checkpoint by the signer's own key, or another, of made-up records. */
static void
forge(struct fixture *f, uint64_t size, bool own, struct buf *out)
{
	uint8_t seed[CRYPTO_SEED_LEN], root[32] = {0xba, 0xd0};
	struct crypto_key *key;
	struct buf text, body;
	struct view name, line;
	char path[256];
	uint32_t id;

	buf_init(&text);
	buf_init(&body);
	(void)snprintf(path, sizeof path, "%s/key", f->signer_dir);
	assert_int_equal(file_read(path, 4096, &text), 0);
	line = view_of(text.data,
	    (size_t)((uint8_t *)memchr(text.data, '\n', text.len) - text.data));
	assert_true(note_parse_skey(line, &name, &id, seed));
	seed[0] ^= !own;
	key = crypto_key_new(seed);
	note_put_body(&body, name, size, root);
	buf_clear(out);
	assert_true(note_sign(out, buf_view(&body), name, key));
	crypto_key_free(key);
	buf_release(&text);
	buf_release(&body);
}

static bool
conflict(struct end *e, uint64_t ref, uint64_t size, struct view note)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u8(&b, 0);
	buf_put_u64(&b, size);
	buf_put_view(&b, note);
	send_frame(e->fd, WIRE_CONFLICT, buf_view(&b), -1);
	buf_release(&b);
	return answered(e, ref);
}

static void
ask_turn(struct end *e, uint64_t ref)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u8(&b, 0);
	send_frame(e->fd, WIRE_KEY_TURN, buf_view(&b), -1);
	buf_release(&b);
}

static void
release(struct end *e, uint64_t ref, uint64_t hold)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u32(&b, 1000);
	buf_put_u64(&b, hold);
	send_frame(e->fd, WIRE_RELEASE, buf_view(&b), -1);
	buf_release(&b);
	assert_true(answered(e, ref));
}

/* Another keeper over the same journal. */
static void
restart(struct fixture *f)
{
	uint64_t size;
	bool writable;

	stop(&f->keeper, 0);
	start_keeper(f);
	(void)hello(f, 0, &writable, &size);
	assert_false(writable);
	link_signer(f);
}

#define CONFLICTS "SELECT COUNT(*) FROM leaf WHERE kind = 146"
#define HOLDS "SELECT COUNT(*) FROM hold WHERE released IS NULL"

/* What nobody can prove stops purges only, once until somebody looked. */
static void
test_a_claim_stops_no_recording(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	struct crypto_key *key = crypto_key_new(seed);
	struct fixture f;
	struct buf text;
	uint64_t size;

	(void)state;
	buf_init(&text);
	size = begin(&f, key, &text);
	/* Another name; our own checkpoint; another key; no note at all. */
	assert_true(conflict(&f.engine, 1, 1000, view_text("x\n1\ny\n")));
	assert_int_equal(count(&f, CONFLICTS), 1);
	assert_int_equal(count(&f, HOLDS), 1);
	assert_true(conflict(&f.engine, 2, size, buf_view(&text)));
	forge(&f, 1000, false, &text);
	assert_true(conflict(&f.engine, 3, 1000, buf_view(&text)));
	assert_true(conflict(&f.engine, 4, 1001, view_of(NULL, 0)));
	/* It is told already that it has something to say. */
	assert_int_equal(count(&f, CONFLICTS), 1);
	release(&f.engine, 5, 1);
	assert_true(conflict(&f.engine, 6, 1000, view_of(NULL, 0)));
	assert_int_equal(count(&f, CONFLICTS), 1); /* that was looked at */
	assert_int_equal(count(&f, HOLDS), 0);
	assert_true(conflict(&f.engine, 7, 1001, view_of(NULL, 0)));
	/* Such a journal cannot be: refused, and the link stays. */
	assert_false(
	    conflict(&f.engine, 8, (uint64_t)INT64_MAX + 1, view_of(NULL, 0)));
	assert_false(conflict(&f.engine, 9, UINT64_MAX, buf_view(&text)));
	assert_true(conflict(&f.engine, 10, 1001, view_of(NULL, 0)));
	assert_int_equal(count(&f, CONFLICTS), 2);
	assert_int_equal(count(&f, HOLDS), 1);
	assert_true(post(&f.server, 1) > size);
	restart(&f);
	wait_writable(&f.server, true, NULL, 0);
	assert_true(post(&f.server, 1) > size);
	buf_release(&text);
	buf_release(&vkey);
	crypto_key_free(key);
	teardown(&f);
}

static void
expect_refusal(struct fixture *f, uint64_t ref)
{
	struct reader r;

	send_post(&f->server, ref, "no more");
	r = expect(&f->server, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), ref);
}

/* Our own signature of another history: recorded, and then nothing more. */
static void
test_a_proof_ends_recording(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	struct crypto_key *key = crypto_key_new(seed);

	(void)state;
	for (int longer = 0; longer < 2; longer++) {
		struct fixture f;
		struct buf text, forged;
		char why[256];
		uint64_t size;

		buf_init(&text);
		buf_init(&forged);
		size = begin(&f, key, &text);
		assert_true(conflict(&f.engine, 1, 9, view_of(NULL, 0)));
		forge(&f, longer ? 1000 : size, true, &forged);
		/* That many others have signed it must not hide it. */
		for (int i = 0; longer && i < 60; i++)
			buf_printf(&forged,
			    "\xe2\x80\x94 witness.test/%0150d AAAA\n", i);
		assert_true(forged.len < NOTE_MAX);
		assert_true(conflict(&f.engine, 2, 9, buf_view(&forged)));
		wait_writable(&f.server, false, why, sizeof why);
		assert_non_null(
		    strstr(why, longer ? "signed 1000" : "(fork; record"));
		assert_int_equal(count(&f, CONFLICTS), 2);
		assert_int_equal(count(&f, HOLDS), 2);
		expect_refusal(&f, 9);
		/* The record itself is signed, and a new keeper reads it. */
		wait_note(&f, (uint64_t)count(&f, "SELECT size FROM head"));
		restart(&f);
		do {
			wait_writable(&f.server, false, why, sizeof why);
		} while (strstr(why,
			     longer ? "signed 1000" : "(fork; record") == NULL);
		expect_refusal(&f, 10);
		buf_release(&text);
		buf_release(&forged);
		buf_release(&vkey);
		teardown(&f);
	}
	crypto_key_free(key);
}

/* A change of the key that was under way brings no record any more. */
static void
test_a_proof_ends_a_change_of_the_key(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	struct crypto_key *key = crypto_key_new(seed);
	struct fixture f;
	struct buf text;

	(void)state;
	buf_init(&text);
	(void)begin(&f, key, &text);
	forge(&f, 1000, true, &text);
	wait_note(&f, (uint64_t)count(&f, "SELECT size FROM head"));
	assert_int_equal(kill(f.signer.pid, SIGSTOP), 0);
	ask_turn(&f.engine, 1);
	assert_true(conflict(&f.engine, 2, 9, buf_view(&text)));
	assert_int_equal(kill(f.signer.pid, SIGCONT), 0);
	assert_false(answered(&f.engine, 1));
	wait_note(&f, (uint64_t)count(&f, "SELECT size FROM head"));
	assert_int_equal(
	    count(&f, "SELECT kind FROM leaf ORDER BY seq DESC LIMIT 1"),
	    EVENT_CONFLICT);
	buf_release(&text);
	buf_release(&vkey);
	crypto_key_free(key);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_only_what_holds_is_stored),
	    cmocka_unit_test(test_a_claim_stops_no_recording),
	    cmocka_unit_test(test_a_proof_ends_recording),
	    cmocka_unit_test(test_a_proof_ends_a_change_of_the_key),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
