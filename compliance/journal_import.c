#include "compliance/journal_import.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/event.h"
#include "compliance/journal_store.h"
#include "compliance/note.h"
#include "compliance/ranges.h"
#include "compliance/rules.h"

/* An import under way, inside the gate's transaction. */
struct work {
	struct journal *j;
	struct journal_import *in;
	uint64_t start;      /* size before */
	bool met;            /* the signed size was met with its root */
	uint64_t closing;    /* a checkpoint of that size ends an epoch, or 0 */
	uint64_t extra_size; /* 0: there is none */
};

static int __attribute__((format(printf, 2, 3)))
refuse(struct journal_import *in, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(in->why, sizeof in->why, fmt, ap); /* for people */
	va_end(ap);
	return 1;
}

/* `missing` tells: the words are the caller's. */
static int
miss(struct journal_import *in, uint64_t seq)
{
	in->misses = true;
	in->missing = seq;
	return 1;
}

/* ---- one record ---- */

/* A record that the journal holds must be the same. */
static int
compare(struct work *w, const struct journal_record *r)
{
	sqlite3_stmt *s = w->j->stmt[S_LEAVES];
	bool same;
	int rc;

	if (r->seq < w->j->first)
		return 0; /* of a sealed file, to which nothing is added */
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)r->seq);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)(r->seq + 1));
	rc = sqlite3_step(s);
	same = rc == SQLITE_ROW &&
	    (size_t)sqlite3_column_bytes(s, 0) == r->leaf.n &&
	    memcmp(sqlite3_column_blob(s, 0), r->leaf.p, r->leaf.n) == 0;
	(void)sqlite3_reset(s); /* rc tells */
	if (rc != SQLITE_ROW)
		return journal_fail(
		    w->j, "leaf %" PRIu64 " cannot be read", r->seq);
	if (same)
		return 0;
	return refuse(w->in,
	    r->seq < w->start
		? "record %" PRIu64 " of the sources contradicts the journal"
		: "the sources contradict each other in record %" PRIu64,
	    r->seq);
}

/* NULL, or what is wrong with the record by itself. */
static const char *
breach(const struct work *w, const struct journal_record *r,
    const struct leaf *leaf)
{
	uint8_t commitment[32];

	if (leaf->head.seq != r->seq)
		return "the leaf is of another record";
	if (leaf->head.at <= w->j->at)
		return "its time is not after that of the record before";
	if (r->parts != leaf->parts && r->parts != 0)
		return "not all parts are there";
	for (unsigned i = 0; i < r->parts; i++) {
		leaf_commit(r->salt[i], r->data[i], commitment);
		if (memcmp(commitment, leaf->commitment[i], 32) != 0)
			return "a part is not what the leaf commits to";
	}
	return NULL;
}

static int
remove_range(
    struct journal *j, uint64_t first, uint64_t last, uint64_t n, uint64_t seq)
{
	sqlite3_stmt *range = j->stmt[S_RANGE];
	sqlite3_stmt *delete = j->stmt[S_BODY_DELETE];

	(void)sqlite3_bind_int64(range, 1, (sqlite3_int64)first);
	(void)sqlite3_bind_int64(range, 2, (sqlite3_int64)last);
	(void)sqlite3_bind_int64(range, 3, (sqlite3_int64)n);
	(void)sqlite3_bind_int64(range, 4, (sqlite3_int64)seq);
	(void)sqlite3_bind_int64(delete, 1, (sqlite3_int64)(first << 8));
	(void)sqlite3_bind_int64(delete, 2, (sqlite3_int64)((last + 1) << 8));
	if (journal_run(j, S_RANGE, "purge range") != 0)
		return -1;
	return journal_run(j, S_BODY_DELETE, "bodies");
}

static int
derive_purge(struct work *w, const struct leaf *leaf)
{
	struct view list;
	struct range range;
	uint64_t n;
	int r = 0;

	if (!leaf_field_number(leaf->fields, "purge", &n) ||
	    !leaf_field(leaf->fields, "ranges", &list))
		return refuse(w->in, "it does not tell what was purged");
	while (r == 0 && ranges_next(&list, &range))
		r = remove_range(
		    w->j, range.first, range.last, n, leaf->head.seq);
	if (r == 0 && list.n > 0)
		return refuse(w->in, "its ranges are malformed");
	return r;
}

