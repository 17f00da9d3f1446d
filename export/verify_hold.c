#include "export/verify_hold.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/db.h"
#include "base/text.h"

#include "export/verify_sql.h"
#include "export/verify_take.h"

void
verify_hold_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_hold h = {.seq = l->seq};
	uint64_t n;

	if (!verify_take_numbers(l, 0, 0, &n) ||
	    !text_get_base64_fixed(l->field[2].value, h.commitment, 32))
		return;
	c->newest_hold = l->seq;
	if (n != c->holds + 1) {
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "hold number %" PRIu64 " is not the next one", n);
		return;
	}
	if (!verify_take_room(c, &c->hold, c->holds, sizeof(h)))
		return;
	h.by = verify_take_copy(c, l->field[3].value);
	c->hold[c->holds++] = h;
}

void
verify_hold_release(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	const struct verify_policy *policy = verify_control_policy(c, l->seq);
	struct verify_hold *h;
	uint64_t n;

	if (!verify_take_numbers(l, 0, 0, &n))
		return;
	c->newest_hold = l->seq;
	h = n >= 1 && n <= c->holds ? &c->hold[n - 1] : NULL;
	if (h == NULL || h->released != 0) {
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "release of hold %" PRIu64
		    ", which is not there or released already",
		    n);
		return;
	}
	h->released = l->seq;
	if (policy != NULL && policy->approvals >= 2 && h->by != NULL &&
	    view_is(l->field[1].value, h->by))
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "hold %" PRIu64 " is released by the one who placed it, "
		    "while the policy asks for two persons",
		    n);
}

void
verify_hold_approve(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_approve a = {.seq = l->seq};

	if (!verify_take_numbers(l, 0, 0, &a.below))
		return;
	if (a.below > l->seq)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "approval of records that come after it");
	if (!verify_take_room(c, &c->approve, c->approves, sizeof(a)))
		return;
	a.by = verify_take_copy(c, l->field[1].value);
	c->approve[c->approves++] = a;
}

static const struct verify_approve *
find_approve(const struct verify_control *c, struct view item)
{
	uint64_t seq;

	for (size_t i = 0; view_to_u64(item, &seq) && i < c->approves; i++)
		if (c->approve[i].seq == seq)
			return &c->approve[i];
	return NULL;
}

/* How many different persons' approvals of all its records it names. */
static uint64_t
persons(const struct verify_control *c, const struct verify_purge *p)
{
	const struct verify_approve *known[2] = {NULL, NULL};
	struct view list = view_text(p->approvals), item;
	uint64_t n = 0, before = 0;

	if (list.n > 0 && list.p[list.n - 1] == ',')
		return UINT64_MAX;
	while (verify_take_item(&list, &item)) {
		const struct verify_approve *a = find_approve(c, item);

		if (a == NULL || n == 2 || a->seq <= before ||
		    a->seq >= p->seq || a->below <= p->last ||
		    (n == 1 && strcmp(known[0]->by, a->by) == 0))
			return UINT64_MAX;
		before = a->seq;
		known[n++] = a;
	}
	return n;
}

static bool
any_in_force(const struct verify_control *c, const struct verify_purge *p)
{
	for (size_t i = 0; i < c->holds; i++)
		if (c->hold[i].seq < p->seq &&
		    (c->hold[i].released == 0 || c->hold[i].released > p->seq))
			return true;
	return false;
}

void
verify_hold_judge(const struct verify_control *c, const struct verify_purge *p,
    const struct verify_policy *policy, struct verify_report *r)
{
	if (policy->approvals == 0 ? strcmp(p->approvals, "-") != 0
				   : persons(c, p) != policy->approvals)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge does not name approvals of %" PRIu64
		    " different persons for all its records: %s",
		    policy->approvals, p->approvals);
	if (p->held > 0 && !any_in_force(c, p))
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge says that a hold kept %" PRIu64
		    " events, and none was in force",
		    p->held);
}

