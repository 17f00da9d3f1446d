/* Proofs of any content: as a file, and as the record within a proof. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_proof.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct verify_key key;

static void
require(bool truth)
{
	if (!truth)
		abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	snprintf(key.name, sizeof(key.name), "example.test/journal/0a1b2c3d");
	return 0;
}

/* A key that signs nothing: whatever the file says does not hold. */
static void
run(struct view text)
{
	struct verify_report *r = verify_report_new();
	struct buf out;
	char path[64];
	int fd = memfd_create("proof", MFD_CLOEXEC);

	require(r != NULL && fd >= 0 &&
	    write(fd, text.p, text.n) == (ssize_t)text.n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	verify_proof_run(path, &key, r);
	require(verify_report_status(r) == 1);
	buf_init(&out);
	verify_report_text(r, &out);
	require(verify_report_json(r, &out));
	buf_release(&out);
	verify_report_free(r);
	(void)close(fd); /* memory only */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_proof proof;
	const char *why = NULL;
	unsigned line = 0;
	struct buf text;

	run(view_of(data, size));
	buf_init(&text);
	buf_put_text(&text, "c2sp.org/tlog-proof@v1\nextra ");
	text_put_base64(&text, data, size);
	buf_put_text(&text,
	    "\nindex 0\n\nexample.test/journal/0a1b2c3d\n1\n"
	    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"
	    "\xe2\x80\x94 example.test AAAAAAAA\n");
	require(verify_proof_parse(buf_view(&text), &proof, &line, &why) ||
	    why != NULL);
	verify_proof_release(&proof);
	run(buf_view(&text));
	buf_release(&text);
	return 0;
}
