/* The journal verifier against journals written by hand, and their forgery. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_run.h"

struct state {
	char folder[64];
	char small[128], large[128];
	struct fix fs, fl;
};

/* Twelve user events and a purge, everything in one partial tile. */
static void
make_small(struct fix *f)
{
	char acks[128];

	fix_init(f, 7);
	fix_open(f);
	fix_control(f, 134, "required records,xml\nafter 3\n" POLICY_REST);
	fix_join(f, "ann");
	fix_join(f, "bob");
	fix_post(f, "first words");
	fix_post(f, "second \\\"words\\\"");
	fix_batch(f, "records", 1, 0, 5);
	fix_batch(f, "xml", 1, 0, 5);
	fix_ack(f, "records", 1, 0, 5, "r-1.tar.zst",
	    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	    1234);
	fix_ack(f, "xml", 1, 0, 5, "x-1.xml",
	    "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	    4321);
	fix_post(f, "third");
	f->stored[f->stored_count++] = f->n;
	fix_post(f, "fourth");
	fix_post(f, "fifth");
	snprintf(acks, sizeof(acks), "records:8,xml:9");
	fix_purge(f, 1, 0, 5, acks);
	fix_post(f, "sixth");
	f->note_size = f->n;
	fix_post(f, "in the unsigned tail");
}

/* Enough for tiles of two levels: more than 65,536 records. */
static void
make_large(struct fix *f)
{
	fix_init(f, 7);
	fix_open(f);
	fix_control(f, 134, "required records\nafter 3600\n" POLICY_REST);
	while (f->n < 500)
		fix_post(f, "one of many");
	while (f->n < 65900)
		fix_beat(f);
	while (f->n < 66000)
		fix_post(f, "one of the last");
	f->stored[f->stored_count++] = 300;
	f->stored[f->stored_count++] = 65536;
	f->note_size = f->n;
}

static int
setup(void **out)
{
	struct state *s = calloc(1, sizeof(*s));

	snprintf(s->folder, sizeof(s->folder), "/tmp/verify.XXXXXX");
	if (mkdtemp(s->folder) == NULL)
		return -1;
	snprintf(s->small, sizeof(s->small), "%s/small.db", s->folder);
	snprintf(s->large, sizeof(s->large), "%s/large.db", s->folder);
	make_small(&s->fs);
	fix_write(&s->fs, s->small);
	make_large(&s->fl);
	fix_write(&s->fl, s->large);
	*out = s;
	return 0;
}

static int
teardown(void **in)
{
	struct state *s = *in;

	unlink(s->small);
	unlink(s->large);
	rmdir(s->folder);
	fix_free(&s->fs);
	fix_free(&s->fl);
	free(s);
	return 0;
}

static sqlite3 *
open_rw(const char *path)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	fix_run(db, "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY");
	return db;
}

/* Runs SQL, verifies, and undoes it by the file's former bytes. */
static json_t *
after(const char *path, const char *vkey, const char *sql)
{
	struct buf copy;
	sqlite3 *db;
	json_t *o;
	FILE *f;

	buf_init(&copy);
	assert_int_equal(file_read(path, SIZE_MAX, &copy), 0);
	db = open_rw(path);
	fix_run(db, sql);
	sqlite3_close(db);
	o = run_journal(path, vkey, NULL, 0);
	f = fopen(path, "wb");
	assert_int_equal(fwrite(copy.data, 1, copy.len, f), copy.len);
	fclose(f);
	buf_release(&copy);
	return o;
}

static void
expect(const json_t *o, const char *check, int64_t seq, const char *words)
{
	if (run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("expected %s at %lld: %s", check == NULL ? "?" : check,
		    (long long)seq, words == NULL ? "?" : words);
	}
}

static void
expect_after(struct state *s, const char *sql, const char *check, int64_t seq,
    const char *words)
{
	json_t *o = after(s->small, s->fs.vkey, sql);

	expect(o, check, seq, words);
	json_decref(o);
}

