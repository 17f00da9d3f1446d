#include "tests/unit/segments_fixture.h"

#include "compliance/ledger.h"

static void
names_tell_the_segments(void **state)
{
	static const char *const others[] = {"journal-1.db", "journal-00009.db",
	    "journal-0000.db", "journal-0009.db-wal", "journal-0009.db.new",
	    "journal-0x09.db", "journals-0009.db", "journal-.db"};
	char dir[] = "/tmp/chancery-test-XXXXXX", path[64], other[96];
	char *made;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/journal.db", dir);
	assert_int_equal(segments_newest(path), 0);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		(void)snprintf(other, sizeof other, "%s/%s", dir, others[i]);
		assert_int_equal(file_create(other, view_text("x"), 0600), 0);
	}
	assert_int_equal(segments_newest(path), 0);
	made = segments_path(path, 0);
	assert_string_equal(made, path);
	free(made);
	made = segments_path(path, 7);
	(void)snprintf(other, sizeof other, "%s/journal-0007.db", dir);
	assert_string_equal(made, other);
	assert_false(segments_exists(path, 7));
	assert_int_equal(file_create(made, view_text("x"), 0600), 0);
	assert_true(segments_exists(path, 7));
	assert_int_equal(segments_newest(path), 7);
	free(made);
	made = segments_path(path, 12345);
	assert_int_equal(file_create(made, view_text("x"), 0600), 0);
	assert_int_equal(segments_newest(path), 12345);
	assert_true(segments_is_later(made));
	assert_false(segments_is_later(path));
	assert_false(segments_is_later("/x/-0001.db"));
	assert_false(segments_is_later("/x/copy-001.db"));
	free(made);
	made = segments_named(dir);
	assert_string_equal(made, path);
	free(made);
	remove_folder(dir);
}

static void
years_end(void **state)
{
	(void)state;
	assert_int_equal(segments_year_end(0), UINT64_C(31536000000000));
	assert_int_equal(segments_year_end(UINT64_C(1798761599999999)),
	    UINT64_C(1798761600000000));
	assert_int_equal(segments_year_end(UINT64_C(1798761600000000)),
	    UINT64_C(1830297600000000));
	/* 2028 has a day more. */
	assert_int_equal(segments_year_end(UINT64_C(1835481600000000)),
	    UINT64_C(1861920000000000));
}

static void
a_journal_goes_on_in_the_next_file(void **state)
{
	uint8_t before[32], after[32], now[32], again[32];
	struct journal_event e;
	struct fixture f;
	struct stat old, new;
	char path[160];

	(void)state;
	new_fixture(&f);
	assert_int_equal(chmod(f.path, 0640), 0);
	append_open(&f);
	assert_int_equal(journal_seal(f.j, &e), 1);
	seal(&f, 512);
	/* Not before its checkpoint is stored, and nothing after the seal. */
	assert_int_equal(journal_roll(f.j), 1);
	journal_root(f.j, before);
	sign_head(&f, true);
	assert_int_equal(journal_roll(f.j), 0);
	journal_root(f.j, after);
	assert_memory_equal(before, after, 32);
	assert_int_equal(journal_segment(f.j), 1);
	assert_int_equal(journal_first(f.j), 512);
	assert_int_equal(journal_size(f.j), 512);
	assert_int_equal(journal_signed_size(f.j), 512);
	assert_string_equal(journal_uuid(f.j), UUID);
	assert_true(journal_opens(f.j));
	append_open(&f);
	(void)snprintf(path, sizeof path, "%s/journal-0001.db", f.dir);
	assert_int_equal(stat(f.path, &old), 0);
	assert_int_equal(stat(path, &new), 0);
	assert_int_equal(new.st_mode, old.st_mode);
	assert_false(there(&f, "journal-0001.db.new"));
	assert_false(there(&f, "journal-0001.db.new-wal"));
	(void)snprintf(path, sizeof path, "%s/journal.db-wal", f.dir);
	assert_int_equal(stat(path, &old), 0);
	assert_int_equal(old.st_size, 0);
	append_posts(&f, 300);
	check_all(&f, 813);
	roll(&f, 1024);
	roll(&f, 1280);
	append_posts(&f, 70000);
	roll(&f, 71424);
	append_posts(&f, 5);
	check_all(&f, 71430);
	journal_root(f.j, now);
	reopen(&f);
	assert_int_equal(journal_segment(f.j), 4);
	assert_int_equal(journal_size(f.j), 71430);
	journal_root(f.j, again);
	assert_memory_equal(now, again, 32);
	append_posts(&f, 1);
	end_segments(&f);
}

