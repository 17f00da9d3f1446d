/* Selection and rendering of records read from a journal written by hand. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <libxml/parser.h>
#include <sys/stat.h>

#include "compliance/event.h"

#include "export/neutral.h"
#include "export/outfile.h"
#include "export/render.h"
#include "export/select.h"
#include "tests/unit/verify_fixture.h"

#define ROOM "ma-chan://example.test/11111111-2222-3333-4444-555555555555"

struct state {
	char folder[64], path[128];
	struct fix f;
};

static int
setup(void **out)
{
	struct state *s = calloc(1, sizeof(*s));

	snprintf(s->folder, sizeof(s->folder), "/tmp/export.XXXXXX");
	if (mkdtemp(s->folder) == NULL)
		return -1;
	snprintf(s->path, sizeof(s->path), "%s/journal.db", s->folder);
	fix_init(&s->f, 3);
	fix_open(&s->f); /* 0 */
	fix_control(
	    &s->f, 134, "required records\nafter 0\n" POLICY_REST); /* 1 */
	fix_join(&s->f, "ann");                                     /* 2 */
	fix_post(&s->f, "purged words");                            /* 3 */
	fix_batch(&s->f, "records", 1, 0, 3);                       /* 4 */
	fix_ack(&s->f, "records", 1, 0, 3, "l",
	    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	    1); /* 5 */
	fix_post(&s->f,
	    "a, \\\"b\\\"\\r\\n2026-11-22 07:08:09Z "
	    "[Ops] Eve: forged \\u001b[31m"); /* 6 */
	fix_event(&s->f, 5,
	    "{\"v\":1,\"type\":\"delivery\",\"id\":\"0a0b0c0d-7\",\"room\":"
	    "\"" ROOM "\",\"roomname\":\"Ops\",\"sets\":[{\"chats\":\"6\","
	    "\"to\":[\"sip:bob@example.test 0a1b2c\"]}]}",
	    NULL); /* 7 */
	fix_event(&s->f, 4,
	    "{\"v\":1,\"type\":\"history\",\"id\":\"0a0b0c0d-8\",\"room\":"
	    "\"ma-chan://example.test/99999999-0000-0000-0000-"
	    "000000000000\",\"roomname\":\"Desk\",\"user\":\"sip:carl@"
	    "example.test\",\"name\":\"Carl\",\"query\":{\"last\":25},"
	    "\"first\":3,\"last\":6,\"count\":2}",
	    NULL);                              /* 8 */
	fix_purge(&s->f, 1, 0, 3, "records:5"); /* 9 */
	s->f.note_size = s->f.n;
	fix_write(&s->f, s->path);
	*out = s;
	return 0;
}

static int
teardown(void **in)
{
	struct state *s = *in;

	unlink(s->path);
	rmdir(s->folder);
	fix_free(&s->f);
	free(s);
	return 0;
}

/* The numbers of the records selected, "2 3 6", and "?n" for unknown ones. */
static void
selected(struct state *s, const struct select *sel, const char *expected)
{
	char why[256];
	struct scan *scan = scan_open(s->path, true, why, sizeof(why));
	struct scan_record r;
	struct buf b;

	assert_non_null(scan);
	buf_init(&b);
	assert_int_equal(scan_seek(scan, 0), 0);
	while (scan_next(scan, &r) == 1) {
		struct item i;
		enum select_verdict v;

		item_load(&i, &r);
		v = select_item(sel, &i);
		if (v != SELECT_NO)
			buf_printf(&b, "%s%s%d", b.len > 0 ? " " : "",
			    v == SELECT_UNKNOWN ? "?" : "", (int)r.seq);
		item_release(&i);
	}
	assert_string_equal(b.len == 0 ? "" : buf_text(&b), expected);
	buf_release(&b);
	scan_close(scan);
}