static void
test_untouched(void **in)
{
	struct state *s = *in;
	json_t *o = run_journal(s->small, s->fs.vkey, NULL, 0);

	if (run_status(o) != 0)
		run_print(o);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "unsigned tail: records 15-15"));
	assert_true(run_noted(o, "freshness unknown"));
	assert_false(run_noted(o, "key not given"));
	json_decref(o);
	o = run_journal(s->large, NULL, NULL, 0);
	if (run_status(o) != 0)
		run_print(o);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "key not given"));
	assert_false(run_noted(o, "unsigned tail"));
	json_decref(o);
}

/* Reads or writes one byte of a blob, in a transaction of its own. */
static int
blob_byte(sqlite3 *db, const char *table, const char *column, int64_t row,
    int at, uint8_t *byte, bool write)
{
	sqlite3_blob *blob = NULL;
	int n = -1;

	assert_int_equal(
	    sqlite3_blob_open(db, "main", table, column, row, 1, &blob),
	    SQLITE_OK);
	n = sqlite3_blob_bytes(blob);
	if (at < n)
		assert_int_equal(write ? sqlite3_blob_write(blob, byte, 1, at)
				       : sqlite3_blob_read(blob, byte, 1, at),
		    SQLITE_OK);
	assert_int_equal(sqlite3_blob_close(blob), SQLITE_OK);
	return n;
}

/*
 * Flips one bit of each byte of a blob, verifies, and flips it back; seq -1:
 * any finding will do. Returns how many flips were made.
 */
static unsigned
flip_bytes(struct state *s, sqlite3 *db, const char *table, const char *column,
    int64_t row, int64_t seq)
{
	uint8_t was = 0, is;
	int n = blob_byte(db, table, column, row, 0, &was, false);

	for (int i = 0; i < n; i++) {
		json_t *o;

		blob_byte(db, table, column, row, i, &was, false);
		is = (uint8_t)(was ^ (1U << (i % 8)));
		blob_byte(db, table, column, row, i, &is, true);
		o = run_journal(s->small, s->fs.vkey, NULL, 0);
		if (run_status(o) != 1 || !run_found(o, NULL, seq, NULL)) {
			run_print(o);
			fail_msg("%s.%s row %lld byte %d", table, column,
			    (long long)row, i);
		}
		json_decref(o);
		blob_byte(db, table, column, row, i, &was, true);
	}
	return (unsigned)n;
}

static void
test_every_leaf_byte(void **in)
{
	struct state *s = *in;
	sqlite3 *db = open_rw(s->small);
	unsigned flips = 0;
	json_t *o;

	for (uint64_t i = 0; i < s->fs.n; i++)
		flips +=
		    flip_bytes(s, db, "leaf", "bytes", (int64_t)i, (int64_t)i);
	sqlite3_close(db);
	assert_true(flips > 2000);
	o = run_journal(s->small, s->fs.vkey, NULL, 0);
	assert_int_equal(run_status(o), 0);
	json_decref(o);
}

static void
test_every_body_byte(void **in)
{
	struct state *s = *in;
	sqlite3 *db = open_rw(s->small);
	sqlite3_stmt *q = fix_prepare(db, "SELECT id FROM body");
	int64_t ids[64];
	size_t n = 0;

	while (sqlite3_step(q) == SQLITE_ROW)
		ids[n++] = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	assert_int_equal(n, 10);
	for (size_t i = 0; i < n; i++) {
		flip_bytes(s, db, "body", "salt", ids[i], ids[i] / 256);
		flip_bytes(s, db, "body", "data", ids[i], ids[i] / 256);
	}
	sqlite3_close(db);
}

static void
test_every_note_byte(void **in)
{
	struct state *s = *in;
	sqlite3 *db = open_rw(s->small);

	flip_bytes(s, db, "head", "note", 1, -1);
	flip_bytes(s, db, "head", "root", 1, -1);
	flip_bytes(s, db, "checkpoint", "note", (int64_t)s->fs.stored[0], -1);
	sqlite3_close(db);
}

