#include "compliance/journal.h"

#include <inttypes.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/journal_store.h"

/* What others said of a checkpoint: cosignatures and time-stamps. */

static int
run(struct journal *j, enum statement which, const char *what)
{
	int r = sqlite3_step(j->stmt[which]);

	(void)sqlite3_reset(j->stmt[which]); /* repeats r */
	return r == SQLITE_DONE ? 0 : journal_fail_sql(j, what);
}

int
journal_insert_evidence(struct journal *j, const struct journal_evidence *e)
{
	bool stamp = e->name.n == 0;
	sqlite3_stmt *s = j->stmt[stamp ? S_STAMP : S_COSIG];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)e->size);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)e->at);
	(void)sqlite3_bind_blob64(s, 3, e->bytes.p, e->bytes.n, SQLITE_STATIC);
	if (!stamp)
		(void)sqlite3_bind_text(s, 4, (const char *)e->name.p,
		    (int)e->name.n, SQLITE_STATIC);
	return run(
	    j, stamp ? S_STAMP : S_COSIG, stamp ? "time-stamp" : "cosignature");
}

void
journal_put_anchor(const struct journal *j, struct buf *fields)
{
	sqlite3_stmt *s = j->stmt[S_EVIDENCE_NEWEST];
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct buf hex;

	buf_init(&hex);
	if (sqlite3_step(s) == SQLITE_ROW) {
		crypto_sha256(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0), hash);
		text_put_hex(&hex, hash, sizeof hash);
	} else {
		buf_put_text(&hex, "-");
	}
	(void)sqlite3_reset(s); /* a failure is that of the next append, too */
	leaf_put_field(fields, "anchor", buf_view(&hex));
	fields->failed |= hex.failed;
	buf_release(&hex);
}

int
journal_checkpoint_note(struct journal *j, uint64_t size, struct buf *out)
{
	sqlite3_stmt *s = j->stmt[S_POINT];
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)size);
	r = sqlite3_step(s);
	if (r == SQLITE_ROW)
		buf_put(out, sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0));
	(void)sqlite3_reset(s); /* repeats r */
	if (r == SQLITE_DONE) {
		(void)journal_fail(
		    j, "there is no checkpoint of size %" PRIu64, size);
		return 1;
	}
	if (r != SQLITE_ROW)
		return journal_fail_sql(j, "checkpoint");
	return out->failed ? journal_fail(j, "out of memory") : 0;
}
