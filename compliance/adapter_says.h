#ifndef COMPLIANCE_ADAPTER_SAYS_H
#define COMPLIANCE_ADAPTER_SAYS_H

/*
 * One line of an adapter, checked for form; chancery-adapter(7). Whether the
 * adapter may say it now, and whether it is true, is not judged here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "compliance/leaf.h"
#include "compliance/named.h"

#define ADAPTER_SAYS_PROTOCOL 1
/* Longest program and location, and what is kept of a reason. */
#define ADAPTER_SAYS_TEXT_MAX 1024

enum adapter_said {
	SAID_READY,
	SAID_ALIVE,
	SAID_RECEIPT,
	SAID_ERROR,
	SAID_EVENT,
	SAID_READBACK_END,
	SAID_ANCHORED,
	SAID_OTHER /* a type that a later protocol may know: to be ignored */
};

/* What an adapter can promise of a batch; as bits 1 << state in a set. */
enum adapter_promise { PROMISE_SENT, PROMISE_ACCEPTED, PROMISE_STORED };
#define PROMISE_COUNT 3

struct adapter_part_said {
	uint8_t salt[LEAF_SALT_LEN];
	struct view data;
};

/* Views are borrowed from `json`; fields not said are zero. */
struct adapter_says {
	enum adapter_said said;
	struct json_t *json;
	/* ready */
	uint64_t protocol;
	struct view program;
	unsigned promises;
	bool readback;
	bool checkpoints;
	/* receipt, error, readback-end */
	bool has_batch; /* an error may be about none */
	uint64_t batch;
	uint64_t count;
	uint8_t root[32];
	enum adapter_promise promise;
	struct view location;
	bool hashed; /* sha256 and bytes were given */
	uint8_t sha256[32];
	uint64_t bytes;
	struct view reason;
	/* anchored, with reason when it failed and promise when not */
	uint64_t size;
	/* event */
	uint64_t seq;
	unsigned kind;
	struct view leaf;
	unsigned parts;
	struct adapter_part_said part[LEAF_PARTS_MAX];
	struct named named;
};

/* 0, or -1 with the reason; release in both cases. */
int adapter_says_parse(
    struct view line, struct adapter_says *out, const char **why);
void adapter_says_release(struct adapter_says *s);
/* "sent", "accepted", "stored" */
const char *adapter_promise_name(enum adapter_promise p);

#endif
