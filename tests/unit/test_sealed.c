/* Files that are sealed: what is purged from them, and how they come back. */

#include "tests/unit/segments_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "compliance/journal_store.h"

#define HALL "ma-chan://example.test/hall"
#define POLICY "required records\nafter 0\n" POLICY_REST

static void
file_of(const struct fixture *f, unsigned segment, char path[160])
{
	char *name = segments_path(f->path, segment);

	(void)snprintf(path, 160, "%s", name);
	free(name);
}

static sqlite3 *
open_file(const struct fixture *f, unsigned segment)
{
	char path[160], why[256];
	sqlite3 *db;

	file_of(f, segment, path);
	db = db_open(path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(db);
	return db;
}

static int64_t
payloads(const struct fixture *f, unsigned segment)
{
	sqlite3 *db = open_file(f, segment);
	int64_t n = db_int(db, "SELECT COUNT(*) FROM body", -1);

	db_close(db);
	return n;
}

static void
copy_file(const char *from, const char *to)
{
	struct buf b;

	buf_init(&b);
	assert_int_equal(file_read(from, 64U << 20, &b), 0);
	(void)unlink(to);
	assert_int_equal(file_create(to, buf_view(&b), 0600), 0);
	buf_release(&b);
}

/*
 * 0 open, 1 policy, 2 to 254 posts of which 9 is in the hall, 255 seal; 256
 * open, and so on up to 511; 512 open, all of it up to 511 stored and signed.
 */
static void
three_files(struct fixture *f)
{
	struct journal_event e = {.kind = EVENT_POST,
	    .parts = 1,
	    .part = {view_text("{\"v\":1,\"room\":\"" HALL "\"}")}};
	static char large[100000];

	memset(large, 'x', sizeof large);
	(void)memcpy(large, e.part[0].p, e.part[0].n);
	e.part[0] = view_of(large, sizeof large);
	new_fixture(f);
	append_open(f);
	assert_int_equal(append_text(f, EVENT_POLICY, POLICY, NULL), 0);
	append_posts(f, 7);
	assert_int_equal(journal_append(f->j, &e, 1), 0);
	roll(f, 256);
	roll(f, 512);
	assert_int_equal(append_batch(f, "records", 1, 0, 511), 0);
	assert_int_equal(append_ack(f, "records", 1, 0, 511, "stored"), 0);
	sign_head(f, true);
}

static void
end_files(struct fixture *f)
{
	check_all(f, journal_size(f->j));
	end_segments(f);
}

static void
settled(struct fixture *f, unsigned segment, uint64_t ranges, bool older)
{
	struct journal_settled out;
	uint64_t next = 0;

	if (journal_settle(f->j, segment, &next, &out) != 0)
		fail_msg("%s", journal_error(f->j));
	assert_int_equal(out.ranges, ranges);
	assert_int_equal(out.older, older);
	assert_false(out.more);
}

static void
purges_reach_sealed_files(void **state)
{
	const struct range around[] = {{2, 8}, {10, 40}};
	struct fixture f;

	(void)state;
	three_files(&f);
	assert_int_equal(payloads(&f, 0), 2 * 252 + 1);
	assert_int_equal(purge_ranges(&f, around, 2, 0), 0);
	assert_true(journal_undone(f.j));
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	assert_false(journal_undone(f.j));
	assert_int_equal(purge_range(&f, 250, 260), 1);
	assert_non_null(strstr(journal_error(f.j), "over the end of a file"));
	assert_int_equal(payloads(&f, 0), 2 * (252 - 7 - 31) + 1);
	/* What a crash left undone is found at the next start. */
	assert_int_equal(purge_range(&f, 300, 309), 0);
	reopen(&f);
	assert_int_equal(payloads(&f, 1), 2 * 254);
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	assert_int_equal(payloads(&f, 1), 2 * 244);
	settled(&f, 0, 0, false);
	settled(&f, 1, 0, false);
	end_files(&f);
}

/* SQLite hands it on as the commit's own, after it is done. */
static int
fail_late(void *arg, sqlite3 *db, const char *name, int pages)
{
	(void)arg;
	(void)db;
	(void)name;
	(void)pages;
	return SQLITE_IOERR;
}

/* The commit said that it failed, and did not: the purge is on record. */
static void
a_purge_that_failed_is_recorded(void **state)
{
	struct fixture f;

	(void)state;
	three_files(&f);
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	(void)sqlite3_wal_hook(f.j->db, fail_late, NULL);
	assert_int_equal(purge_range(&f, 5, 20), -1);
	assert_false(journal_writable(f.j));
	assert_int_equal(journal_watch(f.j), 0);
	assert_int_equal(journal_recover(f.j), 0);
	assert_true(journal_undone(f.j));
	assert_int_equal(payloads(&f, 0), 2 * 252 + 1);
	assert_int_equal(purge_range(&f, 300, 309), 1);
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	assert_int_equal(payloads(&f, 0), 2 * (252 - 15));
	assert_int_equal(purge_range(&f, 300, 309), 0);
	end_files(&f);
}

/* An old copy brings payloads back that were purged. */
static void
old_copies_are_found(void **state)
{
	const struct range gone[] = {{2, 8}, {10, 20}, {300, 309}};
	char path[160], copy[200];
	struct fixture f;

	(void)state;
	three_files(&f);
	file_of(&f, 0, path);
	(void)snprintf(copy, sizeof copy, "%s.old", path);
	copy_file(path, copy);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(
		    purge_range(&f, gone[i].first, gone[i].last), 0);
		if (journal_truncate(f.j) != 0)
			fail_msg("%s", journal_error(f.j));
	}
	assert_int_equal(payloads(&f, 0), 2 * (252 - 7 - 11) + 1);
	copy_file(copy, path);
	assert_int_equal(payloads(&f, 0), 2 * 252 + 1);
	settled(&f, 0, 2, true);
	assert_int_equal(payloads(&f, 0), 2 * (252 - 7 - 11) + 1);
	settled(&f, 0, 0, false);
	end_files(&f);
}

