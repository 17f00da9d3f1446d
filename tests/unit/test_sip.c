/*
 * The SIP side as clients see it: sign-in, provisioning, INVITE and what
 * goes on in its dialog.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/sip_fixture.h"

static struct fix fix;

static int
setup(void **state)
{
	(void)state;
	fix_conf(&fix);
	fix_start(&fix);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fix_stop(&fix);
	return 0;
}

/* ---- sign-in ---- */

static void
test_register_as_sipe_reads_it(void **state)
{
	struct client c;
	char line[1024];

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_register(&c, "");
	client_expect(&c, "SIP/2.0 407 Proxy Authentication Required\r\n");
	/* SIPE reads the first challenge only, and knows MD5 only. */
	assert_true(strstr(client_text(&c), "algorithm=MD5") <
	    strstr(client_text(&c), "algorithm=SHA-256"));
	client_expect_not(&c, "stale");
	client_credentials(
	    &c, false, "REGISTER", "(null)", FIX_PASSWORD, line, sizeof(line));
	client_forget(&c);
	c.cseq--;
	client_register(&c, line);
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect(&c, "\r\nSupported: msrtc-event-categories\r\n");
	client_expect(
	    &c, "\r\nAllow-Events: vnd-microsoft-provisioning-v2\r\n");
	client_expect(&c, "\r\nExpires: 600\r\n");
	client_expect(&c, "timeout=300\r\n");
	client_expect(&c,
	    "\r\nContact: <sip:192.0.2.10:40001;transport=tcp;"
	    "ms-opaque=d3470f>;expires=600;+sip.instance="
	    "\"<urn:uuid:de10a125-5cc8-51fb-bb6d-02bc1abe9ca2>\"\r\n");
	client_expect(&c, "\r\nCSeq: 1 REGISTER\r\n");
	assert_int_equal(client_count(&c, "Supported:"), 1);
	assert_int_equal(fix.sip->counters.sign_ins, 1);
	client_forget(&c);
	/* A refresh has no credentials: the connection is ann's. */
	client_register(&c, "");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	assert_int_equal(fix.sip->counters.sign_ins, 1);
	client_close(&c);
}

static void
register_plain(struct client *c, const char *more)
{
	c->cseq++;
	client_say(c,
	    "REGISTER sip:" FIX_DOMAIN " SIP/2.0\r\n"
	    "Via: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bKp%u\r\n"
	    "From: \"Ann\" <sip:%s@" FIX_DOMAIN ">;tag=p\r\n"
	    "To: <sip:%s@" FIX_DOMAIN ">\r\nCSeq: %u REGISTER\r\n"
	    "Call-ID: plain\r\nMax-Forwards: 70\r\n"
	    "%sContent-Length: 0\r\n\r\n",
	    c->cseq, c->user, c->user, c->cseq, more);
}

static void
test_plain_client_gets_sha256_first(void **state)
{
	struct client c;
	char line[1024], lines[1400];

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	register_plain(&c, "Contact: <sip:ann@192.0.2.9>\r\n");
	client_expect(&c, "SIP/2.0 407 ");
	assert_true(strstr(client_text(&c), "algorithm=SHA-256") <
	    strstr(client_text(&c), "algorithm=MD5"));
	client_credentials(&c, true, "REGISTER", "sip:" FIX_DOMAIN,
	    FIX_PASSWORD, line, sizeof(line));
	(void)snprintf(lines, sizeof(lines),
	    "Contact: <sip:ann@192.0.2.9>;expires=120\r\n%s", line);
	client_forget(&c);
	register_plain(&c, lines);
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect(&c, "Contact: <sip:ann@192.0.2.9>;expires=120\r\n");
	client_expect_not(&c, "ms-keep-alive");
	client_forget(&c);
	register_plain(&c, "");
	client_expect(&c, "Contact: <sip:ann@192.0.2.9>;expires=1");
	client_invite(&c);
	assert_string_equal(fix.chat.auth, "digest-sha256");
	client_close(&c);
}

