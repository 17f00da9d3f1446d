#include "adapters/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define PENDING_MAX ((size_t)64 << 10)
#define FILE_MODE 0640

static void
release(struct output *o)
{
	if (o->fd >= 0)
		(void)close(o->fd); /* only after an error, which counts */
	crypto_hash_free(o->hash);
	buf_release(&o->pending);
	free(o->path);
	free(o->temporary);
	*o = (struct output){.fd = -1};
}

int
output_open(struct output *o, const char *path)
{
	struct buf name;

	*o = (struct output){.fd = -1};
	buf_init(&name);
	buf_put_text(&name, path);
	buf_put_text(&name, ".part");
	buf_init(&o->pending);
	o->path = strdup(path);
	o->hash = crypto_hash_new();
	if (!name.failed)
		o->temporary = view_dup(buf_view(&name));
	buf_release(&name);
	if (o->path == NULL || o->temporary == NULL || o->hash == NULL) {
		release(o);
		errno = ENOMEM;
		return -1;
	}
	o->fd = open(o->temporary,
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
	if (o->fd < 0) {
		int error = errno;

		release(o);
		errno = error;
		return -1;
	}
	return 0;
}

static void
flush(struct output *o)
{
	size_t at = 0;

	while (!o->failed && at < o->pending.len) {
		ssize_t n =
		    write(o->fd, o->pending.data + at, o->pending.len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			o->failed = true;
			o->error = errno;
		} else {
			at += (size_t)n;
		}
	}
	crypto_hash_add(o->hash, o->pending.data, o->pending.len);
	o->bytes += o->pending.len;
	buf_clear(&o->pending);
}

void
output_put(struct output *o, const void *p, size_t n)
{
	buf_put(&o->pending, p, n);
	if (o->pending.failed) {
		o->failed = true;
		o->error = ENOMEM;
	}
	if (o->pending.len >= PENDING_MAX)
		flush(o);
}

/* fsync before rename: no crash may leave the name on missing bytes. */
static int
publish(struct output *o)
{
	int fd = o->fd;

	if (o->failed) {
		errno = o->error;
		return -1;
	}
	if (fsync(fd) != 0)
		return -1;
	o->fd = -1;
	if (close(fd) != 0 || rename(o->temporary, o->path) != 0)
		return -1;
	return file_sync_parent(o->path);
}

int
output_commit(
    struct output *o, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes)
{
	int rc, error;

	flush(o);
	crypto_hash_get(o->hash, sha256);
	*bytes = o->bytes;
	rc = publish(o);
	error = errno;
	if (rc != 0)
		output_discard(o);
	else
		release(o);
	errno = error;
	return rc;
}

void
output_discard(struct output *o)
{
	if (o->temporary == NULL)
		return;
	(void)unlink(o->temporary); /* the next attempt truncates it */
	release(o);
}

int
output_hash_file(int fd, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes)
{
	struct crypto_hash *h = crypto_hash_new();
	uint8_t chunk[PENDING_MAX];
	off_t at = 0;
	ssize_t n;

	if (h == NULL) {
		errno = ENOMEM;
		return -1;
	}
	while ((n = pread(fd, chunk, sizeof chunk, at)) > 0 ||
	    (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		crypto_hash_add(h, chunk, (size_t)n);
		at += n;
	}
	crypto_hash_get(h, sha256);
	crypto_hash_free(h);
	*bytes = (uint64_t)at;
	return n < 0 ? -1 : 0;
}
