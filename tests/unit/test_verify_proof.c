/*
 * The proofs of tests/golden/journal, good and bad: proofs.json for who trusts
 * the genesis key, later.json for who trusts a later one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/crypto.h"

#include "export/verify_proof.h"
#include "tests/unit/verify_proofs.h"

#define GOLDEN "tests/golden/journal/"

static json_t *vectors, *later;
static struct verify_key key, later_key;

static bool
load_file(const char *path, json_t **out, struct verify_key *out_key)
{
	json_error_t error;
	const char *vkey, *why;

	*out = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	vkey = json_string_value(json_object_get(*out, "vkey"));
	return vkey != NULL && verify_key_parse(view_text(vkey), out_key, &why);
}

static int
load(void **state)
{
	(void)state;
	crypto_init();
	return load_file(GOLDEN "proofs.json", &vectors, &key) &&
		load_file(GOLDEN "later.json", &later, &later_key)
	    ? 0
	    : -1;
}

static int
unload(void **state)
{
	(void)state;
	json_decref(vectors);
	json_decref(later);
	return 0;
}

/* The report's text; its status in *status. */
static char *
report(struct view text, const struct verify_key *with, int *status)
{
	struct verify_report *r = verify_report_new();
	char path[] = "/tmp/chancery-proof-XXXXXX";
	int fd = mkstemp(path);
	struct buf out;
	char *said;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text.p, text.n), text.n);
	assert_int_equal(close(fd), 0);
	verify_proof_run(path, with, r);
	assert_int_equal(unlink(path), 0);
	*status = verify_report_status(r);
	buf_init(&out);
	verify_report_text(r, &out);
	said = view_dup(buf_view(&out));
	assert_non_null(said);
	buf_release(&out);
	verify_report_free(r);
	return said;
}

static struct view
text_of(const json_t *item)
{
	const json_t *s = json_object_get(item, "text");

	assert_true(json_is_string(s));
	return view_of(json_string_value(s), json_string_length(s));
}

static void
all_hold(const json_t *file, const struct verify_key *with)
{
	const json_t *list = json_object_get(file, "proofs"), *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const json_t *parts = json_object_get(item, "parts"), *n;
		bool given[2] = {false, false};
		int status;
		char *said = report(text_of(item), with, &status);
		size_t k;

		json_array_foreach(parts, k, n) given[json_integer_value(n)] =
		    true;
		assert_int_equal(status, 0);
		assert_int_equal(
		    strstr(said, "sender: sip:ann@example.test\n") != NULL,
		    given[0]);
		assert_int_equal(strstr(said,
				     "text: Gr\xc3\xbc\xc3\x9f"
				     "e\\u000a\n") != NULL,
		    given[1]);
		free(said);
	}
}

static void
good(void **state)
{
	(void)state;
	assert_int_equal(
	    json_array_size(json_object_get(vectors, "proofs")), 5);
	all_hold(vectors, &key);
	assert_int_equal(json_array_size(json_object_get(later, "proofs")), 6);
	all_hold(later, &later_key);
}

static void
in_words(void **state)
{
	const json_t *list = json_object_get(vectors, "proofs");
	int status;
	char *said = report(text_of(json_array_get(list, 0)), &key, &status);

	(void)state;
	assert_non_null(strstr(said, "record: 2, post\n"));
	assert_non_null(strstr(
	    said, "time: 2026-11-22T08:10:00.000417Z, as the journal's clock"));
	assert_non_null(strstr(said, "room: ma-chan://example.test/0a1b"));
	assert_non_null(strstr(said, "checkpoint: 7 records\n"));
	free(said);
	said = report(text_of(json_array_get(list, 1)), &key, &status);
	assert_non_null(strstr(said, "text: not in this proof\n"));
	assert_non_null(strstr(said, "part 1 is not in this proof"));
	free(said);
	said = report(text_of(json_array_get(list, 4)), &key, &status);
	assert_non_null(strstr(said, "record: 4, ack\n"));
	assert_non_null(strstr(said, "fields: adapter=records batch=1"));
	free(said);
}

static void
without_key(void **state)
{
	const json_t *list = json_object_get(vectors, "proofs");
	int status;
	char *said = report(text_of(json_array_get(list, 0)), NULL, &status);

	(void)state;
	assert_int_equal(status, 1);
	assert_non_null(strstr(said, "no key given"));
	free(said);
}