static void
sign_in_with(
    const char *user, bool sha, const char *password, const char *status)
{
	struct client c;
	char line[1024];

	client_open(&c, &fix, CONN_TCP, user);
	client_register(&c, "");
	client_credentials(
	    &c, sha, "REGISTER", "(null)", password, line, sizeof(line));
	client_forget(&c);
	client_register(&c, line);
	client_expect(&c, status);
	client_close(&c);
}

static void
test_wrong_password_and_unknown_user_look_alike(void **state)
{
	(void)state;
	sign_in_with("ann", false, "S3cret",
	    "SIP/2.0 403 Wrong user name or password\r\n");
	sign_in_with(
	    "ann", true, "", "SIP/2.0 403 Wrong user name or password\r\n");
	sign_in_with("nobody", false, FIX_PASSWORD,
	    "SIP/2.0 403 Wrong user name or password\r\n");
	assert_int_equal(fix.sip->counters.wrong_passwords, 3);
	assert_int_equal(fix.sip->counters.sign_ins, 0);
}

/* Credentials made for another request are good for none. */
static void
test_digest_uri_is_the_requests(void **state)
{
	static const struct {
		const char *uri;
		bool ms;
		const char *status;
	} rows[] = {
	    {"sip:" FIX_DOMAIN, true, "SIP/2.0 200 "},
	    {"sip:" FIX_DOMAIN, false, "SIP/2.0 200 "},
	    {"SIP:" FIX_DOMAIN ";transport=tcp", false, "SIP/2.0 200 "},
	    {"(null)", true, "SIP/2.0 200 "},
	    {"(null)", false, "SIP/2.0 400 uri of the Digest"},
	    {"", true, "SIP/2.0 400 uri of the Digest"},
	    {"sip:other.test", true, "SIP/2.0 400 uri of the Digest"},
	    {"sip:x@" FIX_DOMAIN, true, "SIP/2.0 400 uri of the Digest"},
	    {"sips:" FIX_DOMAIN, true, "SIP/2.0 400 uri of the Digest"},
	    {"sip:" FIX_DOMAIN ":5070", true, "SIP/2.0 400 uri of the Digest"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client c;
		char line[1024];

		client_open(&c, &fix, CONN_TCP, "ann");
		client_register(&c, "");
		client_credentials(&c, false, "REGISTER", rows[i].uri,
		    FIX_PASSWORD, line, sizeof(line));
		client_forget(&c);
		if (rows[i].ms)
			client_register(&c, line);
		else
			register_plain(&c, line);
		client_expect(&c, rows[i].status);
		client_close(&c);
	}
}

/* Slower and slower, and the right password is not looked at meanwhile. */
static void
test_guesses_are_slowed(void **state)
{
	(void)state;
	for (int i = 0; i < GUESSES_USER_FREE; i++)
		sign_in_with("ann", false, "S3cret", "SIP/2.0 403 ");
	sign_in_with("ann", false, "S3cret", "Retry-After: 1\r\n");
	sign_in_with("ann", false, FIX_PASSWORD,
	    "SIP/2.0 503 Too many wrong passwords\r\n");
	assert_int_equal(fix.sip->counters.wrong_passwords, GUESSES_USER_FREE);
	assert_int_equal(fix.sip->counters.guesses_slowed, 2);
	assert_int_equal(fix.chat.unsigned_in, GUESSES_USER_FREE + 2);
}

static void
test_credentials_are_good_once(void **state)
{
	struct client c, eve;
	char line[1024];

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_register(&c, "");
	client_credentials(
	    &c, false, "REGISTER", "(null)", FIX_PASSWORD, line, sizeof(line));
	client_register(&c, line);
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_open(&eve, &fix, CONN_TCP, "ann");
	client_register(&eve, line);
	client_expect(&eve, "SIP/2.0 407 ");
	client_expect(&eve, "stale=true");
	client_close(&eve);
	client_close(&c);
}

static void
test_user_of_the_digest_must_be_who_registers(void **state)
{
	struct client c;
	char line[1024];

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_register(&c, "");
	client_credentials(
	    &c, false, "REGISTER", "(null)", FIX_PASSWORD, line, sizeof(line));
	client_forget(&c);
	c.user = "bob";
	client_register(&c, line);
	client_expect(&c, "SIP/2.0 403 ");
	client_close(&c);
}

static void
test_identity_is_the_connections(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 407 ");
	client_forget(&c);
	client_sign_in(&c);
	c.user = "bob";
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 403 From is not who signed in\r\n");
	client_forget(&c);
	client_register(&c, "");
	client_expect(&c, "SIP/2.0 403 ");
	client_forget(&c);
	c.user = "ANN";
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_close(&c);
}

static void
test_registration_limits(void **state)
{
	static const struct {
		const char *lines, *want;
	} rows[] = {
	    {"Contact: <sip:a@h>\r\nExpires: 30\r\n",
		"SIP/2.0 423 Interval Too Brief\r\n"},
	    {"Contact: <sip:a@h>\r\nExpires: 99999999999999999999\r\n",
		"\r\nExpires: 600\r\n"},
	    {"Contact: <sip:a@h>\r\nExpires: soon\r\n", "SIP/2.0 400 bad"},
	    {"Contact: *\r\nExpires: 60\r\n", "SIP/2.0 400 Contact *"},
	    {"Contact: <sip:a@h>;expires=x\r\n", "SIP/2.0 400 bad"},
	    {"Contact: <sip:a@h>;expires=0\r\n", "\r\nExpires: 0\r\n"},
	};
	struct client c;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		client_open(&c, &fix, CONN_TCP, "ann");
		client_sign_in(&c);
		register_plain(&c, rows[i].lines);
		client_expect(&c, rows[i].want);
		client_close(&c);
	}
}

