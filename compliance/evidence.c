#include "compliance/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/text.h"

#include "compliance/leaf.h"
#include "compliance/quorum.h"
#include "compliance/segments.h"

#define RECORDS_MAX 10000  /* anchor records that are looked through */
#define CONFLICTS_MAX 1000 /* the same */

enum statement {
	S_NEWEST,
	S_NOTE,
	S_LINES,
	S_COSIGNED,
	S_STAMPED,
	S_ACKED,
	S_RECORDS,
	S_KEY,
	S_CONFLICTS,
	S_HOLD,
	STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [S_NEWEST] = "SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1",
    [S_NOTE] = "SELECT note FROM checkpoint WHERE size = ?",
    [S_LINES] = "SELECT line FROM cosig WHERE size = ? ORDER BY name",
    /* Nearly always among the newest rows. */
    [S_COSIGNED] = "SELECT size, at FROM cosig WHERE name = ?"
		   " ORDER BY size DESC LIMIT 1",
    [S_STAMPED] = "SELECT size, at FROM stamp ORDER BY size DESC LIMIT 1",
    [S_ACKED] = "SELECT seq FROM leaf WHERE kind = 130 AND kind >= 128"
		" ORDER BY seq DESC LIMIT 1",
    [S_RECORDS] = "SELECT bytes FROM leaf WHERE kind = 141 AND kind >= 128"
		  " ORDER BY seq DESC LIMIT ?",
    [S_KEY] = "SELECT seq FROM leaf WHERE kind = 135 AND kind >= 128"
	      " AND seq >= ? ORDER BY seq LIMIT 1",
    [S_CONFLICTS] = "SELECT seq, bytes FROM leaf WHERE kind = 146"
		    " AND kind >= 128 ORDER BY seq DESC LIMIT ?",
    [S_HOLD] = "SELECT released IS NULL, 0 FROM hold WHERE n = ?",
};

struct evidence {
	char *path; /* of the journal's first file */
	unsigned segment;
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
	uint64_t anchored[2]; /* found last: without and with a stamp */
};

struct evidence *
evidence_open(const char *path, char *why, size_t why_len)
{
	struct evidence *e = calloc(1, sizeof *e);
	char *file;

	if (e == NULL) {
		(void)snprintf(why, why_len, "%s: out of memory", path);
		return NULL;
	}
	e->path = strdup(path);
	e->segment = segments_newest(path);
	file = segments_path(path, e->segment);
	if (e->path != NULL && file != NULL)
		e->db = db_open(file, DB_READ, DB_SYNC_FULL, why, why_len);
	else
		(void)snprintf(why, why_len, "%s: out of memory", path);
	free(file);
	for (size_t i = 0; e->db != NULL && i < STATEMENTS; i++) {
		e->stmt[i] = db_prepare(e->db, statement_sql[i]);
		if (e->stmt[i] != NULL)
			continue;
		(void)snprintf(
		    why, why_len, "%s: %s", path, sqlite3_errmsg(e->db));
		evidence_close(e);
		return NULL;
	}
	if (e->db != NULL && db_seal(e->db, true) == 0)
		return e;
	evidence_close(e);
	return NULL;
}

void
evidence_close(struct evidence *e)
{
	if (e == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(e->stmt[i]); /* repeats old errors */
	db_close(e->db);
	free(e->path);
	free(e);
}

bool
evidence_is_newest(const struct evidence *e)
{
	return !segments_exists(e->path, e->segment + 1);
}

const char *
evidence_error(struct evidence *e)
{
	return sqlite3_errmsg(e->db);
}

/* One step as a result; a row may be read until the reset. */
static int
step(sqlite3_stmt *s)
{
	int r = db_step(s);

	return r == SQLITE_ROW ? 1 : r == SQLITE_DONE ? 0 : -1;
}

/* The first row's numbers. */
static int
read_numbers(sqlite3_stmt *s, uint64_t *first, uint64_t *second)
{
	int r = step(s);

	if (r == 1)
		*first = (uint64_t)sqlite3_column_int64(s, 0);
	if (r == 1 && second != NULL)
		*second = (uint64_t)sqlite3_column_int64(s, 1);
	(void)sqlite3_reset(s); /* repeats r */
	return r;
}

int
evidence_newest(struct evidence *e, uint64_t *size)
{
	return read_numbers(e->stmt[S_NEWEST], size, NULL);
}

/* Appends the first column of all rows. */
static int
read_bytes(sqlite3_stmt *s, uint64_t size, struct buf *out)
{
	bool any = false;
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)size);
	while ((r = step(s)) == 1) {
		any = true;
		buf_put(out, sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0));
	}
	(void)sqlite3_reset(s); /* repeats r */
	return r < 0 || out->failed ? -1 : any;
}

