#ifndef COMPLIANCE_LINE_H
#define COMPLIANCE_LINE_H

/*
 * LF-terminated lines out of bytes that arrive in pieces. Bounded: a line
 * that grows past the limit is reported, never kept.
 */

#include <stddef.h>

#include "base/buf.h"

struct line_reader {
	struct buf in;
	size_t used;    /* bytes before this were handed out */
	size_t scanned; /* no LF between used and this */
};

enum line_verdict {
	LINE_WHOLE,
	LINE_MORE,
	LINE_LONG /* more than max bytes without an LF; nothing was taken */
};

/* Empty; release ends it so again. */
void line_reader_init(struct line_reader *r);
void line_reader_release(struct line_reader *r);
/* False when out of memory. */
bool line_reader_put(struct line_reader *r, struct view bytes);
/* The next line, without its LF, borrowed until the next put or release. */
enum line_verdict line_reader_next(
    struct line_reader *r, size_t max, struct view *line);

#endif
