/* Cosignature lines and keys of witnesses, as they come from elsewhere. */

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#include "compliance/cosign.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct note_vkey key;
	struct cosign line;
	struct buf again;

	if (cosign_parse_vkey(view_of(data, n), &key)) {
		/* There is one spelling of a key. */
		buf_init(&again);
		cosign_put_vkey(&again, key.name, key.public);
		if (again.len != n || memcmp(again.data, data, n) != 0)
			abort();
		buf_release(&again);
	}
	if (cosign_parse_line(view_of(data, n), &line)) {
		memset(&key, 0, sizeof key);
		key.name = line.name;
		key.id = line.id;
		/* That of a point with small order may hold: only no harm. */
		(void)cosign_verify(&line, view_text("x\n"), &key);
	}
	return 0;
}
