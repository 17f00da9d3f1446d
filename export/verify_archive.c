#include "export/verify_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"

#include "export/verify_formats.h"

#define BLOCK 65536

bool
verify_hash_file(const char *path, uint8_t sha256[32], uint64_t *bytes)
{
	struct crypto_hash *h = crypto_hash_new();
	uint8_t block[BLOCK];
	ssize_t n = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;

	*bytes = 0;
	if (h == NULL)
		errno = ENOMEM;
	while (
	    h != NULL && fd >= 0 && (n = read(fd, block, sizeof(block))) > 0) {
		crypto_hash_add(h, block, (size_t)n);
		*bytes += (uint64_t)n;
	}
	error = errno;
	if (n == 0)
		crypto_hash_get(h, sha256);
	if (fd >= 0)
		(void)close(fd); /* only read */
	crypto_hash_free(h);
	errno = error;
	return n == 0;
}

static void
run(struct verify_archive *a, const char *path,
    const struct verify_trust *trust, struct verify_report *r)
{
	buf_init(&a->note);
	verify_report_begin(
	    r, path, a->bag ? "tarball archive" : "XML archive");
	a->path = strdup(path);
	if (a->path == NULL || !verify_hash_file(path, a->sha256, &a->bytes)) {
		verify_report_failure(r, "%s", strerror(errno));
		return;
	}
	if (a->bag)
		verify_bag(path, trust, r, a);
	else
		verify_xml(path, trust, r, a);
	a->holds = verify_report_findings(r) == 0;
}

void
verify_archive_run(const char *path, bool bag, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out)
{
	*out = (struct verify_archive){.bag = bag};
	run(out, path, trust, r);
}

bool
verify_archive_each(
    const struct verify_archive *a, verify_archive_cb *cb, void *arg)
{
	struct verify_archive again = {.bag = a->bag, .each = cb, .arg = arg};
	struct verify_report *r = verify_report_new();
	bool same = false;

	if (r != NULL) {
		run(&again, a->path, NULL, r);
		same = again.bytes == a->bytes &&
		    memcmp(again.sha256, a->sha256, 32) == 0 &&
		    verify_report_status(r) == 0;
	}
	verify_archive_release(&again);
	verify_report_free(r);
	return same;
}

void
verify_archive_lost(const struct verify_archive *a, struct verify_report *r)
{
	verify_report_failure(r,
	    "%s: could not be read again, or was changed meanwhile", a->path);
}

static int
by_first(const void *a, const void *b)
{
	const struct verify_archive *x =
	    *(const struct verify_archive *const *)a;
	const struct verify_archive *y =
	    *(const struct verify_archive *const *)b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last > y->last ? -1 : x->last < y->last;
}

void
verify_archive_sort(const struct verify_archive **list, size_t count)
{
	if (count > 0)
		qsort(list, count, sizeof(*list), by_first);
}

void
verify_archive_release(struct verify_archive *a)
{
	free(a->path);
	buf_release(&a->note);
	memset(a, 0, sizeof(*a));
}
