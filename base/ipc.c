#include "base/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define FRAME_HEAD 8 /* length, version, type */
#define READ_SIZE (256U << 10)
#define READS_PER_TURN 16

/* A descriptor waits here until the frame that starts at `offset` is sent. */
struct outgoing_fd {
	size_t offset;
	int fd;
};

struct ipc {
	uv_loop_t *loop;
	uv_poll_t poll;
	uv_prepare_t
	    prepare; /* sends what the turn queued, before the loop waits */
	int fd;
	ipc_frame_cb *on_frame;
	ipc_closed_cb *on_closed;
	void *arg;
	struct ipc_decoder in;
	struct buf out;
	size_t out_sent;
	size_t frame_at; /* start of the frame under construction */
	struct outgoing_fd fds[8];
	size_t fd_count;
	int incoming[8];
	size_t incoming_count;
	int handles;  /* libuv handles not closed yet */
	bool writing; /* the poll waits for room */
	bool held;    /* frames wait */
	bool mute;    /* the peer is gone: only what it said is still read */
	bool broken;  /* on_closed was or will be called */
	bool in_callback;
	bool freed;
};

void
ipc_decoder_init(struct ipc_decoder *d)
{
	buf_init(&d->in);
	d->used = 0;
}

void
ipc_decoder_release(struct ipc_decoder *d)
{
	buf_release(&d->in);
}

enum ipc_verdict
ipc_decoder_next(struct ipc_decoder *d, uint16_t *type, struct view *payload)
{
	struct reader r =
	    reader_of(view_of(d->in.data + d->used, d->in.len - d->used));
	uint32_t len;
	uint16_t version;

	if (r.n < FRAME_HEAD) {
		buf_consume(&d->in, d->used);
		d->used = 0;
		return IPC_MORE;
	}
	len = reader_u32(&r);
	version = reader_u16(&r);
	*type = reader_u16(&r);
	if (len < FRAME_HEAD - 4 || len > IPC_FRAME_MAX ||
	    version != IPC_VERSION)
		return IPC_BROKEN;
	if (r.n < len - (FRAME_HEAD - 4)) {
		buf_consume(&d->in, d->used);
		d->used = 0;
		return IPC_MORE;
	}
	*payload = reader_take(&r, len - (FRAME_HEAD - 4));
	d->used += 4 + (size_t)len;
	return IPC_FRAME;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void
handle_closed(uv_handle_t *handle)
{
	struct ipc *link = handle->data;

	if (--link->handles == 0)
		free(link);
}

static void
drop_output(struct ipc *link)
{
	for (size_t i = 0; i < link->fd_count; i++)
		(void)close(link->fds[i].fd); /* never sent */
	link->fd_count = 0;
	link->out_sent = 0;
	buf_release(&link->out);
}

static void
release(struct ipc *link)
{
	drop_output(link);
	for (size_t i = 0; i < link->incoming_count; i++)
		(void)close(link->incoming[i]); /* never claimed */
	if (link->fd >= 0)
		(void)close(link->fd); /* a socket: nothing to report */
	ipc_decoder_release(&link->in);
	uv_close((uv_handle_t *)&link->poll, handle_closed);
	uv_close((uv_handle_t *)&link->prepare, handle_closed);
}

void
ipc_free(struct ipc *link)
{
	if (link == NULL || link->freed)
		return;
	link->freed = true;
	link->broken = true;
	(void)uv_poll_stop(&link->poll); /* cannot fail on an active handle */
	if (!link->in_callback)
		release(link);
}

static void
fail(struct ipc *link, const char *why)
{
	if (link->broken)
		return;
	link->broken = true;
	(void)uv_poll_stop(&link->poll); /* cannot fail on an active handle */
	link->on_closed(link->arg, why);
}

static void
poll_again(struct ipc *link)
{
	int events =
	    (link->held ? 0 : UV_READABLE) | (link->writing ? UV_WRITABLE : 0);

	if (events != 0)
		(void)uv_poll_start(&link->poll, events, on_poll);
	else
		(void)uv_poll_stop(&link->poll); /* always 0 */
}

static void
want_write(struct ipc *link, bool want)
{
	if (link->writing == want)
		return;
	link->writing = want;
	poll_again(link);
}

/* What the peer said before it went is still read, and then its end. */
static void
go_mute(struct ipc *link)
{
	link->mute = true;
	drop_output(link);
	link->writing = false;
	poll_again(link);
}

/* Keeps the descriptors that came with a read, in order of arrival. */
static void
keep_descriptors(struct ipc *link, struct msghdr *msg)
{
	size_t room = sizeof link->incoming / sizeof link->incoming[0];

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	     c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (link->incoming_count < room)
				link->incoming[link->incoming_count++] = fd;
			else
				(void)close(fd); /* more than any peer sends */
		}
	}
}

