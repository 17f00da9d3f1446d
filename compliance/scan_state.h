#ifndef COMPLIANCE_SCAN_STATE_H
#define COMPLIANCE_SCAN_STATE_H

/* Inside of the scan, shared by its files scan*.c only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/db.h"

#include "compliance/scan.h"
#include "compliance/tree.h"

/*
 * Records are read a page at a time, so that no read transaction stays open
 * between calls: it would keep the keeper from emptying its WAL.
 */
#define PAGE_RECORDS 256
#define PAGE_BYTES (1U << 20)

enum scan_statement {
	S_RECORDS,
	S_BODIES,
	S_LEAF_TIME,
	S_LEAF_RANGE,
	S_TILE,
	S_SIZE,
	S_NOTE,
	S_CHECKPOINT,
	S_LINES,
	S_ACKED,
	S_BATCH,
	S_FIRST_BODY,
	S_NEXT_BODY,
	S_BASES,
	S_CONTROL_BEFORE,
	S_CHECKPOINT_FROM,
	S_TOKEN,
	S_HOLD,
	S_COSIGS,
	SCAN_STATEMENTS
};

#define SCAN_META 3

/* A stretch of the page's bytes; the page may move while it is filled. */
struct span {
	size_t at, n;
};

struct page_record {
	uint64_t seq, at;
	unsigned kind, parts, found;
	struct span leaf;
	struct span salt[SCAN_PARTS_MAX], data[SCAN_PARTS_MAX];
};

/* The first `count` hashes of a tile. */
struct tile {
	uint64_t index;
	unsigned count;
	uint8_t hashes[TREE_TILE_LEN];
};

/* One file of the journal, open. */
struct scan_file {
	sqlite3 *db;
	sqlite3_stmt *stmt[SCAN_STATEMENTS];
	unsigned segment;
};

struct scan {
	char *path;     /* of segment 0, or of the one file that is read */
	uint64_t first; /* record that can be read */
	bool alone;     /* the path names a later segment: only that is read */
	bool copy;
	struct scan_file newest;
	struct scan_file old; /* the sealed file that was read last */
	uint64_t *base;       /* first record of each file from 0 to newest */
	unsigned bodiless;    /* so many files have no payload any more */
	char *meta[SCAN_META];
	uint64_t next;
	struct buf bytes;
	struct buf named[NAMED_COUNT];
	struct page_record record[PAGE_RECORDS];
	size_t count, used;
	/* Two a level: a range has a left and a right edge. */
	struct tile *tile[TREE_TILE_LEVELS][2];
	unsigned oldest[TREE_TILE_LEVELS];
	char error[256];
};

/* SQLite's own words for scan_fail(). */
int scan_fail_sql(struct scan *s, const struct scan_file *f);
/* Takes a file as the newest one. 0 or -1. */
int scan_turn_to(struct scan *s, unsigned segment);
/* Turns to the file that the keeper may have begun meanwhile. 0 or -1. */
int scan_refresh(struct scan *s);
/* The open file that has the record; NULL: scan_error(). */
struct scan_file *scan_file_of(struct scan *s, uint64_t seq);
void scan_close_file(struct scan_file *f);

#endif
