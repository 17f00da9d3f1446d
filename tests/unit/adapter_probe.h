#ifndef TESTS_UNIT_ADAPTER_PROBE_H
#define TESTS_UNIT_ADAPTER_PROBE_H

/* The engine's side of one adapter: a real child process, engine_adapter.h. */

#include "tests/unit/engine_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/file.h"

#include "compliance/adapter_link.h"
#include "compliance/ledger.h"

#include "tests/unit/engine_adapter.h"

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

static inline void start_process(struct probe *p);

static inline void
on_process_closed(uv_handle_t *handle)
{
	struct probe *p = handle->data;

	p->running = false;
	if (!p->stopping)
		start_process(p);
}

static inline void
on_exit_of_process(uv_process_t *process, int64_t status, int signum)
{
	(void)status;
	(void)signum;
	uv_close((uv_handle_t *)process, on_process_closed);
}

static inline void
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

static inline void
on_restart(void *arg, const char *name)
{
	struct probe *p = arg;

	assert_string_equal(name, "probe");
	p->restarts++;
	if (p->running)
		(void)uv_process_kill(&p->process, SIGKILL);
}

static inline void
on_acked(void *arg)
{
	struct probe *p = arg;

	p->acked++;
}

static inline void
on_check(uv_check_t *check)
{
	struct probe *p = check->data;
	struct adapter_status s;

	adapter_link_status(p->link, &s);
	p->quarantined |= s.quarantined;
	if (p->failure[0] == '\0')
		(void)snprintf(p->failure, sizeof p->failure, "%s", s.failure);
}

static inline void
on_keeper_up(void *arg)
{
	struct probe *p = arg;

	if (p->link != NULL)
		adapter_link_kick(p->link);
}

static inline void
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

static inline void
probe_start(struct probe *p)
{
	p->link = adapter_link_new(&p->env, &p->conf);
	assert_non_null(p->link);
	start_process(p);
}

static inline bool
has_ended(void *arg)
{
	const struct probe *p = arg;

	return !p->running;
}

/* Ends process and link, as when the engine dies. */
static inline void
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

static inline void
probe_end(struct probe *p)
{
	if (p->link != NULL)
		probe_stop(p);
	uv_close((uv_handle_t *)&p->check, NULL);
	fixture_end(&p->f);
}

static inline bool
is_acked(void *arg)
{
	const struct probe *p = arg;

	return p->acked >= p->want_acked;
}

static inline void
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
static inline char *
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
static inline void
assert_same_lines(const char *text)
{
	size_t n = strcspn(text, "\n") + 1;

	for (const char *at = text; *at != '\0'; at += n) {
		assert_true(strlen(at) >= n);
		assert_memory_equal(at, text, n);
	}
}

static inline void
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

static inline void
assert_last_ack(struct probe *p, const char *fields)
{
	struct buf text;

	buf_init(&text);
	assert_int_equal(
	    journal_last_fields(p->f.journal, EVENT_ACK, &text), 1);
	assert_string_equal(buf_text(&text), fields);
	buf_release(&text);
}

#endif
