#include "tests/unit/journal_fixture.h"

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
expect_audit(struct fixture *f, const char *words)
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
	} while (s.running);
	assert_int_equal(s.size, 701);
	assert_true(s.done_at > 0);
	if (words == NULL) {
		assert_string_equal(s.finding, "");
		assert_true(s.done_whole && s.broken == 0 && s.whole_at > 0);
	} else if (s.done_whole || strstr(s.finding, words) == NULL) {
		fail_msg("found \"%s\", not \"%s\"", s.finding, words);
	}
	audit_free(a);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	keeper_link_free(env.keeper);
	assert_int_equal(uv_loop_close(&loop), 0);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole),
	    cmocka_unit_test(whatever_is_changed),
	};

	crypto_init();
	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
