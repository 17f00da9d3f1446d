#ifndef SERVER_RECOVER_SOURCE_H
#define SERVER_RECOVER_SOURCE_H

/* The lines of `chancery-export evidence`, handed to an import. */

#include <stdbool.h>
#include <stddef.h>

#include "compliance/journal_import.h"

struct recover_source;

/* "-": standard input. progress: on standard error. NULL with the reason. */
struct recover_source *recover_source_open(
    const char *path, bool progress, char *why, size_t why_len);
/* Fills in next and arg. */
void recover_source_feed(
    struct recover_source *s, struct journal_import *import);
/*
 * The first record, which stays to be read: 1, 0 when there is none, -1 with
 * the reason.
 */
int recover_source_first(struct recover_source *s,
    struct journal_record *record, char *why, size_t why_len);
/* NULL is allowed. */
void recover_source_close(struct recover_source *s);

#endif
