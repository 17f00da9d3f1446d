#include "tests/unit/journal_fixture.h"
#include "tests/unit/token_fixture.h"
#include "tests/unit/verify_once.h"
#include "tests/unit/verify_run.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "base/conf.h"

#include "compliance/cosign.h"
#include "compliance/hold.h"

#include "export/verify_anchors.h"

/*
 * Every bit of a small journal is flipped: in its database, in a WAL beside
 * it, and in the pages of a tile. Either all rows of all tables are still
 * what they were, so that the flip has no effect on evidence, or the
 * verifier, which has a checkpoint from outside as an auditor should, reports
 * it. A WAL whose last commit is lost may lack the newest note alone: the
 * records are whole, and the one from outside covers them.
 *
 * The suite takes every CHANCERY_STRIDE'th bit (default below, from a random
 * one); 1 takes all. As many processes share the work as there are
 * processors.
 */

#define STRIDE 401
#define FILE_BYTES (4U << 20)
#define WITNESS "witness.test/a"
#define TILE_RECORDS 256
#define PAGE 4096
#define JOBS_MAX 16
#define IMAGES 64
#define TOLD 100 /* of the bits that are not as they should be */

/* A file as it was, and where its flipped copy lies. */
struct copy {
	struct buf bytes;
	char path[96];
	int fd;
};

/* What is flipped, and what must stay. */
struct target {
	const char *name;
	struct fixture f;
	struct copy db, wal; /* wal: empty when there is none */
	bool in_wal;
	uint8_t records[32], notes[32];
	struct buf note;
	struct verify_outside outside;
	bool page[FILE_BYTES / PAGE]; /* of the database: is flipped */
};

struct outcome {
	uint64_t bits, reported, harmless, unsigned_, wrong;
};

static struct target whole, logged, tiled;
static char folder[64];
static size_t step;

/* ---- rows ---- */

static const char *const records[] = {"SELECT * FROM meta NOT INDEXED",
    "SELECT * FROM leaf NOT INDEXED", "SELECT * FROM body NOT INDEXED",
    "SELECT * FROM tile NOT INDEXED", "SELECT id, size, root FROM head",
    "SELECT * FROM batch NOT INDEXED", "SELECT * FROM ack NOT INDEXED",
    "SELECT * FROM purge_range NOT INDEXED", "SELECT * FROM hold NOT INDEXED",
    NULL};
static const char *const notes[] = {"SELECT note FROM head",
    "SELECT * FROM checkpoint NOT INDEXED", "SELECT * FROM cosig NOT INDEXED",
    "SELECT * FROM stamp NOT INDEXED", NULL};

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
hash_rows(sqlite3 *db, const char *const *sql, uint8_t out[32])
{
	struct crypto_hash *h = crypto_hash_new();
	bool ok = true;

	assert_non_null(h);
	while (ok && *sql != NULL)
		ok = add_rows(h, db, *sql++);
	crypto_hash_get(h, out);
	crypto_hash_free(h);
	return ok;
}

static bool
read_rows(const struct target *t, uint8_t of_records[32], uint8_t of_notes[32])
{
	char why[256];
	sqlite3 *db =
	    db_open(t->db.path, DB_READ_COPY, DB_SYNC_FULL, why, sizeof why);
	bool ok = db != NULL && hash_rows(db, records, of_records) &&
	    hash_rows(db, notes, of_notes);

	db_close(db);
	return ok;
}

/* ---- files ---- */

