#ifndef TESTS_UNIT_JOURNAL_FIXTURE_H
#define TESTS_UNIT_JOURNAL_FIXTURE_H

/* A journal of its own for each test, and what tests do to it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/db.h"
#include "base/file.h"
#include "base/text.h"

#include "compliance/cosign.h"
#include "compliance/event.h"
#include "compliance/hold.h"
#include "compliance/journal.h"
#include "compliance/note.h"
#include "compliance/scan.h"
#include "compliance/schema.h"
#include "compliance/tree.h"

#define ORIGIN "example.test/journal/0a1b2c3d"
#define UUID "0a1b2c3d-0000-4000-8000-000000000001"

/* The fields of a policy record after the first two. */
#define POLICY_REST "approvals 0\nquorum 0\nwitnesses -\nstamp no\nclasses -\n"

struct fixture {
	char dir[64];
	char path[96];
	char vkey[256];
	struct crypto_key *key;
	struct journal *j;
};

static inline void
new_fixture(struct fixture *f)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {1, 2, 3};
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct buf vkey;
	char why[256];

	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof f->path, "%s/journal.db", f->dir);
	f->key = crypto_key_new(seed);
	assert_non_null(f->key);
	crypto_key_public(f->key, public);
	buf_init(&vkey);
	note_put_vkey(&vkey, view_text(ORIGIN), public);
	(void)snprintf(f->vkey, sizeof f->vkey, "%s", buf_text(&vkey));
	buf_release(&vkey);
	assert_int_equal(
	    journal_create(f->path, UUID, ORIGIN, f->vkey, why, sizeof why), 0);
	f->j = journal_open(f->path, why, sizeof why);
	assert_non_null(f->j);
}

static inline void
reopen(struct fixture *f)
{
	char why[256] = "";

	journal_close(f->j);
	f->j = journal_open(f->path, why, sizeof why);
	if (f->j == NULL)
		fail_msg("%s", why);
}

static inline void
end_fixture(struct fixture *f)
{
	static const char *const names[] = {
	    "journal.db", "journal.db-wal", "journal.db-shm", "copy.db"};
	char name[128];

	journal_close(f->j);
	crypto_key_free(f->key);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(name, sizeof name, "%s/%s", f->dir, names[i]);
		(void)unlink(name);
	}
	assert_int_equal(rmdir(f->dir), 0);
}

/* Appends `count` posts of two parts in one group. */
static inline void
append_posts(struct fixture *f, size_t count)
{
	struct journal_event *e = calloc(count, sizeof *e);

	assert_non_null(e);
	for (size_t i = 0; i < count; i++) {
		e[i].kind = EVENT_POST;
		e[i].parts = 2;
		e[i].part[0] = view_text(
		    "{\"v\":1,\"type\":\"post\",\"id\":\"0a0b0c0d-1\"}");
		e[i].part[1] = view_text("{\"v\":1,\"text\":\"CANARY-93b1\"}");
	}
	assert_int_equal(journal_append(f->j, e, count), 0);
	free(e);
}

static inline int
append_text(struct fixture *f, unsigned kind, const char *fields,
    struct journal_event *out)
{
	struct journal_event e = {.kind = kind, .fields = view_text(fields)};
	int r = journal_append(f->j, &e, 1);

	if (out != NULL)
		*out = e;
	return r;
}

static inline void
sign_head(struct fixture *f, bool publish)
{
	struct buf body, note;
	uint8_t root[32];

	buf_init(&body);
	buf_init(&note);
	journal_root(f->j, root);
	note_put_body(&body, view_text(ORIGIN), journal_size(f->j), root);
	assert_true(
	    note_sign(&note, buf_view(&body), view_text(ORIGIN), f->key));
	journal_note(f->j, journal_size(f->j), buf_view(&note), publish);
	assert_int_equal(journal_store_note(f->j), 0);
	buf_release(&note);
	buf_release(&body);
}

static inline int
append_batch(struct fixture *f, const char *adapter, unsigned n, unsigned first,
    unsigned last)
{
	uint8_t root[32];
	char fields[512];
	struct buf b64;
	int r;

	buf_init(&b64);
	journal_root(f->j, root);
	text_put_base64(&b64, root, sizeof root);
	(void)snprintf(fields, sizeof fields,
	    "adapter %s\nbatch %u\nfirst %u\nlast %u\ncount %u\nsize %u\n"
	    "root %s\n",
	    adapter, n, first, last, last - first + 1,
	    (unsigned)journal_size(f->j), buf_text(&b64));
	buf_release(&b64);
	r = append_text(f, EVENT_BATCH, fields, NULL);
	return r;
}

