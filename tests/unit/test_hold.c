/* Holds and approvals: what they keep, and what the triggers refuse. */

#include "tests/unit/journal_fixture.h"

#include "compliance/hold.h"
#include "compliance/journal_store.h"

#define HALL "ma-chan://example.test/hall"
#define DESK "ma-chan://example.test/desk"

/* A post by a user in a room, and one more record: who got it. */
static void
append_talk(struct fixture *f, const char *room, const char *user)
{
	char post[256], delivery[256];
	struct journal_event e[2] = {{.kind = EVENT_POST, .parts = 2},
	    {.kind = EVENT_DELIVERY, .parts = 1}};

	(void)snprintf(post, sizeof post,
	    "{\"v\":1,\"type\":\"post\",\"id\":\"a-1\",\"room\":\"%s\","
	    "\"user\":\"%s\"}",
	    room, user);
	(void)snprintf(delivery, sizeof delivery,
	    "{\"v\":1,\"type\":\"delivery\",\"id\":\"a-2\",\"room\":\"%s\","
	    "\"sets\":[{\"chats\":\"1\",\"to\":[\"%s 0a1b\"]}]}",
	    room, user);
	e[0].part[0] = view_text(post);
	e[0].part[1] = view_text("{\"v\":1,\"text\":\"CANARY-93b1\"}");
	e[1].part[0] = view_text(delivery);
	assert_int_equal(journal_append(f->j, e, 2), 0);
}

static int
hold(struct fixture *f, const struct hold_selector *s, uint32_t by)
{
	struct journal_hold h = {
	    .matter = view_text("2026/117 Acme"), .by = by};
	struct journal_event e;
	struct buf selector;
	int r;

	buf_init(&selector);
	hold_put_selector(&selector, s);
	h.selector = buf_view(&selector);
	r = journal_hold(f->j, &h, &e);
	buf_release(&selector);
	return r;
}

static int
release(struct fixture *f, uint64_t n, uint32_t by, bool others)
{
	struct journal_event e;

	return journal_release(f->j, n, by, others, &e);
}

static int
approve(struct fixture *f, uint64_t below, uint32_t by)
{
	struct journal_event e;

	return journal_approve(f->j, below, by, &e);
}

/*
 * 0 policy, 1-2 hall ann, 3-4 hall bob, 5-6 desk ann, 7-8 desk bob; all of it
 * stored and signed.
 */
static void
new_talk(struct fixture *f, const char *policy)
{
	new_fixture(f);
	assert_int_equal(append_text(f, EVENT_POLICY, policy, NULL), 0);
	append_talk(f, HALL, "sip:ann@example.test");
	append_talk(f, HALL, "sip:bob@example.test");
	append_talk(f, DESK, "sip:Ann@example.test");
	append_talk(f, DESK, "sip:bob@example.test");
	assert_int_equal(append_batch(f, "records", 1, 0, 8), 0);
	assert_int_equal(append_ack(f, "records", 1, 0, 8, "stored"), 0);
	sign_head(f, true);
}

#define POLICY "required records\nafter 0\n" POLICY_REST

static void
what_is_held(void **state)
{
	struct hold_selector by_room = {.room = view_text(HALL)};
	struct hold_selector by_user = {
	    .user = view_text("sip:ann@example.test")};
	struct hold_selector both = {
	    .room = view_text(DESK), .user = view_text("SIP:BOB@example.test")};
	struct hold_selector nobody = {.user = view_text("sip:ann@example.te")};
	struct fixture f;

	(void)state;
	new_talk(&f, POLICY);
	assert_int_equal(hold(&f, &by_room, 4), 0);
	assert_int_equal(purge_range(&f, 0, 8), 1);
	assert_non_null(
	    strstr(journal_error(f.j), "record 1 is held by hold 1"));
	assert_int_equal(purge_range(&f, 4, 4), 1);
	assert_int_equal(release(&f, 1, 4, false), 0);
	assert_int_equal(hold(&f, &by_user, 4), 0);
	assert_int_equal(purge_range(&f, 2, 2), 1);
	assert_int_equal(purge_range(&f, 5, 5), 1);
	assert_int_equal(purge_range(&f, 6, 6), 1);
	assert_int_equal(purge_range(&f, 3, 4), 0);
	assert_int_equal(hold(&f, &both, 4), 0);
	assert_int_equal(purge_range(&f, 7, 8), 1);
	assert_non_null(strstr(journal_error(f.j), "hold 3"));
	assert_int_equal(release(&f, 2, 4, false), 0);
	assert_int_equal(hold(&f, &nobody, 4), 0);
	assert_int_equal(purge_range(&f, 5, 6), 0);
	end_fixture(&f);
}

