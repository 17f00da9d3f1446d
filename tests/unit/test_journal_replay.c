/* What comes back beside lost records, and over the end of a file. */

#include "tests/unit/segments_fixture.h"

#include "compliance/journal_import.h"

#define RECORDS_MAX 600
#define SELECTOR "{\"v\":1,\"room\":\"ma-chan://example.test/desk\"}"

struct kept {
	struct journal_record r;
	struct buf leaf, data[LEAF_PARTS_MAX], named[NAMED_COUNT];
	bool note; /* a checkpoint comes behind it */
};

struct source {
	struct fixture f;
	struct kept kept[RECORDS_MAX];
	size_t count, at;
	struct buf note;
};

static void
read_source(struct source *s)
{
	struct scan_record r;
	char why[256];
	struct scan *scan = scan_open(s->f.path, false, why, sizeof why);

	assert_non_null(scan);
	for (s->count = 0; scan_next(scan, &r) == 1; s->count++) {
		struct kept *k = &s->kept[s->count];

		assert_true(s->count < RECORDS_MAX);
		assert_int_equal(scan_named(scan, &r), 0);
		k->r.seq = r.seq;
		k->r.parts = r.parts;
		buf_put_view(&k->leaf, r.leaf);
		for (unsigned i = 0; i < r.parts; i++) {
			memcpy(k->r.salt[i], r.part[i].salt.p, 32);
			buf_put_view(&k->data[i], r.part[i].data);
		}
		for (unsigned i = 0; i < NAMED_COUNT; i++)
			buf_put_view(&k->named[i], r.named.text[i]);
	}
	scan_close(scan);
}

static void
end_source(struct source *s)
{
	for (size_t i = 0; i < s->count; i++) {
		buf_release(&s->kept[i].leaf);
		for (unsigned p = 0; p < LEAF_PARTS_MAX; p++)
			buf_release(&s->kept[i].data[p]);
		for (unsigned p = 0; p < NAMED_COUNT; p++)
			buf_release(&s->kept[i].named[p]);
	}
	buf_release(&s->note);
	end_segments(&s->f);
	free(s);
}

/* The checkpoint of the first records of the source. */
static void
sign(struct source *s, uint64_t size)
{
	uint8_t root[32];
	struct buf body;

	buf_init(&body);
	assert_int_equal(journal_root_at(s->f.j, size, root), 0);
	note_put_body(&body, view_text(ORIGIN), size, root);
	assert_true(
	    note_sign(&s->note, buf_view(&body), view_text(ORIGIN), s->f.key));
	buf_release(&body);
}

static enum journal_import_item
give(struct journal_import *in, struct journal_record *r, struct view *note)
{
	struct source *s = in->arg;
	struct kept *k = &s->kept[s->at];

	if (s->at > 0 && k[-1].note && s->note.len == 0) {
		sign(s, s->at);
		*note = buf_view(&s->note);
		return IMPORT_NOTE;
	}
	if (s->at == s->count)
		return IMPORT_END;
	s->at++;
	*r = k->r;
	r->leaf = buf_view(&k->leaf);
	for (unsigned i = 0; i < r->parts; i++)
		r->data[i] = buf_view(&k->data[i]);
	for (unsigned i = 0; i < NAMED_COUNT; i++)
		r->named.text[i] = buf_view(&k->named[i]);
	return IMPORT_RECORD;
}

static int
import(struct source *s, struct fixture *t, struct journal_import *in)
{
	in->next = give;
	in->arg = s;
	in->size = journal_size(s->f.j);
	journal_root(s->f.j, in->root);
	s->at = 0;
	buf_clear(&s->note);
	return journal_import(t->j, in);
}

static void
same_journal(struct source *s, struct fixture *t)
{
	uint8_t root[32], want[32];

	reopen(t);
	assert_int_equal(journal_size(t->j), journal_size(s->f.j));
	journal_root(s->f.j, want);
	journal_root(t->j, root);
	assert_memory_equal(root, want, 32);
}

