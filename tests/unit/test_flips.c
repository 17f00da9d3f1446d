#include "tests/unit/journal_fixture.h"
#include "tests/unit/verify_run.h"

#include <fcntl.h>

/*
 * Every bit of a small journal is flipped, in the database and in its WAL.
 * The verifier, which has a checkpoint from outside as an auditor should,
 * reports each flip, or all rows of all tables are still what they were, so
 * that it has no effect on evidence. A WAL whose last commit is lost may lack
 * the newest note alone: the records are whole, and the one from outside
 * covers them. The suite takes every CHANCERY_STRIDE'th
 * bit (default below, from a random one); 1 takes all.
 */

#define STRIDE 401
#define FILE_BYTES (4U << 20)

struct flips {
	struct fixture f;
	char db[96], wal[96], dir[64];
	struct buf db_bytes, wal_bytes;
	struct buf note;
	uint8_t records[32], notes[32];
	struct verify_outside outside;
};

static const char *const records[] = {"SELECT * FROM meta NOT INDEXED",
    "SELECT * FROM leaf NOT INDEXED", "SELECT * FROM body NOT INDEXED",
    "SELECT * FROM tile NOT INDEXED", "SELECT id, size, root FROM head",
    "SELECT * FROM batch NOT INDEXED", "SELECT * FROM ack NOT INDEXED",
    "SELECT * FROM purge_range NOT INDEXED"};
static const char *const notes[] = {
    "SELECT note FROM head", "SELECT * FROM checkpoint NOT INDEXED"};

/* Adds every value of every row; false when one cannot be read. */
static bool
add_rows(struct crypto_hash *h, sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = db_prepare(db, sql);
	int r = SQLITE_ERROR;

	crypto_hash_add(h, sql, strlen(sql));
	while (s != NULL && (r = sqlite3_step(s)) == SQLITE_ROW) {
		for (int c = 0; c < sqlite3_column_count(s); c++) {
			uint8_t type = (uint8_t)sqlite3_column_type(s, c);
			uint32_t n = (uint32_t)sqlite3_column_bytes(s, c);

			crypto_hash_add(h, &type, 1);
			crypto_hash_add(h, &n, sizeof n);
			crypto_hash_add(h, sqlite3_column_blob(s, c), n);
		}
	}
	(void)sqlite3_finalize(s); /* r tells */
	return r == SQLITE_DONE;
}

static bool
hash_rows(
    const char *path, const char *const *sql, size_t count, uint8_t out[32])
{
	struct crypto_hash *h = crypto_hash_new();
	char why[256];
	sqlite3 *db = db_open(path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	bool ok = db != NULL;

	assert_non_null(h);
	for (size_t i = 0; ok && i < count; i++)
		ok = add_rows(h, db, sql[i]);
	db_close(db);
	crypto_hash_get(h, out);
	crypto_hash_free(h);
	return ok;
}

static bool
hash_both(struct flips *t, uint8_t of_records[32], uint8_t of_notes[32])
{
	return hash_rows(t->db, records, sizeof records / sizeof records[0],
		   of_records) &&
	    hash_rows(t->db, notes, sizeof notes / sizeof notes[0], of_notes);
}

static void
write_file(const char *path, const struct buf *b, size_t flip)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	if (flip != SIZE_MAX)
		b->data[flip / 8] ^= (uint8_t)(1U << flip % 8);
	assert_int_equal(write(fd, b->data, b->len), b->len);
	if (flip != SIZE_MAX)
		b->data[flip / 8] ^= (uint8_t)(1U << flip % 8);
	assert_int_equal(close(fd), 0);
}

static void
put_files(struct flips *t, size_t db_flip, size_t wal_flip)
{
	char shm[128];

	(void)snprintf(shm, sizeof shm, "%s-shm", t->db);
	(void)unlink(shm);
	write_file(t->db, &t->db_bytes, db_flip);
	if (t->wal_bytes.len > 0)
		write_file(t->wal, &t->wal_bytes, wal_flip);
}

static int
verdict(struct flips *t)
{
	json_t *o = run_journal(t->db, t->f.vkey, &t->outside, 1);
	int status = run_status(o);

	json_decref(o);
	return status;
}

/* What happened last is only in the WAL, as in a machine that stopped. */
static void
make_story(struct flips *t)
{
	char fields[512], name[128];

	new_fixture(&t->f);
	(void)snprintf(fields, sizeof fields,
	    "journal %s\norigin %s\nvkey %s\nnext %064d\nsoftware test/0\n"
	    "segment 0\nnote -\n",
	    UUID, ORIGIN, t->f.vkey, 0);
	assert_int_equal(append_text(&t->f, EVENT_OPEN, fields, NULL), 0);
	append_posts(&t->f, 5);
	sign_head(&t->f, true);
	assert_int_equal(append_batch(&t->f, "records", 1, 0, 5), 0);
	assert_int_equal(append_ack(&t->f, "records", 1, 0, 5, "stored"), 0);
	sign_head(&t->f, true);
	assert_int_equal(journal_truncate(t->f.j), 0);
	append_posts(&t->f, 2);
	sign_head(&t->f, true);
	buf_init(&t->db_bytes);
	buf_init(&t->wal_bytes);
	assert_int_equal(file_read(t->f.path, FILE_BYTES, &t->db_bytes), 0);
	(void)snprintf(name, sizeof name, "%s-wal", t->f.path);
	assert_int_equal(file_read(name, FILE_BYTES, &t->wal_bytes), 0);
}

