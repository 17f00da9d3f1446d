/* Bodies of clients, friendly and hostile, and the bodies sent to them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/xccos.h"
#include "server/xccos_put.h"

#define NS " xmlns=\"" XCCOS_NAMESPACE "\""
#define OPEN "<xccos ver=\"1\" envid=\"601111631\"" NS ">"
#define POST(text)                                                             \
	OPEN "<grpchat id=\"grpchat\" seqid=\"1\""                             \
	     " chanUri=\"ma-chan://example.test/G\" author=\"sip:x@y\""        \
	     " ts=\"2026-11-22T06:45:52Z\">" text "</grpchat></xccos>"
#define COMMAND(name, data)                                                    \
	OPEN "<cmd id=\"cmd:" name "\" seqid=\"1\">" data "</cmd></xccos>"

static struct xccos *parser;
static struct xccos_body body;
static const char *why;

static int
set_up(void **state)
{
	(void)state;
	parser = xccos_new();
	return parser == NULL;
}

static int
tear_down(void **state)
{
	(void)state;
	xccos_free(parser);
	return 0;
}

static enum xccos_verdict
parse(const char *text)
{
	why = NULL;
	return xccos_parse(parser, view_text(text), &body, &why);
}

static void
assert_view(struct view v, const char *expected)
{
	assert_non_null(v.p);
	assert_int_equal(v.n, strlen(expected));
	assert_memory_equal(v.p, expected, v.n);
}

static void
assert_bad(const char *text, const char *reason)
{
	assert_int_equal(parse(text), XCCOS_BAD);
	assert_non_null(why);
	if (strstr(why, reason) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why, reason);
	for (const char *p = why; *p != '\0'; p++)
		assert_true(*p >= 0x20 && *p <= 0x7e);
}

static void
test_commands(void **state)
{
	(void)state;
	assert_int_equal(parse(COMMAND("requri", "<data/>")), XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_REQURI);
	assert_view(body.name, "requri");
	assert_view(body.envid, "601111631");
	assert_view(body.seqid, "1");

	assert_int_equal(
	    parse(COMMAND("bjoin",
		"<data><chanid key=\"0\" domain=\"d\" value=\"a\"/>"
		"<chanid key=\"1\" domain=\"e\" value=\"b\"/>"
		"</data>")),
	    XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_BJOIN);
	assert_int_equal(body.chanid_count, 2);
	assert_view(body.chanids[0].domain, "d");
	assert_view(body.chanids[1].value, "b");

	assert_int_equal(parse(COMMAND("bccontext",
			     "<data><chanib uri=\"u\"/><bcq>"
			     "<last cnt=\"25\"/></bcq></data>")),
	    XCCOS_OK);
	assert_view(body.room, "u");
	assert_view(body.last, "25");
	assert_false(body.other_query);

	assert_int_equal(parse(COMMAND("chansrch",
			     "<data><qib qtype=\"BYNAME\" criteria=\"a&amp;b"
			     "&#x20AC;\" extended=\"false\"/></data>")),
	    XCCOS_OK);
	assert_view(body.criteria, "a&b\xe2\x82\xac");
	assert_view(body.extended, "false");
}

static void
test_nothing_stays_from_an_earlier_body(void **state)
{
	(void)state;
	assert_int_equal(parse(POST("<chat>secret</chat>")), XCCOS_OK);
	assert_view(body.text, "secret");
	assert_int_equal(parse(COMMAND("part", "<data/>")), XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_PART);
	assert_null(body.text.p);
	assert_null(body.room.p);
	assert_null(body.post_room.p);
	assert_int_equal(body.chanid_count, 0);
	assert_bad(OPEN "<cmd id=", "not XML");
	assert_int_equal(parse(POST("<chat>again</chat>")), XCCOS_OK);
	assert_view(body.text, "again");
}

static void
test_post_text_is_exact(void **state)
{
	(void)state;
	assert_int_equal(
	    parse(POST("<chat>one&#13;&#10;t&lt;w&gt;o &amp;amp; "
		       "<![CDATA[<b>]]>\xc3\xa4\xf0\x9f\x98\x80</chat>")),
	    XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_POST);
	assert_view(
	    body.text, "one\r\nt<w>o &amp; <b>\xc3\xa4\xf0\x9f\x98\x80");
	assert_view(body.post_room, "ma-chan://example.test/G");

	assert_int_equal(parse(POST("<chat/>")), XCCOS_OK);
	assert_non_null(body.text.p);
	assert_int_equal(body.text.n, 0);
	assert_int_equal(parse(POST("")), XCCOS_OK);
	assert_null(body.text.p);
}

static void
test_tolerates_what_it_does_not_know(void **state)
{
	(void)state;
	assert_int_equal(
	    parse("<?xml version=\"1.0\" encoding=\"utf-16\"?>\n"
		  "<!-- hello --><x:xccos xmlns:x=\"" XCCOS_NAMESPACE "\""
		  " xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" new=\"1\""
		  " envid=\"7\"> <x:more><deep x:id=\"cmd:join\"/></x:more>"
		  "<x:cmd id=\"CMD:Part\" seqid=\"3\" odd=\"&lt;\"><x:data>"
		  "<x:unknown uri=\"no\"/><x:chanib uri=\"yes\" b:uri=\"no\""
		  " xmlns:b=\"urn:other\"/></x:data></x:cmd></x:xccos>"),
	    XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_PART);
	assert_view(body.name, "part");
	assert_view(body.room, "yes");
	assert_view(body.seqid, "3");

	assert_int_equal(parse(COMMAND("nodecreate", "<data/>")), XCCOS_OK);
	assert_int_equal(body.verb, XCCOS_UNKNOWN);
	assert_view(body.name, "nodecreate");

	/* Rich text stands beside the text and is not taken for it. */
	assert_int_equal(
	    parse(POST("<chat>plain</chat><rtf>{\\rtf1 <b>x</b>}</rtf>")),
	    XCCOS_OK);
	assert_view(body.text, "plain");

	/* An element of another namespace is not ours. */
	assert_int_equal(parse(COMMAND("part",
			     "<data><chanib xmlns=\"urn:x\" uri=\"no\"/>"
			     "</data>")),
	    XCCOS_OK);
	assert_null(body.room.p);

	assert_int_equal(parse(COMMAND("bccontext",
			     "<data><bcq><search text=\"x\"/>"
			     "<last cnt=\"1\"/></bcq></data>")),
	    XCCOS_OK);
	assert_true(body.other_query);
}

