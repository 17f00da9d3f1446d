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

#include "base/crypto.h"
#include "base/db.h"
#include "base/file.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/note.h"
#include "compliance/scan.h"
#include "compliance/schema.h"
#include "compliance/tree.h"

#define ORIGIN "example.test/journal/0a1b2c3d"
#define UUID "0a1b2c3d-0000-4000-8000-000000000001"

struct fixture {
	char dir[64];
	char path[96];
	char vkey[256];
	struct crypto_key *key;
	struct journal *j;
};

static void
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

static void
reopen(struct fixture *f)
{
	char why[256] = "";

	journal_close(f->j);
	f->j = journal_open(f->path, why, sizeof why);
	if (f->j == NULL)
		fail_msg("%s", why);
}

static void
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
static void
append_posts(struct fixture *f, size_t count)
{
	struct journal_event *e = calloc(count, sizeof *e);

	assert_non_null(e);
	for (size_t i = 0; i < count; i++) {
		e[i].kind = EVENT_POST;
		e[i].parts = 2;
		e[i].part[0] = view_text("{\"v\":1,\"type\":\"post\"}");
		e[i].part[1] = view_text("{\"v\":1,\"text\":\"CANARY-93b1\"}");
	}
	assert_int_equal(journal_append(f->j, e, count), 0);
	free(e);
}

static int
append_text(struct fixture *f, unsigned kind, const char *fields,
    struct journal_event *out)
{
	struct journal_event e = {.kind = kind, .fields = view_text(fields)};
	int r = journal_append(f->j, &e, 1);

	if (out != NULL)
		*out = e;
	return r;
}

static void
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

static int
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

static int
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

static sqlite3 *
open_raw(struct fixture *f)
{
	char why[256];
	sqlite3 *db = db_open(f->path, DB_WRITE, DB_SYNC_FULL, why, sizeof why);

	assert_non_null(db);
	return db;
}

static void
refused(sqlite3 *db, const char *sql)
{
	if (db_exec(db, sql) == 0)
		fail_msg("not refused: %s", sql);
	if (sqlite3_get_autocommit(db) == 0)
		assert_int_equal(db_exec(db, "ROLLBACK"), 0);
}

static void
creation_makes_an_empty_journal(void **state)
{
	struct fixture f;
	uint8_t root[32], empty[32];
	struct stat st;
	char why[256];

	(void)state;
	new_fixture(&f);
	assert_int_equal(journal_size(f.j), 0);
	journal_root(f.j, root);
	tree_empty_root(empty);
	assert_memory_equal(root, empty, 32);
	assert_string_equal(journal_uuid(f.j), UUID);
	assert_string_equal(journal_origin(f.j), ORIGIN);
	assert_string_equal(journal_vkey(f.j), f.vkey);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(
	    journal_create(f.path, UUID, ORIGIN, f.vkey, why, sizeof why), -1);
	(void)unlink("/tmp/chancery-test-none.db");
	assert_int_equal(journal_create("/tmp/chancery-test-none.db", "x",
			     ORIGIN, f.vkey, why, sizeof why),
	    -1);
	assert_int_equal(journal_create("/tmp/chancery-test-none.db", UUID,
			     "other", f.vkey, why, sizeof why),
	    -1);
	assert_int_equal(access("/tmp/chancery-test-none.db", F_OK), -1);
	end_fixture(&f);
}

/* Reads everything back and checks it by the definitions. */
static void
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

static void
records_come_back_as_they_were(void **state)
{
	struct fixture f;
	uint8_t root[32], again[32];

	(void)state;
	new_fixture(&f);
	append_posts(&f, 1);
	append_posts(&f, 700);
	assert_int_equal(append_text(&f, EVENT_BEAT, "", NULL), 0);
	append_posts(&f, 3);
	check_all(&f, 705);
	journal_root(f.j, root);
	reopen(&f);
	assert_int_equal(journal_size(f.j), 705);
	journal_root(f.j, again);
	assert_memory_equal(root, again, 32);
	append_posts(&f, 512);
	reopen(&f);
	append_posts(&f, 1);
	check_all(&f, 1218);
	end_fixture(&f);
}