static void
time_is_held(void **state)
{
	struct hold_selector s = {.until = 1};
	struct hold_selector all = {.from = 1};
	struct scan_record r;
	struct fixture f;
	struct scan *scan;
	char why[256];

	(void)state;
	new_talk(&f, POLICY);
	scan = scan_open(f.path, false, why, sizeof why);
	assert_int_equal(scan_seek(scan, 3), 0);
	assert_int_equal(scan_next(scan, &r), 1);
	scan_close(scan);
	assert_int_equal(hold(&f, &s, 1), 0); /* nothing is so old */
	s.until = r.at;
	assert_int_equal(hold(&f, &s, 1), 0);
	assert_int_equal(purge_range(&f, 2, 2), 1);
	assert_int_equal(purge_range(&f, 3, 3), 0); /* until is not in it */
	s = (struct hold_selector){.from = r.at + 1};
	assert_int_equal(hold(&f, &s, 1), 0);
	assert_int_equal(purge_range(&f, 4, 4), 1);
	assert_int_equal(release(&f, 3, 1, false), 0);
	assert_int_equal(purge_range(&f, 4, 4), 0);
	assert_int_equal(hold(&f, &all, 1), 0);
	assert_int_equal(purge_range(&f, 5, 5), 1);
	end_fixture(&f);
}

static const void *
found(const struct scan_record *r, const char *text)
{
	return memmem(r->leaf.p, r->leaf.n, text, strlen(text));
}