static void
test_refuses_what_is_ambiguous(void **state)
{
	(void)state;
	assert_bad("", "empty");
	assert_bad("hello", "not XML");
	assert_bad("<html/>", "not an xccos");
	assert_bad("<xccos/>", "not an xccos");
	assert_bad(OPEN "</xccos>", "no command");
	assert_bad(OPEN "<rpl id=\"rpl:join\"/></xccos>", "no command");
	assert_bad(OPEN "<cmd/></xccos>", "no name");
	assert_bad(OPEN "<cmd id=\"join\"/></xccos>", "no name");
	assert_bad(OPEN "<cmd id=\"cmd:\"/></xccos>", "no name");
	assert_bad(OPEN "<cmd id=\"cmd:a b\"/></xccos>", "no name");
	assert_bad(OPEN "<cmd id=\"cmd:join\"/><cmd id=\"cmd:part\"/></xccos>",
	    "more than once");
	assert_bad(OPEN "<cmd id=\"cmd:join\"/><grpchat><chat>x</chat>"
			"</grpchat></xccos>",
	    "more than one");
	assert_bad(OPEN "<grpchat><chat>x</chat></grpchat>"
			"<cmd id=\"cmd:join\"/></xccos>",
	    "more than one");
	assert_bad(POST("<chat>a</chat><chat>b</chat>"), "more than once");
	assert_bad(
	    POST("<chat>a<a href=\"http://x/\">b</a></chat>"), "only text");
	assert_bad(OPEN "<grpchat id=\"other\"><chat>x</chat></grpchat>"
			"</xccos>",
	    "wrong id");
	assert_bad("<xccos envid=\"1 2\"" NS "><cmd id=\"cmd:part\"/></xccos>",
	    "envid");
	assert_bad("<xccos envid=\"123456789012345678901234567890123\"" NS
		   "><cmd id=\"cmd:part\"/></xccos>",
	    "envid");
	assert_bad(COMMAND("part", "<data/>") "<more/>", "not XML");
	assert_bad(
	    COMMAND("part", "<data/>") COMMAND("part", "<data/>"), "not XML");
}

static void
test_refuses_documents_with_a_type(void **state)
{
	struct buf b = {0};

	(void)state;
	assert_bad(
	    "<!DOCTYPE xccos>" COMMAND("part", "<data/>"), "document type");
	assert_bad("<!DOCTYPE xccos SYSTEM \"file:///etc/passwd\">" POST(
		       "<chat>x</chat>"),
	    "document type");
	assert_bad("<!DOCTYPE x [<!ENTITY a \"b\">]>" POST("<chat>&a;</chat>"),
	    "document type");
	assert_bad("<!DOCTYPE x [<!ENTITY e SYSTEM \"/etc/passwd\">]>" POST(
		       "<chat>&e;</chat>"),
	    "document type");
	assert_bad(POST("<chat>&unknown;</chat>"), "not XML");
	/* A billion laughs. */
	buf_put_text(&b, "<!DOCTYPE x [<!ENTITY l0 \"ha\">");
	for (int i = 1; i < 20; i++)
		buf_printf(&b, "<!ENTITY l%d \"&l%d;&l%d;&l%d;\">", i, i - 1,
		    i - 1, i - 1);
	buf_put_text(&b, "]>" POST("<chat>&l19;</chat>"));
	assert_bad(buf_text(&b), "document type");
	buf_release(&b);
	/* And it goes on afterwards. */
	assert_int_equal(parse(POST("<chat>fine</chat>")), XCCOS_OK);
	assert_view(body.text, "fine");
}

