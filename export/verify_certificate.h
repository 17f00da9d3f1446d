#ifndef EXPORT_VERIFY_CERTIFICATE_H
#define EXPORT_VERIFY_CERTIFICATE_H

/*
 * A purge certificate (chancery-export(1)) verified from itself and the
 * journal's key, and with archives of what was purged.
 */

#include <stddef.h>

#include "export/verify_archive.h"
#include "export/verify_chain.h"
#include "export/verify_note.h"
#include "export/verify_report.h"

/*
 * Verifies and reports as one file; key NULL: nothing is shown. Archives of
 * other journals are passed over.
 */
void verify_certificate_run(const char *path, const struct verify_key *key,
    const struct verify_archive *archives, size_t count,
    struct verify_report *r);
/* The keys that its purge record's proof leads to; false: none but the first. */
bool verify_certificate_keys(
    const char *path, const struct verify_key *key, struct verify_chain *out);

#endif
