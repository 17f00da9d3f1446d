/* An archive's header and records, sound but for one thing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/verify_records.h"
#include "tests/unit/verify_archives.h"
#include "tests/unit/verify_run.h"

#define FIRST 1
#define LAST 3
#define POST 2 /* the record that is put to breaches; two parts */
#define SIZE 5 /* of the checkpoint */

/* An archive of records 1 to 3 of five, as a reader of its file has it. */
struct archive_of {
	struct fix f;
	struct verify_header header;
	struct verify_record record[SIZE]; /* by sequence number */
	struct verify_key key, other;
	struct verify_chain_epoch epoch[2];
	struct verify_chain chain;
	struct verify_trust trust;
	struct buf root;
};

static void
fill_header(struct archive_of *a)
{
	struct verify_header *h = &a->header;
	struct buf note;

	verify_header_init(h);
	buf_init(&note);
	fix_note(&a->f, SIZE, &note);
	fix_root64(&a->f, SIZE, &a->root);
	h->origin = strdup(a->f.origin);
	h->vkey = strdup(a->f.vkey);
	h->adapter = strdup("records");
	h->id = strdup(FIX_ORIGIN "/records/1");
	h->root = strdup(buf_text(&a->root));
	h->note = strdup(buf_text(&note));
	h->batch = 1;
	h->first = FIRST;
	h->last = LAST;
	h->count = LAST - FIRST + 1;
	h->size = SIZE;
	fix_range(&a->f, 0, FIRST, &h->left);
	fix_range(&a->f, LAST + 1, SIZE, &h->right);
	buf_release(&note);
}

static void
fill_records(struct archive_of *a)
{
	for (uint64_t i = 0; i < SIZE; i++) {
		const struct fix_record *from = &a->f.rec[i];
		struct verify_record *to = &a->record[i];

		to->seq = i;
		to->kind = from->kind;
		to->leaf = view_text(from->leaf);
		to->parts = from->parts;
		for (unsigned p = 0; p < from->parts; p++) {
			to->part[p].salt = view_of(from->part[p].salt, 32);
			to->part[p].data = view_text(from->part[p].data);
		}
	}
}

/* envelope: of the post, or NULL; early: its time is that of the join. */
static void
begin(struct archive_of *a, const char *envelope, bool early)
{
	struct fix other;
	const char *why;

	memset(a, 0, sizeof(*a));
	fix_init(&other, 9);
	fix_init(&a->f, 7);
	assert_true(verify_key_parse(view_text(other.vkey), &a->other, &why));
	assert_true(verify_key_parse(view_text(a->f.vkey), &a->key, &why));
	fix_free(&other);
	fix_open(&a->f);
	fix_join(&a->f, "ann");
	if (early) {
		struct buf b;

		buf_init(&b);
		buf_printf(&b,
		    "leaf/1 2 139\nt %" PRIu64 " 7000000 01234abc 0\n"
		    "hold 1\nby uid:0\n",
		    a->f.rec[1].at);
		a->f.rec[POST].kind = 139;
		fix_seal(&a->f, &b);
	} else if (envelope != NULL) {
		fix_event(&a->f, 3, envelope, "{}");
	} else {
		fix_post(&a->f, "word");
	}
	fix_post(&a->f, "another");
	fix_beat(&a->f);
	assert_int_equal(a->f.n, SIZE);
	buf_init(&a->root);
	fill_header(a);
	fill_records(a);
	a->trust.given = &a->key;
}

static json_t *
judge(struct archive_of *a)
{
	struct verify_report *r = verify_report_new();
	struct verify_archive archive = {.holds = false};
	struct verify_records *s = calloc(1, sizeof(*s));
	json_t *o;

	assert_non_null(s);
	buf_init(&archive.note);
	verify_report_begin(r, "x", "archive");
	verify_records_begin(s, &a->header, &a->trust, r, &archive);
	for (uint64_t i = FIRST; i <= LAST; i++)
		verify_records_take(s, &a->record[i]);
	verify_records_end(s);
	buf_release(&archive.note);
	free(s);
	o = run_end(r);
	verify_header_release(&a->header);
	buf_release(&a->root);
	fix_free(&a->f);
	return o;
}