/* Sizes in all files, whose tiles lie in files that are closed. */
static void
earlier_roots_and_proofs(void **state)
{
	static const uint64_t sizes[] = {
	    1, 255, 256, 300, 511, 512, 513, 700, 1024, 1030};
	uint8_t root[10][32], now[32], again[32];
	struct scan *s;
	struct fixture f;
	char why[256];

	(void)state;
	new_fixture(&f);
	append_open(&f);
	for (size_t i = 0; i < 10; i++) {
		uint64_t to = sizes[i];

		if (to == 512 || to == 1024)
			seal(&f, to);
		else if (to > journal_size(f.j))
			append_posts(&f, to - journal_size(f.j));
		assert_int_equal(journal_size(f.j), to);
		journal_root(f.j, root[i]);
		if (to != 512 && to != 1024)
			continue;
		sign_head(&f, true);
		assert_int_equal(journal_roll(f.j), 0);
		append_open(&f);
	}
	reopen(&f);
	journal_root(f.j, now);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	for (size_t i = 0; i < 10; i++) {
		struct buf proof, left, right;
		uint8_t scanned[32];

		buf_init(&proof);
		buf_init(&left);
		buf_init(&right);
		if (journal_root_at(f.j, sizes[i], again) != 0)
			fail_msg("%s", journal_error(f.j));
		assert_memory_equal(root[i], again, 32);
		assert_int_equal(
		    journal_proof(f.j, sizes[i], journal_size(f.j), &proof), 0);
		assert_true(tree_consistency_check(
		    sizes[i], root[i], 1030, now, buf_view(&proof)));
		if (scan_range_proof(s, sizes[i] / 2, sizes[i] - 1, sizes[i],
			&left, &right, scanned) != 0)
			fail_msg("%s", scan_error(s));
		assert_memory_equal(root[i], scanned, 32);
		buf_release(&proof);
		buf_release(&left);
		buf_release(&right);
	}
	scan_close(s);
	end_segments(&f);
}

/* Every place where a roll can stop. */
static void
a_roll_begins_again(void **state)
{
	struct journal_event post = {
	    .kind = EVENT_POST, .parts = 1, .part = {view_text("{}")}};
	struct fixture f;
	char path[160];

	(void)state;
	new_fixture(&f);
	append_open(&f);
	seal(&f, 256);
	/* Sealed, and nothing can follow. */
	assert_int_equal(journal_append(f.j, &post, 1), -1);
	assert_int_equal(journal_recover(f.j), 0);
	reopen(&f);
	assert_true(journal_sealed(f.j));
	assert_int_equal(journal_append(f.j, &post, 1), -1);
	assert_int_equal(journal_recover(f.j), 0);
	assert_int_equal(journal_roll(f.j), 1);
	/* The checkpoint is stored. */
	sign_head(&f, true);
	reopen(&f);
	assert_true(journal_sealed(f.j));
	/* A part of the next file was written. */
	(void)snprintf(path, sizeof path, "%s/journal-0001.db.new", f.dir);
	assert_int_equal(file_create(path, view_text("half"), 0600), 0);
	(void)snprintf(path, sizeof path, "%s/journal-0001.db.new-wal", f.dir);
	assert_int_equal(file_create(path, view_text("half"), 0600), 0);
	reopen(&f);
	assert_int_equal(journal_segment(f.j), 0);
	assert_int_equal(journal_roll(f.j), 0);
	assert_false(there(&f, "journal-0001.db.new"));
	assert_false(there(&f, "journal-0001.db.new-wal"));
	/* In its place, and no open record. */
	reopen(&f);
	assert_int_equal(journal_segment(f.j), 1);
	assert_true(journal_opens(f.j));
	assert_int_equal(journal_append(f.j, &post, 1), -1);
	assert_int_equal(journal_recover(f.j), 0);
	append_open(&f);
	check_all(&f, 257);
	/* The new file's name was lost with the power: it is made again. */
	journal_close(f.j);
	(void)snprintf(path, sizeof path, "%s/journal-0001.db", f.dir);
	assert_int_equal(unlink(path), 0);
	f.j = NULL;
	reopen(&f);
	assert_true(journal_sealed(f.j));
	assert_int_equal(journal_roll(f.j), 0);
	append_open(&f);
	check_all(&f, 257);
	end_segments(&f);
}

