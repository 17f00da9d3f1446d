/*
 * Loaded into a daemon by LD_PRELOAD: makes one call of one role fail, once.
 *
 *   CHANCERY_FAULT=ROLE:CALL:N:FILE
 *
 * CALL is write, sync, rename or alloc; writes count on regular files only.
 * When the N-th one of a process has failed, FILE is made (with the calls that
 * led there, for who looks into a failure), and no process fails anything any
 * more. With N 0 nothing fails, and a process that ends in good order appends
 * a line with its number of calls to FILE.
 */

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { NONE, WRITE, SYNC, RENAME, ALLOC };

#define DEPTH 128

static enum call wanted;
static long nth;
static _Atomic long seen; /* threads, too */
static char marker[256];

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

/* The role's name, as the parent gave it on the command line. */
static bool
is_role(const char *role, size_t len)
{
	char line[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
	bool follows = false;

	if (fd >= 0)
		(void)close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	for (char *w = line; w < line + n; w += strlen(w) + 1) {
		if (follows)
			return strlen(w) == len && memcmp(w, role, len) == 0;
		follows = strcmp(w, "-R") == 0;
	}
	return false;
}

static enum call
call_of(const char *name, size_t len)
{
	static const char *const names[] = {[WRITE] = "write",
	    [SYNC] = "sync",
	    [RENAME] = "rename",
	    [ALLOC] = "alloc"};

	for (size_t i = WRITE; i <= ALLOC; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return (enum call)i;
	return NONE;
}

static void __attribute__((constructor)) begin(void)
{
	const char *text = getenv("CHANCERY_FAULT");
	const char *a = text == NULL ? NULL : strchr(text, ':');
	const char *b = a == NULL ? NULL : strchr(a + 1, ':');
	const char *c = b == NULL ? NULL : strchr(b + 1, ':');
	void *warm[1];

	if (c == NULL || !is_role(text, (size_t)(a - text)))
		return;
	(void)backtrace(warm, 1); /* the first one allocates */
	(void)snprintf(marker, sizeof marker, "%s", c + 1);
	nth = strtol(b + 1, NULL, 10);
	if (nth == 0 || access(marker, F_OK) != 0)
		wanted = call_of(a + 1, (size_t)(b - a - 1));
}

static void __attribute__((destructor)) end(void)
{
	char text[32];
	int fd, n;

	if (wanted == NONE || nth != 0)
		return;
	wanted = NONE;
	n = snprintf(text, sizeof text, "%ld\n", (long)seen);
	fd = open(marker, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0666);
	if (fd >= 0)
		(void)!syscall(SYS_write, fd, text, (size_t)n);
}

static void
tell_where(void)
{
	int fd = open(marker, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	void *frame[DEPTH];

	if (fd >= 0)
		backtrace_symbols_fd(frame, backtrace(frame, DEPTH), fd);
	(void)syscall(SYS_close, fd);
}

/* Whether this call is the one that fails. */
static bool
fails(enum call c)
{
	if (c != wanted || ++seen != nth)
		return false;
	wanted = NONE;
	tell_where();
	return true;
}

static bool
write_fails(int fd)
{
	struct stat st;

	return wanted == WRITE && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    fails(WRITE);
}

static int
refuse(int error)
{
	errno = error;
	return -1;
}

ssize_t
write(int fd, const void *p, size_t n)
{
	return write_fails(fd) ? refuse(ENOSPC) : syscall(SYS_write, fd, p, n);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	return write_fails(fd) ? refuse(ENOSPC)
			       : syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	return pwrite(fd, p, n, at);
}

int
fsync(int fd)
{
	return fails(SYNC) ? refuse(EIO) : (int)syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return fails(SYNC) ? refuse(EIO) : (int)syscall(SYS_fdatasync, fd);
}

int
rename(const char *from, const char *to)
{
	return fails(RENAME) ? refuse(EIO) : (int)syscall(SYS_rename, from, to);
}

int
renameat2(
    int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return fails(RENAME)
	    ? refuse(EIO)
	    : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

void *
malloc(size_t n)
{
	if (fails(ALLOC)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(n);
}

void *
calloc(size_t count, size_t n)
{
	if (fails(ALLOC)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_calloc(count, n);
}

void *
realloc(void *p, size_t n)
{
	if (fails(ALLOC)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, n);
}
