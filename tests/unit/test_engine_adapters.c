#include "tests/unit/adapter_probe.h"

/*
 * An adapter's state machine against real child processes: one program in
 * the test's folder that behaves well, or misbehaves in the way it is told
 * for its first so many tries.
 */

static void
test_good_adapter(void **state)
{
	struct probe p;
	char *text;
	char fields[512];

	(void)state;
	probe_init(&p, "good", 0);
	fixture_posts(&p.f, 20, 100);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_int_equal(p.restarts, 0);
	assert_string_equal(p.failure, "");
	assert_ledger(&p, 1, 0, 19);
	text = seen(&p);
	assert_int_equal(strncmp(text, "1 0 19 20 ", 10), 0);
	(void)snprintf(fields, sizeof fields,
	    "adapter probe\nbatch 1\nfirst 0\nlast 19\nstate stored\n"
	    "location file%%201\nsha256 %.64s\nbytes 123\nreadback no\n",
	    text + 10);
	assert_last_ack(&p, fields);
	free(text);
	probe_end(&p);
}

static void
test_accepted_only(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "accepts", 0);
	fixture_posts(&p.f, 2, 10);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_last_ack(&p,
	    "adapter probe\nbatch 1\nfirst 0\nlast 1\nstate accepted\n"
	    "location -\nsha256 -\nbytes 0\nreadback no\n");
	probe_end(&p);
}

static void
test_read_back(void **state)
{
	struct probe p;
	struct buf text;

	(void)state;
	probe_init(&p, "rb", 0);
	fixture_posts(&p.f, 300, 1000);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_string_equal(p.failure, "");
	buf_init(&text);
	assert_int_equal(journal_last_fields(p.f.journal, EVENT_ACK, &text), 1);
	assert_non_null(strstr(buf_text(&text), "\nreadback yes\n"));
	buf_release(&text);
	probe_end(&p);
}

/* What one bad try costs, and that the batch comes again unchanged. */
static const struct {
	const char *mode;
	const char *failure; /* how it begins */
	unsigned restarts;
	size_t text_bytes;
} misdeeds[] = {
    {"mute", "silent for 3 s while starting", 1, 10},
    {"hangs", "silent for 3 s while sent", 1, 10},
    {"rb-hangs", "silent for 3 s while readback", 1, 10},
    {"garbage", "not one JSON object on a line", 1, 10},
    {"endless", "a line is too long while starting", 1, 10},
    {"talks", "gave a receipt that nobody asked for", 1, 10},
    {"old", "speaks protocol 2, not 1", 1, 10},
    {"ready-twice", "says ready twice", 1, 10},
    {"dies", "closed by the other side while sent", 0, 10},
    {"early", "gave a receipt before the end of the batch", 1, 300000},
    {"error", "disk full", 0, 10},
    {"error-early", "disk full", 0, 300000},
    {"cannot", "no such??folder \xc3\xa4", 1, 10},
    {"error-other", "reports an error of a batch that it has not", 1, 10},
    {"wrong-batch", "gave a receipt for another batch", 1, 10},
    {"wrong-count", "gave a receipt with a wrong count", 1, 10},
    {"wrong-root", "gave a receipt with a wrong root", 1, 10},
    {"unannounced", "gave a receipt with a state that it had not announced", 1,
	10},
    {"no-hash", "receipt with a malformed sha256", 1, 10},
    {"events", "sends events that nobody asked for", 1, 10},
    {"rb-part", "record 0: what was read back breaks its commitment", 1, 10},
    {"rb-parts", "record 0: what was read back has not all parts", 1, 10},
    {"rb-leaf", "record 0: what was read back has another leaf", 1, 10},
    {"rb-order", "record 0: read back out of order", 1, 10},
    {"rb-short", "read back less than the batch", 1, 10},
    {"rb-more", "read back more than the batch", 1, 10},
    {"rb-sha", "read back an archive with another SHA-256", 1, 10},
    {"rb-batch", "read back another batch", 1, 10},
};