static void
test_every_text_byte(void **in)
{
	static const char *const names[] = {"journal", "origin", "vkey"};
	struct state *s = *in;

	for (size_t k = 0; k < 3; k++) {
		const char *value = k == 0 ? FIX_UUID
		    : k == 1               ? s->fs.origin
					   : s->fs.vkey;

		for (size_t i = 0; i < strlen(value); i++) {
			char sql[512], forged[256];

			snprintf(forged, sizeof(forged), "%s", value);
			forged[i] ^= 1;
			snprintf(sql, sizeof(sql),
			    "UPDATE meta SET value=replace('%s','''','''''')"
			    " WHERE name='%s'",
			    forged, names[k]);
			if (forged[i] == '\'')
				continue;
			expect_after(s, sql, "tables", 0, names[k]);
		}
	}
}

static void
test_derived_columns(void **in)
{
	struct state *s = *in;

	for (int i = 0; i < (int)s->fs.n; i++) {
		char sql[128];

		snprintf(sql, sizeof(sql),
		    "UPDATE leaf SET at=at+1 WHERE seq=%d", i);
		expect_after(s, sql, "derived", i, "column at");
		snprintf(sql, sizeof(sql),
		    "UPDATE leaf SET kind=kind+1 WHERE seq=%d", i);
		expect_after(s, sql, "derived", i, "column kind");
		snprintf(sql, sizeof(sql),
		    "UPDATE leaf SET kind=CASE WHEN kind<128 THEN 140 ELSE 3 "
		    "END WHERE seq=%d",
		    i);
		expect_after(s, sql, "derived", i, "column kind");
	}
}

