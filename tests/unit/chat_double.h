#ifndef TESTS_UNIT_CHAT_DOUBLE_H
#define TESTS_UNIT_CHAT_DOUBLE_H

/*
 * Stands in for SIP above chat and for the keeper below it: sessions that
 * remember what they were sent, requests that remember their answer, and a
 * keeper that records, refuses and tells again as the test says.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/ipc.h"
#include "base/log.h"
#include "compliance/event.h"
#include "compliance/wire.h"
#include "server/chat.h"
#include "server/record.h"
#include "server/session.h"
#include "server/store_chat.h"

#define DOMAIN "example.test"
#define OPS "11111111-aaaa-4000-8000-000000000001"
#define LAB "11111111-aaaa-4000-8000-000000000002"
#define VAULT "11111111-aaaa-4000-8000-000000000003"
#define OPS_URI "ma-chan://" DOMAIN "/" OPS
#define LAB_URI "ma-chan://" DOMAIN "/" LAB
#define VAULT_URI "ma-chan://" DOMAIN "/" VAULT
#define XML_OPEN                                                               \
	"<xccos ver=\"1\" envid=\"77\" xmlns=\"urn:parlano:xml:ns:xccos\">"

/* ---- SIP's side ---- */

struct message {
	unsigned refs;
	char *text;
};

struct sent {
	struct message *message;
	uint64_t room;
	uint64_t number;
	unsigned tick;
};

struct session {
	struct session_identity id;
	void *state;
	struct sent *sent;
	size_t count;
	size_t cap;
};

struct request {
	unsigned status; /* 0: not answered */
	char reason[256];
	char id[64];
	unsigned tick;
};

static unsigned ticks; /* orders what SIP is told */
static size_t messages_alive;

const struct session_identity *
session_identity(const struct session *s)
{
	return &s->id;
}

void *
session_state(const struct session *s)
{
	return s->state;
}

void
session_set_state(struct session *s, void *state)
{
	s->state = state;
}

struct message *
message_new(struct view body)
{
	struct message *m = calloc(1, sizeof *m);

	assert_non_null(m);
	m->refs = 1;
	m->text = view_dup(body);
	assert_non_null(m->text);
	messages_alive++;
	return m;
}

struct message *
message_hold(struct message *m)
{
	m->refs++;
	return m;
}

void
message_drop(struct message *m)
{
	if (--m->refs > 0)
		return;
	messages_alive--;
	free(m->text);
	free(m);
}

void
session_send(
    struct session *s, struct message *m, uint64_t room, uint64_t number)
{
	assert_non_null(s);
	if (s->count == s->cap) {
		s->cap = s->cap == 0 ? 8 : s->cap * 2;
		s->sent = realloc(s->sent, s->cap * sizeof *s->sent);
		assert_non_null(s->sent);
	}
	s->sent[s->count++] =
	    (struct sent){message_hold(m), room, number, ++ticks};
}

void
request_answer(struct request *r, unsigned status, const char *reason)
{
	assert_int_equal(r->status, 0);
	assert_in_range(status, 200, 699);
	assert_int_not_equal(status, 481);
	for (const char *p = reason; *p != '\0'; p++)
		assert_true(*p >= 0x20 && *p <= 0x7e);
	r->status = status;
	r->tick = ++ticks;
	(void)snprintf(r->reason, sizeof r->reason, "%s", reason);
}

const char *
request_id(const struct request *r)
{
	assert_int_equal(r->status, 0);
	return r->id;
}

/* ---- The keeper ---- */

struct event {
	uint64_t ref;
	unsigned kind;
	char *envelope;
	char *content; /* NULL when it has none */
	uint64_t seq;  /* once it is in the journal */
	bool stored;
};

struct rig {
	uv_loop_t loop;
	struct conf conf;
	char path[128];
	struct store *store;
	struct record *record;
	struct chat *chat;
	unsigned ready;
	int keeper; /* its end of the link, -1 without one */
	struct ipc_decoder in;
	uint64_t gone;    /* last WIRE_GONE */
	uint64_t hello;   /* last WIRE_HELLO, UINT64_MAX before one */
	uint64_t applied; /* last WIRE_APPLIED */
	struct event *events;
	size_t count;                     /* handed over so far */
	size_t answered;                  /* of these, stored or refused */
	uint64_t size;                    /* of the journal */
	uint64_t drops[WIRE_DROPS_COUNT]; /* of the last WIRE_DROPS */
	bool bye;
	uint64_t drops_ref; /* its own, 0 before one */
};

