#ifndef COMPLIANCE_CHAIN_H
#define COMPLIANCE_CHAIN_H

/*
 * The keys of a journal's epochs as its records tell them, and the key chain
 * that proves them to who knows but one. chancery-journal(5), KEY CHAIN. All
 * results: 0, or -1 with scan_error().
 */

#include <stdint.h>

#include "base/buf.h"

struct scan;

struct chain_epoch {
	uint64_t epoch;
	uint64_t seq;     /* of the record that tells the key */
	uint64_t from;    /* smallest checkpoint that this key may sign */
	uint8_t next[32]; /* digest of the next key */
};

/* The epoch of a checkpoint of that size; its vkey is appended. */
int chain_epoch(
    struct scan *s, uint64_t size, struct chain_epoch *out, struct buf *vkey);
/* The newest epoch, which signs what comes. */
int chain_newest(struct scan *s, struct chain_epoch *out, struct buf *vkey);
/* Epoch 0 of the name that signs. */
int chain_genesis(struct scan *s, struct chain_epoch *out, struct buf *vkey);
/*
 * Appends the chain text up to the key that signs checkpoints of that size:
 * one block for the record that begins the name, or that tells the key which
 * is given, and one for each key record after it.
 */
int chain_put(struct scan *s, uint64_t size, const char *vkey, struct buf *out);

#endif
