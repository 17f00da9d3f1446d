#ifndef EXPORT_VERIFY_BODIES_H
#define EXPORT_VERIFY_BODIES_H

/*
 * Payloads of a range of records, in order: commitments, form, and that each
 * is there or was purged.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "export/verify_control.h"
#include "export/verify_leaf.h"
#include "export/verify_report.h"

struct verify_bodies_result {
	uint64_t purged;     /* events without payload, as recorded */
	uint64_t repeats;    /* ids that came before, not long ago */
	uint64_t repeat_seq; /* the first of them, */
	uint64_t repeat_of;  /* and where it came before */
};

/* Records [from,to); to UINT64_MAX: to the end and beyond. */
struct verify_bodies_range {
	uint64_t from, to;
};

struct verify_bodies;

/* NULL when SQL failed or memory ran out. */
struct verify_bodies *verify_bodies_new(sqlite3 *db,
    const struct verify_control *control, struct verify_report *r,
    struct verify_bodies_range range);
/* All these return false when SQL failed. */
/* The payloads of a sound leaf of the range; leaves come in order. */
bool verify_bodies_leaf(struct verify_bodies *b, const struct verify_leaf *l);
/* Records whose leaves are missing or unsound: payloads are not judged. */
bool verify_bodies_skip(struct verify_bodies *b, uint64_t from, uint64_t until);
/* After the last leaf: what is left belongs to no record. */
bool verify_bodies_finish(
    struct verify_bodies *b, struct verify_bodies_result *out);
/* NULL is allowed. */
void verify_bodies_free(struct verify_bodies *b);

/*
 * The same for the whole range, reading the leaves too, which are judged
 * elsewhere. size: of the journal by its head row.
 */
bool verify_bodies_alone(sqlite3 *db, const struct verify_control *control,
    struct verify_report *r, struct verify_bodies_range range, uint64_t size,
    struct verify_bodies_result *out);

#endif
