/*
 * The verifier on a tarball archive. The first byte chooses: the input is
 * the file itself, or the contents of the bag's files, apart by lines "--",
 * packed here so that the input reaches what is behind tar and zstd.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/crypto.h"

#include "export/verify_archive.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"bag/data/proof.json",
    "bag/data/checkpoint", "bag/data/vkey", "bag/data/records.jsonl",
    "bag/data/tile/0/000.p/2", "bag/manifest-sha256.txt",
    "bag/tagmanifest-sha256.txt", "bag/bag-info.txt"};

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	return 0;
}

static void
put_file(struct archive *tar, const char *name, const uint8_t *p, size_t n)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, (la_int64_t)n);
	if (archive_write_header(tar, e) != ARCHIVE_OK ||
	    archive_write_data(tar, p, n) != (la_ssize_t)n)
		abort();
	archive_entry_free(e);
}

static void
pack(int fd, const uint8_t *data, size_t size)
{
	static const char mark[] = "\n--\n";
	struct archive *tar = archive_write_new();

	archive_write_set_format_pax_restricted(tar);
	archive_write_add_filter_zstd(tar);
	if (archive_write_open_fd(tar, fd) != ARCHIVE_OK)
		abort();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const uint8_t *end =
		    size == 0 ? NULL : memmem(data, size, mark, 4);
		size_t n = end == NULL ? size : (size_t)(end - data);

		put_file(tar, names[i], data, n);
		data += n;
		size -= n;
		if (end != NULL) {
			data += 4;
			size -= 4;
		}
	}
	if (archive_write_close(tar) != ARCHIVE_OK)
		abort();
	archive_write_free(tar);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_report *r = verify_report_new();
	struct verify_archive a;
	struct buf text;
	char path[64];
	int fd = memfd_create("bag", MFD_CLOEXEC);

	if (r == NULL || fd < 0)
		abort();
	if (size > 0 && data[0] % 2 == 0)
		pack(fd, data + 1, size - 1);
	else if (size > 1 && write(fd, data + 1, size - 1) != (ssize_t)size - 1)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	verify_archive_run(path, true, NULL, r, &a);
	if (a.holds != (verify_report_status(r) == 0))
		abort();
	verify_archive_release(&a);
	buf_init(&text);
	if (!verify_report_json(r, &text))
		abort();
	buf_release(&text);
	verify_report_free(r);
	close(fd);
	return 0;
}
