#include "export/verify_sql.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/db.h"

bool
verify_sql_u64(sqlite3_stmt *s, int column, uint64_t *out)
{
	sqlite3_int64 v;

	if (sqlite3_column_type(s, column) != SQLITE_INTEGER)
		return false;
	v = sqlite3_column_int64(s, column);
	*out = (uint64_t)v;
	return v >= 0;
}

static struct view
bytes_of(sqlite3_stmt *s, int column, bool wanted)
{
	static const uint8_t nothing[1];
	const void *p = wanted ? sqlite3_column_blob(s, column) : NULL;

	if (p == NULL)
		return view_of(nothing, 0);
	return view_of(p, (size_t)sqlite3_column_bytes(s, column));
}

struct view
verify_sql_blob(sqlite3_stmt *s, int column)
{
	return bytes_of(
	    s, column, sqlite3_column_type(s, column) == SQLITE_BLOB);
}

struct view
verify_sql_text(sqlite3_stmt *s, int column)
{
	return bytes_of(
	    s, column, sqlite3_column_type(s, column) == SQLITE_TEXT);
}

struct view
verify_sql_bytes(sqlite3_stmt *s, int column)
{
	int type = sqlite3_column_type(s, column);

	return bytes_of(s, column, type == SQLITE_BLOB || type == SQLITE_TEXT);
}

sqlite3 *
verify_sql_open(const char *path, char *why, size_t why_len)
{
	char wal[4096];
	struct stat st;
	int n = snprintf(wal, sizeof(wal), "%s-wal", path);
	bool live = n > 0 && (size_t)n < sizeof(wal) && stat(wal, &st) == 0;

	return db_open(
	    path, live ? DB_READ : DB_READ_COPY, DB_SYNC_OFF, why, why_len);
}

bool
verify_sql_broken(sqlite3 *db)
{
	int code = sqlite3_errcode(db) & 0xff;

	return code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
	    code == SQLITE_ERROR || code == SQLITE_MISMATCH;
}
