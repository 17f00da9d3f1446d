#include "compliance/quorum.h"

#include <string.h>

#include "base/db.h"

#include "compliance/cosign.h"

#define LOOK_BACK "4096" /* rows of a table */

/* The keys of the configured witnesses; how many. */
static size_t
read_keys(const struct conf *conf, struct note_vkey keys[CONF_WITNESSES_MAX])
{
	size_t count = 0;

	for (size_t i = 0;
	     i < conf->witness_count && count < CONF_WITNESSES_MAX; i++)
		if (cosign_parse_vkey(
			view_text(conf->witnesses[i].vkey), &keys[count]))
			count++;
	return count;
}

/* By its key: a witness may have had another one under the same name. */
static bool
is_witness(const struct note_vkey *keys, size_t count, struct view line)
{
	struct cosign c;

	if (!cosign_parse_line(line, &c))
		return false;
	for (size_t i = 0; i < count; i++)
		if (keys[i].id == c.id && keys[i].name.n == c.name.n &&
		    memcmp(keys[i].name.p, c.name.p, c.name.n) == 0)
			return true;
	return false;
}

/* 1 row, 0 none, -1. */
static int
step(sqlite3_stmt *s)
{
	int r = db_step(s);

	return r == SQLITE_ROW ? 1 : r == SQLITE_DONE ? 0 : -1;
}

/*
 * From the newest cosignature down, until a size has enough of them. Where the
 * newest have not for long, older ones count for nothing: the search is as
 * long as LOOK_BACK, however long the journal is.
 */
static int
find_cosigned(sqlite3 *db, const struct conf *conf, bool stamp, uint64_t above,
    uint64_t *size)
{
	sqlite3_stmt *s = db_prepare(db,
	    stamp ? "SELECT c.size, c.line FROM (SELECT size FROM stamp"
		    " WHERE size > ?1 ORDER BY size DESC LIMIT " LOOK_BACK
		    ") s CROSS JOIN cosig c ON c.size = s.size"
		    " ORDER BY c.size DESC LIMIT " LOOK_BACK
		  : "SELECT size, line FROM cosig WHERE size > ?1"
		    " ORDER BY size DESC LIMIT " LOOK_BACK);
	struct note_vkey keys[CONF_WITNESSES_MAX];
	size_t key_count = read_keys(conf, keys);
	uint64_t looked_at = 0;
	unsigned count = 0;
	int r = -1, found = 0;

	if (s == NULL)
		return -1;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)above);
	while (found == 0 && (r = step(s)) == 1) {
		uint64_t row = (uint64_t)sqlite3_column_int64(s, 0);

		if (row != looked_at)
			count = 0;
		looked_at = row;
		if (is_witness(keys, key_count,
			view_of(sqlite3_column_blob(s, 1),
			    (size_t)sqlite3_column_bytes(s, 1))) &&
		    ++count == conf->anchors.quorum)
			found = 1;
	}
	(void)sqlite3_finalize(s); /* r tells */
	if (found != 0)
		*size = looked_at;
	return found != 0 ? found : r;
}

int
quorum_find(sqlite3 *db, const struct conf *conf, bool stamp, uint64_t above,
    uint64_t *size)
{
	sqlite3_stmt *s;
	int r;

	if (conf->anchors.quorum > 0)
		return find_cosigned(db, conf, stamp, above, size);
	s = db_prepare(db,
	    stamp ? "SELECT size FROM stamp WHERE size > ?"
		    " ORDER BY size DESC LIMIT 1"
		  : "SELECT size FROM checkpoint WHERE size > ?"
		    " ORDER BY size DESC LIMIT 1");
	if (s == NULL)
		return -1;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)above);
	r = step(s);
	if (r == 1)
		*size = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* r tells */
	return r;
}