static void
control_records(struct fixture *f, unsigned count)
{
	char fields[512];

	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(fields, sizeof fields,
		    "what storage\nsince %u\nuntil 9\nrefused 0\n", i);
		assert_int_equal(
		    append_text(f, EVENT_INCIDENT, fields, NULL), 0);
	}
}

static void
place_hold(struct fixture *f, struct journal_event *out)
{
	struct journal_hold h = {
	    .matter = view_text("m"), .selector = view_text("{\"v\":1}")};

	assert_int_equal(journal_hold(f->j, &h, out), 0);
}

/* Each table of the new file has what it must have of the old one. */
static void
same_rows(struct fixture *f, uint64_t edge)
{
	static const char *const tables[] = {"batch", "ack", "purge_range",
	    "hold", "leaf WHERE kind >= 128 AND kind NOT IN (133, 137)",
	    "tile WHERE level > 0"};
	char sql[512], old[160];
	sqlite3 *db = open_raw(f);

	(void)snprintf(old, sizeof old, "%s/journal-0001.db", f->dir);
	(void)snprintf(sql, sizeof sql, "ATTACH '%s' AS new", old);
	assert_int_equal(db_exec(db, sql), 0);
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		(void)snprintf(sql, sizeof sql,
		    "SELECT COUNT(*) FROM (SELECT * FROM main.%s"
		    " EXCEPT SELECT * FROM new.%s)",
		    tables[i], tables[i]);
		assert_int_equal(db_int(db, sql, -1), 0);
		(void)snprintf(sql, sizeof sql,
		    "SELECT COUNT(*) > 0 FROM main.%s", tables[i]);
		assert_int_equal(db_int(db, sql, -1), 1);
	}
	assert_int_equal(
	    db_int(db, "SELECT COUNT(*) FROM new.leaf WHERE kind < 128", -1),
	    0);
	assert_int_equal(
	    db_int(db, "SELECT MIN(idx) FROM new.tile WHERE level = 0", -1),
	    edge);
	assert_int_equal(
	    db_int(db,
		"SELECT COUNT(*) FROM (SELECT level, idx, data FROM new.tile"
		" EXCEPT SELECT level, idx, data FROM main.tile)",
		-1),
	    0);
	db_close(db);
}

