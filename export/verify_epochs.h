#ifndef EXPORT_VERIFY_EPOCHS_H
#define EXPORT_VERIFY_EPOCHS_H

/*
 * The epochs of a journal, from its own records: which key signs which
 * checkpoints, whether each key was announced by the one before, and whether
 * each epoch was closed by its own key.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_chain.h"
#include "export/verify_leaf.h"
#include "export/verify_note.h"
#include "export/verify_report.h"

struct verify_epoch {
	uint64_t seq;    /* of the record that tells the key */
	uint64_t from;   /* smallest checkpoint that the key may sign */
	uint64_t number; /* from 0 under each name of the journal */
	bool told;       /* its key could be read */
	bool announces;  /* and the digest of the next */
	bool clean;      /* the epoch before ends with a checkpoint */
	bool closed;     /* that is there */
	uint64_t good;   /* largest checkpoint that its key signed */
	struct verify_key key;
	uint8_t next[32];
};

struct verify_epochs {
	struct verify_epoch *epoch; /* in order of their records */
	size_t count;
	bool out_of_memory;
};

/* Where a checkpoint came from. */
enum verify_epochs_source {
	VERIFY_EPOCHS_ROW,    /* of the checkpoint table */
	VERIFY_EPOCHS_NEWEST, /* the head row */
	VERIFY_EPOCHS_OUTSIDE /* elsewhere: its origin tells the name */
};

/* The open record, each key record, and each recover record, in order. */
void verify_epochs_open(struct verify_epochs *e, const struct verify_leaf *l,
    struct verify_report *r);
void verify_epochs_key(struct verify_epochs *e, const struct verify_leaf *l,
    struct verify_report *r);
/* A new name begins, with an epoch 0 of its own. */
void verify_epochs_recover(
    struct verify_epochs *e, const struct verify_leaf *l);
/* The index of the epoch of that key; count when there is none. */
size_t verify_epochs_find(
    const struct verify_epochs *e, const struct verify_key *key);
/*
 * Whether the key of the epoch that the checkpoint belongs to signed it, and
 * no other key of the journal did; findings say what is wrong.
 */
bool verify_epochs_signed(struct verify_epochs *e, const struct verify_note *n,
    enum verify_epochs_source source, struct verify_report *r);
/*
 * After the last checkpoint, over the records [from,size); outside: size of
 * the newest from elsewhere. witness, NULL when there is none, has cosigned so
 * many records.
 */
void verify_epochs_finish(const struct verify_epochs *e, uint64_t from,
    uint64_t size, uint64_t outside, const char *witness, uint64_t cosigned,
    struct verify_report *r);
/* The same as a key chain; false when out of memory or a key is unknown. */
bool verify_epochs_chain(
    const struct verify_epochs *e, struct verify_chain *out);
void verify_epochs_release(struct verify_epochs *e);

#endif
