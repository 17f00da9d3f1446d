#ifndef EXPORT_LOCATE_H
#define EXPORT_LOCATE_H

/* Where the journal is, and how it may be read. */

#include <stdbool.h>

/* The journal's path from the configuration; NULL after saying why. */
char *locate_journal(const char *conf);
/* With a write-ahead log beside it the journal may be live. */
bool locate_is_copy(const char *journal);

#endif