/* ---- provisioning and what else is asked without a dialog ---- */

static void
subscribe(struct client *c, const char *to_tag, const char *lines)
{
	client_forget(c);
	c->cseq++;
	client_say(c,
	    "SUBSCRIBE sip:ann@" FIX_DOMAIN " SIP/2.0\r\n"
	    "Via: SIP/2.0/tcp 192.0.2.10:40001;branch=z9hG4bKs%u\r\n"
	    "From: <sip:ann@" FIX_DOMAIN ">;tag=s;epid=0a1bann\r\n"
	    "To: <sip:ann@" FIX_DOMAIN ">%s\r\nCSeq: %u SUBSCRIBE\r\n"
	    "Call-ID: sub\r\nExpires: 0\r\nProxy-Require: ms-benotify\r\n"
	    "%sContent-Length: 0\r\n\r\n",
	    c->cseq, to_tag, c->cseq, lines);
}

#define EVENT "Event: vnd-microsoft-provisioning-v2\r\n"

static void
test_provisioning(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	subscribe(&c, "",
	    EVENT FIX_CONTACT
	    "Supported: com.microsoft.autoextend\r\n"
	    "Supported: ms-benotify\r\nSupported: ms-piggyback-first-notify\r\n");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect(&c, "\r\nms-piggyback-cseq: 1\r\n");
	client_expect(&c, "\r\n" EVENT);
	client_expect(&c,
	    "<property name=\"DefaultPersistentChatPoolUri\">sip:chat@" FIX_DOMAIN
	    "</property>");
	assert_int_equal(client_count(&c, "provisionGroupList xmlns"), 1);
	subscribe(&c, "", EVENT FIX_CONTACT "Supported: ms-benotify\r\n");
	client_expect(&c, "\r\nBENOTIFY sip:ann@");
	assert_int_equal(client_count(&c, "provisionGroupList xmlns"), 1);
	subscribe(&c, "", EVENT FIX_CONTACT);
	client_expect(&c, "\r\nNOTIFY sip:ann@");
	client_expect(&c, "\r\nCSeq: 1 NOTIFY\r\n");
	/* Each notification starts group chat in SIPE once more. */
	subscribe(&c, ";tag=abc", EVENT "Supported: ms-benotify\r\n");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect_not(&c, "provisionGroupList");
	subscribe(&c, "", "Event: vnd-microsoft-roaming-contacts\r\n");
	client_expect(&c, "SIP/2.0 489 Bad Event\r\n");
	subscribe(&c, "", "");
	client_expect(&c, "SIP/2.0 489 ");
	client_close(&c);
}

