#ifndef EXPORT_LOCATE_H
#define EXPORT_LOCATE_H

/* Where the journal is. */

/* The journal's path from the configuration; NULL after saying why. */
char *locate_journal(const char *conf);

#endif
