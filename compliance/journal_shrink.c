/* A sealed file without payloads, written anew without their room. */

#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

#include "compliance/journal.h"
#include "compliance/schema.h"
#include "compliance/segments.h"

#define WORTH 4 /* a file of which no such part is free stays as it is */
#define ROOM (64U << 20) /* that must stay free, for what is recorded now */
#define TILES_READ 8     /* compared with their leaves in one call */

struct journal_shrink {
	sqlite3 *db; /* the sealed file is attached to it as old */
	char *made, *path;
	unsigned segment;
	uint64_t first, end; /* its records */
	uint64_t read;       /* everything before agrees with its tiles */
	bool copied;
};

/* All rows but those of body, of which there are none. */
static const struct journal_copy_step steps[] = {
    {"SELECT COALESCE(MAX(seq), -1) FROM main.leaf",
	"INSERT INTO leaf SELECT * FROM old.leaf WHERE seq > ?1"
	" ORDER BY seq LIMIT ?2",
	500},
    {"SELECT COALESCE(MAX(idx), -1) FROM main.tile WHERE level = 0",
	"INSERT INTO tile SELECT * FROM old.tile WHERE level = 0"
	" AND idx > ?1 ORDER BY idx LIMIT ?2",
	32},
    {"SELECT COALESCE(MAX(size), -1) FROM main.checkpoint",
	"INSERT INTO checkpoint SELECT * FROM old.checkpoint WHERE size > ?1"
	" ORDER BY size LIMIT ?2",
	300},
    {"SELECT COALESCE(MAX(size), -1) FROM main.cosig",
	"INSERT INTO cosig SELECT * FROM old.cosig WHERE size IN"
	" (SELECT DISTINCT size FROM old.cosig WHERE size > ?1"
	" ORDER BY size LIMIT ?2)",
	50},
    {"SELECT COALESCE(MAX(size), -1) FROM main.stamp",
	"INSERT INTO stamp SELECT * FROM old.stamp WHERE size > ?1"
	" ORDER BY size LIMIT ?2",
	50},
};

static const char *const last_sql[] = {
    "PRAGMA synchronous=FULL",
    "BEGIN",
    "INSERT INTO meta SELECT * FROM old.meta",
    "INSERT INTO head SELECT * FROM old.head",
    schema_triggers_sql,
    "COMMIT",
};

static int
fail(struct journal *j)
{
	return journal_fail(
	    j, "%s: %s", j->shrink->made, sqlite3_errmsg(j->shrink->db));
}

void
journal_drop_shrink(struct journal *j)
{
	struct journal_shrink *s = j->shrink;

	if (s == NULL)
		return;
	db_close(s->db);
	if (s->made != NULL)
		journal_remove_files(s->made);
	free(s->made);
	free(s->path);
	free(s);
	j->shrink = NULL;
}

/* For the new file and its WAL, beside what goes on. */
static bool
has_room(const char *path, uint64_t bytes)
{
	struct statvfs disk;

	return statvfs(path, &disk) == 0 &&
	    (uint64_t)disk.f_bavail * disk.f_frsize >= 2 * bytes + ROOM;
}

/* Whether there is something to gain, and room for it: 1, 0, or -1. */
static int
is_worth(struct journal *j, unsigned segment)
{
	struct journal_shrink *s = j->shrink;
	sqlite3 *db;
	uint64_t free_pages, pages, page, one;
	int r = -1;

	db = journal_open_sealed(j, segment, &s->first, &s->end);
	if (db == NULL)
		return -1;
	if (db_row(db, "PRAGMA freelist_count", NULL, NULL, 0, &free_pages,
		1) == 1 &&
	    db_row(db, "PRAGMA page_count", NULL, NULL, 0, &pages, 1) == 1 &&
	    db_row(db, "PRAGMA page_size", NULL, NULL, 0, &page, 1) == 1)
		r = db_row(
		    db, "SELECT 1 FROM body LIMIT 1", NULL, NULL, 0, &one, 1);
	if (r == 0)
		r = free_pages >= pages / WORTH &&
		    has_room(j->path, (pages - free_pages) * page);
	else if (r == 1)
		r = 0;
	if (r == 1 && db_checkpoint_truncate(db) != 0)
		r = 0; /* another time */
	if (r < 0)
		(void)journal_fail(j, "%s: %s", sqlite3_db_filename(db, "main"),
		    sqlite3_errmsg(db));
	db_close(db);
	return r;
}