static void
bytes_and_limits(void **state)
{
	static uint8_t large[1U << 20];
	struct journal_event e = {.kind = EVENT_POST, .parts = LEAF_PARTS_MAX};
	struct scan_record r;
	struct fixture f;
	struct scan *s;
	char why[256];

	(void)state;
	new_fixture(&f);
	for (size_t i = 0; i < sizeof large; i++)
		large[i] = (uint8_t)i;
	for (unsigned i = 0; i < LEAF_PARTS_MAX; i++)
		e.part[i] = view_of(large,
		    i == 3       ? sizeof large
			: i == 4 ? 0
				 : i);
	assert_int_equal(journal_append(f.j, &e, 1), 0);
	assert_int_equal(e.seq, 0);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.parts, LEAF_PARTS_MAX);
	assert_false(r.purged);
	assert_int_equal(r.part[3].data.n, sizeof large);
	assert_memory_equal(r.part[3].data.p, large, sizeof large);
	assert_int_equal(r.part[4].data.n, 0);
	assert_int_equal(r.part[7].data.n, 7);
	/* Salts differ from part to part. */
	for (unsigned i = 1; i < LEAF_PARTS_MAX; i++)
		assert_memory_not_equal(r.part[i].salt.p, r.part[0].salt.p, 32);
	assert_int_equal(scan_next(s, &r), 0);
	scan_close(s);
	check_all(&f, 1);
	end_fixture(&f);
}

static void
no_row_can_be_changed(void **state)
{
	static const char *const attempts[] = {"UPDATE leaf SET bytes = x'00'",
	    "UPDATE leaf SET seq = seq + 1000", "DELETE FROM leaf",
	    "DELETE FROM leaf WHERE seq = 2",
	    "REPLACE INTO leaf(seq, at, kind, bytes) VALUES (0, 1, 3, x'00')",
	    "INSERT INTO leaf(seq, at, kind, bytes) VALUES (0, 1, 3, x'00')"
	    " ON CONFLICT DO UPDATE SET bytes = x'00'",
	    "INSERT INTO leaf(seq, at, kind, bytes) VALUES (9999, 1, 3, x'00')",
	    "INSERT INTO leaf(seq, at, kind, bytes) VALUES (-1, 1, 3, x'00')",
	    "INSERT INTO leaf(at, kind, bytes) VALUES (1, 3, x'00')",
	    "INSERT OR IGNORE INTO leaf(seq, at, kind, bytes)"
	    " VALUES (5, 1, 3, x'00')",
	    "UPDATE body SET data = x'00'", "DELETE FROM body",
	    "DELETE FROM body WHERE id = 256",
	    "REPLACE INTO body(id, salt, data)"
	    " VALUES (256, zeroblob(32), x'00')",
	    "INSERT INTO body(id, salt, data) VALUES (7, zeroblob(32), x'00')",
	    "INSERT INTO body(id, salt, data)"
	    " VALUES (2560000, zeroblob(32), x'00')",
	    "INSERT INTO body(salt, data) VALUES (zeroblob(32), x'00')",
	    "UPDATE tile SET data = zeroblob(8192)", "DELETE FROM tile",
	    "REPLACE INTO tile(level, idx, data)"
	    " VALUES (0, 0, zeroblob(8192))",
	    "INSERT INTO tile(level, idx, data) VALUES (0, 5, zeroblob(8192))",
	    "INSERT INTO tile(level, idx, data) VALUES (1, 0, zeroblob(32))",
	    "UPDATE head SET size = 3", "UPDATE head SET size = 3000",
	    "DELETE FROM head",
	    "INSERT INTO head(id, size, root) VALUES (2, 0, zeroblob(32))",
	    "REPLACE INTO head(id, size, root) VALUES (1, 3, zeroblob(32))",
	    "UPDATE checkpoint SET note = x'00'", "DELETE FROM checkpoint",
	    "INSERT INTO checkpoint(size, note) VALUES (1, x'00')",
	    "INSERT INTO checkpoint(size, note) VALUES (100000, x'00')",
	    "UPDATE batch SET last = 500", "DELETE FROM batch",
	    "INSERT INTO batch(adapter, n, first, last, seq)"
	    " VALUES ('records', 3, 10, 20, 40)",
	    "INSERT INTO batch(adapter, n, first, last, seq)"
	    " VALUES ('records', 2, 12, 20, 40)",
	    "INSERT INTO batch(adapter, n, first, last, seq)"
	    " VALUES ('records', 2, 10, 99999, 40)",
	    "UPDATE ack SET state = 'stored'", "DELETE FROM ack",
	    "REPLACE INTO ack(adapter, n, state, seq)"
	    " VALUES ('records', 1, 'stored', 302)",
	    "INSERT INTO ack(adapter, n, state, seq)"
	    " VALUES ('records', 2, 'stored', 302)",
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 9, 1, 302)",
	    "UPDATE meta SET value = 'x'", "DELETE FROM meta",
	    "INSERT INTO meta(name, value) VALUES ('more', 'x')",
	    "REPLACE INTO meta(name, value) VALUES ('origin', 'x')"};
	struct fixture f;
	uint8_t root[32], again[32];
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 300);
	assert_int_equal(
	    append_text(&f, EVENT_POLICY, "required records\nafter 0\n", NULL),
	    0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "sent"), 0);
	sign_head(&f, true);
	journal_root(f.j, root);
	db = open_raw(&f);
	for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
		refused(db, attempts[i]);
	db_close(db);
	reopen(&f);
	journal_root(f.j, again);
	assert_memory_equal(root, again, 32);
	check_all(&f, 303);
	end_fixture(&f);
}

