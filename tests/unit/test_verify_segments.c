#include "tests/unit/segments_fixture.h"

#include "tests/unit/verify_run.h"

/* Several files verified as one journal, and every way to tamper with them. */

#define FILES 4

struct story {
	struct fixture f;
	char path[FILES][160];
};

/* Segments 0-3: [0,512), [512,768), [768,end), [end,end+100). */
#define SMALL 1024
#define LARGE 66304

static void
begin(struct story *s, uint64_t end)
{
	memset(s, 0, sizeof *s);
	new_fixture(&s->f);
	(void)snprintf(s->path[0], sizeof s->path[0], "%s", s->f.path);
	for (unsigned i = 1; i < FILES; i++)
		(void)snprintf(s->path[i], sizeof s->path[i],
		    "%s/journal-%04u.db", s->f.dir, i);
	append_open(&s->f);
	append_posts(&s->f, 20);
	assert_int_equal(
	    append_text(&s->f, EVENT_BEAT,
		"every 60\nevents 20\nqueue 0\nsync yes\nerror 0\ntai 37\n"
		"anchor -\n",
		NULL),
	    0);
	assert_int_equal(append_batch(&s->f, "records", 1, 0, 9), 0);
	roll(&s->f, 512);
	assert_int_equal(append_ack(&s->f, "records", 1, 0, 9, "stored"), 0);
	assert_int_equal(append_batch(&s->f, "records", 2, 10, 509), 0);
	roll(&s->f, 768);
	assert_int_equal(append_ack(&s->f, "records", 2, 10, 509, "stored"), 0);
	sign_head(&s->f, true);
	roll(&s->f, end);
	append_posts(&s->f, 99);
	sign_head(&s->f, true);
	journal_close(s->f.j);
	s->f.j = NULL;
}

static json_t *
run_some(struct story *s, const unsigned *which, size_t count, bool whole)
{
	struct verify_report *r = verify_report_new();
	const char *path[FILES];
	struct verify_journal j;
	struct verify_key key;
	const char *why;

	assert_non_null(r);
	assert_true(verify_key_parse(view_text(s->f.vkey), &key, &why));
	for (size_t i = 0; i < count; i++)
		path[i] = s->path[which[i]];
	verify_journal_run(&(const struct verify_group){path, count, whole},
	    &key, NULL, 0, r, &j);
	verify_journal_release(&j);
	return run_end(r);
}

static json_t *
run_all(struct story *s)
{
	static const unsigned all[] = {0, 1, 2, 3};

	return run_some(s, all, FILES, true);
}

static void
assert_holds(json_t *o)
{
	if (run_status(o) != 0) {
		char *text = json_dumps(o, JSON_INDENT(1));

		print_message("%s\n", text);
		free(text);
	}
	assert_int_equal(run_status(o), 0);
	json_decref(o);
}

static void
assert_found(json_t *o, const char *check, int64_t seq, const char *words)
{
	if (run_status(o) != 1 || !run_found(o, check, seq, words)) {
		char *text = json_dumps(o, JSON_INDENT(1));

		print_message("wanted: %s %s\n%s\n", check, words, text);
		free(text);
	}
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(o, check, seq, words));
	json_decref(o);
}

static void
all_files_are_one_journal(void **state)
{
	static const unsigned any_order[] = {2, 0, 3, 1};
	struct story s;
	json_t *o;

	(void)state;
	begin(&s, LARGE);
	assert_holds(run_all(&s));
	assert_holds(run_some(&s, any_order, FILES, true));
	o = run_all(&s);
	assert_int_equal(run_count(o, "syntax"), 66404);
	json_decref(o);
	end_segments(&s.f);
}

static void
one_file_alone(void **state)
{
	static const char *const notes[] = {"the next one was not given",
	    "segment 0 of the journal", "segments 0-1 of the journal",
	    "segments 0-2 of the journal"};
	struct story s;
	json_t *o;

	(void)state;
	begin(&s, SMALL);
	for (unsigned i = 0; i < FILES; i++) {
		o = run_some(&s, &i, 1, false);
		assert_true(run_noted(o, notes[i]));
		assert_holds(o);
	}
	/* In a folder what is not there is missing. */
	for (unsigned i = 1; i < FILES; i++)
		assert_found(run_some(&s, &i, 1, true), "sequence", 3,
		    "of the journal is missing");
	end_segments(&s.f);
}

