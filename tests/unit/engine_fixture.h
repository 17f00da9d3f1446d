#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

/*
 * What the engine's tests need around the parts under test: a real journal
 * in a folder of its own, and a keeper at the other end of a socket pair
 * that appends to it for real and signs every head.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/ipc.h"
#include "base/log.h"

#include "compliance/batch.h"
#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/keeper_link.h"
#include "compliance/note.h"
#include "compliance/wire.h"

/* The fields of a policy record after the first two. */
#define POLICY_REST "approvals 0\nquorum 0\nwitnesses -\nstamp no\nclasses -\n"

#define FIXTURE_ORIGIN "example.test/journal/0a1b2c3d"
#define FIXTURE_UUID "0a1b2c3d-0000-4000-8000-000000000001"
#define FIXTURE_WAIT_MS 60000

/* Plays the keeper: one loop with the engine's parts, one real journal. */
struct fixture {
	char dir[64];
	char journal_path[96];
	uv_loop_t loop;
	struct crypto_key *key;
	struct journal *journal;
	struct ipc *keeper_end; /* the keeper's side of the link */
	struct keeper_link *keeper;
	/* Orders to the keeper. */
	unsigned refuse;         /* so many requests, then well again */
	unsigned die_before;     /* the link goes before so many records */
	unsigned die_after;      /* the same, but recorded and not answered */
	bool unsigned_heads;     /* leave new heads without a note */
	const struct conf *conf; /* for purges */
	const char *required[4];
	size_t required_count;
	/* What it saw. */
	unsigned controls, purges;
	void (*up)(void *arg);
	void *up_arg;
};

static void fixture_link_keeper(struct fixture *f);

/* Signs the present head and stores the note. */
static inline void
fixture_sign(struct fixture *f)
{
	struct buf body, note;
	uint8_t root[32];

	buf_init(&body);
	buf_init(&note);
	journal_root(f->journal, root);
	note_put_body(
	    &body, view_text(FIXTURE_ORIGIN), journal_size(f->journal), root);
	assert_true(note_sign(
	    &note, buf_view(&body), view_text(FIXTURE_ORIGIN), f->key));
	journal_note(
	    f->journal, journal_size(f->journal), buf_view(&note), true);
	assert_int_equal(journal_store_note(f->journal), 0);
	buf_release(&body);
	buf_release(&note);
}

/* Appends n posts of so many bytes of text each, in groups, and signs. */
static inline void
fixture_posts(struct fixture *f, size_t n, size_t text_bytes)
{
	static char content[1 << 20];
	struct journal_event group[100];
	size_t at;

	assert_true(text_bytes + 64 < sizeof content);
	at = (size_t)snprintf(content, sizeof content, "{\"v\":1,\"text\":\"");
	memset(content + at, 'x', text_bytes);
	memcpy(content + at + text_bytes, "\"}", 3);
	while (n > 0) {
		size_t count = n < 100 ? n : 100;

		for (size_t i = 0; i < count; i++)
			group[i] = (struct journal_event){.kind = EVENT_POST,
			    .parts = 2,
			    .part = {view_text("{\"v\":1,\"type\":\"post\","
					       "\"name\":\"J\xc3\xb6rg "
					       "\\\"quoted\\\" \\n\"}"),
				view_text(content)}};
		assert_int_equal(journal_append(f->journal, group, count), 0);
		n -= count;
	}
	fixture_sign(f);
}

static inline void
fixture_control(struct fixture *f, unsigned kind, const char *fields)
{
	struct journal_event e = {.kind = kind, .fields = view_text(fields)};

	assert_int_equal(journal_append(f->journal, &e, 1), 0);
	fixture_sign(f);
}

/* A post that no note covers; for an adapter, batch 1 of all is cut then. */
static inline void
fixture_unsigned(struct fixture *f, const char *adapter)
{
	struct journal_event e = {
	    .kind = EVENT_POST, .parts = 1, .part = {view_text("{\"v\":1}")}};
	struct batch b = {.n = 1};
	struct buf fields;

	assert_int_equal(journal_append(f->journal, &e, 1), 0);
	if (adapter == NULL)
		return;
	buf_init(&fields);
	b.size = journal_size(f->journal);
	b.last = b.size - 1;
	journal_root(f->journal, b.root);
	batch_put_fields(&fields, &b, adapter);
	e = (struct journal_event){
	    .kind = EVENT_BATCH, .fields = buf_view(&fields)};
	assert_int_equal(journal_append(f->journal, &e, 1), 0);
	buf_release(&fields);
}

static inline void
fixture_answer(
    struct fixture *f, uint64_t ref, int result, uint64_t seq, uint64_t at)
{
	struct buf *b =
	    ipc_begin(f->keeper_end, result == 0 ? WIRE_RECEIPT : WIRE_REFUSED);

	if (result == 0) {
		buf_put_u32(b, 1);
		buf_put_u64(b, ref);
		buf_put_u64(b, seq);
		buf_put_u64(b, at);
	} else {
		buf_put_u64(b, ref);
		buf_put_text(b, journal_error(f->journal));
	}
	ipc_end(f->keeper_end);
}