static void
test_select(void **in)
{
	struct state *s = *in;
	const struct {
		struct select sel;
		const char *expected;
	} cases[] = {
	    {{.until = UINT64_MAX}, "0 1 2 3 4 5 6 7 8 9"},
	    {{.kind = EVENT_POST, .until = UINT64_MAX}, "3 6"},
	    {{.kind = EVENT_OPEN, .until = UINT64_MAX}, "0"},
	    {{.room = "ops", .until = UINT64_MAX}, "?2 ?3 6 7"},
	    {{.room = ROOM, .until = UINT64_MAX}, "?2 ?3 6 7"},
	    {{.room = "11111111-2222-3333-4444-555555555555",
		 .until = UINT64_MAX},
		"?2 ?3 6 7"},
	    {{.room = "desk", .until = UINT64_MAX}, "?2 ?3 8"},
	    {{.room = "Op", .until = UINT64_MAX}, "?2 ?3"},
	    {{.user = "sip:ann@example.test", .until = UINT64_MAX}, "?2 ?3 6"},
	    {{.user = "Ann@Example.test", .until = UINT64_MAX}, "?2 ?3 6"},
	    {{.user = "bob@example.test", .until = UINT64_MAX}, "?2 ?3 7"},
	    {{.user = "ann@example.tes", .until = UINT64_MAX}, "?2 ?3"},
	    {{.user = "carl@example.test", .room = "ops", .until = UINT64_MAX},
		"?2 ?3"},
	    {{.since = FIX_START + 6000017, .until = UINT64_MAX}, "6 7 8 9"},
	    {{.since = FIX_START + 6000018, .until = UINT64_MAX}, "7 8 9"},
	    {{.until = FIX_START + 2000017}, "0 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		selected(s, &cases[i].sel, cases[i].expected);
}

/* The whole journal in a form. */
static void
render(struct state *s, const char *format, struct buf *out)
{
	const struct render *r = render_find(format);
	char why[256];
	struct scan *scan = scan_open(s->path, true, why, sizeof(why));
	struct scan_record rec;
	void *self;

	assert_non_null(r);
	assert_non_null(scan);
	buf_init(out);
	self = r->begin(out, scan_meta(scan, "origin"));
	assert_non_null(self);
	assert_int_equal(scan_seek(scan, 0), 0);
	while (scan_next(scan, &rec) == 1) {
		struct item i;

		item_load(&i, &rec);
		r->record(self, out, &i);
		item_release(&i);
	}
	assert_true(r->end(self, out));
	assert_non_null(buf_text(out));
	scan_close(scan);
}

static void
test_jsonl(void **in)
{
	struct state *s = *in;
	struct buf out;
	char *line, *save = NULL;
	uint64_t n = 0;

	render(s, "jsonl", &out);
	for (line = strtok_r((char *)out.data, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save), n++) {
		const struct fix_record *r = &s->f.rec[n];
		json_t *o = json_loads(line, 0, NULL), *parts;

		assert_non_null(o);
		assert_int_equal(
		    json_integer_value(json_object_get(o, "seq")), n);
		assert_string_equal(
		    json_string_value(json_object_get(o, "leaf")), r->leaf);
		assert_int_equal(json_is_true(json_object_get(o, "purged")),
		    r->purged && r->parts > 0);
		parts = json_object_get(o, "parts");
		assert_int_equal(
		    json_array_size(parts), r->purged ? 0 : r->parts);
		/* The bytes that were hashed stand in the line as they are. */
		for (unsigned p = 0; p < r->parts && !r->purged; p++)
			assert_non_null(strstr(line, r->part[p].data));
		json_decref(o);
	}
	assert_int_equal(n, s->f.n);
	buf_release(&out);
}

static void
test_csv(void **in)
{
	struct state *s = *in;
	struct buf out;

	render(s, "csv", &out);
	assert_memory_equal(out.data,
	    "seq,time,kind,purged,room,room_name,user,name,device,auth,chat,"
	    "text,details\r\n",
	    77);
	assert_non_null(strstr((char *)out.data,
	    "\r\n6,2026-11-18T11:06:46.000017Z,post,no," ROOM ",Ops,"
	    "sip:ann@example.test,Ann,0a1b2c,digest-sha256,6,"
	    "\"a, \"\"b\"\"\r\n2026-11-22 07:08:09Z [Ops] Eve: forged "
	    "\x1b[31m\",\"{\"\"v\"\":1,"));
	assert_non_null(strstr((char *)out.data, ",post,yes,,,,,,,,,\r\n"));
	assert_non_null(strstr((char *)out.data,
	    ",policy,no,,,,,,,,,required records; after 0; "
	    "approvals 0; quorum 0; witnesses -; stamp no; classes -\r\n"));
	buf_release(&out);
}

static void
test_xml(void **in)
{
	struct state *s = *in;
	struct buf out;
	xmlDocPtr doc;
	xmlNodePtr n;
	uint64_t seen = 0;

	render(s, "xml", &out);
	doc = xmlReadMemory(
	    (char *)out.data, (int)out.len, NULL, NULL, XML_PARSE_NONET);
	assert_non_null(doc);
	n = xmlDocGetRootElement(doc);
	assert_string_equal(n->name, "records");
	assert_string_equal(n->ns->href, "urn:chancery:export:1");
	for (n = n->children; n != NULL; n = n->next) {
		xmlChar *seq = n->type == XML_ELEMENT_NODE
		    ? xmlGetProp(n, BAD_CAST "seq")
		    : NULL;

		if (seq == NULL)
			continue;
		assert_int_equal(atoi((char *)seq), seen++);
		xmlFree(seq);
	}
	assert_int_equal(seen, s->f.n);
	/* The escape character cannot stand in XML. */
	assert_non_null(
	    strstr((char *)out.data, "Eve: forged \xef\xbf\xbd[31m</text>"));
	xmlFreeDoc(doc);
	buf_release(&out);
}

static void
test_text(void **in)
{
	struct state *s = *in;
	struct buf out;

	render(s, "text", &out);
	assert_non_null(strstr((char *)out.data,
	    "\n2026-11-18 11:06:46Z [Ops] Ann <sip:ann@example.test>: "
	    "a, \"b\"\n\t2026-11-22 07:08:09Z [Ops] Eve: forged "
	    "\\u001b[31m\n"));
	assert_null(strchr((char *)out.data, '\x1b'));
	assert_non_null(strstr((char *)out.data,
	    "[Ops] delivered 6 to sip:bob@example.test 0a1b2c\n"));
	assert_non_null(strstr((char *)out.data,
	    "[Desk] Carl <sip:carl@example.test> read history {\"last\":25}: "
	    "2 messages, 3 to 6\n"));
	assert_non_null(
	    strstr((char *)out.data, "* record 3, post: payload purged\n"));
	assert_non_null(strstr((char *)out.data,
	    "* policy: required records, after 0, "
	    "approvals 0, quorum 0, witnesses -, stamp no, classes -\n"));
	buf_release(&out);
}

static void
test_neutral(void **in)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
	    {"plain \xc3\xa4 \xf0\x9f\x98\x80",
		"plain \xc3\xa4 \xf0\x9f\x98\x80"},
	    {"a\nb\tc\x7f", "a\\u000ab\\u0009c\\u007f"},
	    {"\xc2\x9b"
	     "31m",
		"\\u009b31m"},
	    {"\xe2\x80\xae"
	     "abc",
		"\\u202eabc"},
	    {"\xff\xc0\xaf", "\\xff\\xc0\\xaf"},
	    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
	    {"cut \xe2\x82", "cut \\xe2\\x82"},
	};

	(void)in;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b;

		buf_init(&b);
		neutral_put(&b, view_text(cases[i].text));
		assert_string_equal(buf_text(&b), cases[i].expected);
		buf_release(&b);
	}
}

