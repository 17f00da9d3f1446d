#include "compliance/line_io.h"

#include <stdlib.h>
#include <unistd.h>

#include "compliance/line.h"

#define READ_SIZE ((size_t)64 << 10)

struct line_io {
	uv_pipe_t pipe;
	uv_idle_t again; /* hands over lines that waited for line_io_read() */
	uv_write_t write;
	const struct line_io_events *events;
	void *arg;
	struct line_reader in;
	size_t max_line;
	struct buf out;    /* being filled */
	struct buf flight; /* being written */
	unsigned handles;
	bool writing;
	bool reading;
	bool handing; /* inside hand_over() */
	bool freed;
	bool closed; /* the owner was told */
	char buffer[READ_SIZE];
};

static void
handle_closed(uv_handle_t *handle)
{
	struct line_io *io = handle->data;

	if (--io->handles > 0)
		return;
	line_reader_release(&io->in);
	buf_release(&io->out);
	buf_release(&io->flight);
	free(io);
}

void
line_io_free(struct line_io *io)
{
	if (io == NULL || io->freed)
		return;
	io->freed = true;
	uv_close((uv_handle_t *)&io->again, handle_closed);
	uv_close((uv_handle_t *)&io->pipe, handle_closed);
}

static void
end(struct line_io *io, const char *why, bool gone)
{
	if (io->closed || io->freed)
		return;
	io->closed = true;
	(void)uv_read_stop((uv_stream_t *)&io->pipe); /* always 0 */
	io->events->closed(io->arg, why, gone);
}

static void
fail(struct line_io *io, const char *why)
{
	end(io, why, false);
}

static void
fail_uv(struct line_io *io, int error)
{
	if (error == UV_EOF || error == UV_ECONNRESET || error == UV_EPIPE)
		end(io, "closed by the other side", true);
	else
		fail(io, uv_strerror(error));
}

static void
hand_over(struct line_io *io)
{
	struct view line;

	if (io->handing)
		return;
	io->handing = true;
	while (io->reading && !io->freed && !io->closed) {
		enum line_verdict v =
		    line_reader_next(&io->in, io->max_line, &line);

		if (v == LINE_MORE)
			break;
		if (v == LINE_LONG) {
			fail(io, "a line is too long");
			break;
		}
		io->events->line(io->arg, line);
	}
	io->handing = false;
}

static void
on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
	struct line_io *io = handle->data;

	(void)size;
	*out = uv_buf_init(io->buffer, sizeof io->buffer);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct line_io *io = stream->data;

	if (n == 0)
		return;
	if (n < 0) {
		fail_uv(io, (int)n);
		return;
	}
	if (!line_reader_put(&io->in, view_of(bytes->base, (size_t)n))) {
		fail(io, "out of memory");
		return;
	}
	hand_over(io);
}

static void
on_again(uv_idle_t *idle)
{
	struct line_io *io = idle->data;

	(void)uv_idle_stop(idle); /* always 0 */
	hand_over(io);
	if (io->reading && !io->freed && !io->closed)
		(void)uv_read_start(
		    (uv_stream_t *)&io->pipe, on_alloc, on_read);
}

struct line_io *
line_io_new(uv_loop_t *loop, int fd, size_t max_line,
    const struct line_io_events *events, void *arg)
{
	struct line_io *io = calloc(1, sizeof *io);

	if (io == NULL) {
		(void)close(fd); /* nothing was written */
		return NULL;
	}
	io->events = events;
	io->arg = arg;
	io->max_line = max_line;
	line_reader_init(&io->in);
	buf_init(&io->out);
	buf_init(&io->flight);
	(void)uv_idle_init(loop, &io->again);   /* always 0 */
	(void)uv_pipe_init(loop, &io->pipe, 0); /* always 0 */
	io->again.data = io;
	io->pipe.data = io;
	io->handles = 2;
	if (uv_pipe_open(&io->pipe, fd) != 0) {
		(void)close(fd); /* nothing was written */
		line_io_free(io);
		return NULL;
	}
	return io;
}

void
line_io_limit(struct line_io *io, size_t max_line)
{
	io->max_line = max_line;
}

void
line_io_read(struct line_io *io, bool on)
{
	if (io->freed || io->closed || io->reading == on)
		return;
	io->reading = on;
	if (on)
		(void)uv_idle_start(&io->again, on_again); /* always 0 */
	else {
		(void)uv_idle_stop(&io->again); /* always 0 */
		(void)uv_read_stop((uv_stream_t *)&io->pipe);
	}
}

struct buf *
line_io_out(struct line_io *io)
{
	return &io->out;
}

/* What got no memory is owed, too: the other side learns it by the end. */
static bool
is_due(const struct line_io *io)
{
	return io->out.len > 0 || io->out.failed;
}

static void
on_written(uv_write_t *request, int status)
{
	struct line_io *io = request->data;

	io->writing = false;
	buf_clear(&io->flight);
	if (io->freed)
		return;
	if (status != 0) {
		fail_uv(io, status);
		return;
	}
	if (is_due(io))
		line_io_send(io);
	else if (io->events->drained != NULL)
		io->events->drained(io->arg);
}

void
line_io_send(struct line_io *io)
{
	struct buf empty = io->flight;
	uv_buf_t bytes;

	if (io->writing || io->freed || io->closed || !is_due(io))
		return;
	io->flight = io->out;
	io->out = empty;
	if (io->flight.failed) {
		fail(io, "out of memory");
		return;
	}
	bytes = uv_buf_init((char *)io->flight.data, (unsigned)io->flight.len);
	io->write.data = io;
	io->writing = true;
	if (uv_write(&io->write, (uv_stream_t *)&io->pipe, &bytes, 1,
		on_written) != 0) {
		io->writing = false;
		fail(io, "cannot be written to");
	}
}

size_t
line_io_queued(const struct line_io *io)
{
	return io->out.len + io->flight.len;
}
