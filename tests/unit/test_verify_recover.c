/* Journals that changed their name, and what is said of the gap. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_run.h"

#define NEW_ORIGIN "example.test/journal/ffff0001"
#define SEQ 3 /* of the recover record */

struct story {
	struct fix former, f;
	char folder[64], path[160];
	struct buf outside_text[2];
	struct verify_outside outside[2];
	size_t outsides;
};

/* What a test writes into the recover record; NULL: what is right. */
struct record {
	const char *old, *root, *origin, *vkey, *next, *reason, *by;
	uint64_t size;
};

static void
rename_fix(struct fix *f, const char *origin)
{
	struct fix fresh;
	struct buf b;

	fix_init(&fresh, 99);
	crypto_key_free(fresh.key);
	free(fresh.rec);
	fresh.key = crypto_key_new((const uint8_t[32]){42});
	crypto_key_public(fresh.key, fresh.public);
	memcpy(f->public, fresh.public, 32);
	f->key = fresh.key;
	snprintf(f->origin, sizeof(f->origin), "%s", origin);
	buf_init(&b);
	buf_printf(&b, "%s\n", origin);
	buf_put_u8(&b, 1);
	buf_put(&b, f->public, 32);
	crypto_sha256(b.data, b.len, fresh.public);
	buf_clear(&b);
	buf_printf(&b, "%s+", origin);
	text_put_hex(&b, fresh.public, 4);
	buf_put_u8(&b, '+');
	{
		uint8_t alg_key[33] = {1};

		memcpy(alg_key + 1, f->public, 32);
		text_put_base64(&b, alg_key, 33);
	}
	snprintf(f->vkey, sizeof(f->vkey), "%s", buf_text(&b));
	buf_release(&b);
}

/* Three records, the recover record, and two more. */
static struct story *
new_story(const struct record *r)
{
	struct story *s = calloc(1, sizeof(*s));
	struct fix *f = &s->f;
	struct buf root;
	uint8_t hash[32];

	assert_non_null(s);
	snprintf(s->folder, sizeof(s->folder), "/tmp/verify.XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/journal.db", s->folder);
	fix_init(f, 7);
	fix_open(f);
	fix_post(f, "a");
	fix_post(f, "b");
	s->former = *f;
	rename_fix(f, NEW_ORIGIN);
	f->former = &s->former;
	f->turn = SEQ;
	buf_init(&root);
	fix_mth(f, 0, r->size <= SEQ ? r->size : SEQ, hash);
	text_put_base64(&root, hash, 32);
	fix_control(f, 140,
	    "old %s\nsize %" PRIu64 "\nroot %s\norigin %s\nvkey %s\nnext %s\n"
	    "reason %s\nby %s\n",
	    r->old != NULL ? r->old : FIX_ORIGIN, r->size,
	    r->root != NULL ? r->root : buf_text(&root),
	    r->origin != NULL ? r->origin : f->origin,
	    r->vkey != NULL ? r->vkey : f->vkey,
	    r->next != NULL ? r->next : "-",
	    r->reason != NULL ? r->reason : "lost",
	    r->by != NULL ? r->by : "uid:0");
	buf_release(&root);
	fix_post(f, "c");
	fix_post(f, "d");
	f->stored[f->stored_count++] = 2;
	f->stored[f->stored_count++] = 5;
	f->note_size = f->n;
	return s;
}

static void
end_story(struct story *s)
{
	for (size_t i = 0; i < s->outsides; i++)
		buf_release(&s->outside[i].text);
	unlink(s->path);
	rmdir(s->folder);
	crypto_key_free(s->former.key);
	fix_free(&s->f);
	free(s);
}

