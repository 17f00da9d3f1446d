/* The verifier on an XML archive of any content. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crypto.h"

#include "export/verify_archive.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_report *r = verify_report_new();
	struct verify_archive a;
	struct buf text;
	char path[64];
	int fd = memfd_create("xml", MFD_CLOEXEC);

	if (r == NULL || fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	verify_archive_run(path, false, NULL, r, &a);

	if (a.holds != (verify_report_status(r) == 0))
		abort();
	verify_archive_release(&a);
	buf_init(&text);
	verify_report_text(r, &text);
	if (!verify_report_json(r, &text))
		abort();
	buf_release(&text);
	verify_report_free(r);
	close(fd);
	return 0;
}
