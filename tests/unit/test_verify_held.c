/* What archives tell of purges: holds that were not heeded, copies. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"

#include "export/verify_formats.h"
#include "export/verify_purged.h"
#include "tests/unit/verify_archives.h"
#include "tests/unit/verify_run.h"

#define ROOM "ma-chan://example.test/11111111-2222-3333-4444-555555555555"
#define IN_ROOM "{\"v\":1,\"room\":\"" ROOM "\"}"

/*
 * Ann joins (2) and says something (3, 4), which an archive has; there is a
 * hold (7), and all goes. What comes between the last two is the case's.
 */
static const char *first_said; /* NULL: what others do */

struct state {
	char folder[64], journal[128], bag[128];
	struct fix f;
};

static void
begin(struct state *s)
{
	struct fix_batch_args batch = {1, 0, 4, 5, "records"};
	struct fix *f = &s->f;
	struct fix_bag bag;
	uint8_t hash[32];
	char hex[65];
	uint64_t bytes;

	snprintf(s->folder, sizeof(s->folder), "/tmp/verify.XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->journal, sizeof(s->journal), "%s/j.db", s->folder);
	snprintf(s->bag, sizeof(s->bag), "%s/b.tar.zst", s->folder);
	fix_init(f, 7);
	fix_open(f);
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_join(f, "ann");
	if (first_said == NULL)
		fix_post(f, "first");
	else
		fix_event(f, 3, first_said, "{\"v\":1,\"text\":\"first\"}");
	fix_post(f, "second");
	fix_bag_make(f, &batch, &bag);
	fix_bag_seal(f, &batch, &bag);
	fix_bag_write(&bag, s->bag);
	fix_batch(f, "records", 1, 0, 4);
	assert_true(verify_hash_file(s->bag, hash, &bytes));
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	fix_ack(f, "records", 1, 0, 4, "b.tar.zst", hex, bytes);
}

static json_t *
end(struct state *s, bool with_archive)
{
	struct verify_report *r = verify_report_new();
	const char *path = s->journal, *why;
	struct verify_archive archive = {0};
	const struct verify_trust trust = {.given = NULL};
	struct verify_journal j;
	struct verify_key key;
	struct buf text;
	json_t *o;

	fix_post(&s->f, "later");
	s->f.note_size = s->f.n;
	fix_write(&s->f, s->journal);
	assert_true(verify_key_parse(view_text(s->f.vkey), &key, &why));
	if (with_archive)
		verify_archive_run(s->bag, true, &trust, r, &archive);
	verify_journal_run(
	    &(const struct verify_group){&path, 1, true}, &key, NULL, 0, r, &j);
	if (with_archive)
		verify_cross(&j, &archive, 1, r);
	verify_journal_release(&j);
	verify_archive_release(&archive);
	buf_init(&text);
	assert_true(verify_report_json(r, &text));
	o = json_loadb((const char *)text.data, text.len, 0, NULL);
	assert_non_null(o);
	buf_release(&text);
	verify_report_free(r);
	unlink(s->journal);
	unlink(s->bag);
	rmdir(s->folder);
	fix_free(&s->f);
	return o;
}

/* Seq of the first record that the hold should have kept; -1: none. */
static void
check(const char *selector, const char *columns, int64_t seq)
{
	struct state s;
	json_t *o;

	begin(&s);
	fix_hold_on(&s.f, 1, "uid:4", selector, columns);
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "7", "-");
	o = end(&s, true);
	if (seq < 0 ? run_status(o) != 0
		    : run_status(o) != 1 ||
		    !run_found(o, "purges", seq,
			"removed by purge 1 (record 8), while hold 1 "
			"(record 7) was in force")) {
		run_print(o);
		fail_msg("%s: expected %d", selector, (int)seq);
	}
	json_decref(o);
}

