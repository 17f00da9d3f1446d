/* The rules of a purge one by one: each is broken alone, and says so. */

#include "tests/unit/journal_fixture.h"

#include "base/conf.h"

#include "compliance/leaf.h"
#include "compliance/purge_rules.h"

#define US_PER_S 1000000U
#define AFTER_S 100
#define LAST 9 /* of the posts; 0 is the policy */

/*
 * 0 policy, 1-9 posts, 10-13 batches and 14-17 acknowledgements: two batches
 * of each adapter, all of them stored and covered by the signature.
 */
struct world {
	struct fixture f;
	struct conf_retention classes[1];
	struct conf_witness witnesses[2];
	struct conf conf;
	struct holds holds;
	struct approvals approvals;
	struct range range[2];
	struct purge_rules rules;
	struct purge_facts facts;
	uint64_t acked_at; /* the youngest acknowledgement */
	char why[256];
};

static uint64_t
time_of(const struct fixture *f, uint64_t seq)
{
	char why[256];
	struct scan *s = scan_open(f->path, false, why, sizeof why);
	struct scan_record r;

	assert_non_null(s);
	assert_int_equal(scan_seek(s, seq), 0);
	assert_int_equal(scan_next(s, &r), 1);
	scan_close(s);
	return r.at;
}

static void
begin(struct world *w)
{
	static const char *const required[] = {"records", "vault"};

	memset(w, 0, sizeof *w);
	new_fixture(&w->f);
	assert_int_equal(
	    append_text(&w->f, EVENT_POLICY,
		"required records,vault\nafter 0\n" POLICY_REST, NULL),
	    0);
	append_posts(&w->f, LAST);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(append_batch(&w->f, required[i], 1, 0, 4), 0);
		assert_int_equal(append_batch(&w->f, required[i], 2, 5, 9), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
		    append_ack(&w->f, required[i], 1, 0, 4, "stored"), 0);
		assert_int_equal(
		    append_ack(&w->f, required[i], 2, 5, 9, "stored"), 0);
	}
	sign_head(&w->f, true);
	w->acked_at = time_of(&w->f, 17);
	w->witnesses[0].vkey = witness_vkey("a", 1);
	w->witnesses[1].vkey = witness_vkey("b", 2);
	w->classes[0].name = (char *)"delivered";
	w->classes[0].kinds = 1U << EVENT_DELIVERY;
	w->conf = (struct conf){.purge_after_s = AFTER_S,
	    .retentions = w->classes,
	    .retention_count = 1,
	    .witnesses = w->witnesses,
	    .witness_count = 2};
	w->range[0] = (struct range){1, LAST};
	w->rules = (struct purge_rules){.ranges = w->range,
	    .count = 1,
	    .applied = LAST + 1,
	    .signed_size = journal_size(w->f.j),
	    .now = w->acked_at + AFTER_S * US_PER_S,
	    .conf = &w->conf,
	    .holds = &w->holds,
	    .approvals = &w->approvals,
	    .required = required,
	    .required_count = 2};
}

static void
end(struct world *w)
{
	free(w->witnesses[0].vkey);
	free(w->witnesses[1].vkey);
	approvals_release(&w->approvals);
	holds_release(&w->holds);
	end_fixture(&w->f);
}

