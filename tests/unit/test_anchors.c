/* What witnesses are asked, what their answers mean, and who counts. */

#include "tests/unit/journal_fixture.h"

#include "base/conf.h"

#include "compliance/anchors_state.h"
#include "compliance/cosign.h"
#include "compliance/evidence.h"
#include "compliance/quorum.h"
#include "compliance/stamp.h"
#include "compliance/witness_client.h"

#define TIME 1795335000

/* A witness's key, and the journal that it is asked about. */
struct world {
	struct fixture f;
	struct conf_witness conf;
	struct crypto_key *key, *other;
	struct buf vkey, note, line;
	struct witness_journal journal;
	struct witness_client *client;
};

static void
begin(struct world *w)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7}, seed2[32] = {8};
	uint8_t public[CRYPTO_PUBLIC_LEN];
	char why[256];

	memset(w, 0, sizeof *w);
	new_fixture(&w->f);
	append_posts(&w->f, 5);
	sign_head(&w->f, true);
	append_posts(&w->f, 300);
	sign_head(&w->f, true);
	w->key = crypto_key_new(seed);
	w->other = crypto_key_new(seed2);
	crypto_key_public(w->key, public);
	cosign_put_vkey(&w->vkey, view_text("witness.example/a"), public);
	w->conf.name = (char *)"a";
	w->conf.vkey = (char *)buf_text(&w->vkey);
	w->client = witness_client_new(&w->conf);
	assert_non_null(w->client);
	w->journal.scan = scan_open(w->f.path, false, why, sizeof why);
	w->journal.evidence = evidence_open(w->f.path, why, sizeof why);
	assert_non_null(w->journal.scan);
	assert_non_null(w->journal.evidence);
}

static void
end(struct world *w)
{
	witness_client_free(w->client);
	evidence_close(w->journal.evidence);
	scan_close(w->journal.scan);
	crypto_key_free(w->key);
	crypto_key_free(w->other);
	buf_release(&w->vkey);
	buf_release(&w->note);
	buf_release(&w->line);
	end_fixture(&w->f);
}

static void
start_round(struct world *w, uint64_t size)
{
	buf_clear(&w->note);
	assert_int_equal(evidence_note(w->journal.evidence, size, &w->note), 1);
	assert_int_equal(witness_client_begin(
			     w->client, &w->journal, size, buf_view(&w->note)),
	    WITNESS_ASK);
}

/* The line that the witness gives for the checkpoint of that size. */
static struct view
cosign(struct world *w, uint64_t size, const struct crypto_key *key)
{
	struct buf text;
	struct note note;
	const char *why;

	buf_init(&text);
	buf_clear(&w->line);
	assert_int_equal(evidence_note(w->journal.evidence, size, &text), 1);
	assert_true(note_parse(buf_view(&text), &note, &why));
	assert_true(cosign_put_line(
	    &w->line, note.body, view_text("witness.example/a"), TIME, key));
	buf_release(&text);
	return buf_view(&w->line);
}

static enum witness_verdict
answer(struct world *w, unsigned status, struct view body)
{
	return witness_client_answer(w->client, &w->journal, status, body);
}

/* The request is this path, and old N with a proof that holds. */
static void
expect_request(struct world *w, const char *path, uint64_t old, uint64_t size)
{
	const struct witness_request *q = witness_client_request(w->client);
	const char *text = (const char *)q->body.data;
	uint8_t old_root[32], root[32], hash[32];
	char head[32];
	struct buf proof;
	size_t at;

	(void)snprintf(head, sizeof head, "old %u\n", (unsigned)old);
	assert_string_equal(q->path, path);
	assert_true(q->body.len > strlen(head));
	assert_memory_equal(text, head, strlen(head));
	buf_init(&proof);
	for (at = strlen(head); text[at] != '\n'; at += 45) {
		assert_true(
		    text_get_base64_fixed(view_of(text + at, 44), hash, 32));
		buf_put(&proof, hash, 32);
	}
	assert_int_equal(journal_root_at(w->f.j, old, old_root), 0);
	assert_int_equal(journal_root_at(w->f.j, size, root), 0);
	assert_true(tree_consistency_check(
	    old, old_root, size, root, buf_view(&proof)));
	if (strcmp(path, "add-checkpoint") == 0) {
		assert_int_equal(q->body.len - at - 1, w->note.len);
		assert_memory_equal(text + at + 1, w->note.data, w->note.len);
	}
	buf_release(&proof);
}