/* A checkpoint of the old name that somebody outside holds. */
static void
hold_outside(struct story *s, uint64_t size, const char *root64)
{
	struct verify_outside *o = &s->outside[s->outsides++];
	struct fix other = s->former;
	struct buf body;
	uint8_t blob[68];

	buf_init(&o->text);
	if (root64 == NULL) {
		other.n = s->f.n;
		other.rec = s->f.rec;
		fix_note(&other, size, &o->text);
	} else {
		uint8_t id[32];

		buf_init(&body);
		buf_printf(&body, "%s\n", FIX_ORIGIN);
		buf_put_u8(&body, 1);
		buf_put(&body, s->former.public, 32);
		crypto_sha256(body.data, body.len, id);
		memcpy(blob, id, 4);
		buf_printf(&o->text, "%s\n%" PRIu64 "\n%s\n", FIX_ORIGIN, size,
		    root64);
		assert_true(crypto_sign(
		    s->former.key, o->text.data, o->text.len, blob + 4));
		buf_printf(&o->text, "\n\xe2\x80\x94 %s ", FIX_ORIGIN);
		text_put_base64(&o->text, blob, sizeof(blob));
		buf_put_text(&o->text, "\n");
		buf_release(&body);
	}
	o->path = "outside";
	snprintf(o->origin, sizeof(o->origin), "%s", FIX_ORIGIN);
	o->size = size;
}

enum given { NO_KEY, OLD_KEY, BOTH_KEYS, WRONG_KEY };

static json_t *
run(struct story *s, enum given given)
{
	struct verify_key key[2];
	struct verify_report *r = verify_report_new();
	struct verify_journal j;
	const char *why, *path;

	if (access(s->path, F_OK) != 0)
		fix_write(&s->f, s->path);
	assert_true(verify_key_parse(view_text(s->former.vkey), &key[0], &why));
	assert_true(verify_key_parse(view_text(s->f.vkey), &key[1], &why));
	if (given == BOTH_KEYS || given == WRONG_KEY)
		key[0].more = &key[1];
	key[1].public[0] ^= given == WRONG_KEY;
	path = s->path;
	verify_journal_run(&(const struct verify_group){&path, 1, true},
	    given == NO_KEY ? NULL : key, s->outside, s->outsides, r, &j);
	verify_journal_release(&j);
	return run_end(r);
}

/* words NULL: it holds; else a finding at the recover record says so. */
static void
judged(struct story *s, enum given given, const char *words)
{
	json_t *o = run(s, given);

	if (words == NULL
		? run_status(o) != 0
		: run_status(o) != 1 || !run_found(o, NULL, SEQ, words)) {
		run_print(o);
		fail_msg("expected %s", words == NULL ? "nothing" : words);
	}
	json_decref(o);
}

static void
noted(struct story *s, const char *words)
{
	json_t *o = run(s, BOTH_KEYS);

	if (!run_noted(o, words)) {
		run_print(o);
		fail_msg("not noted: %s", words);
	}
	json_decref(o);
}

static const char other_root[] = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";

static void
a_declared_gap(void **state)
{
	struct story *s =
	    new_story(&(struct record){.size = 8, .root = other_root});

	(void)state;
	judged(s, OLD_KEY, "nobody announced the key of the new name");
	judged(s, WRONG_KEY, "names another key than the one given");
	judged(s, BOTH_KEYS, NULL);
	judged(s, NO_KEY, NULL);
	noted(s,
	    "gap, declared by record 3 (reason lost, by uid:0): of 8 records "
	    "signed as " FIX_ORIGIN ", records 3-7 are lost; the journal goes "
	    "on as " NEW_ORIGIN);
	/* Of what is left, an old checkpoint must agree. */
	hold_outside(s, 2, NULL);
	judged(s, BOTH_KEYS, NULL);
	/* In the gap nothing can be compared but what the record states. */
	hold_outside(s, 7, other_root);
	judged(s, BOTH_KEYS, NULL);
	noted(s,
	    "covers records 3-6 of " FIX_ORIGIN
	    ", which record 3 declares lost");
	end_story(s);
}