/* The record says what was considered, and leaves the held ones out. */
static void
purge_around_a_hold(void **state)
{
	const struct range ranges[] = {{0, 2}, {4, 4}, {7, 8}};
	struct hold_selector both = {
	    .room = view_text(DESK), .user = view_text("sip:ann@example.test")};
	struct fixture f;
	struct scan_record r;
	struct scan *s;
	char why[256];

	(void)state;
	new_talk(&f, POLICY);
	assert_int_equal(hold(&f, &both, 1004), 0);
	assert_int_equal(purge_ranges(&f, ranges, 3, 0), 0);
	s = scan_open(f.path, false, why, sizeof why);
	assert_int_equal(scan_seek(s, 11), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_non_null(found(&r, "hold 1\nmatter 2026/117%20Acme\nselector "));
	assert_non_null(found(&r, "=\nby uid:1004\n"));
	assert_int_equal(scan_next(s, &r), 1);
	assert_non_null(
	    found(&r, "first 0\nlast 8\ncount 5\nranges 0-2,4,7-8\n"));
	assert_non_null(
	    found(&r, "\nheld 2\nhold 11\napprovals -\nanchor -\npolicy 0\n"));
	scan_close(s);
	/* What is left goes by itself, between the ranges of the other. */
	assert_int_equal(purge_range(&f, 3, 3), 0);
	assert_int_equal(purge_range(&f, 5, 6), 1);
	check_all(&f, 14);
	end_fixture(&f);
}

static void
release_by_another(void **state)
{
	struct hold_selector all = {0};
	struct fixture f;

	(void)state;
	new_talk(&f, POLICY);
	assert_int_equal(hold(&f, &all, 4), 0);
	assert_int_equal(release(&f, 1, 4, true), 1);
	assert_non_null(strstr(journal_error(f.j), "another person"));
	assert_int_equal(release(&f, 1, 5, true), 0);
	assert_int_equal(release(&f, 1, 5, false), 1);
	assert_non_null(strstr(journal_error(f.j), "already"));
	assert_int_equal(release(&f, 2, 5, false), 1);
	assert_non_null(strstr(journal_error(f.j), "no hold 2"));
	assert_int_equal(purge_range(&f, 1, 1), 0);
	reopen(&f);
	check_all(&f, 14);
	end_fixture(&f);
}

static void
malformed(void **state)
{
	static const char *const bad[] = {"", "{}", "{\"v\":1,\"x\":2}",
	    "{\"v\":1,\"room\":\"\"}", "{\"v\":1 }", "{\"v\":2}",
	    "{\"v\":1,\"user\":\"a b\"}", "{\"v\":1,\"user\":\"a\\\"b\"}",
	    "{\"v\":1,\"from\":5,\"until\":5}", "{\"v\":1,\"from\":0}",
	    "{\"v\":1,\"from\":-5}", "{\"v\":1,\"user\":\"a\",\"room\":\"b\"}"};
	struct hold_selector all = {0};
	struct journal_hold h = {.matter = view_text("")};
	struct journal_event e;
	struct fixture f;

	(void)state;
	new_talk(&f, POLICY);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (hold_get_selector(view_text(bad[i]), &all))
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(journal_hold(f.j, &h, &e), 1);
	/* Shown to people in a list: one line that no terminal obeys. */
	h.matter = view_text("m\nhold 2: matter n");
	assert_int_equal(journal_hold(f.j, &h, &e), 1);
	assert_non_null(strstr(journal_error(f.j), "of one line"));
	h.matter = view_text("\x1b[2K");
	assert_int_equal(journal_hold(f.j, &h, &e), 1);
	h.matter = view_text("m");
	h.selector = view_text("{}");
	assert_int_equal(journal_hold(f.j, &h, &e), 1);
	assert_int_equal(journal_size(f.j), 11);
	all = (struct hold_selector){0};
	assert_int_equal(hold(&f, &all, 1), 0);
	end_fixture(&f);
}

static void
approvals(void **state)
{
	const struct range low = {0, 4}, high = {5, 8};
	struct fixture f;

	(void)state;
	new_talk(&f,
	    "required records\nafter 0\napprovals 2\nquorum 0\nwitnesses -\n"
	    "stamp no\nclasses -\n");
	assert_int_equal(purge_ranges(&f, &low, 1, 2), 1);
	assert_non_null(strstr(journal_error(f.j), "not approved by 2"));
	assert_int_equal(approve(&f, 0, 4), 1);
	assert_int_equal(approve(&f, 12, 4), 1);
	assert_int_equal(approve(&f, 5, 4), 0);
	assert_int_equal(approve(&f, 9, 4), 0);
	assert_int_equal(purge_ranges(&f, &low, 1, 2), 1); /* one person */
	assert_int_equal(approve(&f, 5, 5), 0);
	assert_int_equal(purge_ranges(&f, &high, 1, 2), 1);
	assert_int_equal(purge_ranges(&f, &low, 1, 2), 0);
	reopen(&f);
	assert_int_equal(approve(&f, 9, 6), 0);
	assert_int_equal(purge_ranges(&f, &high, 1, 2), 0);
	end_fixture(&f);
}

static void
refused_hold(sqlite3 *db, const char *values)
{
	char sql[256];

	(void)snprintf(sql, sizeof sql,
	    "INSERT INTO hold(n, seq, released, salt, selector, room, user,"
	    " since, until) VALUES (%s)",
	    values);
	refused(db, "hold is not of the newest record, or not what it selects",
	    sql);
}

/* With the gate out of the way: each row is good but for one column. */
static void
hold_rows(void **state)
{
#define SALT "zeroblob(32)"
#define ALL "'{\"v\":1}'"
	static const char *const rows[] = {
	    "3, 12, NULL, " SALT ", " ALL ", NULL, NULL, NULL, NULL",
	    "2, 11, NULL, " SALT ", " ALL ", NULL, NULL, NULL, NULL",
	    "2, 10, NULL, " SALT ", " ALL ", NULL, NULL, NULL, NULL",
	    "2, 12, 12, " SALT ", " ALL ", NULL, NULL, NULL, NULL",
	    "2, 12, NULL, NULL, " ALL ", NULL, NULL, NULL, NULL",
	    "2, 12, NULL, " SALT ", NULL, NULL, NULL, NULL, NULL",
	    "2, 12, NULL, " SALT ", '{}', NULL, NULL, NULL, NULL",
	    "2, 12, NULL, " SALT ", " ALL ", 'r', NULL, NULL, NULL",
	    "2, 12, NULL, " SALT ", " ALL ", NULL, 'u', NULL, NULL",
	    "2, 12, NULL, " SALT ", " ALL ", NULL, NULL, 5, NULL",
	    "2, 12, NULL, " SALT ", " ALL ", NULL, NULL, NULL, 5",
	};
	/* Of hold 1, whose release is the newest record, 13. */
	static const char *const changes[] = {
	    "released = 12",
	    "released = 13, n = 5",
	    "released = 13, seq = 12",
	    "released = 13, salt = " SALT,
	    "released = 13, salt = NULL",
	    "released = 13, selector = " ALL,
	    "released = 13, room = NULL",
	    "released = 13, user = 'u'",
	    "released = 13, since = 5",
	    "released = 13, until = 5",
	};
	static const char once[] =
	    "hold is released once, by the newest record";
	struct hold_selector by_room = {.room = view_text(HALL)};
	struct fixture f;
	sqlite3 *db;
	char sql[160];

	(void)state;
	new_talk(&f, POLICY);
	assert_int_equal(hold(&f, &by_room, 4), 0);
	assert_int_equal(append_text(&f, EVENT_HOLD,
			     "hold 2\nmatter m\nselector -\nby uid:4\n", NULL),
	    0);
	db = open_raw(&f);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		refused_hold(db, rows[i]);
	assert_int_equal(db_exec(db,
			     "INSERT INTO hold(n, seq, salt, selector)"
			     " VALUES (2, 12, " SALT ", " ALL ")"),
	    0);
	refused(db, "hold is append-only", "DELETE FROM hold");
	db_close(db);
	assert_int_equal(
	    append_text(&f, EVENT_RELEASE, "hold 1\nby uid:4\n", NULL), 0);
	db = open_raw(&f);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		(void)snprintf(sql, sizeof sql,
		    "UPDATE hold SET %s WHERE n = 1", changes[i]);
		refused(db, once, sql);
	}
	assert_int_equal(
	    db_exec(db, "UPDATE hold SET released = 13 WHERE n = 1"), 0);
	refused(db, once, "UPDATE hold SET released = 13 WHERE n = 1");
	db_close(db);
	end_fixture(&f);
#undef SALT
#undef ALL
}

