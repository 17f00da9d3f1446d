#ifndef COMPLIANCE_LINE_IO_H
#define COMPLIANCE_LINE_IO_H

/*
 * Lines over a local stream socket on a libuv loop, with back-pressure both
 * ways: the owner fills the outgoing buffer again when it was drained, and
 * may stop the reading while it is busy.
 */

#include <stdbool.h>
#include <uv.h>

#include "base/buf.h"

struct line_io;

/* All may free the line_io, which then calls nothing more. */
struct line_io_events {
	void (*line)(void *arg, struct view line);
	/* The socket took everything; NULL when nobody cares. */
	void (*drained)(void *arg);
	/* Once. gone: by the other side; else an error, or a long line. */
	void (*closed)(void *arg, const char *why, bool gone);
};

/* Takes fd over, also when it fails (NULL: out of memory, or no socket). */
struct line_io *line_io_new(uv_loop_t *loop, int fd, size_t max_line,
    const struct line_io_events *events, void *arg);
/* Another longest line from now on. */
void line_io_limit(struct line_io *io, size_t max_line);
/* Off at first. Lines that were read already wait while it is off. */
void line_io_read(struct line_io *io, bool on);
/* The buffer to put outgoing bytes into; line_io_send() sets them off. */
struct buf *line_io_out(struct line_io *io);
/* Writes as far as the socket takes it now, the rest from the loop. */
void line_io_send(struct line_io *io);
/* Bytes that the socket has not taken yet. */
size_t line_io_queued(const struct line_io *io);
/* What is queued but not taken is lost. NULL is allowed. */
void line_io_free(struct line_io *io);

#endif