static void
test_rows(void **in)
{
	static const struct {
		const char *sql, *check;
		int64_t seq;
		const char *words;
	} cases[] = {
	    {"DELETE FROM leaf WHERE seq=10", "sequence", 10, "no such"},
	    {"DELETE FROM leaf WHERE seq=15", "sequence", 15, "no such"},
	    {"DELETE FROM leaf WHERE seq=0", "sequence", 0, "no such"},
	    {"DELETE FROM leaf WHERE seq BETWEEN 11 AND 12", "sequence", 12,
		"no such"},
	    {"UPDATE leaf SET seq=100 WHERE seq=15", "sequence", 15, "no such"},
	    {"UPDATE leaf SET seq=-3 WHERE seq=15", "sequence", -1,
		"impossible"},
	    {"UPDATE leaf SET seq=99 WHERE seq=11;"
	     "UPDATE leaf SET seq=11 WHERE seq=12;"
	     "UPDATE leaf SET seq=12 WHERE seq=99",
		"sequence", 11, "names record 12"},
	    {"INSERT INTO leaf SELECT 16,at+1000000,kind,CAST(replace("
	     "CAST(bytes AS TEXT),'leaf/1 15','leaf/1 16') AS BLOB)"
	     " FROM leaf WHERE seq=15",
		NULL, 16, NULL},
	    {"DELETE FROM body WHERE id=10*256+1", "completeness", 10,
		"missing"},
	    {"DELETE FROM body WHERE id/256=11", "completeness", 11, "missing"},
	    {"INSERT INTO body SELECT 4*256,salt,data FROM body WHERE "
	     "id=10*256",
		"completeness", 4, "purge record says"},
	    {"INSERT INTO body SELECT 10*256+2,salt,data FROM body WHERE "
	     "id=10*256",
		"completeness", 10, "stray"},
	    {"INSERT INTO body SELECT 13*256,salt,data FROM body WHERE "
	     "id=10*256",
		"completeness", 13, "stray"},
	    {"INSERT INTO body SELECT 90*256,salt,data FROM body WHERE "
	     "id=10*256",
		"completeness", 90, "stray"},
	    {"INSERT INTO body SELECT -5,salt,data FROM body WHERE id=10*256",
		"completeness", -1, "stray"},
	    {"UPDATE body SET id=-1 WHERE id=10*256;"
	     "UPDATE body SET id=10*256 WHERE id=11*256;"
	     "UPDATE body SET id=11*256 WHERE id=-1",
		"commitments", 10, "commits"},
	    {"UPDATE body SET salt=x'00' WHERE id=10*256", "commitments", 10,
		"32 bytes"},
	    {"DELETE FROM head", "head", -1, "no head"},
	    {"UPDATE head SET size=size+1", NULL, -1, NULL},
	    {"UPDATE head SET size=size-1", "head", -1, "root"},
	    {"UPDATE head SET size=4611686018427387904", NULL, 16, NULL},
	    {"UPDATE head SET id=2", "head", -1, "malformed"},
	    {"UPDATE checkpoint SET size=size+1", "signatures", -1,
		"holds a note"},
	    {"INSERT INTO tile VALUES(0,0,zeroblob(8192))", "tiles", -1, NULL},
	    {"INSERT INTO tile VALUES(3,-1,zeroblob(8192))", "tiles", -1,
		"stray"},
	    {"INSERT INTO tile VALUES(9,0,zeroblob(8192))", "tiles", -1,
		"stray"},
	    {"DELETE FROM meta WHERE name='vkey'", "tables", 0, "vkey"},
	    {"PRAGMA application_id=5", "file", -1, "application id"},
	    {"PRAGMA user_version=1", "file", -1, "schema version"},
	    {"DROP TABLE body", "file", -1, NULL},
	    {"DROP INDEX leaf_control;"
	     "CREATE INDEX leaf_control ON leaf(kind,seq) WHERE kind>=128"
	     " AND seq<>13;"
	     "PRAGMA writable_schema=ON;"
	     "UPDATE sqlite_schema SET sql=replace(sql,' AND seq<>13','')",
		"control", -1, "index of control records"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_after(*in, cases[i].sql, cases[i].check, cases[i].seq,
		    cases[i].words);
}

static void
test_derived_tables(void **in)
{
	static const struct {
		const char *sql;
		int64_t seq;
	} cases[] = {
	    {"DELETE FROM batch WHERE adapter='xml'", 7},
	    {"UPDATE batch SET first=1 WHERE adapter='xml'", 7},
	    {"UPDATE batch SET last=4 WHERE adapter='xml'", 7},
	    {"UPDATE batch SET n=2 WHERE adapter='xml'", 7},
	    {"UPDATE batch SET seq=6 WHERE adapter='xml'", 6},
	    {"UPDATE batch SET adapter='yml' WHERE adapter='xml'", 7},
	    {"INSERT INTO batch VALUES('xml',2,6,7,8)", 8},
	    {"DELETE FROM ack WHERE adapter='records'", 8},
	    {"UPDATE ack SET state='sent' WHERE adapter='records'", 8},
	    {"UPDATE ack SET n=2 WHERE adapter='records'", 8},
	    {"UPDATE ack SET seq=9 WHERE adapter='records'", 9},
	    {"DELETE FROM purge_range", 13},
	    {"UPDATE purge_range SET last=last+1", 13},
	    {"UPDATE purge_range SET first=first+1", 13},
	    {"UPDATE purge_range SET n=n+1", 13},
	    {"UPDATE purge_range SET seq=seq+1", 14},
	    {"INSERT INTO purge_range VALUES(10,12,2,14)", 14},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_after(*in, cases[i].sql, "tables", cases[i].seq, NULL);
}

static void
test_tiles(void **in)
{
	struct state *s = *in;
	sqlite3 *db = open_rw(s->large);
	struct {
		int level, idx;
		int byte;
		int64_t seq;
	} flips[] = {
	    {0, 0, 0, 0},
	    {0, 0, 8191, 255},
	    {0, 1, 5 * 32 + 3, 256 + 5},
	    {0, 256, 77 * 32, 65536 + 77},
	    {1, 0, 0, 0},
	    {1, 0, 100 * 32 + 31, 100 * 256 + 13},
	    {1, 0, 8191, 65535},
	};
	uint8_t data[8192];
	json_t *o;

	for (size_t i = 0; i < sizeof(flips) / sizeof(flips[0]); i++) {
		sqlite3_stmt *q = fix_prepare(
		    db, "SELECT data FROM tile WHERE level=? AND idx=?");
		sqlite3_stmt *u = fix_prepare(
		    db, "UPDATE tile SET data=? WHERE level=? AND idx=?");

		sqlite3_bind_int(q, 1, flips[i].level);
		sqlite3_bind_int(q, 2, flips[i].idx);
		assert_int_equal(sqlite3_step(q), SQLITE_ROW);
		memcpy(data, sqlite3_column_blob(q, 0), sizeof(data));
		sqlite3_finalize(q);
		for (int turn = 0; turn < 2; turn++) {
			data[flips[i].byte] ^= 0x10;
			fix_bind(u, 1, data, sizeof(data));
			sqlite3_bind_int(u, 2, flips[i].level);
			sqlite3_bind_int(u, 3, flips[i].idx);
			fix_step(u);
			if (turn == 1)
				break;
			o = run_journal(s->large, s->fl.vkey, NULL, 0);
			expect(o, "tiles", flips[i].seq, NULL);
			/* The leaves still give every root. */
			assert_false(run_found(o, "roots", -1, NULL));
			json_decref(o);
		}
		sqlite3_finalize(u);
	}
	sqlite3_close(db);
}

/* What a view shows may be something else another time. */
static void
test_views(void **in)
{
	static const char *const changes[] = {
	    "ALTER TABLE body RENAME TO kept;"
	    "CREATE VIEW body AS SELECT * FROM kept",
	    "ALTER TABLE stamp RENAME TO kept;"
	    "CREATE TABLE stamp(size INTEGER PRIMARY KEY,at INTEGER,token BLOB)",
	    "DROP TABLE stamp; CREATE TABLE stamp(size INTEGER PRIMARY KEY,"
	    "at INTEGER,token BLOB,more BLOB) STRICT"};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		expect_after(*in, changes[i], "file", -1, "tables are not as");
}

static void
test_leaf_under_tile(void **in)
{
	struct state *s = *in;
	json_t *o;

	o = after(s->large, s->fl.vkey,
	    "UPDATE leaf SET bytes=CAST(replace(CAST(bytes AS TEXT),"
	    "'01234abc','01234abd') AS BLOB) WHERE seq=12345");
	expect(o, "tiles", 12345, "leaf text");
	expect(o, "roots", 12345, "tiles do");
	assert_false(run_found(o, "roots", 10, NULL));
	json_decref(o);
	o = after(s->large, s->fl.vkey, "DELETE FROM leaf WHERE seq=400");
	expect(o, "sequence", 400, "no such");
	assert_false(run_found(o, "roots", -1, NULL));
	json_decref(o);
	o = after(
	    s->large, s->fl.vkey, "DELETE FROM tile WHERE level=0 AND idx=7");
	expect(o, "tiles", 7 * 256, "missing");
	json_decref(o);
	o = after(
	    s->large, s->fl.vkey, "DELETE FROM tile WHERE level=1 AND idx=0");
	expect(o, "tiles", 0, "missing");
	json_decref(o);
	o = after(s->large, s->fl.vkey,
	    "UPDATE tile SET data=zeroblob(10) WHERE level=0 AND idx=7");
	expect(o, "tiles", 7 * 256, "8192 bytes");
	json_decref(o);
}

/* Payloads of a long journal, which helper processes look at. */
static void
test_long(void **in)
{
	static const struct {
		const char *sql, *check;
		int64_t seq;
		const char *words;
	} cases[] = {
	    {"UPDATE body SET salt=zeroblob(32) WHERE id=65950*256+1",
		"commitments", 65950, "commits"},
	    {"UPDATE body SET salt=zeroblob(32) WHERE id=3*256+1",
		"commitments", 3, "commits"},
	    {"DELETE FROM body WHERE id=65999*256", "completeness", 65999,
		"missing"},
	    {"DELETE FROM body", "completeness", 65950, "missing"},
	    {"INSERT INTO body VALUES(65998*256+2,zeroblob(32),x'00')",
		"completeness", 65998, "stray"},
	    {"INSERT INTO body VALUES(66001*256,zeroblob(32),x'00')",
		"completeness", 66001, "stray"},
	    {"INSERT INTO body VALUES(60000*256,zeroblob(32),x'00')",
		"completeness", 60000, "stray"},
	    {"INSERT INTO body VALUES(-7,zeroblob(32),x'00')", "completeness",
		-1, "stray"},
	    {"DELETE FROM leaf WHERE seq=65960", "sequence", 65960, "no such"},
	    {"DELETE FROM leaf WHERE seq>=65960", "sequence", 65970, "no such"},
	};
	struct state *s = *in;
	json_t *o = run_journal(s->large, s->fl.vkey, NULL, 0);

	assert_int_equal(run_count(o, "commitments"), 2 * (498 + 100));
	assert_int_equal(run_count(o, "completeness"), 498 + 100);
	json_decref(o);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		o = after(s->large, s->fl.vkey, cases[i].sql);
		expect(o, cases[i].check, cases[i].seq, cases[i].words);
		/* Nothing is said twice. */
		if (cases[i].seq == -1 || cases[i].check[0] == 'c')
			assert_in_range(run_total(o), 1, 2);
		json_decref(o);
	}
}

/* A journal cut back to a stored checkpoint is consistent in itself. */
static void
test_truncated(void **in)
{
	struct state *s = *in;
	struct verify_outside outside = {.path = "note"};
	char sql[2048], path[160];
	struct buf note, hex, root_hex;
	uint8_t root[32];
	uint64_t cut = s->fs.stored[0];
	sqlite3 *db;
	json_t *o;

	snprintf(path, sizeof(path), "%s/cut.db", s->folder);
	fix_write(&s->fs, path);
	buf_init(&note);
	buf_init(&hex);
	buf_init(&root_hex);
	fix_note(&s->fs, cut, &note);
	text_put_hex(&hex, note.data, note.len);
	fix_mth(&s->fs, 0, cut, root);
	text_put_hex(&root_hex, root, 32);
	snprintf(sql, sizeof(sql),
	    "DELETE FROM leaf WHERE seq>=%d; DELETE FROM body WHERE "
	    "id>=%d*256; DELETE FROM purge_range;"
	    "UPDATE head SET size=%d, root=x'%s', note=x'%s'",
	    (int)cut, (int)cut, (int)cut, buf_text(&root_hex), buf_text(&hex));
	db = open_rw(path);
	fix_run(db, sql);
	sqlite3_close(db);
	o = run_journal(path, s->fs.vkey, NULL, 0);
	/* The purged bodies are gone and no purge record is left: found. */
	expect(o, "completeness", 2, "missing");
	assert_false(run_found(o, "roots", -1, NULL));
	assert_true(run_noted(o, "freshness unknown"));
	json_decref(o);
	/* A checkpoint from outside shows the missing end. */
	buf_clear(&note);
	fix_note(&s->fs, s->fs.note_size, &note);
	outside.text = note;
	outside.size = s->fs.note_size;
	snprintf(outside.origin, sizeof(outside.origin), "%s", s->fs.origin);
	o = run_journal(path, s->fs.vkey, &outside, 1);
	expect(o, "roots", (int64_t)cut, "its end is missing");
	json_decref(o);
	o = run_journal(s->small, s->fs.vkey, &outside, 1);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "newest checkpoint from outside: size 15"));
	json_decref(o);
	unlink(path);
	buf_release(&note);
	buf_release(&hex);
	buf_release(&root_hex);
}