static void
what_does_not_fit_the_gap(void **state)
{
	static const struct {
		uint64_t size;
		const char *root;
		const char *words;
	} outside[] = {
	    {9, other_root,
		"9 records were signed as " FIX_ORIGIN
		", but the recover record declares 8"},
	    {8, "q7urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
		"is not the one that the recover record declares"},
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct story *s =
		    new_story(&(struct record){.size = 8, .root = other_root});

		hold_outside(s, outside[i].size, outside[i].root);
		judged(s, BOTH_KEYS, outside[i].words);
		end_story(s);
	}
}

static void
without_a_gap(void **state)
{
	struct story *s =
	    new_story(&(struct record){.size = 2, .reason = "signer"});
	json_t *o;

	(void)state;
	judged(s, BOTH_KEYS, NULL);
	noted(s, "no record is known to be lost");
	end_story(s);
	s = new_story(&(struct record){
	    .size = 2, .reason = "signer", .root = other_root});
	judged(s, BOTH_KEYS, "the root that this recover record states");
	end_story(s);
	s = new_story(
	    &(struct record){.size = 2, .reason = "fork", .root = other_root});
	judged(s, BOTH_KEYS, NULL);
	noted(s, "other records were signed as " FIX_ORIGIN);
	hold_outside(s, 2, other_root);
	judged(s, BOTH_KEYS, NULL);
	noted(s, "of another history, as record 3 declares");
	/* A third one is not declared. */
	hold_outside(s, 2, "q7urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=");
	o = run(s, BOTH_KEYS);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(
	    o, "roots", -1, "the checkpoint from outside states for size 2"));
	json_decref(o);
	end_story(s);
}

static void
records_that_break_the_rules(void **state)
{
	static const struct {
		struct record r;
		const char *words;
	} bad[] = {
	    {{.size = 8, .old = "example.test/journal/00000000"},
		"old is not the name"},
	    {{.size = 8, .origin = FIX_ORIGIN}, "origin does not follow"},
	    {{.size = 8, .origin = "other.test/journal/ffff0001"},
		"origin does not follow"},
	    {{.size = 8, .origin = "example.test/journal/FFFF0001"},
		"origin does not follow"},
	    {{.size = 8, .origin = "example.test/journal/ffff0002"},
		"key is not one of the new name"},
	    {{.size = 2}, "that records are lost, and that none is"},
	    {{.size = 8, .reason = "mood"}, "value malformed"},
	    {{.size = 8, .by = "root"}, "value malformed"},
	    {{.size = 8, .next = "00"}, "value malformed"},
	    {{.size = 8, .root = "AAAA"}, "value malformed"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct story *s = new_story(&bad[i].r);

		judged(s, NO_KEY, bad[i].words);
		end_story(s);
	}
}

/* Never under the old name again, and not before under the new one. */
static void
signed_under_the_wrong_name(void **state)
{
	struct story *s =
	    new_story(&(struct record){.size = 8, .root = other_root});
	json_t *o;

	(void)state;
	s->f.turn = 5;
	o = run(s, BOTH_KEYS);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(
	    o, NULL, -1, "size 5: origin is not the name of the key"));
	json_decref(o);
	end_story(s);
	s = new_story(&(struct record){.size = 8, .root = other_root});
	s->f.turn = 1;
	o = run(s, BOTH_KEYS);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(
	    o, NULL, -1, "size 2: origin is not the name of the key"));
	json_decref(o);
	end_story(s);
}

/* Anybody can write a record: with a key that was announced, and known since. */
static void
signed_under_no_new_name(void **state)
{
	struct story *s =
	    new_story(&(struct record){.size = 8, .root = other_root});

	(void)state;
	s->f.stored_count = 1;
	s->f.note_size = SEQ;
	hold_outside(s, 7, other_root);
	judged(s, BOTH_KEYS, "no signed checkpoint covers this recover record");
	end_story(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_declared_gap),
	    cmocka_unit_test(what_does_not_fit_the_gap),
	    cmocka_unit_test(without_a_gap),
	    cmocka_unit_test(records_that_break_the_rules),
	    cmocka_unit_test(signed_under_the_wrong_name),
	    cmocka_unit_test(signed_under_no_new_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
