/*
 * Answers of a witness, round after round. The first byte of each answer
 * chooses its status and whether the right answer to the request goes before
 * the bytes that follow, up to a byte 0xff.
 */

#include "tests/unit/journal_fixture.h"

#include "base/conf.h"

#include "compliance/add_key.h"
#include "compliance/cosign.h"
#include "compliance/evidence.h"
#include "compliance/witness_client.h"

#define NAME "witness.example/a"
#define SIZE 301 /* of the round's checkpoint */
#define ANSWERS_MAX 16

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct crypto_key *key;
static struct buf vkey, note, right;
static struct conf_witness conf;
static struct witness_journal journal;

static void
require(bool truth)
{
	if (!truth)
		abort();
}

/* A journal of two checkpoints, whose file is gone once it is open. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	static struct fixture f;
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct note parsed;
	const char *reason;
	char why[256];

	(void)argc, (void)argv;
	crypto_init();
	new_fixture(&f);
	append_posts(&f, 5);
	sign_head(&f, true);
	append_posts(&f, SIZE - 5);
	sign_head(&f, true);
	journal.link = add_key_put;
	journal.scan = scan_open(f.path, false, why, sizeof why);
	journal.evidence = evidence_open(f.path, why, sizeof why);
	require(journal.scan != NULL && journal.evidence != NULL);
	require(evidence_note(journal.evidence, SIZE, &note) == 1);
	end_fixture(&f);
	key = crypto_key_new(seed);
	crypto_key_public(key, public);
	cosign_put_vkey(&vkey, view_text(NAME), public);
	conf.name = (char *)"a";
	conf.vkey = (char *)buf_text(&vkey);
	require(note_parse(buf_view(&note), &parsed, &reason));
	require(cosign_put_line(&right, parsed.body, view_text(NAME), 1, key));
	return 0;
}

/* What it gives out keeps its promises. */
static void
check(struct witness_client *w, enum witness_verdict v)
{
	uint64_t size, time;
	struct note_vkey witness;
	struct cosign line;
	struct note claim;
	const char *why;
	struct view text;

	require((v == WITNESS_FAILED || v == WITNESS_CONFLICT) ==
		(witness_client_why(w)[0] != '\0') ||
	    v == WITNESS_ASK);
	for (const char *p = witness_client_why(w); *p != '\0'; p++)
		require(*p >= ' ' && *p < 0x7f);
	if (v == WITNESS_COSIGNED) {
		text = witness_client_line(w, &size, &time);
		require(size == SIZE && cosign_parse_line(text, &line));
		require(cosign_parse_vkey(buf_view(&vkey), &witness));
		require(note_parse(buf_view(&note), &claim, &why));
		require(cosign_verify(&line, claim.body, &witness));
	} else if (v == WITNESS_CONFLICT) {
		text = witness_client_claim(w, &size);
		require(size <= INT64_MAX);
		require(text.n == 0 ||
		    (note_parse(text, &claim, &why) && claim.size == size));
	}
}

static enum witness_verdict
answer(struct witness_client *w, uint8_t how, struct view bytes)
{
	static const unsigned status[] = {
	    200, 409, 422, 404, 403, 301, 500, 200};
	enum witness_verdict v;
	struct buf body;

	buf_init(&body);
	if ((how & 8) != 0)
		buf_put_view(&body, buf_view(&right));
	if ((how & 16) != 0)
		buf_put_view(&body, buf_view(&note));
	buf_put_view(&body, bytes);
	v = witness_client_answer(
	    w, &journal, status[how & 7], buf_view(&body));
	buf_release(&body);
	check(w, v);
	return v == WITNESS_COSIGNED ? witness_client_go_on(w, &journal) : v;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct witness_client *w = witness_client_new(&conf);
	const uint8_t *end = data + size;
	enum witness_verdict v;

	require(w != NULL);
	v = witness_client_begin(w, &journal, SIZE, buf_view(&note));
	for (int i = 0; i < ANSWERS_MAX && v == WITNESS_ASK && data < end;
	     i++) {
		const uint8_t *stop =
		    memchr(data + 1, 0xff, (size_t)(end - data - 1));
		const uint8_t *next = stop != NULL ? stop + 1 : end;
		size_t n = (size_t)((stop != NULL ? stop : end) - data - 1);

		v = answer(w, data[0], view_of(data + 1, n));
		data = next;
	}
	if (size == 1 && (data[-1] & 31) == 8)
		require(v == WITNESS_DONE);
	witness_client_free(w);
	return 0;
}
