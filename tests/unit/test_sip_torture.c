/*
 * Hostile and unusual input to the SIP entry: RFC 4475's torture messages
 * (tests/golden/sip), every truncation, random damage, floods. Whatever
 * comes, it is answered or the connection is dropped, and the next client
 * is served.
 */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/sip_fixture.h"

#define GOLDEN "tests/golden/sip"
#define SEED 20261122U
#define DAMAGED 20000

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

/* Somebody else can sign in and talk: nothing is broken. */
static void
check_service(void)
{
	unsigned infos = fix.chat.infos;
	struct client c;

	client_open(&c, &fix, CONN_TCP, "bob");
	client_sign_in(&c);
	client_invite(&c);
	client_request(&c, "INFO", "", "<still-there/>");
	if (!client_has(&c, "SIP/2.0 200 OK\r\n") ||
	    fix.chat.infos != infos + 1)
		fail_msg("no service any more: %s", client_text(&c));
	client_close(&c);
}

/* Each line that the server sends is one of ours or an echo, never split. */
static void
check_output(struct client *c)
{
	const char *p = client_text(c);

	if (c->out.len == 0 || strspn(p, "\r\n") == c->out.len)
		return;
	p += strspn(p, "\r\n");
	if (strncmp(p, "SIP/2.0 ", 8) != 0 && strncmp(p, "INFO sip:", 9) != 0)
		fail_msg("unexpected output: %s", p);
	assert_int_equal(strlen(client_text(c)), c->out.len);
}

/* ---- RFC 4475 ---- */

enum torture_end { ANSWERED, SILENT, DROPPED };

/* What a stranger gets: valid requests reach the challenge. */
static const struct {
	const char *name;
	enum torture_end end;
	const char *status; /* of each answer */
} torture[] = {
    /* valid, section 3.1.1 */
    {"wsinv", ANSWERED, "407"},
    /* Control characters are refused, even where they may be escaped. */
    {"intmeth", ANSWERED, "400"},
    {"esc01", ANSWERED, "407"},
    {"escnull", ANSWERED, "407"},
    {"esc02", ANSWERED, "501"},
    {"lwsdisp", ANSWERED, "200"},
    {"longreq", ANSWERED, "407"},
    {"dblreq", ANSWERED, "407"},
    {"semiuri", ANSWERED, "200"},
    {"transports", ANSWERED, "200"},
    {"mpart01", ANSWERED, "407"},
    {"unreason", SILENT, NULL},
    {"noreason", SILENT, NULL},
    /* invalid, section 3.1.2 */
    {"badinv01", ANSWERED, "400"},
    {"clerr", SILENT, NULL}, /* waits for the rest until limits.message_s */
    {"ncl", DROPPED, "400"},
    {"scalar02", ANSWERED, "400"},
    {"scalarlg", DROPPED, NULL},
    {"quotbal", ANSWERED, "400"},
    {"ltgtruri", ANSWERED, "400"},
    {"lwsruri", ANSWERED, "400"},
    {"lwsstart", ANSWERED, "400"},
    {"trws", ANSWERED, "400"},
    {"escruri", ANSWERED, "407"},
    {"baddate", ANSWERED, "407"},
    {"regbadct", ANSWERED, "407"},
    {"badaspec", ANSWERED, "400"},
    {"baddn", ANSWERED, "400"},
    {"badvers", ANSWERED, "505"},
    {"mismatch01", ANSWERED, "400"},
    {"mismatch02", ANSWERED, "400"},
    {"bigcode", DROPPED, NULL},
    /* transaction and application, sections 3.2 to 3.4 */
    {"badbranch", ANSWERED, "200"},
    {"insuf", DROPPED, NULL},
    {"unkscm", ANSWERED, "416"},
    {"novelsc", ANSWERED, "416"},
    {"unksm2", ANSWERED, "400"},
    {"bext01", ANSWERED, "420"},
    {"invut", ANSWERED, "407"},
    {"regaut01", ANSWERED, "407"},
    {"multi01", ANSWERED, "400"},
    {"mcl01", DROPPED, "400"},
    {"bcast", SILENT, NULL},
    {"zeromf", ANSWERED, "200"},
    {"cparam01", ANSWERED, "407"},
    {"cparam02", ANSWERED, "407"},
    {"regescrt", ANSWERED, "407"},
    {"sdp01", ANSWERED, "407"},
    {"inv2543", ANSWERED, "407"},
};