static void
test_refuses_what_is_not_text(void **state)
{
	static const char *const bad[] = {POST("<chat>\xff</chat>"),
	    POST("<chat>\xc0\x80</chat>"), POST("<chat>\xed\xa0\x80</chat>"),
	    POST("<chat>\x01</chat>"), POST("<chat>&#1;</chat>"),
	    POST("<chat>&#0;</chat>"), POST("<chat>&#xFFFE;</chat>"),
	    POST("<chat>&#xD800;</chat>"), POST("<chat>\xef\xbf\xbf</chat>"),
	    POST("<chat>\xf4\x90\x80\x80</chat>")};
	char nul[] = POST("<chat>a_b</chat>");

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_bad(bad[i], "The body is not");
	*strchr(strchr(nul, 'a') == NULL ? nul : strstr(nul, "a_b"), '_') = 0;
	assert_int_equal(
	    xccos_parse(parser, view_of(nul, sizeof nul - 1), &body, &why),
	    XCCOS_BAD);
	/* UTF-16, with and without its mark. */
	assert_int_equal(
	    xccos_parse(parser, view_of("\xff\xfe<\0x\0", 6), &body, &why),
	    XCCOS_BAD);
	assert_int_equal(
	    xccos_parse(parser, view_of("<\0x\0/\0>\0", 8), &body, &why),
	    XCCOS_BAD);
}

static void
put_nested(struct buf *b, int depth)
{
	buf_clear(b);
	buf_put_text(b, OPEN "<cmd id=\"cmd:part\">");
	for (int i = 0; i < depth; i++)
		buf_put_text(b, "<a>");
	for (int i = 0; i < depth; i++)
		buf_put_text(b, "</a>");
	buf_put_text(b, "</cmd></xccos>");
}

static void
put_attributes(struct buf *b, const char *prefix, int count)
{
	buf_clear(b);
	buf_put_text(b, OPEN);
	buf_put_text(b, prefix);
	buf_put_text(b, "<cmd id=\"cmd:part\"");
	for (int i = 1; i < count; i++)
		buf_printf(b, " a%d='>'", i);
	buf_put_text(b, "/></xccos>");
}

static void
test_limits(void **state)
{
	struct buf b = {0};

	(void)state;
	put_nested(&b, XCCOS_DEPTH_MAX - 2);
	assert_int_equal(parse(buf_text(&b)), XCCOS_OK);
	put_nested(&b, XCCOS_DEPTH_MAX - 1);
	assert_bad(buf_text(&b), "too deep");
	put_nested(&b, 20000);
	assert_bad(buf_text(&b), "too deep");

	put_attributes(&b, "", XCCOS_ATTRIBUTES_MAX);
	assert_int_equal(parse(buf_text(&b)), XCCOS_OK);
	put_attributes(&b, "", XCCOS_ATTRIBUTES_MAX + 1);
	assert_bad(buf_text(&b), "too many attributes");
	put_attributes(&b, "", 30000);
	assert_bad(buf_text(&b), "too many attributes");
	/* What looks like a tag elsewhere must not hide them. */
	put_attributes(&b, "<![CDATA[<a \"]]>", 30000);
	assert_bad(buf_text(&b), "too many attributes");
	put_attributes(&b, "<!-- <a ' -->", 30000);
	assert_bad(buf_text(&b), "too many attributes");
	put_attributes(&b, "<?x <a ' ?>", 30000);
	assert_bad(buf_text(&b), "too many attributes");

	buf_clear(&b);
	buf_put_text(&b, OPEN "<cmd id=\"cmd:part\"><data>");
	for (int i = 0; i < XCCOS_ELEMENTS_MAX; i++)
		buf_put_text(&b, "<a/>");
	buf_put_text(&b, "</data></cmd></xccos>");
	assert_bad(buf_text(&b), "too many elements");

	for (int extra = 0; extra < 2; extra++) {
		buf_clear(&b);
		buf_put_text(&b, OPEN "<cmd id=\"cmd:bjoin\"><data>");
		for (int i = 0; i < XCCOS_CHANIDS_MAX + extra; i++)
			buf_put_text(&b, "<chanid domain='d' value='v'/>");
		buf_put_text(&b, "</data></cmd></xccos>");
		if (extra == 0) {
			assert_int_equal(parse(buf_text(&b)), XCCOS_OK);
			assert_int_equal(body.chanid_count, XCCOS_CHANIDS_MAX);
		} else {
			assert_bad(buf_text(&b), "too many rooms");
		}
	}
	buf_release(&b);
}