static void
an_altered_file_is_not_opened(void **state)
{
	struct fixture f;
	char why[256] = "";
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 20);
	journal_close(f.j);
	db = open_raw(&f);
	assert_int_equal(db_exec(db, "DROP TRIGGER leaf_update"), 0);
	assert_int_equal(db_exec(db,
			     "UPDATE leaf SET bytes = CAST(replace(CAST(bytes "
			     "AS TEXT), 'leaf/1 7 3', 'leaf/1 7 2') AS BLOB)"),
	    0);
	db_close(db);
	f.j = journal_open(f.path, why, sizeof why);
	assert_null(f.j);
	assert_non_null(strstr(why, "altered or damaged"));
	end_fixture(&f);
}

static void
batches_and_acks_are_checked(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan_cursor c;
	struct scan *s;
	char why[256];
	uint8_t zero[32] = {0};
	char fields[256];
	struct buf b64;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 50);
	assert_int_equal(append_batch(&f, "records", 2, 0, 9), 1);
	assert_int_equal(append_batch(&f, "records", 1, 1, 9), 1);
	assert_int_equal(append_batch(&f, "records", 1, 0, 50), 1);
	assert_int_equal(append_batch(&f, "Records", 1, 0, 9), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 1);
	assert_int_equal(append_text(&f, EVENT_BATCH, "", NULL), 1);
	assert_int_equal(
	    append_text(&f, EVENT_BATCH, "adapter records\n", NULL), 1);
	buf_init(&b64);
	text_put_base64(&b64, zero, sizeof zero);
	(void)snprintf(fields, sizeof fields,
	    "adapter records\nbatch 1\nfirst 0\nlast 9\ncount 10\nsize 50\n"
	    "root %s\n",
	    buf_text(&b64));
	assert_int_equal(append_text(&f, EVENT_BATCH, fields, NULL), 1);
	assert_non_null(strstr(journal_error(f.j), "root"));
	buf_release(&b64);
	assert_true(journal_writable(f.j));
	assert_int_equal(journal_size(f.j), 50);

	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 9), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 8, "stored"), 1);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "kept"), 1);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_cursor(s, "records", &c), 0);
	assert_int_equal(c.acked_n, 0);
	assert_int_equal(c.next, 0);
	assert_int_equal(c.open_n, 1);
	assert_int_equal(c.open_first, 0);
	assert_int_equal(c.open_last, 9);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 9, "stored"), 1);
	assert_int_equal(append_batch(&f, "records", 2, 10, 51), 0);
	assert_int_equal(scan_cursor(s, "records", &c), 0);
	assert_int_equal(c.acked_n, 1);
	assert_int_equal(c.next, 10);
	assert_int_equal(c.open_n, 2);
	assert_int_equal(c.open_last, 51);
	assert_int_equal(scan_seek(s, 51), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(c.acked_at, r.at);
	assert_int_equal(scan_cursor(s, "other", &c), 0);
	assert_int_equal(c.open_n, 0);
	assert_int_equal(c.acked_at, 0);
	scan_close(s);
	check_all(&f, 53);
	end_fixture(&f);
}