/* The first beats of a file may name what an earlier file has. */
static void
evidence_of_earlier_files(void **state)
{
	static const unsigned newest = FILES - 1;
	struct story s;
	json_t *o;

	(void)state;
	begin(&s, SMALL);
	reopen(&s.f);
	assert_int_equal(
	    append_text(&s.f, EVENT_BEAT,
		"every 60\nevents 99\nqueue 0\nsync yes\nerror 0\ntai 37\n"
		"anchor 00112233445566778899aabbccddeeff"
		"00112233445566778899aabbccddeeff\n",
		NULL),
	    0);
	sign_head(&s.f, true);
	journal_close(s.f.j);
	s.f.j = NULL;
	o = run_some(&s, &newest, 1, false);
	assert_true(run_noted(o, "0 purges and 1 beats rest on is in files"));
	assert_holds(o);
	assert_found(run_all(&s), "anchors", 1124, "is not there");
	end_segments(&s.f);
}

static void
files_that_are_missing(void **state)
{
	static const unsigned no_first[] = {1, 2, 3}, no_second[] = {0, 2, 3},
			      no_middle[] = {0, 3}, no_last[] = {0, 1, 2};
	struct story s;
	json_t *o;

	(void)state;
	begin(&s, SMALL);
	o = run_some(&s, no_first, 3, false);
	assert_true(run_noted(o, "segment 0 of the journal (records 0-511)"));
	assert_holds(o);
	assert_found(run_some(&s, no_first, 3, true), "sequence", 0,
	    "segment 0 of the journal is missing");
	assert_found(run_some(&s, no_second, 3, false), "sequence", 512,
	    "segment 1 of the journal is missing");
	assert_found(run_some(&s, no_middle, 2, true), "sequence", 1023,
	    "segments 1-2 of the journal is missing");
	/* What is there still leads to the signed roots. */
	o = run_some(&s, no_middle, 2, true);
	assert_false(run_found(o, "roots", -1, NULL));
	assert_false(run_found(o, "tiles", -1, NULL));
	assert_false(run_found(o, "signatures", -1, NULL));
	json_decref(o);
	o = run_some(&s, no_last, 3, true);
	assert_true(run_noted(o, "the next one was not given"));
	json_decref(o);
	end_segments(&s.f);
}

static void
swap(const char *a, const char *b)
{
	char spare[200];

	(void)snprintf(spare, sizeof spare, "%s.spare", a);
	assert_int_equal(rename(a, spare), 0);
	assert_int_equal(rename(b, a), 0);
	assert_int_equal(rename(spare, b), 0);
}

static void
files_that_are_swapped(void **state)
{
	struct story s, other;

	(void)state;
	begin(&s, SMALL);
	swap(s.path[1], s.path[2]);
	assert_found(run_all(&s), "file", -1, "not the one that its name says");
	swap(s.path[1], s.path[2]);
	/* A file of another journal with the same names, salts aside. */
	begin(&other, SMALL);
	swap(s.path[1], other.path[1]);
	assert_found(run_all(&s), "control", -1,
	    "is not the one that the open record after it names");
	assert_found(run_all(&s), "roots", -1, NULL);
	assert_found(
	    run_all(&s), "tables", -1, "is not what the file before has");
	swap(s.path[1], other.path[1]);
	assert_holds(run_all(&s));
	end_segments(&other.f);
	end_segments(&s.f);
}

static void
change(const char *path, const char *sql)
{
	static const char *const triggers[] = {"leaf_update", "leaf_delete",
	    "leaf_insert", "tile_update", "tile_delete", "tile_insert",
	    "checkpoint_update", "checkpoint_delete", "meta_update",
	    "meta_delete", "batch_delete", "batch_update", "ack_delete",
	    "purge_range_delete", "head_update", "body_delete", "body_insert",
	    "purge_insert", "purge_order", "purge_acked"};
	char why[256], drop[128];
	sqlite3 *db = db_open(path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);

	assert_non_null(db);
	assert_int_equal(db_exec(db, "PRAGMA foreign_keys=OFF"), 0);
	for (size_t i = 0; i < sizeof triggers / sizeof triggers[0]; i++) {
		(void)snprintf(drop, sizeof drop, "DROP TRIGGER IF EXISTS %s",
		    triggers[i]);
		assert_int_equal(db_exec(db, drop), 0);
	}
	if (db_exec(db, sql) != 0)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	db_close(db);
}