static void
copy_begin(struct copy *c, const char *name)
{
	(void)snprintf(c->path, sizeof c->path, "%s/%s", folder, name);
	c->fd = open(c->path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(c->fd >= 0);
	assert_int_equal(
	    write(c->fd, c->bytes.data, c->bytes.len), c->bytes.len);
}

static void
copy_end(struct copy *c)
{
	assert_int_equal(close(c->fd), 0);
	assert_int_equal(unlink(c->path), 0);
}

/* Each reader begins without an index of the WAL by others. */
static void
forget_shm(const struct target *t)
{
	char shm[128];

	(void)snprintf(shm, sizeof shm, "%s-shm", t->db.path);
	(void)unlink(shm);
}

static void
put_bit(struct copy *c, size_t bit, bool flipped)
{
	uint8_t byte = c->bytes.data[bit / 8];

	if (flipped)
		byte ^= (uint8_t)(1U << bit % 8);
	assert_int_equal(pwrite(c->fd, &byte, 1, (off_t)(bit / 8)), 1);
}

static void
target_begin(struct target *t, unsigned job)
{
	char name[32];

	(void)snprintf(name, sizeof name, "%u.db", job);
	copy_begin(&t->db, name);
	(void)snprintf(name, sizeof name, "%u.db-wal", job);
	if (t->wal.bytes.len > 0)
		copy_begin(&t->wal, name);
}

static void
target_end(struct target *t)
{
	forget_shm(t);
	if (t->wal.bytes.len > 0)
		copy_end(&t->wal);
	copy_end(&t->db);
}

/* ---- one bit ---- */

static int
verdict(const struct target *t)
{
	struct verify_report *r = verify_report_new();
	const char *why, *path = t->db.path;
	struct verify_journal j;
	struct verify_key key;
	int status;

	assert_non_null(r);
	assert_true(verify_key_parse(view_text(t->f.vkey), &key, &why));
	forget_shm(t);
	verify_journal_run(&(const struct verify_group){&path, 1, true}, &key,
	    &t->outside, 1, r, &j);
	verify_journal_release(&j);
	status = verify_report_status(r);
	verify_report_free(r);
	return status;
}

/* The database as its readers see it through the WAL; false: none can. */
static bool
hash_image(const struct target *t, uint8_t out[32])
{
	char why[256];
	sqlite3 *db =
	    db_open(t->db.path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	sqlite3_int64 n = 0;
	uint8_t *image =
	    db == NULL ? NULL : sqlite3_serialize(db, "main", &n, 0);

	if (image != NULL)
		crypto_sha256(image, (size_t)n, out);
	sqlite3_free(image);
	db_close(db);
	return image != NULL;
}

/* Most bits of a WAL make one of few databases: its commits up to there. */
static int
verdict_of_image(const struct target *t)
{
	static struct {
		uint8_t hash[32];
		int status;
	} known[IMAGES];
	static size_t count;
	uint8_t hash[32];
	int status;

	forget_shm(t);
	if (!t->in_wal || !hash_image(t, hash))
		return verdict(t);
	for (size_t i = 0; i < count; i++)
		if (memcmp(known[i].hash, hash, sizeof hash) == 0)
			return known[i].status;
	status = verdict(t);
	if (count < IMAGES) {
		memcpy(known[count].hash, hash, sizeof hash);
		known[count++].status = status;
	}
	return status;
}

static void
judge(const struct target *t, size_t bit, struct outcome *out)
{
	uint8_t of_records[32], of_notes[32];
	bool readable, same;
	int status;

	out->bits++;
	forget_shm(t);
	readable = read_rows(t, of_records, of_notes);
	same = readable && memcmp(of_records, t->records, 32) == 0;
	if (same && memcmp(of_notes, t->notes, 32) == 0) {
		out->harmless++;
		return;
	}
	status = verdict_of_image(t);
	if (status == 1)
		out->reported++;
	else if (status == 0 && same && t->in_wal)
		out->unsigned_++;
	else if (out->wrong++ < TOLD)
		(void)fprintf(stderr,
		    "# bit %zu (byte %zu) of the %s: %s, and the verifier's "
		    "status is %d\n",
		    bit, bit / 8, t->name,
		    readable ? "a row changes" : "rows are lost", status);
}

static size_t
draw(size_t below)
{
	uint32_t n;

	crypto_random(&n, sizeof n);
	return n % below;
}

/* The job's share of the bits. */
static void
work(struct target *t, unsigned job, unsigned jobs, size_t first,
    struct outcome *out)
{
	struct copy *c = t->in_wal ? &t->wal : &t->db;
	size_t bits = 8 * c->bytes.len, n = 0;

	for (size_t bit = first; bit < bits; bit += step) {
		if (n++ % jobs != job ||
		    (!t->in_wal && !t->page[bit / 8 / PAGE]))
			continue;
		put_bit(c, bit, true);
		judge(t, bit, out);
		put_bit(c, bit, false);
	}
}

static void
flip_all(struct target *t)
{
	unsigned jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	struct outcome sum = {.bits = 0}, one;
	size_t first = draw(step);
	int fd[JOBS_MAX][2], status;
	pid_t pid[JOBS_MAX];

	jobs = jobs > JOBS_MAX ? JOBS_MAX : jobs;
	for (unsigned i = 0; i < jobs; i++) {
		assert_int_equal(pipe(fd[i]), 0);
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] != 0)
			continue;
		memset(&one, 0, sizeof one);
		target_begin(t, i);
		work(t, i, jobs, first, &one);
		target_end(t);
		_exit(write(fd[i][1], &one, sizeof one) == sizeof one ? 0 : 1);
	}
	for (unsigned i = 0; i < jobs; i++) {
		(void)close(fd[i][1]); /* the child's */
		assert_int_equal(read(fd[i][0], &one, sizeof one), sizeof one);
		(void)close(fd[i][0]); /* only read from */
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
		sum.bits += one.bits;
		sum.reported += one.reported;
		sum.harmless += one.harmless;
		sum.unsigned_ += one.unsigned_;
		sum.wrong += one.wrong;
	}
	(void)fprintf(stderr,
	    "# %s: %llu bits, every %zuth from %zu: %llu change a row and are "
	    "reported, %llu change none, %llu lose the newest note\n",
	    t->name, (unsigned long long)sum.bits, step, first,
	    (unsigned long long)sum.reported, (unsigned long long)sum.harmless,
	    (unsigned long long)sum.unsigned_);
	assert_true(sum.reported > 0);
	assert_int_equal(sum.wrong, 0);
}

