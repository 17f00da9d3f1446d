#ifndef EXPORT_VERIFY_FORMATS_H
#define EXPORT_VERIFY_FORMATS_H

/* The readers of the archive formats, behind verify_archive_run(). */

#include "export/verify_archive.h"
#include "export/verify_note.h"
#include "export/verify_report.h"

/* Verify one archive into r, out as verify_archive_run(); trust may be NULL. */
void verify_bag(const char *path, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out);
void verify_xml(const char *path, const struct verify_trust *trust,
    struct verify_report *r, struct verify_archive *out);
/* SHA-256 and length of a file; false with errno. */
bool verify_hash_file(const char *path, uint8_t sha256[32], uint64_t *bytes);

#endif