static void
test_other_methods(void **state)
{
	static const struct {
		const char *method, *more, *want;
	} rows[] = {
	    {"MESSAGE", "", "SIP/2.0 405 Method Not Allowed\r\n"},
	    {"PRACK", "", "SIP/2.0 405 "},
	    {"NOTIFY", "", "SIP/2.0 405 "},
	    {"TELEPORT", "", "SIP/2.0 501 Not Implemented\r\n"},
	    {"info", "", "SIP/2.0 501 "},
	    {"CANCEL", "", "SIP/2.0 481 "},
	    {"BYE", "", "SIP/2.0 481 "},
	    {"UPDATE", "", "SIP/2.0 481 "},
	    {"INFO", "", "SIP/2.0 481 "},
	    {"OPTIONS", "", "SIP/2.0 200 OK\r\n"},
	    {"OPTIONS", "Require: timer\r\n", "SIP/2.0 200 OK\r\n"},
	    {"OPTIONS", "Require: timer, 100rel\r\n",
		"\r\nUnsupported: 100rel\r\n"},
	    {"INFO", "Require: foo\r\nRequire: bar\r\n",
		"\r\nUnsupported: foo, bar\r\n"},
	};
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		client_forget(&c);
		client_request(&c, rows[i].method, rows[i].more, "");
		client_expect(&c, rows[i].want);
		assert_int_equal(client_count(&c, "SIP/2.0 "), 1);
	}
	client_request(&c, "OPTIONS", "", "");
	client_expect(&c, "\r\nAllow: INVITE, ACK, BYE,");
	client_close(&c);
}

static void
test_strangers_may_ask_for_options_only(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_request(&c, "OPTIONS", "", "");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_forget(&c);
	client_request(&c, "MESSAGE", "", "hello");
	client_expect(&c, "SIP/2.0 407 ");
	client_request(&c, "INFO", "", "hello");
	client_expect_not(&c, "SIP/2.0 200");
	assert_int_equal(fix.chat.infos, 0);
	client_close(&c);
}

/* ---- dialogs ---- */

static void
test_invite(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TLS, "ann");
	client_sign_in(&c);
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect(&c, "\r\nSession-Expires: 1800;refresher=uac\r\n");
	client_expect(
	    &c, "\r\nContact: <sip:chat@" FIX_DOMAIN ";transport=tls>\r\n");
	client_expect(&c, "\r\nVia: SIP/2.0/tcp 192.0.2.10:40001\r\n");
	client_expect(&c, "\r\nm=message 5060 sip sip:chat@" FIX_DOMAIN "\r\n");
	assert_int_equal(fix.chat.opened, 0);
	client_request(&c, "ACK", "", "");
	assert_int_equal(fix.chat.opened, 1);
	client_request(&c, "ACK", "", "");
	assert_int_equal(fix.chat.opened, 1);
	assert_string_equal(fix.chat.user, "sip:ann@" FIX_DOMAIN);
	assert_string_equal(fix.chat.name, "Ann");
	assert_string_equal(fix.chat.device, "0a1bann");
	assert_string_equal(fix.chat.auth, "digest-md5");
	assert_string_equal(fix.chat.via, "tls");
	client_close(&c);
}