static void
test_selectors(void **in)
{
	char selector[256], columns[256];
	uint64_t at = FIX_START + 3 * 1000000 + 17; /* of record 3 */

	(void)in;
	check("{\"v\":1}", "NULL,NULL,NULL,NULL", 2);
	check(IN_ROOM, "'" ROOM "',NULL,NULL,NULL", 2);
	check("{\"v\":1,\"room\":\"MA-CHAN://x/1\"}",
	    "'ma-chan://x/1',NULL,NULL,NULL", -1);
	check("{\"v\":1,\"user\":\"sip:ANN@example.test\"}",
	    "NULL,'sip:ann@example.test',NULL,NULL", 2);
	check("{\"v\":1,\"user\":\"sip:an\"}", "NULL,'sip:an',NULL,NULL", -1);
	snprintf(selector, sizeof(selector),
	    "{\"v\":1,\"room\":\"" ROOM "\",\"from\":%" PRIu64 "}", at);
	snprintf(
	    columns, sizeof(columns), "'" ROOM "',NULL,%" PRIu64 ",NULL", at);
	check(selector, columns, 3);
	snprintf(selector, sizeof(selector),
	    "{\"v\":1,\"from\":%" PRIu64 ",\"until\":%" PRIu64 "}", at + 1,
	    at + 1000000);
	snprintf(columns, sizeof(columns), "NULL,NULL,%" PRIu64 ",%" PRIu64,
	    at + 1, at + 1000000);
	check(selector, columns, -1);
	snprintf(
	    selector, sizeof(selector), "{\"v\":1,\"until\":%" PRIu64 "}", at);
	snprintf(columns, sizeof(columns), "NULL,NULL,NULL,%" PRIu64, at);
	check(selector, columns, 2);
}

/* The columns repeat a text that two selectors could have. */
static void
test_ambiguous_columns(void **in)
{
	(void)in;
	check("{\"v\":1,\"room\":\"" ROOM
	      "\",\"user\":\"sip:ann@example.test\"}",
	    "'" ROOM "\",\"user\":\"sip:ann@example.test',NULL,NULL,NULL", 2);
}

/* It is not taken for one that no hold keeps. */
static void
test_unreadable(void **in)
{
	struct state s;
	json_t *o;

	(void)in;
	first_said = "{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-3\","
		     "\"room\":\"" ROOM "\",\"x\":1e999}";
	begin(&s);
	first_said = NULL;
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	fix_purge_on(&s.f, 1, 3, 3, "records:6", "7", "-");
	o = end(&s, true);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(o, "payloads", 3, "stands for no value"));
	json_decref(o);
}

static void
test_in_force(void **in)
{
	struct state s;
	json_t *o;

	(void)in;
	begin(&s); /* released before */
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	fix_release(&s.f, 1, "uid:4");
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "8", "-");
	o = end(&s, true);
	assert_int_equal(run_status(o), 0);
	json_decref(o);
	begin(&s); /* released afterwards */
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "7", "-");
	fix_release(&s.f, 1, "uid:4");
	o = end(&s, true);
	assert_int_equal(run_status(o), 1);
	assert_true(run_found(o, "purges", 4, "hold 1"));
	json_decref(o);
	begin(&s); /* placed afterwards */
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "-", "-");
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	o = end(&s, true);
	assert_int_equal(run_status(o), 0);
	assert_false(run_noted(o, "while holds were in force"));
	json_decref(o);
}

static void
test_said(void **in)
{
	struct state s;
	json_t *o;

	(void)in;
	begin(&s); /* the journal alone cannot tell */
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "7", "-");
	o = end(&s, false);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "while holds were in force"));
	json_decref(o);
	begin(&s); /* nor can anybody, without the selector */
	fix_hold_on(&s.f, 1, "uid:4", IN_ROOM, "'" ROOM "',NULL,NULL,NULL");
	buf_put_text(
	    &s.f.sql, "UPDATE hold SET salt=NULL,selector=NULL,room=NULL;");
	fix_purge_on(&s.f, 1, 0, 4, "records:6", "7", "-");
	o = end(&s, true);
	assert_int_equal(run_status(o), 0);
	assert_true(
	    run_noted(o, "what hold 1 (record 7) selects is not known"));
	json_decref(o);
}

