#include "tests/unit/journal_fixture.h"

static void
creation_makes_an_empty_journal(void **state)
{
	struct fixture f;
	uint8_t root[32], empty[32];
	struct stat st;
	char why[256];

	(void)state;
	new_fixture(&f);
	assert_int_equal(journal_size(f.j), 0);
	journal_root(f.j, root);
	tree_empty_root(empty);
	assert_memory_equal(root, empty, 32);
	assert_string_equal(journal_uuid(f.j), UUID);
	assert_string_equal(journal_origin(f.j), ORIGIN);
	assert_string_equal(journal_vkey(f.j), f.vkey);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(
	    journal_create(f.path, UUID, ORIGIN, f.vkey, why, sizeof why), -1);
	(void)unlink("/tmp/chancery-test-none.db");
	assert_int_equal(journal_create("/tmp/chancery-test-none.db", "x",
			     ORIGIN, f.vkey, why, sizeof why),
	    -1);
	assert_int_equal(journal_create("/tmp/chancery-test-none.db", UUID,
			     "other", f.vkey, why, sizeof why),
	    -1);
	assert_int_equal(access("/tmp/chancery-test-none.db", F_OK), -1);
	end_fixture(&f);
}

static void
records_come_back_as_they_were(void **state)
{
	struct fixture f;
	uint8_t root[32], again[32];

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	append_posts(&f, 700);
	assert_int_equal(append_text(&f, EVENT_BEAT, "", NULL), 0);
	append_posts(&f, 3);
	check_all(&f, 705);
	journal_root(f.j, root);
	reopen(&f);
	assert_int_equal(journal_size(f.j), 705);
	journal_root(f.j, again);
	assert_memory_equal(root, again, 32);
	append_posts(&f, 512);
	reopen(&f);
	append_posts(&f, 1);
	check_all(&f, 1218);
	end_fixture(&f);
}

static void
bytes_and_limits(void **state)
{
	static uint8_t large[1U << 20];
	struct journal_event e = {.kind = EVENT_POST, .parts = LEAF_PARTS_MAX};
	struct scan_record r;
	struct fixture f;
	struct scan *s;
	char why[256];

	(void)state;
	new_fixture(&f);
	for (size_t i = 0; i < sizeof large; i++)
		large[i] = (uint8_t)i;
	for (unsigned i = 0; i < LEAF_PARTS_MAX; i++)
		e.part[i] = view_of(large,
		    i == 3       ? sizeof large
			: i == 4 ? 0
				 : i);
	assert_int_equal(journal_append(f.j, &e, 1), 0);
	assert_int_equal(e.seq, 0);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.parts, LEAF_PARTS_MAX);
	assert_false(r.purged);
	assert_int_equal(r.part[3].data.n, sizeof large);
	assert_memory_equal(r.part[3].data.p, large, sizeof large);
	assert_int_equal(r.part[4].data.n, 0);
	assert_int_equal(r.part[7].data.n, 7);
	/* Salts differ from part to part. */
	for (unsigned i = 1; i < LEAF_PARTS_MAX; i++)
		assert_memory_not_equal(r.part[i].salt.p, r.part[0].salt.p, 32);
	assert_int_equal(scan_next(s, &r), 0);
	scan_close(s);
	check_all(&f, 1);
	end_fixture(&f);
}

