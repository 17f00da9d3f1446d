#include "tests/unit/keeper_fixture.h"

static void
send_control(struct end *e, uint64_t ref, unsigned kind, const char *fields)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u8(&b, (uint8_t)kind);
	buf_put_text(&b, fields);
	send_frame(e->fd, WIRE_CONTROL, buf_view(&b), -1);
	buf_release(&b);
}

static uint64_t
expect_recorded(struct end *e, uint64_t ref)
{
	struct view payload;
	uint16_t type;

	do {
		assert_int_equal(receive(e, &type, &payload, WAIT_MS), 1);
	} while (type == WIRE_STATE);
	if (type == WIRE_REFUSED)
		fail_msg("refused: %.*s", (int)payload.n - 8,
		    (const char *)payload.p + 8);
	assert_int_equal(type, WIRE_RECEIPT);
	struct reader r = reader_of(payload);
	uint64_t seq;

	assert_int_equal(reader_u32(&r), 1);
	assert_int_equal(reader_u64(&r), ref);
	seq = reader_u64(&r);
	(void)reader_u64(&r);
	assert_true(reader_done(&r));
	return seq;
}

static void
expect_refused(struct end *e, uint64_t ref, const char *words)
{
	struct reader r = expect(e, WIRE_REFUSED);

	assert_int_equal(reader_u64(&r), ref);
	if (memmem(r.p, r.n, words, strlen(words)) == NULL)
		fail_msg(
		    "not \"%s\": %.*s", words, (int)r.n, (const char *)r.p);
}

static void
send_batch(
    struct fixture *f, uint64_t ref, unsigned n, unsigned first, unsigned last)
{
	struct scan *s = open_scan(f);
	struct buf left, right, b64;
	uint64_t size = scan_size(s);
	uint8_t root[32];
	char fields[512];

	buf_init(&left);
	buf_init(&right);
	buf_init(&b64);
	assert_int_equal(
	    scan_range_proof(s, first, last, size, &left, &right, root), 0);
	text_put_base64(&b64, root, sizeof root);
	(void)snprintf(fields, sizeof fields,
	    "adapter records\nbatch %u\nfirst %u\nlast %u\ncount %u\nsize %u\n"
	    "root %s\n",
	    n, first, last, last - first + 1, (unsigned)size, buf_text(&b64));
	send_control(&f->engine, ref, EVENT_BATCH, fields);
	buf_release(&left);
	buf_release(&right);
	buf_release(&b64);
	scan_close(s);
}

static void
send_purge(struct end *e, uint64_t ref, uint64_t first, uint64_t last)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u64(&b, first);
	buf_put_u64(&b, last);
	send_frame(e->fd, WIRE_PURGE, buf_view(&b), -1);
	buf_release(&b);
}

static bool
file_has(const char *path, const char *needle)
{
	struct buf b;
	bool has;

	buf_init(&b);
	if (access(path, F_OK) != 0)
		return false;
	assert_int_equal(file_read(path, 64U << 20, &b), 0);
	has =
	    b.len > 0 && memmem(b.data, b.len, needle, strlen(needle)) != NULL;
	buf_release(&b);
	return has;
}

static void
purge_over_the_wire(void **state)
{
	static const char ack[] =
	    "adapter records\nbatch 1\nfirst 0\nlast 101\nstate stored\n"
	    "location x.xml\nsha256 -\nbytes 9\nreadback yes\n";
	struct fixture f;
	char wal[300];
	uint64_t seq, until;
	struct reader purged;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.journal);
	up(&f);
	link_test(&f, "engine", &f.engine);
	assert_int_equal(post(&f.server, 100), 2);
	send_control(&f.engine, 1, EVENT_POLICY, "required -\nafter 0\n");
	expect_refused(&f.engine, 1, "keeper's own");
	send_control(&f.engine, 2, EVENT_POST, "text x\n");
	expect_refused(&f.engine, 2, "keeper's own");
	send_purge(&f.engine, 3, 0, 101);
	expect_refused(&f.engine, 3, "applied only up to 0");
	send_u64(&f.server, WIRE_APPLIED, 102);
	nap(50);
	send_purge(&f.engine, 4, 0, 101);
	expect_refused(&f.engine, 4, "never sent");
	send_control(&f.engine, 5, EVENT_ACK, ack);
	expect_refused(&f.engine, 5, "never sent");
	send_batch(&f, 6, 1, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 6), 102);
	send_purge(&f.engine, 7, 0, 101);
	expect_refused(&f.engine, 7, "not stored");
	send_control(&f.engine, 8, EVENT_ACK, ack);
	seq = expect_recorded(&f.engine, 8);
	assert_int_equal(seq, 103);
	wait_note(&f, 104);
	/* A batch and an ack are always published. */
	send_purge(&f.engine, 9, 0, UINT64_MAX);
	expect_refused(&f.engine, 9, "out of order");
	assert_true(
	    file_has(f.journal, "CANARY-93b1") || file_has(wal, "CANARY-93b1"));
	send_u64(&f.server, WIRE_GONE, 0);
	nap(50);
	send_purge(&f.engine, 10, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 10), 104);
	/* The server, which waits for it, drops its copies. */
	purged = expect(&f.server, WIRE_PURGED);
	assert_int_equal(reader_u64(&purged), 104);
	assert_true(view_is(reader_rest(&purged), "0-101"));
	for (until = now_ms() + WAIT_MS;
	     file_has(wal, "CANARY-93b1") || file_has(f.journal, "CANARY-93b1");
	     nap(10))
		assert_true(now_ms() < until);
	wait_note(&f, 105);
	/* What is gone is replayed without parts, and life goes on. */
	{
		uint64_t size;
		bool writable;

		assert_int_equal(hello(&f, 0, &writable, &size), 100);
		assert_int_equal(size, 105);
	}
	assert_int_equal(post(&f.server, 1), 105);
	/* What a server that is away has in its store, nobody knows. */
	link_test(&f, "server", &f.server);
	nap(50);
	send_purge(&f.engine, 11, 105, 105);
	expect_refused(&f.engine, 11, "has not told what it holds");
	teardown(&f);
}