/* ---- a purge record and archives, without the journal ---- */

static json_t *
run_purged(const char *leaf, const char *const *bags, size_t count)
{
	const struct verify_trust trust = {.given = NULL};
	struct verify_report *r = verify_report_new();
	struct verify_archive archive[2];
	const struct verify_archive *list[2];
	struct verify_leaf purge;
	const char *why;
	unsigned line;

	for (size_t i = 0; i < count; i++) {
		verify_archive_run(bags[i], true, &trust, r, &archive[i]);
		assert_true(archive[i].holds && archive[i].whole);
		list[i] = &archive[i];
	}
	verify_archive_sort(list, count);
	assert_true(verify_leaf_parse(view_text(leaf), &purge, &line, &why));
	verify_report_begin(r, "purge", "purge certificate");
	verify_purged(&purge, list, count, r);
	for (size_t i = 0; i < count; i++)
		verify_archive_release(&archive[i]);
	return run_end(r);
}

/* The purge record with `from` in its text as `to`. */
static void
check_purged(struct fix *f, const char *from, const char *to,
    const char *const *bags, size_t count, const char *check, int64_t seq,
    const char *words)
{
	const char *leaf = f->rec[f->n - 1].leaf, *at = strstr(leaf, from);
	char changed[2048];
	json_t *o;

	assert_non_null(at);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - leaf), leaf,
	    to, at + strlen(from));
	o = run_purged(changed, bags, count);
	if (check == NULL
		? run_status(o) != 0
		: run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("%s -> %s: expected %s", from, to, words);
	}
	json_decref(o);
}

static void
test_purged(void **in)
{
	struct fix_batch_args early = {1, 0, 4, 7, "records"};
	struct fix_batch_args late = {2, 3, 6, 7, "records"};
	char folder[64] = "/tmp/verify.XXXXXX", path[2][128];
	const char *bags[2] = {path[1], path[0]};
	struct fix_bag bag;
	struct fix f;

	(void)in;
	assert_non_null(mkdtemp(folder));
	fix_init(&f, 7);
	fix_open(&f);
	for (int i = 0; i < 6; i++)
		fix_post(&f, "word");
	for (int i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%d.tar.zst", folder, i);
		fix_bag_make(&f, i == 0 ? &early : &late, &bag);
		fix_bag_seal(&f, i == 0 ? &early : &late, &bag);
		fix_bag_write(&bag, path[i]);
	}
	fix_purge(&f, 9, 1, 5, "records:7");
	check_purged(&f, "held", "held", bags, 2, NULL, -1, NULL);
	check_purged(&f, "count 5", "count 4", bags, 2, "purges", 7,
	    "says 4 events, the archives have 5");
	check_purged(
	    &f, "ranges 1-5", "ranges 1-3,5", bags, 2, "purges", 7, "digest");
	check_purged(
	    &f, "leaves ", "leaves 00", bags, 2, "control", 7, "malformed");
	check_purged(
	    &f, "ranges 1-5", "ranges 1-9", bags, 2, "purges", 7, "malformed");
	check_purged(&f, "held", "held", bags, 1, "coverage", 1, "none of");
	check_purged(&f, "held", "held", bags + 1, 1, "coverage", 5, "none of");
	check_purged(&f, "held", "held", bags, 0, "coverage", 3, "none of");
	check_purged(&f, "ranges 1-5", "ranges 1,3-5", bags, 1, "coverage", 1,
	    "none of");
	for (int i = 0; i < 2; i++)
		unlink(path[i]);
	rmdir(folder);
	fix_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_selectors),
	    cmocka_unit_test(test_ambiguous_columns),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_in_force),
	    cmocka_unit_test(test_said),
	    cmocka_unit_test(test_purged),
	};

	log_init("test_verify_held", LOG_LEVEL_ERROR);
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