static char rig_folder[] = "/tmp/chancery-test-chat-XXXXXX";

static inline char *
text_dup(struct view v)
{
	char *text = malloc(v.n + 1);

	assert_non_null(text);
	if (v.n > 0)
		memcpy(text, v.p, v.n);
	text[v.n] = '\0';
	return text;
}

static inline void
keeper_event(struct rig *rig, struct reader *in)
{
	struct event *e;
	unsigned parts;

	if ((rig->count & (rig->count - 1)) == 0) {
		rig->events = realloc(rig->events,
		    (rig->count == 0 ? 1 : rig->count * 2) *
			sizeof *rig->events);
		assert_non_null(rig->events);
	}
	e = &rig->events[rig->count++];
	*e = (struct event){.ref = reader_u64(in)};
	e->kind = reader_u8(in);
	parts = reader_u8(in);
	assert_in_range(parts, 1, 2);
	e->envelope = text_dup(reader_take(in, reader_u32(in)));
	if (parts == 2)
		e->content = text_dup(reader_take(in, reader_u32(in)));
	assert_true(reader_done(in));
	assert_int_equal(strncmp(e->envelope, "{\"v\":1,\"type\":\"", 15), 0);
	assert_int_equal(strncmp(e->envelope + 15, event_name(e->kind),
			     strlen(event_name(e->kind))),
	    0);
}

static inline void
keeper_drops(struct rig *rig, struct reader *in)
{
	memset(rig->drops, 0, sizeof rig->drops);
	assert_int_not_equal(reader_u32(in), 0);
	rig->drops_ref = reader_u64(in);
	while (in->n > 0) {
		unsigned why = reader_u8(in);
		uint64_t since = reader_u64(in);

		assert_true(why < WIRE_DROPS_COUNT);
		assert_true(since <= reader_u64(in));
		rig->drops[why] = reader_u64(in);
		assert_true(rig->drops[why] > 0);
	}
	assert_true(reader_done(in));
}

