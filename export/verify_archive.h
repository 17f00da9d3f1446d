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

struct verify_archive {
	char *path;
	/* From its header, as stated; origin "" when there is none. */
	char origin[VERIFY_NAME_MAX + 1];
	char adapter[64];
	uint64_t batch, first, last, size;
	uint8_t root[32];
	struct buf note; /* its checkpoint; empty when unusable */
	/* Of the file as acknowledged. */
	uint8_t sha256[32];
	uint64_t bytes;
	bool holds; /* no finding was made */
	bool whole; /* every record has its payload */
};

/* Verifies and reports as one file; trust NULL: no key is known. */
void verify_archive_run(const char *path, bool bag,
    const struct verify_trust *trust, struct verify_report *r,
    struct verify_archive *out);
/* A zeroed one is allowed. */
void verify_archive_release(struct verify_archive *a);

#endif