static void
read_golden(const char *name, struct buf *out)
{
	char path[256];
	uint8_t chunk[4096];
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), GOLDEN "/%s.sip", name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("%s: cannot be read", path);
	buf_init(out);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_put(out, chunk, n);
	(void)fclose(f);
	assert_false(out->failed);
}

static void
check_statuses(struct client *c, const char *name, const char *want)
{
	const char *at = client_text(c);
	unsigned answers = 0;

	while ((at = strstr(at, "SIP/2.0 ")) != NULL) {
		bool line = at == client_text(c) || at[-1] == '\n';

		if (line && (want == NULL || strncmp(at + 8, want, 3) != 0))
			fail_msg("%s: %.40s", name, at);
		answers += line;
		at++;
	}
	if (want != NULL && answers == 0)
		fail_msg("%s: no answer", name);
}

static void
test_torture_messages(void **state)
{
	struct client c;
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(torture) / sizeof(*torture); i++) {
		read_golden(torture[i].name, &b);
		client_open(&c, &fix, CONN_TCP, "ann");
		client_feed(&c, b.data, b.len);
		check_statuses(&c, torture[i].name, torture[i].status);
		if (client_alive(&c) != (torture[i].end != DROPPED))
			fail_msg("%s: connection %s", torture[i].name,
			    client_alive(&c) ? "lives" : "is dropped");
		client_close(&c);
		/* The same as a datagram, and from somebody signed in. */
		client_open(&c, &fix, CONN_UDP, "ann");
		client_feed(&c, b.data, b.len);
		check_output(&c);
		client_close(&c);
		client_open(&c, &fix, CONN_TCP, "ann");
		client_sign_in(&c);
		client_feed(&c, b.data, b.len);
		check_output(&c);
		client_close(&c);
		buf_release(&b);
	}
	check_service();
}

static void
test_every_torture_file_is_known(void **state)
{
	struct dirent *e;
	size_t files = 0;
	DIR *d = opendir(GOLDEN);

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		files += strstr(e->d_name, ".sip") != NULL;
	(void)closedir(d);
	assert_int_equal(files, sizeof(torture) / sizeof(*torture));
}

/* ---- truncation, damage ---- */

/* The messages that are spoilt, as they are sent by a client signed in. */
static void
put_sample(struct client *c, size_t which, struct buf *b)
{
	static const char *const methods[] = {
	    "INVITE", "INFO", "UPDATE", "ACK", "BYE", "OPTIONS"};

	buf_clear(b);
	if (which == 0) {
		buf_printf(b,
		    "REGISTER sip:" FIX_DOMAIN " SIP/2.0\r\n"
		    "Via: SIP/2.0/tcp 192.0.2.10:40001;branch=z9hG4bKt\r\n"
		    "From: <sip:ann@" FIX_DOMAIN ">;tag=1;epid=0a1bann\r\n"
		    "To: <sip:ann@" FIX_DOMAIN ">\r\nCSeq: 9 REGISTER\r\n"
		    "Call-ID: t\r\nContact: <sip:192.0.2.10:40001>;"
		    "proxy=replace;+sip.instance=\"<urn:uuid:1>\"\r\n" FIX_SIPE
		    "Proxy-Authorization: Digest username=\"ann@" FIX_DOMAIN
		    "\", realm=\"" FIX_DOMAIN "\", nonce=\"0\", uri=\"x\", "
		    "qop=auth, nc=00000001, cnonce=\"1\", response=\"0\"\r\n"
		    "Content-Length: 0\r\n\r\n");
		return;
	}
	c->cseq++;
	client_put(c, b, methods[(which - 1) % 6]);
	buf_printf(b,
	    "Record-Route: <sip:p.example.test;lr>\r\n" FIX_CONTACT
	    "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n"
	    "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
	    which == 2 ? "text/plain" : "application/sdp", strlen(FIX_SDP),
	    FIX_SDP);
}

static void
test_truncated_everywhere(void **state)
{
	struct client c;
	struct buf b;

	(void)state;
	buf_init(&b);
	for (size_t which = 0; which < 7; which++) {
		for (size_t cut = 0;; cut++) {
			client_open(&c, &fix, CONN_TCP, "ann");
			client_sign_in(&c);
			client_invite(&c);
			put_sample(&c, which, &b);
			if (cut >= b.len) {
				client_close(&c);
				break;
			}
			client_feed(&c, b.data, cut);
			/* Nothing is done before the message is whole. */
			assert_int_equal(c.out.len, 0);
			assert_true(client_alive(&c));
			/* What follows completes it, or is refused. */
			client_feed(&c, b.data, b.len);
			check_output(&c);
			client_close(&c);
		}
	}
	buf_release(&b);
	check_service();
}

