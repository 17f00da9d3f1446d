#include "export/verify_tiles.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "export/verify_sql.h"
#include "export/verify_tree.h"

#define LEVELS 8
#define ENTRIES 256
#define TILE_BYTES (ENTRIES * 32)
#define NO_TILE UINT64_MAX

/* The tile of a level that is at hand. */
struct level {
	uint64_t at;     /* its index; NO_TILE: none yet */
	bool present;    /* the row is there and of the right length */
	uint64_t differ; /* entries that differ, the first of them */
	uint64_t first;
	uint8_t data[TILE_BYTES];
};

struct verify_tiles {
	const struct verify_files *files;
	struct verify_report *r;
	sqlite3 *db; /* that `get` reads */
	sqlite3_stmt *get;
	sqlite3 *failed;
	uint64_t compared;
	struct level level[LEVELS];
};

struct verify_tiles *
verify_tiles_new(const struct verify_files *files, struct verify_report *r)
{
	struct verify_tiles *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->files = files;
	t->r = r;
	for (unsigned i = 0; i < LEVELS; i++)
		t->level[i].at = NO_TILE;
	return t;
}

static void
turn_to(struct verify_tiles *t, sqlite3 *db)
{
	if (db == t->db)
		return;
	(void)sqlite3_finalize(t->get); /* nothing is written */
	t->get = db_prepare(
	    db, "SELECT data FROM tile WHERE level = ?1 AND idx = ?2");
	t->db = t->get != NULL ? db : NULL;
	if (t->get == NULL)
		t->failed = db;
}

/* The tile's row is in the file that has its last record, and later ones. */
static sqlite3 *
file_of(const struct verify_tiles *t, unsigned level, uint64_t index)
{
	unsigned shift = 8 * (level + 1);
	uint64_t last = shift >= 55 || index >= UINT64_C(1) << (55 - shift)
	    ? UINT64_MAX
	    : ((index + 1) << shift) - 1;
	size_t i = t->files->count - 1;

	while (i > 0 && t->files->file[i].first > last)
		i--;
	return t->files->file[i].db;
}

/* Records below entry `entry` of a level. */
static struct verify_place
records_of(unsigned level, uint64_t entry)
{
	unsigned shift = 8 * level;

	if (shift >= 56)
		return verify_nowhere();
	return verify_at_range(entry << shift, ((entry + 1) << shift) - 1);
}

static void
read_tile(struct verify_tiles *t, sqlite3 *db, unsigned level, uint64_t index)
{
	struct level *l = &t->level[level];
	struct view data;
	int rc;

	l->at = index;
	l->present = false;
	l->differ = 0;
	turn_to(t, db);
	if (t->get == NULL)
		return;
	(void)sqlite3_reset(t->get); /* tells of the step before again */
	if (sqlite3_bind_int64(t->get, 1, level) != SQLITE_OK ||
	    sqlite3_bind_int64(t->get, 2, (sqlite3_int64)index) != SQLITE_OK) {
		t->failed = db;
		return;
	}
	rc = db_step(t->get);
	if (rc != SQLITE_ROW) {
		if (rc != SQLITE_DONE)
			t->failed = db;
		return;
	}
	data = verify_sql_blob(t->get, 0);
	if (data.n != TILE_BYTES) {
		verify_report_finding(t->r, VERIFY_TILES,
		    records_of(level + 1, index),
		    "tile %u/%" PRIu64 " is not of %d bytes", level, index,
		    TILE_BYTES);
		return;
	}
	memcpy(l->data, data.p, TILE_BYTES);
	l->present = true;
}

static struct level *
tile_for(struct verify_tiles *t, unsigned level, uint64_t entry)
{
	struct level *l = &t->level[level];

	if (l->at != entry / ENTRIES)
		read_tile(t, file_of(t, level, entry / ENTRIES), level,
		    entry / ENTRIES);
	return l;
}

const uint8_t *
verify_tiles_leaf(struct verify_tiles *t, uint64_t seq)
{
	const struct level *l = tile_for(t, 0, seq);

	return l->present ? l->data + seq % ENTRIES * 32 : NULL;
}

/* The last entry of a tile: it must have been there and have agreed. */
static void
tile_ends(struct verify_tiles *t, unsigned level, const struct level *l)
{
	t->compared++;
	if (!l->present) {
		verify_report_finding(t->r, VERIFY_TILES,
		    records_of(level + 1, l->at),
		    "tile %u/%" PRIu64 " is missing", level, l->at);
		return;
	}
	if (l->differ > 1)
		verify_report_finding(t->r, VERIFY_TILES,
		    records_of(level + 1, l->at),
		    "tile %u/%" PRIu64 ": %" PRIu64 " more entries differ",
		    level, l->at, l->differ - 1);
}

void
verify_tiles_compare(struct verify_tiles *t, unsigned level, uint64_t index,
    const uint8_t hash[32])
{
	struct level *l;

	if (level >= LEVELS)
		return;
	l = tile_for(t, level, index);
	if (l->present &&
	    memcmp(l->data + index % ENTRIES * 32, hash, 32) != 0 &&
	    l->differ++ == 0)
		verify_report_finding(t->r, VERIFY_TILES,
		    records_of(level, index),
		    level == 0
			? "leaf text does not have the hash that entry %" PRIu64
			  " of tile %u/%" PRIu64 " says"
			: "entry %" PRIu64 " of tile %u/%" PRIu64
			  " is not the root of the tile below",
		    index % ENTRIES, level, l->at);
	if (index % ENTRIES == ENTRIES - 1)
		tile_ends(t, level, l);
}

