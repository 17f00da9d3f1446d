/* adapters/: syslog messages and targets, XML attributes and senders. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/compliance_xml.h"
#include "adapters/syslog_message.h"
#include "adapters/transport.h"
#include "adapters/xml_out.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"

/* What a source put out. */
struct collected {
	size_t count;
	size_t longest;
	struct buf all; /* one message a line */
};

static bool
collect(void *arg, struct view message)
{
	struct collected *c = arg;

	c->count++;
	if (message.n > c->longest)
		c->longest = message.n;
	assert_null(memchr(message.p, '\n', message.n));
	assert_true(text_utf8_valid(message));
	buf_put_view(&c->all, message);
	buf_put_u8(&c->all, '\n');
	return true;
}

static bool
refuse(void *arg, struct view message)
{
	(void)arg, (void)message;
	return false;
}

static const struct adapter_config config = {.adapter = "siem",
    .domain = "example.test",
    .origin = "example.test/journal/0a1b2c3d",
    .vkey = "example.test/journal/0a1b2c3d+00000000+AA=="};
static const struct adapter_batch batch = {.number = 7,
    .first = 1,
    .last = 1,
    .count = 1,
    .size = 2,
    .root = "AAAA",
    .note = "a note\n"};

/* A post with a text of n characters; parts are not checked here. */
static void
make_event(struct adapter_event *e, struct buf *text, size_t n)
{
	buf_clear(text);
	buf_put_text(text, "{\"v\":1,\"text\":\"");
	for (size_t i = 0; i < n; i++)
		buf_put_text(text, "\xc3\xa9");
	buf_put_text(text, "\"}");
	*e = (struct adapter_event){.seq = 1, .at = 1, .kind = 3, .parts = 2};
	e->leaf = view_text("leaf/1 1 3\nt 1 1 0a1b2c3d 0\n");
	e->part[0].data = view_text("{\"v\":1,\"type\":\"post\",\"user\":"
				    "\"a \\\"b\\\\ ]\\n\",\"chat\":7}");
	e->part[1].data = buf_view(text);
}

/* Joins the values of `name` over all messages. */
static void
join(struct collected *c, const char *name, struct buf *out)
{
	const char *at = buf_text(&c->all);
	struct buf key;

	buf_init(&key);
	buf_printf(&key, " %s=\"", name);
	while ((at = strstr(at, buf_text(&key))) != NULL) {
		at += key.len;
		buf_put(out, at, strcspn(at, "\""));
	}
	buf_release(&key);
}

static void
test_pieces_keep_to_the_limit_and_lose_nothing(void **state)
{
	static const size_t limits[] = {1024, 2048, 8192};
	struct collected c = {.count = 0};
	struct syslog_message_source s = {
	    .config = &config, .batch = &batch, .put = collect, .arg = &c};
	struct adapter_event e;
	struct buf text, got, raw;

	(void)state;
	buf_init(&text);
	buf_init(&got);
	buf_init(&raw);
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		s.limit = limits[i];
		for (size_t n = 0; n < 6000; n += 1 + n / 8) {
			c.count = c.longest = 0;
			buf_clear(&c.all);
			buf_clear(&got);
			buf_clear(&raw);
			make_event(&e, &text, n);
			assert_true(syslog_message_event(&s, &e));
			assert_true(c.longest <= s.limit);
			/* pieces are used, not wasted */
			assert_true(
			    c.count <= 2 + 2 * (text.len * 4 / 3) / s.limit);
			join(&c, "data1", &got);
			assert_true(text_get_base64(buf_view(&got), &raw));
			assert_int_equal(raw.len, text.len);
			assert_memory_equal(raw.data, text.data, raw.len);
		}
	}
	buf_release(&c.all);
	buf_release(&text);
	buf_release(&got);
	buf_release(&raw);
}

