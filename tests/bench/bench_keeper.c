#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/db.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/note.h"

/*
 * The gate beside plain SQLite inserting the same rows, and beside the bare
 * disk, in one run. Usage: bench_keeper [EVENTS] in a folder on the disk.
 */

#define PART_LEN 250
#define LEAF_LEN 180
#define ROUNDS 3
#define WAL_PAGES 1000

static const unsigned batches[] = {1, 10, 100, 1000};

static double
now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0)
		exit(3);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_keeper: %s: %s\n", what, why);
	exit(3);
}

static void
remove_database(const char *path)
{
	static const char *const suffix[] = {"", "-wal", "-shm"};
	char name[256];

	for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
		(void)snprintf(name, sizeof name, "%s%s", path, suffix[i]);
		if (unlink(name) != 0 && errno != ENOENT)
			die(name, strerror(errno));
	}
}

static struct journal *
new_journal(const char *path)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {1};
	struct crypto_key *key = crypto_key_new(seed);
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct journal *j;
	struct buf vkey;
	char why[256];

	if (key == NULL)
		die("key", "cannot be made");
	crypto_key_public(key, public);
	crypto_key_free(key);
	buf_init(&vkey);
	note_put_vkey(&vkey, view_text("bench.test/journal/1"), public);
	if (journal_create(path, "00000000-0000-4000-8000-000000000001",
		"bench.test/journal/1", buf_text(&vkey), why, sizeof why) != 0)
		die("create", why);
	buf_release(&vkey);
	j = journal_open(path, why, sizeof why);
	if (j == NULL)
		die("open", why);
	return j;
}

/* Events a second through the gate, checkpoints included. */
static double
run_gate(const char *path, unsigned events, unsigned batch)
{
	struct journal *j = new_journal(path);
	struct journal_event *group = calloc(batch, sizeof *group);
	uint8_t part[PART_LEN];
	double start, elapsed;
	int mark = 0;

	if (group == NULL)
		die("group", "out of memory");
	memset(part, 'x', sizeof part);
	start = now();
	for (unsigned done = 0; done < events; done += batch) {
		for (unsigned i = 0; i < batch; i++) {
			group[i].kind = EVENT_POST;
			group[i].parts = 2;
			group[i].part[0] = view_of(part, sizeof part);
			group[i].part[1] = view_of(part, sizeof part);
		}
		if (journal_append(j, group, batch) != 0)
			die("append", journal_error(j));
		if (journal_wal_pages(j) < mark)
			mark = 0;
		if (journal_wal_pages(j) - mark >= WAL_PAGES) {
			mark = journal_wal_pages(j);
			if (journal_checkpoint(j) != 0)
				die("checkpoint", journal_error(j));
		}
	}
	elapsed = now() - start;
	journal_close(j);
	free(group);
	remove_database(path);
	return events / elapsed;
}

static void
step(sqlite3 *db, sqlite3_stmt *s)
{
	if (sqlite3_step(s) != SQLITE_DONE || sqlite3_reset(s) != SQLITE_OK)
		die("sqlite", sqlite3_errmsg(db));
}

/* The same rows without triggers, hashes, salts or tree. */
static double
run_plain(const char *path, unsigned events, unsigned batch)
{
	char why[256];
	sqlite3 *db = db_open(path, DB_CREATE, DB_SYNC_FULL, why, sizeof why);
	sqlite3_stmt *leaf, *body, *begin, *commit;
	uint8_t bytes[PART_LEN];
	double start, elapsed;
	int pages = 0;

	if (db == NULL)
		die("open", why);
	memset(bytes, 'x', sizeof bytes);
	if (db_exec(db,
		"CREATE TABLE leaf(seq INTEGER PRIMARY KEY, at INTEGER,"
		" kind INTEGER, bytes BLOB);"
		"CREATE TABLE body(id INTEGER PRIMARY KEY, salt BLOB,"
		" data BLOB)") != 0)
		die("schema", sqlite3_errmsg(db));
	leaf = db_prepare(db, "INSERT INTO leaf VALUES (?, ?, ?, ?)");
	body = db_prepare(db, "INSERT INTO body VALUES (?, ?, ?)");
	begin = db_prepare(db, "BEGIN IMMEDIATE");
	commit = db_prepare(db, "COMMIT");
	start = now();
	for (unsigned seq = 0; seq < events;) {
		step(db, begin);
		for (unsigned i = 0; i < batch; i++, seq++) {
			(void)sqlite3_bind_int64(leaf, 1, seq);
			(void)sqlite3_bind_int64(leaf, 2, seq);
			(void)sqlite3_bind_int(leaf, 3, 3);
			(void)sqlite3_bind_blob(
			    leaf, 4, bytes, LEAF_LEN, SQLITE_STATIC);
			step(db, leaf);
			for (unsigned p = 0; p < 2; p++) {
				(void)sqlite3_bind_int64(
				    body, 1, (sqlite3_int64)seq << 8 | p);
				(void)sqlite3_bind_blob(
				    body, 2, bytes, 32, SQLITE_STATIC);
				(void)sqlite3_bind_blob(
				    body, 3, bytes, PART_LEN, SQLITE_STATIC);
				step(db, body);
			}
		}
		step(db, commit);
		pages += (int)(batch / 7 + 3); /* about what a commit writes */
		if (pages >= WAL_PAGES) {
			pages = 0;
			if (db_checkpoint_passive(db, NULL) != 0)
				die("checkpoint", sqlite3_errmsg(db));
		}
	}
	elapsed = now() - start;
	(void)sqlite3_finalize(leaf);
	(void)sqlite3_finalize(body);
	(void)sqlite3_finalize(begin);
	(void)sqlite3_finalize(commit);
	db_close(db);
	remove_database(path);
	return events / elapsed;
}

/* Appends of 4 KiB with fdatasync, a second. */
static double
run_disk(const char *path)
{
	static const uint8_t page[4096];
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	double start = now();
	unsigned n = 0;

	if (fd < 0)
		die(path, strerror(errno));
	for (; now() - start < 0.5; n++)
		if (write(fd, page, sizeof page) != sizeof page ||
		    fdatasync(fd) != 0)
			die(path, strerror(errno));
	if (close(fd) != 0 || unlink(path) != 0)
		die(path, strerror(errno));
	return n / (now() - start);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v)
{
	qsort(v, ROUNDS, sizeof *v, compare);
	return v[ROUNDS / 2];
}

int
main(int argc, char **argv)
{
	unsigned events = argc > 1 ? (unsigned)atoi(argv[1]) : 40000;
	static const char path[] = "bench_keeper.db";

	if (events < 1000)
		die("usage", "bench_keeper [EVENTS], at least 1000");
	crypto_init();
	remove_database(path);
	(void)printf("fdatasync_4k %.0f 1/s\n", run_disk("bench_keeper.tmp"));
	for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
		unsigned n = batches[i];
		unsigned count = n == 1 ? events / 10 : events;
		double gate[ROUNDS], plain[ROUNDS];

		count -= count % n;
		for (unsigned r = 0; r < ROUNDS; r++) {
			gate[r] = run_gate(path, count, n);
			plain[r] = run_plain(path, count, n);
		}
		(void)printf(
		    "keeper_append_%u %.0f events/s\n", n, median(gate));
		(void)printf(
		    "sqlite_insert_%u %.0f events/s\n", n, median(plain));
		(void)printf("keeper_share_%u %.2f ratio\n", n,
		    median(gate) / median(plain));
	}
	return 0;
}
