#include "tests/unit/journal_fixture.h"
#include "tests/unit/power_vfs.h"
#include "tests/unit/verify_once.h"
#include "tests/unit/verify_run.h"

/*
 * The journal on a disk that loses power or fails at any operation: what was
 * acknowledged is there afterwards, the verifier finds nothing, and the
 * journal goes on. CHANCERY_SEED varies what a cut loses.
 */

#define GROUPS 18
#define USUAL 5 /* operations from one that the suite takes to the next */

static uint64_t seed;

/* What the story was told to be durable. */
struct told {
	uint64_t size;
	uint64_t purged_to;
};

static bool
grow(struct fixture *f, unsigned n, struct told *told)
{
	struct journal_event e[3];
	char id[3][64];

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(id[i], sizeof id[i],
		    "{\"v\":1,\"type\":\"post\",\"id\":\"%08x-%zu\"}", n, i);
		e[i] = (struct journal_event){.kind = EVENT_POST,
		    .parts = 2,
		    .part = {view_text(id[i]),
			view_text("{\"v\":1,\"text\":\"CANARY-93b1\"}")}};
	}
	if (journal_append(f->j, e, 1 + n % 3) != 0)
		return false;
	told->size = journal_size(f->j);
	return true;
}

/* A signed note for a size that is durable, as the signer would give it. */
static void
note(struct fixture *f, bool publish)
{
	struct buf body, text;
	uint8_t root[32];

	buf_init(&body);
	buf_init(&text);
	journal_root(f->j, root);
	note_put_body(&body, view_text(ORIGIN), journal_size(f->j), root);
	assert_true(
	    note_sign(&text, buf_view(&body), view_text(ORIGIN), f->key));
	journal_note(f->j, journal_size(f->j), buf_view(&text), publish);
	buf_release(&text);
	buf_release(&body);
}

static bool
control(struct fixture *f, int result, struct told *told)
{
	if (result != 0)
		return false;
	told->size = journal_size(f->j);
	return true;
}

/*
 * Groups of posts, notes, batches, acknowledgements, checkpoints of the WAL
 * in between. False when the disk refused something.
 */
static bool
live(struct fixture *f, unsigned from, unsigned groups, struct told *told)
{
	for (unsigned n = from; n < from + groups; n++) {
		if (!grow(f, n, told))
			return false;
		if (n % 4 == 3)
			note(f, n % 8 == 7);
		if (n % 10 == 5 && journal_checkpoint(f->j) != 0 &&
		    !journal_writable(f->j))
			return false;
		if (n % 16 == 9 &&
		    (journal_store_note(f->j) != 0 ||
			journal_truncate(f->j) != 0))
			return false;
	}
	return true;
}

static bool
archive(struct fixture *f, struct told *told)
{
	unsigned last = (unsigned)journal_size(f->j) - 1;

	return control(f, append_batch(f, "records", 1, 0, last), told) &&
	    control(f, append_ack(f, "records", 1, 0, last, "stored"), told);
}

static void
begin(struct fixture *f, struct told *told)
{
	struct journal_event e;
	char fields[512];

	*told = (struct told){0};
	new_fixture(f);
	(void)snprintf(fields, sizeof fields,
	    "journal %s\norigin %s\nvkey %s\nnext %064d\nsoftware test/0\n"
	    "segment 0\nnote -\n",
	    UUID, ORIGIN, f->vkey, 0);
	assert_int_equal(append_text(f, EVENT_OPEN, fields, &e), 0);
	told->size = 1;
}

static bool
story(struct fixture *f, struct told *told)
{
	return live(f, 0, GROUPS / 2, told) && archive(f, told) &&
	    live(f, GROUPS / 2, GROUPS, told);
}

/* Nothing acknowledged is missing, and it verifies. */
static void
check(struct fixture *f, const struct told *told, const char *when)
{
	uint64_t size = journal_size(f->j);
	json_t *report;

	if (size < told->size)
		fail_msg("%s: %llu records were acknowledged, %llu are there",
		    when, (unsigned long long)told->size,
		    (unsigned long long)size);
	check_all(f, size);
	note(f, true);
	assert_int_equal(journal_store_note(f->j), 0);
	report = run_journal(f->path, f->vkey, NULL, 0);
	if (run_status(report) != 0)
		fail_msg("%s: %s", when, json_dumps(report, JSON_INDENT(1)));
	json_decref(report);
}

/* Whether the power went before the story was over. */
static bool
cut_at(unsigned operation)
{
	struct fixture f;
	struct told told;
	char when[64], shm[128], why[256] = "";
	bool whole;

	(void)snprintf(
	    when, sizeof when, "power cut at operation %u", operation);
	power_begin(seed + operation);
	begin(&f, &told);
	power.operations = 0;
	power.cut_at = operation;
	whole = story(&f, &told);
	journal_close(f.j);
	power_restore();
	/* What is shared between processes is gone with the machine. */
	(void)snprintf(shm, sizeof shm, "%s-shm", f.path);
	(void)unlink(shm);
	f.j = journal_open(f.path, why, sizeof why);
	if (f.j == NULL)
		fail_msg("%s: %s", when, why);
	check(&f, &told, when);
	if (!live(&f, 100, 3, &told))
		fail_msg("%s: the journal does not go on: %s", when,
		    journal_error(f.j));
	check(&f, &told, when);
	end_fixture(&f);
	return !whole;
}

static void
power_goes_at_every_operation(void **state)
{
	unsigned n, step = power_stride(USUAL, &n);

	(void)state;
	while (cut_at(n))
		n += step;
	assert_in_range(n, 150, 5000);
	(void)fprintf(stderr, "# about %u operations\n", n);
}

/* One operation fails, once; the keeper recovers as it does in life. */
static bool
fail_at(unsigned operation, int failure)
{
	struct fixture f;
	struct told told;
	char when[64];
	unsigned from = 0, tries = 0;
	bool archived = false, failed = false;

	(void)snprintf(when, sizeof when, "failure %d at operation %u", failure,
	    operation);
	power_begin(seed + operation);
	begin(&f, &told);
	power.operations = 0;
	power.fail_at = operation;
	power.failure = failure;
	while (from < GROUPS || !archived) {
		bool ok = from == GROUPS / 2 && !archived
		    ? archive(&f, &told)
		    : live(&f, from, 1, &told);

		if (ok && from == GROUPS / 2 && !archived)
			archived = true;
		else if (ok)
			from++;
		else
			failed = true;
		if (!journal_writable(f.j) && journal_recover(f.j) != 0 &&
		    ++tries > 3)
			fail_msg(
			    "%s: no recovery: %s", when, journal_error(f.j));
		if (!ok && !archived && from == GROUPS / 2)
			archived = true; /* half a pair is not tried again */
	}
	failed = failed || power.operations >= operation;
	power.fail_at = 0;
	check(&f, &told, when);
	end_fixture(&f);
	return failed;
}

static void
every_operation_fails_once(void **state)
{
	static const int failures[] = {SQLITE_IOERR_WRITE, SQLITE_FULL};
	unsigned n, step;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (step = power_stride(USUAL, &n); fail_at(n, failures[i]);
		     n += step)
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
