#ifndef EXPORT_VERIFY_ARCHIVE_H
#define EXPORT_VERIFY_ARCHIVE_H

/*
 * One archive of a batch, verified from its file alone: form, manifests,
 * records, commitments, range proof, signature, and the readable rendering
 * against the evidence.
 */

#include <stdbool.h>
#include <stdint.h>

#include "export/verify_note.h"
#include "export/verify_report.h"
#include "export/verify_trust.h"

/* A record of an archive; its envelope is empty when it has no payload. */
struct verify_archived {
	uint64_t seq, at;
	struct view leaf, envelope;
};

typedef void verify_archive_cb(void *arg, const struct verify_archived *rec);

struct verify_archive {
	char *path;
	bool bag; /* else XML */
	/* From its header, as stated; origin "" when there is none. */
	char origin[VERIFY_NAME_MAX + 1];
	char adapter[64];
	uint64_t batch, first, last, size;
	uint8_t root[32];
	struct buf note; /* its checkpoint; empty when unusable */
	/* Of the file as acknowledged. */
	uint8_t sha256[32];
	uint64_t bytes;
	bool holds;              /* no finding was made */
	bool whole;              /* every record has its payload */
	verify_archive_cb *each; /* NULL, or who sees the records */
	void *arg;
};

/* Verifies and reports as one file; trust NULL: no key is known. */
void verify_archive_run(const char *path, bool bag,
    const struct verify_trust *trust, struct verify_report *r,
    struct verify_archive *out);
/*
 * Once more through the records, in order, of one that holds. False when it
 * cannot be read, or is another file by now.
 */
bool verify_archive_each(
    const struct verify_archive *a, verify_archive_cb *cb, void *arg);
/* The failure that verify_archive_each() returned false for. */
void verify_archive_lost(
    const struct verify_archive *a, struct verify_report *r);
/* By the first record; of two that begin there, the longer is first. */
void verify_archive_sort(const struct verify_archive **list, size_t count);
/* A zeroed one is allowed. */
void verify_archive_release(struct verify_archive *a);

#endif
