/* chancery.conf: what is accepted, and how each mistake is named. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"

#define PATH "/tmp/chancery.conf"

#define VKEY "w.example/a+01234567+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define ROOM "3f2a8c1e-0000-4000-8000-5d1b0a7c9e42"

static const char base_text[] =
    "domain = \"example.test\"\n"
    "state-dir = \"state\"\n"
    "listen tcp { address = \"127.0.0.1\" port = 5060 }\n"
    "adapter records { program = \"xml\" directory = \"out\" "
    "required = true }\n";

static struct conf *
parse(const char *more, struct buf *errors)
{
	struct conf *c;
	struct buf text;

	buf_init(&text);
	buf_put_text(&text, base_text);
	buf_put_text(&text, more);
	c = conf_parse(PATH, buf_view(&text), errors);
	buf_release(&text);
	return c;
}

static void
test_values(void **state)
{
	struct buf errors;
	struct conf *c;

	(void)state;
	buf_init(&errors);
	c = parse("purge { after-s = 0 }\n"
		  "listen tls { port = 5061 certificate = \"c.pem\" "
		  "key = \"/k.pem\" }\n"
		  "adapter own { program = \"./mine\" interval-s = 10 }\n",
	    &errors);
	assert_non_null(c);
	assert_int_equal(errors.len, 0);
	assert_string_equal(c->domain, "example.test");
	assert_string_equal(c->state_dir, "/tmp/state");
	assert_int_equal(c->listen_count, 2);
	assert_int_equal(c->listens[0].transport, CONF_TCP);
	assert_int_equal(c->listens[1].transport, CONF_TLS);
	assert_string_equal(c->listens[1].certificate, "/tmp/c.pem");
	assert_string_equal(c->listens[1].key, "/k.pem");
	assert_int_equal(c->adapter_count, 2);
	assert_string_equal(c->adapters[0].directory, "/tmp/out");
	assert_true(c->adapters[0].required);
	assert_int_equal(c->adapters[0].interval_s, 900);
	assert_string_equal(c->adapters[1].program, "/tmp/./mine");
	assert_false(c->adapters[1].required);
	assert_int_equal(c->purge_after_s, 0);
	conf_free(c);
	buf_release(&errors);
}

/* Nothing is purged unless the file says so. */
static void
test_purge_default(void **state)
{
	struct buf errors;
	struct conf *c;

	(void)state;
	buf_init(&errors);
	c = parse("", &errors);
	assert_non_null(c);
	assert_int_equal(c->purge_after_s, -1);
	assert_int_equal(c->segment_records, 50000000);
	assert_int_equal(c->segment_bytes, 0);
	assert_true(c->segment_yearly);
	assert_int_equal(c->anchors.quorum, 0);
	assert_false(conf_anchored(c));
	conf_free(c);
	buf_release(&errors);
}

