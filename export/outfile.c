#include "export/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define FLUSH_AT 65536
#define MODE 0600 /* an export holds what people wrote */

int
outfile_open(struct outfile *o, const char *path)
{
	memset(o, 0, sizeof(*o));
	buf_init(&o->pending);
	o->fd = STDOUT_FILENO;
	if (path == NULL)
		return 0;
	o->path = strdup(path);
	if (o->path == NULL || asprintf(&o->temporary, "%s.XXXXXX", path) < 0) {
		free(o->path);
		errno = ENOMEM;
		return -1;
	}
	o->fd = mkostemp(o->temporary, O_CLOEXEC);
	if (o->fd < 0 || fchmod(o->fd, MODE) != 0) {
		int error = errno;

		if (o->fd >= 0) {
			(void)close(o->fd); /* empty, and removed */
			(void)unlink(o->temporary);
		}
		free(o->path);
		free(o->temporary);
		errno = error;
		return -1;
	}
	return 0;
}

static void
flush(struct outfile *o)
{
	size_t done = 0;

	if (o->pending.failed)
		o->error = ENOMEM;
	while (o->error == 0 && done < o->pending.len) {
		ssize_t n =
		    write(o->fd, o->pending.data + done, o->pending.len - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			o->error = errno;
	}
	buf_clear(&o->pending);
}

void
outfile_put(struct outfile *o, struct view v)
{
	buf_put_view(&o->pending, v);
	if (o->pending.len >= FLUSH_AT)
		flush(o);
}

static void
release(struct outfile *o)
{
	buf_release(&o->pending);
	free(o->path);
	free(o->temporary);
	o->path = o->temporary = NULL;
	o->fd = -1;
}

void
outfile_discard(struct outfile *o)
{
	if (o->path != NULL) {
		(void)close(o->fd); /* what it holds is not wanted */
		(void)unlink(o->temporary);
	}
	release(o);
}

int
outfile_commit(struct outfile *o)
{
	flush(o);
	if (o->path != NULL && o->error == 0 &&
	    (fsync(o->fd) != 0 || rename(o->temporary, o->path) != 0))
		o->error = errno;
	if (o->error != 0) {
		int error = o->error;

		outfile_discard(o);
		errno = error;
		return -1;
	}
	if (o->path != NULL &&
	    (close(o->fd) != 0 || file_sync_parent(o->path) != 0)) {
		int error = errno;

		release(o);
		errno = error;
		return -1;
	}
	release(o);
	return 0;
}
