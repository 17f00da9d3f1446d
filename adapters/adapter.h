#ifndef ADAPTERS_ADAPTER_H
#define ADAPTERS_ADAPTER_H

/*
 * What an adapter author needs: fill in struct adapter_ops, call
 * adapter_main(). The helper speaks the protocol of chancery-adapter(7) on
 * stdin and stdout and checks everything that arrives: form, order, counts,
 * each part against the commitment in its leaf, and the leaves against the
 * root. Callbacks see only events that passed. Whatever a library prints
 * on stdout goes to stderr.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "compliance/named.h"

#define ADAPTER_PROTOCOL 1
/* Longest line either side may write, without its LF. */
#define ADAPTER_LINE_MAX ((size_t)16 << 20)
#define ADAPTER_PARTS_MAX 8
#define ADAPTER_SALT_LEN 32
#define ADAPTER_HASH_LEN 32

/* Exit codes of adapter_main(). */
enum adapter_exit {
	ADAPTER_EXIT_DONE = 0,  /* the engine closed the pipe */
	ADAPTER_EXIT_USAGE = 2, /* handshake or configuration is wrong */
	ADAPTER_EXIT_SYSTEM = 3 /* the pipe cannot be read or written */
};

/* What a receipt claims; only the last lets the engine release events. */
enum adapter_state { ADAPTER_SENT, ADAPTER_ACCEPTED, ADAPTER_STORED };

/* From hello; lives as long as the adapter. Absent settings are NULL. */
struct adapter_config {
	const char *adapter;
	const char *software;
	const char *domain;
	const char *origin;
	const char *vkey;
	const char *directory;
	const char *target;
	const char *ca;
	const char *certificate;
	const char *key;
	const char *peer;
	bool strict;
};

/* What configure() promises the engine; set to stored, no read-back. */
struct adapter_offer {
	enum adapter_state state;
	bool readback;
};

/* A batch's header; lives from begin() to end() or abandon(). */
struct adapter_batch {
	uint64_t number;
	uint64_t first;
	uint64_t last;
	uint64_t count;
	uint64_t size;     /* of the tree that root and note speak of */
	const char *id;    /* "<origin>/<adapter>/<number>" */
	const char *root;  /* base64, as it came */
	const char *vkey;  /* of the key that signed it; NULL: the journal's */
	const char *note;  /* signed note (checkpoint) of the tree */
	struct view left;  /* hashes of [0,first), 32 bytes each */
	struct view right; /* hashes of [last+1,size) */
};

struct adapter_part {
	uint8_t salt[ADAPTER_SALT_LEN];
	struct view data;
};

/* Views live until the callback returns. */
struct adapter_event {
	uint64_t seq;
	uint64_t at; /* microseconds since 1970, UTC */
	unsigned kind;
	bool purged; /* the leaf names parts that no longer exist */
	struct view leaf;
	size_t parts;
	struct adapter_part part[ADAPTER_PARTS_MAX];
	struct named named; /* to be kept with it, not judged by the helper */
};

struct adapter_receipt {
	enum adapter_state state; /* preset from the offer */
	char location[256];       /* name at the far side, or empty */
	bool hashed;              /* sha256 and bytes are filled in */
	uint8_t sha256[ADAPTER_HASH_LEN];
	uint64_t bytes;
};

/* Lives until readback() returns. */
struct adapter_request {
	uint64_t number;
	uint64_t first;
	uint64_t last;
	const char *location;
};

/* A checkpoint of the journal by itself; lives until checkpoint() returns. */
struct adapter_checkpoint {
	uint64_t size;
	const char *note; /* signed note */
};

struct adapter;

/*
 * Callbacks return true, or false after adapter_fail(). self is what
 * adapter_main() was given. A callback that is NULL has nothing to do.
 */
struct adapter_ops {
	const char *program;
	bool (*configure)(void *self, struct adapter *a,
	    const struct adapter_config *c, struct adapter_offer *offer);
	bool (*begin)(
	    void *self, struct adapter *a, const struct adapter_batch *b);
	bool (*event)(
	    void *self, struct adapter *a, const struct adapter_event *e);
	/*
	 * Every event of the batch came and the proof holds. Returning true
	 * is the claim that goes into the journal: what it says must already
	 * be so.
	 */
	bool (*end)(void *self, struct adapter *a,
	    const struct adapter_batch *b, struct adapter_receipt *r);
	/* The batch ends without a receipt: drop what begin() took. */
	void (*abandon)(void *self);
	/* adapter_emit() every event of the request, then fill in sha256. */
	bool (*readback)(void *self, struct adapter *a,
	    const struct adapter_request *q, uint8_t sha256[ADAPTER_HASH_LEN]);
	/*
	 * Hands a checkpoint on, between batches; true claims the state of
	 * the offer. NULL: none are sent to this adapter.
	 */
	bool (*checkpoint)(
	    void *self, struct adapter *a, const struct adapter_checkpoint *c);
};

/* Speaks on stdin and stdout until the engine closes; an exit code. */
int adapter_main(const struct adapter_ops *ops, void *self);
/* The same on given descriptors. */
int adapter_run(const struct adapter_ops *ops, void *self, int in, int out);
/* States the reason of a failure (the first one counts); returns false. */
bool adapter_fail(struct adapter *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * Tells the engine that long work goes on; call it often, it writes only
 * when the last line is some seconds old.
 */
void adapter_alive(struct adapter *a);
/* One event of a read-back, in order; false (failed) when it cannot be. */
bool adapter_emit(struct adapter *a, const struct adapter_event *e);

/*
 * The event's protocol object as one line without LF, fields in fixed
 * order: equal events give equal bytes.
 */
void adapter_put_event(struct buf *b, const struct adapter_event *e);

#endif