static void
expect(struct archive_of *a, const char *check, int64_t seq, const char *words)
{
	json_t *o = judge(a);

	if (check == NULL
		? run_status(o) != 0
		: run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("expected %s: %s", check == NULL ? "nothing" : check,
		    words == NULL ? "" : words);
	}
	json_decref(o);
}

/* ---- the key ---- */

static void
drop_text(char **text)
{
	free(*text);
	*text = NULL;
}

static void
add_newline(char **text)
{
	size_t n = strlen(*text);

	*text = realloc(*text, n + 2);
	assert_non_null(*text);
	memcpy(*text + n, "\n", 2);
}

/* Epoch 0 with the key of the archive, epoch 1 with another. */
static void
add_chain(struct archive_of *a, uint64_t from)
{
	a->epoch[0] = (struct verify_chain_epoch){.key = a->key};
	a->epoch[1] = (struct verify_chain_epoch){
	    .epoch = 1, .from = from, .announced = true, .key = a->other};
	a->chain = (struct verify_chain){a->epoch, 2};
	a->trust.chain = &a->chain;
	a->trust.chains = 1;
}

static void
test_key(void **state)
{
	struct archive_of a;

	(void)state;
	begin(&a, NULL, false);
	expect(&a, NULL, -1, NULL);
	/* An epoch that began later; one that the checkpoint belongs to. */
	begin(&a, NULL, false);
	add_chain(&a, SIZE + 1);
	expect(&a, NULL, -1, NULL);
	begin(&a, NULL, false);
	add_chain(&a, SIZE);
	expect(&a, "key", -1, "another key than that of its epoch");
	begin(&a, NULL, false);
	add_chain(&a, SIZE);
	expect(&a, "signatures", -1, "no signature");
	begin(&a, NULL, false);
	a.trust.given = &a.other;
	expect(&a, "key", -1, "another key than the one given");
	begin(&a, NULL, false);
	a.header.vkey[0] = '\0';
	expect(&a, "key", -1, NULL);
	begin(&a, NULL, false);
	add_newline(&a.header.vkey);
	expect(&a, "key", -1, NULL);
	begin(&a, NULL, false);
	drop_text(&a.header.vkey);
	expect(&a, "key", -1, "states no key");
	/* None given either. */
	begin(&a, NULL, false);
	drop_text(&a.header.vkey);
	a.trust.given = NULL;
	expect(&a, "signatures", -1, "no key to judge it by");
}

/* ---- the header ---- */

static void
test_header(void **state)
{
	static const struct {
		size_t at; /* the text that is not stated */
		const char *check, *words;
	} absent[] = {
	    {offsetof(struct verify_header, origin), "file", "does not state"},
	    {offsetof(struct verify_header, adapter), "file", "does not state"},
	    {offsetof(struct verify_header, id), "file", "does not state"},
	    {offsetof(struct verify_header, origin), "signatures",
		"another origin"},
	    {offsetof(struct verify_header, note), "signatures",
		"there is none"},
	    {offsetof(struct verify_header, root), "file", "stated root"},
	};
	static const struct {
		uint64_t first, last, count, size;
		const char *check, *words;
	} numbers[] = {
	    {FIRST, LAST, 2, SIZE, "file", "do not fit"},
	    {FIRST, SIZE, SIZE, SIZE, "file", "do not fit"},
	    {LAST + 1, LAST, 0, SIZE, "file", "do not fit"},
	    {FIRST, LAST, 3, UINT64_MAX, "file", "do not fit"},
	    {FIRST, LAST, 3, SIZE + 1, "signatures", "is of size 5"},
	    {0, LAST, 4, SIZE, "proof", "hashes before the range"},
	    {UINT64_MAX, LAST, 3, SIZE, "proof", "hashes before the range"},
	};
	struct archive_of a;

	(void)state;
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		begin(&a, NULL, false);
		drop_text((char **)(void *)((char *)&a.header + absent[i].at));
		expect(&a, absent[i].check, -1, absent[i].words);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		begin(&a, NULL, false);
		a.header.first = numbers[i].first;
		a.header.last = numbers[i].last;
		a.header.count = numbers[i].count;
		a.header.size = numbers[i].size;
		expect(&a, numbers[i].check, -1, numbers[i].words);
	}
	begin(&a, NULL, false);
	a.header.root[0] ^= 1;
	expect(&a, "file", -1, "stated root");
	begin(&a, NULL, false);
	a.header.root[0] = '-';
	expect(&a, "file", -1, "stated root");
	begin(&a, NULL, false);
	a.header.note[0] ^= 1;
	expect(&a, "signatures", -1, "another origin");
	begin(&a, NULL, false);
	a.header.right.len = 0;
	expect(&a, "proof", -1, "hashes after the range");
	begin(&a, NULL, false);
	a.header.right.data[0] ^= 1;
	expect(&a, "proof", LAST, "do not give the signed root");
}