/* The same cut without a purge before it is not found from inside. */
static void
test_truncated_silently(void **in)
{
	struct state *s = *in;
	struct fix f;
	char path[160];
	json_t *o;

	snprintf(path, sizeof(path), "%s/silent.db", s->folder);
	fix_init(&f, 7);
	fix_open(&f);
	for (int i = 0; i < 20; i++)
		fix_post(&f, "words");
	f.note_size = f.n; /* as if nothing had ever followed */
	fix_write(&f, path);
	o = run_journal(path, f.vkey, NULL, 0);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "freshness unknown"));
	json_decref(o);
	unlink(path);
	fix_free(&f);
}

/* Another key's journal, correct in itself. */
static void
test_wrong_key(void **in)
{
	struct state *s = *in;
	struct fix f;
	char path[160];
	json_t *o;

	snprintf(path, sizeof(path), "%s/other.db", s->folder);
	fix_init(&f, 9);
	fix_open(&f);
	fix_post(&f, "forged");
	f.note_size = f.n;
	fix_write(&f, path);
	o = run_journal(path, NULL, NULL, 0);
	assert_int_equal(run_status(o), 0);
	assert_true(run_noted(o, "proves nothing"));
	json_decref(o);
	o = run_journal(path, s->fs.vkey, NULL, 0);
	expect(o, "key", 0, "another key");
	expect(o, "signatures", -1, "no signature by the key");
	json_decref(o);
	unlink(path);
	fix_free(&f);
}

