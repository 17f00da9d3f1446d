#ifndef BASE_IPC_H
#define BASE_IPC_H

/*
 * Framed messages between two roles over a local stream socket, on a libuv
 * loop. Frame: u32 length of what follows, u16 version (IPC_VERSION), u16
 * type, payload. A frame that breaks the rules ends the link.
 *
 * Frames sent in one turn of the loop leave in one write. The queue is
 * unbounded by design of the callers, who bound what they have in flight.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

#define IPC_VERSION 1
#define IPC_FRAME_MAX (16U << 20)

struct ipc;

/* fd is -1, or a descriptor that came with the frame and is now the callee's. */
typedef void ipc_frame_cb(
    void *arg, uint16_t type, struct view payload, int fd);
/*
 * The peer is gone, and all that it said was handed over, or it broke the
 * protocol. Called once, from the loop; the callee frees the link with
 * ipc_free().
 */
typedef void ipc_closed_cb(void *arg, const char *why);

/* Takes fd over. NULL when out of memory. */
struct ipc *ipc_new(uv_loop_t *loop, int fd, ipc_frame_cb *on_frame,
    ipc_closed_cb *on_closed, void *arg);
/* Queues a frame; after the link is broken it is dropped silently. */
void ipc_send(struct ipc *link, uint16_t type, struct view payload);
/* The same, and passes fd along (a copy: the caller keeps its own). */
void ipc_send_fd(struct ipc *link, uint16_t type, struct view payload, int fd);
/* Builds a frame in place: put the payload into the buffer, then end it. */
struct buf *ipc_begin(struct ipc *link, uint16_t type);
void ipc_end(struct ipc *link);
/* Writes what is queued now, as far as the socket takes it. */
void ipc_flush(struct ipc *link);
/* Bytes queued and not yet taken by the socket. */
size_t ipc_queued(const struct ipc *link);
/*
 * While held, no frame is handed over and nothing more is read. Letting go
 * hands over at once what had come in: never from within the link's callbacks.
 */
void ipc_hold(struct ipc *link, bool hold);
/* What is queued is lost. NULL is allowed, and from within its callbacks. */
void ipc_free(struct ipc *link);

/* The framing alone, for fuzzing and tests: bytes in, frames out. */
struct ipc_decoder {
	struct buf in;
	size_t used;
};
enum ipc_verdict { IPC_FRAME, IPC_MORE, IPC_BROKEN };
/* Bytes are put into d->in; release ends it. */
void ipc_decoder_init(struct ipc_decoder *d);
void ipc_decoder_release(struct ipc_decoder *d);
/* The next frame; the payload is borrowed until the next call. */
enum ipc_verdict ipc_decoder_next(
    struct ipc_decoder *d, uint16_t *type, struct view *payload);

#endif