static unsigned
count_bytes(const char *path, const char *needle)
{
	struct buf b;
	unsigned n = 0;
	size_t at = 0;

	buf_init(&b);
	if (access(path, F_OK) == 0)
		assert_int_equal(file_read(path, 64U << 20, &b), 0);
	while (at < b.len) {
		uint8_t *p =
		    memmem(b.data + at, b.len - at, needle, strlen(needle));

		if (p == NULL)
			break;
		n++;
		at = (size_t)(p - b.data) + 1;
	}
	buf_release(&b);
	return n;
}

static int
purge(struct fixture *f, uint64_t first, uint64_t last, uint64_t applied,
    int64_t after)
{
	static const char *const required[] = {"records", "vault"};
	const struct journal_purge p = {.first = first,
	    .last = last,
	    .applied = applied,
	    .after_s = after,
	    .required = required,
	    .required_count = 2};
	struct journal_event e;

	return journal_purge(f->j, &p, &e);
}

static void
purge_only_what_is_stored(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan *s;
	char why[256], wal[128];
	uint8_t root[32], digest[32];
	struct crypto_hash *h = crypto_hash_new();
	struct buf hex;

	(void)state;
	new_fixture(&f);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.path);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records,vault\nafter 0\n", NULL),
	    0);
	append_posts(&f, 999);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* no batch */
	assert_int_equal(append_batch(&f, "records", 1, 0, 299), 0);
	assert_int_equal(append_batch(&f, "records", 2, 300, 599), 0);
	assert_int_equal(append_batch(&f, "vault", 1, 0, 999), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 299, "stored"), 0);
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 299, 1000, 0), 1); /* vault has not */
	assert_non_null(strstr(journal_error(f.j), "vault"));
	assert_int_equal(append_ack(&f, "vault", 1, 0, 999, "stored"), 0);
	assert_int_equal(purge(&f, 0, 299, 1000, 0), 1); /* not signed */
	assert_non_null(strstr(journal_error(f.j), "signature"));
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* batch 2 is open */
	assert_non_null(strstr(journal_error(f.j), "batch 2"));
	assert_int_equal(append_ack(&f, "records", 2, 300, 599, "accepted"), 0);
	sign_head(&f, true);
	assert_int_equal(purge(&f, 0, 499, 1000, 0), 1); /* only accepted */
	assert_int_equal(purge(&f, 300, 400, 1000, 0), 1);
	assert_int_equal(purge(&f, 0, 299, 299, 0), 1);     /* not applied */
	assert_int_equal(purge(&f, 0, 299, 1000, 3600), 1); /* too early */
	assert_int_equal(purge(&f, 0, 299, 1000, -1), 1);   /* never */
	assert_int_equal(purge(&f, 9, 8, 1000, 0), 1);
	assert_int_equal(purge(&f, 0, 10000, 20000, 0), 1);
	assert_int_equal(purge(&f, 0, 900, 100000, 0), 1);
	assert_true(count_bytes(f.path, "CANARY-93b1") +
		count_bytes(wal, "CANARY-93b1") >=
	    999);

	assert_int_equal(purge(&f, 0, 299, 1000, 0), 0);
	assert_int_equal(purge(&f, 299, 299, 1000, 0), 1); /* twice */
	assert_int_equal(journal_truncate(f.j), 0);
	/* Only the bodies of 300 to 999 are left, in the file and in its WAL. */
	assert_int_equal(count_bytes(f.path, "CANARY-93b1"), 700);
	assert_int_equal(count_bytes(wal, "CANARY-93b1"), 0);
	journal_root(f.j, root);

	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_purged_to(s), 300);
	for (uint64_t i = 0; i < 300; i++) {
		uint8_t leaf[32];

		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.purged, i > 0);
		tree_leaf_hash(r.leaf.p, r.leaf.n, leaf);
		crypto_hash_add(h, leaf, sizeof leaf);
	}
	assert_int_equal(scan_next(s, &r), 1);
	assert_false(r.purged);
	crypto_hash_get(h, digest);
	buf_init(&hex);
	buf_put_text(&hex, "purge 1\nfirst 0\nlast 299\ncount 299\nleaves ");
	text_put_hex(&hex, digest, sizeof digest);
	buf_put_text(&hex, "\nacks records:1003,vault:1004\n");
	assert_int_equal(scan_seek(s, journal_size(f.j) - 1), 0);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_PURGE);
	assert_int_equal(count_bytes(f.path, buf_text(&hex)), 1);
	buf_release(&hex);
	scan_close(s);
	crypto_hash_free(h);
	reopen(&f);
	check_all(&f, 1007);
	end_fixture(&f);
}

