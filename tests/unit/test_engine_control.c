#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/ipc.h"
#include "base/log.h"

#include "compliance/control.h"
#include "compliance/server_link.h"
#include "compliance/wire.h"

#define WAIT_MS 10000
#define STRANGER 61999

/* The control socket with a few commands, and a client beside it. */
struct probe {
	uv_loop_t loop;
	char dir[64];
	char path[96];
	struct control *control;
	struct control_request *held; /* of "hold" */
	unsigned commands;
};

static void
on_command(void *arg, struct control_request *r, const char *command,
    const json_t *args)
{
	struct probe *p = arg;

	p->commands++;
	if (strcmp(command, "echo") == 0) {
		control_reply(r, json_deep_copy(args));
	} else if (strcmp(command, "uid") == 0) {
		control_reply(r, json_integer(control_request_uid(r)));
	} else if (strcmp(command, "hold") == 0) {
		assert_null(p->held);
		p->held = r;
	} else if (strcmp(command, "break") == 0) {
		control_reply_failure(r, "broken");
	} else {
		control_reply_error(r, "%s: no such command", command);
	}
}

static void
probe_init(struct probe *p, uid_t owner)
{
	char why[256];
	int fd;

	memset(p, 0, sizeof *p);
	(void)snprintf(p->dir, sizeof p->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	assert_int_equal(chmod(p->dir, 0755), 0);
	(void)snprintf(p->path, sizeof p->path, "%s/control.sock", p->dir);
	assert_int_equal(uv_loop_init(&p->loop), 0);
	fd = control_bind(p->path, geteuid(), getegid(), why, sizeof why);
	if (fd < 0)
		fail_msg("%s", why);
	p->control = control_new(&p->loop, fd, owner, on_command, p);
	assert_non_null(p->control);
}

static void
probe_end(struct probe *p)
{
	control_free(p->control);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p->loop), 0);
	assert_int_equal(unlink(p->path), 0);
	assert_int_equal(rmdir(p->dir), 0);
}

