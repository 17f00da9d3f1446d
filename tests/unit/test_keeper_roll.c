#include "tests/unit/keeper_fixture.h"

#include "compliance/keeper_state.h"
#include "compliance/segments.h"

/* Reads all of it back; how many records of a kind there are. */
static uint64_t
read_all(struct fixture *f, unsigned kind, uint64_t size)
{
	struct scan *s = open_scan(f);
	struct scan_record r;
	uint64_t n = 0, seq = 0;
	int got;

	while ((got = scan_next(s, &r)) == 1) {
		assert_int_equal(r.seq, seq++);
		n += r.kind == kind;
	}
	if (got != 0)
		fail_msg("%s", scan_error(s));
	assert_int_equal(seq, size);
	scan_close(s);
	return n;
}

static uint64_t
size_of(struct fixture *f)
{
	struct scan *s = open_scan(f);
	uint64_t size = scan_size(s);

	scan_close(s);
	return size;
}

/* Posts that are all out at once; how many were refused. */
static uint64_t
post_all(struct fixture *f, uint64_t count)
{
	uint64_t got = 0, refused = 0, last = 0;
	struct view payload;
	uint16_t type;

	for (uint64_t i = 0; i < count; i++)
		send_post(&f->server, 1000 + i, "{\"v\":1,\"text\":\"x\"}");
	while (got + refused < count) {
		struct reader r;

		assert_int_equal(
		    receive(&f->server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_REFUSED)
			refused++;
		if (type != WIRE_RECEIPT)
			continue;
		for (uint32_t n = reader_u32(&r); n > 0; n--, got++) {
			uint64_t seq;

			assert_int_equal(reader_u64(&r), 1000 + got + refused);
			seq = reader_u64(&r);
			assert_true(seq > last);
			last = seq;
			(void)reader_u64(&r); /* its time */
		}
	}
	return refused;
}

static void
posts_go_on_over_files(void **state)
{
	struct fixture f;
	uint64_t size, seals;
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_records = 512;
	up(&f);
	for (int i = 0; i < 10; i++)
		assert_int_equal(post_all(&f, 701), 0);
	stop(&f.keeper, 0);
	seals = segments_newest(f.journal);
	assert_true(seals >= 3);
	size = size_of(&f);
	assert_int_equal(size, 7010 + 2 + 2 * seals);
	assert_int_equal(read_all(&f, EVENT_SEAL, size), seals);
	assert_int_equal(read_all(&f, EVENT_OPEN, size), seals + 1);
	/* A restart goes on in the newest; a replay reads them all. */
	stop(&f.signer, 0);
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	assert_int_equal(hello(&f, 0, &writable, &size), 7010);
	if (!writable)
		wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(post_all(&f, 3), 0);
	assert_int_equal(segments_newest(f.journal), seals);
	teardown(&f);
}

/* Where nobody can sign the end, the file goes on to the next one. */
static void
no_signer_no_other_file(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_records = 512;
	up(&f);
	wait_note(&f, 2);
	stop(&f.signer, SIGKILL);
	assert_int_equal(post_all(&f, 900), 0);
	assert_int_equal(segments_newest(f.journal), 0);
	start_signer(&f);
	link_signer(&f);
	wait_note(&f, 902);
	assert_int_equal(post_all(&f, 300), 0);
	assert_int_equal(segments_newest(f.journal), 1);
	assert_int_equal(read_all(&f, EVENT_POST, 1204), 1200);
	teardown(&f);
}

#define POSTS (UINT64_C(2) * KEEPER_QUEUE_MAX + 1)

/*
 * A seal that nobody signs: posts wait, then are refused until it is. More of
 * them than the keeper's queue holds wait outside it: each has its answer, and
 * none was too many.
 */
static void
a_seal_that_is_not_signed(void **state)
{
	struct fixture f;
	char why[256];
	uint64_t size;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_records = 512;
	up(&f);
	wait_note(&f, 2);
	assert_int_equal(kill(f.signer.pid, SIGSTOP), 0);
	for (uint64_t i = 0; i < POSTS; i++)
		send_post(&f.server, i, "{\"v\":1,\"text\":\"x\"}");
	wait_writable(&f.server, false, why, sizeof why);
	assert_non_null(strstr(why, "file is full"));
	for (uint64_t i = 0; i < POSTS - 509; i++) {
		struct reader r = expect(&f.server, WIRE_REFUSED);

		assert_int_equal(reader_u64(&r), 509 + i);
		assert_non_null(memmem(r.p, r.n, "file is full", 12));
	}
	assert_int_equal(segments_newest(f.journal), 0);
	assert_int_equal(kill(f.signer.pid, SIGCONT), 0);
	wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(segments_newest(f.journal), 1);
	assert_int_equal(post_all(&f, 3), 0);
	size = size_of(&f);
	/* 509 posts, the seal, and then what the refusals leave. */
	assert_int_equal(size, 512 + 2 + 3);
	assert_int_equal(read_all(&f, EVENT_POST, size), 509 + 3);
	assert_int_equal(read_all(&f, EVENT_INCIDENT, size), 1);
	teardown(&f);
}

/* The keeper ended between the seal and the next file. */
static void
a_sealed_file_at_the_start(void **state)
{
	struct journal_event e;
	struct journal *j;
	struct fixture f;
	uint64_t size;
	bool writable;
	char why[256];

	(void)state;
	setup(&f, NULL);
	up(&f);
	(void)post(&f.server, 253);
	stop(&f.keeper, 0);
	j = journal_open(f.journal, why, sizeof why);
	assert_non_null(j);
	assert_int_equal(journal_seal(j, &e), 0);
	journal_close(j);
	start_keeper(&f);
	assert_int_equal(hello(&f, 0, &writable, &size), 253);
	assert_false(writable);
	assert_int_equal(size, 256);
	stop(&f.signer, 0);
	start_signer(&f);
	link_signer(&f);
	wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(post(&f.server, 1), 257);
	assert_int_equal(segments_newest(f.journal), 1);
	assert_int_equal(read_all(&f, EVENT_OPEN, 258), 2);
	teardown(&f);
}

static bool
is_prepared(const struct fixture *f)
{
	char *path = segments_path(f->journal, 1), made[300];

	(void)snprintf(made, sizeof made, "%s.new", path);
	free(path);
	return access(made, F_OK) == 0;
}

/* The keeper is killed while the next file is half made. */
static void
a_kill_while_the_next_is_prepared(void **state)
{
	uint64_t until = now_ms() + WAIT_MS, size;
	struct fixture f;
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_records = 1024;
	up(&f);
	assert_int_equal(post_all(&f, 500), 0);
	assert_false(is_prepared(&f));
	assert_int_equal(post_all(&f, 420), 0);
	while (!is_prepared(&f) && now_ms() < until)
		nap(5);
	assert_true(is_prepared(&f));
	stop(&f.keeper, SIGKILL);
	stop(&f.signer, 0);
	assert_true(is_prepared(&f));
	assert_int_equal(segments_newest(f.journal), 0);
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	assert_int_equal(hello(&f, 0, &writable, &size), 920);
	if (!writable)
		wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(post_all(&f, 300), 0);
	assert_int_equal(segments_newest(f.journal), 1);
	assert_false(is_prepared(&f));
	assert_int_equal(read_all(&f, EVENT_POST, size_of(&f)), 1220);
	teardown(&f);
}

static void
change(struct fixture *f, const char *sql)
{
	char why[256];
	sqlite3 *db =
	    db_open(f->journal, DB_WRITE, DB_SYNC_FULL, why, sizeof why);

	assert_non_null(db);
	assert_int_equal(db_exec(db, sql), 0);
	db_close(db);
}

static void
years_and_bytes(void **state)
{
	struct fixture f;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.conf.segment_yearly = true;
	up(&f);
	assert_int_equal(post_all(&f, 300), 0);
	assert_int_equal(segments_newest(f.journal), 0);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	change(&f,
	    "DROP TRIGGER leaf_update;"
	    "UPDATE leaf SET at = at - 31700000000000 WHERE seq = 0");
	/* Record 0 is not itself any more: the replay begins behind it. */
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	(void)hello(&f, 1, &writable, &size);
	if (!writable)
		wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(post_all(&f, 300), 0);
	assert_int_equal(segments_newest(f.journal), 1);
	assert_int_equal(post_all(&f, 300), 0);
	assert_int_equal(segments_newest(f.journal), 1);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	f.conf.segment_yearly = false;
	f.conf.segment_bytes = 200000;
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	(void)hello(&f, 1, &writable, &size);
	if (!writable)
		wait_writable(&f.server, true, NULL, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(post_all(&f, 300), 0);
	stop(&f.keeper, 0);
	assert_true(segments_newest(f.journal) >= 2);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(posts_go_on_over_files),
	    cmocka_unit_test(no_signer_no_other_file),
	    cmocka_unit_test(a_seal_that_is_not_signed),
	    cmocka_unit_test(a_sealed_file_at_the_start),
	    cmocka_unit_test(a_kill_while_the_next_is_prepared),
	    cmocka_unit_test(years_and_bytes),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