/* With the statements of the gate out of the way, the triggers still hold. */
static void
triggers_guard_the_purge(void **state)
{
	struct fixture f;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 100);
	assert_int_equal(append_text(&f, EVENT_POLICY,
			     "required records,vault\nafter 0\n", NULL),
	    0);
	assert_int_equal(append_batch(&f, "records", 1, 0, 49), 0);
	assert_int_equal(append_batch(&f, "vault", 1, 0, 99), 0);
	assert_int_equal(append_ack(&f, "records", 1, 0, 49, "stored"), 0);
	append_posts(&f, 1);
	db = open_raw(&f);
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 1, 104)");
	db_close(db);
	assert_int_equal(append_ack(&f, "vault", 1, 0, 99, "stored"), 0);
	append_posts(&f, 1);
	db = open_raw(&f);
	/* Beyond the ack, before the ack, out of number, backwards. */
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 50, 1, 106)");
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 1, 105)");
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 2, 106)");
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (49, 0, 1, 106)");
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (-5, 49, 1, 106)");
	assert_int_equal(db_exec(db,
			     "INSERT INTO purge_range(first, last, n, seq)"
			     " VALUES (10, 29, 1, 106)"),
	    0);
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (29, 40, 2, 106)");
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 49, 2, 106)");
	refused(db, "UPDATE purge_range SET last = 99");
	refused(db, "DELETE FROM purge_range");
	refused(db, "DELETE FROM body WHERE id >= 9 << 8 AND id < 10 << 8");
	refused(db, "DELETE FROM body WHERE id >= 30 << 8 AND id < 31 << 8");
	refused(db, "DELETE FROM body WHERE id >= 10 << 8 AND id < 31 << 8");
	assert_int_equal(db_exec(db,
			     "DELETE FROM body WHERE id >= 10 << 8"
			     " AND id < 30 << 8"),
	    0);
	assert_int_equal(sqlite3_changes(db), 40);
	/* A purged body never comes back. */
	refused(db,
	    "INSERT INTO body(id, salt, data)"
	    " VALUES (2560, zeroblob(32), x'00')");
	db_close(db);
	end_fixture(&f);
}

/* No policy record: nothing is required, so nothing may go. */
static void
no_policy_no_purge(void **state)
{
	struct fixture f;
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	append_posts(&f, 10);
	db = open_raw(&f);
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 4, 1, 9)");
	db_close(db);
	assert_int_equal(
	    append_text(&f, EVENT_POLICY, "required -\nafter 0\n", NULL), 0);
	append_posts(&f, 1);
	db = open_raw(&f);
	refused(db,
	    "INSERT INTO purge_range(first, last, n, seq)"
	    " VALUES (0, 4, 1, 11)");
	db_close(db);
	end_fixture(&f);
}

static void
the_gate_is_sealed(void **state)
{
	struct fixture f;
	struct journal_event e = {.kind = EVENT_BEAT};

	(void)state;
	new_fixture(&f);
	assert_int_equal(journal_append(f.j, &e, 1), 0);
	assert_int_equal(journal_wal_pages(f.j) > 0, 1);
	assert_int_equal(journal_checkpoint(f.j), 0);
	assert_int_equal(journal_truncate(f.j), 0);
	end_fixture(&f);
}

