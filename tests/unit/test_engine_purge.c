#include "tests/unit/engine_fixture.h"

#include "base/text.h"

#include "compliance/leaf.h"
#include "compliance/purger.h"
#include "compliance/scan.h"
#include "compliance/survey.h"

/* The purger against a journal that purges for real. */

struct probe {
	struct fixture f;
	struct conf conf;
	struct conf_adapter adapters[2];
	struct purger_env env;
	struct purger *purger;
	struct scan *scan;
	uint64_t want_to;
	unsigned want_purges;
};

static void
on_up(void *arg)
{
	struct probe *p = arg;

	if (p->purger != NULL)
		purger_kick(p->purger);
}

static void
probe_init(struct probe *p, size_t required, int64_t after_s)
{
	static char names[2][2] = {"a", "b"};

	memset(p, 0, sizeof *p);
	fixture_init(&p->f);
	p->f.up = on_up;
	p->f.up_arg = p;
	p->f.conf = &p->conf;
	p->f.required_count = required;
	for (size_t i = 0; i < 2; i++) {
		p->f.required[i] = names[i];
		p->adapters[i].name = names[i];
		p->adapters[i].required = i < required;
	}
	p->conf.adapters = p->adapters;
	p->conf.adapter_count = 2;
	p->conf.purge_after_s = after_s;
	p->env = (struct purger_env){.loop = &p->f.loop,
	    .journal = p->f.journal_path,
	    .conf = &p->conf,
	    .keeper = p->f.keeper,
	    .backoff_ms = 5,
	    .backoff_max_ms = 20,
	    .poll_ms = 5};
	fixture_control(&p->f, EVENT_POLICY,
	    required == 2       ? "required a,b\nafter 0\n" POLICY_REST
		: required == 1 ? "required a\nafter 0\n" POLICY_REST
				: "required -\nafter 0\n" POLICY_REST);
}

static void
probe_start(struct probe *p)
{
	char why[256];

	p->scan = scan_open(p->f.journal_path, false, why, sizeof why);
	assert_non_null(p->scan);
	p->purger = purger_new(&p->env);
	assert_non_null(p->purger);
	purger_kick(p->purger);
}

static void
probe_end(struct probe *p)
{
	scan_close(p->scan);
	purger_free(p->purger);
	p->purger = NULL;
	fixture_end(&p->f);
}

/* What adapter and keeper would have recorded of a whole batch. */
static void
batch(struct probe *p, const char *adapter, uint64_t n, uint64_t first,
    uint64_t last)
{
	char fields[512];
	struct buf root;
	uint8_t hash[32];

	buf_init(&root);
	journal_root(p->f.journal, hash);
	text_put_base64(&root, hash, sizeof hash);
	(void)snprintf(fields, sizeof fields,
	    "adapter %s\nbatch %llu\nfirst %llu\nlast %llu\ncount %llu\n"
	    "size %llu\nroot %s\n",
	    adapter, (unsigned long long)n, (unsigned long long)first,
	    (unsigned long long)last, (unsigned long long)(last - first + 1),
	    (unsigned long long)journal_size(p->f.journal), buf_text(&root));
	fixture_control(&p->f, EVENT_BATCH, fields);
	buf_release(&root);
}

static void
ack(struct probe *p, const char *adapter, uint64_t n, uint64_t first,
    uint64_t last, const char *state)
{
	char fields[512];

	(void)snprintf(fields, sizeof fields,
	    "adapter %s\nbatch %llu\nfirst %llu\nlast %llu\nstate %s\n"
	    "location x\nsha256 -\nbytes 0\nreadback no\n",
	    adapter, (unsigned long long)n, (unsigned long long)first,
	    (unsigned long long)last, state);
	fixture_control(&p->f, EVENT_ACK, fields);
}

static bool
is_purged(void *arg)
{
	const struct probe *p = arg;

	return scan_purged_to(p->scan) >= p->want_to;
}

static void
assert_purged(struct probe *p, uint64_t to)
{
	p->want_to = to;
	if (!fixture_run(&p->f, is_purged, p, FIXTURE_WAIT_MS))
		fail_msg("purged to %llu, not %llu: %s",
		    (unsigned long long)scan_purged_to(p->scan),
		    (unsigned long long)to, purger_failure(p->purger));
}

static bool
never(void *arg)
{
	(void)arg;
	return false;
}

static void
assert_untouched(struct probe *p, uint64_t to, unsigned purges)
{
	assert_false(fixture_run(&p->f, never, NULL, 150));
	assert_int_equal(scan_purged_to(p->scan), to);
	assert_int_equal(p->f.purges, purges);
}

struct answers {
	unsigned done, refused;
};

static void
on_answer(void *arg, uint64_t purges, uint64_t records, const char *failure)
{
	struct answers *a = arg;

	(void)purges;
	(void)records;
	if (failure == NULL)
		a->done++;
	else if (strstr(failure, "try later") != NULL)
		a->refused++;
}

