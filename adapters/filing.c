#include "adapters/filing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/output.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"

#define ORIGIN_END_MAX 32
#define ADAPTER_NAME_MAX 32

static bool
is_plain_name(struct view v, size_t max)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789-_";

	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] == '\0' || strchr(allowed, v.p[i]) == NULL)
			return false;
	return v.n >= 1 && v.n <= max;
}

static struct view
origin_end(const struct adapter_config *c)
{
	const char *slash = strrchr(c->origin, '/');

	return view_text(slash == NULL ? c->origin : slash + 1);
}

bool
filing_name(const struct adapter_config *c, uint64_t at, uint64_t batch,
    struct buf *out)
{
	struct buf time;

	if (!is_plain_name(origin_end(c), ORIGIN_END_MAX) ||
	    !is_plain_name(view_text(c->adapter), ADAPTER_NAME_MAX))
		return false;
	buf_init(&time);
	text_put_time(&time, at);
	for (size_t i = 0; i < time.len; i++)
		if (time.data[i] != '-' && time.data[i] != ':')
			buf_put_u8(out, time.data[i]);
	buf_release(&time);
	buf_put_u8(out, '-');
	buf_put_view(out, origin_end(c));
	buf_printf(out, "-%s-%08" PRIu64, c->adapter, batch);
	return !out->failed;
}

bool
filing_configure(void *self, struct adapter *a, const struct adapter_config *c,
    struct adapter_offer *offer)
{
	struct filing *r = self;
	struct stat st;

	if (c->directory == NULL || c->directory[0] != '/')
		return adapter_fail(a, "an absolute directory is needed");
	if (stat(c->directory, &st) != 0)
		return adapter_fail(a, "%s: %s", c->directory, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return adapter_fail(a, "%s: is no directory", c->directory);
	if (access(c->directory, W_OK | X_OK) != 0)
		return adapter_fail(a, "%s: %s", c->directory, strerror(errno));
	if (!is_plain_name(origin_end(c), ORIGIN_END_MAX) ||
	    !is_plain_name(view_text(c->adapter), ADAPTER_NAME_MAX))
		return adapter_fail(a,
		    "origin or adapter cannot be part of a "
		    "file name");
	r->config = c;
	*offer = (struct adapter_offer){ADAPTER_STORED, .readback = true};
	return true;
}

bool
filing_begin(void *self, struct adapter *a, const struct adapter_batch *b)
{
	struct filing *r = self;

	(void)b; /* seen again in filing_end() */
	r->spool = spool_new(r->config->directory);
	return r->spool != NULL ||
	    adapter_fail(a, "%s: %s", r->config->directory, strerror(errno));
}

void
filing_abandon(void *self)
{
	struct filing *r = self;

	spool_free(r->spool);
	r->spool = NULL;
}

bool
filing_event(void *self, struct adapter *a, const struct adapter_event *e)
{
	struct filing *r = self;

	if (spool_count(r->spool) == 0)
		r->first_at = e->at;
	return spool_add(r->spool, e) == 0 ||
	    adapter_fail(a, "%s: %s", r->config->directory, strerror(errno));
}

struct digest {
	struct adapter *a;
	struct crypto_hash *hash;
	struct buf line;
};

/* Of the record alone: what it names may have grown since. */
static bool
digest_event(void *arg, const struct adapter_event *e)
{
	struct adapter_event bare = *e;
	struct digest *d = arg;

	adapter_alive(d->a);
	buf_clear(&d->line);
	bare.named = (struct named){0};
	adapter_put_event(&d->line, &bare);
	buf_put_u8(&d->line, '\n');
	crypto_hash_add(d->hash, d->line.data, d->line.len);
	return !d->line.failed;
}

/* Of the records of the open file, or of the spool. */
static bool
digest_records(struct filing *r, struct adapter *a, const int *fd,
    uint8_t out[ADAPTER_HASH_LEN])
{
	struct digest d = {.a = a, .hash = crypto_hash_new()};
	struct message m;
	struct buf why;
	bool ok;

	if (d.hash == NULL)
		return false;
	buf_init(&d.line);
	buf_init(&why);
	message_init(&m);
	ok = fd == NULL || r->format->read(*fd, digest_event, &d, &why);
	for (size_t i = 0; ok && fd == NULL && i < spool_count(r->spool); i++)
		ok = spool_event(r->spool, i, &m) == 0 &&
		    digest_event(&d, &m.event);
	crypto_hash_get(d.hash, out);
	crypto_hash_free(d.hash);
	message_release(&m);
	buf_release(&d.line);
	buf_release(&why);
	return ok;
}

static bool
same_records(struct filing *r, struct adapter *a, int fd)
{
	uint8_t want[ADAPTER_HASH_LEN], got[ADAPTER_HASH_LEN];

	return digest_records(r, a, NULL, want) &&
	    digest_records(r, a, &fd, got) &&
	    crypto_equal(want, got, sizeof got);
}

/*
 * A repeated batch: its file is kept when it holds the same events. Any
 * other content is somebody's evidence, which is never overwritten.
 */
static bool
keep(struct filing *r, struct adapter *a, int fd, const char *path,
    struct adapter_receipt *out)
{
	if (!same_records(r, a, fd))
		return adapter_fail(a,
		    "%s: exists and does not hold this batch; it stays as it "
		    "is. Next: chancery-verify tells whether it is damaged or "
		    "has other records; see chancery-adapter(7), Other records",
		    path);
	if (output_hash_file(fd, out->sha256, &out->bytes) != 0 ||
	    fsync(fd) != 0 || file_sync_parent(path) != 0)
		return adapter_fail(a, "%s: %s", path, strerror(errno));
	out->hashed = true;
	return true;
}

static bool
store(struct filing *r, struct adapter *a, const struct adapter_batch *b,
    const char *path, struct adapter_receipt *out)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool ok;