/* 1: begun; 0: nothing to do; -1. */
static int
begin(struct journal *j, unsigned segment)
{
	struct journal_shrink *s = calloc(1, sizeof *s);
	char why[200];
	int r;

	j->shrink = s;
	if (s == NULL || (s->path = segments_path(j->path, segment)) == NULL ||
	    asprintf(&s->made, "%s.small", s->path) < 0) {
		if (s != NULL)
			s->made = NULL;
		return journal_fail(j, "out of memory");
	}
	s->segment = segment;
	r = is_worth(j, segment);
	/* What a crash left is in nobody's way but ours. */
	journal_remove_files(s->made);
	if (r != 1)
		return r;
	s->read = s->first;
	s->db = journal_new_file(s->made, s->path, why, sizeof why);
	if (s->db == NULL)
		return journal_fail(j, "%s", why);
	return db_exec(s->db, "COMMIT") == 0 &&
		db_exec(s->db, "PRAGMA foreign_keys=OFF") == 0 &&
		db_exec(s->db, "PRAGMA synchronous=NORMAL") == 0
	    ? 1
	    : fail(j);
}

static int
copy(struct journal *j)
{
	struct journal_shrink *s = j->shrink;
	int more, frames, tables = -1;

	more = db_exec(s->db, "BEGIN") == 0
	    ? journal_copy_some(s->db, steps, sizeof steps / sizeof steps[0])
	    : -1;
	if (more >= 0)
		tables = journal_copy_tables(s->db);
	if (more < 0 || tables < 0 || db_exec(s->db, "COMMIT") != 0 ||
	    db_checkpoint_passive(s->db, &frames) != 0)
		return fail(j);
	if (more == 1 || tables == 1)
		return 0;
	for (size_t i = 0; i < sizeof last_sql / sizeof last_sql[0]; i++)
		if (db_exec(s->db, last_sql[i]) != 0)
			return fail(j);
	s->copied = true;
	return db_checkpoint_truncate(s->db) == 0 ? 0 : fail(j);
}

/* One tile's leaves, as they are in the new file. */
static bool
is_whole(sqlite3_stmt *leaves, sqlite3_stmt *tile, uint64_t first)
{
	uint8_t hashes[TREE_TILE_LEN];
	unsigned n = 0;
	bool same;

	(void)sqlite3_bind_int64(leaves, 1, (sqlite3_int64)first);
	(void)sqlite3_bind_int64(
	    leaves, 2, (sqlite3_int64)(first + TREE_TILE_WIDTH));
	for (; n < TREE_TILE_WIDTH && sqlite3_step(leaves) == SQLITE_ROW; n++)
		tree_leaf_hash(sqlite3_column_blob(leaves, 0),
		    (size_t)sqlite3_column_bytes(leaves, 0),
		    hashes + (size_t)n * TREE_HASH_LEN);
	(void)sqlite3_bind_int64(
	    tile, 1, (sqlite3_int64)(first / TREE_TILE_WIDTH));
	same = n == TREE_TILE_WIDTH && sqlite3_step(tile) == SQLITE_ROW &&
	    sqlite3_column_bytes(tile, 0) == TREE_TILE_LEN &&
	    memcmp(sqlite3_column_blob(tile, 0), hashes, TREE_TILE_LEN) == 0;
	(void)sqlite3_reset(leaves); /* `same` tells */
	(void)sqlite3_reset(tile);
	return same;
}

