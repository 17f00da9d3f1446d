#include "export/verify_tiles.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "export/verify_sql.h"

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
	sqlite3 *db;
	struct verify_report *r;
	sqlite3_stmt *get;
	bool failed;
	uint64_t compared;
	struct level level[LEVELS];
};

struct verify_tiles *
verify_tiles_new(sqlite3 *db, struct verify_report *r)
{
	struct verify_tiles *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->db = db;
	t->r = r;
	t->get = db_prepare(
	    db, "SELECT data FROM tile WHERE level = ?1 AND idx = ?2");
	for (unsigned i = 0; i < LEVELS; i++)
		t->level[i].at = NO_TILE;
	if (t->get == NULL) {
		free(t);
		return NULL;
	}
	return t;
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
read_tile(struct verify_tiles *t, unsigned level, uint64_t index)
{
	struct level *l = &t->level[level];
	struct view data;
	int rc;

	l->at = index;
	l->present = false;
	l->differ = 0;
	(void)sqlite3_reset(t->get); /* tells of the step before again */
	if (sqlite3_bind_int64(t->get, 1, level) != SQLITE_OK ||
	    sqlite3_bind_int64(t->get, 2, (sqlite3_int64)index) != SQLITE_OK) {
		t->failed = true;
		return;
	}
	rc = sqlite3_step(t->get);
	if (rc != SQLITE_ROW) {
		t->failed |= rc != SQLITE_DONE;
		return;
	}
	data = verify_sql_bytes(t->get, 0);
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
		read_tile(t, level, entry / ENTRIES);
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
find_stray(
    struct verify_tiles *t, const char *sql, uint64_t level, uint64_t expected)
{
	sqlite3_stmt *s = db_prepare(t->db, sql);
	int rc;

	if (s == NULL ||
	    sqlite3_bind_int64(s, 1, (sqlite3_int64)level) != SQLITE_OK ||
	    (sqlite3_bind_parameter_count(s) > 1 &&
		sqlite3_bind_int64(s, 2, (sqlite3_int64)expected) !=
		    SQLITE_OK)) {
		t->failed = true;
		return;
	}
	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		verify_report_finding(t->r, VERIFY_TILES, verify_nowhere(),
		    "stray tile %lld/%lld: the journal has no such tile",
		    (long long)sqlite3_column_int64(s, 0),
		    (long long)sqlite3_column_int64(s, 1));
	t->failed |= rc != SQLITE_DONE;
	(void)sqlite3_finalize(s); /* result of the steps is known */
}

void
verify_tiles_finish(struct verify_tiles *t, uint64_t size)
{
	verify_report_count(t->r, VERIFY_TILES, t->compared);
	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned shift = 8 * (level + 1);
		uint64_t full = shift < 64 ? size >> shift : 0;

		find_stray(t,
		    "SELECT level, idx FROM tile"
		    " WHERE level = ?1 AND idx >= ?2",
		    level, full);
		find_stray(t,
		    "SELECT level, idx FROM tile"
		    " WHERE level = ?1 AND idx < 0",
		    level, 0);
	}
	find_stray(
	    t, "SELECT level, idx FROM tile WHERE level >= ?1", LEVELS, 0);
	find_stray(t, "SELECT level, idx FROM tile WHERE level < ?1", 0, 0);
}

bool
verify_tiles_sound(const struct verify_tiles *t)
{
	return !t->failed;
}

void
verify_tiles_free(struct verify_tiles *t)
{
	if (t == NULL)
		return;
	(void)sqlite3_finalize(t->get); /* nothing is written */
	free(t);
}