static void
bits_of_the_database(void **state)
{
	(void)state;
	flip_all(&whole);
}

static void
bits_of_the_wal(void **state)
{
	(void)state;
	flip_all(&logged);
}

static void
bits_of_a_tile(void **state)
{
	(void)state;
	flip_all(&tiled);
}

/* Each bit of a note counts, of its signature line as well. */
static void
bits_of_a_note(void **state)
{
	struct buf *text = &whole.note;
	struct verify_key key;
	const char *why;

	(void)state;
	assert_true(verify_key_parse(view_text(whole.f.vkey), &key, &why));
	for (size_t bit = 0; bit < 8 * text->len; bit++) {
		struct verify_note note;
		unsigned line;
		bool holds;

		text->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		holds = verify_note_parse(buf_view(text), &note, &line, &why) &&
		    verify_note_signed(&note, &key, &why);
		text->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (holds)
			fail_msg("bit %zu of the note does not count", bit);
	}
}

/* ---- the stories ---- */

static void
begin_journal(struct fixture *f)
{
	char fields[512];

	new_fixture(f);
	(void)snprintf(fields, sizeof fields,
	    "journal %s\norigin %s\nvkey %s\nnext %064d\nsoftware test/0\n"
	    "segment 0\nnote -\n",
	    UUID, ORIGIN, f->vkey, 0);
	assert_int_equal(append_text(f, EVENT_OPEN, fields, NULL), 0);
	assert_int_equal(append_text(f, EVENT_POLICY,
			     "required records\nafter 0\n" POLICY_REST, NULL),
	    0);
}