/* It is prepared while everything that it takes over still changes. */
static void
a_file_that_is_prepared(void **state)
{
	struct journal_event e;
	struct fixture f;
	char path[160];

	(void)state;
	new_fixture(&f);
	append_open(&f);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	append_posts(&f, 100);
	control_records(&f, 700);
	place_hold(&f, &e);
	place_hold(&f, &e);
	place_hold(&f, &e);
	assert_int_equal(
	    append_text(&f, EVENT_CONFLICT,
		"witness w.example\nsize 9\nproof no\nhold 3\nnote -\n", NULL),
	    0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 99), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 99, "stored"), 0);
	sign_head(&f, true);
	assert_int_equal(journal_release(f.j, 2, 4, false, &e), 0);
	assert_int_equal(journal_prepare(f.j), 0);
	assert_true(there(&f, "journal-0001.db.new"));
	control_records(&f, 10);
	assert_int_equal(journal_prepare(f.j), 0);
	assert_int_equal(journal_prepare(f.j), 1);
	assert_int_equal(journal_prepare(f.j), 1);
	assert_int_equal(journal_release(f.j, 1, 4, false, &e), 0);
	assert_int_equal(journal_release(f.j, 3, 4, false, &e), 0);
	place_hold(&f, &e);
	assert_int_equal(journal_release(f.j, 4, 4, false, &e), 0);
	assert_int_equal(purge_range(&f, 2, 3), 0);
	append_posts(&f, 66000);
	/* Tiles of level 0 that were copied lie behind the edge now. */
	while (journal_prepare(f.j) == 0)
		;
	append_posts(&f, 65536);
	assert_int_equal(append_batch(&f, "records", 2, 100, 400), 0);
	seal(&f, 132608);
	sign_head(&f, true);
	assert_int_equal(journal_roll(f.j), 0);
	assert_false(there(&f, "journal-0001.db.new"));
	same_rows(&f, 512);
	append_open(&f);
	append_posts(&f, 5);
	check_all(&f, 132614);
	/* Dropped when the keeper ends, and begun anew after a crash. */
	assert_int_equal(journal_prepare(f.j), 0);
	assert_true(there(&f, "journal-0002.db.new"));
	reopen(&f);
	assert_false(there(&f, "journal-0002.db.new"));
	(void)snprintf(path, sizeof path, "%s/journal-0002.db.new", f.dir);
	assert_int_equal(file_create(path, view_text("half"), 0600), 0);
	assert_int_equal(journal_prepare(f.j), 0);
	roll(&f, 132864);
	check_all(&f, 132865);
	end_segments(&f);
}

/* A verifier reads one state of a running journal for as long as it likes. */
static void
a_reader_is_no_hindrance(void **state)
{
	struct fixture f;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_open(&f);
	append_posts(&f, 20);
	sign_head(&f, true);
	db = open_raw(&f);
	assert_int_equal(db_exec(db, "BEGIN"), 0);
	assert_int_equal(db_int(db, "SELECT MAX(seq) FROM leaf", -1), 20);
	roll(&f, 256);
	assert_int_equal(db_int(db, "SELECT MAX(seq) FROM leaf", -1), 20);
	assert_int_equal(journal_segment(f.j), 1);
	db_close(db);
	check_all(&f, 257);
	end_segments(&f);
}