/* 1: read something; 0: nothing there now; -1: end or error. */
static int
read_some(struct ipc *link)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof control.bytes,
	};
	ssize_t n;

	if (!buf_reserve(&link->in.in, READ_SIZE))
		return -1;
	iov.iov_base = link->in.in.data + link->in.in.len;
	iov.iov_len = READ_SIZE;
	do {
		n = recvmsg(link->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
	if (n == 0)
		return -1;
	keep_descriptors(link, &msg);
	link->in.in.len += (size_t)n;
	return 1;
}

static int
claim_descriptor(struct ipc *link)
{
	int fd;

	if (link->incoming_count == 0)
		return -1;
	fd = link->incoming[0];
	link->incoming_count--;
	memmove(link->incoming, link->incoming + 1,
	    link->incoming_count * sizeof link->incoming[0]);
	return fd;
}

/* Hands over all complete frames; false when the link broke. */
static bool
deliver(struct ipc *link)
{
	struct view payload;
	uint16_t type;

	while (!link->broken && !link->held) {
		switch (ipc_decoder_next(&link->in, &type, &payload)) {
		case IPC_MORE:
			return true;
		case IPC_BROKEN:
			fail(link, "malformed frame");
			return false;
		case IPC_FRAME:
			link->on_frame(link->arg, type, payload,
			    link->incoming_count > 0 ? claim_descriptor(link)
						     : -1);
			break;
		}
	}
	return !link->broken;
}

static void
on_readable(struct ipc *link)
{
	for (int i = 0; i < READS_PER_TURN && !link->broken && !link->held;
	     i++) {
		int got = read_some(link);

		if (got == 0)
			break;
		if (got < 0) {
			fail(link, "closed by the peer");
			return;
		}
		if (!deliver(link))
			return;
	}
	if (link->in.in.len == 0 && link->in.in.cap > READ_SIZE)
		buf_release(&link->in.in);
}

/* The poll has stopped; there is no more to come than what is here. */
static void
on_hang_up(struct ipc *link)
{
	if (link->held) {
		go_mute(link);
		return;
	}
	while (!link->broken && !link->held && read_some(link) > 0)
		(void)deliver(link); /* a broken link has told so */
	if (link->held)
		go_mute(link);
	else
		fail(link, "closed by the peer");
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct ipc *link = poll->data;

	link->in_callback = true;
	if (status < 0)
		on_hang_up(link);
	if (!link->broken && (events & UV_WRITABLE) != 0)
		ipc_flush(link);
	if (!link->broken && (events & UV_READABLE) != 0)
		on_readable(link);
	link->in_callback = false;
	if (link->freed)
		release(link);
}

static void
on_prepare(uv_prepare_t *prepare)
{
	struct ipc *link = prepare->data;

	if (link->broken || link->writing || link->out.len == link->out_sent)
		return;
	link->in_callback = true;
	ipc_flush(link);
	link->in_callback = false;
	if (link->freed)
		release(link);
}

struct ipc *
ipc_new(uv_loop_t *loop, int fd, ipc_frame_cb *on_frame,
    ipc_closed_cb *on_closed, void *arg)
{
	struct ipc *link = calloc(1, sizeof *link);

	if (link == NULL)
		return NULL;
	link->loop = loop;
	link->fd = fd;
	link->on_frame = on_frame;
	link->on_closed = on_closed;
	link->arg = arg;
	ipc_decoder_init(&link->in);
	buf_init(&link->out);
	if (uv_poll_init(loop, &link->poll, fd) != 0) {
		free(link);
		return NULL;
	}
	(void)uv_prepare_init(loop, &link->prepare); /* always 0 */
	link->handles = 2;
	link->poll.data = link;
	link->prepare.data = link;
	if (uv_poll_start(&link->poll, UV_READABLE, on_poll) != 0) {
		ipc_free(link);
		return NULL;
	}
	(void)uv_prepare_start(&link->prepare, on_prepare); /* always 0 */
	uv_unref((uv_handle_t *)&link->prepare);
	return link;
}

struct buf *
ipc_begin(struct ipc *link, uint16_t type)
{
	link->frame_at = link->out.len;
	buf_put_u32(&link->out, 0);
	buf_put_u16(&link->out, IPC_VERSION);
	buf_put_u16(&link->out, type);
	return &link->out;
}

void
ipc_end(struct ipc *link)
{
	size_t len;

	if (link->out.failed)
		log_fatal("out of memory in a queue to another role");
	len = link->out.len - link->frame_at - 4;
	if (len > IPC_FRAME_MAX)
		log_fatal("frame of %zu bytes to another role", len);
	for (size_t i = 0; i < 4; i++)
		link->out.data[link->frame_at + i] =
		    (uint8_t)(len >> (24 - 8 * i));
	if (link->broken || link->mute)
		link->out.len = link->out_sent = 0;
}

void
ipc_send(struct ipc *link, uint16_t type, struct view payload)
{
	buf_put_view(ipc_begin(link, type), payload);
	ipc_end(link);
}

void
ipc_send_fd(struct ipc *link, uint16_t type, struct view payload, int fd)
{
	size_t room = sizeof link->fds / sizeof link->fds[0];
	int copy;

	if (link->fd_count == room)
		ipc_flush(link);
	if (link->broken || link->mute)
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0 || link->fd_count == room)
		log_fatal(
		    "a descriptor cannot be passed on: %s", strerror(errno));
	link->fds[link->fd_count++] =
	    (struct outgoing_fd){.offset = link->out.len, .fd = copy};
	ipc_send(link, type, payload);
}

