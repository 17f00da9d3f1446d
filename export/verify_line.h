#ifndef EXPORT_VERIFY_LINE_H
#define EXPORT_VERIFY_LINE_H

#include <stdbool.h>

#include "base/buf.h"

/* Longest line of records that is read. */
#define VERIFY_LINE_MAX ((size_t)17 << 20)

/* Takes the next line, without its LF, off the front; false: no whole one. */
bool verify_line(struct view *rest, struct view *line);

#endif
