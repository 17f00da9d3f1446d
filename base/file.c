#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *
file_join(const char *base, const char *name)
{
	char *path;

	if (name[0] == '/')
		return strdup(name);
	if (asprintf(&path, "%s/%s", base, name) < 0)
		return NULL;
	return path;
}

char *
file_parent(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return strdup(".");
	if (slash == path)
		return strdup("/");
	return strndup(path, (size_t)(slash - path));
}

int
file_sync_parent(const char *path)
{
	char *parent = file_parent(path);
	int fd, result;

	if (parent == NULL)
		return -1;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(parent);
	if (fd < 0)
		return -1;
	result = fsync(fd);
	(void)close(fd); /* nothing was written through it */
	return result;
}

static int
write_all(int fd, struct view content)
{
	while (content.n > 0) {
		ssize_t n = write(fd, content.p, content.n);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		content.p += n;
		content.n -= (size_t)n;
	}
	return 0;
}

/* A complete, synced temporary file beside path; its name, or NULL. */
static char *
write_temporary(const char *path, struct view content, mode_t mode)
{
	char *name;
	int fd, failed, saved;

	if (asprintf(&name, "%s.XXXXXX", path) < 0)
		return NULL;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0) {
		free(name);
		return NULL;
	}
	failed = write_all(fd, content) != 0 || fchmod(fd, mode) != 0 ||
	    fsync(fd) != 0;
	saved = errno;
	if (close(fd) != 0 && !failed) {
		failed = 1;
		saved = errno;
	}
	if (!failed)
		return name;
	(void)unlink(name); /* the failure above is the one to report */
	free(name);
	errno = saved;
	return NULL;
}

static int
put_file(
    const char *path, struct view content, mode_t mode, unsigned rename_flags)
{
	char *temporary = write_temporary(path, content, mode);
	int result, saved;

	if (temporary == NULL)
		return -1;
	result = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, rename_flags);
	if (result != 0) {
		saved = errno;
		(void)unlink(temporary); /* the rename's failure counts */
		errno = saved;
	}
	free(temporary);
	if (result == 0 && file_sync_parent(path) != 0) {
		saved = errno;
		if (rename_flags == RENAME_NOREPLACE)
			(void)unlink(path); /* else a second try would fail */
		errno = saved;
		result = -1;
	}
	return result;
}

int
file_replace(const char *path, struct view content, mode_t mode)
{
	return put_file(path, content, mode, 0);
}

int
file_create(const char *path, struct view content, mode_t mode)
{
	return put_file(path, content, mode, RENAME_NOREPLACE);
}

int
file_read_fd(int fd, size_t max, struct buf *out)
{
	size_t before = out->len;

	for (;;) {
		ssize_t n;

		if (!buf_reserve(out, 16384)) {
			errno = ENOMEM;
			return -1;
		}
		n = read(fd, out->data + out->len, 16384);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		if (out->len - before > max) {
			errno = EFBIG;
			return -1;
		}
	}
}

int
file_read(const char *path, size_t max, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result, saved;

	if (fd < 0)
		return -1;
	result = file_read_fd(fd, max, out);
	saved = errno;
	(void)close(fd); /* only read from */
	errno = saved;
	return result;
}

int
file_make_dirs(const char *path, mode_t mode)
{
	char *copy = strdup(path);
	int result = 0;

	if (copy == NULL)
		return -1;
	for (char *p = copy + 1; result == 0; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) != 0 && errno != EEXIST)
			result = -1;
		*p = c;
		if (c == '\0')
			break;
	}
	free(copy);
	return result;
}
