#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/adapter_says.h"
#include "compliance/batch.h"
#include "compliance/line.h"
#include "compliance/line_io.h"

#define LONGEST 10

static void
put(struct line_reader *r, const char *text)
{
	assert_true(line_reader_put(r, view_text(text)));
}

static void
expect(struct line_reader *r, enum line_verdict verdict, const char *text)
{
	struct view line;

	assert_int_equal(line_reader_next(r, LONGEST, &line), verdict);
	if (text != NULL)
		assert_true(view_is(line, text));
}

static void
test_lines_in_pieces(void **state)
{
	struct line_reader r;

	(void)state;
	line_reader_init(&r);
	expect(&r, LINE_MORE, NULL);
	put(&r, "on");
	expect(&r, LINE_MORE, NULL);
	put(&r, "e\n\ntwo\nthr");
	expect(&r, LINE_WHOLE, "one");
	expect(&r, LINE_WHOLE, "");
	expect(&r, LINE_WHOLE, "two");
	expect(&r, LINE_MORE, NULL);
	put(&r, "ee\n");
	expect(&r, LINE_WHOLE, "three");
	expect(&r, LINE_MORE, NULL);
	line_reader_release(&r);
}

static void
test_longest_line_and_one_more(void **state)
{
	struct line_reader r;

	(void)state;
	line_reader_init(&r);
	put(&r, "0123456789");
	expect(&r, LINE_MORE, NULL);
	put(&r, "\n0123456789a");
	expect(&r, LINE_WHOLE, "0123456789");
	expect(&r, LINE_LONG, NULL);
	line_reader_release(&r);
	line_reader_init(&r);
	put(&r, "0123456789a\n");
	expect(&r, LINE_LONG, NULL);
	line_reader_release(&r);
}

/* Any cut of the same bytes gives the same lines. */
static void
test_every_cut(void **state)
{
	const char text[] = "ab\n\ncdefghij\nk\n";

	(void)state;
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		struct line_reader r;
		struct view line;
		unsigned lines = 0;

		line_reader_init(&r);
		assert_true(line_reader_put(&r, view_of(text, cut)));
		while (line_reader_next(&r, LONGEST, &line) == LINE_WHOLE)
			lines++;
		assert_true(line_reader_put(
		    &r, view_of(text + cut, strlen(text) - cut)));
		while (line_reader_next(&r, LONGEST, &line) == LINE_WHOLE)
			lines++;
		assert_int_equal(lines, 4);
		line_reader_release(&r);
	}
}

static void
on_line(void *arg, struct view line)
{
	(void)arg;
	fail_msg("%.*s", (int)line.n, (const char *)line.p);
}

static void
on_closed(void *arg, const char *why, bool gone)
{
	assert_string_equal(why, "out of memory");
	assert_false(gone);
	*(bool *)arg = true;
}

/* Who waits for a line that got no memory does not wait for ever. */
static void
test_a_line_without_memory_ends_the_connection(void **state)
{
	static const struct line_io_events events = {
	    .line = on_line, .closed = on_closed};
	bool closed = false;
	struct line_io *io;
	uv_loop_t loop;
	int pair[2];

	(void)state;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	io = line_io_new(&loop, pair[0], LONGEST, &events, &closed);
	assert_non_null(io);
	line_io_out(io)->failed = true;
	line_io_send(io);
	assert_true(closed);
	line_io_free(io);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(close(pair[1]), 0);
}

#define ROOT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define RECEIPT                                                                \
	"{\"type\":\"receipt\",\"batch\":1,\"count\":2,\"root\":\"" ROOT "\","

