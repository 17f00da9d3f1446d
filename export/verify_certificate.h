#ifndef EXPORT_VERIFY_CERTIFICATE_H
#define EXPORT_VERIFY_CERTIFICATE_H

/*
 * A purge certificate (chancery-export(1)) verified from itself and the
 * journal's key alone.
 */

#include "export/verify_note.h"
#include "export/verify_report.h"

/* Verifies and reports as one file; key NULL: nothing is shown. */
void verify_certificate_run(
    const char *path, const struct verify_key *key, struct verify_report *r);

#endif
