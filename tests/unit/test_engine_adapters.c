#include "tests/unit/engine_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/file.h"

#include "compliance/adapter_link.h"
#include "compliance/ledger.h"

#include "tests/unit/engine_adapter.h"

/*
 * An adapter's state machine against real child processes: one program in
 * the test's folder that behaves well, or misbehaves in the way it is told
 * for its first so many tries.
 */

/* One adapter with its process, and what happened to it. */
struct probe {
	struct fixture f;
	struct adapter_env env;
	struct conf_adapter conf;
	struct adapter_link *link;
	char script[96];
	const char *mode;
	char bad[16];
	uv_process_t process;
	bool running;
	bool stopping;
	uv_check_t check;
	/* Seen. */
	unsigned restarts, starts, acked;
	bool quarantined;
	char failure[512]; /* the first one */
	unsigned want_acked;
};

static void start_process(struct probe *p);

static void
on_process_closed(uv_handle_t *handle)
{
	struct probe *p = handle->data;

	p->running = false;
	if (!p->stopping)
		start_process(p);
}

static void
on_exit_of_process(uv_process_t *process, int64_t status, int signum)
{
	(void)status;
	(void)signum;
	uv_close((uv_handle_t *)process, on_process_closed);
}

static void
start_process(struct probe *p)
{
	char *args[] = {(char *)"python3", (char *)"-IS", p->script,
	    (char *)p->mode, p->f.dir, p->bad, NULL};
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	uv_stdio_container_t stdio[3] = {
	    {.flags = UV_INHERIT_FD, .data.fd = pair[1]},
	    {.flags = UV_INHERIT_FD, .data.fd = pair[1]},
	    {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO}};
	uv_process_options_t o = {.file = "python3",
	    .args = args,
	    .exit_cb = on_exit_of_process,
	    .stdio_count = 3,
	    .stdio = stdio};

	p->process.data = p;
	assert_int_equal(uv_spawn(&p->f.loop, &p->process, &o), 0);
	p->running = true;
	p->starts++;
	(void)close(pair[1]);
	adapter_link_attach(p->link, pair[0]);
}

static void
on_restart(void *arg, const char *name)
{
	struct probe *p = arg;

	assert_string_equal(name, "probe");
	p->restarts++;
	if (p->running)
		(void)uv_process_kill(&p->process, SIGKILL);
}

static void
on_acked(void *arg)
{
	struct probe *p = arg;

	p->acked++;
}

static void
on_check(uv_check_t *check)
{
	struct probe *p = check->data;
	struct adapter_status s;

	adapter_link_status(p->link, &s);
	p->quarantined |= s.quarantined;
	if (p->failure[0] == '\0')
		(void)snprintf(p->failure, sizeof p->failure, "%s", s.failure);
}

static void
on_keeper_up(void *arg)
{
	struct probe *p = arg;

	if (p->link != NULL)
		adapter_link_kick(p->link);
}

static void
probe_init(struct probe *p, const char *mode, unsigned bad)
{
	memset(p, 0, sizeof *p);
	fixture_init(&p->f);
	p->f.up = on_keeper_up;
	p->f.up_arg = p;
	p->mode = mode;
	(void)snprintf(p->bad, sizeof p->bad, "%u", bad);
	(void)snprintf(p->script, sizeof p->script, "%s/adapter.py", p->f.dir);
	assert_int_equal(
	    file_create(p->script, view_text(engine_adapter), 0600), 0);
	p->conf = (struct conf_adapter){.name = (char *)"probe",
	    .program = (char *)"probe",
	    .directory = (char *)"/some/\"where\"",
	    .interval_s = 3600,
	    .timeout_s = 30};
	p->env = (struct adapter_env){.loop = &p->f.loop,
	    .journal = p->f.journal_path,
	    .domain = "example.test",
	    .batch_events = 1000,
	    .keeper = p->f.keeper,
	    .backoff_ms = 5,
	    .backoff_max_ms = 40,
	    .restart = on_restart,
	    .acked = on_acked,
	    .arg = p};
	(void)uv_check_init(&p->f.loop, &p->check);
	p->check.data = p;
	(void)uv_check_start(&p->check, on_check);
}