static void
test_invite_that_is_refused(void **state)
{
	static const struct {
		const char *uri, *lines, *want;
	} rows[] = {
	    {"sip:pub@" FIX_DOMAIN, FIX_CONTACT, "SIP/2.0 404 "},
	    {"sip:chat@elsewhere.test", FIX_CONTACT, "SIP/2.0 404 "},
	    {"sip:chatter@" FIX_DOMAIN, FIX_CONTACT, "SIP/2.0 404 "},
	    {"sip:chat@" FIX_DOMAIN, "", "SIP/2.0 400 Contact"},
	    {"sip:chat@" FIX_DOMAIN,
		FIX_CONTACT "Supported: timer\r\nSession-Expires: 60\r\n",
		"\r\nMin-SE: 90\r\n"},
	    {"sip:chat@" FIX_DOMAIN, FIX_CONTACT "Session-Expires: x\r\n",
		"SIP/2.0 400 bad Session"},
	    {"sip:ocschat@" FIX_DOMAIN, FIX_CONTACT, "SIP/2.0 200 OK\r\n"},
	    {"sip:CHAT@EXAMPLE.test;transport=tcp", FIX_CONTACT,
		"SIP/2.0 200 OK\r\n"},
	    {"sip:%63hat@" FIX_DOMAIN, FIX_CONTACT, "SIP/2.0 200 OK\r\n"},
	    {"sip:chat@" FIX_DOMAIN,
		FIX_CONTACT "k: timer\r\nx: 120;refresher=uas\r\n",
		"\r\nSession-Expires: 120;refresher=uac\r\n"},
	    {"sip:chat@" FIX_DOMAIN,
		FIX_CONTACT "k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n",
		"\r\nSession-Expires: 3600;refresher=uac\r\n"},
	    {"sip:chat@" FIX_DOMAIN, FIX_CONTACT "k: timer\r\n",
		"\r\nRequire: timer\r\n"},
	};
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		client_forget(&c);
		client_say(&c,
		    "INVITE %s SIP/2.0\r\nVia: SIP/2.0/tcp 192.0.2.10\r\n"
		    "From: <sip:ann@" FIX_DOMAIN ">;tag=i;epid=e\r\n"
		    "To: <%s>\r\nCall-ID: refused-%zu\r\nCSeq: 1 INVITE\r\n"
		    "%sContent-Length: 0\r\n\r\n",
		    rows[i].uri, rows[i].uri, i, rows[i].lines);
		client_expect(&c, rows[i].want);
	}
	client_close(&c);
}

static void
test_info_and_its_answer(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	client_request(&c, "INFO", "Content-Type: text/plain\r\n",
	    "<xccos>gr\xc3\xbc\xc3\x9f</xccos>");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	assert_string_equal(
	    buf_text(&fix.chat.body), "<xccos>gr\xc3\xbc\xc3\x9f</xccos>");
	assert_string_equal(fix.chat.id + strlen(c.call_id), " 2");
	client_forget(&c);
	fix.chat.status = 503;
	client_request(&c, "INFO", "", "x");
	/* Chat's reason is text, whatever is in it. */
	client_expect(&c, "SIP/2.0 503 No \"way\"  X: y\r\n");
	client_expect(&c, "reason=\"No \\\"way\\\"  X: y\"");
	client_expect(&c, "\r\nRetry-After: ");
	client_forget(&c);
	client_request(&c, "INFO", "", "\xff\xfe");
	client_expect(&c, "SIP/2.0 400 ");
	client_forget(&c);
	client_request(&c, "INFO", "Content-Encoding: deflate\r\n", "x");
	client_expect(&c, "SIP/2.0 415 ");
	assert_int_equal(fix.chat.infos, 2);
	client_close(&c);
}

static void
test_first_info_stands_for_the_ack(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite_only(&c, "");
	client_request(&c, "INFO", "", "x");
	assert_int_equal(fix.chat.opened, 1);
	assert_int_equal(fix.chat.infos, 1);
	client_close(&c);
	assert_int_equal(fix.chat.last_end, SESSION_LOST);
}

static void
test_pipelined_infos_are_answered_when_chat_likes(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	fix.chat.hold = true;
	client_request(&c, "INFO", "", "one");
	client_request(&c, "INFO", "", "two");
	assert_int_equal(c.out.len, 0);
	assert_int_equal(fix.sip->inflight, 2);
	request_answer(fix.chat.held[1], 200, "OK");
	request_answer(fix.chat.held[0], 403, "not delivered");
	fix.chat.held_count = 0;
	transport_flush(fix.sip->transport);
	assert_true(strstr(client_text(&c), "CSeq: 3 INFO") <
	    strstr(client_text(&c), "CSeq: 2 INFO"));
	client_expect(&c, "SIP/2.0 403 not delivered\r\n");
	assert_int_equal(fix.sip->inflight, 0);
	client_close(&c);
}

static void
test_an_answer_may_come_when_all_is_gone(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	fix.chat.hold = true;
	client_request(&c, "INFO", "", "one");
	client_close(&c);
	assert_int_equal(fix.chat.gone, 1);
	assert_string_equal(
	    request_id(fix.chat.held[0]) + strlen(c.call_id), " 2");
	request_answer(fix.chat.held[0], 200, "OK");
	fix.chat.held_count = 0;
}

