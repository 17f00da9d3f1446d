#ifndef EXPORT_VERIFY_TILES_H
#define EXPORT_VERIFY_TILES_H

/*
 * The stored tiles against the hashes that come to be, level by level, each
 * tile read once.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "export/verify_files.h"
#include "export/verify_report.h"

struct verify_tiles;

/* NULL when memory ran out. The files outlive it. */
struct verify_tiles *verify_tiles_new(
    const struct verify_files *files, struct verify_report *r);
/*
 * The hashes of the perfect subtrees that make up [0, size), as the tiles of
 * the file say that begins there; false when one of them is not there.
 */
bool verify_tiles_range(
    struct verify_tiles *t, const struct verify_file *file, struct buf *out);
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
/* The database that failed in between, or NULL. */
sqlite3 *verify_tiles_failed(const struct verify_tiles *t);
/* NULL is allowed. */
void verify_tiles_free(struct verify_tiles *t);

#endif
