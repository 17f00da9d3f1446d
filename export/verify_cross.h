#ifndef EXPORT_VERIFY_CROSS_H
#define EXPORT_VERIFY_CROSS_H

/* A journal and archives together. */

#include "export/verify_archive.h"
#include "export/verify_journal.h"

/*
 * Each archive of the journal is the one that was acknowledged, and each
 * purged event is in one of them. Call after verify_journal_run() got the
 * archives' checkpoints: their roots tie the archives' records to the
 * journal's.
 */
void verify_cross(const struct verify_journal *j,
    const struct verify_archive *archives, size_t count,
    struct verify_report *r);

#endif
