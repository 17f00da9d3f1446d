#ifndef EXPORT_VERIFY_POINTS_H
#define EXPORT_VERIFY_POINTS_H

/*
 * Points of the tree whose root somebody stated: signed notes inside and
 * outside the journal, the head row, batch records. Collected first, then
 * met in order of size while the tree grows.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_report.h"
#include "export/verify_tree.h"

enum verify_source {
	VERIFY_SOURCE_CHECKPOINT, /* row of the checkpoint table */
	VERIFY_SOURCE_NOTE,       /* newest note in the head row */
	VERIFY_SOURCE_HEAD,       /* head row itself: not signed */
	VERIFY_SOURCE_BATCH,      /* batch record: ref = its number */
	VERIFY_SOURCE_RECOVER,    /* recover record: ref = its number */
	VERIFY_SOURCE_CLAIM,      /* conflict record: ref = its number */
	VERIFY_SOURCE_PROOF,      /* the same; its root must be another */
	VERIFY_SOURCE_OUTSIDE,    /* note from elsewhere: ref = its index */
};

struct verify_point {
	uint64_t size;
	uint64_t ref;
	enum verify_source source;
	bool signed_; /* by the key in force */
	bool met;     /* the tree had this root */
	uint8_t root[32];
};

struct verify_points {
	struct verify_point *point;
	size_t count, cap;
	size_t next;
	uint64_t good;   /* largest size whose signed root was met */
	uint64_t agreed; /* largest size where any stated root was met */
	uint64_t failed;
	uint64_t leapt, leapt_outside; /* end in files that were not given */
	bool any_signed;
};

/* False when out of memory. */
bool verify_points_add(struct verify_points *p, struct verify_point point);
/* By size; once, after the last was added. */
void verify_points_sort(struct verify_points *p);
/*
 * Compares all points of the tree's size with the root of the records, and
 * says, when the tiles go another way (tiles not NULL), which of the two
 * agrees with the stated root.
 */
void verify_points_check(struct verify_points *p,
    const struct verify_tree *records, const struct verify_tree *tiles,
    struct verify_report *r);
/* Whether the records gave the root of each checkpoint row of that size. */
bool verify_points_met(const struct verify_points *p, uint64_t size);
/* Points below that size cannot be compared: the records are not given. */
void verify_points_leap(struct verify_points *p, uint64_t size);
/* Size of the next point, or UINT64_MAX. */
uint64_t verify_points_next(const struct verify_points *p);
/* Reports the points that the tree never reached. */
void verify_points_finish(
    struct verify_points *p, uint64_t size, struct verify_report *r);
void verify_points_release(struct verify_points *p);

#endif
