#ifndef COMPLIANCE_JOURNAL_IMPORT_H
#define COMPLIANCE_JOURNAL_IMPORT_H

/*
 * Records that are lost here and held elsewhere come back byte for byte,
 * through the gate of journal.h, and what they name with them: all of them,
 * when they lead to the root that was signed, or none. It is one transaction
 * for each file of the journal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "compliance/journal.h"
#include "compliance/leaf.h"
#include "compliance/named.h"

/* A record as an archive holds it; parts 0 when its payload was purged. */
struct journal_record {
	uint64_t seq;
	struct view leaf;
	unsigned parts;
	uint8_t salt[LEAF_PARTS_MAX][LEAF_SALT_LEN];
	struct view data[LEAF_PARTS_MAX];
	struct named named;
};

enum journal_import_item {
	IMPORT_END,
	IMPORT_RECORD,
	IMPORT_NOTE,  /* a checkpoint over the records that came */
	IMPORT_FAILED /* the reason is in import->why */
};

struct journal_import {
	/* The next item of the sources; views live until the next call. */
	enum journal_import_item (*next)(struct journal_import *import,
	    struct journal_record *record, struct view *note);
	void *arg;
	/* What was signed, and what the records therefore must lead to. */
	uint64_t size;
	uint8_t root[32];
	/*
	 * When the signed size is out of reach: takes what there is up to the
	 * last checkpoint of the sources that the journal's key signed.
	 */
	bool partial;
	/*
	 * Records behind a seal make another file. When an import fails later
	 * the files before are kept: only for a journal that is made anew.
	 */
	bool roll;
	/* A checkpoint from elsewhere, taken when the records reach it. */
	struct view extra;
	/* Results. */
	uint64_t appended;
	uint64_t unclosed; /* epochs whose closing checkpoint did not come */
	bool unread;       /* refused: a source ended in what is no record */
	bool misses;       /* refused: `missing` is in none of the sources */
	uint64_t missing;
	char why[256];
	/* Of journal_import() itself. */
	struct {
		bool begun;
		bool met;          /* the signed size was met with its root */
		bool again;        /* the record is still due */
		bool turn;         /* it belongs into another file */
		bool seal_vouched; /* by a checkpoint */
		bool purged;       /* payloads of files before this one */
		uint64_t start;    /* size before */
		unsigned segment;  /* and file */
		uint64_t closing;  /* a checkpoint ends an epoch there, or 0 */
		struct journal_record record;
	} state;
};

/*
 * 0; 1 when nothing was changed for the reason in import->why; -1 when
 * storage failed, by journal_error(). After 1 and -1 the journal is to be
 * closed.
 */
int journal_import(struct journal *j, struct journal_import *import);

struct note;
/* Whether it is a checkpoint of this journal, signed by its key. */
bool journal_note_holds(
    struct journal *j, struct view text, struct note *note, const char **why);

#endif
