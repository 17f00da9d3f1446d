#ifndef COMPLIANCE_ADD_KEY_H
#define COMPLIANCE_ADD_KEY_H

/* What teaches a witness the next key: chancery-witness(8), /add-key. */

#include <stdint.h>

#include "base/buf.h"

#include "compliance/scan.h"

/*
 * Appends what follows the proof in the body of an /add-key: the key record
 * of that number, the hashes of the records before it, and the checkpoint
 * that it ends. 0, or -1 with scan_error(). Moves the scan.
 */
int add_key_put(struct scan *s, uint64_t seq, struct buf *out);

#endif