static void
a_roll_that_fails_is_tried_again(void **state)
{
	struct fixture f;
	char path[160];

	(void)state;
	new_fixture(&f);
	append_open(&f);
	seal(&f, 256);
	sign_head(&f, true);
	/* The name is taken by something that cannot be removed as a file. */
	(void)snprintf(path, sizeof path, "%s/journal-0001.db.new", f.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(journal_roll(f.j), -1);
	assert_false(journal_writable(f.j));
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(journal_recover(f.j), 0);
	assert_int_equal(journal_roll(f.j), 0);
	append_open(&f);
	check_all(&f, 257);
	end_segments(&f);
}

static void
files_under_wrong_names(void **state)
{
	char one[160], two[160], why[256] = "";
	struct fixture f;

	(void)state;
	new_fixture(&f);
	append_open(&f);
	roll(&f, 256);
	(void)snprintf(one, sizeof one, "%s/journal-0001.db", f.dir);
	(void)snprintf(two, sizeof two, "%s/journal-0002.db", f.dir);
	journal_close(f.j);
	assert_int_equal(rename(one, two), 0);
	f.j = journal_open(f.path, why, sizeof why);
	assert_null(f.j);
	assert_non_null(strstr(why, "by its name segment 2"));
	assert_null(scan_open(f.path, false, why, sizeof why));
	end_segments(&f);
}

/* Readers that were there before the roll go on after it. */
static void
readers_follow(void **state)
{
	struct ledger_batch b;
	struct scan_cursor c;
	struct scan_record r;
	struct fixture f;
	struct ledger *l;
	struct scan *s;
	uint64_t first;
	struct buf text;
	char why[256];

	(void)state;
	new_fixture(&f);
	buf_init(&text);
	append_open(&f);
	append_posts(&f, 9);
	assert_int_equal(append_batch(&f, "records", 1, 0, 4), 0);
	s = scan_open(f.path, false, why, sizeof why);
	l = ledger_open(f.path, why, sizeof why);
	assert_non_null(s);
	assert_non_null(l);
	assert_int_equal(ledger_get(l, "records", 1, &b), 1);
	assert_false(b.acked);
	assert_int_equal(scan_seek(s, 10), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(scan_segments(s, &first), 1);
	roll(&f, 256);
	assert_int_equal(append_ack(&f, "records", 1, 0, 4, "stored"), 0);
	roll(&f, 512);
	append_posts(&f, 2);
	assert_int_equal(append_batch(&f, "records", 2, 5, 400), 0);
	for (uint64_t seq = 11; seq < 516; seq++) {
		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.seq, seq);
	}
	assert_int_equal(scan_next(s, &r), 0);
	assert_int_equal(scan_segments(s, &first), 3);
	assert_int_equal(first, 512);
	assert_int_equal(scan_cursor(s, "records", &c), 0);
	assert_int_equal(c.acked_n, 1);
	assert_int_equal(c.open_n, 2);
	assert_int_equal(ledger_get(l, "records", 1, &b), 1);
	assert_true(b.stored);
	assert_int_equal(ledger_leaf(l, b.ack_seq, &text), 1);
	assert_int_equal(scan_purged_to(s), 1);
	assert_int_equal(scan_size(s), 516);
	/* By time, over all files. */
	assert_int_equal(scan_seek(s, 100), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(scan_find_time(s, r.at), 100);
	assert_int_equal(scan_find_time(s, UINT64_MAX >> 1), 516);
	buf_release(&text);
	ledger_close(l);
	scan_close(s);
	end_segments(&f);
}

/* One file of several, and several of which one is missing. */
static void
some_of_the_files(void **state)
{
	struct scan_record r;
	struct fixture f;
	struct scan *s;
	char path[160], why[256];

	(void)state;
	new_fixture(&f);
	append_open(&f);
	roll(&f, 256);
	roll(&f, 768);
	append_posts(&f, 3);
	(void)snprintf(path, sizeof path, "%s/journal-0001.db", f.dir);
	s = scan_open(path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_first(s), 256);
	assert_int_equal(scan_size(s), 768);
	for (uint64_t seq = 256; seq < 768; seq++) {
		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.seq, seq);
	}
	assert_int_equal(scan_next(s, &r), 0);
	assert_int_equal(scan_seek(s, 3), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.seq, 256);
	scan_close(s);
	assert_int_equal(unlink(path), 0);
	s = scan_open(f.dir, false, why, sizeof why);
	assert_non_null(s);
	for (uint64_t seq = 0; seq < 256; seq++)
		assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(scan_next(s, &r), -1);
	assert_non_null(strstr(scan_error(s), "journal-0001.db"));
	assert_int_equal(scan_seek(s, 768), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.seq, 768);
	scan_close(s);
	/* What is written needs none of the others. */
	reopen(&f);
	append_posts(&f, 1);
	end_segments(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_tell_the_segments),
	    cmocka_unit_test(years_end),
	    cmocka_unit_test(a_journal_goes_on_in_the_next_file),
	    cmocka_unit_test(earlier_roots_and_proofs),
	    cmocka_unit_test(a_roll_begins_again),
	    cmocka_unit_test(a_file_that_is_prepared),
	    cmocka_unit_test(a_reader_is_no_hindrance),
	    cmocka_unit_test(a_roll_that_fails_is_tried_again),
	    cmocka_unit_test(files_under_wrong_names),
	    cmocka_unit_test(readers_follow),
	    cmocka_unit_test(some_of_the_files),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
