#include "compliance/line.h"

#include <string.h>

/* A buffer that once held a long line is given back when it is empty. */
#define KEEP_MAX ((size_t)256 << 10)

void
line_reader_init(struct line_reader *r)
{
	buf_init(&r->in);
	r->used = 0;
	r->scanned = 0;
}

void
line_reader_release(struct line_reader *r)
{
	buf_release(&r->in);
	r->used = 0;
	r->scanned = 0;
}

static void
compact(struct line_reader *r)
{
	if (r->used == 0)
		return;
	buf_consume(&r->in, r->used);
	r->scanned -= r->used;
	r->used = 0;
	if (r->in.len == 0 && r->in.cap > KEEP_MAX)
		buf_release(&r->in);
}

bool
line_reader_put(struct line_reader *r, struct view bytes)
{
	compact(r);
	buf_put_view(&r->in, bytes);
	return !r->in.failed;
}

enum line_verdict
line_reader_next(struct line_reader *r, size_t max, struct view *line)
{
	const uint8_t *lf = NULL;
	size_t end;

	if (r->in.len > r->scanned)
		lf = memchr(
		    r->in.data + r->scanned, '\n', r->in.len - r->scanned);
	end = lf != NULL ? (size_t)(lf - r->in.data) : r->in.len;
	if (end - r->used > max)
		return LINE_LONG;
	if (lf == NULL) {
		r->scanned = end;
		return LINE_MORE;
	}
	*line = view_of(r->in.data + r->used, end - r->used);
	r->used = end + 1;
	r->scanned = r->used;
	return LINE_WHOLE;
}
