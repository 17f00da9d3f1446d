/*
 * The verifier's readers of notes and keys, and the journal's own beside
 * them: both take the same notes and find the same sizes and roots.
 */

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#include "compliance/note.h"

#include "export/verify_note.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct view text = view_of(data, size);
	struct verify_note ours;
	struct verify_key key;
	struct note theirs;
	struct note_vkey vkey;
	const char *why = NULL;
	unsigned line = 0;
	bool taken;

	taken = verify_note_parse(text, &ours, &line, &why);
	require(taken || (why != NULL && line > 0));
	if (taken && note_parse(text, &theirs, &why)) {
		require(ours.size == theirs.size &&
		    memcmp(ours.root, theirs.root, 32) == 0 &&
		    ours.body.p == theirs.body.p &&
		    ours.body.n == theirs.body.n);
		memset(&key, 0, sizeof(key));
		memcpy(key.name, ours.origin.p, ours.origin.n);
		require(!verify_note_signed(&ours, &key, &why));
	}
	if (verify_key_parse(text, &key, &why) && note_parse_vkey(text, &vkey))
		require(view_is(vkey.name, key.name) &&
		    memcmp(vkey.public, key.public, 32) == 0);
	return 0;
}