static void
what_was_changed_is_named(void **state)
{
	static const struct {
		unsigned file;
		const char *sql, *check; /* of level 1: LARGE */
		int64_t seq;
		const char *words;
	} cases[] = {
	    /* Ends and beginnings. */
	    {1, "DELETE FROM leaf WHERE seq = 767", "sequence", 767, NULL},
	    {1, "DELETE FROM leaf WHERE seq >= 700", "sequence", 700, NULL},
	    {2, "DELETE FROM leaf WHERE seq = 768", "sequence", 768, NULL},
	    {1, "UPDATE head SET size = 700", "head", -1, "not at its end"},
	    {1, "UPDATE meta SET value = '2' WHERE name = 'segment'", NULL, -1,
		NULL},
	    {1, "UPDATE meta SET value = '511' WHERE name = 'first'", "tables",
		-1, "does not begin with"},
	    {1, "DELETE FROM meta WHERE name = 'first'", "tables", -1,
		"which file it is"},
	    {1, "UPDATE meta SET value = 'x' WHERE name = 'journal'", "tables",
		-1, "journal"},
	    {1, "DELETE FROM checkpoint WHERE size = 768", "signatures", -1,
		"that it ends with"},
	    {1, "DELETE FROM checkpoint WHERE size = 512", "signatures", -1,
		"that it begins with"},
	    {2,
		"UPDATE checkpoint SET note = CAST(note || 'x' AS BLOB)"
		" WHERE size = 768",
		"control", 768, "open record after it names"},
	    {1,
		"INSERT INTO leaf SELECT 768, at, 3, bytes FROM leaf"
		" WHERE seq = 600",
		NULL, 768, NULL},
	    /* Copies. */
	    {2, "DELETE FROM leaf WHERE seq = 22", "tables", 22, "control"},
	    {2,
		"UPDATE leaf SET bytes = CAST(bytes || 'x y' || char(10)"
		" AS BLOB) WHERE seq = 22",
		"tables", 22, "control"},
	    {3, "UPDATE leaf SET at = at + 1 WHERE seq = 22", "tables", 22,
		"control"},
	    {2,
		"INSERT INTO leaf SELECT 5, at, 3, bytes FROM leaf"
		" WHERE seq = 800",
		"tables", 5, "control"},
	    {2,
		"UPDATE tile SET data = zeroblob(8192) WHERE level = 0"
		" AND idx = 1",
		"tables", -1, "tile"},
	    {2, "DELETE FROM tile WHERE level = 0 AND idx = 2", "tables", -1,
		"tile"},
	    {3, "DELETE FROM tile WHERE level = 1", "tables", -1, "tile"},
	    {3, "INSERT INTO tile VALUES(0, 2, zeroblob(8192)) -- level = 1",
		"tiles", -1, "stray"},
	    {2, "DELETE FROM batch WHERE n = 1", "tables", -1, "batch"},
	    {1, "DELETE FROM ack", "tables", -1, "ack"},
	    {0, "UPDATE batch SET last = 8", "tables", -1, "batch"},
	    {2, "INSERT INTO body SELECT 300, zeroblob(32), zeroblob(2)",
		"completeness", 1, "stray"},
	    /* Its own. */
	    {0,
		"UPDATE leaf SET bytes = CAST(bytes || ' ' AS BLOB)"
		" WHERE seq = 30",
		NULL, 30, NULL},
	    {1, "DELETE FROM body WHERE id >> 8 = 600", "completeness", 600,
		NULL},
	    {1,
		"UPDATE tile SET data = zeroblob(8192) WHERE level = 0"
		" AND idx = 2",
		"tiles", -1, NULL},
	    {2, "DELETE FROM tile WHERE level = 1", "tiles", -1, NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		bool large = strstr(cases[i].sql, "level = 1") != NULL;
		struct story s;

		begin(&s, large ? LARGE : SMALL);
		change(s.path[cases[i].file], cases[i].sql);
		assert_found(
		    run_all(&s), cases[i].check, cases[i].seq, cases[i].words);
		end_segments(&s.f);
	}
}

static void
files_that_do_not_fit(void **state)
{
	static const unsigned second = 1, twice[] = {2, 2};
	struct story s;

	(void)state;
	begin(&s, SMALL);
	assert_found(run_some(&s, twice, 2, false), "file", -1,
	    "segment 2 is there twice");
	change(s.path[1], "DELETE FROM tile WHERE idx = 1");
	assert_found(run_some(&s, &second, 1, false), "tiles", -1,
	    "tiles of the records before it are missing");
	end_segments(&s.f);
}

static unsigned
count_bytes(const char *path, const char *suffix, const char *needle)
{
	char name[200];
	unsigned n = 0;
	struct buf b;

	(void)snprintf(name, sizeof name, "%s%s", path, suffix);
	buf_init(&b);
	if (access(name, F_OK) == 0)
		assert_int_equal(file_read(name, 64U << 20, &b), 0);
	for (size_t at = 0; at < b.len; n++) {
		const uint8_t *hit =
		    memmem(b.data + at, b.len - at, needle, strlen(needle));

		if (hit == NULL)
			break;
		at = (size_t)(hit - b.data) + 1;
	}
	buf_release(&b);
	return n;
}

static void
purges_in_sealed_files(void **state)
{
	static const unsigned first[] = {0}, both[] = {0, 1};
	struct story s;
	json_t *o;

	(void)state;
	memset(&s, 0, sizeof s);
	new_fixture(&s.f);
	(void)snprintf(s.path[0], sizeof s.path[0], "%s", s.f.path);
	(void)snprintf(
	    s.path[1], sizeof s.path[1], "%s/journal-0001.db", s.f.dir);
	append_open(&s.f);
	assert_int_equal(append_text(&s.f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	roll(&s.f, 512);
	append_posts(&s.f, 87);
	assert_int_equal(append_batch(&s.f, "records", 1, 0, 599), 0);
	assert_int_equal(append_ack(&s.f, "records", 1, 0, 599, "stored"), 0);
	sign_head(&s.f, true);
	assert_int_equal(purge_range(&s.f, 500, 520), 1);
	assert_non_null(strstr(journal_error(s.f.j), "over the end of a file"));
	assert_int_equal(count_bytes(s.path[0], "", "CANARY-93b1"), 509);
	assert_int_equal(purge_range(&s.f, 2, 300), 0);
	/* Recorded, and not carried out: as after a crash. */
	sign_head(&s.f, true);
	assert_int_equal(purge_range(&s.f, 301, 301), 1);
	o = run_some(&s, both, 2, true);
	assert_true(run_noted(o, "is not carried out yet"));
	assert_holds(o);
	assert_int_equal(count_bytes(s.path[0], "", "CANARY-93b1"), 509);
	reopen(&s.f);
	assert_int_equal(journal_truncate(s.f.j), 0);
	assert_int_equal(count_bytes(s.path[0], "", "CANARY-93b1"), 210);
	assert_int_equal(count_bytes(s.path[0], "-wal", "CANARY-93b1"), 0);
	/* Once more, and in the file that is written. */
	assert_int_equal(purge_range(&s.f, 2, 2), 1);
	assert_int_equal(purge_range(&s.f, 301, 510), 0);
	assert_int_equal(journal_truncate(s.f.j), 0);
	assert_int_equal(count_bytes(s.path[0], "", "CANARY-93b1"), 0);
	assert_int_equal(purge_range(&s.f, 513, 520), 0);
	assert_int_equal(journal_truncate(s.f.j), 0);
	sign_head(&s.f, true);
	assert_holds(run_some(&s, both, 2, true));
	o = run_some(&s, first, 1, false);
	assert_true(run_noted(o, "were purged by records in later files"));
	assert_holds(o);
	roll(&s.f, 768);
	(void)snprintf(
	    s.path[2], sizeof s.path[2], "%s/journal-0002.db", s.f.dir);
	assert_int_equal(purge_range(&s.f, 530, 540), 0);
	assert_int_equal(journal_truncate(s.f.j), 0);
	sign_head(&s.f, true);
	journal_close(s.f.j);
	s.f.j = NULL;
	{
		static const unsigned all[] = {0, 1, 2};

		assert_holds(run_some(&s, all, 3, true));
	}
	/* Payloads that went without a record, and rows without one. */
	change(s.path[0], "DELETE FROM purge_range WHERE first = 2");
	assert_found(run_some(&s, both, 2, true), "tables", -1, "purge_range");
	end_segments(&s.f);
}

/* A purge of an earlier file whose checkpoint was stamped there, says it. */
static void
anchors_of_earlier_purges(void **state)
{
	static const unsigned newest = 1;
	struct story s;
	json_t *o;

	(void)state;
	memset(&s, 0, sizeof s);
	new_fixture(&s.f);
	(void)snprintf(
	    s.path[1], sizeof s.path[1], "%s/journal-0001.db", s.f.dir);
	append_open(&s.f);
	assert_int_equal(append_text(&s.f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	append_posts(&s.f, 8);
	assert_int_equal(append_batch(&s.f, "records", 1, 0, 9), 0);
	assert_int_equal(append_ack(&s.f, "records", 1, 0, 9, "stored"), 0);
	sign_head(&s.f, true);
	assert_int_equal(purge_range(&s.f, 2, 9), 0);
	roll(&s.f, 512);
	sign_head(&s.f, true);
	journal_close(s.f.j);
	s.f.j = NULL;
	change(s.path[1],
	    "UPDATE leaf SET bytes = CAST(replace(replace(CAST(bytes AS TEXT),"
	    " 'stamp no', 'stamp yes'), 'anchor -', 'anchor 12') AS BLOB)"
	    " WHERE kind IN (131, 134)");
	o = run_some(&s, &newest, 1, false);
	assert_true(run_noted(o, "1 purges and 0 beats rest on is in files"));
	assert_holds(o);
	end_segments(&s.f);
}

/* The row of the checkpoint that two files share, in both of them. */
static void
put_cosig(const struct story *s, const char *name, uint8_t which)
{
	struct crypto_key *key = witness_key(which);
	struct buf line, sql;
	struct note note;
	char error[256];
	sqlite3_stmt *q;
	const char *why;
	sqlite3 *db;

	buf_init(&line);
	buf_init(&sql);
	db = db_open(s->path[0], DB_READ, DB_SYNC_FULL, error, sizeof error);
	q = db_prepare(db, "SELECT note FROM checkpoint WHERE size = 512");
	assert_int_equal(sqlite3_step(q), SQLITE_ROW);
	assert_true(note_parse(view_of(sqlite3_column_blob(q, 0),
				   (size_t)sqlite3_column_bytes(q, 0)),
	    &note, &why));
	assert_true(cosign_put_line(&line, note.body, view_text(name), 7, key));
	(void)sqlite3_finalize(q);
	db_close(db);
	buf_printf(&sql, "INSERT INTO cosig VALUES(512, '%s', x'", name);
	text_put_hex(&sql, line.data, line.len);
	buf_put_text(&sql, "', 7)");
	change(s->path[0], buf_text(&sql));
	change(s->path[1], buf_text(&sql));
	buf_release(&sql);
	buf_release(&line);
	crypto_key_free(key);
}

/* One witness in two files is one witness. */
static void
cosignatures_in_two_files(void **state)
{
	static const unsigned both[] = {0, 1};
	static const char words[] = "1 of 2 witnesses had cosigned";
	char *a = witness_vkey("w.example/a", 1), fields[1024];
	char *b = witness_vkey("w.example/b", 2);
	struct story s;
	json_t *o;

	(void)state;
	memset(&s, 0, sizeof s);
	new_fixture(&s.f);
	(void)snprintf(s.path[0], sizeof s.path[0], "%s", s.f.path);
	(void)snprintf(
	    s.path[1], sizeof s.path[1], "%s/journal-0001.db", s.f.dir);
	append_open(&s.f);
	(void)snprintf(fields, sizeof fields,
	    "required records\nafter 0\napprovals 0\nquorum 2\n"
	    "witnesses %s,%s\nstamp no\nclasses -\n",
	    a, b);
	assert_int_equal(append_text(&s.f, EVENT_POLICY, fields, NULL), 0);
	append_posts(&s.f, 8);
	assert_int_equal(append_batch(&s.f, "records", 1, 0, 9), 0);
	assert_int_equal(append_ack(&s.f, "records", 1, 0, 9, "stored"), 0);
	roll(&s.f, 512);
	assert_int_equal(purge_range(&s.f, 2, 9), 0);
	sign_head(&s.f, true);
	journal_close(s.f.j);
	s.f.j = NULL;
	/* The gate asked for none: what it wrote is made to name one. */
	change(s.path[1],
	    "UPDATE leaf SET bytes = CAST(replace(CAST(bytes AS TEXT),"
	    " 'anchor -', 'anchor 512') AS BLOB) WHERE kind = 131");
	put_cosig(&s, "w.example/a", 1);
	assert_found(run_some(&s, both, 2, true), "purges", 513, words);
	put_cosig(&s, "w.example/b", 2);
	o = run_some(&s, both, 2, true);
	assert_false(run_found(o, "purges", -1, "witnesses had cosigned"));
	assert_false(run_found(o, "anchors", -1, NULL));
	json_decref(o);
	end_segments(&s.f);
	free(a);
	free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_files_are_one_journal),
	    cmocka_unit_test(one_file_alone),
	    cmocka_unit_test(evidence_of_earlier_files),
	    cmocka_unit_test(files_that_are_missing),
	    cmocka_unit_test(files_that_are_swapped),
	    cmocka_unit_test(what_was_changed_is_named),
	    cmocka_unit_test(files_that_do_not_fit),
	    cmocka_unit_test(purges_in_sealed_files),
	    cmocka_unit_test(anchors_of_earlier_purges),
	    cmocka_unit_test(cosignatures_in_two_files),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
