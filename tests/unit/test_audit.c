#include "tests/unit/segments_fixture.h"

#include <uv.h>

#include "base/log.h"

#include "compliance/audit.h"
#include "compliance/keeper_link.h"

/* What an audit says of a journal; without a keeper, so nothing is recorded. */

static void
on_up(void *arg)
{
	(void)arg;
}

/* Reads all; words: of the newest finding, NULL when all must be whole. */
static void
expect_findings(
    struct fixture *f, uint64_t size, const char *words, uint64_t count)
{
	uv_loop_t loop;
	struct audit_env env = {.loop = &loop, .journal = f->path};
	struct audit_status s;
	struct audit *a;
	struct scan *scan;
	char why[256];

	assert_int_equal(uv_loop_init(&loop), 0);
	env.keeper = keeper_link_new(&loop, on_up, NULL);
	assert_non_null(env.keeper);
	a = audit_new(&env);
	assert_non_null(a);
	scan = scan_open(f->path, false, why, sizeof why);
	assert_non_null(scan);
	audit_start(a, scan);
	scan_close(scan);
	audit_run(a);
	do {
		(void)uv_run(&loop, UV_RUN_ONCE);
		audit_status(a, &s);
		/* The pace and the progress are those of all files. */
		assert_int_equal(s.size, size);
	} while (s.running);
	assert_int_equal(s.size, size);
	assert_true(s.done_at > 0);
	if (words == NULL) {
		assert_string_equal(s.finding, "");
		assert_true(s.done_whole && s.broken == 0 && s.whole_at > 0);
	} else if (s.done_whole || strstr(s.finding, words) == NULL) {
		fail_msg("found \"%s\", not \"%s\"", s.finding, words);
	}
	if (count > 0)
		assert_int_equal(s.broken, count);
	audit_free(a);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	keeper_link_free(env.keeper);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void
expect_audit(struct fixture *f, const char *words)
{
	expect_findings(f, 701, words, 0);
}

static void
journal(struct fixture *f)
{
	new_fixture(f);
	append_posts(f, 300);
	sign_head(f, true);
	append_posts(f, 401);
}

static void
whole(void **state)
{
	struct fixture f;

	(void)state;
	journal(&f);
	expect_audit(&f, NULL);
	end_fixture(&f);
}

/* What somebody can do who drops the triggers first. */
static void
tampered(const char *sql, const char *words)
{
	static const char drop[] =
	    "DROP TRIGGER leaf_update; DROP TRIGGER leaf_delete;"
	    "DROP TRIGGER body_update; DROP TRIGGER body_delete;"
	    "DROP TRIGGER body_insert; DROP TRIGGER tile_update;"
	    "DROP TRIGGER tile_delete; DROP TRIGGER head_update;"
	    "DROP TRIGGER checkpoint_update;";
	struct fixture f;
	sqlite3 *db;

	journal(&f);
	db = open_raw(&f);
	assert_int_equal(db_exec(db, drop), 0);
	if (db_exec(db, sql) != 0)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	db_close(db);
	expect_audit(&f, words);
	end_fixture(&f);
}

#define TEXT(at, from, to)                                                     \
	"UPDATE leaf SET bytes = CAST(replace(CAST(bytes AS TEXT), '" from     \
	"', '" to "') AS BLOB) WHERE seq = " at

static void
whatever_is_changed(void **state)
{
	(void)state;
	tampered(TEXT("20", "leaf/1 20 3", "leaf/1 20 4"),
	    "record 20: the leaf is not the one that its tile holds");
	tampered(TEXT("699", "leaf/1 699 3", "leaf/1 699 4"),
	    "root of the head, size 701");
	tampered(TEXT("20", "leaf/1 20 3", "leaf/1  20 3"),
	    "record 20: the leaf is not");
	tampered("UPDATE leaf SET at = at + 1 WHERE seq = 30",
	    "record 30: columns and leaf text differ");
	tampered("DELETE FROM leaf WHERE seq = 31",
	    "record 31 is missing or cannot be read");
	tampered("DELETE FROM leaf WHERE seq = 700",
	    "record 700 is missing or cannot be read");
	tampered("UPDATE body SET data = x'00' WHERE id = 256 * 40 + 1",
	    "record 40, part 1: payload and salt are not");
	tampered("DELETE FROM body WHERE id = 256 * 41 + 1",
	    "record 41: payload is missing and not purged");
	tampered("DELETE FROM body WHERE id >> 8 = 42",
	    "record 42: payload is missing and not purged");
	tampered("INSERT INTO body VALUES (256 * 43 + 2, zeroblob(32), x'00')",
	    "record 43: a payload too many");
	tampered("DELETE FROM tile WHERE level = 0 AND idx = 1",
	    "tile 0/1 is missing");
	tampered("UPDATE head SET root = zeroblob(32)",
	    "root of the head, size 701");
	tampered("UPDATE checkpoint SET note = CAST(replace(CAST(note AS TEXT),"
		 " '300', '301') AS BLOB)",
	    "root of the checkpoint of size 300");
}

static void
path_of(const struct fixture *f, unsigned segment, char path[160])
{
	char *name = segments_path(f->path, segment);

	(void)snprintf(path, 160, "%s", name);
	free(name);
}

/* Four files of 256 records each, and some more. */
static void
files(struct fixture *f)
{
	new_fixture(f);
	append_open(f);
	for (uint64_t end = 256; end <= 1024; end += 256)
		roll(f, end);
	append_posts(f, 5);
}

/* What is lost is told once, by its name, and the others are read. */
static void
files_that_are_missing(void **state)
{
	char one[160], two[160], three[160];
	struct fixture f;

	(void)state;
	files(&f);
	path_of(&f, 1, one);
	path_of(&f, 2, two);
	path_of(&f, 3, three);
	expect_findings(&f, 1030, NULL, 0);
	assert_int_equal(unlink(two), 0);
	expect_findings(&f, 1030, "records 512 to 767 cannot be read: ", 1);
	expect_findings(&f, 1030, two, 1);
	assert_int_equal(file_create(two, view_text("no database"), 0600), 0);
	expect_findings(&f, 1030, "journal-0002.db: file is not a database", 1);
	assert_int_equal(unlink(one), 0);
	expect_findings(&f, 1030, "records 256 to 767 cannot be read: ", 1);
	assert_int_equal(unlink(f.path), 0);
	expect_findings(&f, 1030, "records 0 to 767 cannot be read: ", 1);
	/* One under the name of another. */
	assert_int_equal(rename(three, two), 0);
	expect_findings(&f, 1030, "records 0 to 767 cannot be read: ", 1);
	end_segments(&f);
}

/* An old copy: the newest file knows what was purged. */
static void
payloads_that_came_back(void **state)
{
	static const char forged[] =
	    "DROP TRIGGER purge_insert; DROP TRIGGER purge_order;"
	    "DROP TRIGGER purge_approved; DROP TRIGGER purge_time;"
	    "DROP TRIGGER purge_acked;"
	    "INSERT INTO purge_range VALUES (20, 20, 1, 3), (30, 30, 2, 4)";
	struct fixture f;
	char path[160], why[256];
	sqlite3 *db;

	(void)state;
	files(&f);
	path_of(&f, 4, path);
	db = db_open(path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(db);
	assert_int_equal(holds_fence(db, get_holds, db), 0);
	if (db_exec(db, "PRAGMA foreign_keys=OFF") != 0 ||
	    db_exec(db, forged) != 0)
		fail_msg("%s", sqlite3_errmsg(db));
	db_close(db);
	/* Purge 2 may be under way just now. */
	expect_findings(&f, 1030,
	    "record 20: payload is there, although purge 1 removed it", 1);
	end_segments(&f);
}

static void
append_audit(struct fixture *f, unsigned last, const char *rest)
{
	char fields[128];

	(void)snprintf(fields, sizeof fields, "first %s\nlast %u\n%s\n",
	    last == 511 ? "256" : "0", last, rest);
	assert_int_equal(append_text(f, EVENT_AUDIT, fields, NULL), 0);
}

/* What an engine that has just started knows of the readings before it. */
static void
expect_past(struct fixture *f, bool whole, const char *finding)
{
	uv_loop_t loop;
	struct audit_env env = {.loop = &loop, .journal = f->path};
	struct audit_status s;
	struct audit *a;
	struct scan *scan;
	char why[256];

	assert_int_equal(uv_loop_init(&loop), 0);
	env.keeper = keeper_link_new(&loop, on_up, NULL);
	a = audit_new(&env);
	scan = scan_open(f->path, false, why, sizeof why);
	assert_true(env.keeper != NULL && a != NULL && scan != NULL);
	audit_start(a, scan);
	scan_close(scan);
	audit_status(a, &s);
	assert_int_equal(s.whole_at > 0, whole);
	assert_string_equal(s.finding, finding);
	audit_free(a);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	keeper_link_free(env.keeper);
	assert_int_equal(uv_loop_close(&loop), 0);
}

#define SINCE "since 1600000000000000\n"

/* A file that was written anew is one file, and nothing that was broken. */
static void
readings_before(void **state)
{
	struct fixture f;

	(void)state;
	files(&f);
	expect_past(&f, false, "");
	append_audit(&f, 511, SINCE "result whole");
	expect_past(&f, false, "");
	append_audit(&f, 255, SINCE "result whole");
	expect_past(&f, false, "");
	append_audit(&f, 511, SINCE "result broken");
	expect_past(&f, false, "found broken earlier: see audit record 1032");
	append_audit(&f, 1032, SINCE "result whole");
	expect_past(&f, true, "");
	append_audit(&f, 255, SINCE "result whole");
	expect_past(&f, true, "");
	append_audit(&f, 1034, SINCE "result broken");
	expect_past(&f, true, "found broken earlier: see audit record 1035");
	end_segments(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_that_are_missing),
	    cmocka_unit_test(payloads_that_came_back),
	    cmocka_unit_test(readings_before),
	    cmocka_unit_test(whole),
	    cmocka_unit_test(whatever_is_changed),
	};

	crypto_init();
	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
