#include "tests/unit/adapter_probe.h"

/*
 * Which records go into a batch, what becomes of one when the engine or the
 * keeper ends, and batches that a person asks for.
 */

static void
test_batches_are_bounded_and_follow(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "good", 0);
	p.env.batch_events = 10;
	fixture_posts(&p.f, 25, 10);
	probe_start(&p);
	run_until_acked(&p, 3);
	assert_ledger(&p, 1, 0, 9);
	assert_ledger(&p, 2, 10, 19);
	/* The third also takes the traces of the first two. */
	assert_ledger(&p, 3, 20, 28);
	probe_end(&p);
}

/* Archiving its own traces would never end. */
static void
test_traces_make_no_batch(void **state)
{
	struct probe p;
	uint64_t looked = 0, size;
	struct scan *s;
	struct batch b;
	char why[256];

	(void)state;
	probe_init(&p, "good", 0);
	fixture_posts(&p.f, 1, 10);
	probe_start(&p);
	run_until_acked(&p, 1);
	fixture_control(&p.f, EVENT_BEAT, "events 1\n");
	s = scan_open(p.f.journal_path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(
	    batch_plan(s, "probe", 10, &looked, &b, why, sizeof why),
	    BATCH_NOTHING);
	size = journal_size(p.f.journal);
	assert_int_equal(looked, size);
	assert_int_equal(b.size, size);
	/* The next one worth it takes them along. */
	fixture_posts(&p.f, 1, 10);
	assert_int_equal(
	    batch_plan(s, "probe", 10, &looked, &b, why, sizeof why),
	    BATCH_NEW);
	assert_int_equal(b.n, 2);
	assert_int_equal(b.first, 1);
	assert_int_equal(b.last, size);
	scan_close(s);
	probe_end(&p);
}

/* What no note covers yet stays out. */
static void
test_only_what_is_signed(void **state)
{
	uint64_t looked = 0;
	struct scan *s;
	struct batch b;
	struct probe p;
	char why[256];

	(void)state;
	probe_init(&p, "good", 0);
	fixture_unsigned(&p.f, NULL);
	s = scan_open(p.f.journal_path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(
	    batch_plan(s, "probe", 10, &looked, &b, why, sizeof why),
	    BATCH_NOTHING);
	fixture_sign(&p.f);
	fixture_unsigned(&p.f, NULL);
	assert_int_equal(
	    batch_plan(s, "probe", 10, &looked, &b, why, sizeof why),
	    BATCH_NEW);
	assert_int_equal(b.last, 0);
	scan_close(s);
	probe_end(&p);
}

/* The engine died after cutting: the same batch goes out again. */
static void
test_open_batch_after_restart(void **state)
{
	struct probe p;
	char *text;

	(void)state;
	probe_init(&p, "hangs", 1);
	fixture_posts(&p.f, 5, 10);
	probe_start(&p);
	p.want_acked = 1;
	while (p.f.controls == 0)
		uv_run(&p.f.loop, UV_RUN_ONCE);
	probe_stop(&p);
	fixture_posts(&p.f, 5, 10); /* must not widen it */
	p.mode = "good";
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_ledger(&p, 1, 0, 4);
	text = seen(&p);
	assert_int_equal(strncmp(text, "1 0 4 5 ", 8), 0);
	free(text);
	probe_end(&p);
}

static void
test_keeper_refuses_and_dies(void **state)
{
	static const struct {
		unsigned refuse, die_before, die_after;
		unsigned controls;
	} cases[] = {
	    {1, 0, 0, 3}, /* refused, cut, acknowledged */
	    {0, 1, 0, 3}, /* lost, cut, acknowledged */
	    {0, 0, 1, 2}, /* cut unheard, acknowledged */
	    {0, 0, 2, 2}, /* cut unheard, acknowledged unheard */
	    {0, 2, 0, 4}, /* lost twice */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct probe p;
		char *text;

		probe_init(&p, "good", 0);
		p.f.refuse = cases[i].refuse;
		p.f.die_before = cases[i].die_before;
		p.f.die_after = cases[i].die_after;
		fixture_posts(&p.f, 5, 10);
		probe_start(&p);
		run_until_acked(&p, 1);
		assert_int_equal(p.f.controls, cases[i].controls);
		assert_int_equal(p.restarts, 0);
		assert_ledger(&p, 1, 0, 4);
		text = seen(&p);
		assert_same_lines(text);
		free(text);
		probe_end(&p);
	}
}

static void
tell_state(struct fixture *f, bool writable, const char *why)
{
	struct buf *b = ipc_begin(f->keeper_end, WIRE_STATE);

	buf_put_u8(b, writable);
	buf_put_text(b, why);
	ipc_end(f->keeper_end);
}

static bool
is_idle(void *arg)
{
	const struct probe *p = arg;
	struct adapter_status s;

	adapter_link_status(p->link, &s);
	return s.stage == STAGE_IDLE;
}

/* As at each start, until the signer has come up: no failure of anybody. */
static void
test_keeper_that_takes_nothing_is_not_asked(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "good", 0);
	fixture_posts(&p.f, 5, 10);
	tell_state(&p.f, false, "the signer has not come up yet");
	probe_start(&p);
	assert_true(fixture_run(&p.f, is_idle, &p, FIXTURE_WAIT_MS));
	for (unsigned i = 0; i < 20; i++)
		(void)uv_run(&p.f.loop, UV_RUN_NOWAIT);
	assert_int_equal(p.f.controls, 0);
	tell_state(&p.f, true, "");
	run_until_acked(&p, 1);
	assert_string_equal(p.failure, "");
	assert_int_equal(p.f.controls, 2);
	assert_ledger(&p, 1, 0, 4);
	probe_end(&p);
}

/* ---- runs ---- */

struct run_seen {
	unsigned batches;
	bool ended;
	char failure[256];
};

static void
on_run(void *arg, const struct adapter_delivery *d, const char *failure)
{
	struct run_seen *r = arg;

	assert_false(r->ended);
	if (d != NULL) {
		r->batches++;
		assert_int_equal(d->batch.n, r->batches);
		assert_int_equal(d->receipt->promise, PROMISE_STORED);
		return;
	}
	r->ended = true;
	(void)snprintf(r->failure, sizeof r->failure, "%s",
	    failure != NULL ? failure : "");
}

static bool
run_has_ended(void *arg)
{
	const struct run_seen *r = arg;

	return r->ended;
}

static void
test_run(void **state)
{
	struct run_seen first = {0}, second = {0};
	struct probe p;

	(void)state;
	probe_init(&p, "good", 0);
	p.env.batch_events = 4;
	probe_start(&p);
	/* Nothing is there: the interval begins. */
	adapter_link_run(p.link, on_run, &first);
	assert_true(fixture_run(&p.f, run_has_ended, &first, FIXTURE_WAIT_MS));
	assert_int_equal(first.batches, 0);
	assert_string_equal(first.failure, "");
	fixture_posts(&p.f, 6, 10);
	adapter_link_run(p.link, on_run, &second);
	assert_true(fixture_run(&p.f, run_has_ended, &second, FIXTURE_WAIT_MS));
	assert_int_equal(second.batches, 2);
	assert_string_equal(second.failure, "");
	probe_end(&p);
}

static void
test_run_fails_with_the_reason(void **state)
{
	struct run_seen r = {0};
	struct probe p;

	(void)state;
	probe_init(&p, "wrong-root", 1);
	fixture_posts(&p.f, 6, 10);
	probe_start(&p);
	adapter_link_run(p.link, on_run, &r);
	assert_true(fixture_run(&p.f, run_has_ended, &r, FIXTURE_WAIT_MS));
	assert_int_equal(r.batches, 0);
	assert_string_equal(r.failure, "gave a receipt with a wrong root");
	probe_end(&p);
}

/*
 * A run waits for the signature over what was there when it was asked for,
 * also when the batch was cut under another name of the journal.
 */
static void
test_run_waits_for_a_signature(void **state)
{
	(void)state;
	for (unsigned cut = 0; cut < 2; cut++) {
		struct run_seen r = {0};
		struct probe p;

		probe_init(&p, "good", 0);
		fixture_unsigned(&p.f, cut ? "probe" : NULL);
		probe_start(&p);
		adapter_link_run(p.link, on_run, &r);
		assert_false(fixture_run(&p.f, run_has_ended, &r, 500));
		fixture_sign(&p.f);
		assert_true(
		    fixture_run(&p.f, run_has_ended, &r, FIXTURE_WAIT_MS));
		assert_int_equal(r.batches, 1);
		assert_string_equal(r.failure, "");
		assert_string_equal(p.failure, "");
		probe_end(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batches_are_bounded_and_follow),
	    cmocka_unit_test(test_traces_make_no_batch),
	    cmocka_unit_test(test_only_what_is_signed),
	    cmocka_unit_test(test_open_batch_after_restart),
	    cmocka_unit_test(test_keeper_refuses_and_dies),
	    cmocka_unit_test(test_keeper_that_takes_nothing_is_not_asked),
	    cmocka_unit_test(test_run),
	    cmocka_unit_test(test_run_fails_with_the_reason),
	    cmocka_unit_test(test_run_waits_for_a_signature),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test_engine_batches", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests_name("engine_batches", tests, NULL, NULL);
}
