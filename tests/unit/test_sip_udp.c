/*
 * SIP over UDP: every request proves who it comes from, and what is lost is
 * sent again (RFC 3261 section 17). The clock is the loop's own.
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

static void
new_branch(struct client *c)
{
	static unsigned serial;

	(void)snprintf(
	    c->branch, sizeof(c->branch), ";rport;branch=z9hG4bKu%u", ++serial);
}

/*
 * Sends a request twice, as clients do: bare, then with the answer to the
 * challenge. The datagram of the second time is left in `sent`.
 */
static void
ask(struct client *c, const char *method, const char *lines, const char *body,
    struct buf *sent)
{
	char credentials[1024];

	for (int again = 0; again < 2; again++) {
		new_branch(c);
		c->cseq++;
		buf_clear(sent);
		client_put(c, sent, method);
		if (again)
			buf_put_text(sent, credentials);
		buf_printf(sent, "%sContent-Length: %zu\r\n\r\n%s", lines,
		    strlen(body), body);
		client_forget(c);
		client_feed(c, sent->data, sent->len);
		if (again)
			break;
		assert_true(client_has(c, "SIP/2.0 407 "));
		client_credentials(c, true, method, "sip:chat@" FIX_DOMAIN,
		    FIX_PASSWORD, credentials, sizeof(credentials));
	}
}

static void
take_to_tag(struct client *c)
{
	const char *at = strstr(client_text(c), "\r\nTo: ");

	assert_non_null(at);
	at = strstr(at, ";tag=");
	assert_non_null(at);
	(void)snprintf(c->to_tag, sizeof(c->to_tag), "%.*s",
	    (int)strcspn(at + 5, ";\r\n"), at + 5);
}

static void
open_dialog(struct client *c, struct buf *sent)
{
	buf_init(sent);
	client_open(c, &fix, CONN_UDP, "ann");
	ask(c, "INVITE", FIX_CONTACT "Content-Type: application/sdp\r\n",
	    FIX_SDP, sent);
	assert_true(client_has(c, "SIP/2.0 200 OK\r\n"));
	take_to_tag(c);
}

/* Runs the loop for so many milliseconds of real time. */
static void
pass(unsigned ms)
{
	uint64_t until = uv_hrtime() / 1000000 + ms;

	while (uv_hrtime() / 1000000 < until) {
		uv_run(&fix.loop, UV_RUN_NOWAIT);
		uv_sleep(10);
	}
}

static void
test_every_request_is_challenged(void **state)
{
	struct client c;
	struct buf sent;

	(void)state;
	open_dialog(&c, &sent);
	/* Via of a datagram shows where it came from. */
	assert_true(client_has(&c, ";rport=0;branch="));
	assert_true(client_has(&c, ";received=0.0.0.0\r\n"));
	client_request(&c, "ACK", "", "");
	assert_int_equal(fix.chat.opened, 1);
	assert_string_equal(fix.chat.via, "udp");
	new_branch(&c);
	client_forget(&c);
	client_request(&c, "INFO", "", "<xccos/>");
	assert_true(client_has(&c, "SIP/2.0 407 "));
	assert_int_equal(fix.chat.infos, 0);
	ask(&c, "INFO", "", "<xccos/>", &sent);
	assert_true(client_has(&c, "SIP/2.0 200 OK\r\n"));
	assert_int_equal(fix.chat.infos, 1);
	/* Challenges leave no state; the answers to ann's two do. */
	assert_true(fix.sip->transactions.table.count <= 2);
	ask(&c, "BYE", "", "", &sent);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	buf_release(&sent);
	client_close(&c);
}

static void
test_request_that_comes_again(void **state)
{
	struct client c;
	struct buf sent, first;

	(void)state;
	open_dialog(&c, &sent);
	client_request(&c, "ACK", "", "");
	ask(&c, "INFO", "", "<xccos/>", &sent);
	buf_init(&first);
	buf_put_view(&first, buf_view(&c.out));
	for (int i = 0; i < 3; i++) {
		client_forget(&c);
		client_feed(&c, sent.data, sent.len);
		assert_int_equal(c.out.len, first.len);
		assert_memory_equal(c.out.data, first.data, first.len);
	}
	assert_int_equal(fix.chat.infos, 1);
	/* While chat has not answered there is nothing to send again. */
	fix.chat.hold = true;
	ask(&c, "INFO", "", "<slow/>", &sent);
	client_feed(&c, sent.data, sent.len);
	assert_int_equal(c.out.len, 0);
	assert_int_equal(fix.chat.infos, 2);
	request_answer(fix.chat.held[0], 503, "later");
	fix.chat.held_count = 0;
	assert_true(client_has(&c, "SIP/2.0 503 later\r\n"));
	client_forget(&c);
	client_feed(&c, sent.data, sent.len);
	assert_true(client_has(&c, "SIP/2.0 503 later\r\n"));
	buf_release(&first);
	buf_release(&sent);
	client_close(&c);
}