static void
test_every_truncation_is_refused(void **state)
{
	static const char *const texts[] = {
	    POST("<chat>one &amp; two <![CDATA[x]]> \xc3\xa4</chat>"),
	    COMMAND("bjoin",
		"<data><chanid key=\"0\" domain=\"d\""
		" value=\"v\"/><!-- c --></data>")};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(texts[i]);

		assert_int_equal(parse(texts[i]), XCCOS_OK);
		for (size_t cut = 0; cut < n; cut++) {
			/* A copy of the exact size, for the sanitiser. */
			char *copy = malloc(cut == 0 ? 1 : cut);

			assert_non_null(copy);
			memcpy(copy, texts[i], cut);
			assert_int_equal(xccos_parse(parser, view_of(copy, cut),
					     &body, &why),
			    XCCOS_BAD);
			free(copy);
		}
	}
}

/* Names that clients invent must not gather in the parser's dictionary. */
static void
test_many_names(void **state)
{
	char text[512];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(text, sizeof text,
		    OPEN "<n%d a%d=\"1\"/><cmd id=\"cmd:part\"/></xccos>", i,
		    i);
		assert_int_equal(parse(text), XCCOS_OK);
	}
}

/* ---- What is sent ---- */

static void
test_escaping_comes_back(void **state)
{
	static const char raw[] = "a<b>&\"' \t\r\n]]>\xc3\xa4&amp;";
	struct buf b = {0};

	(void)state;
	buf_put_text(&b, OPEN "<grpchat");
	xccos_put_attribute(&b, "chanUri", view_text(raw));
	buf_put_text(&b, "><chat>");
	xccos_put_escaped(&b, view_text(raw));
	buf_put_text(&b, "</chat></grpchat></xccos>");
	assert_int_equal(parse(buf_text(&b)), XCCOS_OK);
	assert_view(body.text, raw);
	assert_view(body.post_room, raw);
	buf_release(&b);
}

static void
test_post_body(void **state)
{
	const struct xccos_message m = {
	    .room = "ma-chan://example.test/g",
	    .author = "sip:ann@example.test",
	    .chat = 17,
	    .at = 1800000000123456,
	    .text = view_text("a\r\nb"),
	};
	struct buf b = {0};

	(void)state;
	xccos_put_post(&b, 5, &m);
	assert_string_equal(buf_text(&b),
	    "<xccos ver=\"1\" envid=\"5\" xmlns=\"" XCCOS_NAMESPACE "\">"
	    "<grpchat id=\"grpchat\" seqid=\"1\""
	    " chanUri=\"ma-chan://example.test/g\""
	    " author=\"sip:ann@example.test\""
	    " ts=\"2027-01-15T08:00:00.1234560Z\" chatId=\"17\">"
	    "<chat>a&#13;&#10;b</chat></grpchat></xccos>");
	buf_release(&b);
}

static void
test_what_can_be_sent(void **state)
{
	(void)state;
	assert_true(xccos_put_able(view_text("a\t\r\n\xc3\xa4")));
	assert_true(xccos_put_able(view_text("\xef\xbf\xbd")));
	assert_true(xccos_put_able(view_text("")));
	assert_false(xccos_put_able(view_text("\x01")));
	assert_false(xccos_put_able(view_of("a\0b", 3)));
	assert_false(xccos_put_able(view_text("\xef\xbf\xbe")));
	assert_false(xccos_put_able(view_text("\xef\xbf\xbf")));
	assert_false(xccos_put_able(view_text("\xff")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_commands),
	    cmocka_unit_test(test_nothing_stays_from_an_earlier_body),
	    cmocka_unit_test(test_post_text_is_exact),
	    cmocka_unit_test(test_tolerates_what_it_does_not_know),
	    cmocka_unit_test(test_refuses_what_is_ambiguous),
	    cmocka_unit_test(test_refuses_documents_with_a_type),
	    cmocka_unit_test(test_refuses_what_is_not_text),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_every_truncation_is_refused),
	    cmocka_unit_test(test_many_names),
	    cmocka_unit_test(test_escaping_comes_back),
	    cmocka_unit_test(test_post_body),
	    cmocka_unit_test(test_what_can_be_sent),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
