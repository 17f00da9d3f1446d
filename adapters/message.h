#ifndef ADAPTERS_MESSAGE_H
#define ADAPTERS_MESSAGE_H

/* The engine's lines of the adapter protocol, parsed and checked. */

#include <stdbool.h>

#include <jansson.h>

#include "adapters/adapter.h"
#include "base/buf.h"

enum message_type {
	MESSAGE_HELLO,
	MESSAGE_BATCH,
	MESSAGE_EVENT,
	MESSAGE_END,
	MESSAGE_READBACK,
	MESSAGE_CHECKPOINT,
	MESSAGE_OTHER /* well formed, but of no known type */
};

/* Owns what its member points to; one message lives at a time. */
struct message {
	enum message_type type;
	json_t *json;
	struct buf bytes;  /* decoded hashes */
	uint64_t protocol; /* hello */
	uint64_t number;   /* batch, end, readback */
	union {
		struct adapter_config config;
		struct adapter_batch batch;
		struct adapter_event event;
		struct adapter_request request;
		struct adapter_checkpoint checkpoint;
	};
};

/* Empty; ended by message_release(), after which it may be used again. */
void message_init(struct message *m);
/*
 * Parses one line; the previous content is released. False with the reason
 * appended to why when the line is not a message of this protocol.
 */
bool message_parse(struct message *m, struct view line, struct buf *why);
void message_release(struct message *m);

/*
 * Whether each part opens the commitment that its leaf holds, the leaf is
 * the event's own, and at is the leaf's time. Fills in e->at.
 */
bool message_check_event(struct adapter_event *e, struct buf *why);

#endif