static void
test_truncated_datagrams(void **state)
{
	struct client c;
	struct buf b;

	(void)state;
	buf_init(&b);
	for (size_t which = 0; which < 7; which++) {
		client_open(&c, &fix, CONN_UDP, "ann");
		put_sample(&c, which, &b);
		for (size_t cut = 1; cut < b.len; cut++) {
			client_forget(&c);
			client_feed(&c, b.data, cut);
			check_output(&c);
			assert_false(client_has(&c, "SIP/2.0 200"));
		}
		client_close(&c);
	}
	buf_release(&b);
	assert_int_equal(fix.chat.opened, 0);
	check_service();
}

static uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525U + 1013904223U;
	return *seed >> 8;
}

static void
damage(struct buf *b, uint32_t *seed)
{
	static const char spice[] = "\r\n\r\n:;,<>\"\\ \t\0\x80\xff@=%0123zZ";
	unsigned times = next_random(seed) % 6 + 1;

	while (times-- > 0 && b->len > 1) {
		size_t at = next_random(seed) % b->len;
		size_t n = next_random(seed) % (b->len - at) % 40 + 1;

		switch (next_random(seed) % 4) {
		case 0:
			b->data[at] = (uint8_t)next_random(seed);
			break;
		case 1:
			b->data[at] = (uint8_t)
			    spice[next_random(seed) % (sizeof(spice) - 1)];
			break;
		case 2: /* a piece is lost */
			memmove(
			    b->data + at, b->data + at + n, b->len - at - n);
			b->len -= n;
			break;
		default: /* a piece comes twice */
			if (buf_reserve(b, n)) {
				memmove(b->data + at + n, b->data + at,
				    b->len - at);
				b->len += n;
			}
			break;
		}
	}
}

static void
test_damaged_at_random(void **state)
{
	uint32_t seed = SEED;
	struct client c;
	struct buf b;

	(void)state;
	buf_init(&b);
	for (unsigned i = 0; i < DAMAGED; i++) {
		enum conn_kind kind = i % 5 == 0 ? CONN_UDP : CONN_TCP;

		client_open(&c, &fix, kind, "ann");
		if (kind == CONN_TCP && i % 3 != 0) {
			client_sign_in(&c);
			client_invite(&c);
		}
		put_sample(&c, next_random(&seed) % 7, &b);
		damage(&b, &seed);
		client_feed(&c, b.data, b.len);
		client_feed(&c, "\r\n\r\n", 4);
		check_output(&c);
		client_close(&c);
	}
	buf_release(&b);
	check_service();
}

/* ---- floods and framing ---- */

static void
put_flood(struct buf *b, const char *what, size_t times)
{
	while (times-- > 0)
		buf_put_text(b, what);
}

#define START                                                                  \
	"OPTIONS sip:chat@" FIX_DOMAIN " SIP/2.0\r\n"                          \
	"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKf\r\n"                       \
	"From: <sip:ann@" FIX_DOMAIN ">;tag=1\r\nTo: <sip:x@y>\r\n"            \
	"Call-ID: f\r\nCSeq: 1 OPTIONS\r\n"

