/* Purge certificates whose proofs hold and whose records break a rule. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "export/verify_certificate.h"
#include "tests/unit/verify_proofs.h"
#include "tests/unit/verify_run.h"

#define SHA "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define COMMITMENT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define POLICY_REST_2                                                          \
	"approvals 2\nquorum 0\nwitnesses -\nstamp no\nclasses -\n"
#define ACK(adapter)                                                           \
	"adapter " adapter "\nbatch 1\nfirst 0\nlast 3\nstate stored\n"        \
	"location l\nsha256 " SHA "\nbytes 9\nreadback yes\n"

#define NONE UINT64_MAX
#define PURGE 8

/* Record 0 is the open record, 2 and 3 are posts. */
static struct {
	unsigned kind;
	const char *fields;
} records[] = {
    [1] = {134, "required records,archive\nafter 3\n" POLICY_REST_2},
    [4] = {130, ACK("records")},
    [5] = {130, ACK("archive")},
    [6] = {145, "below 4\nby uid:4\n"},
    [7] = {145, "below 5\nby uid:5\n"},
    [PURGE] = {131,
	"purge 1\nfirst 2\nlast 3\ncount 2\nranges 2-3\nleaves " SHA
	"\nacks records:4,archive:5\nheld 0\nhold -\napprovals 6,7\nanchor -\n"
	"policy 1\n"},
    [9] = {134, "required records,archive\nafter 3\n" POLICY_REST_2},
    [10] = {130, ACK("archive")},
    [11] = {145, "below 5\nby uid:5\n"},
    [12] = {138, "hold 1\nmatter m\nselector " COMMITMENT "\nby uid:4\n"},
};
#define RECORDS (sizeof(records) / sizeof(records[0]))

/* One change of a record's fields, or a record whose proof is left out. */
struct breach {
	uint64_t seq;
	const char *from, *to;
	uint64_t without;
	const char *finding; /* NULL: none */
};

static void
put_fields(struct fix *f, const struct breach *b)
{
	uint64_t seq = f->n;
	const char *fields = records[seq].fields, *at;

	if (b->seq != seq) {
		fix_control(f, records[seq].kind, "%s", fields);
		return;
	}
	at = strstr(fields, b->from);
	assert_non_null(at);
	fix_control(f, records[seq].kind, "%.*s%s%s", (int)(at - fields),
	    fields, b->to, at + strlen(b->from));
}

static const char *heading = "chancery-purge-certificate/1";

/* Proofs of the purge and of all others, as text or as JSON. */
static void
put_certificate(
    struct buf *out, const struct fix *f, uint64_t without, bool json)
{
	json_t *proofs = json_array(), *o;
	struct buf proof;
	char *text;

	buf_init(&proof);
	buf_printf(out, "%s\n", heading);
	for (uint64_t i = 0; i < f->n; i++) {
		/* The purge comes first, and itself in the place of 0. */
		uint64_t seq = i == 0 ? PURGE : i;

		if (seq == without || records[seq].kind == 0 ||
		    (i != 0 && seq == PURGE))
			continue;
		buf_clear(&proof);
		fix_proof(&proof, f, seq);
		buf_put_text(out, "\n");
		buf_put_view(out, buf_view(&proof));
		assert_int_equal(
		    json_array_append_new(proofs,
			json_stringn((const char *)proof.data, proof.len)),
		    0);
	}
	o = json_pack("{s:s,s:o}", "certificate", heading, "proofs", proofs);
	text = json_dumps(o, 0);
	assert_non_null(text);
	if (json) {
		buf_clear(out);
		buf_put_text(out, text);
	}
	free(text);
	json_decref(o);
	buf_release(&proof);
}

/* The key of that journal, and those that were given beside it. */
static struct verify_key
key_of(const struct fix *f, const struct verify_key *more)
{
	struct verify_key key = {.more = more};
	uint8_t hash[32];
	struct buf b;

	snprintf(key.name, sizeof(key.name), "%s", f->origin);
	memcpy(key.public, f->public, sizeof(key.public));
	buf_init(&b);
	buf_printf(&b, "%s\n", f->origin);
	buf_put_u8(&b, 1);
	buf_put(&b, f->public, sizeof(f->public));
	crypto_sha256(b.data, b.len, hash);
	memcpy(key.id, hash, sizeof(key.id));
	buf_release(&b);
	return key;
}

