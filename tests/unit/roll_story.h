#ifndef TESTS_UNIT_ROLL_STORY_H
#define TESTS_UNIT_ROLL_STORY_H

/*
 * The end of a file, told call by call as the keeper makes them: sealed, gone
 * on from in the next one, purged of its payloads and written anew. What
 * fails is tried again. What was acknowledged is there afterwards, what was
 * purged is not, and the verifier finds nothing.
 */

#include "tests/unit/segments_fixture.h"
#include "tests/unit/verify_run.h"

#include "base/conf.h"

#define FULL 256 /* records of the first file */
#define EARLY 249
#define ENOUGH 270           /* records at the end of the story */
#define TRIES 8              /* of what fails, in all */
#define CANARY "CANARY-93b1" /* in each post */

/* What a test adds to the story; each may be NULL. */
static struct {
	bool (*dead)(void);      /* whether nothing will ever succeed again */
	void (*pause)(bool yes); /* around what is not to fail */
} roll_hooks;

static inline bool
roll_dead(void)
{
	return roll_hooks.dead != NULL && roll_hooks.dead();
}

static inline void
roll_pause(bool yes)
{
	if (roll_hooks.pause != NULL)
		roll_hooks.pause(yes);
}

/* What the story was told to be durable. */
struct roll {
	uint64_t size;
	bool purged; /* and the payloads are gone */
	bool over;
};

static inline bool
took(struct fixture *f, int result, struct roll *told)
{
	if (result != 0)
		return false;
	told->size = journal_size(f->j);
	return true;
}

/* Long ones, so that a file without them is worth to be written anew. */
static inline bool
post(struct fixture *f, size_t count, struct roll *told)
{
	struct journal_event e[EARLY];
	char id[EARLY][64], text[400];

	(void)snprintf(
	    text, sizeof text, "{\"v\":1,\"text\":\"" CANARY "%*s\"}", 300, "");
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(id[i], sizeof id[i],
		    "{\"v\":1,\"type\":\"post\",\"id\":\"%08x-%zu\"}",
		    (unsigned)journal_size(f->j), i);
		e[i] = (struct journal_event){.kind = EVENT_POST,
		    .parts = 2,
		    .part = {view_text(id[i]), view_text(text)}};
	}
	return took(f, journal_append(f->j, e, count), told);
}

/* A signed note for a size that is durable, as the signer would give it. */
static inline bool
roll_note(struct fixture *f)
{
	struct buf body, text;
	uint8_t root[32];

	roll_pause(true);
	buf_init(&body);
	buf_init(&text);
	journal_root(f->j, root);
	note_put_body(&body, view_text(ORIGIN), journal_size(f->j), root);
	assert_true(
	    note_sign(&text, buf_view(&body), view_text(ORIGIN), f->key));
	roll_pause(false);
	journal_note(f->j, journal_size(f->j), buf_view(&text), true);
	buf_release(&text);
	buf_release(&body);
	return journal_store_note(f->j) == 0;
}

static inline bool
begin_file(struct fixture *f, struct roll *told)
{
	struct buf base;
	char fields[512];
	bool ok;

	buf_init(&base);
	ok = journal_put_base(f->j, &base) == 0;
	(void)snprintf(fields, sizeof fields,
	    "journal " UUID "\norigin " ORIGIN "\nvkey %s\nnext " NEXT
	    "\nsoftware test\nsegment %u\nnote %s\n",
	    f->vkey, journal_segment(f->j), ok ? buf_text(&base) : "-");
	buf_release(&base);
	return ok && took(f, append_text(f, EVENT_OPEN, fields, NULL), told);
}

/* All posts of the first file. */
static inline bool
purge(struct fixture *f, struct roll *told)
{
	static const char *const required[] = {"records"};
	const struct conf conf = {.purge_after_s = 0};
	const struct range range = {2, FULL - 2};
	const struct journal_purge p = {.ranges = &range,
	    .count = 1,
	    .applied = 1000,
	    .conf = &conf,
	    .required = required,
	    .required_count = 1};
	struct journal_event e;

	return took(f, journal_purge(f->j, &p, &e), told);
}

/* How many records of a kind the file that is written has. */
static inline unsigned
has(struct fixture *f, unsigned kind)
{
	struct buf fields;
	uint64_t seq, before = UINT64_MAX >> 1;
	unsigned n = 0;

	buf_init(&fields);
	while (journal_fields_before(f->j, kind, before, &seq, &fields) == 1) {
		before = seq;
		n++;
	}
	buf_release(&fields);
	return n;
}