/* With the gate out of the way. */
static void
triggers(void **state)
{
	static const char range[] =
	    "INSERT INTO purge_range(first, last, n, seq) VALUES (%d, %d, 1, "
	    "%d)";
	struct hold_selector by_room = {.room = view_text(HALL)};
	struct fixture f;
	sqlite3 *db;
	char sql[160];

	(void)state;
	new_talk(&f, POLICY);
	assert_int_equal(hold(&f, &by_room, 4), 0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 1\nfirst 0\nlast 7\n", NULL),
	    0);
	db = open_raw(&f);
	(void)snprintf(sql, sizeof sql, range, 4, 7, 12);
	refused(db, "purge of records that a hold keeps", sql);
	(void)snprintf(sql, sizeof sql, range, 5, 8, 12); /* its last is 7 */
	refused(db, "purge range is not of the newest purge record", sql);
	(void)snprintf(sql, sizeof sql, range, 5, 7, 12);
	assert_int_equal(db_exec(db, sql), 0);
	refused(db, "body is not in a purged range",
	    "DELETE FROM body WHERE id = 4 << 8");
	db_close(db);
	/* An approval is missing, and the time. */
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records\nafter 0\napprovals 1\n", NULL),
	    0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 2\nfirst 0\nlast 0\n", NULL),
	    0);
	db = open_raw(&f);
	refused(db, "purge of records that too few persons approved",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 0, 2, 14)");
	db_close(db);
	assert_int_equal(approve(&f, 1, 9), 0);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records\nafter 60\napprovals 1\n", NULL),
	    0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 2\nfirst 0\nlast 0\n", NULL),
	    0);
	db = open_raw(&f);
	refused(db, "purge before its time",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 0, 2, 17)");
	db_close(db);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records\nafter 0\napprovals 1\n", NULL),
	    0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 2\nfirst 0\nlast 0\n", NULL),
	    0);
	db = open_raw(&f);
	assert_int_equal(db_exec(db,
			     "INSERT INTO purge_range(first, last, n, seq)"
			     " VALUES (0, 0, 2, 19)"),
	    0);
	db_close(db);
	end_fixture(&f);
}

static int
count_step(void *arg)
{
	++*(uint64_t *)arg;
	return 0;
}

/* Steps of SQLite for a purge of 300 posts under so many holds. */
static uint64_t
steps_of_purge(unsigned holds)
{
	uint64_t steps = 0;
	struct fixture f;
	char user[32];

	new_talk(&f, POLICY);
	for (unsigned i = 0; i < 300; i++)
		append_talk(&f, HALL, "sip:ann@example.test");
	assert_int_equal(append_batch(&f, "records", 2, 9, 610), 0);
	assert_int_equal(append_ack(&f, "records", 2, 9, 610, "stored"), 0);
	for (unsigned i = 0; i < holds; i++) {
		(void)snprintf(user, sizeof user, "sip:%u@example.test", i);
		assert_int_equal(
		    hold(&f, &(struct hold_selector){.user = view_text(user)},
			4),
		    0);
	}
	sign_head(&f, true);
	assert_int_equal(purge_range(&f, 0, 0), 0);
	sqlite3_progress_handler(f.j->db, 1, count_step, &steps);
	assert_int_equal(purge_range(&f, 9, 608), 0);
	end_fixture(&f);
	return steps;
}

/* Posts wait for a purge, so holds must not make it long. */
static void
many_holds_cost_a_purge_little(void **state)
{
	uint64_t few = steps_of_purge(1), many = steps_of_purge(200);

	(void)state;
	if (many > few + few / 10)
		fail_msg("%u steps, and %u with 200 holds", (unsigned)few,
		    (unsigned)many);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_held),
	    cmocka_unit_test(time_is_held),
	    cmocka_unit_test(purge_around_a_hold),
	    cmocka_unit_test(release_by_another),
	    cmocka_unit_test(malformed),
	    cmocka_unit_test(approvals),
	    cmocka_unit_test(hold_rows),
	    cmocka_unit_test(triggers),
	    cmocka_unit_test(many_holds_cost_a_purge_little),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
