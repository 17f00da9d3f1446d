#include "tests/unit/journal_fixture.h"

#include "base/conf.h"

static unsigned
count_bytes(const char *path, const char *needle)
{
	struct buf b;
	unsigned n = 0;
	size_t at = 0;

	buf_init(&b);
	if (access(path, F_OK) == 0)
		assert_int_equal(file_read(path, 64U << 20, &b), 0);
	while (at < b.len) {
		uint8_t *p =
		    memmem(b.data + at, b.len - at, needle, strlen(needle));

		if (p == NULL)
			break;
		n++;
		at = (size_t)(p - b.data) + 1;
	}
	buf_release(&b);
	return n;
}

static int
purge(struct fixture *f, uint64_t first, uint64_t last, uint64_t applied,
    int64_t after)
{
	static const char *const required[] = {"records", "vault"};
	const struct range range = {first, last};
	const struct conf conf = {.purge_after_s = after};
	const struct journal_purge p = {.ranges = &range,
	    .count = 1,
	    .applied = applied,
	    .conf = &conf,
	    .required = required,
	    .required_count = 2};
	struct journal_event e;

	return journal_purge(f->j, &p, &e);
}

static void
purge_only_what_is_stored(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan *s;
	char why[256], wal[128];
	uint8_t root[32], digest[32];
	struct crypto_hash *h = crypto_hash_new();
	struct buf hex;

	(void)state;
	new_fixture(&f);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.path);
	assert_int_equal(
	    append_text(&f, EVENT_POLICY,
		"required records,vault\nafter 0\n" POLICY_REST, NULL),
	    0);
	append_posts(&f, 999);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* no batch */
	assert_int_equal(append_batch(&f, "records", 1, 0, 299), 0);
	assert_int_equal(append_batch(&f, "records", 2, 300, 599), 0);
	assert_int_equal(append_batch(&f, "vault", 1, 0, 999), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 299, "stored"), 0);
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 299, 1000, 0), 1); /* vault has not */
	assert_non_null(strstr(journal_error(f.j), "vault"));
	assert_int_equal(append_ack(&f, "vault", 1, 0, 999, "stored"), 0);
	assert_int_equal(purge(&f, 0, 299, 1000, 0), 1); /* not signed */
	assert_non_null(strstr(journal_error(f.j), "signature"));
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* batch 2 is open */
	assert_non_null(strstr(journal_error(f.j), "batch 2"));
	assert_int_equal(append_ack(&f, "records", 2, 300, 599, "accepted"), 0);
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* only accepted */
	assert_int_equal(purge(&f, 300, 400, 1000, 0), 1);
	assert_int_equal(purge(&f, 0, 299, 299, 0), 1);     /* not applied */
	assert_int_equal(purge(&f, 0, 299, 1000, 3600), 1); /* too early */
	assert_int_equal(purge(&f, 0, 299, 1000, -1), 1);   /* never */
	assert_int_equal(purge(&f, 9, 8, 1000, 0), 1);
	assert_int_equal(purge(&f, 0, 10000, 20000, 0), 1);
	assert_int_equal(purge(&f, 0, 900, 100000, 0), 1);
	assert_true(count_bytes(f.path, "CANARY-93b1") +
		count_bytes(wal, "CANARY-93b1") >=
	    999);

	assert_int_equal(purge(&f, 0, 299, 1000, 0), 0);
	assert_int_equal(purge(&f, 299, 299, 1000, 0), 1); /* twice */
	assert_int_equal(journal_truncate(f.j), 0);
	/* Only the bodies of 300 to 999 are left, in the file and in its WAL. */
	assert_int_equal(count_bytes(f.path, "CANARY-93b1"), 700);
	assert_int_equal(count_bytes(wal, "CANARY-93b1"), 0);
	journal_root(f.j, root);

	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_purged_to(s), 300);
	for (uint64_t i = 0; i < 300; i++) {
		uint8_t leaf[32];

		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.purged, i > 0);
		tree_leaf_hash(r.leaf.p, r.leaf.n, leaf);
		crypto_hash_add(h, leaf, sizeof leaf);
	}
	assert_int_equal(scan_next(s, &r), 1);
	assert_false(r.purged);
	crypto_hash_get(h, digest);
	buf_init(&hex);
	buf_put_text(&hex,
	    "purge 1\nfirst 0\nlast 299\ncount 299\nranges 0-299\nleaves ");
	text_put_hex(&hex, digest, sizeof digest);
	buf_put_text(&hex,
	    "\nacks records:1003,vault:1004\nheld 0\nhold -\n"
	    "approvals -\nanchor -\npolicy 0\n");
	assert_int_equal(scan_seek(s, journal_size(f.j) - 1), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_PURGE);
	assert_int_equal(count_bytes(f.path, buf_text(&hex)), 1);
	buf_release(&hex);
	scan_close(s);
	crypto_hash_free(h);
	reopen(&f);
	check_all(&f, 1007);
	end_fixture(&f);
}