int
evidence_note(struct evidence *e, uint64_t size, struct buf *out)
{
	return read_bytes(e->stmt[S_NOTE], size, out);
}

int
evidence_lines(struct evidence *e, uint64_t size, struct buf *out)
{
	return read_bytes(e->stmt[S_LINES], size, out);
}

int
evidence_cosigned(
    struct evidence *e, struct view name, uint64_t *size, uint64_t *at)
{
	sqlite3_stmt *s = e->stmt[S_COSIGNED];

	(void)sqlite3_bind_text(
	    s, 1, (const char *)name.p, (int)name.n, SQLITE_STATIC);
	return read_numbers(s, size, at);
}

int
evidence_stamped(struct evidence *e, uint64_t *size, uint64_t *at)
{
	return read_numbers(e->stmt[S_STAMPED], size, at);
}

int
evidence_acked(struct evidence *e, uint64_t *seq)
{
	return read_numbers(e->stmt[S_ACKED], seq, NULL);
}

int
evidence_key(struct evidence *e, uint64_t from, uint64_t *seq)
{
	(void)sqlite3_bind_int64(e->stmt[S_KEY], 1, (sqlite3_int64)from);
	return read_numbers(e->stmt[S_KEY], seq, NULL);
}

int
evidence_anchored(
    struct evidence *e, const struct conf *conf, bool stamp, uint64_t *size)
{
	uint64_t *known = &e->anchored[stamp];
	int r = quorum_find(e->db, conf, stamp, *known, size);

	if (r == 1)
		*known = *size;
	else if (r == 0 && *known > 0) {
		*size = *known;
		r = 1;
	}
	return r;
}

/* Whether the hold that came with it is in force. */
static int
is_open(struct evidence *e, uint64_t hold)
{
	uint64_t live = 0, unused;
	int r;

	(void)sqlite3_bind_int64(e->stmt[S_HOLD], 1, (sqlite3_int64)hold);
	r = read_numbers(e->stmt[S_HOLD], &live, &unused);
	return r < 0 ? -1 : live == 1;
}

int
evidence_conflicts(struct evidence *e, evidence_conflict_cb *cb, void *arg)
{
	sqlite3_stmt *s = e->stmt[S_CONFLICTS];
	struct buf name;
	int r, open = 0;

	buf_init(&name);
	(void)sqlite3_bind_int(s, 1, CONFLICTS_MAX);
	while (open >= 0 && (r = step(s)) == 1) {
		struct view bytes = view_of(sqlite3_column_blob(s, 1),
		    (size_t)sqlite3_column_bytes(s, 1));
		struct evidence_conflict c;
		struct view witness, proof;
		struct leaf leaf;
		const char *why;

		buf_clear(&name);
		if (!leaf_parse(bytes, &leaf, &why) ||
		    !leaf_field(leaf.fields, "witness", &witness) ||
		    !leaf_field(leaf.fields, "proof", &proof) ||
		    !leaf_field_number(leaf.fields, "size", &c.size) ||
		    !leaf_field_number(leaf.fields, "hold", &c.hold) ||
		    !text_get_token(witness, &name))
			continue;
		c.witness = buf_view(&name);
		c.proved = view_is(proof, "yes");
		open = is_open(e, c.hold);
		if (open == 1)
			cb(arg, leaf.head.seq, &c);
	}
	(void)sqlite3_reset(s); /* repeats r */
	buf_release(&name);
	return open < 0 || r < 0 ? -1 : 0;
}

int
evidence_recorded(
    struct evidence *e, const char *what, struct view name, bool *ok)
{
	sqlite3_stmt *s = e->stmt[S_RECORDS];
	int r, found = 0;

	(void)sqlite3_bind_int(s, 1, RECORDS_MAX);
	while (found == 0 && (r = step(s)) == 1) {
		struct view bytes = view_of(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0));
		struct view said, who, state;
		struct buf plain;
		struct leaf leaf;
		const char *why;

		if (!leaf_parse(bytes, &leaf, &why) ||
		    !leaf_field(leaf.fields, "what", &said) ||
		    !leaf_field(leaf.fields, "name", &who) ||
		    !leaf_field(leaf.fields, "state", &state) ||
		    !view_is(said, what))
			continue;
		buf_init(&plain);
		if (text_get_token(who, &plain) && plain.len == name.n &&
		    memcmp(plain.data, name.p, name.n) == 0) {
			found = 1;
			*ok = view_is(state, "ok");
		}
		buf_release(&plain);
	}
	(void)sqlite3_reset(s); /* repeats r */
	return found != 0 ? found : r;
}