static int
connect_client(const struct probe *p)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, p->path, strlen(p->path) + 1);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void
send_text(int fd, const char *text)
{
	assert_int_equal(
	    send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until so many lines, or the end (NULL), arrived. */
static const char *
receive(struct probe *p, int fd, unsigned lines)
{
	static char text[65536];
	size_t n = 0;

	for (int i = 0; i < WAIT_MS; i++) {
		ssize_t got;

		uv_run(&p->loop, UV_RUN_NOWAIT);
		got = recv(fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return NULL;
		if (got > 0) {
			unsigned seen = 0;

			n += (size_t)got;
			text[n] = '\0';
			for (size_t at = 0; at < n; at++)
				seen += text[at] == '\n';
			assert_true(seen <= lines);
			if (seen == lines)
				return text;
		} else {
			(void)usleep(1000);
		}
	}
	fail_msg("no answer");
	return NULL;
}

static void
test_many_requests(void **state)
{
	struct probe p;
	int fd;

	(void)state;
	probe_init(&p, geteuid());
	fd = connect_client(&p);
	send_text(fd,
	    "{\"cmd\":\"echo\",\"args\":{\"a\":[1,\"\xc3\xa4\"]}}\n"
	    "{\"cmd\":\"echo\"}\n"
	    "{\"cmd\":\"break\"}\n"
	    "{\"cmd\":\"dance\"}\n");
	assert_string_equal(receive(&p, fd, 4),
	    "{\"ok\":true,\"result\":{\"a\":[1,\"\xc3\xa4\"]}}\n"
	    "{\"ok\":true,\"result\":{}}\n"
	    "{\"ok\":false,\"system\":true,\"error\":\"broken\"}\n"
	    "{\"ok\":false,\"error\":\"dance: no such command\"}\n");
	(void)close(fd);
	probe_end(&p);
}

static void
test_nonsense(void **state)
{
	static const char *const nonsense[][2] = {
	    {"\n", "not one JSON object on a line"},
	    {"hello\n", "not one JSON object on a line"},
	    {"[]\n", "not one JSON object on a line"},
	    {"{}\n", "cmd: must be a string"},
	    {"{\"cmd\":7}\n", "cmd: must be a string"},
	    {"{\"cmd\":\"echo\",\"args\":[]}\n", "args: must be an object"},
	    {"{\"cmd\":\"\xff\"}\n", "not one JSON object on a line"},
	    {"{\"cmd\":\"a\",\"cmd\":\"b\"}\n",
		"not one JSON object on a line"},
	};
	struct probe p;
	int fd;

	(void)state;
	probe_init(&p, geteuid());
	fd = connect_client(&p);
	for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
		const char *reply;

		send_text(fd, nonsense[i][0]);
		reply = receive(&p, fd, 1);
		assert_non_null(reply);
		assert_non_null(strstr(reply, "\"ok\":false"));
		if (strstr(reply, nonsense[i][1]) == NULL)
			fail_msg("%s: %s", nonsense[i][0], reply);
	}
	assert_int_equal(p.commands, 0);
	(void)close(fd);
	probe_end(&p);
}

/* Requests wait for the answer to the one before, and come in order. */
static void
test_one_at_a_time(void **state)
{
	struct probe p;
	int fd;

	(void)state;
	probe_init(&p, geteuid());
	fd = connect_client(&p);
	send_text(fd, "{\"cmd\":\"hold\"}\n{\"cmd\":\"uid\"}\n");
	for (int i = 0; i < 50; i++) {
		uv_run(&p.loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
	assert_non_null(p.held);
	assert_int_equal(p.commands, 1);
	control_reply(p.held, json_true());
	assert_non_null(strstr(
	    receive(&p, fd, 2), "{\"ok\":true,\"result\":true}\n{\"ok\""));
	assert_int_equal(p.commands, 2);
	(void)close(fd);
	probe_end(&p);
}

/* Who asked may be gone when the answer comes. */
static void
test_answer_to_nobody(void **state)
{
	struct probe p;
	int fd;

	(void)state;
	probe_init(&p, geteuid());
	fd = connect_client(&p);
	send_text(fd, "{\"cmd\":\"hold\"}\n");
	while (p.held == NULL)
		uv_run(&p.loop, UV_RUN_ONCE);
	(void)close(fd);
	control_reply(p.held, json_true());
	p.held = NULL;
	fd = connect_client(&p);
	send_text(fd, "{\"cmd\":\"hold\"}\n");
	while (p.held == NULL)
		uv_run(&p.loop, UV_RUN_ONCE);
	control_free(p.control);
	control_reply_error(p.held, "too late");
	uv_run(&p.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p.loop), 0);
	(void)close(fd);
	assert_int_equal(unlink(p.path), 0);
	assert_int_equal(rmdir(p.dir), 0);
}

static void
test_longest_line_and_one_more(void **state)
{
	const char head[] = "{\"cmd\":\"dance\",\"args\":{\"x\":\"";
	const char tail[] = "\"}}";
	size_t fill = CONTROL_LINE_MAX - strlen(head) - strlen(tail);
	char *line = malloc(CONTROL_LINE_MAX + 3);

	(void)state;
	assert_non_null(line);
	for (size_t more = 0; more <= 1; more++) {
		size_t n = (size_t)snprintf(line, CONTROL_LINE_MAX, "%s", head);
		const char *reply;
		struct probe p;
		size_t sent = 0;
		int fd;

		memset(line + n, 'x', fill + more);
		n += fill + more;
		n += (size_t)snprintf(line + n, sizeof tail + 1, "%s\n", tail);
		assert_int_equal(n, CONTROL_LINE_MAX + 1 + more);
		probe_init(&p, geteuid());
		fd = connect_client(&p);
		while (sent < n) {
			ssize_t got = send(fd, line + sent, n - sent,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

			if (got < 0 && errno != EAGAIN)
				break;
			sent += got > 0 ? (size_t)got : 0;
			uv_run(&p.loop, UV_RUN_NOWAIT);
		}
		reply = receive(&p, fd, 1);
		if (more == 0)
			assert_non_null(strstr(reply, "no such command"));
		else
			assert_null(reply);
		(void)close(fd);
		probe_end(&p);
	}
	free(line);
}

static void
test_connections_are_bounded(void **state)
{
	int fds[CONTROL_CONNECTIONS_MAX + 1];
	struct probe p;

	(void)state;
	probe_init(&p, geteuid());
	for (size_t i = 0; i <= CONTROL_CONNECTIONS_MAX; i++) {
		fds[i] = connect_client(&p);
		send_text(fds[i], "{\"cmd\":\"echo\"}\n");
		if (i < CONTROL_CONNECTIONS_MAX)
			assert_non_null(receive(&p, fds[i], 1));
		else
			assert_null(receive(&p, fds[i], 1));
	}
	for (size_t i = 0; i <= CONTROL_CONNECTIONS_MAX; i++)
		(void)close(fds[i]);
	probe_end(&p);
}

/* A process of another user; its exit tells whether it got an answer. */
static pid_t
ask_as(const struct probe *p, uid_t uid)
{
	pid_t pid = fork();
	char c;
	int fd;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (setresuid(uid, uid, uid) != 0)
		_exit(9);
	fd = connect_client(p);
	send_text(fd, "{\"cmd\":\"uid\"}\n");
	_exit(recv(fd, &c, 1, 0) == 1 ? 1 : 0);
}

static int
answer_to(struct probe *p, uid_t uid)
{
	pid_t pid = ask_as(p, uid);
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		uv_run(&p->loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
test_owner_root_and_strangers(void **state)
{
	struct probe p;

	(void)state;
	if (geteuid() != 0) {
		skip(); /* only root can play others */
		return;
	}
	probe_init(&p, STRANGER);
	/* The kernel's check set aside: ours must hold alone. */
	assert_int_equal(chmod(p.path, 0666), 0);
	assert_int_equal(answer_to(&p, STRANGER), 1);
	assert_int_equal(answer_to(&p, 0), 1);
	assert_int_equal(answer_to(&p, STRANGER - 1), 0);
	assert_int_equal(p.commands, 2);
	probe_end(&p);
}

/* Who keeps on knocking fills no log: one line, and a number at the end. */
static void
test_refusals_are_counted(void **state)
{
	char text[4096], *line;
	struct probe p;
	int out[2], kept, fds[CONTROL_CONNECTIONS_MAX + 100];
	ssize_t n;

	(void)state;
	probe_init(&p, geteuid());
	assert_int_equal(pipe(out), 0);
	kept = dup(STDERR_FILENO);
	log_init("test_engine_control", LOG_LEVEL_WARN);
	assert_int_equal(dup2(out[1], STDERR_FILENO), STDERR_FILENO);
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
		fds[i] = connect_client(&p);
		uv_run(&p.loop, UV_RUN_NOWAIT);
	}
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		(void)close(fds[i]);
	probe_end(&p);
	assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	log_init("test_engine_control", LOG_LEVEL_ERROR);
	(void)close(kept);
	(void)close(out[1]);
	n = read(out[0], text, sizeof text - 1);
	assert_true(n > 0);
	text[n] = '\0';
	(void)close(out[0]);
	line = strchr(text, '\n');
	assert_non_null(line);
	*line = '\0';
	assert_non_null(strstr(text, "too many connections"));
	assert_non_null(strstr(line + 1, " 99 more connections refused"));
	assert_int_equal(strchr(line + 1, '\n')[1], '\0');
}

static void
test_bind(void **state)
{
	char why[256], name[200];
	struct stat st;
	struct probe p;
	int fd;

	(void)state;
	probe_init(&p, geteuid());
	assert_int_equal(stat(p.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A stale socket is replaced; another's name is too long. */
	fd = control_bind(p.path, geteuid(), getegid(), why, sizeof why);
	assert_true(fd >= 0);
	(void)close(fd);
	memset(name, 'x', sizeof name - 1);
	name[0] = '/';
	name[sizeof name - 1] = '\0';
	assert_int_equal(
	    control_bind(name, geteuid(), getegid(), why, sizeof why), -1);
	assert_non_null(strstr(why, "longer than the 107 bytes"));
	probe_end(&p);
}

/* ---- the link to the server ---- */

struct server_probe {
	uint64_t wait_ms;
	uv_loop_t loop;
	struct server_link *link;
	struct ipc *end; /* the server's side */
	uint64_t refs[8];
	unsigned requests, replies;
	char text[256];
	char why[256];
};

static void
on_server_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct server_probe *p = arg;
	struct reader r = reader_of(payload);

	assert_int_equal(type, WIRE_JSON);
	assert_int_equal(fd, -1);
	p->refs[p->requests++] = reader_u64(&r);
	assert_true(view_is(reader_rest(&r), "{\"q\":1}"));
}

static void
on_server_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

static void
on_server_reply(void *arg, struct view reply, const char *why)
{
	struct server_probe *p = arg;

	p->replies++;
	(void)snprintf(p->text, sizeof p->text, "%.*s", (int)reply.n,
	    (const char *)reply.p);
	(void)snprintf(p->why, sizeof p->why, "%s", why != NULL ? why : "");
}

static void
link_server(struct server_probe *p)
{
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ipc_free(p->end);
	p->end =
	    ipc_new(&p->loop, pair[1], on_server_frame, on_server_closed, p);
	server_link_attach(p->link, pair[0]);
}

static void
turn_until(struct server_probe *p, const unsigned *count, unsigned value)
{
	while (*count < value)
		uv_run(&p->loop, UV_RUN_ONCE);
}

static void
reply(struct server_probe *p, uint64_t ref, const char *text)
{
	struct buf *b = ipc_begin(p->end, WIRE_JSON);

	buf_put_u64(b, ref);
	buf_put_text(b, text);
	ipc_end(p->end);
}

static void
ask(struct server_probe *p)
{
	server_link_ask(
	    p->link, view_text("{\"q\":1}"), p->wait_ms, on_server_reply, p);
}

static void
test_server_link(void **state)
{
	struct server_probe p;

	(void)state;
	memset(&p, 0, sizeof p);
	p.wait_ms = 100;
	assert_int_equal(uv_loop_init(&p.loop), 0);
	p.link = server_link_new(&p.loop);
	ask(&p);
	assert_int_equal(p.replies, 1);
	assert_string_equal(p.why, "the server is not running");
	link_server(&p);
	/* Two at once, answered the other way round. */
	ask(&p);
	ask(&p);
	turn_until(&p, &p.requests, 2);
	reply(&p, p.refs[1], "second");
	turn_until(&p, &p.replies, 2);
	assert_string_equal(p.text, "second");
	reply(&p, p.refs[0], "first");
	turn_until(&p, &p.replies, 3);
	assert_string_equal(p.text, "first");
	assert_string_equal(p.why, "");
	/* No answer in time; the late one is for nobody. */
	ask(&p);
	turn_until(&p, &p.replies, 4);
	assert_string_equal(p.why, "the server does not answer");
	reply(&p, p.refs[2], "late");
	/* The server dies with a request. */
	ask(&p);
	turn_until(&p, &p.requests, 4);
	assert_int_equal(p.replies, 4);
	link_server(&p);
	turn_until(&p, &p.replies, 5);
	assert_non_null(strstr(p.why, "started again"));
	ask(&p);
	turn_until(&p, &p.requests, 5);
	reply(&p, p.refs[4], "well again");
	turn_until(&p, &p.replies, 6);
	assert_string_equal(p.text, "well again");
	/* Who waits for less is told before. */
	p.wait_ms = 60000;
	ask(&p);
	p.wait_ms = 50;
	ask(&p);
	turn_until(&p, &p.replies, 7);
	assert_string_equal(p.why, "the server does not answer");
	reply(&p, p.refs[5], "the other");
	turn_until(&p, &p.replies, 8);
	assert_string_equal(p.text, "the other");
	/* A malformed frame ends the link. */
	ask(&p);
	ipc_send(p.end, WIRE_RECEIPT, view_text("12345678"));
	turn_until(&p, &p.replies, 9);
	assert_non_null(strstr(p.why, "malformed"));
	assert_false(server_link_up(p.link));
	server_link_free(p.link);
	ipc_free(p.end);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p.loop), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_many_requests),
	    cmocka_unit_test(test_nonsense),
	    cmocka_unit_test(test_one_at_a_time),
	    cmocka_unit_test(test_answer_to_nobody),
	    cmocka_unit_test(test_longest_line_and_one_more),
	    cmocka_unit_test(test_connections_are_bounded),
	    cmocka_unit_test(test_owner_root_and_strangers),
	    cmocka_unit_test(test_refusals_are_counted),
	    cmocka_unit_test(test_bind),
	    cmocka_unit_test(test_server_link),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test_engine_control", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("engine_control", tests, NULL, NULL);
}
