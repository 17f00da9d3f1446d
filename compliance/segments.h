#ifndef COMPLIANCE_SEGMENTS_H
#define COMPLIANCE_SEGMENTS_H

/*
 * The files of one journal by their names: X.db is segment 0, X-0001.db
 * segment 1 and so on. What is in them is not looked at.
 */

#include <stdbool.h>
#include <stdint.h>

/* Path of segment n of the journal whose segment 0 is `path`; caller frees. */
char *segments_path(const char *path, unsigned n);
/* The number of the highest segment that is there, 0 when there is none. */
unsigned segments_newest(const char *path);
bool segments_exists(const char *path, unsigned n);
/* When the year (UTC) of a time ends, both in microseconds since 1970. */
uint64_t segments_year_end(uint64_t at);
/* Whether the name is that of a later segment than 0. */
bool segments_is_later(const char *path);
/*
 * What an auditor names: a folder means the journal.db in it. NULL when out
 * of memory; caller frees.
 */
char *segments_named(const char *path);

#endif
