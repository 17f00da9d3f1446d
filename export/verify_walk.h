#ifndef EXPORT_VERIFY_WALK_H
#define EXPORT_VERIFY_WALK_H

/*
 * The one pass over a journal: leaves and bodies merged in order, hash tree
 * and tiles, commitments, completeness, time.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "export/verify_control.h"
#include "export/verify_files.h"
#include "export/verify_points.h"
#include "export/verify_report.h"

struct verify_walk_input {
	const struct verify_files *files;
	struct verify_control *control; /* finished */
	struct verify_points *points;   /* sorted */
	struct verify_report *report;
	uint64_t head_size; /* as the newest head row says */
};

struct verify_walk_result {
	uint64_t size; /* records found, the last one's number plus one */
	uint64_t first_at, last_at;
	uint64_t purged;        /* events without payload, as recorded */
	uint64_t unknown_kinds; /* control records of later versions */
	uint64_t repeats;       /* posts or envelopes seen before */
	uint64_t repeat_seq, repeat_of;
	bool complete; /* no record missing that no tile replaces */
};

/*
 * False when SQL failed, and then *db did (sqlite3_errmsg), or memory ran out.
 */
bool verify_walk(const struct verify_walk_input *in,
    struct verify_walk_result *out, sqlite3 **db);

#endif
