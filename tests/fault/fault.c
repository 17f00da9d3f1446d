/*
 * Loaded into a daemon by LD_PRELOAD: makes one call of one role fail, once.
 *
 *   CHANCERY_FAULT=ROLE:CALL:N:FILE
 *   CHANCERY_FAULT=ROLE:alloc:N@PATH:FILE
 *
 * CALL is write, sync, rename or alloc; writes count on regular files only.
 * With PATH only allocations by that path count. When the N-th one of a
 * process has failed, FILE is made, and no process fails anything any more.
 * With N 0 nothing fails, and when the process ends in good order it appends
 * a line `PATH NUMBER` to FILE for each path (0 when it is not an allocation).
 *
 * A path is the program's own calls, all of them, and the INNER innermost
 * ones, which are a library's when it is a library that wants memory. What
 * lies between is the library's affair. Offsets in their files stand for
 * calls, so that a path is the same one in each process.
 */

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { NONE, WRITE, SYNC, RENAME, ALLOC };

#define INNER 3
#define DEPTH 128
#define PATHS 16384 /* many times what a role has */

struct path {
	uint64_t id; /* 0: free */
	long count;
};

static enum call wanted;
static long nth, seen;
static uint64_t wanted_path; /* 0: all */
static char marker[256];
static struct path paths[PATHS];

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

	void *warm[DEPTH];
	char *at;

	if (c == NULL || !is_role(text, (size_t)(a - text)))
		return;
	(void)backtrace(warm, DEPTH); /* the first one allocates */
	(void)snprintf(marker, sizeof marker, "%s", c + 1);
	nth = strtol(b + 1, &at, 10);
	if (*at == '@')
		wanted_path = strtoull(at + 1, NULL, 16);
	if (nth == 0 || access(marker, F_OK) != 0)
		wanted = call_of(a + 1, (size_t)(b - a - 1));
}

static void __attribute__((destructor)) end(void)
{
	char text[64];
	int fd, n;

	if (wanted == NONE || nth != 0)
		return;
	wanted = NONE;
	fd = open(marker, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0666);
	for (size_t i = 0; fd >= 0 && i < PATHS; i++) {
		if (paths[i].count == 0)
			continue;
		n = snprintf(text, sizeof text, "%llx %ld\n",
		    (unsigned long long)paths[i].id, paths[i].count);
		(void)!syscall(SYS_write, fd, text, (size_t)n);
	}
}

static uint64_t
mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * 1099511628211U;
}

static uint64_t __attribute__((noinline)) path_of_caller(void)
{
	static bool within; /* what finds the path may allocate */
	void *frame[DEPTH];
	uint64_t id = 14695981039346656037U;
	int n;

	if (within)
		return 0;
	within = true;
	n = backtrace(frame, DEPTH);
	/* The first three are in here. */
	for (int i = 3; i < n; i++) {
		struct dl_find_object in;

		if (_dl_find_object(frame[i], &in) == 0 &&
		    (i < 3 + INNER || in.dlfo_link_map->l_name[0] == '\0'))
			id = mix(
			    id, (uintptr_t)frame[i] - in.dlfo_link_map->l_addr);
	}
	within = false;
	return id;
}

static void
count(uint64_t id)
{
	size_t i = id % PATHS;

	while (paths[i].count != 0 && paths[i].id != id)
		i = (i + 1) % PATHS;
	paths[i].id = id;
	paths[i].count++;
}

/* For who looks into a failure: the calls that led here, in FILE. */
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
static bool __attribute__((noinline)) fails(enum call c)
{
	uint64_t id;

	if (c != wanted)
		return false;
	if (nth == 0 || wanted_path != 0) {
		id = c == ALLOC ? path_of_caller() : 0;
		if (nth == 0)
			count(id);
		if (id != wanted_path)
			return false;
	}
	if (++seen != nth)
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
