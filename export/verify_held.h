#ifndef EXPORT_VERIFY_HELD_H
#define EXPORT_VERIFY_HELD_H

/*
 * Purges against the holds that were in force: what a hold keeps is told by
 * the payloads, which of purged records only the archives have.
 */

#include <stddef.h>

#include "export/verify_archive.h"
#include "export/verify_control.h"

/*
 * archives: those that vouch for their records, in the order of these. Reads
 * again those with records that were purged while a hold was in force.
 */
void verify_held(const struct verify_control *c,
    const struct verify_archive *const *archives, size_t count,
    struct verify_report *r);
/* Of a journal alone: that there is something to compare. */
void verify_held_say(const struct verify_control *c, struct verify_report *r);

#endif
