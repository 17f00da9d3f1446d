/* Commands of the control socket to the engine itself. */

#include "tests/unit/engine_fixture.h"

#include <sys/un.h>

#include "compliance/engine_state.h"

/* The engine with what the commands here need, and an administrator. */
struct probe {
	struct fixture f;
	struct conf conf;
	struct engine e;
	char path[108];
	int fd;
};

static void
probe_init(struct probe *p)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char why[256];
	int fd;

	memset(p, 0, sizeof *p);
	fixture_init(&p->f);
	fixture_control(
	    &p->f, EVENT_POLICY, "required -\nafter 0\n" POLICY_REST);
	fixture_posts(&p->f, 5, 10);
	p->conf.purge_after_s = -1;
	p->e.conf = &p->conf;
	p->e.journal = p->f.journal_path;
	assert_int_equal(uv_loop_init(&p->e.loop), 0);
	p->e.ledger = ledger_open(p->f.journal_path, why, sizeof why);
	assert_non_null(p->e.ledger);
	(void)snprintf(p->path, sizeof p->path, "%s/control", p->f.dir);
	fd = control_bind(p->path, geteuid(), getegid(), why, sizeof why);
	assert_true(fd >= 0);
	p->e.control =
	    control_new(&p->e.loop, fd, geteuid(), command_run, &p->e);
	assert_non_null(p->e.control);
	memcpy(a.sun_path, p->path, sizeof a.sun_path);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
	    connect(p->fd, (const struct sockaddr *)&a, sizeof a), 0);
}

static void
probe_end(struct probe *p)
{
	(void)close(p->fd);
	control_free(p->e.control);
	ledger_close(p->e.ledger);
	(void)uv_run(&p->e.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p->e.loop), 0);
	fixture_end(&p->f);
}

/* The answer, one line. */
static const char *
ask(struct probe *p, const char *line)
{
	static char text[4096];
	size_t n = 0;

	assert_int_equal(
	    send(p->fd, line, strlen(line), 0), (ssize_t)strlen(line));
	while (n == 0 || text[n - 1] != '\n') {
		ssize_t got;

		(void)uv_run(&p->e.loop, UV_RUN_ONCE);
		got = recv(p->fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT);
		assert_true(got != 0);
		if (got > 0)
			n += (size_t)got;
	}
	text[n] = '\0';
	return text;
}

/* Each reads the journal with files of its own: so many at a time, no more. */
static void
test_no_more_dry_runs_than_fit(void **state)
{
	struct probe p;

	(void)state;
	probe_init(&p);
	p.e.surveys = 3; /* of others, that are under way */
	assert_non_null(
	    strstr(ask(&p, "{\"cmd\":\"purge.dry-run\"}\n"), "\"stays\":["));
	assert_int_equal(p.e.surveys, 3);
	p.e.surveys = 4;
	assert_string_equal(ask(&p, "{\"cmd\":\"purge.dry-run\"}\n"),
	    "{\"ok\":false,\"error\":\"4 dry runs are under way: try "
	    "later\"}\n");
	assert_int_equal(p.e.surveys, 4);
	p.e.surveys = 0;
	assert_non_null(
	    strstr(ask(&p, "{\"cmd\":\"purge.dry-run\"}\n"), "\"stays\":["));
	probe_end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_no_more_dry_runs_than_fit),
	};

	crypto_init();
	return cmocka_run_group_tests_name(
	    "engine commands", tests, NULL, NULL);
}
