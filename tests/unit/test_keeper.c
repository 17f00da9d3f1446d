#include "tests/unit/keeper_fixture.h"

static void
first_start_opens_the_journal(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan *s;
	char want[512];

	(void)state;
	setup(&f, NULL);
	up(&f);
	assert_int_equal(post(&f.server, 3), 2);
	wait_note(&f, 5);
	s = open_scan(&f);
	assert_int_equal(scan_size(s), 5);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_OPEN);
	(void)snprintf(want, sizeof want,
	    "journal " UUID "\norigin " ORIGIN "\nvkey %s\nnext ",
	    scan_meta(s, "vkey"));
	assert_non_null(memmem(r.leaf.p, r.leaf.n, want, strlen(want)));
	(void)snprintf(want, sizeof want,
	    "\nsoftware chancery/" CHANCERY_VERSION "\nsegment 0\nnote -\n");
	assert_non_null(memmem(r.leaf.p, r.leaf.n, want, strlen(want)));
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_POLICY);
	assert_non_null(
	    memmem(r.leaf.p, r.leaf.n, "required records\nafter 0\n", 25));
	scan_close(s);
	/* The same policy is not recorded again, another one is. */
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	up(&f);
	assert_int_equal(post(&f.server, 1), 5);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	f.conf.purge_after_s = -1;
	up(&f);
	assert_int_equal(post(&f.server, 1), 7);
	teardown(&f);
}

static void
replay_gives_what_is_missing(void **state)
{
	struct fixture f;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	(void)post(&f.server, 1500);
	assert_int_equal(hello(&f, 0, &writable, &size), 1500);
	assert_true(writable);
	assert_int_equal(size, 1502);
	assert_int_equal(hello(&f, 1502, &writable, &size), 0);
	assert_int_equal(hello(&f, 1500, &writable, &size), 2);
	assert_int_equal(post(&f.server, 1), 1502);
	teardown(&f);
}

static void
refused_because(struct fixture *f, const char *reason)
{
	char why[1024];
	struct reader r;

	send_post(&f->server, 5, "{\"v\":1}");
	r = expect(&f->server, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), 5);
	(void)snprintf(why, sizeof why, "%.*s", (int)r.n, (const char *)r.p);
	if (strstr(why, reason) == NULL)
		fail_msg("%s, not %s", why, reason);
}

/* Who has more than the journal has seen another one, or records are lost. */
static void
a_chat_store_that_is_ahead(void **state)
{
	struct fixture f;
	char why[1024];
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	(void)post(&f.server, 10);
	wait_note(&f, 12);
	assert_int_equal(hello(&f, 13, &writable, &size), 0);
	assert_false(writable);
	assert_int_equal(size, 12);
	refused_because(&f,
	    "journal.db holds 12 records, but the chat store has those up to "
	    "12: records are missing");
	refused_because(&f, "--new-incarnation --reason signer");
	/* Nor is anything else recorded, until one comes that is not. */
	nap(1300);
	assert_int_equal(hello(&f, 12, &writable, &size), 0);
	assert_true(writable);
	assert_int_equal(size, 12);
	/* At the start; why it is so depends on what the signer signed. */
	stop(&f.keeper, SIGKILL);
	stop(&f.signer, SIGKILL);
	f.conf.rotate_at_start = true;
	start_keeper(&f);
	start_signer(&f);
	assert_int_equal(hello(&f, 100, &writable, &size), 0);
	assert_false(writable);
	refused_because(&f, "the signer has not come up yet");
	link_signer(&f);
	wait_writable(&f.server, false, why, sizeof why);
	assert_non_null(strstr(why, "but the chat store has those up to 99"));
	assert_int_equal(hello(&f, 100, &writable, &size), 0);
	assert_false(writable);
	(void)hello(&f, 12, &writable, &size);
	if (!writable)
		wait_writable(&f.server, true, NULL, 0);
	(void)post(&f.server, 1);
	teardown(&f);
}