/* 1: all was read; 0: call again; -1. */
static int
read_back(struct journal *j)
{
	struct journal_shrink *s = j->shrink;
	sqlite3_stmt *leaves = db_prepare(s->db,
	    "SELECT bytes FROM main.leaf WHERE seq >= ? AND seq < ?"
	    " ORDER BY seq");
	sqlite3_stmt *tile = db_prepare(
	    s->db, "SELECT data FROM main.tile WHERE level = 0 AND idx = ?");
	bool whole = leaves != NULL && tile != NULL;

	for (unsigned i = 0; whole && i < TILES_READ && s->read < s->end; i++) {
		whole = is_whole(leaves, tile, s->read);
		s->read += TREE_TILE_WIDTH;
	}
	(void)sqlite3_finalize(leaves); /* `whole` tells */
	(void)sqlite3_finalize(tile);
	if (!whole)
		return journal_fail(j, "%s: the copy is not whole", s->made);
	return s->read >= s->end;
}

/* Its leaves lead to the head that the sealed file has. */
static int
check_head(struct journal *j)
{
	struct journal_shrink *s = j->shrink;
	struct journal *n;
	char why[256];
	uint64_t one;
	bool same;

	if (db_row(s->db,
		"SELECT 1 FROM main.head n JOIN old.head o ON n.size = o.size"
		" AND n.root = o.root AND n.note IS o.note",
		NULL, NULL, 0, &one, 1) != 1)
		return journal_fail(j, "%s: another head", s->made);
	db_close(s->db);
	s->db = NULL;
	n = journal_open_file(j->path, s->made, why, sizeof why);
	if (n == NULL)
		return journal_fail(j, "%s", why);
	same = n->size == s->end && n->first == s->first &&
	    n->segment == s->segment;
	journal_close(n);
	return same ? 0 : journal_fail(j, "%s: another file", s->made);
}

static void
remove_beside(const char *path, const char *suffix)
{
	char name[4096];
	int n = snprintf(name, sizeof name, "%s%s", path, suffix);

	if (n > 0 && (size_t)n < sizeof name)
		(void)unlink(name); /* if it stays, it is empty */
}

/*
 * Log and index of the old file go first, on the disk, too: who opens the new
 * one finds none that tells another length, and after a power cut no log of
 * another file. A reader of the old one goes on with it.
 */
static int
put_in_place(struct journal *j)
{
	const struct journal_shrink *s = j->shrink;
	uint64_t first, end;
	sqlite3 *db;

	journal_close_old(j);
	if (journal_give_mode(s->made, s->path) != 0)
		return journal_fail(j, "%s: the mode cannot be set", s->made);
	remove_beside(s->path, "-wal");
	remove_beside(s->path, "-shm");
	if (file_sync_parent(s->path) != 0 || rename(s->made, s->path) != 0 ||
	    file_sync_parent(s->path) != 0)
		return journal_fail(
		    j, "%s: cannot be put in its place", s->path);
	/* Readers without the right to make them find them again. */
	db = journal_open_sealed(j, s->segment, &first, &end);
	db_close(db);
	return db != NULL ? 0 : -1;
}

int
journal_shrink(struct journal *j, unsigned segment, struct range *records)
{
	int r;

	*records = (struct range){0, 0};
	if (j->shrink != NULL && j->shrink->segment != segment)
		journal_drop_shrink(j);
	if (j->shrink == NULL) {
		r = begin(j, segment);
		if (r != 1)
			journal_drop_shrink(j);
		return r == 1 ? JOURNAL_SHRINKING : r;
	}
	r = j->shrink->copied ? read_back(j) : copy(j);
	if (r == 0)
		return JOURNAL_SHRINKING;
	if (r == 1)
		r = check_head(j) == 0 && put_in_place(j) == 0 ? 1 : -1;
	if (r == 1)
		*records = (struct range){j->shrink->first, j->shrink->end - 1};
	journal_drop_shrink(j);
	return r == 1 ? JOURNAL_SHRUNK : -1;
}