static bool
row_holds(const struct verify_hold *h, uint64_t end, sqlite3_stmt *s)
{
	struct view salt = verify_sql_blob(s, 3);
	struct view selector = verify_sql_text(s, 4);
	uint64_t seq, released = 0;
	uint8_t hash[32];

	if (!verify_sql_u64(s, 1, &seq) || seq != h->seq || seq >= end)
		return false;
	/* The triggers ask for NULL: 0 would set a live hold aside. */
	if (sqlite3_column_type(s, 2) != SQLITE_NULL &&
	    (!verify_sql_u64(s, 2, &released) || released == 0))
		return false;
	if (released != (h->released < end ? h->released : 0))
		return false;
	if (sqlite3_column_type(s, 3) == SQLITE_NULL &&
	    sqlite3_column_type(s, 4) == SQLITE_NULL)
		return true;
	if (salt.n != 32)
		return false;
	verify_commitment(salt, selector, hash);
	return memcmp(hash, h->commitment, 32) == 0;
}

/* The text that the record commits to, in parts. */
static void
read_selector(struct verify_control *c, struct verify_hold *h, struct view text)
{
	json_t *o = json_loadb(
	    (const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	const char *room = NULL, *user = NULL;
	json_int_t version = 0, from = 0, until = 0;

	h->known = o != NULL &&
	    json_unpack(o, "{s:I,s?s,s?s,s?I,s?I!}", "v", &version, "room",
		&room, "user", &user, "from", &from, "until", &until) == 0 &&
	    version == 1 && from >= 0 && until >= 0;
	if (h->known) {
		h->from = (uint64_t)from;
		h->until = (uint64_t)until;
		if (room != NULL)
			h->room = verify_take_copy(c, view_text(room));
		if (user != NULL)
			h->user = verify_take_copy(c, view_text(user));
	}
	json_decref(o);
}

bool
verify_hold_table(struct verify_control *c, sqlite3 *db, uint64_t end,
    struct verify_report *r)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT n, seq, released, salt, selector,"
	    " COALESCE(lower(selector), '{\"v\":1}') = '{\"v\":1'"
	    " || COALESCE(',\"room\":\"' || room || '\"', '')"
	    " || COALESCE(',\"user\":\"' || user || '\"', '')"
	    " || COALESCE(',\"from\":' || since, '')"
	    " || COALESCE(',\"until\":' || until, '') || '}'"
	    /* Of a column that goes on behind its string, more would fit. */
	    " AND instr(COALESCE(room, '') || COALESCE(user, ''), '\"') = 0"
	    " FROM hold ORDER BY n");
	uint64_t n, next = 1;
	bool found;
	int rc;

	if (s == NULL)
		return false;
	while ((rc = db_step(s)) == SQLITE_ROW) {
		verify_report_count(r, VERIFY_TABLES, 1);
		found = verify_sql_u64(s, 0, &n) && n == next &&
		    n <= c->holds && row_holds(&c->hold[n - 1], end, s);
		if (!found || sqlite3_column_int(s, 5) != 1)
			verify_report_finding(r, VERIFY_TABLES,
			    next <= c->holds ? verify_at(c->hold[next - 1].seq)
					     : verify_nowhere(),
			    "table hold has a row that is not what the hold "
			    "record commits to");
		next++;
		if (!found || end != UINT64_MAX)
			continue;
		if (sqlite3_column_type(s, 4) == SQLITE_NULL)
			verify_report_note(r,
			    "what hold %" PRIu64
			    " selects was lost: it held everything since",
			    n);
		else
			read_selector(
			    c, &c->hold[n - 1], verify_sql_text(s, 4));
		if (c->hold[n - 1].conflict > 0 &&
		    sqlite3_column_type(s, 4) != SQLITE_NULL &&
		    !view_is(verify_sql_text(s, 4), "{\"v\":1}"))
			verify_report_finding(r, VERIFY_CONTROL,
			    verify_at(c->hold[n - 1].conflict),
			    "conflict record: its hold does not keep "
			    "everything");
	}
	(void)sqlite3_finalize(s); /* result of the steps is known */
	if (rc == SQLITE_DONE && next <= c->holds &&
	    c->hold[next - 1].seq < end)
		verify_report_finding(r, VERIFY_TABLES,
		    verify_at(c->hold[next - 1].seq),
		    "table hold has no row for this record");
	return rc == SQLITE_DONE;
}

void
verify_hold_free(struct verify_control *c)
{
	for (size_t i = 0; i < c->holds; i++) {
		free(c->hold[i].by);
		free(c->hold[i].room);
		free(c->hold[i].user);
	}
	for (size_t i = 0; i < c->approves; i++)
		free(c->approve[i].by);
	free(c->hold);
	free(c->approve);
}