/* A slow server must not fill the keeper's memory or stop the engine. */
static void
replay_does_not_block_recording(void **state)
{
	static char text[200000];
	struct fixture f;
	uint64_t replayed = 0, receipts = 0;
	bool live = false;

	(void)state;
	setup(&f, NULL);
	up(&f);
	memset(text, 'x', sizeof text - 1);
	for (uint64_t i = 0; i < 100; i++)
		send_post(&f.server, i, text);
	while (receipts < 100) {
		struct reader r = expect(&f.server, WIRE_RECEIPT);

		receipts += reader_u32(&r);
	}
	link_test(&f, "server", &f.server);
	send_u64(&f.server, WIRE_HELLO, 0);
	nap(300); /* nothing is read: 20 MB wait in the journal */
	send_post(&f.server, 7, "{\"v\":1}");
	while (!live || receipts < 101) {
		struct view payload;
		uint16_t type;
		struct reader r;

		assert_int_equal(
		    receive(&f.server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_REPLAY)
			replayed++;
		else if (type == WIRE_RECEIPT)
			receipts += reader_u32(&r);
		else if (type == WIRE_LIVE)
			live = true;
	}
	assert_true(replayed == 100 || replayed == 101);
	teardown(&f);
}

/* Up to the limit an event comes back byte for byte; above, it is refused. */
static void
large_events(void **state)
{
	static char text[(2U << 20) + 1];
	const size_t around =
	    8 + 1 + 1 + 4 + 21 + 4; /* the rest of the frame */
	struct fixture f;
	uint64_t replayed = 0;
	struct reader r;

	(void)state;
	setup(&f, NULL);
	up(&f);
	memset(text, '"', sizeof text);
	text[(2U << 20) - around] = '\0';
	for (uint64_t i = 0; i < 10; i++)
		send_post(&f.server, i, text);
	for (uint64_t got = 0; got < 10;) {
		r = expect(&f.server, WIRE_RECEIPT);
		got += reader_u32(&r);
	}
	text[(2U << 20) - around] = '"';
	text[(2U << 20) - around + 1] = '\0';
	send_post(&f.server, 77, text);
	r = expect(&f.server, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), 77);
	link_test(&f, "server", &f.server);
	send_u64(&f.server, WIRE_HELLO, 0);
	while (replayed < 10) {
		r = expect(&f.server, WIRE_REPLAY);
		(void)reader_take(&r, 18);
		(void)reader_take(&r, reader_u32(&r));
		assert_int_equal(reader_u32(&r), (2U << 20) - around);
		assert_memory_equal(r.p, text, r.n);
		replayed++;
	}
	(void)expect(&f.server, WIRE_LIVE);
	teardown(&f);
}

static void
malformed_frames_end_the_link_only(void **state)
{
	static const struct {
		uint16_t type;
		const char *hex;
	} frames[] = {{WIRE_HELLO, ""}, {WIRE_HELLO, "00000000000000"},
	    {WIRE_HELLO, "000000000000000000"},
	    {WIRE_APPLIED, "ffffffffffffffff"}, {WIRE_EVENT, ""},
	    {WIRE_EVENT, "0000000000000001"},
	    {WIRE_EVENT, "00000000000000010300"},               /* no parts */
	    {WIRE_EVENT, "000000000000000103010000000541"},     /* short part */
	    {WIRE_EVENT, "0000000000000001030100000001414243"}, /* more */
	    {WIRE_EVENT, "00000000000000018001000000014a"}, /* control kind */
	    {WIRE_EVENT, "00000000000000010001000000014a"}, /* kind 0 */
	    {WIRE_EVENT, "00000000000000017f01000000014a"}, /* unknown kind */
	    {WIRE_EVENT, "0000000000000001030100ffffff41"}, /* huge part */
	    {WIRE_EVENT,
		"0000000000000001030900000000000000000000000000000000"
		"0000000000000000000000000000000000000000"}, /* nine parts */
	    {WIRE_CONTROL, "000000000000000181"},            /* not its own */
	    {WIRE_RECEIPT, "00000000"}, {9999, ""}};
	struct fixture f;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	assert_int_equal(post(&f.server, 1), 2);
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		uint8_t bytes[128];
		size_t n = strlen(frames[i].hex) / 2;

		assert_true(
		    n == 0 || text_get_hex(view_text(frames[i].hex), bytes, n));
		send_frame(f.server.fd, frames[i].type, view_of(bytes, n), -1);
		expect_closed(&f.server);
		assert_int_equal(hello(&f, 3, &writable, &size), 0);
		assert_true(writable);
	}
	/* A descriptor that nobody asked for. */
	send_frame(f.server.fd, WIRE_HELLO, view_of(NULL, 0), f.server.fd);
	expect_closed(&f.server);
	/* Garbage instead of frames. */
	assert_int_equal(hello(&f, 3, &writable, &size), 0);
	send_bytes(f.server.fd, view_text("GET / HTTP/1.0\r\n\r\n"), -1);
	expect_closed(&f.server);
	link_test(&f, "engine", &f.engine);
	send_frame(f.engine.fd, WIRE_PURGE, view_of("\0\0\0", 3), -1);
	expect_closed(&f.engine);
	assert_int_equal(hello(&f, 3, &writable, &size), 0);
	/* Behind the incidents of a server that was away for so long. */
	assert_true(post(&f.server, 1) > 2);
	teardown(&f);
}