#define ANCHOR(what, state, size)                                              \
	"what " what "\nname w\nstate " state "\nsize " size                   \
	"\ntime 0\nsha256 -\n"
#define AUDIT(first, last, result)                                             \
	"first " first "\nlast " last "\nsince 1\nresult " result "\n"

/* The engine reads what others say: what it asks to be recorded has a form. */
static void
records_of_the_engine(void **state)
{
	static const struct {
		unsigned kind;
		const char *fields, *why;
	} wrong[] = {
	    {EVENT_ANCHOR, "what\n", "fields are malformed"},
	    {EVENT_ANCHOR, "what witness\n", "field name is missing"},
	    {EVENT_ANCHOR, "what witness\nname a b\n", "malformed"},
	    {EVENT_ANCHOR, ANCHOR("person", "ok", "1"), "field what"},
	    {EVENT_ANCHOR, ANCHOR("stamp", "fine", "1"), "field state"},
	    {EVENT_ANCHOR, ANCHOR("stamp", "ok", "01"), "field size"},
	    {EVENT_ANCHOR, ANCHOR("stamp", "ok", "3"), "no 3 records"},
	    {EVENT_ANCHOR, ANCHOR("stamp", "ok", "2") "more 1\n",
		"more fields"},
	    {EVENT_AUDIT, AUDIT("0", "1", "odd"), "field result"},
	    {EVENT_AUDIT, AUDIT("1", "0", "whole"), "no such records"},
	    {EVENT_AUDIT, AUDIT("0", "2", "whole"), "no such records"},
	};
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	up(&f);
	link_test(&f, "engine", &f.engine);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		send_control(&f.engine, i, wrong[i].kind, wrong[i].fields);
		expect_refused(&f.engine, i, wrong[i].why);
	}
	send_control(
	    &f.engine, 20, EVENT_ANCHOR, ANCHOR("witness", "failed", "2"));
	assert_int_equal(expect_recorded(&f.engine, 20), 2);
	send_control(&f.engine, 21, EVENT_AUDIT, AUDIT("0", "2", "whole"));
	assert_int_equal(expect_recorded(&f.engine, 21), 3);
	teardown(&f);
}

/* A reader in the middle of its work delays the emptying, no more. */
static void
purge_waits_for_readers(void **state)
{
	static const char ack[] =
	    "adapter records\nbatch 1\nfirst 0\nlast 101\nstate stored\n"
	    "location x.xml\nsha256 -\nbytes 9\nreadback yes\n";
	struct fixture f;
	sqlite3 *reader;
	char wal[300], why[256];
	uint64_t until;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.journal);
	up(&f);
	link_test(&f, "engine", &f.engine);
	(void)post(&f.server, 100);
	send_u64(&f.server, WIRE_APPLIED, 102);
	send_batch(&f, 1, 1, 0, 101);
	(void)expect_recorded(&f.engine, 1);
	send_control(&f.engine, 2, EVENT_ACK, ack);
	(void)expect_recorded(&f.engine, 2);
	wait_note(&f, 104);
	reader = db_open(f.journal, DB_READ, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(reader);
	assert_int_equal(db_exec(reader, "BEGIN"), 0);
	assert_true(db_int(reader, "SELECT COUNT(*) FROM body", 0) == 200);
	send_purge(&f.engine, 3, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 3), 104);
	nap(100);
	assert_true(file_has(wal, "CANARY-93b1"));
	assert_int_equal(post(&f.server, 1), 105);
	assert_int_equal(db_exec(reader, "COMMIT"), 0);
	db_close(reader);
	/* One copy is left: that of the event just posted. */
	for (until = now_ms() + WAIT_MS; file_has(wal, "CANARY-93b1"); nap(10))
		assert_true(now_ms() < until);
	teardown(&f);
}

