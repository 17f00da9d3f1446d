/*
 * The verifier on purge certificates, as text and as JSON. The first byte of
 * the input chooses: the rest is the file itself, or what to change in the
 * records of a good one: which, where, and the new byte. Proofs and
 * signature are made after that, so that the input reaches what is behind
 * them.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/note.h"
#include "compliance/tree.h"

#include "export/verify_certificate.h"

#define ORIGIN "example.test/journal/0a1b2c3d"
#define DIGEST                                                                 \
	"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEAD(n, kind) "leaf/1 " n " " kind "\nt 9" n " 5 5f0c1e9a 0\n"
#define RECORDS 8

enum { AS_FILE = 1, AS_JSON = 2 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The purge is the last record, and the first of the certificate. */
static const char *const good[RECORDS] = {
    HEAD("0", "3") "p 0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    HEAD("1", "134") "required a,b\nafter 0\napprovals 2\nquorum 0\n"
		     "witnesses -\nstamp no\nclasses -\n",
    HEAD("2", "130") "adapter a\nbatch 1\nfirst 0\nlast 1\nstate stored\n"
		     "location a%20b.xml\nsha256 " DIGEST
		     "\nbytes 12\nreadback yes\n",
    HEAD("3", "130") "adapter b\nbatch 1\nfirst 0\nlast 1\nstate stored\n"
		     "location -\nsha256 -\nbytes 0\nreadback no\n",
    HEAD("4", "145") "below 1\nby uid:7\n",
    HEAD("5", "145") "below 4\nby uid:8\n",
    HEAD("6", "138") "hold 1\nmatter m/1\nselector "
		     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nby uid:7\n",
    HEAD("7", "131") "purge 1\nfirst 0\nlast 0\ncount 1\nranges 0\n"
		     "leaves " DIGEST "\nacks a:2,b:3\nheld 0\nhold 6\n"
		     "approvals 4,5\nanchor -\npolicy 1\n"};

static struct crypto_key *secret;
static struct verify_key key;
static uint8_t node[4][RECORDS][TREE_HASH_LEN]; /* by height */

static void
require(bool truth)
{
	if (!truth)
		abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {5};
	uint8_t public[CRYPTO_PUBLIC_LEN];
	const char *why;
	struct buf vkey;

	(void)argc, (void)argv;
	crypto_init();
	secret = crypto_key_new(seed);
	require(secret != NULL);
	crypto_key_public(secret, public);
	buf_init(&vkey);
	note_put_vkey(&vkey, view_text(ORIGIN), public);
	require(verify_key_parse(buf_view(&vkey), &key, &why));
	buf_release(&vkey);
	return 0;
}

static void
judge(struct view text, bool holds)
{
	struct verify_report *r = verify_report_new();
	struct buf out;
	char path[64];
	int fd = memfd_create("certificate", MFD_CLOEXEC);

	require(r != NULL && fd >= 0 &&
	    write(fd, text.p, text.n) == (ssize_t)text.n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	verify_certificate_run(path, &key, NULL, 0, r);
	require(verify_report_status(r) <= (holds ? 0 : 1));
	buf_init(&out);
	verify_report_text(r, &out);
	require(verify_report_json(r, &out));
	buf_release(&out);
	verify_report_free(r);
	(void)close(fd); /* memory only */
}

/* Its leaf, the way up from it, and the checkpoint of all. */
static void
put_proof(struct buf *out, unsigned seq, struct view leaf, struct view note)
{
	struct buf extra;

	buf_init(&extra);
	buf_put_text(&extra, "record/1\nleaf ");
	text_put_base64(&extra, leaf.p, leaf.n);
	buf_put_text(&extra, "\n");
	buf_put_text(out, "c2sp.org/tlog-proof@v1\nextra ");
	text_put_base64(out, extra.data, extra.len);
	buf_printf(out, "\nindex %u\n", seq);
	for (unsigned height = 0; height < 3; height++) {
		text_put_base64(out, node[height][seq >> height ^ 1], 32);
		buf_put_text(out, "\n");
	}
	buf_put_text(out, "\n");
	buf_put_view(out, note);
	buf_release(&extra);
}

static void
sign(struct buf *leaves, struct buf *note)
{
	struct buf body;

	for (unsigned i = 0; i < RECORDS; i++)
		tree_leaf_hash(leaves[i].data, leaves[i].len, node[0][i]);
	for (unsigned height = 1; height < 4; height++)
		for (unsigned i = 0; i < RECORDS >> height; i++)
			tree_node_hash(node[height - 1][2 * i],
			    node[height - 1][2 * i + 1], node[height][i]);
	buf_init(&body);
	note_put_body(&body, view_text(ORIGIN), RECORDS, node[3][0]);
	require(note_sign(note, buf_view(&body), view_text(ORIGIN), secret));
	buf_release(&body);
}

static void
judge_records(struct buf *leaves, bool json, bool holds)
{
	json_t *proofs = json_array(), *o;
	struct buf note, text, proof;
	char *dump;

	buf_init(&note);
	buf_init(&text);
	buf_init(&proof);
	sign(leaves, &note);
	buf_put_text(&text, "chancery-purge-certificate/1\n# words\n");
	for (unsigned i = RECORDS; i-- > 0;) {
		buf_clear(&proof);
		put_proof(&proof, i, buf_view(&leaves[i]), buf_view(&note));
		buf_put_text(&text, "\n");
		buf_put_view(&text, buf_view(&proof));
		require(json_array_append_new(proofs,
			    json_stringn(
				(const char *)proof.data, proof.len)) == 0);
	}
	o = json_pack("{s:s,s:o}", "certificate",
	    "chancery-purge-certificate/1", "proofs", proofs);
	dump = json_dumps(o, JSON_COMPACT);
	require(dump != NULL);
	judge(json ? view_text(dump) : buf_view(&text), holds);
	free(dump);
	json_decref(o);
	buf_release(&proof);
	buf_release(&text);
	buf_release(&note);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf leaves[RECORDS];

	if (size == 0 || (data[0] & AS_FILE) != 0) {
		judge(view_of(data, size), false);
		return 0;
	}
	for (unsigned i = 0; i < RECORDS; i++) {
		buf_init(&leaves[i]);
		buf_put_text(&leaves[i], good[i]);
	}
	for (size_t i = 1; size - i >= 3; i += 3) {
		struct buf *leaf = &leaves[data[i] % RECORDS];

		leaf->data[data[i + 1] % leaf->len] = data[i + 2];
	}
	judge_records(leaves, (data[0] & AS_JSON) != 0, size == 1);
	for (unsigned i = 0; i < RECORDS; i++)
		buf_release(&leaves[i]);
	return 0;
}