/* The newest checkpoint, as somebody outside holds it. */
static void
take_outside(struct flips *t)
{
	struct scan *s;
	char why[256];
	struct note note;
	const char *reason;
	uint64_t size;

	buf_init(&t->note);
	s = scan_open(t->f.path, false, why, sizeof why);
	assert_non_null(s);
	assert_int_equal(scan_note(s, &size, &t->note), 0);
	scan_close(s);
	assert_true(note_parse(buf_view(&t->note), &note, &reason));
	buf_init(&t->outside.text);
	buf_put_view(&t->outside.text, buf_view(&t->note));
	t->outside.path = "outside";
	(void)snprintf(
	    t->outside.origin, sizeof t->outside.origin, "%s", ORIGIN);
	t->outside.size = note.size;
	memcpy(t->outside.root, note.root, 32);
}

static int
begin(void **state)
{
	static struct flips t;

	crypto_init();
	make_story(&t);
	take_outside(&t);
	(void)snprintf(t.dir, sizeof t.dir, "%s",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm/chancery-flips-XXXXXX"
					  : "/tmp/chancery-flips-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	(void)snprintf(t.db, sizeof t.db, "%s/journal.db", t.dir);
	(void)snprintf(t.wal, sizeof t.wal, "%s/journal.db-wal", t.dir);
	put_files(&t, SIZE_MAX, SIZE_MAX);
	assert_true(hash_both(&t, t.records, t.notes));
	put_files(&t, SIZE_MAX, SIZE_MAX);
	assert_int_equal(verdict(&t), 0);
	*state = &t;
	return 0;
}

static int
end(void **state)
{
	struct flips *t = *state;
	char shm[128];

	(void)snprintf(shm, sizeof shm, "%s-shm", t->db);
	(void)unlink(shm);
	(void)unlink(t->db);
	(void)unlink(t->wal);
	assert_int_equal(rmdir(t->dir), 0);
	buf_release(&t->db_bytes);
	buf_release(&t->wal_bytes);
	buf_release(&t->note);
	buf_release(&t->outside.text);
	end_fixture(&t->f);
	return 0;
}

static size_t
stride(void)
{
	const char *text = getenv("CHANCERY_STRIDE");
	long n = text == NULL ? STRIDE : strtol(text, NULL, 10);

	return n < 1 ? 1 : (size_t)n;
}

/* Flips the bits of one of the two files. */
static void
flip_all(struct flips *t, bool wal)
{
	size_t bits = 8 * (wal ? t->wal_bytes.len : t->db_bytes.len);
	size_t step = stride(), first, reported = 0, harmless = 0,
	       unsigned_ = 0;
	uint32_t draw;

	crypto_random(&draw, sizeof draw);
	first = draw % step;
	for (size_t bit = first; bit < bits; bit += step) {
		uint8_t rows[32], signatures[32];
		int status;

		put_files(t, wal ? SIZE_MAX : bit, wal ? bit : SIZE_MAX);
		status = verdict(t);
		if (status == 1) {
			reported++;
			continue;
		}
		if (status != 0)
			fail_msg("bit %zu of the %s: status %d", bit,
			    wal ? "WAL" : "database", status);
		put_files(t, wal ? SIZE_MAX : bit, wal ? bit : SIZE_MAX);
		if (!hash_both(t, rows, signatures) ||
		    memcmp(rows, t->records, sizeof rows) != 0 ||
		    (!wal && memcmp(signatures, t->notes, 32) != 0))
			fail_msg("bit %zu (byte %zu) of the %s changes a row "
				 "and is not reported",
			    bit, bit / 8, wal ? "WAL" : "database");
		if (memcmp(signatures, t->notes, 32) == 0)
			harmless++;
		else
			unsigned_++;
	}
	(void)fprintf(stderr,
	    "# %s: of %zu bits, every %zuth from %zu: %zu reported, %zu "
	    "without effect on any row, %zu lose the newest note\n",
	    wal ? "WAL" : "database", bits, step, first, reported, harmless,
	    unsigned_);
	assert_true(reported > 0);
}

static void
bits_of_the_database(void **state)
{
	flip_all(*state, false);
}

static void
bits_of_the_wal(void **state)
{
	flip_all(*state, true);
}

/* Each bit of a note counts, of its signature line as well. */
static void
bits_of_a_note(void **state)
{
	struct flips *t = *state;
	struct verify_key key;
	const char *why;

	assert_true(verify_key_parse(view_text(t->f.vkey), &key, &why));
	for (size_t bit = 0; bit < 8 * t->note.len; bit++) {
		struct verify_note note;
		unsigned line;
		bool holds;

		t->note.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		holds =
		    verify_note_parse(buf_view(&t->note), &note, &line, &why) &&
		    verify_note_signed(&note, &key, &why);
		t->note.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (holds)
			fail_msg("bit %zu of the note does not count", bit);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bits_of_a_note),
	    cmocka_unit_test(bits_of_the_database),
	    cmocka_unit_test(bits_of_the_wal),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
