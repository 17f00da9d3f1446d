/*
 * A complete adapter to start from: each batch becomes one file of JSON
 * lines in the configured directory. A repeated batch replaces its own file
 * with the same lines, so repeats do no harm.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/adapter.h"
#include "base/crypto.h"
#include "base/file.h"

struct sample {
	const char *directory;
	struct buf content;
};

static bool
configure(void *self, struct adapter *a, const struct adapter_config *c,
    struct adapter_offer *offer)
{
	struct sample *s = self;

	if (c->directory == NULL)
		return adapter_fail(a, "a directory is needed");
	s->directory = c->directory;
	offer->state = ADAPTER_STORED;
	return true;
}

static bool
begin(void *self, struct adapter *a, const struct adapter_batch *b)
{
	struct sample *s = self;

	(void)a, (void)b; /* nothing can go wrong here */
	buf_clear(&s->content);
	return true;
}

static bool
event(void *self, struct adapter *a, const struct adapter_event *e)
{
	struct sample *s = self;

	adapter_put_event(&s->content, e);
	buf_put_u8(&s->content, '\n');
	return !s->content.failed || adapter_fail(a, "out of memory");
}

/* file_replace() has synced file and folder: "stored" is then the truth. */
static bool
end(void *self, struct adapter *a, const struct adapter_batch *b,
    struct adapter_receipt *r)
{
	struct sample *s = self;
	char path[4096];
	int n;

	(void)snprintf(r->location, sizeof r->location, "%08" PRIu64 ".jsonl",
	    b->number); /* at most 26 bytes */
	n = snprintf(path, sizeof path, "%s/%s", s->directory, r->location);
	if (n < 0 || (size_t)n >= sizeof path)
		return adapter_fail(a, "the directory's name is too long");
	if (file_replace(path, buf_view(&s->content), 0640) != 0)
		return adapter_fail(a, "%s: %s", path, strerror(errno));
	crypto_sha256(s->content.data, s->content.len, r->sha256);
	r->bytes = s->content.len;
	r->hashed = true;
	return true;
}

int
main(void)
{
	static const struct adapter_ops ops = {
	    .program = "sample",
	    .configure = configure,
	    .begin = begin,
	    .event = event,
	    .end = end,
	};
	struct sample self = {.directory = NULL};
	int status = adapter_main(&ops, &self);

	buf_release(&self.content);
	return status;
}
