#include "compliance/approval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"

#include "compliance/leaf.h"

static int
take(struct approvals *a, struct view text, uint64_t seq)
{
	struct approval new = {.seq = seq};
	struct approval *grown;
	struct leaf leaf;
	struct view by;
	const char *why;

	if (!leaf_parse(text, &leaf, &why) ||
	    !leaf_field_number(leaf.fields, "below", &new.below) ||
	    !leaf_field(leaf.fields, "by", &by) || by.n >= sizeof new.by)
		return -1;
	memcpy(new.by, by.p, by.n);
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->person[i].by, new.by) != 0)
			continue;
		if (new.below > a->person[i].below)
			a->person[i] = new;
		return 0;
	}
	grown = reallocarray(a->person, a->count + 1, sizeof *grown);
	if (grown == NULL)
		return -1;
	a->person = grown;
	a->person[a->count++] = new;
	return 0;
}

int
approvals_read(struct approvals *a, sqlite3 *db)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT seq, bytes FROM leaf WHERE kind = 145 AND kind >= 128"
	    " AND seq >= ? ORDER BY seq");
	int r = SQLITE_ERROR;

	if (s == NULL)
		return -1;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)a->next);
	while ((r = db_step(s)) == SQLITE_ROW) {
		uint64_t seq = (uint64_t)sqlite3_column_int64(s, 0);

		if (take(a,
			view_of(sqlite3_column_blob(s, 1),
			    (size_t)sqlite3_column_bytes(s, 1)),
			seq) != 0)
			break;
		a->next = seq + 1;
	}
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

uint64_t
approvals_below(const struct approvals *a, unsigned persons)
{
	uint64_t best = 0;

	if (persons == 0)
		return UINT64_MAX;
	for (size_t i = 0; i < a->count; i++) {
		unsigned reached = 0;

		for (size_t k = 0; k < a->count; k++)
			reached += a->person[k].below >= a->person[i].below;
		if (reached >= persons && a->person[i].below > best)
			best = a->person[i].below;
	}
	return best;
}

static int
by_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

bool
approvals_put(
    const struct approvals *a, unsigned persons, uint64_t last, struct buf *out)
{
	uint64_t seq[2]; /* a policy asks for no more */
	unsigned found = 0;

	if (persons == 0) {
		buf_put_text(out, "-");
		return true;
	}
	for (size_t i = 0; i < a->count && found < persons && found < 2; i++)
		if (a->person[i].below > last)
			seq[found++] = a->person[i].seq;
	if (found < persons)
		return false;
	qsort(seq, found, sizeof seq[0], by_seq);
	for (unsigned i = 0; i < found; i++) {
		if (i > 0)
			buf_put_u8(out, ',');
		buf_put_decimal(out, seq[i]);
	}
	return true;
}

void
approvals_release(struct approvals *a)
{
	free(a->person);
	*a = (struct approvals){0};
}