static inline int
append_ack(struct fixture *f, const char *adapter, unsigned n, unsigned first,
    unsigned last, const char *state)
{
	char fields[512];

	(void)snprintf(fields, sizeof fields,
	    "adapter %s\nbatch %u\nfirst %u\nlast %u\nstate %s\n"
	    "location a%%20b.xml\nsha256 -\nbytes 12\nreadback yes\n",
	    adapter, n, first, last, state);
	return append_text(f, EVENT_ACK, fields, NULL);
}

/* A key of a witness; the same name may have had another. */
static inline struct crypto_key *
witness_key(uint8_t which)
{
	const uint8_t seed[CRYPTO_SEED_LEN] = {'w', which};
	struct crypto_key *key = crypto_key_new(seed);

	assert_non_null(key);
	return key;
}

/* Freed by the caller. */
static inline char *
witness_vkey(const char *name, uint8_t which)
{
	struct crypto_key *key = witness_key(which);
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct buf vkey;
	char *text;

	buf_init(&vkey);
	crypto_key_public(key, public);
	cosign_put_vkey(&vkey, view_text(name), public);
	text = view_dup(buf_view(&vkey));
	assert_non_null(text);
	buf_release(&vkey);
	crypto_key_free(key);
	return text;
}

/* A cosignature of the checkpoint of that size, of which nobody judges more. */
static inline void
store_cosig(struct fixture *f, uint64_t size, const char *name, uint8_t which)
{
	struct crypto_key *key = witness_key(which);
	struct buf line;

	buf_init(&line);
	assert_true(cosign_put_line(
	    &line, view_text(""), view_text(name), 1795335000, key));
	assert_int_equal(journal_evidence(f->j,
			     &(struct journal_evidence){size, view_text(name),
				 1795335000, buf_view(&line)}),
	    0);
	buf_release(&line);
	crypto_key_free(key);
}

static inline const struct holds *
get_holds(void *db)
{
	static struct holds holds;

	assert_int_equal(holds_read(&holds, db, HOLDS_NOW), 0);
	return &holds;
}

/* What the triggers ask is there, and nothing else of the gate. */
static inline sqlite3 *
open_raw(struct fixture *f)
{
	char why[256];
	sqlite3 *db = db_open(f->path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);

	assert_non_null(db);
	assert_int_equal(holds_fence(db, get_holds, db), 0);
	return db;
}

/* By the fence that says so, and not for another reason. */
static inline void
refused(sqlite3 *db, const char *why, const char *sql)
{
	if (db_exec(db, sql) == 0)
		fail_msg("not refused: %s", sql);
	if (strcmp(sqlite3_errmsg(db), why) != 0)
		fail_msg("%s: %s, not %s", sql, sqlite3_errmsg(db), why);
	if (sqlite3_get_autocommit(db) == 0)
		assert_int_equal(db_exec(db, "ROLLBACK"), 0);
}

/* Reads everything back and checks it by the definitions. */
static inline void
check_all(struct fixture *f, uint64_t want_size)
{
	struct scan_record r;
	char why[256];
	struct scan *s = scan_open(f->path, false, why, sizeof why);
	uint64_t seq = 0, before = 0;
	int got;

	assert_non_null(s);
	assert_int_equal(scan_size(s), want_size);
	assert_int_equal(scan_seek(s, 0), 0);
	while ((got = scan_next(s, &r)) == 1) {
		struct leaf leaf;
		const char *reason = "";

		assert_int_equal(r.seq, seq);
		assert_true(r.at > before);
		before = r.at;
		if (!leaf_parse(r.leaf, &leaf, &reason))
			fail_msg("%s", reason);
		assert_int_equal(leaf.head.seq, seq);
		assert_int_equal(leaf.head.at, r.at);
		assert_int_equal(leaf.parts, r.parts);
		for (unsigned i = 0; i < r.parts && !r.purged; i++) {
			uint8_t commitment[32];

			leaf_commit(
			    r.part[i].salt.p, r.part[i].data, commitment);
			assert_memory_equal(commitment, leaf.commitment[i], 32);
		}
		seq++;
	}
	assert_int_equal(got, 0);
	assert_int_equal(seq, want_size);
	scan_close(s);
}

/* 0 when they were purged, at once; only the adapter "records" is required. */
static inline int
purge_ranges(struct fixture *f, const struct range *ranges, size_t count,
    unsigned approvals)
{
	static const char *const required[] = {"records"};
	const struct conf conf = {.purge_approvals = approvals};
	const struct journal_purge p = {.ranges = ranges,
	    .count = count,
	    .applied = UINT64_MAX,
	    .conf = &conf,
	    .required = required,
	    .required_count = 1};
	struct journal_event e;

	return journal_purge(f->j, &p, &e);
}

static inline int
purge_range(struct fixture *f, uint64_t first, uint64_t last)
{
	const struct range r = {first, last};

	return purge_ranges(f, &r, 1, 0);
}

#endif