static void
test_misdeeds(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof misdeeds / sizeof misdeeds[0]; i++) {
		struct probe p;
		struct adapter_status s;
		char *text;

		probe_init(&p, misdeeds[i].mode, 1);
		if (strstr(misdeeds[i].failure, "silent") != NULL)
			p.conf.timeout_s = 3;
		fixture_posts(&p.f, 9, misdeeds[i].text_bytes);
		probe_start(&p);
		run_until_acked(&p, 1);
		if (strncmp(p.failure, misdeeds[i].failure,
			strlen(misdeeds[i].failure)) != 0 ||
		    p.restarts != misdeeds[i].restarts)
			fail_msg("%s: %s, %u restarts", misdeeds[i].mode,
			    p.failure, p.restarts);
		assert_int_equal(p.acked, 1);
		assert_ledger(&p, 1, 0, 8);
		text = seen(&p);
		assert_same_lines(text);
		free(text);
		adapter_link_status(p.link, &s);
		assert_string_equal(s.failure, "");
		assert_int_equal(s.failures, 0);
		probe_end(&p);
	}
}

/* A second receipt costs the process, not the record of the first. */
static void
test_receipt_twice(void **state)
{
	struct probe p;
	char *text;

	(void)state;
	probe_init(&p, "twice", 1);
	p.conf.interval_s = 1;
	fixture_posts(&p.f, 3, 10);
	probe_start(&p);
	run_until_acked(&p, 1);
	fixture_posts(&p.f, 3, 10);
	run_until_acked(&p, 2);
	assert_int_equal(p.restarts, 1);
	assert_int_equal(p.starts, 2);
	assert_ledger(&p, 1, 0, 2);
	text = seen(&p);
	assert_int_equal(strncmp(text, "1 0 2 3 ", 8), 0);
	assert_non_null(strstr(text, "\n2 3 "));
	free(text);
	probe_end(&p);
}

static void
test_quarantine(void **state)
{
	struct probe p;
	struct adapter_status s;
	char *text;

	(void)state;
	probe_init(&p, "wrong-root", 7);
	fixture_posts(&p.f, 4, 10);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_int_equal(p.restarts, 7);
	assert_true(p.quarantined);
	adapter_link_status(p.link, &s);
	assert_false(s.quarantined);
	text = seen(&p);
	assert_same_lines(text);
	free(text);
	probe_end(&p);
}

static bool
is_quarantined(void *arg)
{
	const struct probe *p = arg;

	return p->quarantined;
}

/* Another engine goes on at the pace of the one before. */
static void
test_quarantine_outlives_the_engine(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "wrong-root", 7);
	fixture_posts(&p.f, 4, 10);
	probe_start(&p);
	assert_true(fixture_run(&p.f, is_quarantined, &p, FIXTURE_WAIT_MS));
	probe_stop(&p);
	fixture_posts(&p.f, 1, 10);
	p.quarantined = false;
	p.failure[0] = '\0';
	p.restarts = 0;
	(void)uv_check_start(&p.check, on_check);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_true(p.quarantined);
	assert_non_null(strstr(p.failure, "before this start"));
	assert_true(p.restarts <= 2); /* the tries that were left */
	probe_end(&p);
}

/* Slow but alive is no fault, even when a batch takes longer than silence. */
static void
test_slow_but_alive(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "slow", 0);
	p.conf.timeout_s = 2;
	fixture_posts(&p.f, 18, 10);
	probe_start(&p);
	run_until_acked(&p, 1);
	assert_int_equal(p.restarts, 0);
	assert_string_equal(p.failure, "");
	probe_end(&p);
}

/* An adapter that does not read must not make the engine grow. */
static void
test_back_pressure(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p, "sleeps", 1);
	fixture_posts(&p.f, 40, 700000);
	probe_start(&p);
	p.want_acked = 1;
	while (p.acked == 0) {
		struct adapter_status s;

		uv_run(&p.f.loop, UV_RUN_ONCE);
		adapter_link_status(p.link, &s);
		assert_true(s.queued < 2 * 1024 * 1024);
	}
	assert_int_equal(p.restarts, 0);
	probe_end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good_adapter),
	    cmocka_unit_test(test_accepted_only),
	    cmocka_unit_test(test_read_back),
	    cmocka_unit_test(test_misdeeds),
	    cmocka_unit_test(test_receipt_twice),
	    cmocka_unit_test(test_quarantine),
	    cmocka_unit_test(test_quarantine_outlives_the_engine),
	    cmocka_unit_test(test_slow_but_alive),
	    cmocka_unit_test(test_back_pressure),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test_engine_adapters", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests_name(
	    "engine_adapters", tests, NULL, NULL);
}