static bool
all_done(void *arg)
{
	const struct answers *a = arg;

	return a->done == PURGER_WAITERS_MAX;
}

static void
test_no_more_wait_than_fit(void **state)
{
	struct answers a = {0};
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	fixture_posts(&p.f, 30, 20);
	batch(&p, "a", 1, 0, 10);
	ack(&p, "a", 1, 0, 10, "stored");
	probe_start(&p);
	for (unsigned i = 0; i < PURGER_WAITERS_MAX; i++)
		purger_run(p.purger, on_answer, &a);
	assert_int_equal(a.done + a.refused, 0);
	purger_run(p.purger, on_answer, &a);
	assert_int_equal(a.refused, 1);
	assert_true(fixture_run(&p.f, all_done, &a, FIXTURE_WAIT_MS));
	purger_run(p.purger, on_answer, &a);
	assert_int_equal(a.refused, 1);
	probe_end(&p);
}

/* In pieces, each a record of its own; the leaves stay. */
static void
test_in_pieces(void **state)
{
	struct scan_record r;
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	fixture_posts(&p.f, 12000, 20);
	batch(&p, "a", 1, 0, 12000);
	ack(&p, "a", 1, 0, 12000, "stored");
	probe_start(&p);
	assert_purged(&p, 12001);
	assert_int_equal(p.f.purges, 12);
	assert_string_equal(purger_failure(p.purger), "");
	assert_int_equal(scan_seek(p.scan, 6000), 0);
	assert_int_equal(scan_next(p.scan, &r), 1);
	assert_true(r.purged);
	assert_true(r.leaf.n > 0);
	probe_end(&p);
}

static void
test_every_required_adapter(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 2, 0);
	fixture_posts(&p.f, 30, 20);
	batch(&p, "a", 1, 0, 10);
	batch(&p, "b", 1, 0, 20);
	ack(&p, "a", 1, 0, 10, "stored");
	probe_start(&p);
	assert_untouched(&p, 1, 0);
	ack(&p, "b", 1, 0, 20, "stored");
	purger_kick(p.purger);
	assert_purged(&p, 11);
	assert_untouched(&p, 11, 1);
	batch(&p, "a", 2, 11, 30);
	ack(&p, "a", 2, 11, 30, "stored");
	purger_kick(p.purger);
	assert_purged(&p, 21);
	assert_untouched(&p, 21, 2);
	probe_end(&p);
}

/* Sent and accepted release nothing, nor does what comes behind them. */
static void
test_stored_alone_counts(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	fixture_posts(&p.f, 30, 20);
	batch(&p, "a", 1, 0, 10);
	ack(&p, "a", 1, 0, 10, "stored");
	batch(&p, "a", 2, 11, 15);
	ack(&p, "a", 2, 11, 15, "accepted");
	batch(&p, "a", 3, 16, 30);
	ack(&p, "a", 3, 16, 30, "stored");
	probe_start(&p);
	assert_purged(&p, 11);
	assert_untouched(&p, 11, 1);
	probe_end(&p);
}

static void
test_nothing_is_required(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 0, 0);
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	ack(&p, "a", 1, 0, 5, "stored");
	probe_start(&p);
	assert_untouched(&p, 1, 0);
	probe_end(&p);
}

static void
test_never(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 1, -1);
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	ack(&p, "a", 1, 0, 5, "stored");
	probe_start(&p);
	assert_untouched(&p, 1, 0);
	probe_end(&p);
}

/* It comes back by itself when the time is over. */
static void
test_retention_time(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 1, 2);
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	ack(&p, "a", 1, 0, 5, "stored");
	probe_start(&p);
	assert_untouched(&p, 1, 0);
	assert_purged(&p, 6);
	assert_int_equal(p.f.purges, 1);
	probe_end(&p);
}

/* An acknowledgement that no note covers is not in the journal for good. */
static void
test_waits_for_the_signature(void **state)
{
	struct journal_event e = {.kind = EVENT_ACK,
	    .fields =
		view_text("adapter a\nbatch 1\nfirst 0\nlast 5\nstate stored\n"
			  "location x\nsha256 -\nbytes 0\nreadback no\n")};
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	assert_int_equal(journal_append(p.f.journal, &e, 1), 0);
	probe_start(&p);
	assert_untouched(&p, 1, 0);
	fixture_sign(&p.f);
	assert_purged(&p, 6);
	probe_end(&p);
}

static void
test_refused_and_lost(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	p.f.refuse = 3;
	p.f.die_before = 1;
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	ack(&p, "a", 1, 0, 5, "stored");
	probe_start(&p);
	assert_purged(&p, 6);
	assert_int_equal(p.f.purges, 5);
	assert_string_equal(purger_failure(p.purger), "");
	probe_end(&p);
}

static bool
is_refused(void *arg)
{
	const struct probe *p = arg;

	return purger_failure(p->purger)[0] != '\0';
}

static bool
is_well(void *arg)
{
	return !is_refused(arg);
}

