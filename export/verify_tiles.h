#ifndef EXPORT_VERIFY_TILES_H
#define EXPORT_VERIFY_TILES_H

/*
 * The stored tiles against the hashes that come to be, level by level, each
 * tile read once.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "export/verify_report.h"

struct verify_tiles;

/* NULL when SQL failed or memory ran out. */
struct verify_tiles *verify_tiles_new(sqlite3 *db, struct verify_report *r);
/* What the tiles say is the hash of a record; NULL when none says. */
const uint8_t *verify_tiles_leaf(struct verify_tiles *t, uint64_t seq);
/*
 * Compares a node with its tile's entry; indices of a level only grow.
 * Level 0 are the leaves.
 */
void verify_tiles_compare(struct verify_tiles *t, unsigned level,
    uint64_t index, const uint8_t hash[32]);
/* At the end, for a journal of `size` records: tiles too few or too many. */
void verify_tiles_finish(struct verify_tiles *t, uint64_t size);
/* False when SQL failed in between. */
bool verify_tiles_sound(const struct verify_tiles *t);
/* NULL is allowed. */
void verify_tiles_free(struct verify_tiles *t);

#endif
