#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * Operational log: one line a message on stderr, `name: level: message`.
 * Never message text of users, never secrets.
 */

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/* name is kept, not copied: a role's name or a program's. */
void log_init(const char *name, enum log_level level);
/*
 * From now on a line for which standard error has no room is dropped, and
 * counted in the next one that gets out.
 */
void log_never_wait(void);
/* A person must act. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Degraded. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Life cycle. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What only matters when something is looked for; off without -d. */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The environment is broken: logs and exits with status 3. */
_Noreturn void log_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

#endif
