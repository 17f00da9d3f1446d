#ifndef EXPORT_VERIFY_RECORDS_H
#define EXPORT_VERIFY_RECORDS_H

/*
 * The records of one archive in order, whatever its format: form,
 * commitments, and the proof from their leaves to the signed root.
 */

#include <stdbool.h>
#include <stdint.h>

#include "export/verify_archive.h"
#include "export/verify_leaf.h"
#include "export/verify_named.h"
#include "export/verify_report.h"
#include "export/verify_tree.h"

#define VERIFY_RECORD_PARTS 8

/* What an archive states about its batch; texts owned, NULL when absent. */
struct verify_header {
	char *origin, *vkey, *adapter, *id, *root, *note;
	uint64_t batch, first, last, count, size;
	struct buf left, right; /* 32 bytes a hash */
};

struct verify_record {
	uint64_t seq, kind;
	bool purged;
	struct view leaf;
	unsigned parts;
	struct {
		struct view salt;
		struct view data;
	} part[VERIFY_RECORD_PARTS];
	struct verify_named named;
};

/* Sees each record whose leaf is sound, for the rendering. */
typedef void verify_record_cb(
    void *arg, const struct verify_record *rec, uint64_t at);

struct verify_records {
	struct verify_report *report;
	struct verify_archive *archive;
	const struct verify_header *header;
	const struct verify_trust *trust;
	struct verify_leaf leaf;
	struct verify_tree tree;
	struct verify_key key;
	bool has_key;
	bool sound; /* the tree can still be grown */
	bool root_stated;
	uint8_t root[32];
	uint64_t next, taken, purged, last_at;
	uint64_t unjudged; /* checkpoints of epochs that nobody told */
	verify_record_cb *on_record;
	void *arg;
};

/* Nothing stated; release ends it so again. */
void verify_header_init(struct verify_header *h);
void verify_header_release(struct verify_header *h);

/* Judges the header and begins; archive gets what the header states. */
void verify_records_begin(struct verify_records *s,
    const struct verify_header *h, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *archive);
/* The next record, judged for itself and for its place. */
void verify_records_take(
    struct verify_records *s, const struct verify_record *rec);
/* After the last record. */
void verify_records_end(struct verify_records *s);

#endif
