#ifndef EXPORT_VERIFY_LINE_H
#define EXPORT_VERIFY_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Longest line of records that is read. */
#define VERIFY_LINE_MAX ((size_t)17 << 20)

/* Takes the next line, without its LF, off the front; false: no whole one. */
bool verify_line(struct view *rest, struct view *line);
/* n bytes in lower-case hexadecimal digits, and nothing else. */
bool verify_hex(struct view text, uint8_t *out, size_t n);

#endif
