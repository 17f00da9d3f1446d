#ifndef EXPORT_NEUTRAL_H
#define EXPORT_NEUTRAL_H

/* Text from evidence, made safe for a terminal or a log. */

#include "base/buf.h"

/*
 * Puts v as UTF-8 that cannot move the cursor, change colours, start a new
 * line or reorder the line: C0 and C1 controls, DEL, line separators and
 * bidirectional controls become \uXXXX, bytes that are not UTF-8 \xXX.
 */
void neutral_put(struct buf *b, struct view v);

#endif