/* One hold that lasts, on nothing, and one that is over. */
static void
hold_and_release(struct fixture *f)
{
	struct hold_selector nothing = {.until = 1};
	struct journal_hold h = {.matter = view_text("2026/117"), .by = 1};
	struct journal_event e;
	struct buf selector;

	buf_init(&selector);
	hold_put_selector(&selector, &nothing);
	h.selector = buf_view(&selector);
	assert_int_equal(journal_hold(f->j, &h, &e), 0);
	assert_int_equal(journal_hold(f->j, &h, &e), 0);
	assert_int_equal(journal_release(f->j, h.n, 1, false, &e), 0);
	buf_release(&selector);
}

static void
purge(struct fixture *f, uint64_t first, uint64_t last)
{
	static const char *const required[] = {"records"};
	const struct conf conf = {.purge_after_s = 0};
	const struct range range = {first, last};
	const struct journal_purge p = {.ranges = &range,
	    .count = 1,
	    .applied = 1000,
	    .conf = &conf,
	    .required = required,
	    .required_count = 1};
	struct journal_event e;

	assert_int_equal(journal_purge(f->j, &p, &e), 0);
}

static void
take_note(struct fixture *f, struct buf *out)
{
	char why[256];
	uint64_t size;
	struct scan *s = scan_open(f->path, false, why, sizeof why);

	assert_non_null(s);
	buf_init(out);
	assert_int_equal(scan_note(s, &size, out), 0);
	scan_close(s);
}

/* Stores it, and the record that tells of it. */
static void
store(struct fixture *f, const char *what, const struct journal_evidence *e)
{
	uint8_t hash[32];
	struct buf fields, hex;

	assert_int_equal(journal_evidence(f->j, e), 0);
	buf_init(&fields);
	buf_init(&hex);
	crypto_sha256(e->bytes.p, e->bytes.n, hash);
	text_put_hex(&hex, hash, sizeof hash);
	buf_printf(&fields,
	    "what %s\nname " WITNESS "\nstate ok\nsize %u\ntime %u\n"
	    "sha256 %s\n",
	    what, (unsigned)e->size, (unsigned)e->at, buf_text(&hex));
	assert_int_equal(
	    append_text(f, EVENT_ANCHOR, buf_text(&fields), NULL), 0);
	buf_release(&hex);
	buf_release(&fields);
}

/* What a witness and an authority said of the newest checkpoint. */
static void
anchor(struct fixture *f)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {7};
	struct crypto_key *key = crypto_key_new(seed);
	uint8_t public[CRYPTO_PUBLIC_LEN], hash[32];
	struct buf text, line, vkey, token;
	struct journal_evidence e = {.size = journal_size(f->j), .at = 77};
	struct note note;
	const char *why;

	assert_non_null(key);
	take_note(f, &text);
	buf_init(&line);
	buf_init(&vkey);
	crypto_key_public(key, public);
	cosign_put_vkey(&vkey, view_text(WITNESS), public);
	assert_true(verify_anchors_trust(buf_view(&vkey), &why));
	assert_true(note_parse(buf_view(&text), &note, &why));
	assert_true(
	    cosign_put_line(&line, note.body, view_text(WITNESS), 77, key));
	e.name = view_text(WITNESS);
	e.bytes = buf_view(&line);
	store(f, "witness", &e);
	crypto_sha256(text.data, text.len, hash);
	buf_init(&token);
	token_put(&token, hash, 77);
	e.name = view_text("");
	e.bytes = buf_view(&token);
	store(f, "stamp", &e);
	buf_release(&token);
	buf_release(&vkey);
	buf_release(&line);
	buf_release(&text);
	crypto_key_free(key);
}

static void
tell(struct fixture *f)
{
	begin_journal(f);
	append_posts(f, 5);
	sign_head(f, true);
	assert_int_equal(append_batch(f, "records", 1, 0, 6), 0);
	assert_int_equal(append_ack(f, "records", 1, 0, 6, "stored"), 0);
	hold_and_release(f);
	sign_head(f, true);
	purge(f, 3, 4);
	sign_head(f, true);
	anchor(f);
	sign_head(f, true);
	assert_int_equal(journal_truncate(f->j), 0);
}

