/* Answers as a stranger may give them, and what is told of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"

#include "compliance/http.h"

struct probe {
	uv_loop_t loop;
	struct http *http; /* lives as long as the process */
	unsigned answers, status;
	size_t length;
	char text[256];
};

static struct probe probe;

static int
setup(void **state)
{
	(void)state;
	if (uv_loop_init(&probe.loop) != 0)
		return -1;
	probe.http = http_new(&probe.loop);
	return 0;
}

static void
on_answer(void *arg, unsigned status, struct view body)
{
	struct probe *p = arg;

	p->answers++;
	p->status = status;
	p->length = body.n;
	(void)snprintf(
	    p->text, sizeof p->text, "%.*s", (int)body.n, (const char *)body.p);
}

/* Reads the request and gives one answer with so many bytes. */
static void
serve(int fd, const char *head, size_t bytes)
{
	static char body[HTTP_BODY_MAX + 1];
	char request[4096];
	int peer = accept(fd, NULL, NULL);

	memset(body, 'x', sizeof body);
	if (peer < 0 || read(peer, request, sizeof request) <= 0)
		_exit(1);
	(void)send(peer, head, strlen(head), MSG_NOSIGNAL);
	(void)send(peer, body, bytes, MSG_NOSIGNAL); /* may be hung up on */
	/* Closed with something unread, it would be reset. */
	(void)shutdown(peer, SHUT_WR);
	while (read(peer, request, sizeof request) > 0)
		;
	(void)close(peer);
	_exit(0);
}

/* Keeps the connection, but not for a second request: that is reset. */
static void
serve_and_reset(int fd, const char *head, size_t bytes)
{
	char request[4096];
	int peer = accept(fd, NULL, NULL);

	if (peer < 0 || read(peer, request, sizeof request) <= 0)
		_exit(1);
	(void)send(peer, head, strlen(head), MSG_NOSIGNAL);
	if (recv(peer, request, 1, MSG_PEEK) != 1)
		_exit(2);
	(void)raise(SIGSTOP); /* until its sender waits for the answer */
	(void)close(peer);
	serve(fd, "HTTP/1.0 200 OK\r\n\r\n", bytes);
}

static pid_t
start(void (*server)(int fd, const char *head, size_t bytes), const char *head,
    size_t bytes, char url[64])
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)alarm(10); /* when nobody asks */
		server(fd, head, bytes);
	}
	(void)close(fd);
	(void)snprintf(url, 64, "http://127.0.0.1:%u/", ntohs(a.sin_port));
	return pid;
}

static void
post(const char *url)
{
	probe.answers = 0;
	http_post(probe.http, url, true, NULL, "text/plain", view_text("?"),
	    on_answer, &probe);
}

static void
wait_answer(void)
{
	while (probe.answers == 0)
		(void)uv_run(&probe.loop, UV_RUN_ONCE);
}

static void
end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
ask(const char *head, size_t bytes)
{
	char url[64];
	pid_t pid = start(serve, head, bytes, url);

	post(url);
	wait_answer();
	end(pid);
}

static void
the_longest_answer_and_one_more(void **state)
{
	static const char head[] = "HTTP/1.0 200 OK\r\n\r\n";

	(void)state;
	ask(head, HTTP_BODY_MAX);
	assert_int_equal(probe.status, 200);
	assert_int_equal(probe.length, HTTP_BODY_MAX);
	ask(head, HTTP_BODY_MAX + 1);
	assert_int_equal(probe.status, 0);
	assert_string_equal(
	    probe.text, "the answer is longer than 65536 bytes");
	ask("HTTP/1.0 404 Not Found\r\n\r\n", 3);
	assert_int_equal(probe.status, 404);
	assert_string_equal(probe.text, "xxx");
}

/* Then there are libcurl's words. */
static void
no_answer(void **state)
{
	(void)state;
	ask("", 0);
	assert_int_equal(probe.status, 0);
	assert_non_null(strstr(probe.text, "mpty reply"));
}

/* Who asks at the moment in which the other tires of waiting asks anew. */
static void
connection_reset(void **state)
{
	char url[64];
	pid_t pid = start(serve_and_reset,
	    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1, url);
	int status;

	(void)state;
	post(url);
	wait_answer();
	post(url);
	while (waitpid(pid, &status, WNOHANG | WUNTRACED) == 0)
		(void)uv_run(&probe.loop, UV_RUN_NOWAIT);
	assert_true(WIFSTOPPED(status));
	(void)uv_run(&probe.loop, UV_RUN_NOWAIT);
	(void)kill(pid, SIGCONT);
	wait_answer();
	assert_string_equal(probe.text, "x");
	assert_int_equal(probe.status, 200);
	end(pid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_longest_answer_and_one_more),
	    cmocka_unit_test(no_answer),
	    cmocka_unit_test(connection_reset),
	};

	log_init("test_http", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("http", tests, setup, NULL);
}