/* Rewritten from record 10 on, tree and head redone, but not signed anew. */
static void
test_rewritten(void **in)
{
	struct state *s = *in;
	struct fix f;
	char path[160];
	sqlite3 *db;
	sqlite3_stmt *u;
	struct buf note;
	json_t *o;

	snprintf(path, sizeof(path), "%s/rewritten.db", s->folder);
	make_small(&f);
	fix_write(&f, path);
	fix_free(&f);
	fix_init(&f, 7);
	fix_open(&f);
	for (int i = 0; i < 15; i++)
		fix_post(&f, "altogether different");
	unlink(path);
	f.note_size = 0;
	fix_write(&f, path);
	o = run_journal(path, f.vkey, NULL, 0);
	expect(o, "signatures", -1, "no signed checkpoint");
	json_decref(o);
	buf_init(&note);
	fix_note(&s->fs, s->fs.note_size, &note);
	db = open_rw(path);
	u = fix_prepare(db, "UPDATE head SET note=?");
	fix_bind(u, 1, note.data, note.len);
	fix_step(u);
	sqlite3_finalize(u);
	sqlite3_close(db);
	o = run_journal(path, f.vkey, NULL, 0);
	expect(o, "roots", 5, "newest signed note");
	json_decref(o);
	unlink(path);
	buf_release(&note);
	fix_free(&f);
}