/* A peer whose link broke may live on: the parent is asked for a new one. */
static void
a_lost_link_is_asked_for(void **state)
{
	struct fixture f;
	struct view payload;
	uint16_t type;
	uint64_t size;
	bool writable;
	struct reader r;

	(void)state;
	setup(&f, NULL);
	up(&f);
	end_close(&f.server);
	for (int i = 0; i < 2; i++) {
		r = expect(&f.keeper.control, ROLE_LINK);
		assert_true(view_is(reader_rest(&r), "server"));
	}
	assert_int_equal(hello(&f, 2, &writable, &size), 0);
	assert_true(writable);
	assert_int_equal(receive(&f.keeper.control, &type, &payload, 1500), -1);
	teardown(&f);
}

/* What a server told is no news to the one after it. */
static void
drops_are_confirmed_to_who_told_them(void **state)
{
	struct fixture f;
	struct view payload;
	uint16_t type;
	uint64_t size;
	bool writable;
	struct reader r;

	(void)state;
	setup(&f, NULL);
	up(&f);
	tell_drops(&f, 7, 1);
	end_close(&f.server);
	assert_int_equal(hello(&f, 2, &writable, &size), 0);
	wait_note(&f, 4); /* a drop record, and one that the server was away */
	send_post(&f.server, 1, "{\"v\":1}");
	do {
		assert_int_equal(
		    receive(&f.server, &type, &payload, WAIT_MS), 1);
		assert_int_not_equal(type, WIRE_DROPS_KEPT);
	} while (type != WIRE_RECEIPT);
	/* The same server by a new link asks whether they came. */
	tell_drops(&f, 7, 1);
	r = expect(&f.server, WIRE_DROPS_KEPT);
	assert_int_equal(reader_u64(&r), 1);
	teardown(&f);
}

/* What was receipted is there after a kill; nothing is there twice. */
static void
receipts_survive_a_kill(void **state)
{
	struct fixture f;
	uint64_t receipts = 0, size, refs = 0, replayed;
	bool writable;

	(void)state;
	setup(&f, NULL);
	for (unsigned round = 0; round < 5; round++) {
		uint64_t before, until;
		struct view payload;
		uint16_t type;

		up(&f);
		before = receipts;
		for (unsigned i = 0; i < 400 + 100 * round; i++)
			send_post(&f.server, refs++, "{\"v\":1}");
		until = before + 100 + 50 * round;
		while (receipts < until) {
			struct reader r = expect(&f.server, WIRE_RECEIPT);

			receipts += reader_u32(&r);
		}
		stop(&f.keeper, SIGKILL);
		/* What it had sent before it died counts as well. */
		while (receive(&f.server, &type, &payload, WAIT_MS) == 1)
			if (type == WIRE_RECEIPT) {
				struct reader r = reader_of(payload);

				receipts += reader_u32(&r);
			}
		stop(&f.signer, SIGKILL);
	}
	start_keeper(&f);
	replayed = hello(&f, 0, &writable, &size);
	assert_false(writable); /* no signer yet */
	assert_true(replayed >= receipts && replayed <= refs);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_start_opens_the_journal),
	    cmocka_unit_test(a_chat_store_that_is_ahead),
	    cmocka_unit_test(replay_gives_what_is_missing),
	    cmocka_unit_test(replay_does_not_block_recording),
	    cmocka_unit_test(large_events),
	    cmocka_unit_test(malformed_frames_end_the_link_only),
	    cmocka_unit_test(a_lost_link_is_asked_for),
	    cmocka_unit_test(drops_are_confirmed_to_who_told_them),
	    cmocka_unit_test(receipts_survive_a_kill),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