static bool
check(struct world *w)
{
	char why[256];
	sqlite3 *db =
	    db_open(w->f.path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	bool ok;

	assert_non_null(db);
	assert_int_equal(holds_read(&w->holds, db, HOLDS_NOW), 0);
	purge_facts_release(&w->facts);
	purge_facts_init(&w->facts);
	w->why[0] = '\0';
	ok = purge_rules_check(db, &w->rules, &w->facts, w->why, sizeof w->why);
	db_close(db);
	return ok;
}

static void
allowed(struct world *w)
{
	if (!check(w))
		fail_msg("%s", w->why);
}

static void
refuses(struct world *w, const char *why)
{
	if (check(w))
		fail_msg("allowed, not: %s", why);
	if (strcmp(w->why, why) != 0)
		fail_msg("%s, not: %s", w->why, why);
}

static void
finish(struct world *w)
{
	purge_facts_release(&w->facts);
	end(w);
}

static void
form(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	allowed(&w);
	w.range[1] = (struct range){LAST, LAST};
	w.rules.count = 2;
	refuses(&w, "the ranges are out of order");
	w.rules.count = 1;
	w.range[0].last = PURGE_RULES_SPAN; /* from 1: as many as may be */
	refuses(&w, "records was never sent record 10000");
	w.range[0].last++;
	refuses(&w, "a purge takes 1 to 10000 records at a time");
	w.range[0].last = LAST;
	w.rules.applied = LAST;
	refuses(&w, "the chat store has applied only up to 9");
	w.rules.applied = LAST + 1;
	w.range[0].last = LAST + 1; /* a control record: nobody applies it */
	refuses(&w, "records was never sent record 10");
	finish(&w);
}

static void
adapters(void **state)
{
	static const char early[] =
	    "record 1 was stored less than 100 s ago (class default)";
	struct world w;

	(void)state;
	begin(&w);
	w.rules.signed_size = 17;
	refuses(&w, "the acknowledgement 17 is not covered by a signature yet");
	w.rules.signed_size = 18;
	allowed(&w);
	assert_string_equal(buf_text(&w.facts.acks), "records:15,vault:17");
	/* The youngest counts, wherever in the order it comes. */
	w.rules.now--;
	refuses(&w, early);
	w.rules.required = (const char *const[]){"vault", "records"};
	refuses(&w, early);
	w.rules.now = w.acked_at - 1;
	refuses(&w, "vault stored it later than the clock says it is now");
	w.rules.required_count = 0;
	refuses(&w, "no adapter is required");
	finish(&w);
}

static void
retention(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.conf.purge_after_s = -1;
	refuses(
	    &w, "the configuration keeps record 1 for ever (class default)");
	w.classes[0].kinds = 1U << EVENT_POST;
	w.classes[0].after_s = AFTER_S;
	allowed(&w);
	w.classes[0].after_s = AFTER_S + 1;
	refuses(
	    &w, "record 1 was stored less than 101 s ago (class delivered)");
	w.classes[0].after_s = -1;
	refuses(&w, "the configuration keeps all records");
	finish(&w);
}

#define NO_ANCHOR                                                              \
	"no checkpoint that covers the acknowledgements is in "                \
	"enough other hands yet "

static void
anchors(void **state)
{
	const struct journal_evidence stamp = {
	    18, view_of(NULL, 0), 1795335000, view_text("x")};
	struct world w;

	(void)state;
	begin(&w);
	allowed(&w);
	assert_int_equal(w.facts.anchor, 0);
	w.conf.anchors.quorum = 2;
	store_cosig(&w.f, 18, "a", 1);
	refuses(&w, NO_ANCHOR "(2 witnesses are needed)");
	store_cosig(&w.f, 18, "b", 2);
	allowed(&w);
	assert_int_equal(w.facts.anchor, 18);
	w.conf.stamp.required = true;
	refuses(&w, NO_ANCHOR "(2 witnesses and a time-stamp are needed)");
	w.conf.anchors.quorum = 0;
	refuses(&w, NO_ANCHOR "(0 witnesses and a time-stamp are needed)");
	assert_int_equal(journal_evidence(w.f.j, &stamp), 0);
	allowed(&w);
	w.conf.anchors.quorum = 2;
	allowed(&w);
	assert_int_equal(w.facts.anchor, 18);
	finish(&w);
}

/* An acknowledgement that is younger than what the others hold. */
static void
anchors_cover_the_acknowledgements(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.conf.anchors.quorum = 1;
	store_cosig(&w.f, 18, "a", 1);
	append_posts(&w.f, 1); /* 18 */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
		    append_batch(&w.f, w.rules.required[i], 3, 10, 18), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
		    append_ack(&w.f, w.rules.required[i], 3, 10, 18, "stored"),
		    0);
	sign_head(&w.f, true);
	w.rules.signed_size = w.rules.applied = journal_size(w.f.j);
	w.rules.now =
	    time_of(&w.f, journal_size(w.f.j) - 1) + AFTER_S * US_PER_S;
	allowed(&w);
	w.range[0].last = 18;
	refuses(&w, NO_ANCHOR "(1 witnesses are needed)");
	store_cosig(&w.f, journal_size(w.f.j), "b", 2);
	allowed(&w);
	assert_int_equal(w.facts.anchor, journal_size(w.f.j));
	finish(&w);
}

/* The record names the newest hold or release, whichever it is. */
static void
newest_hold(void **state)
{
	struct journal_hold h = {
	    .matter = view_text("m"), .selector = view_text("{\"v\":1}")};
	struct journal_event e;
	struct world w;

	(void)state;
	begin(&w);
	allowed(&w);
	assert_int_equal(w.facts.hold, 0);
	assert_int_equal(journal_hold(w.f.j, &h, &e), 0);
	refuses(&w, "record 1 is held by hold 1");
	assert_int_equal(w.facts.hold, 18);
	assert_int_equal(journal_release(w.f.j, 1, 5, false, &e), 0);
	allowed(&w);
	assert_int_equal(w.facts.hold, 19);
	assert_int_equal(w.facts.held, 0);
	finish(&w);
}

static void
approve(struct world *w, uint64_t below, uint32_t by)
{
	struct journal_event e;

	assert_int_equal(journal_approve(w->f.j, below, by, &e), 0);
}

static void
approvals(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	allowed(&w);
	assert_string_equal(buf_text(&w.facts.approvals), "-");
	w.conf.purge_approvals = 1;
	refuses(&w, "record 9 is not approved by 1 persons");
	approve(&w, LAST, 4); /* 18; all but the last */
	refuses(&w, "record 9 is not approved by 1 persons");
	approve(&w, LAST + 1, 4); /* 19 */
	allowed(&w);
	assert_string_equal(buf_text(&w.facts.approvals), "19");
	w.conf.purge_approvals = 2;
	refuses(&w, "record 9 is not approved by 2 persons");
	approve(&w, LAST, 5); /* 20 */
	refuses(&w, "record 9 is not approved by 2 persons");
	approve(&w, LAST + 2, 5); /* 21 */
	allowed(&w);
	assert_string_equal(buf_text(&w.facts.approvals), "19,21");
	finish(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(form),
	    cmocka_unit_test(adapters),
	    cmocka_unit_test(retention),
	    cmocka_unit_test(anchors),
	    cmocka_unit_test(anchors_cover_the_acknowledgements),
	    cmocka_unit_test(newest_hold),
	    cmocka_unit_test(approvals),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