	if (fd < 0 && errno != ENOENT)
		return adapter_fail(a, "%s: %s", path, strerror(errno));
	if (fd >= 0) {
		ok = keep(r, a, fd, path, out);
		(void)close(fd); /* only read */
	} else {
		ok = r->format->write(a, r->config, b, r->spool, path, out);
		out->hashed = ok;
	}
	return ok;
}

bool
filing_end(void *self, struct adapter *a, const struct adapter_batch *b,
    struct adapter_receipt *out)
{
	struct filing *r = self;
	struct buf name;
	char *path = NULL;
	bool ok;

	buf_init(&name);
	ok = filing_name(r->config, r->first_at, b->number, &name);
	buf_put_text(&name, r->format->suffix);
	buf_put_u8(&name, '\0');
	if (ok && !name.failed && name.len <= sizeof out->location) {
		memcpy(out->location, name.data, name.len);
		path = file_join(r->config->directory, out->location);
	}
	ok = path == NULL ? adapter_fail(a, "out of memory")
			  : store(r, a, b, path, out);
	free(path);
	buf_release(&name);
	if (ok)
		filing_abandon(r);
	return ok;
}

static bool
emit_event(void *arg, const struct adapter_event *e)
{
	return adapter_emit(arg, e);
}

bool
filing_readback(void *self, struct adapter *a, const struct adapter_request *q,
    uint8_t sha256[ADAPTER_HASH_LEN])
{
	struct filing *r = self;
	char *path = NULL;
	uint64_t bytes;
	struct buf why;
	bool ok;
	int fd;

	if (strchr(q->location, '/') != NULL || q->location[0] == '.' ||
	    q->location[0] == '\0')
		return adapter_fail(a, "the location is no file name");
	path = file_join(r->config->directory, q->location);
	if (path == NULL)
		return adapter_fail(a, "out of memory");
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return adapter_fail(a, "%s: %s", q->location, strerror(errno));
	buf_init(&why);
	ok = output_hash_file(fd, sha256, &bytes) == 0 &&
	    r->format->read(fd, emit_event, a, &why);
	if (!ok)
		adapter_fail(a, "%s: %s", q->location,
		    why.len != 0 ? buf_text(&why) : "cannot be read");
	buf_release(&why);
	(void)close(fd); /* only read */
	return ok;
}
