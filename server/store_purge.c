#include "server/store_purge.h"

#include "server/store_db.h"

/*
 * Messages whose records lost their payload in the journal. How many messages
 * a room had is kept, so that no number comes again.
 */

static int
forget(struct store *s, struct range r)
{
	static const enum store_statement steps[] = {
	    STORE_KEEP_CHATS, STORE_DROP_MESSAGES};

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		sqlite3_stmt *st = store_statement(s, steps[i]);

		if (st != NULL) {
			store_bind_u64(st, 1, r.first);
			store_bind_u64(st, 2, r.last);
		}
		if (store_write(s, st) != 0)
			return -1;
	}
	return 0;
}

bool
store_purge(struct store *s, uint64_t seq, struct view ranges)
{
	sqlite3_stmt *st;
	struct range r;

	if (store_begin(s) != 0)
		return true; /* remembered in the store */
	while (ranges_next(&ranges, &r))
		if (forget(s, r) != 0)
			return true; /* the same */
	st = store_statement(s, STORE_SET_GONE);
	if (st != NULL)
		store_bind_u64(st, 1, seq + 1);
	(void)store_write(s, st); /* the same */
	return ranges.n == 0;
}

uint64_t
store_gone(struct store *s)
{
	return (uint64_t)db_int(s->db, "SELECT gone FROM position", 0);
}

int
store_wipe(struct store *s)
{
	return s->in_transaction ? -1 : db_checkpoint_durable(s->db);
}
