/*
 * Messages to clients and what becomes of them; how a session ends, and what
 * it survives.
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

/* ---- messages to clients ---- */

static void
test_copies_and_outcomes(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	for (uint64_t i = 1; i <= 20; i++)
		fix_send(fix.chat.session, "<grpchat/>", 7, i);
	fix_send(fix.chat.session, "<ntc/>", 0, 0);
	assert_int_equal(
	    client_count(&c, "INFO sip:ann@" FIX_DOMAIN ":40001;maddr="), 21);
	client_expect(
	    &c, "\r\nCSeq: 21 INFO\r\nContent-Length: 6\r\n\r\n<ntc/>");
	client_answer_info(&c, 2, "200 OK");
	client_answer_info(&c, 2, "200 OK");
	client_answer_info(&c, 1, "100 Trying");
	client_answer_info(&c, 1, "200 OK");
	client_answer_info(&c, 20, "603 Declined");
	client_answer_info(&c, 21, "200 OK");
	client_answer_info(&c, 22, "200 OK");
	assert_int_equal(fix.chat.by_outcome[SESSION_DELIVERED], 2);
	assert_int_equal(fix.chat.by_outcome[SESSION_REFUSED], 1);
	for (unsigned i = 3; i < 19; i++)
		client_answer_info(&c, i, "200 OK");
	dialog_expire(fix.chat.session->dialog, uv_now(&fix.loop) + 33000);
	assert_int_equal(fix.chat.by_outcome[SESSION_TIMEOUT], 1);
	assert_int_equal(fix.chat.outcomes, 20);
	assert_null(fix.chat.session->dialog->pending);
	client_close(&c);
	assert_int_equal(fix.chat.outcomes, 20);
}

static void
test_unanswered_copies_are_gone_with_the_dialog(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	for (uint64_t i = 1; i <= 5; i++)
		fix_send(fix.chat.session, "m", 7, i);
	client_request(&c, "BYE", "", "");
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 5);
	assert_int_equal(fix.chat.gone, 1);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	client_close(&c);
}

static void
test_reader_that_answers_nothing_is_cut_off(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	for (uint64_t i = 1; i <= DIALOG_PENDING_MAX + 1 && client_alive(&c);
	     i++) {
		struct message *m = message_new(view_text("m"));

		session_send(fix.chat.session, m, 7, i);
		message_drop(m);
		if (i % 64 == 0)
			transport_flush(fix.sip->transport);
	}
	transport_flush(fix.sip->transport);
	assert_false(client_alive(&c));
	assert_int_equal(
	    fix.chat.by_outcome[SESSION_GONE], DIALOG_PENDING_MAX + 1);
	assert_int_equal(fix.chat.last_end, SESSION_LOST);
	client_close(&c);
}

/* ---- the ways a session ends, and does not ---- */

static void
test_sipe_looks_up_and_comes_back(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	client_request(&c, "INFO", "", "<requri/>");
	client_request(&c, "BYE", "", "");
	assert_int_equal(fix.chat.gone, 1);
	client_invite(&c);
	assert_int_equal(fix.chat.opened, 2);
	client_request(&c, "INFO", "", "<bjoin/>");
	client_request(&c, "INFO", "", "<getinv/>");
	client_request(&c, "BYE", "", "");
	assert_int_equal(fix.chat.gone, 2);
	client_register(&c, "Expires: 0\r\n");
	client_expect(&c, "\r\nExpires: 0\r\n");
	assert_int_equal(fix.chat.gone, 2);
	client_close(&c);
}

/* After a 481 SIPE sets up two dialogs and does not join again (C.4). */
static void
test_rooms_survive_a_restart_of_the_dialog(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	client_request(&c, "INFO", "", "<join/>");
	client_request(&c, "INFO", "", "<bccontext/>");
	session_suspend(fix.chat.session, SESSION_EXPIRED);
	client_forget(&c);
	client_request(&c, "UPDATE", "", "");
	client_expect(&c, "SIP/2.0 481 ");
	fix_send(fix.chat.session, "while away", 7, 1);
	assert_int_equal(client_count(&c, "INFO sip:"), 0);
	client_invite(&c); /* the look-up */
	client_request(&c, "INFO", "", "<requri/>");
	client_request(&c, "BYE", "", "");
	assert_int_equal(fix.chat.gone, 0);
	client_invite(&c);
	assert_int_equal(fix.chat.gone, 0);
	assert_int_equal(fix.chat.opened, 3);
	fix_send(fix.chat.session, "back again", 7, 2);
	client_expect(&c, "back again");
	client_request(&c, "INFO", "", "<getinv/>");
	client_request(&c, "INFO", "", "<grpchat/>");
	client_request(&c, "BYE", "", "");
	assert_int_equal(fix.chat.gone, 1);
	assert_int_equal(fix.chat.last_end, SESSION_BYE);
	client_close(&c);
}