static inline void
keeper_read(struct rig *rig)
{
	uint8_t bytes[65536];
	struct view payload;
	uint16_t type;
	ssize_t n;

	while (rig->keeper >= 0 &&
	    (n = recv(rig->keeper, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		buf_put(&rig->in.in, bytes, (size_t)n);
	while (ipc_decoder_next(&rig->in, &type, &payload) == IPC_FRAME) {
		struct reader in = reader_of(payload);

		if (type == WIRE_HELLO)
			rig->hello = reader_u64(&in);
		else if (type == WIRE_APPLIED)
			rig->applied = reader_u64(&in);
		else if (type == WIRE_EVENT)
			keeper_event(rig, &in);
		else if (type == WIRE_GONE)
			rig->gone = reader_u64(&in);
		else if (type == WIRE_DROPS)
			keeper_drops(rig, &in);
		else if (type == WIRE_BYE)
			rig->bye = true;
		else
			fail_msg("frame %u", type);
	}
}

/* Lets everything that can happen without waiting happen. */
static inline void
run(struct rig *rig)
{
	for (int i = 0; i < 6; i++) {
		uv_run(&rig->loop, UV_RUN_NOWAIT);
		keeper_read(rig);
	}
}

/* Runs until `ms` have passed on the loop's clock. */
static inline void
run_for(struct rig *rig, unsigned ms)
{
	uint64_t end;

	uv_update_time(&rig->loop);
	end = uv_now(&rig->loop) + ms;
	while (uv_now(&rig->loop) < end) {
		run(rig);
		usleep(2000);
	}
	run(rig);
}

static inline void
keeper_frame(struct rig *rig, uint16_t type, const struct buf *payload)
{
	struct buf b = {0};

	buf_put_u32(&b, (uint32_t)payload->len + 4);
	buf_put_u16(&b, IPC_VERSION);
	buf_put_u16(&b, type);
	buf_put(&b, payload->data, payload->len);
	assert_int_equal(send(rig->keeper, b.data, b.len, 0), (ssize_t)b.len);
	buf_release(&b);
}

static inline uint64_t
time_of(uint64_t seq)
{
	return 1800000000000000 + seq;
}

/* Receipts for the next n events, in one frame. */
static inline void
keeper_store(struct rig *rig, size_t n)
{
	struct buf b = {0};

	run(rig);
	assert_true(rig->answered + n <= rig->count);
	buf_put_u32(&b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		struct event *e = &rig->events[rig->answered++];

		e->seq = rig->size++;
		e->stored = true;
		buf_put_u64(&b, e->ref);
		buf_put_u64(&b, e->seq);
		buf_put_u64(&b, time_of(e->seq));
	}
	keeper_frame(rig, WIRE_RECEIPT, &b);
	buf_release(&b);
	run(rig);
}

/* Stores all there is, and what follows from it. */
static inline void
keeper_store_all(struct rig *rig)
{
	run(rig);
	while (rig->answered < rig->count)
		keeper_store(rig, rig->count - rig->answered);
}

static inline void
keeper_refuse(struct rig *rig, const char *why)
{
	struct buf b = {0};

	run(rig);
	assert_true(rig->answered < rig->count);
	buf_put_u64(&b, rig->events[rig->answered++].ref);
	buf_put_text(&b, why);
	keeper_frame(rig, WIRE_REFUSED, &b);
	buf_release(&b);
	run(rig);
}

static inline void
keeper_state(struct rig *rig, bool writable, const char *why)
{
	struct buf b = {0};

	buf_put_u8(&b, writable);
	buf_put_text(&b, why);
	keeper_frame(rig, WIRE_STATE, &b);
	buf_release(&b);
	run(rig);
}

/* The drops told last are on record. */
static inline void
keeper_keep_drops(struct rig *rig)
{
	struct buf b = {0};

	buf_put_u64(&b, rig->drops_ref);
	keeper_frame(rig, WIRE_DROPS_KEPT, &b);
	buf_release(&b);
	rig->drops_ref = 0;
	run(rig);
}

static inline void
keeper_replay(struct rig *rig, const struct event *e)
{
	struct buf b = {0};

	assert_true(e->stored);
	buf_put_u64(&b, e->seq);
	buf_put_u64(&b, time_of(e->seq));
	buf_put_u8(&b, (uint8_t)e->kind);
	buf_put_u8(&b, e->content != NULL ? 2 : 1);
	buf_put_u32(&b, (uint32_t)strlen(e->envelope));
	buf_put_text(&b, e->envelope);
	if (e->content != NULL) {
		buf_put_u32(&b, (uint32_t)strlen(e->content));
		buf_put_text(&b, e->content);
	}
	keeper_frame(rig, WIRE_REPLAY, &b);
	buf_release(&b);
}

static inline void
keeper_live(struct rig *rig, bool writable)
{
	struct buf b = {0};

	buf_put_u64(&b, rig->size);
	buf_put_u8(&b, writable);
	keeper_frame(rig, WIRE_LIVE, &b);
	buf_release(&b);
	run(rig);
}

static inline void
keeper_attach(struct rig *rig)
{
	int fds[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	rig->keeper = fds[1];
	rig->hello = UINT64_MAX;
	ipc_decoder_init(&rig->in);
	record_link(rig->record, fds[0]);
	run(rig);
	assert_int_not_equal(rig->hello, UINT64_MAX);
}

static inline void
keeper_lose(struct rig *rig)
{
	run(rig);
	close(rig->keeper);
	rig->keeper = -1;
	ipc_decoder_release(&rig->in);
	run(rig);
}

/*
 * A new keeper: `committed` of the events without an answer are in the
 * journal and told again; the others are lost.
 */
static inline void
keeper_restart(struct rig *rig, size_t committed, bool writable)
{
	for (size_t i = 0; i < committed; i++) {
		struct event *e = &rig->events[rig->answered++];

		e->seq = rig->size++;
		e->stored = true;
	}
	rig->answered = rig->count;
	keeper_attach(rig);
	for (size_t i = 0; i < rig->count; i++)
		if (rig->events[i].stored && rig->events[i].seq >= rig->hello)
			keeper_replay(rig, &rig->events[i]);
	keeper_live(rig, writable);
}

/* ---- All together ---- */

static inline void
on_ready(void *arg)
{
	struct rig *rig = arg;

	rig->ready++;
}

static inline void
rig_start(struct rig *rig)
{
	char why[256];

	assert_int_equal(uv_loop_init(&rig->loop), 0);
	rig->store = store_open(rig->path, why, sizeof why);
	assert_non_null(rig->store);
	rig->record = record_new(&rig->loop, &rig->conf, rig->store);
	assert_non_null(rig->record);
	rig->chat = chat_new(
	    &rig->loop, &rig->conf, rig->store, rig->record, on_ready, rig);
	assert_non_null(rig->chat);
	rig->ready = 0;
	rig->keeper = -1;
}

static inline void
rig_stop(struct rig *rig)
{
	chat_free(rig->chat);
	record_free(rig->record);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
	store_close(rig->store);
	if (rig->keeper >= 0) {
		keeper_read(rig);
		close(rig->keeper);
		ipc_decoder_release(&rig->in);
	}
	rig->keeper = -1;
}

static inline void
add_room(struct rig *rig, const char *name, const char *guid,
    enum store_privacy privacy)
{
	struct buf uri = {0};
	char why[256];

	assert_int_equal(store_room_add(rig->store, name, guid, privacy,
			     "About it", "uid:0", &uri, why, sizeof why),
	    0);
	buf_release(&uri);
}

static inline void
add_user(struct rig *rig, const char *uri)
{
	char why[256];

	assert_int_equal(
	    store_user_add(rig->store, uri, uri, "x", "uid:0", why, sizeof why),
	    0);
}

/* Rooms Ops (open), Lab (closed), Vault (secret); ann is in both of these. */
static inline struct rig *
rig_new(void)
{
	static unsigned n;
	struct rig *rig = calloc(1, sizeof *rig);
	char why[256];

	assert_non_null(rig);
	(void)snprintf(
	    rig->path, sizeof rig->path, "%s/%u.db", rig_folder, n++);
	rig->conf.domain = strdup(DOMAIN);
	rig->conf.limits.inflight = 8;
	rig->conf.limits.text_bytes = 100;
	rig->conf.limits.history = 30;
	assert_int_equal(store_create(rig->path, DOMAIN, why, sizeof why), 0);
	rig_start(rig);
	add_user(rig, "sip:ann@" DOMAIN);
	add_user(rig, "sip:bob@" DOMAIN);
	add_room(rig, "Ops", OPS, STORE_OPEN);
	add_room(rig, "Lab", LAB, STORE_CLOSED);
	add_room(rig, "Vault", VAULT, STORE_SECRET);
	assert_int_equal(store_member_add(rig->store, "Lab", "sip:ann@" DOMAIN,
			     "uid:0", why, sizeof why),
	    0);
	assert_int_equal(store_member_add(rig->store, "Vault",
			     "sip:ann@" DOMAIN, "uid:0", why, sizeof why),
	    0);
	return rig;
}

/* The same with a keeper that has all of that in the journal. */
static inline struct rig *
rig_ready(void)
{
	struct rig *rig = rig_new();

	keeper_attach(rig);
	keeper_live(rig, true);
	keeper_store_all(rig);
	assert_int_equal(rig->count, 7);
	assert_int_equal(rig->ready, 1);
	return rig;
}

static inline void
rig_free(struct rig *rig)
{
	char name[160];

	rig_stop(rig);
	for (size_t i = 0; i < rig->count; i++) {
		free(rig->events[i].envelope);
		free(rig->events[i].content);
	}
	free(rig->events);
	free(rig->conf.domain);
	unlink(rig->path);
	(void)snprintf(name, sizeof name, "%s-wal", rig->path);
	unlink(name);
	(void)snprintf(name, sizeof name, "%s-shm", rig->path);
	unlink(name);
	free(rig);
}

static inline struct session *
sign_in(struct rig *rig, const char *user, const char *device)
{
	struct session *s = calloc(1, sizeof *s);

	assert_non_null(s);
	s->id = (struct session_identity){.user = user,
	    .name = "Name",
	    .device = device,
	    .auth = "digest-sha256",
	    .via = "tcp",
	    .peer = "127.0.0.1:4000"};
	chat_opened(rig->chat, s);
	assert_non_null(s->state);
	return s;
}

/* Outcomes for all that was sent and has none yet. */
static inline size_t
answer(struct rig *rig, struct session *s, enum session_outcome outcome)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (s->sent[i].room == 0)
			continue;
		chat_outcome(
		    rig->chat, s, s->sent[i].room, s->sent[i].number, outcome);
		s->sent[i].room = 0;
		n++;
	}
	return n;
}

static inline void
forget_sent(struct session *s)
{
	for (size_t i = 0; i < s->count; i++) {
		assert_int_equal(s->sent[i].room, 0);
		message_drop(s->sent[i].message);
	}
	s->count = 0;
}

/* SIP tells what it knows of the copies before it ends the session. */
static inline void
sign_out(struct rig *rig, struct session *s, enum session_end why)
{
	answer(rig, s, SESSION_GONE);
	chat_gone(rig->chat, s, why);
	assert_null(s->state);
	forget_sent(s);
	free(s->sent);
	free(s);
}

static inline void
info(struct rig *rig, struct session *s, struct request *r, const char *text)
{
	*r = (struct request){0};
	(void)snprintf(r->id, sizeof r->id, "call-%s 7", s->id.device);
	chat_info(rig->chat, s, r, view_text(text));
}

/* A command, whose INFO must be answered 200 at once. */
static inline void
command(struct rig *rig, struct session *s, const char *name, const char *data)
{
	struct request r;
	char text[8192];

	(void)snprintf(text, sizeof text,
	    XML_OPEN "<cmd id=\"cmd:%s\" seqid=\"1\"><data>%s</data></cmd>"
		     "</xccos>",
	    name, data);
	info(rig, s, &r, text);
	assert_int_equal(r.status, 200);
}

#define CHANID(guid)                                                           \
	"<chanid key=\"0\" domain=\"" DOMAIN "\" value=\"" guid "\"/>"
#define CHANIB(uri) "<chanib uri=\"" uri "\"/>"

static inline void
post(struct rig *rig, struct session *s, struct request *r, const char *room,
    const char *text)
{
	char body[4096];

	(void)snprintf(body, sizeof body,
	    XML_OPEN
	    "<grpchat id=\"grpchat\" seqid=\"1\" chanUri=\"%s\""
	    " author=\"sip:somebody@else\" ts=\"1999-01-01T00:00:00Z\">"
	    "<chat>%s</chat></grpchat></xccos>",
	    room, text);
	info(rig, s, r, body);
}

static inline void
join(struct rig *rig, struct session *s, const char *guid)
{
	char data[256];

	(void)snprintf(data, sizeof data,
	    "<chanid key=\"0\" domain=\"" DOMAIN "\" value=\"%s\"/>", guid);
	command(rig, s, "join", data);
	keeper_store_all(rig);
}

static inline const char *
last_sent(const struct session *s)
{
	return s->count == 0 ? "" : s->sent[s->count - 1].message->text;
}

static inline void
assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", text, part);
}

static inline void
assert_lacks(const char *text, const char *part)
{
	if (strstr(text, part) != NULL)
		fail_msg("\"%s\" has \"%s\"", text, part);
}

/* How many of the bodies sent hold the text. */
static inline size_t
count_sent(const struct session *s, const char *part)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += strstr(s->sent[i].message->text, part) != NULL;
	return n;
}

static inline const struct event *
last_event(const struct rig *rig)
{
	assert_true(rig->count > 0);
	return &rig->events[rig->count - 1];
}

static inline size_t
count_events(const struct rig *rig, unsigned kind)
{
	size_t n = 0;

	for (size_t i = 0; i < rig->count; i++)
		n += rig->events[i].kind == kind;
	return n;
}

static inline int
rig_make_folder(void **state)
{
	(void)state;
	crypto_init();
	log_init("test", LOG_LEVEL_ERROR);
	return mkdtemp(rig_folder) == NULL;
}

static inline int
rig_remove_folder(void **state)
{
	(void)state;
	assert_int_equal(messages_alive, 0);
	return rmdir(rig_folder);
}

#endif