static void
test_round(void **state)
{
	struct world w;
	uint64_t size, at;
	struct view line;

	(void)state;
	begin(&w);
	start_round(&w, 5);
	expect_request(&w, "add-checkpoint", 0, 5);
	assert_int_equal(
	    answer(&w, 200, cosign(&w, 5, w.key)), WITNESS_COSIGNED);
	line = witness_client_line(w.client, &size, &at);
	assert_int_equal(size, 5);
	assert_int_equal(at, TIME);
	assert_int_equal(line.n, w.line.len);
	assert_memory_equal(line.p, w.line.data, line.n);
	assert_int_equal(
	    witness_client_go_on(w.client, &w.journal), WITNESS_DONE);
	start_round(&w, 305);
	expect_request(&w, "add-checkpoint", 5, 305);
	end(&w);
}

/* It says where it stands, and is believed as far as that can be. */
static void
test_conflicts(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("5\n")), WITNESS_ASK);
	expect_request(&w, "add-checkpoint", 5, 305);
	assert_int_equal(answer(&w, 409, view_text("305\n")), WITNESS_ASK);
	expect_request(&w, "add-checkpoint", 305, 305);
	/* It asks for what it got: nobody can make it content. */
	assert_int_equal(answer(&w, 409, view_text("305\n")), WITNESS_FAILED);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("x\n")), WITNESS_FAILED);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("")), WITNESS_FAILED);
	start_round(&w, 305);
	for (int i = 0; i < 4; i++)
		assert_int_equal(
		    answer(&w, 409, view_text(i % 2 ? "5\n" : "0\n")),
		    WITNESS_ASK);
	assert_int_equal(answer(&w, 409, view_text("0\n")), WITNESS_FAILED);
	start_round(&w, 305);
	end(&w);
}

/* What it says of another history, and the checkpoint that it shows then. */
static void
expect_claim(struct world *w, unsigned status, struct view shown, uint64_t size,
    bool kept)
{
	const struct witness_request *q = witness_client_request(w->client);
	struct view note;
	uint64_t claimed;

	assert_int_equal(q->body.len, 0);
	assert_int_equal(strlen(q->path), 64 + strlen("/checkpoint"));
	assert_string_equal(q->path + 64, "/checkpoint");
	assert_int_equal(answer(w, status, shown), WITNESS_CONFLICT);
	note = witness_client_claim(w->client, &claimed);
	assert_int_equal(claimed, size);
	assert_int_equal(note.n, kept ? shown.n : 0);
}

static void
test_another_history(void **state)
{
	struct world w;
	struct buf note, more;

	(void)state;
	begin(&w);
	buf_init(&note);
	buf_init(&more);
	assert_int_equal(evidence_note(w.journal.evidence, 5, &note), 1);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("306\n")), WITNESS_ASK);
	expect_claim(&w, 200, buf_view(&note), 5, true);
	assert_non_null(strstr(witness_client_why(w.client), "306 records"));
	/* It shows none, or what is none. */
	for (unsigned status = 200; status <= 404; status += 204) {
		start_round(&w, 305);
		assert_int_equal(
		    answer(&w, 409, view_text("400\n")), WITNESS_ASK);
		expect_claim(&w, status, view_text("none\n"), 400, false);
	}
	buf_put_view(&more, buf_view(&note));
	while (more.len < 20000)
		buf_put_text(&more, "\xe2\x80\x94 other AAAAAAAAAAAA\n");
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("400\n")), WITNESS_ASK);
	expect_claim(&w, 200, buf_view(&more), 400, false);
	/* The same when it refuses the proof. */
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("5\n")), WITNESS_ASK);
	assert_int_equal(answer(&w, 422, view_text("no\n")), WITNESS_ASK);
	expect_claim(&w, 404, view_text("none\n"), 5, false);
	assert_non_null(strstr(witness_client_why(w.client), "(no)"));
	/* A round later it is asked as before. */
	start_round(&w, 305);
	expect_request(&w, "add-checkpoint", 5, 305);
	buf_release(&note);
	buf_release(&more);
	end(&w);
}