/* What comes next in the first file; false when the disk refused it. */
static inline bool
fill(struct fixture *f, struct roll *told)
{
	struct journal_event e;

	if (journal_sealed(f->j))
		return roll_note(f) && journal_roll(f->j) == 0;
	if (journal_size(f->j) == FULL - 1)
		return took(f, journal_seal(f->j, &e), told);
	if (journal_size(f->j) == EARLY + 3 && journal_prepare(f->j) < 0)
		return false;
	return post(f, 1, told);
}

/* What comes next in the second one. */
static inline bool
empty(struct fixture *f, struct roll *told)
{
	struct range records;
	int r;

	if (journal_opens(f->j))
		return begin_file(f, told);
	if (has(f, EVENT_BATCH) == 0)
		return took(f, append_batch(f, "records", 1, 0, FULL), told);
	if (has(f, EVENT_ACK) == 0)
		return took(
		    f, append_ack(f, "records", 1, 0, FULL, "stored"), told);
	if (journal_undone(f->j) && journal_truncate(f->j) != 0)
		return false;
	if (has(f, EVENT_PURGE) == 0)
		return roll_note(f) && purge(f, told);
	told->purged = true;
	r = journal_shrink(f->j, 0, &records);
	if (r == 0)
		return post(f, 1, told);
	return r == JOURNAL_SHRINKING || r == JOURNAL_SHRUNK;
}

/* Until the story is over; false when the disk refuses for good. */
static inline bool
roll_go_on(struct fixture *f, struct roll *told)
{
	unsigned tries = 0;

	while (!told->over) {
		bool done;

		if (journal_size(f->j) == ENOUGH)
			done = told->over = roll_note(f);
		else if (journal_segment(f->j) == 0)
			done = fill(f, told);
		else
			done = empty(f, told);
		if (!done && (roll_dead() || ++tries > TRIES))
			return false;
		if (!journal_writable(f->j) && journal_recover(f->j) != 0 &&
		    (roll_dead() || ++tries > TRIES))
			return false;
	}
	return true;
}

static inline void
roll_begin(struct fixture *f, struct roll *told)
{
	*told = (struct roll){0};
	new_fixture(f);
	assert_true(begin_file(f, told));
	assert_int_equal(append_text(f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	assert_true(post(f, EARLY - 2, told));
	assert_true(roll_note(f));
	told->size = journal_size(f->j);
}

/* ---- afterwards ---- */

static inline bool
holds_canary(const char *path)
{
	struct buf b;
	bool found;

	buf_init(&b);
	if (file_read(path, 64U << 20, &b) != 0)
		buf_clear(&b); /* there is none */
	found = memmem(b.data, b.len, CANARY, strlen(CANARY)) != NULL;
	buf_release(&b);
	return found;
}

/* The story is over: the payloads are gone, and their room is. */
static inline void
check_small(struct fixture *f, const char *when)
{
	char wal[128], why[256];
	sqlite3 *db;

	(void)snprintf(wal, sizeof wal, "%s-wal", f->path);
	if (holds_canary(f->path) || holds_canary(wal))
		fail_msg("%s: a purged payload is still there", when);
	db = db_open(f->path, DB_READ_COPY, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(db);
	assert_int_equal(db_int(db, "PRAGMA freelist_count", -1), 0);
	db_close(db);
}

/* Nothing acknowledged is missing, and it verifies. */
static inline void
roll_check(struct fixture *f, const struct roll *told, const char *when)
{
	uint64_t size = journal_size(f->j);
	struct verify_report *r = verify_report_new();
	unsigned count = journal_segment(f->j) + 1;
	const char *path[2];
	struct verify_journal j;
	struct verify_key key;
	const char *why;
	struct buf text;

	if (size < told->size)
		fail_msg("%s: %u records were acknowledged, %u are there", when,
		    (unsigned)told->size, (unsigned)size);
	assert_in_range(count, 1, 2);
	for (unsigned i = 0; i < count; i++)
		path[i] = segments_path(f->path, i);
	assert_true(verify_key_parse(view_text(f->vkey), &key, &why));
	verify_journal_run(&(const struct verify_group){path, count, true},
	    &key, NULL, 0, r, &j);
	verify_journal_release(&j);
	if (verify_report_status(r) != 0) {
		buf_init(&text);
		verify_report_text(r, &text);
		fail_msg("%s: %s", when, buf_text(&text));
	}
	verify_report_free(r);
	for (unsigned i = 0; i < count; i++)
		free((void *)(uintptr_t)path[i]);
	if (told->over)
		check_small(f, when);
}

#endif