static json_t *
judge(struct view text, const struct verify_key *key,
    const struct verify_archive *archive)
{
	struct verify_report *r = verify_report_new();
	char path[] = "/tmp/chancery-certificate-XXXXXX";
	int fd = mkstemp(path);
	struct buf b;
	json_t *o;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text.p, text.n), text.n);
	assert_int_equal(close(fd), 0);
	verify_certificate_run(path, key, archive, archive != NULL, r);
	assert_int_equal(unlink(path), 0);
	buf_init(&b);
	assert_true(verify_report_json(r, &b));
	o = json_loadb((const char *)b.data, b.len, 0, NULL);
	assert_non_null(o);
	buf_release(&b);
	verify_report_free(r);
	return o;
}

static void
tell(struct fix *f, const struct breach *b)
{
	fix_init(f, 7);
	fix_open(f);
	while (f->n < RECORDS)
		if (records[f->n].kind == 0)
			fix_post(f, "word");
		else
			put_fields(f, b);
}

static void
run(const struct breach *b)
{
	struct verify_key key;
	struct fix f;

	tell(&f, b);
	key = key_of(&f, NULL);
	for (unsigned json = 0; json < 2; json++) {
		struct buf text;
		json_t *o;

		buf_init(&text);
		put_certificate(&text, &f, b->without, json == 1);
		o = judge(buf_view(&text), &key, NULL);
		if (b->finding == NULL ? run_status(o) != 0
				       : run_status(o) != 1 ||
			    !run_found(o, NULL, -1, b->finding)) {
			run_print(o);
			fail_msg("expected: %s",
			    b->finding == NULL ? "no finding" : b->finding);
		}
		json_decref(o);
		buf_release(&text);
	}
	fix_free(&f);
}

static void
sound(void **state)
{
	(void)state;
	run(&(const struct breach){NONE, NULL, NULL, NONE, NULL});
	/* More proofs than it needs do no harm. */
	run(&(const struct breach){NONE, NULL, NULL, 9, NULL});
}

