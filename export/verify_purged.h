#ifndef EXPORT_VERIFY_PURGED_H
#define EXPORT_VERIFY_PURGED_H

/* The records that a purge record names, looked up in archives. */

#include <stddef.h>

#include "export/verify_archive.h"
#include "export/verify_leaf.h"

/*
 * Each record lies in one of the archives, which hold and are sorted, and
 * together they give the digest and the number of events that the purge record
 * states.
 */
void verify_purged(const struct verify_leaf *purge,
    const struct verify_archive *const *archives, size_t count,
    struct verify_report *r);
/* Without archives: what it states of its ranges can be. */
void verify_purged_stated(
    const struct verify_leaf *purge, struct verify_report *r);

#endif