/* What was not seen is no conflict yet: it is asked again. */
static void
test_another_history_is_not_shown(void **state)
{
	static const unsigned failed[] = {0, 301, 403, 429, 500, 503};
	struct world w;
	struct view note;
	static const uint8_t root[CRYPTO_SHA256_LEN] = {1};
	struct buf huge, body;
	uint64_t claimed;

	(void)state;
	begin(&w);
	buf_init(&huge);
	for (size_t i = 0; i < sizeof failed / sizeof failed[0]; i++) {
		start_round(&w, 305);
		assert_int_equal(
		    answer(&w, 409, view_text("400\n")), WITNESS_ASK);
		assert_int_equal(answer(&w, failed[i], view_text("too busy\n")),
		    WITNESS_FAILED);
		assert_non_null(
		    strstr(witness_client_why(w.client), "400 records"));
		assert_non_null(
		    strstr(witness_client_why(w.client), "too busy"));
	}
	/* No journal is that long. */
	buf_init(&body);
	note_put_body(&body, view_text("chat.example/log"),
	    (uint64_t)INT64_MAX + 1, root);
	assert_true(note_sign(
	    &huge, buf_view(&body), view_text("chat.example/log"), w.key));
	buf_release(&body);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 409, view_text("400\n")), WITNESS_ASK);
	assert_int_equal(answer(&w, 200, buf_view(&huge)), WITNESS_FAILED);
	note = witness_client_claim(w.client, &claimed);
	assert_int_equal(note.n, 0);
	start_round(&w, 305);
	expect_request(&w, "add-checkpoint", 0, 305);
	buf_release(&huge);
	end(&w);
}

static void
test_lines_that_do_not_hold(void **state)
{
	struct world w;
	struct buf bytes;

	(void)state;
	begin(&w);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 200, cosign(&w, 5, w.key)), WITNESS_FAILED);
	start_round(&w, 305);
	assert_int_equal(
	    answer(&w, 200, cosign(&w, 305, w.other)), WITNESS_FAILED);
	start_round(&w, 305);
	assert_int_equal(answer(&w, 200, view_text("")), WITNESS_FAILED);
	(void)cosign(&w, 305, w.key);
	for (size_t i = 0; i < w.line.len; i++) {
		start_round(&w, 305);
		w.line.data[i] ^= 4;
		assert_int_equal(
		    answer(&w, 200, buf_view(&w.line)), WITNESS_FAILED);
		w.line.data[i] ^= 4;
	}
	/* Beside what it does not know it finds its own. */
	buf_init(&bytes);
	buf_put_text(&bytes, "\xe2\x80\x94 someone AAAAAAAA\n");
	buf_put_view(&bytes, buf_view(&w.line));
	start_round(&w, 305);
	assert_int_equal(answer(&w, 200, buf_view(&bytes)), WITNESS_COSIGNED);
	buf_clear(&bytes);
	for (int i = 0; i < 20000; i++)
		buf_put_text(&bytes, "\n");
	start_round(&w, 305);
	assert_int_equal(answer(&w, 200, buf_view(&bytes)), WITNESS_FAILED);
	buf_release(&bytes);
	for (unsigned status = 0; status < 600; status++) {
		if (status == 200 || status == 409 || status == 422)
			continue;
		start_round(&w, 305);
		assert_int_equal(answer(&w, status, view_text("\x1b[31mno")),
		    WITNESS_FAILED);
		assert_null(strchr(witness_client_why(w.client), '\x1b'));
	}
	end(&w);
}

/* Stands for what compliance/add_key.c makes. */
static int
put_link(struct scan *s, uint64_t seq, struct buf *out)
{
	buf_printf(out, "leaf %u\n\nrange\n\n", (unsigned)seq);
	return scan_checkpoint(s, seq + 1, out) == 1 ? 0 : -1;
}

static void
test_keys_are_taught_first(void **state)
{
	static const char fields[] = "epoch 1\nvkey x\nnext y\nreason demand\n"
				     "clean yes\n";
	struct world w;
	uint64_t size, at;

	(void)state;
	begin(&w);
	assert_int_equal(append_text(&w.f, EVENT_KEY, fields, NULL), 0);
	sign_head(&w.f, true); /* 306: closes the epoch */
	append_posts(&w.f, 4);
	sign_head(&w.f, true); /* 310 */
	w.journal.link = put_link;
	start_round(&w, 310);
	expect_request(&w, "add-key", 0, 306);
	assert_int_equal(answer(&w, 409, view_text("5\n")), WITNESS_ASK);
	expect_request(&w, "add-key", 5, 306);
	assert_int_equal(
	    answer(&w, 200, cosign(&w, 306, w.key)), WITNESS_COSIGNED);
	(void)witness_client_line(w.client, &size, &at);
	assert_int_equal(size, 306);
	assert_int_equal(
	    witness_client_go_on(w.client, &w.journal), WITNESS_ASK);
	expect_request(&w, "add-checkpoint", 306, 310);
	/* One that is of another make knows one key, and is left alone. */
	witness_client_free(w.client);
	w.client = witness_client_new(&w.conf);
	start_round(&w, 310);
	expect_request(&w, "add-key", 0, 306);
	assert_int_equal(answer(&w, 404, view_text("")), WITNESS_ASK);
	expect_request(&w, "add-checkpoint", 0, 310);
	assert_int_equal(answer(&w, 409, view_text("5\n")), WITNESS_ASK);
	expect_request(&w, "add-checkpoint", 5, 310);
	/* One that does not know of the journal may be told meanwhile. */
	witness_client_free(w.client);
	w.client = witness_client_new(&w.conf);
	for (int i = 0; i < 2; i++) {
		start_round(&w, 310);
		expect_request(&w, "add-key", 0, 306);
		assert_int_equal(answer(&w, 404, view_text("")), WITNESS_ASK);
		expect_request(&w, "add-checkpoint", 0, 310);
		assert_int_equal(
		    answer(&w, 404, view_text("")), WITNESS_FAILED);
	}
	end(&w);
}

