/*
 * The verifier's reader of leaves, and the journal's own beside it: what one
 * takes the other takes, and both read the same out of it.
 */

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#include "compliance/leaf.h"

#include "export/verify_leaf.h"

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
	static struct verify_leaf ours;
	struct leaf theirs;
	const char *why = NULL, *other_why = NULL;
	unsigned line = 0;
	struct view text = view_of(data, size);
	bool a, b;

	a = verify_leaf_parse(text, &ours, &line, &why);
	b = leaf_parse(text, &theirs, &other_why);
	require(a || (why != NULL && line > 0));
	if (a && b)
		require(ours.seq == theirs.head.seq &&
		    ours.kind == theirs.head.kind &&
		    ours.at == theirs.head.at &&
		    ours.flags == theirs.head.flags &&
		    ours.parts == theirs.parts &&
		    memcmp(ours.commitment, theirs.commitment,
			(size_t)theirs.parts * 32) == 0);
	if (a && !b)
		require(ours.parts > LEAF_PARTS_MAX || size > LEAF_FIELDS_MAX);
	/* Of control records ours asks for the fields of the kind, too. */
	if (b && !a && theirs.head.kind < VERIFY_KIND_CONTROL)
		require(theirs.head.seq > INT64_MAX / 256);
	return 0;
}