static void
probe_start(struct probe *p)
{
	p->link = adapter_link_new(&p->env, &p->conf);
	assert_non_null(p->link);
	start_process(p);
}

static bool
has_ended(void *arg)
{
	const struct probe *p = arg;

	return !p->running;
}

/* Ends process and link, as when the engine dies. */
static void
probe_stop(struct probe *p)
{
	p->stopping = true;
	if (p->running)
		(void)uv_process_kill(&p->process, SIGKILL);
	assert_true(fixture_run(&p->f, has_ended, p, FIXTURE_WAIT_MS));
	p->stopping = false;
	(void)uv_check_stop(&p->check);
	adapter_link_free(p->link);
	p->link = NULL;
	uv_run(&p->f.loop, UV_RUN_NOWAIT);
}

static void
probe_end(struct probe *p)
{
	if (p->link != NULL)
		probe_stop(p);
	uv_close((uv_handle_t *)&p->check, NULL);
	fixture_end(&p->f);
}

static bool
is_acked(void *arg)
{
	const struct probe *p = arg;

	return p->acked >= p->want_acked;
}

static void
run_until_acked(struct probe *p, unsigned acked)
{
	struct adapter_status s;

	p->want_acked = acked;
	if (fixture_run(&p->f, is_acked, p, FIXTURE_WAIT_MS))
		return;
	adapter_link_status(p->link, &s);
	fail_msg("%s: %u of %u acknowledged, %s, %s", p->mode, p->acked, acked,
	    adapter_stage_name(s.stage), s.failure);
}

/* What the program saw to the end; the caller frees it. */
static char *
seen(struct probe *p)
{
	struct buf text;
	char path[96];
	char *copy;

	(void)snprintf(path, sizeof path, "%s/seen", p->f.dir);
	buf_init(&text);
	assert_int_equal(file_read(path, 1 << 20, &text), 0);
	copy = view_dup(buf_view(&text));
	assert_non_null(copy);
	buf_release(&text);
	return copy;
}

/* That every line of what was seen is the same: the same batch again. */
static void
assert_same_lines(const char *text)
{
	size_t n = strcspn(text, "\n") + 1;

	for (const char *at = text; *at != '\0'; at += n) {
		assert_true(strlen(at) >= n);
		assert_memory_equal(at, text, n);
	}
}

static void
assert_ledger(struct probe *p, uint64_t n, uint64_t first, uint64_t last)
{
	char why[256];
	struct ledger *l = ledger_open(p->f.journal_path, why, sizeof why);
	struct ledger_batch b;

	assert_non_null(l);
	assert_int_equal(ledger_get(l, "probe", n, &b), 1);
	assert_int_equal(b.first, first);
	assert_int_equal(b.last, last);
	assert_true(b.acked);
	ledger_close(l);
}

static void
assert_last_ack(struct probe *p, const char *fields)
{
	struct buf text;

	buf_init(&text);
	assert_int_equal(
	    journal_last_fields(p->f.journal, EVENT_ACK, &text), 1);
	assert_string_equal(buf_text(&text), fields);
	buf_release(&text);
}

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
	    cmocka_unit_test(test_good_adapter),
	    cmocka_unit_test(test_accepted_only),
	    cmocka_unit_test(test_read_back),
	    cmocka_unit_test(test_misdeeds),
	    cmocka_unit_test(test_receipt_twice),
	    cmocka_unit_test(test_quarantine),
	    cmocka_unit_test(test_quarantine_outlives_the_engine),
	    cmocka_unit_test(test_slow_but_alive),
	    cmocka_unit_test(test_back_pressure),
	    cmocka_unit_test(test_batches_are_bounded_and_follow),
	    cmocka_unit_test(test_traces_make_no_batch),
	    cmocka_unit_test(test_only_what_is_signed),
	    cmocka_unit_test(test_open_batch_after_restart),
	    cmocka_unit_test(test_keeper_refuses_and_dies),
	    cmocka_unit_test(test_run),
	    cmocka_unit_test(test_run_fails_with_the_reason),
	    cmocka_unit_test(test_run_waits_for_a_signature),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test_engine_adapters", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests_name(
	    "engine_adapters", tests, NULL, NULL);
}
