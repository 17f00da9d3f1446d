#include "tests/unit/keeper_fixture.h"

static void
send_late_leave(struct end *e, uint64_t ref)
{
	struct buf b;

	buf_init(&b);
	put_event(&b, ref, EVENT_LEAVE,
	    "{\"v\":1,\"type\":\"leave\",\"late\":true,\"happened\":5}", NULL);
	send_frame(e->fd, WIRE_EVENT, buf_view(&b), -1);
	buf_release(&b);
}

/* Sums up a field of the records of a kind; how many there are. */
static unsigned
sum(struct fixture *f, unsigned kind, const char *what, const char *name,
    uint64_t *out)
{
	struct scan *s = open_scan(f);
	struct scan_record r;
	unsigned n = 0;

	*out = 0;
	while (scan_next(s, &r) == 1) {
		struct leaf leaf;
		struct view token;
		uint64_t value, since, until;
		const char *why;

		if (r.kind != kind)
			continue;
		assert_true(leaf_parse(r.leaf, &leaf, &why));
		if (what != NULL &&
		    (!leaf_field(leaf.fields, "what", &token) ||
			!view_is(token, what)))
			continue;
		n++;
		assert_true(leaf_field_number(leaf.fields, "since", &since));
		assert_true(leaf_field_number(leaf.fields, "until", &until));
		assert_true(since <= until && since > 1600000000000000);
		assert_true(leaf_field_number(leaf.fields, name, &value));
		*out += value;
	}
	scan_close(s);
	return n;
}

static void
full_disk_refuses_and_recovers(void **state)
{
	struct fixture f;
	uint64_t refused, late, committed = 0, said_no = 0, size;
	char why[768] = "";
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.keeper_file_limit = 400000;
	up(&f);
	/* One by one until the file may not grow any more. */
	while (said_no == 0) {
		struct view payload;
		uint16_t type;

		send_post(&f.server, committed, "{\"v\":1,\"text\":\"hello\"}");
		do {
			assert_int_equal(
			    receive(&f.server, &type, &payload, WAIT_MS), 1);
		} while (type == WIRE_STATE);
		if (type == WIRE_RECEIPT)
			committed++;
		else if (type == WIRE_REFUSED)
			said_no++;
		assert_true(committed < 100000);
	}
	assert_true(committed > 20);
	for (unsigned i = 0; i < 5; i++) {
		struct reader r;

		send_post(&f.server, 900000 + i, "{\"v\":1}");
		r = expect(&f.server, WIRE_REFUSED);
		assert_int_equal(reader_u64(&r), 900000 + i);
		said_no++;
	}
	nap(600); /* more than one failed try */
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	wait_writable(&f.server, true, why, sizeof why);
	send_late_leave(&f.server, 1);
	send_late_leave(&f.server, 2);
	(void)expect(&f.server, WIRE_RECEIPT);
	nap(1300);
	assert_true(
	    sum(&f, EVENT_INCIDENT, "storage", "refused", &refused) > 0);
	assert_int_equal(refused, said_no);
	assert_int_equal(sum(&f, EVENT_LATE, NULL, "count", &late), 1);
	assert_int_equal(late, 2);
	/* All that was receipted, the two late ones, and nothing else. */
	assert_int_equal(hello(&f, 0, &writable, &size), committed + 2);
	wait_note(&f, size);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	up(&f);
	/* The other link was lost without a word of what it had refused. */
	assert_int_equal(
	    sum(&f, EVENT_INCIDENT, "server", "refused", &refused), 1);
	assert_int_equal(post(&f.server, 1), size + 1);
	teardown(&f);
}

/* Posts until the disk takes no more. */
static void
fill_disk(struct end *e)
{
	struct view payload;
	uint16_t type;

	for (unsigned i = 0;; i++) {
		assert_true(i < 100000);
		send_post(e, i, "{\"v\":1,\"text\":\"hello\"}");
		do {
			assert_int_equal(
			    receive(e, &type, &payload, WAIT_MS), 1);
		} while (type == WIRE_STATE);
		if (type == WIRE_REFUSED)
			return;
	}
}

/* When its time comes nothing can be written: it is told afterwards. */
static void
late_before_a_full_disk(void **state)
{
	struct fixture f;
	uint64_t late;

	(void)state;
	setup(&f, NULL);
	up(&f);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	f.keeper_file_limit = 400000;
	up(&f);
	send_late_leave(&f.server, 1);
	(void)expect(&f.server, WIRE_RECEIPT);
	fill_disk(&f.server);
	nap(1300); /* its second is over */
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	for (uint64_t until = now_ms() + WAIT_MS;
	     sum(&f, EVENT_LATE, NULL, "count", &late) == 0; nap(20))
		assert_true(now_ms() < until);
	assert_int_equal(late, 1);
	teardown(&f);
}

