#ifndef EXPORT_VERIFY_SQL_H
#define EXPORT_VERIFY_SQL_H

/* Typed columns of rows that nobody vouches for. */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Opens a journal read-only: one with a write-ahead log beside it together
 * with that, any other as it lies. NULL with the reason.
 */
sqlite3 *verify_sql_open(const char *path, char *why, size_t why_len);
/* False unless the column is an integer and not negative. */
bool verify_sql_u64(sqlite3_stmt *s, int column, uint64_t *out);
/*
 * Bytes of a blob, of text, or of either until the next step; empty for other
 * types. The same bytes of the other type are not what another program reads.
 */
struct view verify_sql_blob(sqlite3_stmt *s, int column);
struct view verify_sql_text(sqlite3_stmt *s, int column);
struct view verify_sql_bytes(sqlite3_stmt *s, int column);

/*
 * Whether the last failure tells of what is in the file; else of the system:
 * nothing is known then of what could not be read.
 */
bool verify_sql_broken(sqlite3 *db);

#endif
