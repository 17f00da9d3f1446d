#ifndef EXPORT_VERIFY_ANCHORS_H
#define EXPORT_VERIFY_ANCHORS_H

/*
 * What others said of the checkpoints: cosignatures and time-stamps of the
 * tables, the anchor records that tell of them, and the purges that had to
 * wait for them.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_leaf.h"
#include "export/verify_points.h"
#include "export/verify_report.h"

struct verify_control;
struct verify_policy;
struct verify_purge;

/* The key of a witness, by name and id. */
struct verify_witness {
	char *name;
	uint8_t id[4];
	uint8_t public[32];
};

/* A row of cosig or stamp that is what it says. */
struct verify_evidence {
	uint64_t size, at;
	char *name;         /* NULL: a time-stamp */
	uint8_t public[32]; /* of the witness whose signature holds */
	uint8_t sha256[32];
	bool judged; /* its signature is known to hold, */
	bool given;  /* by a key that was given to us */
};

/* A beat that names evidence which the one before it does not. */
struct verify_beat {
	uint64_t seq;
	uint8_t sha256[32];
};

/* An anchor record that tells of evidence. */
struct verify_told {
	uint64_t seq, size, time;
	char *name; /* NULL: a time-stamp */
	uint8_t sha256[32];
};

struct verify_anchors {
	struct verify_witness *witness;
	size_t witnesses;
	struct verify_evidence *evidence; /* sorted by size */
	size_t evidences;
	struct verify_told *told;
	size_t tolds;
	struct verify_beat *named;
	size_t nameds;
	uint64_t unknown; /* lines by keys that nobody named */
};

/* A witness's vkey from elsewhere, for all journals; false when it is none. */
bool verify_anchors_trust(struct view vkey, const char **why);
/* The field witnesses of a policy record; takes up its keys. */
void verify_anchors_policy(struct verify_control *c,
    const struct verify_leaf *l, unsigned field, struct verify_policy *p,
    struct verify_report *r);
/* An anchor record. */
void verify_anchors_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* The field anchor of a beat. */
void verify_anchors_beat(struct verify_control *c, const struct verify_leaf *l);
/*
 * Reads the tables of one file, after all control records were taken. False:
 * SQL failed.
 */
bool verify_anchors_rows(
    struct verify_control *c, sqlite3 *db, struct verify_report *r);
/* After the rows: records and purges are judged by them. */
void verify_anchors_judge(struct verify_control *c, struct verify_report *r);
/*
 * The largest checkpoint whose root the records give and that a witness given
 * to us has cosigned; NULL.
 */
const struct verify_evidence *verify_anchors_given(
    const struct verify_anchors *a, const struct verify_points *p);
void verify_anchors_release(struct verify_anchors *a);

#endif