static void
find_stray(struct verify_tiles *t, const struct verify_file *file,
    const char *sql, uint64_t level, uint64_t expected)
{
	sqlite3_stmt *s = db_prepare(file->db, sql);
	int rc;

	if (s == NULL ||
	    sqlite3_bind_int64(s, 1, (sqlite3_int64)level) != SQLITE_OK ||
	    (sqlite3_bind_parameter_count(s) > 1 &&
		sqlite3_bind_int64(s, 2, (sqlite3_int64)expected) !=
		    SQLITE_OK)) {
		(void)sqlite3_finalize(s); /* nothing was read */
		t->failed = file->db;
		return;
	}
	while ((rc = db_step(s)) == SQLITE_ROW)
		verify_report_finding(t->r, VERIFY_TILES, verify_nowhere(),
		    "stray tile %lld/%lld: the journal has no such tile",
		    (long long)sqlite3_column_int64(s, 0),
		    (long long)sqlite3_column_int64(s, 1));
	if (rc != SQLITE_DONE)
		t->failed = file->db;
	(void)sqlite3_finalize(s); /* result of the steps is known */
}

/* Of level 0 a file has no more copies than a full tile of level 1 lacks. */
static void
find_strays(
    struct verify_tiles *t, const struct verify_file *file, uint64_t end)
{
	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned shift = 8 * (level + 1);
		uint64_t full = shift < 64 ? end >> shift : 0;

		find_stray(t, file,
		    "SELECT level, idx FROM tile"
		    " WHERE level = ?1 AND idx >= ?2",
		    level, full);
		find_stray(t, file,
		    "SELECT level, idx FROM tile"
		    " WHERE level = ?1 AND idx < ?2",
		    level, level == 0 ? file->first >> 16 << 8 : 0);
	}
	find_stray(t, file, "SELECT level, idx FROM tile WHERE level >= ?1",
	    LEVELS, 0);
	find_stray(
	    t, file, "SELECT level, idx FROM tile WHERE level < ?1", 0, 0);
}

void
verify_tiles_finish(struct verify_tiles *t, uint64_t size)
{
	const struct verify_files *f = t->files;

	verify_report_count(t->r, VERIFY_TILES, t->compared);
	for (size_t i = 0; i < f->count; i++)
		find_strays(
		    t, &f->file[i], i + 1 == f->count ? size : f->file[i].end);
}

/* ---- the edge that a file begins with ---- */

/* Root of the perfect subtree over `count` entries of the tile at hand. */
static void
subtree(const struct level *l, uint64_t first, uint64_t count, uint8_t out[32])
{
	struct verify_tree tree;

	verify_tree_init(&tree);
	for (uint64_t i = 0; i < count; i++)
		verify_tree_add(
		    &tree, l->data + (first + i) % ENTRIES * 32, NULL, NULL);
	verify_tree_root(&tree, out);
}

/*
 * Node `at` of a height: from the tile that has it, or, when that tile is not
 * full yet, from the full tiles below.
 */
static bool
find_node(struct verify_tiles *t, sqlite3 *db, unsigned height, uint64_t at,
    uint8_t out[32])
{
	unsigned level = height / 8;
	uint64_t entries = UINT64_C(1) << height % 8;
	uint64_t first = at << height % 8;
	struct verify_tree tree;

	read_tile(t, db, level, first / ENTRIES);
	if (t->level[level].present) {
		subtree(&t->level[level], first, entries, out);
		return true;
	}
	verify_tree_init(&tree);
	for (uint64_t i = 0; i < entries; i++) {
		uint8_t below[32];

		if (level == 0)
			return false;
		read_tile(t, db, level - 1, first + i);
		if (!t->level[level - 1].present)
			return false;
		subtree(&t->level[level - 1], 0, ENTRIES, below);
		verify_tree_add(&tree, below, NULL, NULL);
	}
	verify_tree_root(&tree, out);
	return true;
}

bool
verify_tiles_range(
    struct verify_tiles *t, const struct verify_file *file, struct buf *out)
{
	uint64_t at = 0;
	bool ok = true;

	for (unsigned height = 55; ok && height-- > 0;) {
		uint8_t node[32];

		if ((file->first >> height & 1) == 0)
			continue;
		ok = find_node(t, file->db, height, at >> height, node);
		buf_put(out, node, sizeof(node));
		at += UINT64_C(1) << height;
	}
	for (unsigned i = 0; i < LEVELS; i++)
		t->level[i].at = NO_TILE;
	return ok && !out->failed;
}

sqlite3 *
verify_tiles_failed(const struct verify_tiles *t)
{
	return t->failed;
}

void
verify_tiles_free(struct verify_tiles *t)
{
	if (t == NULL)
		return;
	(void)sqlite3_finalize(t->get); /* nothing is written */
	free(t);
}