/* ---- the records ---- */

static void
test_records(void **state)
{
	struct archive_of a;

	(void)state;
	/* A part that is missing, with the mark of a purge and without. */
	begin(&a, NULL, false);
	a.record[POST].parts = 1;
	expect(&a, "completeness", POST, "1 of 2 payload parts");
	begin(&a, NULL, false);
	a.record[POST].parts = 0;
	expect(&a, "completeness", POST, "0 of 2 payload parts");
	begin(&a, NULL, false);
	a.record[POST].parts = 1;
	a.record[POST].purged = true;
	expect(&a, "completeness", POST, "marked as purged");
	begin(&a, NULL, false);
	a.record[POST].parts = 0;
	a.record[POST].purged = true;
	expect(&a, NULL, -1, NULL);
	begin(&a, NULL, false);
	a.record[POST].purged = true;
	expect(&a, "completeness", POST, "2 of 2 payload parts in a record");
	begin(&a, NULL, false);
	a.record[POST].seq = a.record[POST + 1].seq;
	expect(&a, "derived", POST + 1, "leaf text is of record 2, kind 3");
	begin(&a, NULL, false);
	a.record[POST].seq = a.record[POST + 1].seq;
	expect(&a, "sequence", POST + 1, "record 2 is expected here");
	begin(&a, NULL, false);
	a.header.count--;
	expect(&a, "sequence", -1, "3 records up to 3, the archive says 2");
	begin(&a, NULL, false);
	a.header.last--;
	expect(&a, "sequence", LAST, "record 3 is expected here");
	begin(&a, NULL, false);
	a.header.last++;
	expect(&a, "sequence", -1, "the archive says 3 up to 4");
	begin(&a, NULL, false);
	a.record[POST].kind = 2;
	expect(&a, "derived", POST, "leaf text is of record 2, kind 3");
	begin(&a, NULL, false);
	a.record[POST].seq = 9;
	expect(&a, "sequence", 9, "record 2 is expected here");
	begin(&a, NULL, false);
	a.record[POST].leaf.n--;
	expect(&a, "syntax", POST, "leaf text");
	begin(&a, NULL, false);
	a.record[POST].part[1].salt.n = 31;
	expect(&a, "commitments", POST, "payload and salt");
	begin(&a, NULL, false);
	a.record[POST].part[1].data = view_text("{}");
	expect(&a, "commitments", POST, "payload and salt");
	/* What it commits to is that payload; the payload is none. */
	begin(&a, "{\"v\":1", false);
	expect(&a, "payloads", POST, "not one compact JSON object");
	begin(&a, "{\"v\":1,\"type\":\"join\"}", false);
	expect(&a, "payloads", POST, "type is not that");
	begin(&a, "{\"v\":1}", false);
	expect(&a, "payloads", POST, "type is not that");
	begin(&a, NULL, true);
	expect(&a, "time", POST, "not after that of the record before");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_key),
	    cmocka_unit_test(test_header),
	    cmocka_unit_test(test_records),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
