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

void
verify_archive_run(const char *path, bool bag, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out)
{
	memset(out, 0, sizeof(*out));
	buf_init(&out->note);
	verify_report_begin(r, path, bag ? "tarball archive" : "XML archive");
	out->path = strdup(path);
	if (out->path == NULL ||
	    !verify_hash_file(path, out->sha256, &out->bytes)) {
		verify_report_failure(r, "%s", strerror(errno));
		return;
	}
	if (bag)
		verify_bag(path, trust, r, out);
	else
		verify_xml(path, trust, r, out);
	out->holds = verify_report_findings(r) == 0;
}

void
verify_archive_release(struct verify_archive *a)
{
	free(a->path);
	buf_release(&a->note);
	memset(a, 0, sizeof(*a));
}