/* A hold that is younger than the file, and older than the purge. */
static void
the_fence_knows_later_holds(void **state)
{
	static const char forged[] =
	    "DROP TRIGGER purge_held;"
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " SELECT 5, 20, 1, MAX(seq) FROM leaf";
	struct journal_hold h = {.matter = view_text("m"),
	    .selector = view_text("{\"v\":1,\"room\":\"" HALL "\"}")};
	struct journal_settled out;
	struct journal_event e;
	struct fixture f;
	uint64_t next = 0;
	sqlite3 *db;

	(void)state;
	three_files(&f);
	assert_int_equal(journal_hold(f.j, &h, &e), 0);
	assert_int_equal(purge_range(&f, 5, 20), 1);
	assert_non_null(strstr(journal_error(f.j), "hold 1"));
	/* A gate that forgets holds; the sealed file's triggers do not. */
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 1\nfirst 5\nlast 20\n", NULL),
	    0);
	db = open_file(&f, 2);
	refused(db, "no such function: held",
	    "INSERT INTO purge_range VALUES (5, 20, 1, 516)");
	assert_int_equal(db_exec(db, forged), 0);
	db_close(db);
	assert_int_equal(journal_settle(f.j, 0, &next, &out), -1);
	assert_non_null(strstr(journal_error(f.j), "a hold keeps"));
	assert_int_equal(payloads(&f, 0), 2 * 252 + 1);
	end_segments(&f);
}

/* The purge came first: the later hold does not stop what is due. */
static void
a_hold_after_the_purge(void **state)
{
	struct journal_hold h = {
	    .matter = view_text("m"), .selector = view_text("{\"v\":1}")};
	struct journal_event e;
	struct fixture f;

	(void)state;
	three_files(&f);
	assert_int_equal(journal_hold(f.j, &h, &e), 0);
	assert_int_equal(purge_range(&f, 5, 20), 1);
	assert_int_equal(journal_release(f.j, 1, 4, false, &e), 0);
	assert_int_equal(purge_range(&f, 5, 20), 0);
	assert_int_equal(journal_hold(f.j, &h, &e), 0);
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	assert_int_equal(payloads(&f, 0), 2 * (252 - 15));
	end_files(&f);
}

/* One file is away: nothing more is purged before its own purge is done. */
static void
a_file_that_is_missing(void **state)
{
	struct journal_settled out;
	char path[160], away[200];
	struct fixture f;
	uint64_t next = 0;

	(void)state;
	three_files(&f);
	file_of(&f, 0, path);
	(void)snprintf(away, sizeof away, "%s.away", path);
	assert_int_equal(purge_range(&f, 5, 20), 0);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(journal_truncate(f.j), -1);
	assert_non_null(strstr(journal_error(f.j), "journal.db"));
	assert_true(journal_undone(f.j));
	assert_int_equal(purge_range(&f, 300, 309), 1);
	assert_non_null(strstr(journal_error(f.j), "not carried out"));
	assert_int_equal(journal_settle(f.j, 0, &next, &out), -1);
	assert_int_equal(rename(away, path), 0);
	settled(&f, 0, 1, false);
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	assert_false(journal_undone(f.j));
	assert_int_equal(purge_range(&f, 300, 309), 0);
	assert_int_equal(payloads(&f, 0), 2 * (252 - 15));
	if (journal_truncate(f.j) != 0)
		fail_msg("%s", journal_error(f.j));
	/* Another file of that name is left as it is. */
	file_of(&f, 1, away);
	copy_file(away, path);
	next = 0;
	assert_int_equal(journal_settle(f.j, 0, &next, &out), -1);
	assert_non_null(strstr(journal_error(f.j), "not the file"));
	assert_int_equal(purge_range(&f, 30, 40), 1);
	assert_non_null(strstr(journal_error(f.j), "not the file"));
	end_segments(&f);
}

/* Purges all of file 0, in which there is hardly anything but payloads. */
static void
purge_first_file(struct fixture *f)
{
	three_files(f);
	assert_int_equal(purge_range(f, 0, 255), 0);
	if (journal_truncate(f->j) != 0)
		fail_msg("%s", journal_error(f->j));
	assert_int_equal(payloads(f, 0), 0);
}