/* The files as they are now, the newest checkpoint, and all rows. */
static void
take(struct target *t)
{
	char name[128];
	struct note note;
	const char *why;

	buf_init(&t->db.bytes);
	buf_init(&t->wal.bytes);
	assert_int_equal(file_read(t->f.path, FILE_BYTES, &t->db.bytes), 0);
	(void)snprintf(name, sizeof name, "%s-wal", t->f.path);
	assert_int_equal(file_read(name, FILE_BYTES, &t->wal.bytes), 0);
	take_note(&t->f, &t->note);
	assert_true(note_parse(buf_view(&t->note), &note, &why));
	buf_init(&t->outside.text);
	buf_put_view(&t->outside.text, buf_view(&t->note));
	t->outside.path = "outside";
	(void)snprintf(
	    t->outside.origin, sizeof t->outside.origin, "%s", ORIGIN);
	t->outside.size = note.size;
	memcpy(t->outside.root, note.root, 32);
	target_begin(t, JOBS_MAX);
	assert_true(read_rows(t, t->records, t->notes));
	assert_int_equal(verdict(t), 0);
	target_end(t);
	for (size_t i = 0; i < sizeof t->page; i++)
		t->page[i] = true;
}

/* Leaves only the pages that hold hashes of the tile. */
static void
choose_pages(struct target *t)
{
	char why[256];
	sqlite3 *db =
	    db_open(t->f.path, DB_READ, DB_SYNC_FULL, why, sizeof why);
	sqlite3_stmt *s = db_prepare(db, "SELECT data FROM tile");
	unsigned found = 0;

	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	for (size_t i = 0; i < t->db.bytes.len / PAGE; i++) {
		const uint8_t *tile = sqlite3_column_blob(s, 0);

		t->page[i] = false;
		for (size_t k = 0; k < TILE_RECORDS && !t->page[i]; k++)
			t->page[i] = memmem(t->db.bytes.data + i * PAGE, PAGE,
					 tile + 32 * k, 32) != NULL;
		found += t->page[i];
	}
	assert_in_range(found, 2, 4);
	(void)sqlite3_finalize(s);
	db_close(db);
}

static int
begin(void **state)
{
	const char *text = getenv("CHANCERY_STRIDE");
	long n = text == NULL ? STRIDE : strtol(text, NULL, 10);

	(void)state;
	step = n < 1 ? 1 : (size_t)n;
	crypto_init();
	(void)snprintf(folder, sizeof folder, "%s/chancery-flips-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(folder));
	whole.name = "database";
	tell(&whole.f);
	take(&whole);
	assert_int_equal(whole.wal.bytes.len, 0);
	/* What happened last is only in the WAL: the machine stopped. */
	logged.name = "WAL";
	logged.in_wal = true;
	tell(&logged.f);
	append_posts(&logged.f, 2);
	sign_head(&logged.f, true);
	take(&logged);
	assert_true(logged.wal.bytes.len > 0);
	tiled.name = "tile's pages";
	begin_journal(&tiled.f);
	append_posts(&tiled.f, TILE_RECORDS - 2);
	sign_head(&tiled.f, true);
	assert_int_equal(journal_truncate(tiled.f.j), 0);
	take(&tiled);
	choose_pages(&tiled);
	return 0;
}

static void
release(struct target *t)
{
	buf_release(&t->db.bytes);
	buf_release(&t->wal.bytes);
	buf_release(&t->note);
	buf_release(&t->outside.text);
	end_fixture(&t->f);
}

static int
end(void **state)
{
	(void)state;
	release(&whole);
	release(&logged);
	release(&tiled);
	assert_int_equal(rmdir(folder), 0);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bits_of_a_note),
	    cmocka_unit_test(bits_of_the_database),
	    cmocka_unit_test(bits_of_the_wal),
	    cmocka_unit_test(bits_of_a_tile),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