static void
test_mistakes(void **state)
{
	static const struct {
		const char *text;
		const char *where;
		const char *reason;
	} cases[] = {
	    {"colour = 1\n", ":5: ", "colour"},
	    {"purge { after-s = -2 }\n", ":5: ", "after-s is -2"},
	    {"journal { beat-s = 0 }\n", ":5: ", "beat-s is 0"},
	    {"journal { beat-s = 3601 }\n", ":5: ", "beat-s is 3601"},
	    {"audit { period-s = -1 }\n", ":5: ", "period-s is -1"},
	    {"purge { approvals = 3 }\n", ":5: ", "approvals is 3"},
	    {"retention A { after-s = 1 }\n", ":5: ", "a-z, 0-9"},
	    {"retention a { }\n", ":5: ", "after-s is missing"},
	    {"retention a { after-s = -2 }\n", ":5: ", "after-s is -2"},
	    {"retention a { after-s = 1 kinds = {\"mail\"} }\n",
		":5: ", "no kind"},
	    {"retention a { after-s = 1 rooms = {\"Hall\"} }\n",
		":5: ", "\"Hall\" is neither the URI"},
	    {"retention a { after-s = 1 rooms = {\"ma-chan://x/" ROOM "\"} }\n",
		":5: ", "neither the URI of a room of the domain"},
	    {"purge { after-s = soon }\n", ":5: ", "after-s"},
	    {"journal { segment-records = 511 }\n",
		":5: ", "segment-records is 511"},
	    {"journal { segment-bytes = -1 }\n", ":5: ", "segment-bytes"},
	    {"batch-events = 0\n", ":5: ", "batch-events is 0"},
	    {"\nlisten sctp { port = 1 }\n", ":6: ", "sctp"},
	    {"listen udp { address = \"::1\" }\n", ":5: ", "port is missing"},
	    {"listen udp { port = 65536 }\n", ":5: ", "65535"},
	    {"listen tls { port = 1 }\n", ":5: ", "certificate and key"},
	    {"limits { headers = 257 }\n", ":5: ", "from 16 to 256"},
	    {"listen tcp { port = 1 }\n", ":5: ", "duplicate"},
	    {"domain = \"Example Test\"\n", ":5: ", "domain"},
	    {"adapter a { directory = \"x\" }\n", ":5: ", "program"},
	    {"adapter a { program = \"xml\" }\n", ":5: ", "directory"},
	    {"adapter A { program = \"x\" }\n", ":5: ", "name"},
	    {"adapter a { program = \"syslog\" }\n", ":5: ", "target"},
	    {"adapter a { program = \"syslog\" target = \"http://x\" }\n",
		":5: ", "target must begin"},
	    {"adapter a { program = \"syslog\" target = \"tls://h:1\" "
	     "required = true }\n",
		":5: ", "only RELP"},
	    {"adapter a { program = \"syslog\" target = \"udp://h:1\" "
	     "required = true }\n",
		":5: ", "only RELP"},
	    {"adapter records { program = \"x\" }\n", ":5: ", "duplicate"},
	    {"adapter", ":5: ", ""},
	    {"witness w { vkey = \"" VKEY "\" }\n", ":5: ", "https://"},
	    {"witness w { url = \"http://h/\" vkey = \"" VKEY "\" }\n",
		":5: ", "https://"},
	    {"witness w { url = \"https://h\" vkey = \"h\" }\n",
		":5: ", "vkey"},
	    {"witness W { url = \"https://h\" vkey = \"" VKEY "\" }\n",
		":5: ", "name"},
	    {"witness a { url = \"https://h\" vkey = \"" VKEY "\" }\n"
	     "witness b { url = \"https://h\" vkey = \"" VKEY "\" }\n",
		":6: ", "the name of the key of witness a"},
	    {"anchors { quorum = 1 }\n", ":5: ", "more than there are"},
	    {"stamp { url = \"https://h\" }\n", ":5: ", "ca"},
	    {"stamp { required = true }\n", ":5: ", "needs a url"},
	};
	struct buf errors;

	(void)state;
	buf_init(&errors);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *text;

		buf_clear(&errors);
		assert_null(parse(cases[i].text, &errors));
		text = buf_text(&errors);
		assert_non_null(strstr(text, PATH));
		assert_non_null(strstr(text, cases[i].where));
		assert_non_null(strstr(text, cases[i].reason));
		assert_int_equal(text[errors.len - 1], '\n');
	}
	buf_release(&errors);
}

/* Mistakes that no line has alone. */
static void
test_whole(void **state)
{
	static const struct {
		const char *text;
		const char *reason;
	} cases[] = {
	    {"", "domain is missing"},
	    {"domain = \"a.test\"\n", "state-dir is missing"},
	    {"domain = \"a.test\"\nstate-dir = \"s\"\n", "no listen section"},
	    {"domain = \"a.test\"\nstate-dir = \"s\"\n"
	     "listen tcp { port = 1 }\npurge { after-s = 0 }\n",
		":4: purge { after-s } needs at least one adapter"},
	    {"domain = \"a.b\"\nstate-dir = \"/s\"\n"
	     "listen tcp { port = 1 }\nretention a { after-s = 0 }\n",
		":4: retention a { after-s } needs at least one adapter"},
	};
	struct buf errors;

	(void)state;
	buf_init(&errors);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		buf_clear(&errors);
		assert_null(
		    conf_parse(PATH, view_text(cases[i].text), &errors));
		assert_non_null(strstr(buf_text(&errors), cases[i].reason));
	}
	buf_clear(&errors);
	assert_null(conf_parse(PATH, view_of("a\0b", 3), &errors));
	assert_non_null(strstr(buf_text(&errors), "NUL"));
	buf_release(&errors);
}

#define USERS(server, keeper)                                                  \
	"users { server = \"" server "\" keeper = \"" keeper "\"\n"            \
	"signer = \"#9\" engine = \"#9\" adapter = \"#9\" }\n"

