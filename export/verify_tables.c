/* The tables that derive from control records, against those records. */

#include <stdlib.h>

#include "base/db.h"

#include "export/verify_control.h"
#include "export/verify_hold.h"
#include "export/verify_sql.h"

/* One table: its rows as numbers and up to two texts. */
struct table {
	const char *name;
	const char *sql;
	bool (*row)(struct verify_control *c, sqlite3_stmt *s);
};

static bool
row_numbers(sqlite3_stmt *s, int from, int count, uint64_t *out)
{
	for (int i = 0; i < count; i++)
		if (!verify_sql_u64(s, from + i, &out[i]))
			return false;
	return true;
}

static struct verify_batch *
row_batch(struct verify_control *c, sqlite3_stmt *s, uint64_t n)
{
	struct verify_adapter *a =
	    verify_control_adapter(c, verify_sql_text(s, 0));

	return a == NULL ? NULL : verify_control_batch(a, n);
}

static bool
batch_row(struct verify_control *c, sqlite3_stmt *s)
{
	uint64_t v[4]; /* n, first, last, seq */
	struct verify_batch *b;

	if (!row_numbers(s, 1, 4, v) || (b = row_batch(c, s, v[0])) == NULL ||
	    b->in_table || b->first != v[1] || b->last != v[2] ||
	    b->seq != v[3])
		return false;
	b->in_table = true;
	return true;
}

static bool
ack_row(struct verify_control *c, sqlite3_stmt *s)
{
	uint64_t n, seq;
	struct verify_batch *b;

	if (!verify_sql_u64(s, 1, &n) || !verify_sql_u64(s, 3, &seq) ||
	    (b = row_batch(c, s, n)) == NULL || !b->ack.given ||
	    b->ack.in_table || b->ack.seq != seq ||
	    !view_is(verify_sql_text(s, 2), b->ack.state))
		return false;
	b->ack.in_table = true;
	return true;
}

static int
span_at(const void *first, const void *element)
{
	uint64_t wanted = *(const uint64_t *)first;
	const struct verify_span *p = element;

	return wanted < p->first ? -1 : wanted > p->first;
}

static bool
purge_row(struct verify_control *c, sqlite3_stmt *s)
{
	uint64_t v[4]; /* first, last, n, seq */
	struct verify_span *p;

	if (c->spans == 0 || !row_numbers(s, 0, 4, v))
		return false;
	p = bsearch(&v[0], c->span, c->spans, sizeof(*p), span_at);
	if (p == NULL || p->in_table || p->last != v[1] ||
	    c->purge[p->purge].n != v[2] || c->purge[p->purge].seq != v[3])
		return false;
	p->in_table = true;
	return true;
}

static const struct table tables[] = {
    {"batch", "SELECT adapter, n, first, last, seq FROM batch ORDER BY seq",
	batch_row},
    {"ack", "SELECT adapter, n, state, seq FROM ack ORDER BY seq", ack_row},
    {"purge_range", "SELECT first, last, n, seq FROM purge_range ORDER BY seq",
	purge_row},
};

static void
missing_row(struct verify_report *r, uint64_t seq, const char *table)
{
	verify_report_finding(r, VERIFY_TABLES, verify_at(seq),
	    "table %s has no row for this record, or must have none", table);
}

/* Whether a file has rows of a purge: all that were, and those of its own. */
static bool
has_span(const struct verify_control *c, const struct verify_span *s,
    uint64_t first, uint64_t end)
{
	const struct verify_purge *p = &c->purge[s->purge];

	return (!p->later && p->seq < end) ||
	    (s->first >= first && s->first < end && !s->undone);
}

static void
find_missing(const struct verify_control *c, uint64_t first, uint64_t end,
    struct verify_report *r)
{
	for (size_t i = 0; i < c->adapters; i++) {
		const struct verify_adapter *a = &c->adapter[i];

		for (size_t k = 0; k < a->count; k++) {
			const struct verify_batch *b = &a->batch[k];

			if (b->in_table != (b->seq < end))
				missing_row(r, b->seq, "batch");
			if (b->ack.given &&
			    b->ack.in_table != (b->ack.seq < end))
				missing_row(r, b->ack.seq, "ack");
		}
	}
	for (size_t i = 0; i < c->spans; i++)
		if (c->span[i].in_table != has_span(c, &c->span[i], first, end))
			missing_row(
			    r, c->purge[c->span[i].purge].seq, "purge_range");
	/* Ranges that cannot be followed have no rows to be compared. */
	for (size_t i = 0; i < c->purges; i++)
		if (c->purge[i].spans == 0 && c->purge[i].seq < end)
			missing_row(r, c->purge[i].seq, "purge_range");
}

/* Nothing was found in a table yet. */
static void
forget(struct verify_control *c)
{
	for (size_t i = 0; i < c->adapters; i++)
		for (size_t k = 0; k < c->adapter[i].count; k++)
			c->adapter[i].batch[k].in_table =
			    c->adapter[i].batch[k].ack.in_table = false;
	for (size_t i = 0; i < c->spans; i++)
		c->span[i].in_table = false;
}

static bool
compare(struct verify_control *c, const struct table *t, sqlite3 *db,
    struct verify_report *r)
{
	sqlite3_stmt *s = db_prepare(db, t->sql);
	int seq_column, rc;

	if (s == NULL)
		return false;
	seq_column = sqlite3_column_count(s) - 1;
	while ((rc = db_step(s)) == SQLITE_ROW) {
		uint64_t seq;

		verify_report_count(r, VERIFY_TABLES, 1);
		if (t->row(c, s))
			continue;
		verify_report_finding(r, VERIFY_TABLES,
		    verify_sql_u64(s, seq_column, &seq) ? verify_at(seq)
							: verify_nowhere(),
		    "table %s has a row that is not what a control record "
		    "says",
		    t->name);
	}
	(void)sqlite3_finalize(s); /* the result of the steps is known */
	return rc == SQLITE_DONE;
}

bool
verify_control_tables(struct verify_control *c, sqlite3 *db, uint64_t first,
    uint64_t end, struct verify_report *r)
{
	verify_report_count(r, VERIFY_TABLES, 0);
	forget(c);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (!compare(c, &tables[i], db, r))
			return false;
	find_missing(c, first, end, r);
	return verify_hold_table(c, db, end, r);
}
