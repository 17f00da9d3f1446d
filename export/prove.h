#ifndef EXPORT_PROVE_H
#define EXPORT_PROVE_H

/*
 * chancery-export prove: one record with the proof that it is in the journal,
 * chancery-journal(5), PROOF.
 */

#include <stdint.h>

#include "base/buf.h"

/* Appends the proof of a record of a journal; an exit status, 0: done. */
int prove_put(const char *journal, uint64_t seq, struct buf *out);
/* argv[0] is the command's word. An exit status. */
int prove_main(int argc, char **argv);

#endif