static const struct {
	const char *line;
	int said; /* -1: refused */
} lines[] = {
    {"{\"type\":\"ready\",\"protocol\":1,\"program\":\"p\","
     "\"states\":[\"sent\",\"stored\"],\"readback\":true}",
	SAID_READY},
    /* Another protocol is told by its number alone. */
    {"{\"type\":\"ready\",\"protocol\":2}", SAID_READY},
    {"{\"type\":\"ready\",\"protocol\":\"1\"}", -1},
    {"{\"type\":\"ready\",\"protocol\":-1}", -1},
    {"{\"type\":\"ready\",\"protocol\":1,\"program\":\"p\",\"states\":[]}", -1},
    {"{\"type\":\"ready\",\"protocol\":1,\"program\":\"p\","
     "\"states\":[\"burnt\"]}",
	-1},
    {"{\"type\":\"ready\",\"protocol\":1,\"program\":\"p\","
     "\"states\":[\"sent\"],\"readback\":1}",
	-1},
    {"{\"type\":\"ready\",\"protocol\":1,\"states\":[\"sent\"]}", -1},
    {"{\"type\":\"alive\"}", SAID_ALIVE},
    {RECEIPT "\"state\":\"stored\",\"location\":\"x\",\"sha256\":\"" HEX
	     "\",\"bytes\":3}",
	SAID_RECEIPT},
    {RECEIPT "\"state\":\"sent\"}", SAID_RECEIPT},
    {RECEIPT "\"state\":\"accepted\",\"sha256\":\"-\"}", SAID_RECEIPT},
    {RECEIPT "\"state\":\"lost\"}", -1},
    {RECEIPT "\"state\":\"sent\",\"sha256\":\"00\"}", -1},
    {RECEIPT "\"state\":\"sent\",\"sha256\":\"" HEX "\"}", -1},
    {RECEIPT "\"state\":\"sent\",\"sha256\":\"" HEX "\",\"bytes\":-1}", -1},
    {RECEIPT "\"state\":\"sent\",\"sha256\":7}", -1},
    {RECEIPT "\"state\":\"sent\",\"location\":\"a\\nb\"}", -1},
    {"{\"type\":\"receipt\",\"batch\":1,\"count\":2,\"root\":\"AA==\","
     "\"state\":\"sent\"}",
	-1},
    {"{\"type\":\"receipt\",\"count\":2,\"root\":\"" ROOT "\"}", -1},
    {"{\"type\":\"error\",\"batch\":1,\"reason\":\"disk full\"}", SAID_ERROR},
    {"{\"type\":\"error\",\"reason\":\"no such folder\"}", SAID_ERROR},
    {"{\"type\":\"error\",\"batch\":\"1\",\"reason\":\"x\"}", -1},
    {"{\"type\":\"error\",\"batch\":1}", -1},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":3,\"leaf\":\"x\","
     "\"parts\":[{\"salt\":\"" ROOT "\",\"data\":\"{}\"}]}",
	SAID_EVENT},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":130,\"leaf\":\"x\","
     "\"parts\":[]}",
	SAID_EVENT},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":256,\"leaf\":\"x\","
     "\"parts\":[]}",
	-1},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":3,\"leaf\":\"x\"}", -1},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":3,\"leaf\":\"x\","
     "\"parts\":[{\"salt\":\"AA==\",\"data\":\"{}\"}]}",
	-1},
    {"{\"type\":\"event\",\"seq\":0,\"kind\":3,\"leaf\":\"x\","
     "\"parts\":[1,2,3,4,5,6,7,8,9]}",
	-1},
    {"{\"type\":\"readback-end\",\"batch\":1,\"sha256\":\"" HEX "\"}",
	SAID_READBACK_END},
    {"{\"type\":\"readback-end\",\"sha256\":\"" HEX "\"}", -1},
    {"{\"type\":\"progress\",\"done\":7}", SAID_OTHER},
    {"{\"type\":\"alive\",\"type\":\"alive\"}", -1},
    {"{\"type\":7}", -1},
    {"{}", -1},
    {"[]", -1},
    {"", -1},
    {"{\"type\":\"alive\"} x", -1},
    {"{\"type\":\"alive\xff\"}", -1},
    {"nonsense", -1},
};

static void
test_what_adapters_may_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct adapter_says s;
		const char *why = NULL;
		int r = adapter_says_parse(view_text(lines[i].line), &s, &why);

		if (r != (lines[i].said < 0 ? -1 : 0) ||
		    (r == 0 && (int)s.said != lines[i].said))
			fail_msg("%s: %d, %s", lines[i].line, r, why);
		if (r != 0)
			assert_non_null(why);
		adapter_says_release(&s);
	}
}

static void
test_what_was_said(void **state)
{
	struct adapter_says s;
	const char *why;

	(void)state;
	assert_int_equal(
	    adapter_says_parse(view_text(lines[0].line), &s, &why), 0);
	assert_int_equal(s.promises, 1U << PROMISE_SENT | 1U << PROMISE_STORED);
	assert_true(s.readback);
	assert_true(view_is(s.program, "p"));
	adapter_says_release(&s);
	assert_int_equal(
	    adapter_says_parse(
		view_text(RECEIPT
		    "\"state\":\"stored\",\"location\":\"x\",\"sha256\":\"" HEX
		    "\",\"bytes\":3}"),
		&s, &why),
	    0);
	assert_int_equal(s.batch, 1);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.promise, PROMISE_STORED);
	assert_int_equal(s.bytes, 3);
	assert_true(s.hashed);
	assert_int_equal(s.sha256[31], 0x1f);
	adapter_says_release(&s);
}

