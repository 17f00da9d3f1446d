#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const char *log_name = "chancery";
static enum log_level log_limit = LOG_LEVEL_INFO;

/* How a line gets out. */
static enum {
	OUT_WAITING,     /* a program at somebody's terminal, or a file */
	OUT_NONBLOCKING, /* our own description of the same pipe */
	OUT_POLLED,      /* nearly never waits: others may be faster */
	OUT_SOCKET
} log_out = OUT_WAITING;
static int log_fd = STDERR_FILENO;
static unsigned long log_lost; /* lines that found no room */

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

void
log_init(const char *name, enum log_level level)
{
	log_name = name;
	log_limit = level;
}

void
log_never_wait(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) != 0 || S_ISREG(st.st_mode))
		return;
	log_out = S_ISSOCK(st.st_mode) ? OUT_SOCKET : OUT_POLLED;
	if (!S_ISFIFO(st.st_mode))
		return;
	/* The flag of the shared description would be everybody's. */
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	log_fd = fd;
	log_out = OUT_NONBLOCKING;
}

static bool
put(const char *line, size_t n)
{
	struct pollfd p = {.fd = log_fd, .events = POLLOUT};

	if (log_out == OUT_SOCKET)
		return send(log_fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	/* A pipe that is ready has room for a line of this length. */
	if (log_out == OUT_POLLED &&
	    (poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0))
		return false;
	return write(log_fd, line, n) >= 0;
}

static bool
tell_lost(void)
{
	char line[128];
	int n;

	if (log_lost == 0)
		return true;
	n = snprintf(line, sizeof line,
	    "%s: warning: %lu lines before this one were not taken from us\n",
	    log_name, log_lost);
	if (n < 0 || (size_t)n >= sizeof line || !put(line, (size_t)n))
		return false;
	log_lost = 0;
	return true;
}

/*
 * One write a line, so that lines of several processes never mix. Control
 * characters become '?', so that no peer writes lines of its own.
 */
static void
write_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	int head, body;
	size_t n;

	if (level > log_limit)
		return;
	head = snprintf(
	    line, sizeof line, "%s: %s: ", log_name, level_names[level]);
	if (head < 0 || (size_t)head >= sizeof line)
		return;
	body = vsnprintf(line + head, sizeof line - (size_t)head, fmt, ap);
	if (body < 0)
		return;
	n = (size_t)head + (size_t)body;
	if (n > sizeof line - 2)
		n = sizeof line - 2;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (!tell_lost() || !put(line, n))
		log_lost++;
}

#define LOG_FUNCTION(name, level)                                              \
	void name(const char *fmt, ...)                                        \
	{                                                                      \
		va_list ap;                                                    \
		va_start(ap, fmt);                                             \
		write_line(level, fmt, ap);                                    \
		va_end(ap);                                                    \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

void
log_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(LOG_LEVEL_ERROR, fmt, ap);
	va_end(ap);
	exit(3);
}
