#ifndef COMPLIANCE_RANGES_H
#define COMPLIANCE_RANGES_H

/* Sets of sequence numbers as text: "3-9,12,20-31", sorted, never touching. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct range {
	uint64_t first, last;
};

/* Ordered, each ends after it begins, and none touches the one before. */
bool ranges_valid(const struct range *r, size_t count);
void ranges_put(struct buf *b, const struct range *r, size_t count);
/*
 * Takes the next range off the front of a text; false at its end, and when
 * it is malformed: then something is left of it.
 */
bool ranges_next(struct view *text, struct range *out);

#endif