static void
store(struct world *w, uint64_t size, const char *name)
{
	const struct journal_evidence e = {
	    size, view_text(name), TIME, view_text("x")};

	assert_int_equal(journal_evidence(w->f.j, &e), 0);
}

static int
found(struct world *w, const struct conf *conf, bool stamp, uint64_t above,
    uint64_t *size)
{
	char why[256];
	sqlite3 *db =
	    db_open(w->f.path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	int r = quorum_find(db, conf, stamp, above, size);

	db_close(db);
	return r;
}

static void
test_quorum(void **state)
{
	struct conf_witness witnesses[3] = {{.vkey = witness_vkey("a", 1)},
	    {.vkey = witness_vkey("b", 2)}, {.vkey = witness_vkey("c", 3)}};
	struct conf conf = {.witnesses = witnesses, .witness_count = 3};
	struct world w;
	uint64_t size;

	(void)state;
	begin(&w);
	conf.anchors.quorum = 2;
	store_cosig(&w.f, 5, "a", 1);
	store_cosig(&w.f, 5, "x", 4); /* nobody that counts */
	store_cosig(&w.f, 5, "b", 5); /* nor does his key of before */
	store_cosig(&w.f, 305, "a", 1);
	store_cosig(&w.f, 305, "a", 1); /* once more: it is there */
	size = 0;
	assert_int_equal(found(&w, &conf, false, 0, &size), 0);
	assert_int_equal(size, 0); /* and nothing is told */
	store_cosig(&w.f, 5, "c", 3);
	assert_int_equal(found(&w, &conf, false, 0, &size), 1);
	assert_int_equal(size, 5);
	assert_int_equal(found(&w, &conf, false, 5, &size), 0);
	assert_int_equal(found(&w, &conf, true, 0, &size), 0);
	store_cosig(&w.f, 305, "b", 2);
	assert_int_equal(found(&w, &conf, false, 5, &size), 1);
	assert_int_equal(size, 305);
	store(&w, 5, ""); /* a time-stamp */
	assert_int_equal(found(&w, &conf, true, 0, &size), 1);
	assert_int_equal(size, 5);
	conf.anchors.quorum = 0;
	assert_int_equal(found(&w, &conf, true, 4, &size), 1);
	assert_int_equal(found(&w, &conf, true, 5, &size), 0);
	/* Only what is published can be confirmed. */
	{
		const struct journal_evidence e = {
		    7, view_text("a"), TIME, view_text("x")};
		struct buf note;

		buf_init(&note);
		assert_int_equal(journal_checkpoint_note(w.f.j, 7, &note), 1);
		buf_release(&note);
		assert_int_equal(journal_evidence(w.f.j, &e), -1);
		assert_int_equal(journal_recover(w.f.j), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		free(witnesses[i].vkey);
	end(&w);
}

static int
count_steps(void *arg)
{
	++*(unsigned *)arg;
	return 0;
}

/* Witnesses that fail for months, an authority that does: no longer search. */
static void
test_a_quorum_out_of_reach(void **state)
{
	static const char tables[] =
	    "CREATE TABLE checkpoint(size INTEGER PRIMARY KEY);"
	    "CREATE TABLE stamp(size INTEGER PRIMARY KEY);"
	    "CREATE TABLE cosig(size INTEGER, name TEXT, line BLOB, at INTEGER,"
	    " PRIMARY KEY(size, name)) WITHOUT ROWID";
	struct conf_witness witnesses[2] = {
	    {.vkey = (char *)"a+"}, {.vkey = (char *)"b+"}};
	struct conf conf = {.witnesses = witnesses, .witness_count = 2};
	unsigned steps[2][2];

	(void)state;
	conf.anchors.quorum = 2;
	for (unsigned longer = 0; longer < 2; longer++) {
		uint64_t size;
		char fill[256];
		sqlite3 *db;

		(void)snprintf(fill, sizeof fill,
		    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
		    " FROM n WHERE i < %u) INSERT INTO %%s FROM n",
		    longer ? 200000 : 20000);
		assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
		assert_int_equal(
		    sqlite3_exec(db, tables, NULL, NULL, NULL), SQLITE_OK);
		for (unsigned i = 0; i < 2; i++) {
			char *sql = sqlite3_mprintf(fill,
			    i == 0 ? "cosig SELECT i, 'a', x'', 0"
				   : "stamp SELECT i");

			assert_int_equal(
			    sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
			sqlite3_free(sql);
		}
		for (unsigned stamp = 0; stamp < 2; stamp++) {
			steps[longer][stamp] = 0;
			sqlite3_progress_handler(
			    db, 100, count_steps, &steps[longer][stamp]);
			assert_int_equal(
			    quorum_find(db, &conf, stamp == 1, 0, &size), 0);
		}
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
	}
	for (unsigned stamp = 0; stamp < 2; stamp++)
		assert_int_equal(steps[0][stamp], steps[1][stamp]);
}

/* Whoever answers late or failed comes back to the same checkpoint. */
static void
test_all_are_asked_at_once(void **state)
{
	uint64_t ok = 0, slow = 0, failed = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		ok = anchors_next_ms(ok + 3, 1000, 0);
		slow = anchors_next_ms(slow + 1999, 1000, 0);
		assert_int_equal(ok, 1000 * (i + 1));
		assert_int_equal(slow, 2000 * (i + 1));
	}
	assert_int_equal(anchors_next_ms(1999, 1000, 1), 3000);
	for (unsigned i = 1; i < 100; i++) {
		uint64_t next = anchors_next_ms(failed + 10, 1000, i);

		assert_int_equal(next % 1000, 0);
		assert_in_range(next - failed, 2000, 8000);
		failed = next;
	}
}

static void
test_notes_carry_the_lines(void **state)
{
	struct world w;
	struct buf note;
	uint64_t size;

	(void)state;
	begin(&w);
	buf_init(&note);
	store(&w, 305, "b");
	store(&w, 305, "a");
	assert_int_equal(scan_note(w.journal.scan, &size, &note), 0);
	assert_int_equal(size, 305);
	assert_memory_equal(note.data + note.len - 2, "xx", 2);
	assert_int_equal(note.data[note.len - 3], '\n');
	buf_release(&note);
	end(&w);
}

static void
test_answers_that_are_no_time_stamps(void **state)
{
	static const char *const answers[] = {"", "0", "\x30", "\x30\x00",
	    "\x30\x03\x02\x01", "\x30\x80", "\x30\x84\xff\xff\xff\xff",
	    "\x30\x05\x30\x03\x02\x01\x02", "not even close"};
	struct buf der, token;
	struct stamp_query *q;
	char why[256];
	uint64_t at;

	(void)state;
	buf_init(&der);
	buf_init(&token);
	q = stamp_query_new(view_text("a note"), &der);
	assert_non_null(q);
	assert_int_equal(der.data[0], 0x30);
	for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
		why[0] = '\0';
		assert_false(stamp_check(q, view_text(answers[i]), "/dev/null",
		    &token, &at, why, sizeof why));
		assert_int_not_equal(why[0], '\0');
	}
	/* A query is no answer to itself, nor is any part of it. */
	for (size_t n = 0; n <= der.len; n++)
		assert_false(stamp_check(q, view_of(der.data, n), "/dev/null",
		    &token, &at, why, sizeof why));
	assert_int_equal(token.len, 0);
	stamp_query_free(q);
	buf_release(&der);
	buf_release(&token);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round),
	    cmocka_unit_test(test_conflicts),
	    cmocka_unit_test(test_another_history),
	    cmocka_unit_test(test_another_history_is_not_shown),
	    cmocka_unit_test(test_lines_that_do_not_hold),
	    cmocka_unit_test(test_keys_are_taught_first),
	    cmocka_unit_test(test_quorum),
	    cmocka_unit_test(test_a_quorum_out_of_reach),
	    cmocka_unit_test(test_all_are_asked_at_once),
	    cmocka_unit_test(test_notes_carry_the_lines),
	    cmocka_unit_test(test_answers_that_are_no_time_stamps),
	};

	crypto_init();
	return cmocka_run_group_tests_name("anchors", tests, NULL, NULL);
}
