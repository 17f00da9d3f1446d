/* Lost records come back byte for byte, all of them or none. */

#include "tests/unit/journal_fixture.h"

#include "compliance/journal_import.h"
#include "compliance/leaf.h"

#define RECORDS_MAX 1200

/* A record of the source journal, and what a test makes of it. */
struct kept {
	struct journal_record r;
	struct buf leaf, data[LEAF_PARTS_MAX];
	struct buf note; /* behind it */
};

struct source {
	struct fixture f;
	struct kept kept[RECORDS_MAX];
	size_t count;
	/* What is handed out, by numbers; -1 ends it. */
	const int *order;
	int from, to; /* or these */
	int at;
	bool note_due;
	char fork[64]; /* replaces the boot id of record `forked` */
	int forked;
	struct buf text;
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
		k->r.seq = r.seq;
		k->r.parts = r.purged ? 0 : r.parts;
		buf_put_view(&k->leaf, r.leaf);
		for (unsigned i = 0; i < k->r.parts; i++) {
			memcpy(k->r.salt[i], r.part[i].salt.p, 32);
			buf_put_view(&k->data[i], r.part[i].data);
		}
		(void)scan_checkpoint(scan, r.seq + 1, &k->note);
	}
	scan_close(scan);
}

/* 600 posts and more, with all the records that leave rows. */
static struct source *
new_source(void)
{
	struct source *s = calloc(1, sizeof *s);

	assert_non_null(s);
	new_fixture(&s->f);
	append_posts(&s->f, 300); /* 0 */
	assert_int_equal(
	    append_text(&s->f, EVENT_POLICY,
		"required records\nafter 0\napprovals 0\nquorum 0\n"
		"witnesses -\nstamp no\nclasses -\n",
		NULL),
	    0); /* 300 */
	sign_head(&s->f, true);
	assert_int_equal(append_batch(&s->f, "records", 1, 0, 99), 0);
	assert_int_equal(
	    append_ack(&s->f, "records", 1, 0, 99, "stored"), 0); /* 302 */
	sign_head(&s->f, true);
	assert_int_equal(
	    append_text(&s->f, EVENT_PURGE,
		"purge 1\nfirst 10\nlast 60\ncount 42\n"
		"ranges 10-49,52,60\nleaves 00\nacks records:302\n",
		NULL),
	    0); /* 303 */
	append_posts(&s->f, 300);
	sign_head(&s->f, true);
	append_posts(&s->f, 7);
	read_source(s);
	assert_int_equal(s->count, 611);
	for (int i = 10; i < 50; i++)
		s->kept[i].r.parts = 0;
	s->to = (int)s->count;
	s->forked = -1;
	return s;
}

static void
end_source(struct source *s)
{
	for (size_t i = 0; i < s->count; i++) {
		buf_release(&s->kept[i].leaf);
		buf_release(&s->kept[i].note);
		for (unsigned p = 0; p < LEAF_PARTS_MAX; p++)
			buf_release(&s->kept[i].data[p]);
	}
	buf_release(&s->text);
	end_fixture(&s->f);
	free(s);
}

static enum journal_import_item
give(struct journal_import *in, struct journal_record *r, struct view *note)
{
	struct source *s = in->arg;
	int i = s->order != NULL ? s->order[s->at] : s->from + s->at;
	struct kept *k;

	if (i < 0 || (s->order == NULL && i >= s->to))
		return IMPORT_END;
	k = &s->kept[i];
	if (s->note_due) {
		s->note_due = false;
		s->at++;
		*note = buf_view(&k->note);
		return IMPORT_NOTE;
	}
	*r = k->r;
	r->leaf = buf_view(&k->leaf);
	for (unsigned p = 0; p < r->parts; p++)
		r->data[p] = buf_view(&k->data[p]);
	if (i == s->forked) {
		buf_clear(&s->text);
		buf_put_view(&s->text, r->leaf);
		((uint8_t *)memmem(s->text.data, s->text.len, " 0\np", 4))[1] =
		    '1';
		r->leaf = buf_view(&s->text);
	}
	if (k->note.len > 0)
		s->note_due = true;
	else
		s->at++;
	return IMPORT_RECORD;
}