/* Each file that is named and not there, with the line that names it. */
static void
test_files(void **state)
{
	static const char text[] = "domain = \"a.test\"\n"
				   "state-dir = \"s\"\n"
				   "libexec = \"/bin\"\n"
				   "listen tls { port = 1 key = \"/dev/null\"\n"
				   "certificate = \"none.pem\" }\n"
				   "adapter a { program = \"sh\" }\n"
				   "adapter b { program = \"no-such\"\n"
				   "ca = \"none.ca\" }\n" USERS("#9", "#9");
	struct buf errors;
	struct conf *c;

	(void)state;
	buf_init(&errors);
	c = conf_parse(PATH, view_text(text), &errors);
	assert_non_null(c);
	assert_int_equal(errors.len, 0);
	assert_false(conf_check_system(c, &errors));
	assert_string_equal(buf_text(&errors),
	    PATH ":5: /tmp/none.pem: No such file or directory\n" PATH
		 ":8: /bin/no-such: No such file or directory\n" PATH
		 ":8: /tmp/none.ca: No such file or directory\n");
	conf_free(c);
	buf_release(&errors);
}

/* Only root starts as others. */
static void
test_users(void **state)
{
	struct buf errors;
	struct conf *c;

	(void)state;
	buf_init(&errors);
	c = conf_parse(PATH,
	    view_text("domain = \"a.test\"\nstate-dir = \"s\"\n"
		      "listen tcp { port = 1 }\n" USERS("no-such", "root")),
	    &errors);
	assert_non_null(c);
	assert_int_equal(conf_check_system(c, &errors), geteuid() != 0);
	if (geteuid() == 0)
		assert_string_equal(buf_text(&errors),
		    PATH ":5: user no-such: no such user; make it, as by "
			 "useradd --system --user-group, or name another one: "
			 "see users in chancery.conf(5)\n" PATH
			 ":5: user root: must not be root\n");
	else
		assert_int_equal(errors.len, 0);
	conf_free(c);
	buf_release(&errors);
}

/* What is printed says the same again. */
static void
test_print(void **state)
{
	struct buf errors, first, second;
	struct conf *c;

	(void)state;
	buf_init(&errors);
	buf_init(&first);
	buf_init(&second);
	c = parse("adapter siem { program = \"syslog\" "
		  "target = \"relp://127.0.0.1:2514\" required = true }\n"
		  "adapter own { program = \"./\\${HOME} \\\"x\" }\n"
		  "users { server = \"#61001\" }\n"
		  "limits { text-bytes = 1000 }\n"
		  "purge { after-s = 5 approvals = 2 }\n"
		  "retention desk { rooms = {\"" ROOM "\", "
		  "\"ma-chan://example.test/" ROOM "\"} "
		  "kinds = {\"post\", \"join\"} after-s = 60 }\n"
		  "retention rest { after-s = -1 }\n"
		  "officers = {\"ann\", \"#1004\"}\n"
		  "journal { segment-records = 512\n segment-bytes = 7\n"
		  " segment-yearly = false }\n"
		  "witness w { url = \"https://h/\" vkey = \"" VKEY "\"\n"
		  "ca = \"w.pem\" }\nanchors { quorum = 1 interval-s = 7 }\n"
		  "stamp { url = \"http://t/\" ca = \"t.pem\" }\n",
	    &errors);
	assert_non_null(c);
	conf_print(c, &first);
	assert_string_equal(c->adapters[2].program, "/tmp/./${HOME} \"x");
	conf_free(c);
	c = conf_parse(PATH, buf_view(&first), &errors);
	assert_non_null(c);
	conf_print(c, &second);
	conf_free(c);
	assert_string_equal(buf_text(&first), buf_text(&second));
	assert_non_null(strstr(buf_text(&first), "text-bytes = 1000"));
	assert_non_null(strstr(buf_text(&first), "after-s = 5"));
	assert_non_null(strstr(buf_text(&first), "approvals = 2"));
	assert_non_null(
	    strstr(buf_text(&first), "\nofficers = {\"ann\", \"#1004\"}\n"));
	assert_non_null(strstr(buf_text(&first),
	    "retention desk {\n\trooms = {\"ma-chan://example.test/" ROOM "\", "
	    "\"ma-chan://example.test/" ROOM
	    "\"}\n\tkinds = {\"join\", \"post\"}\n"
	    "\tafter-s = 60\n}\nretention rest {\n\tafter-s = -1\n}\n"));
	assert_non_null(strstr(buf_text(&first), "ca = \"/tmp/w.pem\""));
	assert_non_null(strstr(buf_text(&first), "quorum = 1"));
	assert_non_null(strstr(buf_text(&first), "url = \"http://t/\""));
	assert_non_null(strstr(buf_text(&first), "interval-s = 86400"));
	buf_release(&errors);
	buf_release(&first);
	buf_release(&second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_purge_default),
	    cmocka_unit_test(test_mistakes),
	    cmocka_unit_test(test_whole),
	    cmocka_unit_test(test_files),
	    cmocka_unit_test(test_users),
	    cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