static inline bool
fixture_obeys(struct fixture *f, uint64_t ref)
{
	if (f->refuse > 0) {
		struct buf *b = ipc_begin(f->keeper_end, WIRE_REFUSED);

		f->refuse--;
		buf_put_u64(b, ref);
		buf_put_text(b, "not now");
		ipc_end(f->keeper_end);
		return false;
	}
	if (f->die_before > 0) {
		f->die_before--;
		fixture_link_keeper(f);
		return false;
	}
	return true;
}

static inline void
fixture_on_control(struct fixture *f, struct reader *r)
{
	uint64_t ref = reader_u64(r);
	struct journal_event e = {.kind = reader_u8(r)};
	int result;

	e.fields = reader_rest(r);
	assert_true(reader_done(r));
	f->controls++;
	if (!fixture_obeys(f, ref))
		return;
	result = journal_append(f->journal, &e, 1);
	if (result == 0 && !f->unsigned_heads)
		fixture_sign(f);
	if (f->die_after > 0) {
		f->die_after--;
		fixture_link_keeper(f);
		return;
	}
	fixture_answer(f, ref, result, e.seq, e.at);
}

static inline void
fixture_on_purge(struct fixture *f, struct reader *r)
{
	uint64_t ref = reader_u64(r);
	struct range ranges[100];
	struct journal_purge p = {.ranges = ranges,
	    .applied = journal_size(f->journal),
	    .conf = f->conf,
	    .required = f->required,
	    .required_count = f->required_count};
	struct journal_event out;
	int result;

	while (r->n > 0 && p.count < 100) {
		ranges[p.count].first = reader_u64(r);
		ranges[p.count++].last = reader_u64(r);
	}
	assert_true(reader_done(r));
	f->purges++;
	if (!fixture_obeys(f, ref))
		return;
	result = journal_purge(f->journal, &p, &out);
	if (result == 0) {
		fixture_sign(f);
		(void)journal_truncate(f->journal); /* a reader may be on it */
	}
	fixture_answer(f, ref, result, out.seq, out.at);
}

static inline void
fixture_on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct fixture *f = arg;
	struct reader r = reader_of(payload);

	assert_int_equal(fd, -1);
	if (type == WIRE_CONTROL)
		fixture_on_control(f, &r);
	else if (type == WIRE_PURGE)
		fixture_on_purge(f, &r);
	else
		fail_msg("frame %u to the keeper", type);
}

static inline void
fixture_on_closed(void *arg, const char *why)
{
	struct fixture *f = arg;

	(void)why;
	ipc_free(f->keeper_end);
	f->keeper_end = NULL;
}

/* A new keeper process, as the parent would link it. */
static inline void
fixture_link_keeper(struct fixture *f)
{
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ipc_free(f->keeper_end);
	f->keeper_end =
	    ipc_new(&f->loop, pair[1], fixture_on_frame, fixture_on_closed, f);
	assert_non_null(f->keeper_end);
	keeper_link_attach(f->keeper, pair[0]);
}

static inline void
fixture_on_up(void *arg)
{
	struct fixture *f = arg;

	if (f->up != NULL)
		f->up(f->up_arg);
}

static inline void
fixture_init(struct fixture *f)
{
	uint8_t seed[CRYPTO_SEED_LEN], public[CRYPTO_PUBLIC_LEN];
	struct buf vkey;
	char why[256];

	memset(f, 0, sizeof *f);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(
	    f->journal_path, sizeof f->journal_path, "%s/journal.db", f->dir);
	crypto_random(seed, sizeof seed);
	f->key = crypto_key_new(seed);
	assert_non_null(f->key);
	crypto_key_public(f->key, public);
	buf_init(&vkey);
	note_put_vkey(&vkey, view_text(FIXTURE_ORIGIN), public);
	if (journal_create(f->journal_path, FIXTURE_UUID, FIXTURE_ORIGIN,
		buf_text(&vkey), why, sizeof why) != 0)
		fail_msg("%s", why);
	buf_release(&vkey);
	f->journal = journal_open(f->journal_path, why, sizeof why);
	if (f->journal == NULL)
		fail_msg("%s", why);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	f->keeper = keeper_link_new(&f->loop, fixture_on_up, f);
	assert_non_null(f->keeper);
	fixture_link_keeper(f);
}

/* After the parts under test are freed. */
static inline void
fixture_end(struct fixture *f)
{
	char *args[] = {(char *)"rm", (char *)"-rf", f->dir, NULL};
	uv_process_options_t o = {.file = "rm", .args = args};
	uv_process_t rm;

	keeper_link_free(f->keeper);
	ipc_free(f->keeper_end);
	journal_close(f->journal);
	crypto_key_free(f->key);
	assert_int_equal(uv_spawn(&f->loop, &rm, &o), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&rm, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static inline void
fixture_late(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Turns the loop until done(arg); false when that takes too long. */
static inline bool
fixture_run(
    struct fixture *f, bool (*done)(void *arg), void *arg, uint64_t limit_ms)
{
	bool late = false;
	uv_timer_t timer;

	(void)uv_timer_init(&f->loop, &timer);
	timer.data = &late;
	/* Repeated: a turn that begins with it would else wait for ever. */
	uv_update_time(&f->loop);
	(void)uv_timer_start(&timer, fixture_late, limit_ms, 20);
	while (!done(arg) && !late)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	return !late;
}

#endif
