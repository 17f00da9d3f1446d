#include "export/verify_bodies.h"

#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "export/verify_json.h"
#include "export/verify_sql.h"

#define RECENT 8192 /* slots that remember ids of late events */
#define MIX UINT64_C(0x9e3779b97f4a7c15) /* odd: loses nothing */

struct recent {
	uint64_t mark;
	uint64_t seq;
};

struct verify_bodies {
	const struct verify_control *control;
	struct verify_report *r;
	sqlite3_stmt *rows;
	const struct verify_leaf *leaf; /* at hand */
	sqlite3_int64 at;               /* id of the row at hand */
	bool more;                      /* there is one */
	size_t purge;                   /* cursor */
	struct verify_run lost, kept;
	struct recent *recent;
	struct verify_bodies_result result;
	struct {
		uint64_t commitments, payloads, complete;
	} count;
};

static bool
next_body(struct verify_bodies *b)
{
	int rc = db_step(b->rows);

	b->more = rc == SQLITE_ROW;
	if (b->more)
		b->at = sqlite3_column_int64(b->rows, 0);
	return b->more || rc == SQLITE_DONE;
}

static void
stray_body(struct verify_bodies *b)
{
	if (b->at < 0)
		verify_report_finding(b->r, VERIFY_COMPLETENESS,
		    verify_nowhere(), "stray payload row %lld",
		    (long long)b->at);
	else
		verify_report_finding(b->r, VERIFY_COMPLETENESS,
		    verify_at_part(
			(uint64_t)b->at / 256, (unsigned)(b->at % 256)),
		    "stray payload: no record has this part");
}

/* Steps over the payloads before `id`; `silent` ones are reported elsewhere. */
static bool
skip_bodies(struct verify_bodies *b, sqlite3_int64 id, bool silent)
{
	while (b->more && b->at < id) {
		if (!silent)
			stray_body(b);
		if (!next_body(b))
			return false;
	}
	return true;
}

/* Remembers an id for a while and notes when it comes again. */
static void
remember(struct verify_bodies *b, struct view id, char space)
{
	uint64_t mark = (uint64_t)space + id.n, word;
	struct recent *slot;
	size_t i = 0;

	for (; i + 8 <= id.n; i += 8) {
		memcpy(&word, id.p + i, 8);
		mark = (mark ^ word) * MIX;
		mark ^= mark >> 29;
	}
	word = 0;
	memcpy(&word, id.p + i, id.n - i);
	mark = (mark ^ word) * MIX;
	mark ^= mark >> 32;
	slot = &b->recent[mark % RECENT];
	if (slot->mark == mark) {
		if (b->result.repeats++ == 0) {
			b->result.repeat_seq = b->leaf->seq;
			b->result.repeat_of = slot->seq;
		}
		return;
	}
	*slot = (struct recent){mark, b->leaf->seq};
}

static void
check_payload(struct verify_bodies *b, unsigned part, struct view data)
{
	struct verify_json json;
	const char *why, *what;

	b->count.payloads++;
	what = verify_json_part(b->leaf, part, data, &json, &why);
	if (what != NULL) {
		verify_report_finding(b->r, VERIFY_PAYLOADS,
		    verify_at_part(b->leaf->seq, part), "%s%s%s", what,
		    why == NULL ? "" : ": ", why == NULL ? "" : why);
		return;
	}
	if (part > 0)
		return;
	remember(b, json.id, 'i');
	if (json.client.n > 0)
		remember(b, json.client, 'c');
}

static void
check_body(struct verify_bodies *b, unsigned part)
{
	struct view salt = verify_sql_blob(b->rows, 1);
	struct view data = verify_sql_blob(b->rows, 2);
	uint8_t hash[32];

	b->count.commitments++;
	if (salt.n != 32) {
		verify_report_finding(b->r, VERIFY_COMMITMENTS,
		    verify_at_part(b->leaf->seq, part),
		    "salt is not of 32 bytes");
		return;
	}
	verify_commitment(salt, data, hash);
	if (memcmp(hash, b->leaf->commitment[part], 32) != 0) {
		verify_report_finding(b->r, VERIFY_COMMITMENTS,
		    verify_at_part(b->leaf->seq, part),
		    "payload and salt are not what the leaf commits to");
		return;
	}
	check_payload(b, part, data);
}

/* The payloads of the leaf at hand: all there, or purged and none there. */
static bool
check_bodies(struct verify_bodies *b, const struct verify_span *purge)
{
	uint64_t seq = b->leaf->seq;
	sqlite3_int64 first = (sqlite3_int64)(seq * 256);
	unsigned found = 0;

	if (purge != NULL && purge->undone)
		purge = NULL;
	for (unsigned part = 0; part < b->leaf->parts; part++) {
		if (!skip_bodies(b, first + part, false))
			return false;
		if (!b->more || b->at != first + part) {
			if (purge == NULL)
				verify_run_add(b->r, &b->lost, seq, seq);
			continue;
		}
		found++;
		check_body(b, part);
		if (!next_body(b))
			return false;
	}
	if (purge != NULL && found > 0)
		verify_run_add(b->r, &b->kept, seq, seq);
	b->count.complete += b->leaf->parts > 0;
	b->result.purged += purge != NULL && b->leaf->parts > 0 && found == 0;
	return skip_bodies(b, first + 256, false);
}