static void
rules(void **state)
{
	static const char allow[] = "the policy did not allow it";
	static const char release[] =
	    "this acknowledgement does not release what was purged";
	static const char each[] =
	    "does not name an acknowledgement of each adapter";
	static const char approval[] =
	    "this approval is not of what was purged, or of the same person";
	static const char number[] = "another number of approvals";
	static const char covers[] = "names no checkpoint that covers";
	static const char comma[] = "ends in a comma";
	static const char malformed[] = "record: value malformed";
	static const struct breach breaches[] = {
	    {1, "after 3", "after -1", NONE, allow},
	    {1, "after 3", "after -", NONE, malformed},
	    {PURGE, "anchor -", "anchor -1", NONE, malformed},
	    {PURGE, "hold -", "hold -1", NONE, malformed},
	    {PURGE, "anchor -", "anchor 7", NONE, "that no policy demands"},
	    {1, "quorum 0", "quorum 2", NONE, covers},
	    {1, "stamp no", "stamp yes", NONE, covers},
	    {1, "required records,archive", "required records,archive,", NONE,
		comma},
	    {PURGE, "archive:5", "archive:5,", NONE, comma},
	    {PURGE, "approvals 6,7", "approvals 6,7,", NONE, comma},
	    {PURGE, "archive:5", "archive:5,vault:10", NONE,
		"that the policy does not require"},
	    {PURGE, "hold -", "hold 12", NONE, "the hold or release record"},
	    {1, "after 3", "after 4", NONE, "before the time had passed"},
	    {1, "required records,archive", "required -", NONE, allow},
	    {PURGE, "policy 1", "policy 9", NONE, allow},
	    {PURGE, "policy 1", "policy 4", NONE, "the policy record 4 that"},
	    {4, "state stored", "state accepted", NONE, release},
	    {5, "last 3", "last 2", NONE, release},
	    {PURGE, "archive:5", "archive:4", NONE, release},
	    {PURGE, "archive:5", "archive:10", NONE, release},
	    {PURGE, "archive:5", "archive:6", NONE,
		"the acknowledgement record 6 that"},
	    {PURGE, "records:4,archive:5", "records:4", NONE, each},
	    {PURGE, "records:4,archive:5", "archive:5,records:4", NONE, each},
	    {5, "adapter archive", "adapter arch", NONE, release},
	    {PURGE, "records:4,archive:5", "-", NONE, each},
	    {PURGE, "records:4", "recordz:4", NONE, each},
	    {PURGE, "records:4", "records14", NONE, each},
	    {PURGE, "approvals 6,7", "approvals 6", NONE, number},
	    {PURGE, "approvals 6,7", "approvals -", NONE, number},
	    {PURGE, "approvals 6,7", "approvals 6,11", NONE, approval},
	    {7, "uid:5", "uid:4", NONE, approval},
	    {6, "below 4", "below 3", NONE, approval},
	    {PURGE, "hold -", "hold 7", NONE, "the hold or release record"},
	    {PURGE, "hold -", "hold 12", 12, "the hold or release record"},
	    {NONE, NULL, NULL, 1, "the policy record 1 that"},
	    {NONE, NULL, NULL, 4, "the acknowledgement record 4 that"},
	    {NONE, NULL, NULL, 5, "the acknowledgement record 5 that"},
	    {NONE, NULL, NULL, 6, "the approve record 6 that"},
	    {NONE, NULL, NULL, 7, "the approve record 7 that"},
	    {NONE, NULL, NULL, PURGE,
		"its first proof is not of a purge record"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++)
		run(&breaches[i]);
}

/* The policy asks for a time-stamp, which the purge names by its size. */
static void
anchors(void **state)
{
	static const char covers[] = "names no checkpoint that covers";
	static const struct breach breaches[] = {
	    {PURGE, "anchor -", "anchor 5", NONE, covers},
	    {PURGE, "anchor -", "anchor 6", NONE, NULL},
	    {PURGE, "anchor -", "anchor 8", NONE, NULL},
	    {PURGE, "anchor -", "anchor 9", NONE, covers},
	};
	const char *before = records[1].fields;

	(void)state;
	records[1].fields =
	    "required records,archive\nafter 3\napprovals 2\nquorum 0\n"
	    "witnesses -\nstamp yes\nclasses -\n";
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++)
		run(&breaches[i]);
	records[1].fields = before;
}

/* An archive is the file that record 4 acknowledges, or one of another. */
static void
files(void **state)
{
	static const char words[] = "is not the file that was acknowledged";
	static const char absent[] = "the archive l, which it names (record 4)";
	static const struct breach none = {NONE, NULL, NULL, NONE, NULL};
	static char path[] = "a";
	struct verify_archive sound = {.path = path,
	    .origin = FIX_ORIGIN,
	    .adapter = "records",
	    .batch = 1,
	    .first = 0,
	    .last = 3,
	    .bytes = 9};
	struct verify_key key;
	struct buf text;
	struct fix f;

	(void)state;
	assert_true(text_get_hex(view_text(SHA), sound.sha256, 32));
	tell(&f, &none);
	key = key_of(&f, NULL);
	buf_init(&text);
	put_certificate(&text, &f, NONE, false);
	for (unsigned i = 0; i < 8; i++) {
		struct verify_archive a = sound;
		json_t *o;

		a.first += i == 1;
		a.last += i == 2;
		a.bytes += i == 3;
		a.sha256[31] ^= i == 4;
		a.batch += i == 5;
		a.adapter[0] ^= i == 6;
		a.origin[0] ^= i == 7;
		o = judge(buf_view(&text), &key, &a);
		if (run_found(o, "acks", 4, words) != (i >= 1 && i <= 4) ||
		    run_noted(o, absent) != (i == 5 || i == 6) ||
		    run_status(o) != (i < 7)) {
			run_print(o);
			fail_msg("archive %u", i);
		}
		json_decref(o);
	}
	buf_release(&text);
	fix_free(&f);
}