static void
test_not_a_journal(void **in)
{
	struct state *s = *in;
	char path[160];
	json_t *o;
	FILE *f;

	snprintf(path, sizeof(path), "%s/text.db", s->folder);
	f = fopen(path, "w");
	fputs("this is no journal, but long enough to look at", f);
	fclose(f);
	o = run_journal(path, NULL, NULL, 0);
	expect(o, "file", -1, "not an SQLite database");
	json_decref(o);
	unlink(path);
	o = run_journal(path, NULL, NULL, 0);
	assert_int_equal(run_status(o), 3);
	json_decref(o);
}

/* The database file itself: any flip of any page ends in a verdict. */
static void
test_file_bytes(void **in)
{
	struct state *s = *in;
	unsigned detected = 0, flips = 0;
	FILE *f = fopen(s->small, "r+b");
	long size;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	for (long i = 0; i < size; i += 131) {
		json_t *o;
		int c;

		fseek(f, i, SEEK_SET);
		c = getc(f);
		fseek(f, i, SEEK_SET);
		putc(c ^ 0x20, f);
		fflush(f);
		o = run_journal(s->small, s->fs.vkey, NULL, 0);
		assert_in_range(run_status(o), 0, 3);
		detected += run_status(o) != 0;
		json_decref(o);
		fseek(f, i, SEEK_SET);
		putc(c, f);
		fflush(f);
		flips++;
	}
	fclose(f);
	assert_true(flips > 300 && detected > 30);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_untouched),
	    cmocka_unit_test(test_every_leaf_byte),
	    cmocka_unit_test(test_every_body_byte),
	    cmocka_unit_test(test_every_note_byte),
	    cmocka_unit_test(test_every_text_byte),
	    cmocka_unit_test(test_derived_columns),
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_derived_tables),
	    cmocka_unit_test(test_tiles),
	    cmocka_unit_test(test_views),
	    cmocka_unit_test(test_leaf_under_tile),
	    cmocka_unit_test(test_long),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_truncated_silently),
	    cmocka_unit_test(test_wrong_key),
	    cmocka_unit_test(test_rewritten),
	    cmocka_unit_test(test_not_a_journal),
	    cmocka_unit_test(test_file_bytes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