/* The engine is told, and what it is told has all the words. */
static void
expect_alarm(struct end *e, const char *first, const char *second)
{
	struct reader r = expect(e, WIRE_ALARM);

	if (memmem(r.p, r.n, first, strlen(first)) == NULL ||
	    memmem(r.p, r.n, second, strlen(second)) == NULL)
		fail_msg("not \"%s\" and \"%s\": %.*s", first, second, (int)r.n,
		    (const char *)r.p);
}

/* The newest audit record says that these were found broken. */
static void
expect_audit(struct fixture *f, const char *records)
{
	uint64_t seq, until = now_ms() + WAIT_MS;
	struct scan *s = open_scan(f);
	struct buf leaf;
	int r;

	buf_init(&leaf);
	while ((r = scan_control_before(
		    s, EVENT_AUDIT, INT64_MAX, &seq, &leaf)) == 0) {
		assert_true(now_ms() < until);
		nap(10);
	}
	assert_int_equal(r, 1);
	assert_non_null(strstr(buf_text(&leaf), records));
	assert_non_null(strstr(buf_text(&leaf), "result broken\n"));
	buf_release(&leaf);
	scan_close(s);
}

/* Records a purge of the first file, and ends before that is written. */
static void
purge_and_crash(struct fixture *f)
{
	static const struct range range = {2, 100};
	static const char *const required[] = {"records"};
	struct journal_purge p = {.ranges = &range,
	    .count = 1,
	    .applied = 256,
	    .conf = &f->conf,
	    .required = required,
	    .required_count = 1};
	struct journal_event out;
	struct journal *j;
	char why[256];

	stop(&f->keeper, 0);
	stop(&f->signer, 0);
	j = journal_open(f->journal, why, sizeof why);
	assert_non_null(j);
	if (journal_truncate(j) != 0 || journal_purge(j, &p, &out) != 0)
		fail_msg("%s", journal_error(j));
	assert_true(journal_undone(j));
	journal_close(j);
}

/*
 * The crash of a purge in a sealed file, which then is not there: nothing is
 * purged, and whoever asks for the status learns why.
 */
static void
a_purge_whose_file_is_missing(void **state)
{
	static const char ack[] =
	    "adapter records\nbatch 1\nfirst 0\nlast 255\nstate stored\n"
	    "location x.xml\nsha256 -\nbytes 9\nreadback yes\n";
	struct fixture f;
	char away[300], newest[160], why[256];
	sqlite3 *reader;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_records = 256;
	up(&f);
	link_test(&f, "engine", &f.engine);
	(void)post(&f.server, 253);
	(void)post(&f.server, 10);
	send_u64(&f.server, WIRE_APPLIED, 256);
	send_batch(&f, 1, 1, 0, 255);
	(void)expect_recorded(&f.engine, 1);
	send_control(&f.engine, 2, EVENT_ACK, ack);
	wait_note(&f, expect_recorded(&f.engine, 2) + 1);
	purge_and_crash(&f);
	(void)snprintf(away, sizeof away, "%s.away", f.journal);
	assert_int_equal(rename(f.journal, away), 0);
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	/* In the way of something else, of which nobody is to hear. */
	(void)snprintf(
	    newest, sizeof newest, "%s/journal/journal-0001.db", f.dir);
	reader = db_open(newest, DB_READ, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(reader);
	assert_int_equal(db_exec(reader, "BEGIN"), 0);
	assert_true(db_int(reader, "SELECT COUNT(*) FROM leaf", 0) > 0);
	(void)hello(&f, 256, &writable, &size);
	link_test(&f, "engine", &f.engine);
	expect_alarm(&f.engine, "nothing is purged", f.journal);
	/* So is an engine that comes later. */
	link_test(&f, "engine", &f.engine);
	expect_alarm(&f.engine, f.journal, "Next: see that the file");
	expect_audit(&f, "first 0\nlast 255\nsince ");
	assert_int_equal(rename(away, f.journal), 0);
	while (expect(&f.engine, WIRE_ALARM).n > 0)
		;
	db_close(reader);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(purge_over_the_wire),
	    cmocka_unit_test(records_of_the_engine),
	    cmocka_unit_test(purge_waits_for_readers),
	    cmocka_unit_test(a_purge_whose_file_is_missing),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