/* More than 10000 records from the first to the last. */
static void
span(void **state)
{
	struct verify_key key;
	struct buf text;
	struct fix f;

	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		json_t *o;

		fix_init(&f, 7);
		fix_open(&f);
		fix_control(&f, 134, "required records\nafter 0\n" POLICY_REST);
		while (f.n < 10002)
			fix_beat(&f);
		fix_ack(&f, "records", 1, 0, 10001, "l", SHA, 9);
		fix_purge(&f, 1, 2 - more, 10001, "records:10002");
		key = key_of(&f, NULL);
		buf_init(&text);
		buf_printf(&text, "%s\n", heading);
		for (unsigned i = 0; i < 3; i++) {
			static const uint64_t seq[] = {10003, 1, 10002};

			buf_put_text(&text, "\n");
			fix_proof(&text, &f, seq[i]);
		}
		o = judge(buf_view(&text), &key, NULL);
		assert_int_equal(run_status(o), more);
		assert_int_equal(run_found(o, "purges", 10003,
				     "over more than 10000 records"),
		    more);
		json_decref(o);
		buf_release(&text);
		fix_free(&f);
	}
}

/* The text with `to` in the place of what is from there to its end of line. */
static void
judge_with(const struct buf *text, const struct verify_key *key,
    const char *from, const char *to, const char *finding)
{
	const uint8_t *at = memmem(text->data, text->len, from, strlen(from)),
		      *end;
	struct buf other;
	json_t *o;

	assert_non_null(at);
	end = memchr(at, '\n', text->len - (size_t)(at - text->data));
	buf_init(&other);
	buf_put(&other, text->data, (size_t)(at - text->data));
	buf_put_text(&other, to);
	buf_put(&other, end + 1, text->len - (size_t)(end + 1 - text->data));
	o = judge(buf_view(&other), key, NULL);
	if (!run_found(o, "file", -1, finding)) {
		run_print(o);
		fail_msg("expected: %s", finding);
	}
	json_decref(o);
	buf_release(&other);
}

static void
form(void **state)
{
	static const struct breach none = {NONE, NULL, NULL, NONE, NULL};
	struct verify_key key;
	struct buf text;
	struct fix f;
	json_t *o;

	(void)state;
	tell(&f, &none);
	key = key_of(&f, NULL);
	buf_init(&text);
	put_certificate(&text, &f, NONE, false);
	judge_with(&text, &key, "index 8", "index x\n",
	    "a proof in it: index malformed");
	judge_with(
	    &text, &key, "extra ", "", "a proof in it carries no record");
	buf_put_text(&text, "\n");
	fix_proof(&text, &f, 2);
	o = judge(buf_view(&text), &key, NULL);
	assert_true(run_found(o, "purges", -1, "discloses a part"));
	json_decref(o);
	for (unsigned i = 0; i < 1000; i++) {
		buf_put_text(&text, "\n");
		fix_proof(&text, &f, PURGE);
	}
	o = judge(buf_view(&text), &key, NULL);
	assert_true(run_found(o, "purges", -1, "too many proofs"));
	json_decref(o);
	buf_release(&text);
	fix_free(&f);
}

/* Whose key is given as well: its policy is not that of the purge. */
static void
record_of_another_journal(void **state)
{
	static const struct breach none = {NONE, NULL, NULL, NONE, NULL};
	struct verify_key key, other;
	struct buf text;
	struct fix f, g;
	json_t *o;

	(void)state;
	tell(&f, &none);
	tell(&g, &none);
	snprintf(g.origin, sizeof(g.origin), "example.org/journal/0a1b2c3d");
	other = key_of(&g, NULL);
	key = key_of(&f, &other);
	buf_init(&text);
	put_certificate(&text, &f, 1, false);
	buf_put_text(&text, "\n");
	fix_proof(&text, &g, 1);
	o = judge(buf_view(&text), &key, NULL);
	if (run_status(o) != 1 ||
	    !run_found(o, "purges", -1, "another journal"))
		run_print(o);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(o, "purges", -1, "another journal"));
	json_decref(o);
	buf_release(&text);
	fix_free(&f);
	fix_free(&g);
}

static void
version(void **state)
{
	(void)state;
	heading = "chancery-purge-certificate/2";
	run(&(const struct breach){NONE, NULL, NULL, NONE, "of version 1"});
	heading = "chancery-purge-certificate/1";
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sound),
	    cmocka_unit_test(rules),
	    cmocka_unit_test(anchors),
	    cmocka_unit_test(span),
	    cmocka_unit_test(files),
	    cmocka_unit_test(form),
	    cmocka_unit_test(version),
	    cmocka_unit_test(record_of_another_journal),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