/* The rows that follow from a control record. 0, 1 refused, -1. */
static int
derive(struct work *w, const struct leaf *leaf)
{
	struct journal *j = w->j;
	struct rules_batch batch;
	struct rules_ack ack;
	struct view clean;

	switch (leaf->head.kind) {
	case EVENT_BATCH:
		if (rules_read_batch(j->db, leaf->fields, j->tree->size, &batch,
			w->in->why, sizeof w->in->why))
			return journal_put_batch(j, &batch, leaf->head.seq);
		break;
	case EVENT_ACK:
		if (rules_read_ack(j->db, leaf->fields, &ack, w->in->why,
			sizeof w->in->why))
			return journal_put_ack(j, &ack, leaf->head.seq);
		break;
	case EVENT_PURGE:
		return derive_purge(w, leaf);
	case EVENT_HOLD:
		return journal_put_hold(j, leaf->fields, leaf->head.seq);
	case EVENT_RELEASE:
		return journal_put_release(j, leaf->fields, leaf->head.seq);
	case EVENT_KEY:
		if (leaf_field(leaf->fields, "clean", &clean) &&
		    view_is(clean, "yes"))
			w->closing = leaf->head.seq + 1;
		return 0;
	case EVENT_SEAL:
		j->sealed = true;
		return 0;
	default:
		return 0;
	}
	return 1;
}

static int
take_record(struct work *w, const struct journal_record *r)
{
	struct journal *j = w->j;
	struct journal_event e = {.parts = r->parts};
	struct leaf leaf;
	const char *why;
	int rc;

	if (r->seq < j->tree->size)
		return compare(w, r);
	if (r->seq > j->tree->size)
		return miss(w->in, j->tree->size);
	/* The first record behind it: it did not come. */
	if (w->closing != 0 && r->seq == w->closing)
		w->in->unclosed++;
	if (j->sealed)
		return refuse(w->in,
		    "record %" PRIu64 " belongs into another file than record "
		    "%" PRIu64 ", which seals one: files of the journal that "
		    "follow a sealed one are put back whole",
		    r->seq, r->seq - 1);
	if (!leaf_parse(r->leaf, &leaf, &why) ||
	    (why = breach(w, r, &leaf)) != NULL)
		return refuse(w->in, "record %" PRIu64 ": %s", r->seq, why);
	for (unsigned i = 0; i < r->parts; i++)
		e.part[i] = r->data[i];
	if (journal_put_record(j, &leaf.head, r->leaf, &e, r->salt) != 0)
		return -1;
	rc = derive(w, &leaf);
	if (rc == 1 && w->in->why[0] != '\0') {
		char reason[sizeof w->in->why];

		memcpy(reason, w->in->why, sizeof reason);
		(void)refuse(
		    w->in, "record %" PRIu64 ": %.200s", r->seq, reason);
	}
	return rc;
}

/* ---- checkpoints ---- */

/* Whether the present records give the root that was signed, when due. */
static int
meet(struct work *w)
{
	struct journal_import *in = w->in;
	uint8_t root[TREE_HASH_LEN];

	if (w->met || w->j->tree->size != in->size)
		return 0;
	tree_root(w->j->tree, root);
	if (memcmp(root, in->root, sizeof root) != 0)
		return refuse(in,
		    "with record %" PRIu64 " the sources give another root "
		    "than the one that was signed at size %" PRIu64
		    ": they are of another history",
		    in->size - 1, in->size);
	w->met = true;
	return 0;
}

bool
journal_note_holds(
    struct journal *j, struct view text, struct note *note, const char **why)
{
	struct note_vkey key;
	struct buf vkey;
	bool holds;

	if (!note_parse(text, note, why))
		return false;
	buf_init(&vkey);
	if (journal_key_at(j, note->size, &vkey) != 0) {
		buf_clear(&vkey);
		buf_put_text(&vkey, journal_vkey(j));
	}
	*why = "it is of another journal";
	holds = view_is(note->origin, journal_origin(j)) &&
	    note_parse_vkey(buf_view(&vkey), &key) &&
	    note_verify(note, &key, why);
	buf_release(&vkey);
	return holds;
}

/* The head moves along: a checkpoint row is never ahead of it. */
static int
put_checkpoint(
    struct journal *j, uint64_t size, const uint8_t *root, struct view text)
{
	sqlite3_stmt *head = j->stmt[S_HEAD];
	sqlite3_stmt *row = j->stmt[S_CHECKPOINT];

	(void)sqlite3_bind_int64(head, 1, (sqlite3_int64)size);
	(void)sqlite3_bind_blob(head, 2, root, TREE_HASH_LEN, SQLITE_STATIC);
	(void)sqlite3_bind_blob64(head, 3, text.p, text.n, SQLITE_STATIC);
	(void)sqlite3_bind_int64(row, 1, (sqlite3_int64)size);
	(void)sqlite3_bind_blob64(row, 2, text.p, text.n, SQLITE_STATIC);
	j->note_size = size;
	if (journal_run(j, S_HEAD, "head") != 0)
		return -1;
	return journal_run(j, S_CHECKPOINT, "checkpoint");
}