static void
test_what_waits_is_sent_in_order(void **state)
{
	struct client c;
	const char *one, *two;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	session_suspend(fix.chat.session, SESSION_EXPIRED);
	fix_send(fix.chat.session, "first", 7, 1);
	fix_send(fix.chat.session, "second", 0, 0);
	client_invite_only(&c, "");
	client_forget(&c);
	fix_send(fix.chat.session, "third", 7, 3);
	assert_int_equal(c.out.len, 0);
	client_request(&c, "ACK", "", "");
	one = strstr(client_text(&c), "first");
	two = strstr(client_text(&c), "second");
	assert_true(one != NULL && two > one);
	assert_true(strstr(client_text(&c), "third") > two);
	client_close(&c);
}

static void
test_queue_of_a_session_is_bounded(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	session_suspend(fix.chat.session, SESSION_EXPIRED);
	for (uint64_t i = 1; i <= SESSION_QUEUE_MAX; i++)
		fix_send(fix.chat.session, "m", 7, i);
	assert_int_equal(fix.chat.outcomes, 0);
	fix_send(fix.chat.session, "m", 7, SESSION_QUEUE_MAX + 1);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 1);
	session_expire(fix.chat.session, fix.chat.session->deadline_ms);
	assert_int_equal(
	    fix.chat.by_outcome[SESSION_GONE], SESSION_QUEUE_MAX + 1);
	assert_int_equal(fix.chat.last_end, SESSION_EXPIRED);
	client_close(&c);
	assert_int_equal(fix.chat.gone, 1);
}

static void
test_session_expires_then_its_grace(void **state)
{
	struct session *s;
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	s = fix.chat.session;
	session_expire(s, uv_now(&fix.loop) + 1799000);
	assert_non_null(s->dialog);
	client_request(&c, "UPDATE", "", "");
	client_expect(&c, "SIP/2.0 200 OK\r\n");
	client_expect(&c, "\r\nSession-Expires: 1800;refresher=uac\r\n");
	s->dialog->alive_ms -= 1801000;
	client_forget(&c);
	session_expire(s, uv_now(&fix.loop));
	assert_null(s->dialog);
	assert_int_equal(c.out.len, 0);
	assert_int_equal(fix.chat.gone, 0);
	client_request(&c, "INFO", "", "x");
	client_expect(&c, "SIP/2.0 481 ");
	assert_int_equal(fix.chat.infos, 0);
	session_expire(s, s->deadline_ms - 1);
	assert_int_equal(fix.chat.gone, 0);
	session_expire(s, s->deadline_ms);
	assert_int_equal(fix.chat.last_end, SESSION_EXPIRED);
	client_close(&c);
}

static void
test_client_that_lost_its_dialog(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	fix_send(fix.chat.session, "m", 7, 1);
	client_forget(&c);
	client_answer_info(&c, 1, "487 Request Terminated");
	assert_int_equal(fix.chat.by_outcome[SESSION_REFUSED], 1);
	assert_int_equal(fix.chat.gone, 0);
	fix_send(fix.chat.session, "m", 7, 2);
	assert_int_equal(c.out.len, 0);
	client_close(&c);
	assert_int_equal(fix.chat.gone, 1);
	assert_int_equal(fix.chat.by_outcome[SESSION_GONE], 1);
}

static void
test_new_invite_replaces_the_dialog(void **state)
{
	struct client c;
	char call_id[64], to_tag[64];

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	memcpy(call_id, c.call_id, sizeof(call_id));
	memcpy(to_tag, c.to_tag, sizeof(to_tag));
	client_invite(&c);
	assert_int_equal(fix.chat.gone, 0);
	assert_int_equal(fix.chat.opened, 2);
	assert_int_equal(fix.sip->dialogs.count, 1);
	memcpy(c.call_id, call_id, sizeof(call_id));
	memcpy(c.to_tag, to_tag, sizeof(to_tag));
	client_request(&c, "INFO", "", "x");
	client_expect(&c, "SIP/2.0 481 ");
	client_close(&c);
}

