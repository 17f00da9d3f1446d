/*
 * The SIP entry: bytes of a connection to framing, scan, libosip2, dispatch
 * and dialogs. The first byte chooses the transport, whether ann is signed
 * in and has a dialog with messages under way, and how the bytes arrive. A
 * byte 1 in the input stands for the dialog's To tag, which nobody guesses.
 */

#include "tests/unit/sip_fixture.h"

enum { AS_UDP = 1, SIGNED_IN = 2, IN_DIALOG = 4, IN_PIECES = 8, HELD = 16 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fix fix;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fix_conf(&fix);
	fix_start(&fix);
	return 0;
}

/* Signed in without the arithmetic of Digest, which no input can pass. */
static void
sign_in(struct client *c)
{
	char user[] = "sip:ann@" FIX_DOMAIN, name[] = "Ann";
	const struct identity who = {user, name, "digest-md5", true};
	struct flow *f = flow_of(fix.sip, c->conn);

	if (f == NULL || !flow_sign_in(f, &who, UINT64_MAX / 2))
		abort();
}

static void
open_dialog(struct client *c)
{
	struct message *m = message_new(view_text("<grpchat/>"));

	(void)snprintf(c->call_id, sizeof(c->call_id), "c");
	(void)snprintf(c->from_tag, sizeof(c->from_tag), "f");
	client_invite_only(c, "");
	client_request(c, "ACK", "", "");
	if (m == NULL || fix.chat.session == NULL)
		abort();
	for (uint64_t i = 1; i <= 3; i++)
		session_send(fix.chat.session, m, 1, i);
	message_drop(m);
}

static void
put_input(
    const struct client *c, const uint8_t *data, size_t size, struct buf *out)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == 1 && c->to_tag[0] != 0)
			buf_put_text(out, c->to_tag);
		else
			buf_put_u8(out, data[i]);
	}
}

/* Nothing stays of a client that has gone. */
static void
check_empty(void)
{
	const struct sip *s = fix.sip;

	if (s->sessions.count != 0 || s->dialogs.count != 0 ||
	    s->inflight != 0 || !ring_empty(&s->waiting) ||
	    !ring_empty(&s->unconfirmed) || !ring_empty(&s->returned) ||
	    s->transport->stream_count != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client c;
	struct buf b;
	uint8_t how;

	if (size == 0)
		return 0;
	how = *data;
	client_open(&c, &fix, how & AS_UDP ? CONN_UDP : CONN_TCP, "ann");
	if ((how & SIGNED_IN) && !(how & AS_UDP))
		sign_in(&c);
	if ((how & SIGNED_IN) && (how & IN_DIALOG) && !(how & AS_UDP))
		open_dialog(&c);
	fix.chat.hold = how & HELD;
	client_forget(&c);
	buf_init(&b);
	put_input(&c, data + 1, size - 1, &b);
	if (how & IN_PIECES) {
		for (size_t at = 0; at < b.len; at += 7)
			client_feed(
			    &c, b.data + at, b.len - at < 7 ? b.len - at : 7);
	} else {
		client_feed(&c, b.data, b.len);
	}
	buf_release(&b);
	client_close(&c);
	while (fix.chat.held_count > 0)
		request_answer(fix.chat.held[--fix.chat.held_count], 200, "OK");
	fix.chat.hold = false;
	check_empty();
	return 0;
}
