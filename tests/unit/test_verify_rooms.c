/*
 * Archives of two rooms: what is rendered in which; and payloads that a
 * journal must not have, in archives.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/verify_archives.h"
#include "tests/unit/verify_run.h"

#define ENVELOPE                                                               \
	"{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-%d\",\"room\":"          \
	"\"ma-chan://x/%d\",\"user\":\"sip:a\",\"chat\":%d}"

static void
put_time(struct buf *out, const struct fix *f, const char *element, int n)
{
	struct buf text;

	buf_init(&text);
	text_put_time(&text, f->rec[n].at);
	text.len--;
	while (text.data[text.len - 1] == '0')
		text.len--;
	buf_printf(out,
	    "<%s since1970=\"%" PRIu64 "\" string=\"%.*sZ\" long=\"%" PRIu64
	    "\"/>",
	    element, f->rec[n].at / 1000, (int)text.len,
	    (const char *)text.data,
	    f->rec[n].at * 10 + UINT64_C(621355968000000000));
	buf_release(&text);
}

/* The post of that number, in the room of that number. */
static void
put_message(struct buf *out, const struct fix *f, const char *element, int n)
{
	uint8_t hash[32];

	crypto_sha256("sender/1\nsip:a", 14, hash);
	buf_printf(out,
	    "<%s type=\"CHAT\" content=\"word\" id=\"%d\" c:seq=\"%d\">"
	    "<Sender UserName=\"a\" id=\"%u\" email=\"\" internal=\"true\""
	    " uri=\"a\"/>",
	    element, n, n,
	    ((uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 |
		(uint32_t)hash[2] << 8 | hash[3]) >>
		1);
	put_time(out, f, "DateTimeUTC", n);
	buf_printf(out, "</%s>", element);
}

/* The messages from first to last as one of the room of the first. */
static void
put_conversation(struct buf *out, const struct fix *f, int first, int last)
{
	buf_printf(out,
	    "<Conversation><Channel uri=\"ma-chan://x/%d\" name="
	    "\"ma-chan://x/%d\" islogged=\"true\"/>",
	    first, first);
	put_message(out, f, "FirstMessage", first);
	buf_put_text(out, "<Messages>");
	for (int n = first; n <= last; n++)
		put_message(out, f, "Message", n);
	buf_put_text(out, "</Messages>");
	put_time(out, f, "StartTimeUTC", first);
	put_time(out, f, "EndTimeUTC", last < first ? first : last);
	buf_put_text(out, "</Conversation>");
}

/* Ranges of messages, a conversation each; 0: no more. */
static json_t *
run(const char *envelope, const int (*conversation)[2])
{
	char folder[] = "/tmp/verify.XXXXXX", path[64], text[256];
	struct verify_report *r = verify_report_new();
	struct verify_archive archive;
	struct verify_trust trust = {0};
	struct verify_key key;
	struct fix f;
	const char *why;
	struct buf out;
	FILE *file;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/a.xml", folder);
	fix_init(&f, 7);
	fix_open(&f);
	for (int n = 1; n <= 2; n++) {
		snprintf(text, sizeof(text), ENVELOPE, n, n, n);
		fix_event(&f, 3, envelope != NULL && n == 1 ? envelope : text,
		    "{\"v\":1,\"text\":\"word\"}");
	}
	buf_init(&out);
	buf_put_text(&out,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<Conversations xmlns:c=\"urn:chancery:compliance:1\">\n");
	for (; (*conversation)[0] > 0; conversation++)
		put_conversation(
		    &out, &f, (*conversation)[0], (*conversation)[1]);
	fix_xml_evidence(
	    &f, &(const struct fix_batch_args){1, 0, 2, 3, "xml"}, "", &out);
	buf_put_text(&out, "</Conversations>\n");
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(out.data, 1, out.len, file), out.len);
	assert_int_equal(fclose(file), 0);
	assert_true(verify_key_parse(view_text(f.vkey), &key, &why));
	trust.given = &key;
	verify_archive_run(path, false, &trust, r, &archive);
	verify_archive_release(&archive);
	unlink(path);
	rmdir(folder);
	buf_release(&out);
	fix_free(&f);
	return run_end(r);
}

static void
judged(json_t *o, const char *check, int64_t seq, const char *words)
{
	if (check == NULL
		? run_status(o) != 0
		: run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("expected %s", check == NULL ? "nothing" : words);
	}
	json_decref(o);
}

static void
each_in_its_room(void **state)
{
	(void)state;
	judged(run(NULL, (const int[][2]){{1, 1}, {2, 2}, {0, 0}}), NULL, -1,
	    NULL);
	judged(run(NULL, (const int[][2]){{1, 2}, {0, 0}}), "rendering", 2,
	    "rendered room is not that of the evidence");
	judged(run(NULL, (const int[][2]){{1, 1}, {2, 1}, {2, 2}, {0, 0}}),
	    "rendering", 2, "rendered conversation has no message");
}

#define ODD(x)                                                                 \
	"{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-1\",\"room\":"           \
	"\"ma-chan://x/1\",\"user\":\"sip:a\",\"chat\":1,\"x\":" x "}"
#define NO_VALUE "stands for no value"

static void
payloads_with_values(void **state)
{
	static const char *const good[] = {
	    ODD("9223372036854775807"),
	    ODD("-9223372036854775808"),
	    ODD("1.7976931348623157e308"),
	    ODD("[1e-999,0e999,-0,0.12345678901234567890]"),
	    ODD("\"\\u0000\\ud83d\\ude00\\uffff\""),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		json_t *o =
		    run(good[i], (const int[][2]){{1, 1}, {2, 2}, {0, 0}});

		assert_false(run_found(o, "payloads", -1, NULL));
		json_decref(o);
	}
}

static void
payloads_of_a_journal(void **state)
{
	static const struct {
		const char *envelope, *words;
	} bad[] = {
	    {"{\"v\":2,\"type\":\"post\",\"id\":\"0a0b0c0d-1\",\"room\":"
	     "\"ma-chan://x/1\",\"user\":\"sip:a\",\"chat\":1}",
		"of version 1"},
	    {ODD("1e999"), NO_VALUE},
	    {ODD("-1E+309"), NO_VALUE},
	    {ODD("1.7976931348623159e308"), NO_VALUE},
	    {ODD("9223372036854775808"), NO_VALUE},
	    {ODD("-9223372036854775809"), NO_VALUE},
	    {ODD("\"\\ud800\""), NO_VALUE},
	    {ODD("[\"\\uD800\\u0041\"]"), NO_VALUE},
	    {ODD("{\"a\":\"\\udc00\\ud800\"}"), NO_VALUE},
	    {"{\"v\":1,\"type\":\"post\",\"room\":\"ma-chan://x/1\","
	     "\"user\":\"sip:a\",\"chat\":1}",
		"no id"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		judged(run(bad[i].envelope,
			   (const int[][2]){{1, 1}, {2, 2}, {0, 0}}),
		    "payloads", 1, bad[i].words);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_in_its_room),
	    cmocka_unit_test(payloads_with_values),
	    cmocka_unit_test(payloads_of_a_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