/* What each fence refuses, in its words. */
static const struct {
	const char *why, *sql;
} attempts[] = {
    {"leaf is append-only", "UPDATE leaf SET bytes = x'00'"},
    {"leaf is append-only", "UPDATE leaf SET seq = seq + 1000"},
    {"leaf is append-only", "DELETE FROM leaf"},
    {"leaf is append-only", "DELETE FROM leaf WHERE seq = 2"},
    {"leaf is not the next one",
	"REPLACE INTO leaf(seq, at, kind, bytes) VALUES (0, 1, 3, x'00')"},
    {"leaf is not the next one",
	"INSERT INTO leaf(seq, at, kind, bytes) VALUES (0, 1, 3, x'00') ON CONFLICT DO UPDATE SET bytes = x'00'"},
    {"leaf is not the next one",
	"INSERT INTO leaf(seq, at, kind, bytes) VALUES (9999, 1, 3, x'00')"},
    {"leaf is not the next one",
	"INSERT INTO leaf(seq, at, kind, bytes) VALUES (-1, 1, 3, x'00')"},
    {"leaf is not the next one",
	"INSERT INTO leaf(at, kind, bytes) VALUES (1, 3, x'00')"},
    {"leaf is not the next one",
	"INSERT OR IGNORE INTO leaf(seq, at, kind, bytes) VALUES (5, 1, 3, x'00')"},
    {"body is never changed", "UPDATE body SET data = x'00'"},
    {"body is not in a purged range", "DELETE FROM body"},
    {"body is not in a purged range", "DELETE FROM body WHERE id = 256"},
    {"body does not belong to a new leaf",
	"REPLACE INTO body(id, salt, data) VALUES (256, zeroblob(32), x'00')"},
    {"body does not belong to a new leaf",
	"INSERT INTO body(id, salt, data) VALUES (7, zeroblob(32), x'00')"},
    {"body does not belong to a new leaf",
	"INSERT INTO body(id, salt, data) VALUES (2560000, zeroblob(32), x'00')"},
    {"body does not belong to a new leaf",
	"INSERT INTO body(salt, data) VALUES (zeroblob(32), x'00')"},
    {"body does not belong to a new leaf",
	"INSERT INTO body(id, salt, data)"
	" VALUES (302 << 8 | 7, zeroblob(32), x'00')"},
    {"tile is append-only", "UPDATE tile SET data = zeroblob(8192)"},
    {"tile is append-only", "DELETE FROM tile"},
    {"tile is not the next one of its level",
	"REPLACE INTO tile(level, idx, data) VALUES (0, 0, zeroblob(8192))"},
    {"tile is not the next one of its level",
	"INSERT INTO tile(level, idx, data) VALUES (0, 5, zeroblob(8192))"},
    {"CHECK constraint failed: length(data) = 8192",
	"INSERT INTO tile(level, idx, data) VALUES (1, 0, zeroblob(32))"},
    {"head is not the end of the leaves", "UPDATE head SET size = 3"},
    {"head is not the end of the leaves", "UPDATE head SET size = 3000"},
    {"head stays", "DELETE FROM head"},
    {"head exists",
	"INSERT INTO head(id, size, root) VALUES (2, 0, zeroblob(32))"},
    {"head exists",
	"REPLACE INTO head(id, size, root) VALUES (1, 3, zeroblob(32))"},
    {"checkpoint is append-only", "UPDATE checkpoint SET note = x'00'"},
    {"checkpoint is append-only", "DELETE FROM checkpoint"},
    {"checkpoint is there already, or ahead of the head",
	"INSERT INTO checkpoint(size, note) SELECT size, note FROM checkpoint"},
    {"checkpoint is there already, or ahead of the head",
	"INSERT INTO checkpoint(size, note) VALUES (100000, x'00')"},
    {"cosig is append-only", "UPDATE cosig SET at = 2"},
    {"cosig is append-only", "DELETE FROM cosig"},
    {"cosig is append-only",
	"REPLACE INTO cosig(size, name, line, at) VALUES (303, 'w', x'00', 1)"},
    {"cosignature of something else than a checkpoint",
	"INSERT INTO cosig(size, name, line, at) VALUES (300, 'w', x'00', 1)"},
    {"stamp is append-only", "UPDATE stamp SET at = 2"},
    {"stamp is append-only", "DELETE FROM stamp"},
    {"stamp is append-only",
	"REPLACE INTO stamp(size, at, token) VALUES (303, 1, x'00')"},
    {"time-stamp of something else than a checkpoint",
	"INSERT INTO stamp(size, at, token) VALUES (300, 1, x'00')"},
    {"batch is append-only", "UPDATE batch SET last = 500"},
    {"batch is append-only", "DELETE FROM batch"},
    {"batch does not continue the one before",
	"INSERT INTO batch(adapter, n, first, last, seq) VALUES ('records', 3, 10, 20, 40)"},
    {"batch does not continue the one before",
	"INSERT INTO batch(adapter, n, first, last, seq) VALUES ('records', 2, 12, 20, 40)"},
    {"batch does not continue the one before",
	"INSERT INTO batch(adapter, n, first, last, seq) VALUES ('records', 2, 10, 99999, 40)"},
    {"ack is append-only", "UPDATE ack SET state = 'stored'"},
    {"ack is append-only", "DELETE FROM ack"},
    {"ack does not answer the next batch",
	"REPLACE INTO ack(adapter, n, state, seq) VALUES ('records', 1, 'stored', 302)"},
    {"ack does not answer the next batch",
	"INSERT INTO ack(adapter, n, state, seq) VALUES ('records', 2, 'stored', 302)"},
    {"purge of records that a required adapter has not stored",
	"INSERT INTO purge_range(first, last, n, seq) VALUES (0, 9, 1, 302)"},
    {"meta is append-only", "UPDATE meta SET value = 'x'"},
    {"meta is append-only", "DELETE FROM meta"},
    {"meta is complete", "INSERT INTO meta(name, value) VALUES ('more', 'x')"},
    {"meta is complete",
	"REPLACE INTO meta(name, value) VALUES ('origin', 'x')"},
};