static void
test_overload(void **state)
{
	struct client c;

	(void)state;
	fix.conf.limits.inflight = 2;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	fix.chat.hold = true;
	for (int i = 0; i < 3; i++)
		client_request(&c, "INFO", "", "x");
	client_expect(&c, "SIP/2.0 503 Chat service busy\r\n");
	assert_int_equal(client_count(&c, "SIP/2.0 503"), 1);
	assert_int_equal(fix.chat.infos, 2);
	assert_int_equal(fix.chat.overloaded, 1);
	client_close(&c);
}

static void
test_order_of_cseq(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	c.cseq = 9;
	client_request(&c, "INFO", "", "ten");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_forget(&c);
	c.cseq = 4;
	client_request(&c, "INFO", "", "five");
	client_expect(&c, "SIP/2.0 500 ");
	assert_int_equal(fix.chat.infos, 1);
	client_close(&c);
}

static void
test_nobody_speaks_in_anothers_dialog(void **state)
{
	struct client ann, bob;

	(void)state;
	client_open(&ann, &fix, CONN_TCP, "ann");
	client_sign_in(&ann);
	client_invite(&ann);
	client_open(&bob, &fix, CONN_TCP, "bob");
	client_sign_in(&bob);
	memcpy(bob.call_id, ann.call_id, sizeof(bob.call_id));
	memcpy(bob.to_tag, ann.to_tag, sizeof(bob.to_tag));
	memcpy(bob.from_tag, ann.from_tag, sizeof(bob.from_tag));
	bob.cseq = 10;
	client_request(&bob, "INFO", "", "x");
	client_expect(&bob, "SIP/2.0 481 ");
	client_request(&bob, "BYE", "", "");
	assert_int_equal(fix.chat.infos, 0);
	assert_int_equal(fix.chat.gone, 0);
	/* Nor may he answer for her. */
	fix_send(fix.chat.session, "m", 1, 1);
	client_answer_info(&bob, 1, "200 OK");
	assert_int_equal(fix.chat.outcomes, 0);
	client_close(&bob);
	client_close(&ann);
}

static void
test_keep_alive(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_feed(&c, "\r\n", 2);
	assert_int_equal(c.out.len, 0);
	client_feed(&c, "\r\n", 2);
	assert_string_equal(client_text(&c), "\r\n");
	client_forget(&c);
	client_feed(&c, "\r\n\r", 3);
	client_feed(&c, "\n", 1);
	assert_string_equal(client_text(&c), "\r\n");
	client_sign_in(&c);
	client_close(&c);
}

static void
test_status(void **state)
{
	struct client c;
	json_t *out = json_object();

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	sip_status(fix.sip, out);
	assert_int_equal(
	    json_integer_value(json_object_get(out, "sessions")), 1);
	assert_int_equal(
	    json_integer_value(json_object_get(out, "requests")), 4);
	assert_int_equal(
	    json_integer_value(json_object_get(out, "answers_2xx")), 2);
	json_decref(out);
	client_close(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_register_as_sipe_reads_it),
	    CASE(test_plain_client_gets_sha256_first),
	    CASE(test_wrong_password_and_unknown_user_look_alike),
	    CASE(test_digest_uri_is_the_requests),
	    CASE(test_guesses_are_slowed),
	    CASE(test_credentials_are_good_once),
	    CASE(test_user_of_the_digest_must_be_who_registers),
	    CASE(test_identity_is_the_connections),
	    CASE(test_registration_limits),
	    CASE(test_provisioning),
	    CASE(test_other_methods),
	    CASE(test_strangers_may_ask_for_options_only),
	    CASE(test_invite),
	    CASE(test_invite_that_is_refused),
	    CASE(test_info_and_its_answer),
	    CASE(test_first_info_stands_for_the_ack),
	    CASE(test_pipelined_infos_are_answered_when_chat_likes),
	    CASE(test_an_answer_may_come_when_all_is_gone),
	    CASE(test_overload),
	    CASE(test_order_of_cseq),
	    CASE(test_nobody_speaks_in_anothers_dialog),
	    CASE(test_keep_alive),
	    CASE(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