/* An empty journal of the same identity. */
static void
new_target(struct fixture *t)
{
	new_fixture(t);
}

static int
import(struct source *s, struct fixture *t, struct journal_import *in)
{
	in->next = give;
	in->arg = s;
	if (in->size == 0) {
		in->size = journal_size(s->f.j);
		journal_root(s->f.j, in->root);
	}
	s->at = 0;
	s->note_due = false;
	return journal_import(t->j, in);
}

static int64_t
number(struct fixture *t, const char *sql)
{
	sqlite3 *db = open_raw(t);
	int64_t n = db_int(db, sql, -1);

	db_close(db);
	return n;
}

static void
unchanged(struct fixture *t, uint64_t size)
{
	reopen(t);
	assert_int_equal(journal_size(t->j), size);
	check_all(t, size);
}

static void
all_of_it(void **state)
{
	struct source *s = new_source();
	struct journal_import in = {0};
	struct fixture t;
	uint8_t root[32], want[32];

	(void)state;
	new_target(&t);
	if (import(s, &t, &in) != 0)
		fail_msg("%s %s", in.why, journal_error(t.j));
	assert_int_equal(in.appended, 611);
	reopen(&t);
	journal_root(s->f.j, want);
	journal_root(t.j, root);
	assert_memory_equal(root, want, 32);
	check_all(&t, 611);
	assert_int_equal(number(&t, "SELECT COUNT(*) FROM batch"), 1);
	assert_int_equal(number(&t, "SELECT seq FROM ack"), 302);
	assert_int_equal(number(&t, "SELECT COUNT(*) FROM purge_range"), 3);
	assert_int_equal(number(&t, "SELECT COUNT(*) FROM tile"), 2);
	assert_int_equal(number(&t, "SELECT COUNT(*) FROM checkpoint"), 3);
	assert_int_equal(number(&t, "SELECT MAX(size) FROM checkpoint"), 604);
	/* Two parts each of 607 posts but 42. */
	assert_int_equal(
	    number(&t, "SELECT COUNT(*) FROM body"), 2 * (607 - 42));
	/* It goes on as ever. */
	append_posts(&t, 300);
	check_all(&t, 911);
	end_fixture(&t);
	end_source(s);
}

static void
overlaps_and_repeats(void **state)
{
	static const int twice[] = {0, 1, 2, 1, 3, 3, 0, 4, 5, -1};
	struct source *s = new_source();
	struct journal_import in = {.size = 6};
	struct fixture t;

	(void)state;
	new_target(&t);
	assert_int_equal(journal_root_at(s->f.j, 6, in.root), 0);
	s->order = twice;
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 6);
	reopen(&t);
	s->order = NULL;
	s->from = 3;
	in = (struct journal_import){0};
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 605);
	check_all(&t, 611);
	/* Nothing is missing any more: that is well, too. */
	reopen(&t);
	in = (struct journal_import){0};
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 0);
	end_fixture(&t);
	end_source(s);
}

/* What was recorded and never signed comes along. */
static void
an_unsigned_tail_is_kept(void **state)
{
	struct source *s = new_source();
	struct journal_import in = {.size = 604};
	struct fixture t;

	(void)state;
	new_target(&t);
	assert_int_equal(journal_root_at(s->f.j, 604, in.root), 0);
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 611);
	end_fixture(&t);
	end_source(s);
}