/* The keys are changed before anything else, and nothing can be written. */
static void
full_disk_at_the_start(void **state)
{
	struct fixture f;
	char why[768] = "";
	uint64_t refused;

	(void)state;
	setup(&f, NULL);
	f.keeper_file_limit = 400000;
	up(&f);
	fill_disk(&f.server);
	stop(&f.keeper, SIGKILL);
	stop(&f.signer, 0);
	f.conf.rotate_at_start = true;
	f.keeper_file_limit = 40000; /* the WAL stays as long as it is */
	start_keeper(&f);
	start_signer(&f);
	link_signer(&f);
	link_test(&f, "server", &f.server);
	send_u64(&f.server, WIRE_HELLO, 0);
	while (strstr(why, "disk I/O error") == NULL)
		wait_writable(&f.server, false, why, sizeof why);
	send_post(&f.server, 1, "{\"v\":1}");
	(void)expect(&f.server, WIRE_REFUSED);
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	wait_writable(&f.server, true, NULL, 0);
	(void)post(&f.server, 1);
	stop(&f.keeper, 0);
	assert_int_equal(
	    sum(&f, EVENT_INCIDENT, "storage", "refused", &refused), 1);
	assert_int_equal(refused, 1);
	teardown(&f);
}

/* A server that ends in good order has told all; another may not have. */
static void
server_that_is_gone(void **state)
{
	struct fixture f;
	uint64_t refused, size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	(void)post(&f.server, 1);
	send_frame(f.server.fd, WIRE_BYE, view_of(NULL, 0), -1);
	end_close(&f.server);
	(void)hello(&f, 0, &writable, &size);
	nap(1300);
	assert_int_equal(
	    sum(&f, EVENT_INCIDENT, "server", "refused", &refused), 0);
	end_close(&f.server);
	(void)hello(&f, 0, &writable, &size);
	end_close(&f.server);
	(void)hello(&f, 0, &writable, &size);
	for (uint64_t until = now_ms() + WAIT_MS;
	     sum(&f, EVENT_INCIDENT, "server", "refused", &refused) == 0;
	     nap(20))
		assert_true(now_ms() < until);
	assert_int_equal(
	    sum(&f, EVENT_INCIDENT, "server", "refused", &refused), 1);
	assert_int_equal(refused, 0);
	teardown(&f);
}

/* A frame adds to those before it that no record tells of yet. */
static void
drops_are_added(void **state)
{
	struct fixture f;
	uint64_t count;

	(void)state;
	setup(&f, NULL);
	up(&f);
	tell_drops(&f, 7, 1);
	tell_drops(&f, 7, 1); /* the same again */
	tell_drops(&f, 7, 2);
	(void)post(&f.server, 1);
	stop(&f.keeper, 0);
	(void)sum(&f, EVENT_DROP, NULL, "count", &count);
	assert_int_equal(count, 6);
	teardown(&f);
}

/* A group that meets the limit half way leaves nothing of itself. */
static void
full_disk_within_a_group(void **state)
{
	static char text[60000];
	struct fixture f;
	uint64_t size, committed = 0, said_no = 0;
	bool writable;

	(void)state;
	setup(&f, NULL);
	memset(text, 'y', sizeof text - 1);
	f.keeper_file_limit = 3000000;
	up(&f);
	for (unsigned i = 0; i < 200; i++)
		send_post(&f.server, i, text);
	while (committed + said_no < 200) {
		struct view payload;
		uint16_t type;
		struct reader r;

		assert_int_equal(
		    receive(&f.server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_RECEIPT)
			committed += reader_u32(&r);
		else if (type == WIRE_REFUSED)
			said_no++;
	}
	assert_true(said_no > 0);
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	do {
		nap(100);
		(void)hello(&f, 0, &writable, &size);
	} while (!writable);
	assert_int_equal(hello(&f, 0, &writable, &size), committed);
	wait_note(&f, size);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(full_disk_refuses_and_recovers),
	    cmocka_unit_test(full_disk_within_a_group),
	    cmocka_unit_test(late_before_a_full_disk),
	    cmocka_unit_test(full_disk_at_the_start),
	    cmocka_unit_test(server_that_is_gone),
	    cmocka_unit_test(drops_are_added),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