/* One that does not hold is no harm: it is not kept. */
static int
take_note(struct work *w, struct view text)
{
	struct journal *j = w->j;
	uint8_t root[TREE_HASH_LEN];
	struct note note;
	const char *why;

	tree_root(j->tree, root);
	if (!journal_note_holds(j, text, &note, &why) ||
	    note.size != j->tree->size || note.size <= w->start ||
	    memcmp(note.root, root, sizeof root) != 0)
		return 0;
	if (put_checkpoint(j, note.size, root, text) != 0)
		return -1;
	if (note.size == w->closing)
		w->closing = 0;
	/* An epoch without its end would not hold. */
	if (!w->in->partial || w->in->unclosed > 0)
		return 0;
	if (db_exec(j->db, "RELEASE good") != 0 ||
	    db_exec(j->db, "SAVEPOINT good") != 0)
		return journal_fail_sql(j, "savepoint");
	return 0;
}

/* ---- the end ---- */

/* A payload that is not there must have been purged. */
static int
check_payloads(struct work *w)
{
	sqlite3_stmt *s = db_prepare(w->j->db,
	    "SELECT seq FROM leaf WHERE seq >= ? AND kind < 128"
	    " AND NOT EXISTS (SELECT 1 FROM body WHERE id >= seq * 256"
	    " AND id < seq * 256 + 256)"
	    " AND COALESCE((SELECT last FROM purge_range WHERE first <= leaf.seq"
	    " ORDER BY first DESC LIMIT 1), -1) < leaf.seq LIMIT 1");
	uint64_t seq = 0;
	int rc = SQLITE_ERROR;

	if (s != NULL) {
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)w->start);
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW)
			seq = (uint64_t)sqlite3_column_int64(s, 0);
	}
	(void)sqlite3_finalize(s); /* rc tells */
	if (rc == SQLITE_ROW)
		return refuse(w->in,
		    "the sources have record %" PRIu64
		    " without its payload, which no purge removed",
		    seq);
	return rc == SQLITE_DONE ? 0 : journal_fail_sql(w->j, "payloads");
}

/* Back to the last checkpoint that holds; what came after proves nothing. */
static int
cut_back(struct work *w)
{
	struct journal *j = w->j;

	w->in->misses = false;
	if (db_exec(j->db, "ROLLBACK TO good") != 0 ||
	    db_exec(j->db, "RELEASE good") != 0)
		return journal_fail_sql(j, "savepoint");
	return journal_load(j);
}

static int
finish(struct work *w, int r)
{
	struct journal *j = w->j;

	if (r == 0 && !w->met)
		r = miss(w->in, j->tree->size);
	if (r == 1 && w->in->misses && w->in->partial)
		r = cut_back(w);
	if (r == 0)
		r = check_payloads(w);
	w->in->appended = j->tree->size - w->start;
	return r;
}

/* Called by the gate. 0, or -1: the transaction is rolled back. */
int
journal_import_apply(struct journal *j, struct journal_import *in)
{
	struct work w = {.j = j, .in = in, .start = j->size};
	struct journal_record record;
	uint8_t root[TREE_HASH_LEN];
	struct note extra;
	struct view note;
	const char *why;
	int r = meet(&w);

	if (r == 0 && j->size > in->size) {
		if (journal_root_at(j, in->size, root) != 0)
			return -1;
		w.met = memcmp(root, in->root, sizeof root) == 0;
		if (!w.met)
			return refuse(in,
			    "the journal does not give the root that was "
			    "signed at size %" PRIu64,
			    in->size);
	}
	if (in->partial && db_exec(j->db, "SAVEPOINT good") != 0)
		return journal_fail_sql(j, "savepoint");
	if (note_parse(in->extra, &extra, &why))
		w.extra_size = extra.size;
	while (r == 0) {
		enum journal_import_item item = in->next(in, &record, &note);

		if (item == IMPORT_END)
			break;
		if (item == IMPORT_FAILED)
			r = 1;
		else if (item == IMPORT_NOTE)
			r = take_note(&w, note);
		else
			r = take_record(&w, &record);
		if (r == 0 && item == IMPORT_RECORD &&
		    w.extra_size == j->tree->size)
			r = take_note(&w, in->extra);
		if (r == 0)
			r = meet(&w);
	}
	return finish(&w, r);
}
