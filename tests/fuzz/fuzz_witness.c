/*
 * Bodies of requests to a witness, of both kinds: what is taken has no more
 * hashes than the form allows, and its root and proof can be computed. The
 * first byte of the input says whether the rest is a body, or what to change
 * in a good one: three bytes each, two for the place.
 */

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

#include "compliance/note.h"

#include "export/witness_request.h"
#include "export/witness_tree.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool truth)
{
	if (!truth)
		abort();
}

#define ORIGIN "example.test/journal/0a1b2c3d"
#define ZERO "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
#define DIGEST                                                                 \
	"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct buf good[2];

static void
make_good(void)
{
	static const uint8_t public[32] = {9};

	for (int link = 0; link < 2; link++) {
		struct buf *b = &good[link];

		buf_put_text(b, "old 3\n" ZERO ZERO "\n");
		if (link) {
			buf_put_text(b,
			    "leaf/1 7 135\nt 5 5 5f0c1e9a 0\nepoch 1\nvkey ");
			note_put_vkey(b, view_text(ORIGIN), public);
			buf_put_text(b,
			    "\nnext " DIGEST "\nreason daily\nclean yes\n"
			    "\n" ZERO ZERO ZERO "\n");
		}
		buf_put_text(b,
		    ORIGIN "\n8\n" ZERO "\n\xe2\x80\x94 " ORIGIN " AAAAAAAA\n");
	}
}

static void
check_link(const struct witness_request *r)
{
	uint8_t root[32];

	require(r->link.ranges == (size_t)__builtin_popcountll(r->link.seq));
	require(r->link.seq + 1 == r->note.size);
	require(view_is(r->note.origin, r->link.key.name));
	witness_link_root(&r->link, root);
}

static void
check(struct view body, bool link)
{
	static const uint8_t root[32] = {1};
	struct witness_request r;
	const char *why = NULL;

	if (!witness_request_parse(body, link, &r, &why)) {
		require(why != NULL);
		return;
	}
	require(r.old <= r.note.size);
	require(r.proofs <= WITNESS_PROOF_MAX);
	if (witness_consistent(r.old, root, r.note.size, r.note.root,
		(const uint8_t(*)[32])r.proof, r.proofs))
		require(r.old == 0 ||
		    (r.old == r.note.size &&
			memcmp(root, r.note.root, 32) == 0));
	if (link)
		check_link(&r);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	crypto_init();
	make_good();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b;

	if (size == 0)
		return 0;
	buf_init(&b);
	if ((data[0] & 3) < 2) {
		check(view_of(data + 1, size - 1), data[0] & 1);
		return 0;
	}
	buf_put_view(&b, buf_view(&good[data[0] & 1]));
	for (size_t i = 1; size - i >= 3; i += 3)
		b.data[(size_t)(data[i] << 8 | data[i + 1]) % b.len] =
		    data[i + 2];
	check(buf_view(&b), data[0] & 1);
	if (size == 1) {
		struct witness_request r;
		const char *why;

		require(
		    witness_request_parse(buf_view(&b), data[0] & 1, &r, &why));
	}
	buf_release(&b);
	return 0;
}