static void
all_or_nothing(void **state)
{
	static const int gap[] = {0, 1, 2, 3, 5, 6, -1};
	struct source *s = new_source();
	struct journal_import in = {0};
	struct fixture t;

	(void)state;
	new_target(&t);
	s->order = gap;
	assert_int_equal(import(s, &t, &in), 1);
	assert_true(in.misses);
	assert_int_equal(in.missing, 4);
	unchanged(&t, 0);
	s->order = NULL;
	s->to = 610;
	assert_int_equal(import(s, &t, &in), 1);
	assert_true(in.misses);
	assert_int_equal(in.missing, 610);
	unchanged(&t, 0);
	end_fixture(&t);
	end_source(s);
}

static void
contradictions_are_named(void **state)
{
	static const int fork[] = {0, 1, 2, 3, 2, 4, -1};
	struct source *s = new_source();
	struct journal_import in = {0};
	struct fixture t;

	(void)state;
	new_target(&t);
	/* Another record, well-formed: the signed root tells. */
	s->forked = 609;
	assert_int_equal(import(s, &t, &in), 1);
	assert_false(in.misses);
	assert_non_null(strstr(in.why, "another root"));
	assert_non_null(strstr(in.why, "size 611"));
	unchanged(&t, 0);
	/* A part that is not the leaf's. */
	s->forked = -1;
	s->kept[500].data[1].data[5] ^= 1;
	assert_int_equal(import(s, &t, &in), 1);
	assert_string_equal(
	    in.why, "record 500: a part is not what the leaf commits to");
	s->kept[500].data[1].data[5] ^= 1;
	unchanged(&t, 0);
	/* A payload that nobody purged. */
	s->kept[500].r.parts = 0;
	assert_int_equal(import(s, &t, &in), 1);
	assert_string_equal(in.why,
	    "the sources have record 500 without its payload, which no purge "
	    "removed");
	s->kept[500].r.parts = 2;
	unchanged(&t, 0);
	/* Sources that say two things. */
	in = (struct journal_import){.size = 5};
	assert_int_equal(journal_root_at(s->f.j, 5, in.root), 0);
	s->order = fork;
	assert_int_equal(import(s, &t, &in), 0);
	reopen(&t);
	s->forked = 2;
	in = (struct journal_import){.size = 6};
	assert_int_equal(journal_root_at(s->f.j, 6, in.root), 0);
	assert_int_equal(import(s, &t, &in), 1);
	assert_string_equal(
	    in.why, "record 2 of the sources contradicts the journal");
	unchanged(&t, 5);
	end_fixture(&t);
	end_source(s);
}

/* Without the end: as far as signed checkpoints vouch for the sources. */
static void
as_far_as_it_is_signed(void **state)
{
	struct source *s = new_source();
	struct journal_import in = {.partial = true};
	struct fixture t;
	uint8_t root[32], want[32];

	(void)state;
	new_target(&t);
	s->to = 610;
	if (import(s, &t, &in) != 0)
		fail_msg("%s %s", in.why, journal_error(t.j));
	assert_int_equal(in.appended, 604);
	assert_int_equal(journal_size(t.j), 604);
	journal_root(t.j, root);
	assert_int_equal(journal_root_at(s->f.j, 604, want), 0);
	assert_memory_equal(root, want, 32);
	check_all(&t, 604);
	append_posts(&t, 1);
	reopen(&t);
	check_all(&t, 605);
	end_fixture(&t);
	/* No checkpoint holds: a flipped bit in each signature. */
	new_target(&t);
	for (size_t i = 0; i < s->count; i++)
		if (s->kept[i].note.len > 0)
			s->kept[i].note.data[s->kept[i].note.len - 20] ^= 1;
	in = (struct journal_import){.partial = true};
	assert_int_equal(import(s, &t, &in), 0);
	assert_int_equal(in.appended, 0);
	unchanged(&t, 0);
	end_fixture(&t);
	end_source(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_of_it),
	    cmocka_unit_test(overlaps_and_repeats),
	    cmocka_unit_test(an_unsigned_tail_is_kept),
	    cmocka_unit_test(all_or_nothing),
	    cmocka_unit_test(contradictions_are_named),
	    cmocka_unit_test(as_far_as_it_is_signed),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