bool
verify_bodies_leaf(struct verify_bodies *b, const struct verify_leaf *l)
{
	b->leaf = l;
	return skip_bodies(b, (sqlite3_int64)(l->seq * 256), false) &&
	    check_bodies(b, verify_control_span(b->control, &b->purge, l->seq));
}

static sqlite3_int64
first_id(uint64_t seq)
{
	return seq > INT64_MAX / 256 ? INT64_MAX : (sqlite3_int64)(seq * 256);
}

bool
verify_bodies_skip(struct verify_bodies *b, uint64_t from, uint64_t until)
{
	return skip_bodies(b, first_id(from), false) &&
	    skip_bodies(b, first_id(until), true);
}

bool
verify_bodies_finish(struct verify_bodies *b, struct verify_bodies_result *out)
{
	while (b->more) {
		stray_body(b);
		if (!next_body(b))
			return false;
	}
	verify_run_close(b->r, &b->lost);
	verify_run_close(b->r, &b->kept);
	verify_report_count(b->r, VERIFY_COMMITMENTS, b->count.commitments);
	verify_report_count(b->r, VERIFY_PAYLOADS, b->count.payloads);
	verify_report_count(b->r, VERIFY_COMPLETENESS, b->count.complete);
	*out = b->result;
	return true;
}

struct verify_bodies *
verify_bodies_new(sqlite3 *db, const struct verify_control *control,
    struct verify_report *r, struct verify_bodies_range range)
{
	struct verify_bodies *b = calloc(1, sizeof(*b));
	sqlite3_int64 first, last;

	if (b == NULL)
		return NULL;
	b->control = control;
	b->r = r;
	b->lost = (struct verify_run){.check = VERIFY_COMPLETENESS,
	    .reason = "payload is missing and no purge record says why"};
	b->kept = (struct verify_run){.check = VERIFY_COMPLETENESS,
	    .reason = "payload is there although a purge record says it is "
		      "deleted"};
	/* Ids below 0 belong to nobody, and to whom the beginning belongs. */
	first =
	    range.from == 0 && range.to > 0 ? INT64_MIN : first_id(range.from);
	last = range.to > INT64_MAX / 256 ? INT64_MAX : first_id(range.to) - 1;
	b->recent = calloc(RECENT, sizeof(*b->recent));
	b->rows = db_prepare(db,
	    "SELECT id, salt, data FROM body WHERE id BETWEEN ?1 AND ?2 "
	    "ORDER BY id");
	if (b->recent == NULL || b->rows == NULL ||
	    sqlite3_bind_int64(b->rows, 1, first) != SQLITE_OK ||
	    sqlite3_bind_int64(b->rows, 2, last) != SQLITE_OK ||
	    !next_body(b)) {
		verify_bodies_free(b);
		return NULL;
	}
	return b;
}

void
verify_bodies_free(struct verify_bodies *b)
{
	if (b == NULL)
		return;
	(void)sqlite3_finalize(b->rows); /* results of steps are known */
	free(b->recent);
	free(b);
}

/* One leaf that the walk judges; here it only tells of its payloads. */
static bool
take_leaf(struct verify_bodies *b, sqlite3_stmt *leaves,
    struct verify_leaf *leaf, uint64_t *next)
{
	const char *why;
	unsigned line;
	uint64_t seq;

	if (!verify_sql_u64(leaves, 0, &seq) || seq > INT64_MAX / 256 - 1)
		return true;
	if (seq > *next && !verify_bodies_skip(b, *next, seq))
		return false;
	*next = seq + 1;
	if (!verify_leaf_parse(verify_sql_blob(leaves, 1), leaf, &line, &why))
		return verify_bodies_skip(b, seq, seq + 1);
	leaf->seq = seq;
	return verify_bodies_leaf(b, leaf);
}

static bool
take_leaves(struct verify_bodies *b, sqlite3_stmt *leaves,
    struct verify_bodies_range range, uint64_t size)
{
	struct verify_leaf *leaf = malloc(sizeof(*leaf));
	uint64_t next = range.from;
	bool ok = leaf != NULL;
	int rc = SQLITE_ROW;

	while (ok && (rc = db_step(leaves)) == SQLITE_ROW)
		ok = take_leaf(b, leaves, leaf, &next);
	if (ok && next < size && next < range.to)
		ok = verify_bodies_skip(b, next, size);
	free(leaf);
	return ok && rc == SQLITE_DONE;
}

bool
verify_bodies_alone(sqlite3 *db, const struct verify_control *control,
    struct verify_report *r, struct verify_bodies_range range, uint64_t size,
    struct verify_bodies_result *out)
{
	sqlite3_stmt *leaves = db_prepare(db,
	    "SELECT seq, bytes FROM leaf WHERE seq >= ?1 AND seq < ?2 "
	    "ORDER BY seq");
	struct verify_bodies *b = verify_bodies_new(db, control, r, range);
	sqlite3_int64 to =
	    range.to > INT64_MAX ? INT64_MAX : (sqlite3_int64)range.to;
	bool ok;

	ok = leaves != NULL && b != NULL &&
	    sqlite3_bind_int64(leaves, 1, (sqlite3_int64)range.from) ==
		SQLITE_OK &&
	    sqlite3_bind_int64(leaves, 2, to) == SQLITE_OK &&
	    take_leaves(b, leaves, range, size) && verify_bodies_finish(b, out);
	verify_bodies_free(b);
	(void)sqlite3_finalize(leaves); /* result of the steps is known */
	return ok;
}