/* With the statements of the gate out of the way, the triggers still hold. */
static void
triggers_guard_the_purge(void **state)
{
	struct fixture f;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 100);
	assert_int_equal(
	    append_text(&f, EVENT_POLICY,
		"required records,vault\nafter 0\n" POLICY_REST, NULL),
	    0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 49), 0);
	assert_int_equal(append_batch(&f, "vault", 1, 0, 99), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 49, "stored"), 0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 1\nfirst 0\nlast 49\n", NULL),
	    0);
	db = open_raw(&f);
	refused(db, "purge of records that a required adapter has not stored",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 1, 104)");
	db_close(db);
	assert_int_equal(append_ack(&f, "vault", 1, 0, 99, "stored"), 0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 1\nfirst 0\nlast 49\n", NULL),
	    0);
	db = open_raw(&f);
	/* Beyond the ack, before the ack, out of number, backwards. */
	refused(db, "purge of records that a required adapter has not stored",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 50, 1, 106)");
	refused(db, "purge of records that a required adapter has not stored",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 1, 105)");
	refused(db, "purge range is not of the newest purge record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 2, 106)");
	refused(db, "purge overlaps another or its own record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (49, 0, 1, 106)");
	refused(db, "purge range is not of the newest purge record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (-5, 49, 1, 106)");
	assert_int_equal(db_exec(db,
			     "INSERT INTO purge_range(first, last, n, seq)"
			     " VALUES (10, 29, 1, 106)"),
	    0);
	/* Overlapping; then another number for the same record. */
	refused(db, "purge overlaps another or its own record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (29, 40, 1, 106)");
	refused(db, "purge range is not of the newest purge record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (40, 41, 2, 106)");
	assert_int_equal(db_exec(db,
			     "INSERT INTO purge_range(first, last, n, seq)"
			     " VALUES (40, 41, 1, 106)"),
	    0);
	refused(db, "purge range is not of the newest purge record",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 2, 106)");
	refused(db, "purge_range is append-only",
	    "UPDATE purge_range SET last = 99");
	refused(db, "purge_range is append-only", "DELETE FROM purge_range");
	refused(db, "body is not in a purged range",
	    "DELETE FROM body WHERE id >= 9 << 8 AND id < 10 << 8");
	refused(db, "body is not in a purged range",
	    "DELETE FROM body WHERE id >= 30 << 8 AND id < 31 << 8");
	refused(db, "body is not in a purged range",
	    "DELETE FROM body WHERE id >= 10 << 8 AND id < 31 << 8");
	assert_int_equal(db_exec(db,
			     "DELETE FROM body WHERE id >= 10 << 8"
			     " AND id < 30 << 8"),
	    0);
	assert_int_equal(sqlite3_changes(db), 40);
	/* A purged body never comes back. */
	refused(db, "body does not belong to a new leaf",
	    "INSERT INTO body(id, salt, data)"
	    " VALUES (2560, zeroblob(32), x'00')");
	db_close(db);
	end_fixture(&f);
}

/* All is well but what the adapter said, or who approved. */
static void
triggers_know_words_and_persons(void **state)
{
	static const char range[] =
	    "INSERT INTO purge_range(first, last, n, seq) VALUES (1, 9, 1, %u)";
	static const char *const states[] = {"sent", "accepted", "stored"};
	static const uint32_t second[] = {4, 4, 5}; /* the first is 4 */
	struct journal_event e;
	struct fixture f;
	sqlite3 *db;
	char sql[160];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 3; k++) {
			bool stored = i == 2, approved = k == 2;

			new_fixture(&f);
			assert_int_equal(
			    append_text(&f, EVENT_POLICY,
				"required records\nafter 0\napprovals 2\n",
				NULL),
			    0);
			append_posts(&f, 9);
			assert_int_equal(
			    append_batch(&f, "records", 1, 0, 9), 0);
			assert_int_equal(
			    append_ack(&f, "records", 1, 0, 9, states[i]), 0);
			assert_int_equal(journal_approve(f.j, 10, 4, &e), 0);
			if (k > 0)
				assert_int_equal(
				    journal_approve(f.j, 10, second[k], &e), 0);
			assert_int_equal(append_text(&f, EVENT_PURGE,
					     "purge 1\nfirst 1\nlast 9\n", &e),
			    0);
			(void)snprintf(sql, sizeof sql, range, (unsigned)e.seq);
			db = open_raw(&f);
			if (!stored)
				refused(db,
				    "purge of records that a required adapter "
				    "has not stored",
				    sql);
			else if (!approved)
				refused(db,
				    "purge of records that too few persons "
				    "approved",
				    sql);
			else
				assert_int_equal(db_exec(db, sql), 0);
			db_close(db);
			end_fixture(&f);
		}
	}
}

/* No policy record: nothing is required, so nothing may go. */
static void
no_policy_no_purge(void **state)
{
	struct fixture f;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 10);
	db = open_raw(&f);
	refused(db, "purge of records that a required adapter has not stored",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 4, 1, 9)");
	db_close(db);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required -\nafter 0\n" POLICY_REST, NULL),
	    0);
	assert_int_equal(
	    append_text(&f, EVENT_PURGE, "purge 1\nfirst 0\nlast 49\n", NULL),
	    0);
	db = open_raw(&f);
	refused(db, "purge of records that a required adapter has not stored",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 4, 1, 11)");
	db_close(db);
	end_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(purge_only_what_is_stored),
	    cmocka_unit_test(triggers_guard_the_purge),
	    cmocka_unit_test(triggers_know_words_and_persons),
	    cmocka_unit_test(no_policy_no_purge),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