static void
test_message_is_rfc_5424(void **state)
{
	struct collected c = {.count = 0};
	struct syslog_message_source s = {.config = &config,
	    .batch = &batch,
	    .limit = 8192,
	    .put = collect,
	    .arg = &c};
	struct adapter_event e;
	struct buf text;
	const char *line;

	(void)state;
	buf_init(&text);
	make_event(&e, &text, 3);
	assert_true(syslog_message_event(&s, &e));
	assert_int_equal(c.count, 1);
	line = buf_text(&c.all);
	assert_ptr_equal(strstr(line,
			     "<110>1 1970-01-01T00:00:00.000001Z example.test "
			     "chancery - post [chancery@32473 origin=\""),
	    line);
	assert_non_null(
	    strstr(line, " leaf=\"leaf/1 1 3|t 1 1 0a1b2c3d 0|\" salt0=\""));
	assert_non_null(strstr(line,
	    "[chanceryEvent@32473 user=\"a \\\"b\\\\ \\] \" chat=\"7\"] "
	    "\xc3\xa9\xc3\xa9\xc3\xa9\n"));
	buf_release(&text);
	buf_release(&c.all);
}

static void
test_message_that_cannot_be(void **state)
{
	struct collected c = {.count = 0};
	struct syslog_message_source s = {.config = &config,
	    .batch = &batch,
	    .limit = 8192,
	    .put = collect,
	    .arg = &c};
	struct adapter_event e;
	struct buf text;

	(void)state;
	buf_init(&text);
	make_event(&e, &text, 3);
	/* a byte outside the leaf's alphabet would break the element */
	e.leaf = view_text("leaf/1 1 3\n\"]\n");
	assert_false(syslog_message_event(&s, &e));
	assert_int_equal(c.count, 0);
	make_event(&e, &text, 3);
	s.put = refuse;
	assert_false(syslog_message_event(&s, &e));
	buf_release(&text);
}

/* One message whatever the note holds, and all of it when that fits. */
static void
test_checkpoint_messages(void **state)
{
	static const char own[] =
	    "example.test/journal/0a1b2c3d\n5\nAAAA\n\n"
	    "\xe2\x80\x94 example.test/journal/0a1b2c3d BBBBBBBB\n";
	struct adapter_checkpoint point = {.size = 5, .note = own};
	struct collected c = {.count = 0};
	struct syslog_message_source s = {
	    .config = &config, .limit = 2048, .put = collect, .arg = &c};
	struct buf note, raw, lines;

	(void)state;
	buf_init(&note);
	buf_init(&raw);
	buf_init(&lines);
	buf_put_text(&lines, own);
	for (size_t more = 0; more < 40; more++) {
		bool whole = lines.len < 1200;

		point.note = buf_text(&lines);
		c.count = 0;
		buf_clear(&c.all);
		buf_clear(&note);
		buf_clear(&raw);
		assert_true(syslog_message_checkpoint(&s, &point));
		assert_int_equal(c.count, 1);
		assert_true(c.longest <= s.limit);
		assert_non_null(strstr(buf_text(&c.all),
		    " - checkpoint [chancery@32473 origin=\""));
		join(&c, "note", &note);
		assert_true(text_get_base64(buf_view(&note), &raw));
		if (whole)
			assert_string_equal(buf_text(&raw), buf_text(&lines));
		else if (raw.len != lines.len)
			assert_string_equal(buf_text(&raw), own);
		buf_printf(&lines,
		    "\xe2\x80\x94 witness/%02zu CCCCCCCC%0100d\n", more, 0);
	}
	point.note = "no note";
	assert_false(syslog_message_checkpoint(&s, &point));
	s.put = refuse;
	point.note = own;
	assert_false(syslog_message_checkpoint(&s, &point));
	buf_release(&lines);
	buf_release(&raw);
	buf_release(&note);
	buf_release(&c.all);
}

static void
test_batch_messages(void **state)
{
	struct collected c = {.count = 0};
	struct syslog_message_source s = {.config = &config,
	    .batch = &batch,
	    .limit = 2048,
	    .put = collect,
	    .arg = &c};
	struct buf note, raw;

	(void)state;
	buf_init(&note);
	buf_init(&raw);
	assert_true(syslog_message_batch(&s));
	join(&c, "note", &note);
	assert_true(text_get_base64(buf_view(&note), &raw));
	assert_string_equal(buf_text(&raw), batch.note);
	c.count = 0;
	assert_true(syslog_message_end(&s));
	assert_int_equal(c.count, 1);
	buf_release(&raw);
	buf_release(&note);
	buf_release(&c.all);
}