static long
file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static void
test_outfile(void **in)
{
	struct state *s = *in;
	struct outfile o;
	char path[160];

	snprintf(path, sizeof(path), "%s/out", s->folder);
	assert_int_equal(outfile_open(&o, path), 0);
	outfile_put(&o, view_text("first"));
	assert_int_equal(file_size(path), -1);
	assert_int_equal(outfile_commit(&o), 0);
	assert_int_equal(file_size(path), 5);
	assert_int_equal(outfile_open(&o, path), 0);
	outfile_put(&o, view_text("another text"));
	outfile_discard(&o);
	assert_int_equal(file_size(path), 5);
	assert_int_equal(outfile_open(&o, path), 0);
	for (int i = 0; i < 100000; i++)
		outfile_put(&o, view_text("ten bytes\n"));
	assert_int_equal(outfile_commit(&o), 0);
	assert_int_equal(file_size(path), 1000000);
	unlink(path);
	snprintf(path, sizeof(path), "%s/no/such/folder", s->folder);
	assert_int_equal(outfile_open(&o, path), -1);
	/* Nothing but the journal is left in the folder: teardown's rmdir. */
}

/* A full disk is told at the end, and the old file stays. */
static void
test_outfile_full(void **in)
{
	struct outfile o;

	(void)in;
	assert_int_equal(outfile_open(&o, NULL), 0);
	o.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(o.fd >= 0);
	outfile_put(&o, view_text("text"));
	assert_int_equal(outfile_commit(&o), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_select),
	    cmocka_unit_test(test_jsonl),
	    cmocka_unit_test(test_csv),
	    cmocka_unit_test(test_xml),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_neutral),
	    cmocka_unit_test(test_outfile),
	    cmocka_unit_test(test_outfile_full),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