/* What a later key does not show is not said; it is told where trust begins. */
static void
later_in_words(void **state)
{
	const json_t *list = json_object_get(later, "proofs");
	int status;
	char *said =
	    report(text_of(json_array_get(list, 1)), &later_key, &status);

	(void)state;
	assert_non_null(strstr(said, "record: 1, post\n"));
	assert_non_null(strstr(said,
	    "the key given is that of epoch 1, not the first: trust begins "
	    "there, and what is older is known only through it\n"));
	free(said);
	said = report(text_of(json_array_get(list, 0)), &key, &status);
	assert_int_equal(status, 1);
	assert_non_null(strstr(said, "begins with another key than the one"));
	free(said);
}

static void
none_holds(const json_t *file, const struct verify_key *with)
{
	const json_t *list = json_object_get(file, "bad_proofs"), *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		int status;
		char *said = report(text_of(item), with, &status);

		if (status != 1)
			fail_msg("taken: %s",
			    json_string_value(json_object_get(item, "why")));
		assert_null(strstr(said, "shown: "));
		free(said);
	}
}

static void
bad(void **state)
{
	(void)state;
	assert_true(
	    json_array_size(json_object_get(vectors, "bad_proofs")) > 30);
	none_holds(vectors, &key);
	assert_int_equal(
	    json_array_size(json_object_get(later, "bad_proofs")), 24);
	none_holds(later, &later_key);
}

/* A proof of record 1: it holds, or is found to be wrong in this. */
static void
assert_proof(struct fix *f, const char *finding)
{
	struct verify_key own;
	const char *why;
	struct buf text;
	char *said;
	int status;

	assert_true(verify_key_parse(view_text(f->vkey), &own, &why));
	buf_init(&text);
	fix_proof(&text, f, 1);
	said = report(buf_view(&text), &own, &status);
	assert_int_equal(status, finding != NULL);
	assert_non_null(strstr(said, finding == NULL ? "shown: " : finding));
	free(said);
	buf_release(&text);
}

/* What the leaf commits to, and no payload of the record's kind. */
static void
payloads(void **state)
{
	static const struct {
		const char *envelope, *finding;
	} all[] = {
	    {"{\"v\":1,\"type\":\"leave\",\"id\":\"0a0b0c0d-1\"}", NULL},
	    {"{\"v\":1,\"type\":\"leave\"}", "payload has no id"},
	    {"{\"v\":2,\"type\":\"leave\"}", "payload is not of version 1"},
	    {"{\"v\":1,\"type\":\"join\"}", "payload type is not that"},
	    {"{\"v\":1}", "payload type is not that"},
	    {"{\"v\":1", "not one compact JSON object"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct fix f;

		fix_init(&f, 7);
		fix_open(&f);
		fix_event(&f, 2, all[i].envelope, NULL);
		assert_proof(&f, all[i].finding);
		fix_free(&f);
	}
}

/* A record is judged without those around it, and its words are known. */
static void
values(void **state)
{
#define AT "\nsince 1\nuntil 2\n"
	static const char word[] = "record: value malformed";
	static const struct {
		unsigned kind;
		const char *fields, *finding;
	} all[] = {
	    {132, "what server" AT "refused 1\n", NULL},
	    {132, "what overload" AT "refused 1\n", word},
	    {143, "what large" AT "count 1\n", NULL},
	    {143, "what foo" AT "count 1\n", word},
	    {134, "required -\nafter -1\n" POLICY_REST, NULL},
	    {134, "required -\nafter -\n" POLICY_REST, word},
	    {144, "first 0\nlast 0\nsince 1\nresult whole\n", NULL},
	    {144, "first 1\nlast 0\nsince 1\nresult whole\n",
		"audit record: ends before it begins"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct fix f;

		fix_init(&f, 7);
		fix_open(&f);
		fix_control(&f, all[i].kind, "%s", all[i].fields);
		assert_proof(&f, all[i].finding);
		fix_free(&f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good),
	    cmocka_unit_test(in_words),
	    cmocka_unit_test(later_in_words),
	    cmocka_unit_test(without_key),
	    cmocka_unit_test(bad),
	    cmocka_unit_test(payloads),
	    cmocka_unit_test(values),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