/* How far one send may go: not past the next frame with a descriptor. */
static size_t
send_limit(const struct ipc *link)
{
	for (size_t i = 0; i < link->fd_count; i++)
		if (link->fds[i].offset > link->out_sent)
			return link->fds[i].offset;
	return link->out.len;
}

static ssize_t
send_some(struct ipc *link)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {
	    .iov_base = link->out.data + link->out_sent,
	    .iov_len = send_limit(link) - link->out_sent,
	};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	bool with_fd =
	    link->fd_count > 0 && link->fds[0].offset == link->out_sent;
	ssize_t n;

	if (with_fd) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof control.bytes;
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(
		    CMSG_DATA(&control.align), &link->fds[0].fd, sizeof(int));
	}
	do {
		n = sendmsg(link->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0 && with_fd) {
		(void)close(link->fds[0].fd); /* the peer has its copy now */
		link->fd_count--;
		memmove(link->fds, link->fds + 1,
		    link->fd_count * sizeof link->fds[0]);
	}
	return n;
}

void
ipc_hold(struct ipc *link, bool hold)
{
	if (link->held == hold || link->broken)
		return;
	link->held = hold;
	poll_again(link);
	if (hold)
		return;
	link->in_callback = true;
	(void)deliver(link); /* a broken link has told so */
	link->in_callback = false;
	if (link->freed)
		release(link);
}

void
ipc_flush(struct ipc *link)
{
	while (!link->broken && !link->mute && link->out_sent < link->out.len) {
		ssize_t n = send_some(link);

		if (n < 0) {
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				break;
			if (errno == EPIPE || errno == ECONNRESET) {
				go_mute(link);
				return;
			}
			fail(link, strerror(errno));
			return;
		}
		link->out_sent += (size_t)n;
	}
	if (link->broken)
		return;
	if (link->out_sent == link->out.len) {
		link->out_sent = 0;
		buf_clear(&link->out);
		if (link->out.cap > (1U << 20))
			buf_release(&link->out);
	} else if (link->out_sent > (1U << 20) && link->fd_count == 0) {
		buf_consume(&link->out, link->out_sent);
		link->out_sent = 0;
	}
	want_write(link, link->out.len > link->out_sent);
}

size_t
ipc_queued(const struct ipc *link)
{
	return link->out.len - link->out_sent;
}