static void
test_framing(void **state)
{
	static const struct {
		const char *before, *flood;
		size_t times;
		const char *after;
		const char *status; /* NULL: no answer */
		bool dropped;
	} rows[] = {
	    {START, "", 0, "\r\n", "200", false},
	    {START, "", 0, "Content-Length: 0\r\n\r\n", "200", false},
	    {START, "", 0, "Content-Length: 000\r\n\r\n", "200", false},
	    {START, "", 0, "Content-Length: -1\r\n\r\n", "400", true},
	    {START, "", 0, "Content-Length: +1\r\n\r\nx", "400", true},
	    {START, "", 0, "Content-Length: 1x\r\n\r\nx", "400", true},
	    {START, "", 0, "Content-Length:\r\n\r\n", "400", true},
	    {START, "", 0, "Content-Length: 65537\r\n\r\n", "413", true},
	    {START, "", 0, "Content-Length: 4294967296\r\n\r\n", "413", true},
	    {START, "", 0, "Content-Length: 18446744073709551616\r\n\r\n",
		"400", true},
	    {START, "", 0, "Content-Length: 1\r\nl: 2\r\n\r\n", "400", true},
	    {START, "", 0, "Content-Length: 1\r\nl: 1\r\n\r\nx", "400", false},
	    {START, "", 0, "Content-Type: text/plain\r\n\r\n", "400", true},
	    {START, "Foo: y\r\n", 93, "l: 0\r\n\r\n", "200", false},
	    {START, "Foo: y\r\n", 95, "l: 0\r\n\r\n", "400", false},
	    {START, "Foo: y\r\n", 5000, "l: 0\r\n\r\n", "400", false},
	    {START "Foo: ", "y", 60000, "\r\n\r\n", "200", false},
	    {START "Foo: ", "y", 70000, "", NULL, true},
	    {START "Foo: a", "\r\n b", 5000, "\r\n\r\n", "200", false},
	    {START, "", 0, "no colon\r\n\r\n", "400", false},
	    {START, "", 0, ": no name\r\n\r\n", "400", false},
	    {START, "", 0, "Foo : fine\r\n\r\n", "200", false},
	    {START, "", 0, "Foo: \x01\r\n\r\n", "400", false},
	    {START, "", 0, "Foo: \xc3\xbc\r\n\r\n", "200", false},
	    {START, "", 0, "Foo: \xc0\x80\r\n\r\n", "400", false},
	    {START, "", 0, "Foo: bare\nBar: z\r\n\r\n", "400", false},
	    {START, "", 0, "Foo: bare\rBar: z\r\n\r\n", "400", false},
	    {START, "Via: SIP/2.0/TCP h\r\n", 90, "\r\n", "200", false},
	    {"", "\r\n", 10000, START "\r\n", "200", false},
	    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, "", NULL, true},
	    {"", ":", 70000, "", NULL, true},
	    {"", "\xff", 70000, "", NULL, true},
	};
	struct client c;
	struct buf b;

	(void)state;
	buf_init(&b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *text;
		bool ok;

		buf_clear(&b);
		buf_put_text(&b, rows[i].before);
		put_flood(&b, rows[i].flood, rows[i].times);
		buf_put_text(&b, rows[i].after);
		client_open(&c, &fix, CONN_TCP, "ann");
		client_feed(&c, b.data, b.len);
		text = client_text(&c);
		text += strspn(text, "\r\n");
		ok = rows[i].status == NULL
		    ? *text == 0
		    : strncmp(text, "SIP/2.0 ", 8) == 0 &&
			strncmp(text + 8, rows[i].status, 3) == 0;
		if (!ok || client_alive(&c) == rows[i].dropped)
			fail_msg("row %zu: %s%.200s", i,
			    client_alive(&c) ? "" : "(dropped) ", text);
		client_close(&c);
	}
	buf_release(&b);
	check_service();
}

static void
test_zeros(void **state)
{
	static uint8_t zeros[100000];
	struct client c;
	struct buf b;

	(void)state;
	client_open(&c, &fix, CONN_TCP, "ann");
	client_feed(&c, zeros, sizeof(zeros));
	assert_false(client_alive(&c));
	client_close(&c);
	buf_init(&b);
	buf_put_text(&b, START "Foo: ");
	buf_put(&b, "a\0b", 3);
	buf_put_text(&b, "\r\n\r\n");
	client_open(&c, &fix, CONN_TCP, "ann");
	client_feed(&c, b.data, b.len);
	assert_true(client_has(&c, "SIP/2.0 400 "));
	client_close(&c);
	buf_release(&b);
	check_service();
}

/* A stream may be cut anywhere: the same answers come. */
static void
test_byte_by_byte(void **state)
{
	struct client c;
	struct buf b;

	(void)state;
	buf_init(&b);
	client_open(&c, &fix, CONN_TCP, "ann");
	client_sign_in(&c);
	client_invite(&c);
	for (int i = 0; i < 3; i++) {
		c.cseq++;
		client_put(&c, &b, "INFO");
		buf_put_text(&b, "Content-Length: 8\r\n\r\n<xccos/>\r\n\r\n");
	}
	for (size_t i = 0; i < b.len; i++)
		client_feed(&c, b.data + i, 1);
	assert_int_equal(fix.chat.infos, 3);
	assert_int_equal(c.conn->in.cap, 0);
	client_close(&c);
	buf_release(&b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_torture_messages),
	    CASE(test_every_torture_file_is_known),
	    CASE(test_truncated_everywhere),
	    CASE(test_truncated_datagrams),
	    CASE(test_damaged_at_random),
	    CASE(test_framing),
	    CASE(test_zeros),
	    CASE(test_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