/* A record with two parts and its leaf, as the journal would have it. */
struct sample {
	uint8_t salt[2][32];
	struct buf leaf;
	struct scan_record record;
};

static void
make_sample(struct sample *m)
{
	static const char *const data[2] = {"{\"a\":1}", "{\"b\":2}"};
	struct leaf_head head = {
	    .seq = 5, .kind = 3, .at = 7, .boot = 1, .boot_id = "00000000"};
	uint8_t commitment[32];

	memset(m, 0, sizeof *m);
	buf_init(&m->leaf);
	leaf_put_head(&m->leaf, &head);
	m->record.seq = 5;
	m->record.kind = 3;
	m->record.parts = 2;
	for (unsigned i = 0; i < 2; i++) {
		memset(m->salt[i], (int)i + 1, 32);
		m->record.part[i].salt = view_of(m->salt[i], 32);
		m->record.part[i].data = view_text(data[i]);
		leaf_commit(m->salt[i], view_text(data[i]), commitment);
		leaf_put_part(&m->leaf, i, commitment);
	}
	m->record.leaf = buf_view(&m->leaf);
}

/* Renders the record and reads it as an adapter's answer. */
static void
echo(const struct scan_record *r, struct adapter_says *s, struct buf *line)
{
	const char *why;

	buf_clear(line);
	batch_put_event(line, r);
	assert_int_equal(line->data[line->len - 1], '\n');
	assert_int_equal(
	    adapter_says_parse(view_of(line->data, line->len - 1), s, &why), 0);
}

static void
test_compare(void **state)
{
	struct adapter_says s;
	struct sample m;
	struct buf line;

	(void)state;
	buf_init(&line);
	make_sample(&m);
	echo(&m.record, &s, &line);
	assert_null(batch_compare(&m.record, &s));
	s.part[1].salt[0] ^= 1;
	assert_string_equal(batch_compare(&m.record, &s),
	    "what was read back breaks its commitment");
	s.part[1].salt[0] ^= 1;
	s.part[1].data = view_text("{\"b\":3}");
	assert_string_equal(batch_compare(&m.record, &s),
	    "what was read back breaks its commitment");
	s.parts = 1;
	assert_string_equal(batch_compare(&m.record, &s),
	    "what was read back has not all parts");
	s.parts = 0;
	assert_string_equal(batch_compare(&m.record, &s),
	    "what was read back has not all parts");
	s.seq++;
	assert_string_equal(
	    batch_compare(&m.record, &s), "read back out of order");
	adapter_says_release(&s);
	/* A journal whose own part was changed is noticed, too. */
	echo(&m.record, &s, &line);
	m.record.part[0].data = view_text("{\"a\":2}");
	assert_string_equal(batch_compare(&m.record, &s),
	    "what was read back has another part");
	adapter_says_release(&s);
	buf_release(&line);
	buf_release(&m.leaf);
}

/* A purged record goes out without parts; the archive may still have them. */
static void
test_compare_purged(void **state)
{
	struct adapter_says whole, without;
	struct sample m;
	struct buf line;

	(void)state;
	buf_init(&line);
	make_sample(&m);
	echo(&m.record, &whole, &line);
	m.record.purged = true;
	echo(&m.record, &without, &line);
	assert_int_equal(without.parts, 0);
	assert_null(batch_compare(&m.record, &without));
	assert_null(batch_compare(&m.record, &whole));
	whole.part[0].data = view_text("{\"a\":2}");
	assert_string_equal(batch_compare(&m.record, &whole),
	    "what was read back breaks its commitment");
	adapter_says_release(&whole);
	adapter_says_release(&without);
	buf_release(&line);
	buf_release(&m.leaf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines_in_pieces),
	    cmocka_unit_test(test_longest_line_and_one_more),
	    cmocka_unit_test(test_every_cut),
	    cmocka_unit_test(test_a_line_without_memory_ends_the_connection),
	    cmocka_unit_test(test_what_adapters_may_say),
	    cmocka_unit_test(test_what_was_said),
	    cmocka_unit_test(test_compare),
	    cmocka_unit_test(test_compare_purged),
	};

	crypto_init();
	return cmocka_run_group_tests_name("engine_lines", tests, NULL, NULL);
}