static void
test_targets(void **state)
{
	static const char *const bad[] = {"", "relp", "relp:", "relp://",
	    "relp://h", "relp://h:", "relp://h:0", "relp://h:00",
	    "relp://h:65536", "relp://h:1x", "relp://:1", "relp://a:b:1",
	    "relp://[::1]", "relp://[]:1", "://h:1", "RELP://h:1",
	    "relps://h:1"};
	struct transport_target t;
	struct buf long_host;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(transport_parse(bad[i], &t));
	assert_true(transport_parse("relp+tls://log.example.test:2514", &t));
	assert_int_equal(t.scheme, TRANSPORT_RELP_TLS);
	assert_string_equal(t.host, "log.example.test");
	assert_string_equal(t.port, "2514");
	assert_true(transport_parse("udp://[2001:db8::1]:514", &t));
	assert_int_equal(t.scheme, TRANSPORT_UDP);
	assert_string_equal(t.host, "2001:db8::1");
	buf_init(&long_host);
	buf_put_text(&long_host, "tcp://");
	for (size_t i = 0; i < sizeof t.host; i++)
		buf_put_u8(&long_host, 'h');
	buf_put_text(&long_host, ":1");
	assert_false(transport_parse(buf_text(&long_host), &t));
	buf_release(&long_host);
}

static void
test_attributes_hold_any_text(void **state)
{
	static const char value[] =
	    "<&>\"'\t\r\n \x01\x1f\x7f \xc3\xa9 \xf0\x9f\x98\x80 "
	    "\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd";
	char folder[] = "/tmp/chancery-adapter-XXXXXX";
	uint8_t sha256[CRYPTO_SHA256_LEN];
	uint64_t bytes;
	struct xml_out x;
	struct buf got;
	char *path;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = file_join(folder, "x.xml");
	assert_int_equal(xml_out_open(&x, path), 0);
	xml_out_start(&x, "e");
	xml_out_text(&x, "t", view_of(value, sizeof value - 1));
	xml_out_number(&x, "n", UINT64_MAX);
	xml_out_base64(&x, "b", view_text("abc"));
	xml_out_text(&x, "z", view_text(""));
	xml_out_end(&x);
	assert_int_equal(xml_out_commit(&x, sha256, &bytes), 0);
	buf_init(&got);
	assert_int_equal(file_read(path, 4096, &got), 0);
	assert_int_equal(got.len, bytes);
	assert_string_equal(buf_text(&got),
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<e t=\"&lt;&amp;&gt;&quot;'&#9;&#13;&#10; "
	    "\xef\xbf\xbd\xef\xbf\xbd\x7f \xc3\xa9 \xf0\x9f\x98\x80 "
	    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\" "
	    "n=\"18446744073709551615\" b=\"YWJj\" z=\"\"/>\n");
	buf_release(&got);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	free(path);
}

static void
test_sender_number_is_stable(void **state)
{
	(void)state;
	/* printf 'sender/1\nsip:ann@example.test' | sha256sum: d296d594... */
	assert_int_equal(
	    compliance_xml_sender_id("sip:ann@example.test"), 1766550218);
	assert_int_not_equal(
	    compliance_xml_sender_id("sip:bob@example.test"), 1766550218);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pieces_keep_to_the_limit_and_lose_nothing),
	    cmocka_unit_test(test_message_is_rfc_5424),
	    cmocka_unit_test(test_message_that_cannot_be),
	    cmocka_unit_test(test_checkpoint_messages),
	    cmocka_unit_test(test_batch_messages),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_attributes_hold_any_text),
	    cmocka_unit_test(test_sender_number_is_stable),
	};

	crypto_init();
	return cmocka_run_group_tests_name(
	    "adapter_formats", tests, NULL, NULL);
}