static void
proofs_of_the_journal(void **state)
{
	struct fixture f;
	uint8_t root[3][32], got[32], now[32];
	uint64_t size[3];
	struct buf proof, left, right;
	struct scan *s;
	char why[256];

	(void)state;
	new_fixture(&f);
	buf_init(&proof);
	buf_init(&left);
	buf_init(&right);
	for (unsigned i = 0; i < 3; i++) {
		append_posts(&f, i == 0 ? 1 : 300);
		size[i] = journal_size(f.j);
		journal_root(f.j, root[i]);
	}
	append_posts(&f, 70);
	for (unsigned round = 0; round < 2; round++) {
		journal_root(f.j, now);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(journal_root_at(f.j, size[i], got), 0);
			assert_memory_equal(got, root[i], 32);
			buf_clear(&proof);
			assert_int_equal(
			    journal_proof(f.j, size[i], &proof), 0);
			assert_true(tree_consistency_check(size[i], root[i],
			    journal_size(f.j), now, buf_view(&proof)));
		}
		assert_int_equal(journal_root_at(f.j, 9999, got), -1);
		reopen(&f);
	}
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	for (uint64_t n = 1; n <= 671; n += 67) {
		assert_int_equal(
		    scan_range_proof(s, n / 2, n - 1, n, &left, &right, got),
		    0);
		assert_int_equal(journal_root_at(f.j, n, now), 0);
		assert_memory_equal(got, now, 32);
		assert_int_equal(right.len, 0);
	}
	/* The journal grows under the reader's cached edge. */
	append_posts(&f, 400);
	buf_clear(&left);
	assert_int_equal(
	    scan_range_proof(s, 512, 767, 1071, &left, &right, got), 0);
	journal_root(f.j, now);
	assert_memory_equal(got, now, 32);
	assert_int_equal(left.len, 32);
	assert_int_equal(right.len, 32 * __builtin_popcount(1071 - 768));
	assert_int_equal(
	    scan_range_proof(s, 5, 1071, 1071, &left, &right, got), -1);
	assert_int_equal(
	    scan_range_proof(s, 5, 6, 1072, &left, &right, got), -1);
	scan_close(s);
	buf_release(&right);
	buf_release(&left);
	buf_release(&proof);
	end_fixture(&f);
}

static void
notes_and_times(void **state)
{
	struct fixture f;
	struct scan *s;
	struct scan_record r;
	uint64_t size, at;
	struct buf note;
	char why[256];
	sqlite3 *db;

	(void)state;
	new_fixture(&f);
	buf_init(&note);
	s = scan_open(f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_note(s, &size, &note), 0);
	assert_int_equal(size, 0);
	assert_int_equal(note.len, 0);
	append_posts(&f, 300);
	sign_head(&f, false);
	append_posts(&f, 10);
	assert_int_equal(scan_note(s, &size, &note), 0);
	assert_int_equal(size, 300);
	assert_true(note.len > 100);
	sign_head(&f, true);
	sign_head(&f, true);
	db = open_raw(&f);
	assert_int_equal(db_int(db, "SELECT COUNT(*) FROM checkpoint", 0), 1);
	assert_int_equal(db_int(db, "SELECT size FROM checkpoint", 0), 310);
	db_close(db);
	reopen(&f);
	assert_int_equal(journal_signed_size(f.j), 310);
	assert_string_equal(scan_meta(s, "origin"), ORIGIN);
	assert_null(scan_meta(s, "other"));
	for (uint64_t seq = 0; seq < 310; seq += 31) {
		assert_int_equal(scan_seek(s, seq), 0);
		assert_int_equal(scan_next(s, &r), 1);
		assert_int_equal(r.seq, seq);
		at = r.at;
		assert_int_equal(scan_find_time(s, at), seq);
		assert_int_equal(scan_find_time(s, at + 1), seq + 1);
	}
	assert_int_equal(scan_find_time(s, 0), 0);
	assert_int_equal(scan_find_time(s, UINT64_MAX), 310);
	assert_int_equal(scan_seek(s, 310), 0);
	assert_int_equal(scan_next(s, &r), 0);
	append_posts(&f, 1);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.seq, 310);
	scan_close(s);
	buf_release(&note);
	end_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(creation_makes_an_empty_journal),
	    cmocka_unit_test(records_come_back_as_they_were),
	    cmocka_unit_test(bytes_and_limits),
	    cmocka_unit_test(no_row_can_be_changed),
	    cmocka_unit_test(an_altered_file_is_not_opened),
	    cmocka_unit_test(batches_and_acks_are_checked),
	    cmocka_unit_test(purge_only_what_is_stored),
	    cmocka_unit_test(triggers_guard_the_purge),
	    cmocka_unit_test(no_policy_no_purge),
	    cmocka_unit_test(the_gate_is_sealed),
	    cmocka_unit_test(proofs_of_the_journal),
	    cmocka_unit_test(notes_and_times),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