static void
no_row_can_be_changed(void **state)
{
	struct fixture f;
	const struct journal_evidence cosig = {
	    303, view_text("w"), 1, view_text("x")};
	const struct journal_evidence stamp = {
	    303, view_of(NULL, 0), 1, view_text("x")};
	uint8_t root[32], again[32];
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 300);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "sent"), 0);
	sign_head(&f, true);
	journal_root(f.j, root);
	assert_int_equal(journal_evidence(f.j, &cosig), 0);
	assert_int_equal(journal_evidence(f.j, &stamp), 0);
	db = open_raw(&f);
	for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
		refused(db, attempts[i].why, attempts[i].sql);
	db_close(db);
	reopen(&f);
	journal_root(f.j, again);
	assert_memory_equal(root, again, 32);
	check_all(&f, 303);
	end_fixture(&f);
}

static void
an_altered_file_is_not_opened(void **state)
{
	struct fixture f;
	char why[256] = "";
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 20);
	journal_close(f.j);
	db = open_raw(&f);
	assert_int_equal(db_exec(db, "DROP TRIGGER leaf_update"), 0);
	assert_int_equal(db_exec(db,
			     "UPDATE leaf SET bytes = CAST(replace(CAST(bytes "
			     "AS TEXT), 'leaf/1 7 3', 'leaf/1 7 2') AS BLOB)"),
	    0);
	db_close(db);
	f.j = journal_open(f.path, why, sizeof why);
	assert_null(f.j);
	assert_non_null(strstr(why, "altered or damaged"));
	end_fixture(&f);
}