static void
test_device_comes_back_on_a_new_connection(void **state)
{
	struct client old, new;

	(void)state;
	client_open(&old, &fix, CONN_TCP, "ann");
	client_sign_in(&old);
	client_invite(&old);
	client_open(&new, &fix, CONN_TCP, "ann");
	client_sign_in(&new);
	assert_int_equal(fix.chat.gone, 1);
	assert_int_equal(fix.chat.last_end, SESSION_LOST);
	client_invite(&new);
	assert_int_equal(fix.sip->sessions.count, 1);
	client_close(&old);
	assert_int_equal(fix.chat.gone, 1);
	client_close(&new);
	assert_int_equal(fix.chat.gone, 2);
}

static void
test_sign_off_and_loss(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	client_register(&c, "Expires: 0\r\n");
	assert_int_equal(fix.chat.last_end, SESSION_SIGNOFF);
	assert_int_equal(fix.chat.gone, 1);
	/* Signed off is signed off. */
	client_forget(&c);
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 407 ");
	client_close(&c);
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	client_close(&c);
	assert_int_equal(fix.chat.last_end, SESSION_LOST);
	assert_int_equal(fix.chat.gone, 2);
	assert_int_equal(fix.sip->sessions.count, 0);
	assert_int_equal(fix.sip->dialogs.count, 0);
	assert_int_equal(fix.sip->flow_count, 0);
}

static void
test_registration_that_runs_out(void **state)
{
	struct client c;
	struct flow *f;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	f = flow_get(c.conn);
	flow_expire(f, f->until_ms);
	assert_int_equal(fix.chat.gone, 0);
	flow_expire(f, f->until_ms + 5000);
	assert_int_equal(fix.chat.last_end, SESSION_EXPIRED);
	client_forget(&c);
	client_invite_only(&c, "");
	client_expect(&c, "SIP/2.0 407 ");
	client_close(&c);
}

static void
test_sessions_of_a_connection_are_bounded(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	for (unsigned i = 0; i <= SESSION_PER_FLOW_MAX; i++) {
		client_forget(&c);
		client_say(&c,
		    "INVITE sip:chat@" FIX_DOMAIN " SIP/2.0\r\n"
		    "Via: SIP/2.0/tcp 192.0.2.10\r\n"
		    "From: <sip:ann@" FIX_DOMAIN ">;tag=i;epid=e%u\r\n"
		    "To: <sip:chat@" FIX_DOMAIN ">\r\nCall-ID: many-%u\r\n"
		    "CSeq: 1 INVITE\r\n" FIX_CONTACT
		    "Content-Length: 0\r\n\r\n",
		    i, i);
		client_expect(&c,
		    i < SESSION_PER_FLOW_MAX ? "SIP/2.0 200 OK"
					     : "SIP/2.0 503 ");
	}
	client_close(&c);
	/* None was acknowledged, so chat knows of none. */
	assert_int_equal(fix.chat.opened, 0);
	assert_int_equal(fix.chat.gone, 0);
}

static void
test_dialog_without_ack_is_given_up(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite_only(&c, "");
	assert_int_equal(fix.sip->dialogs.count, 1);
	RING_OF(fix.sip->unconfirmed.next, struct dialog, unconfirmed)
	    ->ok_until_ms = 0;
	invite_retransmit(fix.sip);
	assert_int_equal(fix.sip->dialogs.count, 0);
	assert_int_equal(fix.sip->sessions.count, 0);
	assert_int_equal(fix.chat.gone, 0);
	client_close(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_copies_and_outcomes),
	    CASE(test_unanswered_copies_are_gone_with_the_dialog),
	    CASE(test_reader_that_answers_nothing_is_cut_off),
	    CASE(test_sipe_looks_up_and_comes_back),
	    CASE(test_rooms_survive_a_restart_of_the_dialog),
	    CASE(test_what_waits_is_sent_in_order),
	    CASE(test_queue_of_a_session_is_bounded),
	    CASE(test_session_expires_then_its_grace),
	    CASE(test_client_that_lost_its_dialog),
	    CASE(test_new_invite_replaces_the_dialog),
	    CASE(test_device_comes_back_on_a_new_connection),
	    CASE(test_sign_off_and_loss),
	    CASE(test_registration_that_runs_out),
	    CASE(test_sessions_of_a_connection_are_bounded),
	    CASE(test_dialog_without_ack_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