/* What was refused is held meanwhile: nobody waits for it any more. */
static void
test_failure_ends(void **state)
{
	struct journal_hold hold = {.matter = view_text("all of it"),
	    .selector = view_text("{\"v\":1}")};
	struct journal_event e;
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	p.f.refuse = UINT_MAX;
	fixture_posts(&p.f, 5, 20);
	batch(&p, "a", 1, 0, 5);
	ack(&p, "a", 1, 0, 5, "stored");
	probe_start(&p);
	assert_true(fixture_run(&p.f, is_refused, &p, FIXTURE_WAIT_MS));
	assert_int_equal(journal_hold(p.f.journal, &hold, &e), 0);
	/* The loop may sleep on after its last timer. */
	for (unsigned i = 0; i < 200 && !is_well(&p); i++)
		(void)fixture_run(&p.f, is_well, &p, 20);
	assert_string_equal(purger_failure(p.purger), "");
	assert_untouched(&p, 1, p.f.purges);
	probe_end(&p);
}

/* A later start counts from where the purge stands, not from the beginning. */
static void
test_second_life(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, 1, 0);
	fixture_posts(&p.f, 40, 20);
	for (uint64_t n = 1; n <= 3; n++) {
		batch(&p, "a", n, (n - 1) * 10, n * 10 - 1);
		ack(&p, "a", n, (n - 1) * 10, n * 10 - 1, "stored");
	}
	probe_start(&p);
	assert_purged(&p, 30);
	scan_close(p.scan);
	purger_free(p.purger);
	batch(&p, "a", 4, 30, 40);
	ack(&p, "a", 4, 30, 40, "stored");
	probe_start(&p);
	assert_purged(&p, 41);
	probe_end(&p);
}

/* ---- what would go ---- */

#define CLASSES 300
#define TOLD 256 /* reasons with their details */

struct told {
	bool done;
	size_t classes; /* with a record of their own */
	uint64_t others, goes;
};

static void
on_survey(void *arg, const struct survey_result *result, const char *failure)
{
	struct told *t = arg;

	assert_null(failure);
	t->done = true;
	for (size_t i = 0; i < result->groups; i++) {
		const struct survey_group *g = &result->group[i];

		if (g->reason == NULL) {
			t->goes = g->records;
			continue;
		}
		assert_string_equal(g->reason, "kept for ever");
		if (strcmp(g->detail, "others") == 0)
			t->others = g->records;
		else
			t->classes += g->records == 1;
	}
}

static bool
is_told(void *arg)
{
	const struct told *t = arg;

	return t->done;
}

static void
post_to(struct fixture *f, unsigned room)
{
	struct journal_event e = {.kind = EVENT_POST, .parts = 1};
	char envelope[64];

	(void)snprintf(
	    envelope, sizeof envelope, "{\"v\":1,\"room\":\"class-%u\"}", room);
	e.part[0] = view_text(envelope);
	assert_int_equal(journal_append(f->journal, &e, 1), 0);
}

/* The rest is counted together, reason by reason, and what goes by itself. */
static void
test_more_reasons_than_are_told(void **state)
{
	static struct conf_retention classes[CLASSES];
	static char names[CLASSES][16];
	static char *rooms[CLASSES];
	struct told told = {0};
	struct probe p;
	uint64_t last;

	(void)state;
	probe_init(&p, 1, 0);
	for (unsigned i = 0; i < CLASSES; i++) {
		(void)snprintf(names[i], sizeof names[i], "class-%u", i);
		rooms[i] = names[i];
		classes[i] = (struct conf_retention){.name = names[i],
		    .rooms = &rooms[i],
		    .room_count = 1,
		    .after_s = -1};
		post_to(&p.f, i);
	}
	p.conf.retentions = classes;
	p.conf.retention_count = CLASSES;
	fixture_posts(&p.f, 5, 10);
	last = journal_size(p.f.journal) - 1;
	batch(&p, "a", 1, 0, last);
	ack(&p, "a", 1, 0, last, "stored");
	survey_start(&p.f.loop, &p.conf, p.f.journal_path, on_survey, &told);
	assert_true(fixture_run(&p.f, is_told, &told, FIXTURE_WAIT_MS));
	assert_int_equal(told.classes, TOLD);
	assert_int_equal(told.others, CLASSES - TOLD);
	assert_int_equal(told.goes, 5);
	fixture_end(&p.f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_in_pieces),
	    cmocka_unit_test(test_no_more_wait_than_fit),
	    cmocka_unit_test(test_every_required_adapter),
	    cmocka_unit_test(test_stored_alone_counts),
	    cmocka_unit_test(test_nothing_is_required),
	    cmocka_unit_test(test_never),
	    cmocka_unit_test(test_retention_time),
	    cmocka_unit_test(test_waits_for_the_signature),
	    cmocka_unit_test(test_refused_and_lost),
	    cmocka_unit_test(test_failure_ends),
	    cmocka_unit_test(test_second_life),
	    cmocka_unit_test(test_more_reasons_than_are_told),
	};

	log_init("test_engine_purge", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests_name("engine_purge", tests, NULL, NULL);
}