static int64_t
number(const char *path, const char *sql)
{
	char why[256];
	sqlite3 *db = db_open(path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	int64_t n;

	assert_non_null(db);
	n = db_int(db, sql, -1);
	db_close(db);
	return n;
}

/* All that leads to a purge of records 10 to 20, which is seq's record. */
static void
append_purge(struct fixture *f)
{
	unsigned seq = (unsigned)journal_size(f->j);
	char fields[256];

	assert_int_equal(append_text(f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	sign_head(f, true);
	assert_int_equal(append_batch(f, "records", 1, 0, 99), 0);
	assert_int_equal(append_ack(f, "records", 1, 0, 99, "stored"), 0);
	(void)snprintf(fields, sizeof fields,
	    "purge 1\nfirst 10\nlast 20\ncount 11\nranges 10-20\nleaves 00\n"
	    "acks records:%u\n",
	    seq + 2);
	assert_int_equal(append_text(f, EVENT_PURGE, fields, NULL), 0);
}

static struct kept *
find(struct source *s, const char *text)
{
	for (size_t i = 0; i < s->count; i++)
		if (strstr(buf_text(&s->kept[i].leaf), text) != NULL)
			return &s->kept[i];
	fail_msg("%s", text);
	return NULL;
}

/* 100 posts, a hold that keeps none of them, a purge, and 10 posts. */
static struct source *
new_source(const char *selector)
{
	struct journal_hold h = {
	    .matter = view_text("m"), .selector = view_text(selector)};
	struct source *s = calloc(1, sizeof *s);
	struct journal_event e;

	assert_non_null(s);
	new_fixture(&s->f);
	append_open(&s->f);
	append_posts(&s->f, 100);
	assert_int_equal(journal_hold(s->f.j, &h, &e), 0);
	append_purge(&s->f);
	append_posts(&s->f, 10);
	read_source(s);
	return s;
}

static void
hold_and_purge(void **state)
{
	struct source *s = new_source(SELECTOR);
	struct kept *hold = find(s, "\nhold 1\n");
	struct journal_import in = {0};
	struct fixture t;
	char why[256];
	sqlite3 *db;

	(void)state;
	new_fixture(&t);
	if (import(s, &t, &in) != 0)
		fail_msg("%s %s", in.why, journal_error(t.j));
	same_journal(s, &t);
	assert_int_equal(
	    number(t.path, "SELECT COUNT(*) FROM body"), 2 * (110 - 11));
	db = db_open(t.path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(db);
	(void)snprintf(why, sizeof why, "ATTACH '%s' AS was", s->f.path);
	assert_int_equal(db_exec(db, why), 0);
	assert_int_equal(db_int(db,
			     "SELECT COUNT(*) FROM (SELECT * FROM hold"
			     " INTERSECT SELECT * FROM was.hold)",
			     -1),
	    1);
	db_close(db);
	end_segments(&t);
	/* Without its words it holds everything, but what was purged was. */
	new_fixture(&t);
	buf_clear(&hold->named[NAMED_SALT]);
	buf_clear(&hold->named[NAMED_SELECTOR]);
	in = (struct journal_import){0};
	assert_int_equal(import(s, &t, &in), 0);
	same_journal(s, &t);
	assert_int_equal(number(t.path,
			     "SELECT COUNT(*) FROM hold WHERE selector IS NULL"
			     " AND salt IS NULL AND room IS NULL"),
	    1);
	assert_int_equal(
	    number(t.path, "SELECT COUNT(*) FROM body"), 2 * (110 - 11));
	end_segments(&t);
	end_source(s);
}

static void
words_are_checked(void **state)
{
	struct source *s = new_source(SELECTOR);
	struct kept *hold = find(s, "\nhold 1\n");
	struct fixture t;

	(void)state;
	new_fixture(&t);
	for (int i = NAMED_SALT; i <= NAMED_SELECTOR; i++) {
		struct journal_import in = {0};

		hold->named[i].data[5] ^= 1;
		assert_int_equal(import(s, &t, &in), 1);
		assert_string_equal(in.why,
		    "record 101: the words of the hold are not those that it "
		    "commits to");
		hold->named[i].data[5] ^= 1;
		reopen(&t);
		assert_int_equal(journal_size(t.j), 0);
	}
	end_segments(&t);
	end_source(s);
	/* A purge of what the words keep cannot have been. */
	s = new_source("{\"v\":1}");
	new_fixture(&t);
	assert_int_equal(import(s, &t, &(struct journal_import){0}), -1);
	assert_non_null(strstr(journal_error(t.j), "that a hold keeps"));
	end_segments(&t);
	end_source(s);
}

/* 256 records and a second file, which purges of the first. */
static struct source *
new_files(void)
{
	struct source *s = calloc(1, sizeof *s);

	assert_non_null(s);
	new_fixture(&s->f);
	append_open(&s->f);
	roll(&s->f, 256);
	append_posts(&s->f, 20);
	append_purge(&s->f);
	append_posts(&s->f, 10);
	sign_head(&s->f, true);
	read_source(s);
	return s;
}

static void
over_the_end_of_a_file(void **state)
{
	struct source *s = new_files();
	struct journal_import in = {.roll = true};
	struct fixture t;
	char later[128];

	(void)state;
	new_fixture(&t);
	if (import(s, &t, &in) != 0)
		fail_msg("%s %s", in.why, journal_error(t.j));
	assert_int_equal(in.appended, s->count);
	same_journal(s, &t);
	assert_int_equal(journal_segment(t.j), 1);
	(void)snprintf(later, sizeof later, "%s/journal-0001.db", t.dir);
	/* 254 posts but those purged, and the range, in the first file. */
	assert_int_equal(
	    number(t.path, "SELECT COUNT(*) FROM body"), 2 * (254 - 11));
	assert_int_equal(
	    number(t.path, "SELECT last FROM purge_range WHERE first = 10"),
	    20);
	assert_int_equal(number(later, "SELECT COUNT(*) FROM body"), 2 * 30);
	assert_int_equal(
	    number(later, "SELECT COUNT(*) FROM checkpoint WHERE size = 256"),
	    1);
	append_posts(&t, 100);
	end_segments(&t);
	end_source(s);
}

static void
files_are_made_anew_or_not_at_all(void **state)
{
	struct source *s = new_files();
	struct journal_import in = {0};
	struct fixture t;

	(void)state;
	new_fixture(&t);
	assert_int_equal(import(s, &t, &in), 1);
	assert_non_null(strstr(in.why, "record 256 belongs into another file"));
	reopen(&t);
	assert_int_equal(journal_size(t.j), 0);
	/* A payload of the first file that nobody purged. */
	in = (struct journal_import){.roll = true};
	s->kept[5].r.parts = 0;
	assert_int_equal(import(s, &t, &in), 1);
	assert_non_null(strstr(in.why, "record 5 without its payload"));
	s->kept[5].r.parts = 2;
	end_segments(&t);
	/* Nothing vouches for the first file. */
	new_fixture(&t);
	in = (struct journal_import){.roll = true};
	buf_clear(&s->kept[256].named[NAMED_NOTE]);
	assert_int_equal(import(s, &t, &in), 1);
	assert_non_null(strstr(in.why, "record 256: the checkpoint that the"));
	reopen(&t);
	assert_int_equal(journal_size(t.j), 0);
	end_segments(&t);
	end_source(s);
}

/* As far as signed checkpoints vouch for the sources, and no file begun. */
static void
a_part_of_the_files(void **state)
{
	struct source *s = new_files();
	struct journal_import in = {.roll = true, .partial = true};
	size_t all = s->count;
	struct fixture t;

	(void)state;
	s->count = 200;
	new_fixture(&t);
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 0);
	end_segments(&t);
	s->count = 280;
	new_fixture(&t);
	in = (struct journal_import){.roll = true, .partial = true};
	assert_int_equal(import(s, &t, &in), 1);
	assert_string_equal(in.why,
	    "no checkpoint of the sources vouches for record 256, which begins "
	    "a file of the journal, or any after it");
	end_segments(&t);
	/* With one of them. */
	s->kept[279].note = true;
	new_fixture(&t);
	in = (struct journal_import){.roll = true, .partial = true};
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 280);
	assert_int_equal(journal_segment(t.j), 1);
	reopen(&t);
	assert_int_equal(journal_size(t.j), 280);
	append_posts(&t, 3);
	end_segments(&t);
	s->count = all;
	end_source(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hold_and_purge),
	    cmocka_unit_test(words_are_checked),
	    cmocka_unit_test(over_the_end_of_a_file),
	    cmocka_unit_test(files_are_made_anew_or_not_at_all),
	    cmocka_unit_test(a_part_of_the_files),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
