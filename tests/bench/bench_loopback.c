/*
 * What bare loopback TCP reaches: two processes, N connections; one side sends
 * a message of a delivery's size on each and waits until all are answered
 * with the size of a member's 200. Nothing is parsed or stored, so this is
 * the ceiling of deliveries that are sent one by one on this machine.
 * Prints lines "loopback_N exchanges-per-second 1/s".
 */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define DELIVERY_LEN 900U
#define ANSWER_LEN 350U
#define CONNECTIONS_MAX 100U
#define SECONDS 2

/* Messages have one length, so an end knows by the count where it is. */
struct end {
	int fd;
	size_t have;
};

static uint8_t scratch[64U << 10];

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int
listen_loopback(struct sockaddr_in *address)
{
	socklen_t len = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)address, sizeof *address) != 0 ||
	    listen(fd, (int)CONNECTIONS_MAX) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, &len) != 0)
		log_fatal("loopback: %s", strerror(errno));
	return fd;
}

static int
poll_all(struct end *ends, unsigned n)
{
	int poll_fd = epoll_create1(0);
	int on = 1;

	for (unsigned i = 0; i < n; i++) {
		struct epoll_event ev = {
		    .events = EPOLLIN, .data.ptr = &ends[i]};
		if (ends[i].fd < 0 ||
		    setsockopt(ends[i].fd, IPPROTO_TCP, TCP_NODELAY, &on,
			sizeof on) != 0 ||
		    epoll_ctl(poll_fd, EPOLL_CTL_ADD, ends[i].fd, &ev) != 0)
			log_fatal("loopback: %s", strerror(errno));
	}
	return poll_fd;
}

/* Whole messages that arrived since; -1 at the end of the connection. */
static int
take(struct end *e, size_t message_len)
{
	ssize_t n = recv(e->fd, scratch, sizeof scratch, 0);
	int whole;

	if (n <= 0)
		return -1;
	e->have += (size_t)n;
	whole = (int)(e->have / message_len);
	e->have %= message_len;
	return whole;
}

static void
give(const struct end *e, size_t len)
{
	if (send(e->fd, scratch, len, MSG_NOSIGNAL) != (ssize_t)len)
		log_fatal("loopback: short send");
}

/* The members' side: answers until the connections end. */
static _Noreturn void
answer(const struct sockaddr_in *address, unsigned n)
{
	struct end ends[CONNECTIONS_MAX] = {0};
	struct epoll_event ev[CONNECTIONS_MAX];

	for (unsigned i = 0; i < n; i++) {
		ends[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(ends[i].fd, (const struct sockaddr *)address,
			sizeof *address) != 0)
			_exit(1);
	}
	int poll_fd = poll_all(ends, n);
	for (;;) {
		int ready = epoll_wait(poll_fd, ev, (int)n, -1);
		for (int i = 0; i < ready; i++) {
			int whole = take(ev[i].data.ptr, DELIVERY_LEN);
			if (whole < 0)
				_exit(0);
			if (whole > 0)
				give(ev[i].data.ptr, ANSWER_LEN);
		}
	}
}

static double
exchanges(struct end *ends, unsigned n)
{
	struct epoll_event ev[CONNECTIONS_MAX];
	int poll_fd = poll_all(ends, n);
	double start = seconds(), now = start;
	uint64_t done = 0;

	while ((now = seconds()) - start < SECONDS) {
		for (unsigned i = 0; i < n; i++)
			give(&ends[i], DELIVERY_LEN);
		for (unsigned left = n; left > 0;) {
			int ready = epoll_wait(poll_fd, ev, (int)n, 1000);
			for (int i = 0; i < ready; i++) {
				int whole = take(ev[i].data.ptr, ANSWER_LEN);
				if (whole < 0)
					log_fatal("loopback: it was closed");
				left -= (unsigned)whole;
			}
		}
		done += n;
	}
	close(poll_fd);
	return (double)done / (now - start);
}

static void
measure(unsigned n)
{
	struct end ends[CONNECTIONS_MAX] = {0};
	struct sockaddr_in address;
	int listener = listen_loopback(&address);
	pid_t pid = fork();

	if (pid < 0)
		log_fatal("fork: %s", strerror(errno));
	if (pid == 0)
		answer(&address, n);
	for (unsigned i = 0; i < n; i++)
		ends[i].fd = accept(listener, NULL, NULL);
	close(listener);
	printf("loopback_%u %.0f 1/s\n", n, exchanges(ends, n));
	fflush(stdout);
	for (unsigned i = 0; i < n; i++)
		close(ends[i].fd);
	waitpid(pid, NULL, 0);
}

int
main(void)
{
	log_init("bench_loopback", LOG_LEVEL_INFO);
	measure(10);
	measure(CONNECTIONS_MAX);
	return 0;
}