static void
test_ok_is_repeated_until_the_ack(void **state)
{
	struct client c;
	struct buf sent;

	(void)state;
	open_dialog(&c, &sent);
	client_forget(&c);
	/* The INVITE again, then nothing: T1, 2*T1 ... */
	client_feed(&c, sent.data, sent.len);
	assert_int_equal(client_count(&c, "SIP/2.0 200 OK\r\n"), 1);
	pass(700);
	assert_int_equal(client_count(&c, "SIP/2.0 200 OK\r\n"), 2);
	pass(1100);
	assert_int_equal(client_count(&c, "SIP/2.0 200 OK\r\n"), 3);
	assert_int_equal(fix.sip->dialogs.count, 1);
	client_request(&c, "ACK", "", "");
	client_forget(&c);
	pass(300);
	client_feed(&c, sent.data, sent.len);
	assert_int_equal(c.out.len, 0);
	assert_int_equal(fix.chat.opened, 1);
	buf_release(&sent);
	client_close(&c);
}

static void
test_infos_are_repeated_until_answered(void **state)
{
	struct client c;
	struct buf sent;
	struct message *m = message_new(view_text("<grpchat/>"));
	const char *via;
	char branch[128];

	(void)state;
	open_dialog(&c, &sent);
	client_request(&c, "ACK", "", "");
	client_forget(&c);
	session_send(fix.chat.session, m, 5, 1);
	message_drop(m);
	assert_int_equal(client_count(&c, "INFO sip:ann@"), 1);
	via = strstr(client_text(&c), "branch=");
	assert_non_null(via);
	(void)snprintf(
	    branch, sizeof(branch), "%.*s", (int)strcspn(via, "\r\n"), via);
	pass(900);
	assert_true(client_count(&c, "INFO sip:ann@") >= 2);
	/* The same request each time. */
	assert_int_equal(
	    client_count(&c, branch), client_count(&c, "INFO sip:ann@"));
	client_forget(&c);
	client_say(&c,
	    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 0.0.0.0:0;%s\r\n"
	    "From: <sip:chat@" FIX_DOMAIN ">;tag=%s\r\n"
	    "To: <sip:ann@" FIX_DOMAIN ">;tag=%s;epid=0a1bann\r\n"
	    "Call-ID: %s\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n",
	    branch, c.to_tag, c.from_tag, c.call_id);
	assert_int_equal(fix.chat.by_outcome[SESSION_DELIVERED], 1);
	pass(1200);
	assert_int_equal(c.out.len, 0);
	buf_release(&sent);
	client_close(&c);
}

static void
test_wrong_password_of_a_datagram(void **state)
{
	char credentials[1024];
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_UDP, "ann");
	new_branch(&c);
	client_request(&c, "INFO", "", "x");
	client_credentials(&c, true, "INFO", "sip:chat@" FIX_DOMAIN, "guess",
	    credentials, sizeof(credentials));
	client_forget(&c);
	new_branch(&c);
	client_request(&c, "INFO", credentials, "x");
	assert_true(client_has(&c, "SIP/2.0 403 "));
	/* From is covered by nothing else than the user of the Digest. */
	client_forget(&c);
	new_branch(&c);
	client_request(&c, "INFO", "", "x");
	client_credentials(&c, true, "INFO", "sip:chat@" FIX_DOMAIN,
	    FIX_PASSWORD, credentials, sizeof(credentials));
	c.user = "bob";
	client_forget(&c);
	new_branch(&c);
	client_request(&c, "INFO", credentials, "x");
	assert_true(client_has(&c, "SIP/2.0 403 "));
	client_close(&c);
}

static void
test_cancel(void **state)
{
	struct client c;
	struct buf sent;

	(void)state;
	open_dialog(&c, &sent);
	client_forget(&c);
	c.to_tag[0] = 0;
	c.cseq--;
	client_request(&c, "CANCEL", "", "");
	/* The INVITE has its 200, so its transaction is over. */
	assert_true(client_has(&c, "SIP/2.0 481 "));
	buf_release(&sent);
	client_close(&c);
}

static void
test_registration(void **state)
{
	struct client c;
	struct buf sent;

	(void)state;
	buf_init(&sent);
	client_open(&c, &fix, CONN_UDP, "ann");
	client_register(&c, "");
	assert_true(client_has(&c, "SIP/2.0 407 "));
	client_forget(&c);
	client_sign_in(&c);
	assert_int_equal(fix.sip->flow_count, 1);
	/* Being registered is not enough for the next datagram. */
	client_register(&c, "");
	assert_true(client_has(&c, "SIP/2.0 407 "));
	flow_expire(c.conn->user, UINT64_MAX);
	assert_int_equal(fix.sip->flow_count, 0);
	buf_release(&sent);
	client_close(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_every_request_is_challenged),
	    CASE(test_request_that_comes_again),
	    CASE(test_ok_is_repeated_until_the_ack),
	    CASE(test_infos_are_repeated_until_answered),
	    CASE(test_wrong_password_of_a_datagram),
	    CASE(test_cancel),
	    CASE(test_registration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
