#ifndef EXPORT_VERIFY_PROOF_H
#define EXPORT_VERIFY_PROOF_H

/*
 * One proof file (chancery-journal(5), PROOF) verified from itself and the
 * journal's key alone: leaf hash, inclusion, signature, commitments.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_leaf.h"
#include "export/verify_note.h"
#include "export/verify_report.h"
#include "export/verify_tree.h"

#define VERIFY_PROOF_PARTS 8

struct verify_proof_part {
	bool given;
	uint8_t salt[32];
	struct buf data;
};

struct verify_proof {
	uint64_t index;
	size_t hashes;
	uint8_t hash[VERIFY_TREE_DEPTH][32];
	struct view note; /* borrowed from the text */
	bool has_record;  /* of the extra line: */
	struct buf leaf;
	struct verify_proof_part part[VERIFY_PROOF_PARTS];
	struct buf keys; /* the key chain; empty when there is none */
};

/*
 * The form of a proof; false with line (from 1) and reason. Release ends it
 * either way.
 */
bool verify_proof_parse(struct view text, struct verify_proof *out,
    unsigned *line, const char **why);
void verify_proof_release(struct verify_proof *p);

/*
 * Verifies one of several proofs of the current file; true when a leaf was
 * found, which borrows from p. Release p either way.
 */
bool verify_proof_judge(struct view text, const struct verify_key *key,
    struct verify_report *r, struct verify_proof *p, struct verify_leaf *leaf);
/* Verifies and reports as one file; key NULL: nothing is shown. */
void verify_proof_run(
    const char *path, const struct verify_key *key, struct verify_report *r);

#endif
