#include "adapters/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"

#define PENDING_MAX ((size_t)256 << 10)

struct spool {
	int fd;
	uint64_t written;   /* bytes in the file */
	struct buf pending; /* bytes after them */
	struct buf ends;    /* uint64_t: offset after each line's LF */
	struct buf line;
	struct crypto_hash *hash;
};

struct spool *
spool_new(const char *directory)
{
	struct spool *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	s->hash = crypto_hash_new();
	buf_init(&s->pending);
	buf_init(&s->ends);
	buf_init(&s->line);
	if (s->fd < 0 || s->hash == NULL) {
		int error = s->fd < 0 ? errno : ENOMEM;

		spool_free(s);
		errno = error;
		return NULL;
	}
	return s;
}

static int
flush(struct spool *s)
{
	size_t at = 0;

	crypto_hash_add(s->hash, s->pending.data, s->pending.len);
	while (at < s->pending.len) {
		ssize_t n = pwrite(s->fd, s->pending.data + at,
		    s->pending.len - at, (off_t)s->written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		at += (size_t)n;
		s->written += (uint64_t)n;
	}
	buf_clear(&s->pending);
	return 0;
}

int
spool_add(struct spool *s, const struct adapter_event *e)
{
	uint64_t end;

	adapter_put_event(&s->pending, e);
	buf_put_u8(&s->pending, '\n');
	end = s->written + s->pending.len;
	buf_put(&s->ends, &end, sizeof end);
	if (s->pending.failed || s->ends.failed) {
		errno = ENOMEM;
		return -1;
	}
	return s->pending.len < PENDING_MAX ? 0 : flush(s);
}

size_t
spool_count(const struct spool *s)
{
	return s->ends.len / sizeof(uint64_t);
}

uint64_t
spool_bytes(const struct spool *s)
{
	return s->written + s->pending.len;
}

int
spool_digest(struct spool *s, uint8_t sha256[ADAPTER_HASH_LEN])
{
	if (s->pending.len != 0 && flush(s) != 0)
		return -1;
	crypto_hash_get(s->hash, sha256);
	return 0;
}

static uint64_t
end_of(const struct spool *s, size_t i)
{
	uint64_t end;

	memcpy(&end, s->ends.data + i * sizeof end, sizeof end);
	return end;
}

int
spool_line(struct spool *s, size_t i, struct view *line)
{
	uint64_t at = i == 0 ? 0 : end_of(s, i - 1);
	size_t len = (size_t)(end_of(s, i) - at);

	if (s->pending.len != 0 && flush(s) != 0)
		return -1;
	buf_clear(&s->line);
	if (!buf_reserve(&s->line, len)) {
		errno = ENOMEM;
		return -1;
	}
	while (s->line.len < len) {
		ssize_t n = pread(s->fd, s->line.data + s->line.len,
		    len - s->line.len, (off_t)(at + s->line.len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n == 0 ? EIO : errno;
			return -1;
		}
		s->line.len += (size_t)n;
	}
	*line = view_of(s->line.data, len - 1);
	return 0;
}

int
spool_event(struct spool *s, size_t i, struct message *m)
{
	struct buf why;
	struct view line;
	bool ok;

	if (spool_line(s, i, &line) != 0)
		return -1;
	buf_init(&why);
	ok = message_parse(m, line, &why);
	buf_release(&why);
	if (!ok || m->type != MESSAGE_EVENT) {
		errno = EIO;
		return -1;
	}
	return 0;
}

void
spool_free(struct spool *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		(void)close(s->fd); /* nothing in it is kept */
	crypto_hash_free(s->hash);
	buf_release(&s->pending);
	buf_release(&s->ends);
	buf_release(&s->line);
	free(s);
}