static void
batches_and_acks_are_checked(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan_cursor c;
	struct scan *s;
	char why[256];
	uint8_t zero[32] = {0};
	char fields[256];
	struct buf b64;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 50);
	assert_int_equal(append_batch(&f, "records", 2, 0, 9), 1);
	assert_int_equal(append_batch(&f, "records", 1, 1, 9), 1);
	assert_int_equal(append_batch(&f, "records", 1, 0, 50), 1);
	assert_int_equal(append_batch(&f, "Records", 1, 0, 9), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 1);
	assert_int_equal(append_text(&f, EVENT_BATCH, "", NULL), 1);
	assert_int_equal(
	    append_text(&f, EVENT_BATCH, "adapter records\n", NULL), 1);
	buf_init(&b64);
	text_put_base64(&b64, zero, sizeof zero);
	(void)snprintf(fields, sizeof fields,
	    "adapter records\nbatch 1\nfirst 0\nlast 9\ncount 10\nsize 50\n"
	    "root %s\n",
	    buf_text(&b64));
	assert_int_equal(append_text(&f, EVENT_BATCH, fields, NULL), 1);
	assert_non_null(strstr(journal_error(f.j), "root"));
	buf_release(&b64);
	assert_true(journal_writable(f.j));
	assert_int_equal(journal_size(f.j), 50);

	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 8, "stored"), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "kept"), 1);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_cursor(s, "records", &c), 0);
	assert_int_equal(c.acked_n, 0);
	assert_int_equal(c.next, 0);
	assert_int_equal(c.open_n, 1);
	assert_int_equal(c.open_first, 0);
	assert_int_equal(c.open_last, 9);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 1);
	assert_int_equal(append_batch(&f, "records", 2, 10, 51), 0);
	assert_int_equal(scan_cursor(s, "records", &c), 0);
	assert_int_equal(c.acked_n, 1);
	assert_int_equal(c.next, 10);
	assert_int_equal(c.open_n, 2);
	assert_int_equal(c.open_last, 51);
	assert_int_equal(scan_seek(s, 51), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(c.acked_at, r.at);
	assert_int_equal(scan_cursor(s, "other", &c), 0);
	assert_int_equal(c.open_n, 0);
	assert_int_equal(c.acked_at, 0);
	scan_close(s);
	check_all(&f, 53);
	end_fixture(&f);
}

static void
the_gate_is_sealed(void **state)
{
	struct fixture f;
	struct journal_event e = {.kind = EVENT_BEAT};

	(void)state;
	new_fixture(&f);
	assert_int_equal(journal_append(f.j, &e, 1), 0);
	assert_int_equal(journal_wal_pages(f.j) > 0, 1);
	assert_int_equal(journal_checkpoint(f.j), 0);
	assert_int_equal(journal_truncate(f.j), 0);
	end_fixture(&f);
}

static void
proofs_of_the_journal(void **state)
{
	struct fixture f;
	uint8_t root[3][32], got[32], now[32];
	uint64_t size[3];
	struct buf proof, left, right;
	struct scan *s;
	char why[256];

	(void)state;
	new_fixture(&f);
	buf_init(&proof);
	buf_init(&left);
	buf_init(&right);
	for (unsigned i = 0; i < 3; i++) {
		append_posts(&f, i == 0 ? 1 : 300);
		size[i] = journal_size(f.j);
		journal_root(f.j, root[i]);
	}
	append_posts(&f, 70);
	for (unsigned round = 0; round < 2; round++) {
		journal_root(f.j, now);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(journal_root_at(f.j, size[i], got), 0);
			assert_memory_equal(got, root[i], 32);
			buf_clear(&proof);
			assert_int_equal(journal_proof(f.j, size[i],
					     journal_size(f.j), &proof),
			    0);
			assert_true(tree_consistency_check(size[i], root[i],
			    journal_size(f.j), now, buf_view(&proof)));
		}
		assert_int_equal(journal_root_at(f.j, 9999, got), -1);
		reopen(&f);
	}
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	for (uint64_t n = 1; n <= 671; n += 67) {
		assert_int_equal(
		    scan_range_proof(s, n / 2, n - 1, n, &left, &right, got),
		    0);
		assert_int_equal(journal_root_at(f.j, n, now), 0);
		assert_memory_equal(got, now, 32);
		assert_int_equal(right.len, 0);
	}
	/* The journal grows under the reader's cached edge. */
	append_posts(&f, 400);
	buf_clear(&left);
	assert_int_equal(
	    scan_range_proof(s, 512, 767, 1071, &left, &right, got), 0);
	journal_root(f.j, now);
	assert_memory_equal(got, now, 32);
	assert_int_equal(left.len, 32);
	assert_int_equal(right.len, 32 * __builtin_popcount(1071 - 768));
	assert_int_equal(
	    scan_range_proof(s, 5, 1071, 1071, &left, &right, got), -1);
	assert_int_equal(
	    scan_range_proof(s, 5, 6, 1072, &left, &right, got), -1);
	scan_close(s);
	buf_release(&right);
	buf_release(&left);
	buf_release(&proof);
	end_fixture(&f);
}

