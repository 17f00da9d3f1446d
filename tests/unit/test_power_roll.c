#include "tests/unit/power_names.h"
#include "tests/unit/segments_fixture.h"
#include "tests/unit/verify_once.h"
#include "tests/unit/verify_run.h"

#include "base/conf.h"

/*
 * The end of a file on a disk that loses power or fails at any operation:
 * sealed, gone on from in the next one, purged of its payloads and written
 * anew. What was acknowledged is there afterwards, what was purged is not,
 * the verifier finds nothing, and the journal goes on as the keeper does.
 * CHANCERY_SEED varies what a cut loses.
 */

#define USUAL 31 /* operations from one that the suite takes to the next */
#define FULL 256 /* records of the first file */
#define EARLY 249
#define ENOUGH 270           /* records at the end of the story */
#define TRIES 8              /* of what fails, in all */
#define CANARY "CANARY-93b1" /* in each post */

static uint64_t seed;

/* What the story was told to be durable. */
struct told {
	uint64_t size;
	bool purged; /* and the payloads are gone */
	bool over;
};

static bool
took(struct fixture *f, int result, struct told *told)
{
	if (result != 0)
		return false;
	told->size = journal_size(f->j);
	return true;
}

/* Long ones, so that a file without them is worth to be written anew. */
static bool
post(struct fixture *f, size_t count, struct told *told)
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
static bool
note(struct fixture *f)
{
	struct buf body, text;
	uint8_t root[32];

	buf_init(&body);
	buf_init(&text);
	journal_root(f->j, root);
	note_put_body(&body, view_text(ORIGIN), journal_size(f->j), root);
	assert_true(
	    note_sign(&text, buf_view(&body), view_text(ORIGIN), f->key));
	journal_note(f->j, journal_size(f->j), buf_view(&text), true);
	buf_release(&text);
	buf_release(&body);
	return journal_store_note(f->j) == 0;
}

static bool
begin_file(struct fixture *f, struct told *told)
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
static bool
purge(struct fixture *f, struct told *told)
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
static unsigned
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
static bool
fill(struct fixture *f, struct told *told)
{
	struct journal_event e;

	if (journal_sealed(f->j))
		return note(f) && journal_roll(f->j) == 0;
	if (journal_size(f->j) == FULL - 1)
		return took(f, journal_seal(f->j, &e), told);
	if (journal_size(f->j) == EARLY + 3 && journal_prepare(f->j) < 0)
		return false;
	return post(f, 1, told);
}

/* What comes next in the second one. */
static bool
empty(struct fixture *f, struct told *told)
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
		return note(f) && purge(f, told);
	told->purged = true;
	r = journal_shrink(f->j, 0, &records);
	if (r == 0)
		return post(f, 1, told);
	return r == JOURNAL_SHRINKING || r == JOURNAL_SHRUNK;
}

/* Until the story is over; false when the disk refuses for good. */
static bool
go_on(struct fixture *f, struct told *told)
{
	unsigned tries = 0;

	while (!told->over) {
		bool done;

		if (journal_size(f->j) == ENOUGH)
			done = told->over = note(f);
		else if (journal_segment(f->j) == 0)
			done = fill(f, told);
		else
			done = empty(f, told);
		if (!done && (power.dead || ++tries > TRIES))
			return false;
		if (!journal_writable(f->j) && journal_recover(f->j) != 0 &&
		    (power.dead || ++tries > TRIES))
			return false;
	}
	return true;
}

static void
begin(struct fixture *f, struct told *told)
{
	*told = (struct told){0};
	new_fixture(f);
	assert_true(begin_file(f, told));
	assert_int_equal(append_text(f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
	assert_true(post(f, EARLY - 2, told));
	assert_true(note(f));
	told->size = journal_size(f->j);
	power.operations = 0;
	power_names_begin();
}

/* ---- afterwards ---- */

static bool
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
static void
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
static void
check(struct fixture *f, const struct told *told, const char *when)
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

/* As the keeper does when it starts. */
static void
start(struct fixture *f, const struct told *told, const char *when)
{
	struct journal_settled out = {.ranges = 0, .more = true};
	char why[256] = "";
	uint64_t next = 0;

	f->j = journal_open(f->path, why, sizeof why);
	if (f->j == NULL)
		fail_msg("%s: %s", when, why);
	while (journal_segment(f->j) > 0 && out.more)
		if (journal_settle(f->j, 0, &next, &out) != 0)
			fail_msg("%s: %s", when, journal_error(f->j));
	if (told->purged && out.ranges > 0)
		fail_msg("%s: something is back that was purged before", when);
}

/* Whether the power went before the story was over. */
static bool
cut_once(unsigned operation, unsigned draw)
{
	struct fixture f;
	struct told told;
	char when[64];
	bool whole;

	(void)snprintf(when, sizeof when, "power cut at operation %u, draw %u",
	    operation, draw);
	power_begin(seed + operation * POWER_DRAWS + draw);
	begin(&f, &told);
	power.cut_at = operation;
	whole = go_on(&f, &told);
	journal_close(f.j);
	power_names_restore(f.dir);
	told.over = false;
	start(&f, &told, when);
	assert_true(note(&f));
	check(&f, &told, when);
	if (!go_on(&f, &told))
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	check(&f, &told, when);
	end_segments(&f);
	return !whole;
}

static bool
cut_at(unsigned operation)
{
	bool went = cut_once(operation, 0);

	for (unsigned draw = 1; power_names.open > 0 && draw < power.draws;
	     draw++)
		(void)cut_once(operation, draw);
	return went;
}

static void
power_goes_at_every_operation(void **state)
{
	unsigned n, step = power_stride(USUAL, &n);

	(void)state;
	while (cut_at(n))
		n += step;
	assert_in_range(n, 100, 5000);
	(void)fprintf(stderr, "# about %u operations\n", n);
}

/* One operation fails, once; the keeper recovers as it does in life. */
static bool
fail_at(unsigned operation, int failure)
{
	struct fixture f;
	struct told told;
	char when[64];
	bool failed;

	(void)snprintf(when, sizeof when, "failure %d at operation %u", failure,
	    operation);
	power_begin(seed + operation);
	begin(&f, &told);
	power.fail_at = operation;
	power.failure = failure;
	if (!go_on(&f, &told))
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	failed = power.operations >= operation;
	power.fail_at = 0;
	power_names_end(false);
	check(&f, &told, when);
	end_segments(&f);
	return failed;
}

static void
every_operation_fails_once(void **state)
{
	static const int failures[] = {SQLITE_IOERR_WRITE, SQLITE_FULL};
	unsigned n, step;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (step = power_stride(2 * USUAL, &n);
		     fail_at(n, failures[i]); n += step)
			assert_in_range(n, 1, 5000);
}

static int
prepare(void **state)
{
	const char *text = getenv("CHANCERY_SEED");

	(void)state;
	seed = text != NULL ? strtoull(text, NULL, 10) : 1;
	crypto_init();
	power_install();
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	power_uninstall();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(power_goes_at_every_operation),
	    cmocka_unit_test(every_operation_fails_once),
	};

	return cmocka_run_group_tests(tests, prepare, finish);
}
