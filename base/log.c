#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const char *log_name = "chancery";
static enum log_level log_limit = LOG_LEVEL_INFO;

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
	/* A log that cannot be written leaves nobody to tell. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
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