/* So many steps, or all; the last one's result. */
static int
shrink(struct fixture *f, unsigned steps, struct range *records)
{
	int r = JOURNAL_SHRINKING;

	for (unsigned i = 0; i < steps && r == JOURNAL_SHRINKING; i++)
		r = journal_shrink(f->j, 0, records);
	if (r < 0)
		fail_msg("%s", journal_error(f->j));
	return r;
}

static uint64_t
size_of_first(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	return (uint64_t)st.st_size;
}

/* Every table of two files is the same. */
static void
same_tables(struct fixture *f, const char *other)
{
	static const char *const tables[] = {"meta", "leaf", "tile", "head",
	    "checkpoint", "cosig", "stamp", "batch", "ack", "purge_range",
	    "hold", "sqlite_schema"};
	char sql[512];
	sqlite3 *db = open_file(f, 0);

	(void)snprintf(sql, sizeof sql, "ATTACH '%s' AS other", other);
	assert_int_equal(db_exec(db, sql), 0);
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		const char *rows = strcmp(tables[i], "sqlite_schema") == 0
		    ? "type, name, tbl_name, sql"
		    : "*";

		(void)snprintf(sql, sizeof sql,
		    "SELECT (SELECT COUNT(*) FROM main.%s) = (SELECT COUNT(*)"
		    " FROM other.%s) AND NOT EXISTS (SELECT %s FROM main.%s"
		    " EXCEPT SELECT %s FROM other.%s)",
		    tables[i], tables[i], rows, tables[i], rows, tables[i]);
		if (db_int(db, sql, -1) != 1)
			fail_msg("%s: %s", tables[i], sqlite3_errmsg(db));
	}
	db_close(db);
}

static void
files_without_payloads_get_smaller(void **state)
{
	struct range records;
	struct fixture f;
	uint64_t before;
	char copy[200];

	(void)state;
	three_files(&f);
	assert_int_equal(shrink(&f, 1000, &records), 0);
	end_files(&f);
	purge_first_file(&f);
	before = size_of_first(&f);
	(void)snprintf(copy, sizeof copy, "%s/copy.db", f.dir);
	copy_file(f.path, copy);
	assert_int_equal(chmod(f.path, 0640), 0);
	assert_int_equal(shrink(&f, 1000, &records), JOURNAL_SHRUNK);
	assert_int_equal(records.first, 0);
	assert_int_equal(records.last, 255);
	assert_true(size_of_first(&f) < before);
	same_tables(&f, copy);
	assert_false(there(&f, "journal.db.small"));
	/* Nothing is left to gain, and nothing to settle. */
	assert_int_equal(shrink(&f, 1000, &records), 0);
	settled(&f, 0, 0, false);
	end_files(&f);
}

/* Whenever the keeper is killed, there is one whole file of that name. */
static void
kills_while_a_file_gets_smaller(void **state)
{
	struct range records;
	int status = 0;

	(void)state;
	for (unsigned steps = 1; !WIFEXITED(status) || steps == 1; steps++) {
		struct fixture f;
		pid_t pid;

		purge_first_file(&f);
		journal_close(f.j);
		f.j = NULL;
		pid = fork();
		if (pid == 0) {
			reopen(&f);
			if (shrink(&f, steps, &records) == JOURNAL_SHRUNK)
				_exit(0);
			(void)kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		reopen(&f);
		settled(&f, 0, 0, false);
		check_all(&f, journal_size(f.j));
		if (!WIFEXITED(status))
			assert_int_equal(
			    shrink(&f, 1000, &records), JOURNAL_SHRUNK);
		assert_false(there(&f, "journal.db.small"));
		end_files(&f);
		assert_true(steps < 100);
	}
}

/* Between the removal of the old file's log and the new file's name. */
static void
a_file_without_its_log(void **state)
{
	struct range records;
	struct fixture f;
	char path[160];

	(void)state;
	purge_first_file(&f);
	(void)snprintf(path, sizeof path, "%s-wal", f.path);
	(void)unlink(path);
	(void)snprintf(path, sizeof path, "%s-shm", f.path);
	(void)unlink(path);
	settled(&f, 0, 0, false);
	assert_true(there(&f, "journal.db-shm"));
	assert_int_equal(shrink(&f, 1000, &records), JOURNAL_SHRUNK);
	assert_true(there(&f, "journal.db-shm"));
	end_files(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(purges_reach_sealed_files),
	    cmocka_unit_test(a_purge_that_failed_is_recorded),
	    cmocka_unit_test(old_copies_are_found),
	    cmocka_unit_test(the_fence_knows_later_holds),
	    cmocka_unit_test(a_hold_after_the_purge),
	    cmocka_unit_test(a_file_that_is_missing),
	    cmocka_unit_test(files_without_payloads_get_smaller),
	    cmocka_unit_test(kills_while_a_file_gets_smaller),
	    cmocka_unit_test(a_file_without_its_log),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