static void
notes_and_times(void **state)
{
	struct fixture f;
	struct scan *s;
	struct scan_record r;
	uint64_t size, at;
	struct buf note;
	char why[256];
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	buf_init(&note);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_note(s, &size, &note), 0);
	assert_int_equal(size, 0);
	assert_int_equal(note.len, 0);
	append_posts(&f, 300);
	sign_head(&f, false);
	append_posts(&f, 10);
	assert_int_equal(scan_note(s, &size, &note), 0);
	assert_int_equal(size, 300);
	assert_true(note.len > 100);
	sign_head(&f, true);
	sign_head(&f, true);
	db = open_raw(&f);
	assert_int_equal(db_int(db, "SELECT COUNT(*) FROM checkpoint", 0), 1);
	assert_int_equal(db_int(db, "SELECT size FROM checkpoint", 0), 310);
	db_close(db);
	reopen(&f);
	assert_int_equal(journal_signed_size(f.j), 310);
	assert_string_equal(scan_meta(s, "origin"), ORIGIN);
	assert_null(scan_meta(s, "other"));
	for (uint64_t seq = 0; seq < 310; seq += 31) {
		assert_int_equal(scan_seek(s, seq), 0);
		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.seq, seq);
		at = r.at;
		assert_int_equal(scan_find_time(s, at), seq);
		assert_int_equal(scan_find_time(s, at + 1), seq + 1);
	}
	assert_int_equal(scan_find_time(s, 0), 0);
	assert_int_equal(scan_find_time(s, UINT64_MAX), 310);
	assert_int_equal(scan_seek(s, 310), 0);
	assert_int_equal(scan_next(s, &r), 0);
	append_posts(&f, 1);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.seq, 310);
	scan_close(s);
	buf_release(&note);
	end_fixture(&f);
}

/* A note that was not to be published may be later, if its key made it. */
static void
published_afterwards(void **state)
{
	struct fixture f;
	struct crypto_key *key;

	(void)state;
	new_fixture(&f);
	assert_int_equal(journal_publish(f.j), 0);
	assert_false(journal_publish_waits(f.j));
	append_posts(&f, 3);
	sign_head(&f, false);
	assert_int_equal(journal_publish(f.j), 0);
	assert_true(journal_publish_waits(f.j));
	assert_int_equal(journal_has_checkpoint(f.j, 3), 0);
	append_posts(&f, 3);
	assert_false(journal_publish_waits(f.j));
	assert_int_equal(journal_has_checkpoint(f.j, 3), 1);
	key = f.key;
	f.key = witness_key(1);
	sign_head(&f, false);
	assert_int_equal(journal_publish(f.j), -1);
	assert_non_null(strstr(journal_error(f.j), "the newest note: "));
	assert_false(journal_publish_waits(f.j));
	append_posts(&f, 1);
	assert_int_equal(journal_has_checkpoint(f.j, 6), 0);
	crypto_key_free(f.key);
	f.key = key;
	end_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(creation_makes_an_empty_journal),
	    cmocka_unit_test(records_come_back_as_they_were),
	    cmocka_unit_test(bytes_and_limits),
	    cmocka_unit_test(no_row_can_be_changed),
	    cmocka_unit_test(an_altered_file_is_not_opened),
	    cmocka_unit_test(batches_and_acks_are_checked),
	    cmocka_unit_test(the_gate_is_sealed),
	    cmocka_unit_test(proofs_of_the_journal),
	    cmocka_unit_test(notes_and_times),
	    cmocka_unit_test(published_afterwards),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
