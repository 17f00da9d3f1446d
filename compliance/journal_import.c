#include "compliance/journal_import.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/journal_store.h"
#include "compliance/note.h"
#include "compliance/ranges.h"
#include "compliance/rules.h"

/* An import under way, inside the gate's transaction. */
struct work {
	struct journal *j;
	struct journal_import *in;
	uint64_t extra_size; /* 0: there is none */
};

int
journal_import_refuse(struct journal_import *in, const char *fmt, ...)
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

/* The reason that is known already, with the record that it is of. */
static int
named(struct work *w, uint64_t seq)
{
	char reason[sizeof w->in->why];

	memcpy(reason, w->in->why, sizeof reason);
	return journal_import_refuse(
	    w->in, "record %" PRIu64 ": %.200s", seq, reason);
}

/* A checkpoint of just the records that came is stored. */
static int
vouched(struct work *w)
{
	struct journal_import *in = w->in;

	if (in->state.closing == w->j->tree->size)
		in->state.closing = 0;
	/* An epoch without its end would not hold. */
	if (!in->partial || in->unclosed > 0)
		return 0;
	if (w->j->sealed) {
		in->state.seal_vouched = true;
		return 0;
	}
	if (db_exec(w->j->db, "RELEASE good") != 0 ||
	    db_exec(w->j->db, "SAVEPOINT good") != 0)
		return journal_fail_sql(w->j, "savepoint");
	return 0;
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
	return journal_import_refuse(w->in,
	    r->seq < w->in->state.start
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
derive_purge(struct work *w, const struct leaf *leaf)
{
	struct view list;
	struct range range;
	uint64_t n;
	int r = 0;

	if (!leaf_field_number(leaf->fields, "purge", &n) ||
	    !leaf_field(leaf->fields, "ranges", &list))
		return journal_import_refuse(
		    w->in, "it does not tell what was purged");
	while (r == 0 && ranges_next(&list, &range)) {
		w->in->state.purged |= range.first < w->j->first;
		r = journal_remove_range(w->j, range, n, leaf->head.seq);
	}
	if (r == 0 && list.n > 0)
		return journal_import_refuse(w->in, "its ranges are malformed");
	return r;
}

/* The rows that follow from a control record. 0, 1 refused, -1. */
static int
derive(struct work *w, const struct leaf *leaf, const struct named *named)
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
		return journal_import_hold(j, w->in, leaf, named);
	case EVENT_RELEASE:
		return journal_put_release(j, leaf->fields, leaf->head.seq);
	case EVENT_KEY:
		if (leaf_field(leaf->fields, "clean", &clean) &&
		    view_is(clean, "yes"))
			w->in->state.closing = leaf->head.seq + 1;
		return 0;
	case EVENT_RECOVER:
		return journal_read_name(j);
	case EVENT_SEAL:
		j->sealed = true;
		return 0;
	default:
		return 0;
	}
	return 1;
}

/*
 * A record behind a seal belongs into the next file, which is made when this
 * one is committed. Its first record names the checkpoint that vouches for
 * this file.
 */
static int
turn(struct work *w, const struct journal_record *r)
{
	struct journal_import *in = w->in;
	struct journal *j = w->j;
	int rc = 1;

	if (!in->roll)
		return journal_import_refuse(in,
		    "record %" PRIu64 " belongs into another file than record "
		    "%" PRIu64
		    ", which seals one. Several files are made anew, "
		    "and not completed: move those of the journal aside and "
		    "give them as sources, too",
		    r->seq, r->seq - 1);
	if (in->partial && in->unclosed > 0)
		return miss(in, r->seq);
	if (r->named.text[NAMED_NOTE].n > 0)
		rc = journal_import_note(
		    j, in, r->named.text[NAMED_NOTE], false);
	if (rc < 0 || (rc = journal_has_checkpoint(j, j->tree->size)) < 0)
		return -1;
	if (rc == 0)
		return journal_import_refuse(in,
		    "record %" PRIu64
		    ": the checkpoint that the file before ends with did not "
		    "come with it",
		    r->seq);
	in->state.record = *r;
	in->state.again = in->state.turn = true;
	return 0;
}

/*
 * When nothing comes behind a seal the journal cannot go on, so that the last
 * record that counts is the one before it.
 */
static int
before_seal(struct work *w)
{
	struct journal *j = w->j;
	sqlite3_stmt *head = j->stmt[S_HEAD];
	uint8_t root[TREE_HASH_LEN];

	tree_root(j->tree, root);
	(void)sqlite3_bind_int64(head, 1, (sqlite3_int64)j->tree->size);
	(void)sqlite3_bind_blob(head, 2, root, sizeof root, SQLITE_STATIC);
	(void)sqlite3_bind_null(head, 3);
	w->in->state.seal_vouched = false;
	if (journal_run(j, S_HEAD, "head") != 0)
		return -1;
	return db_exec(j->db, "SAVEPOINT seal") == 0
	    ? 0
	    : journal_fail_sql(j, "savepoint");
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
	if (w->in->state.closing != 0 && r->seq == w->in->state.closing)
		w->in->unclosed++;
	if (j->sealed)
		return turn(w, r);
	if (!leaf_parse(r->leaf, &leaf, &why) ||
	    (why = breach(w, r, &leaf)) != NULL)
		return journal_import_refuse(
		    w->in, "record %" PRIu64 ": %s", r->seq, why);
	for (unsigned i = 0; i < r->parts; i++)
		e.part[i] = r->data[i];
	if (w->in->partial && leaf.head.kind == EVENT_SEAL &&
	    before_seal(w) != 0)
		return -1;
	if (journal_put_record(j, &leaf.head, r->leaf, &e, r->salt) != 0)
		return -1;
	rc = derive(w, &leaf, &r->named);
	if (rc == 0)
		rc = journal_import_named(j, w->in, &leaf, &r->named);
	if (rc == 0 && w->in->state.closing == j->tree->size &&
	    journal_has_checkpoint(j, j->tree->size) == 1)
		rc = vouched(w);
	return rc == 1 ? named(w, r->seq) : rc;
}

/* ---- checkpoints ---- */

/* Whether the present records give the root that was signed, when due. */
static int
meet(struct work *w)
{
	struct journal_import *in = w->in;
	uint8_t root[TREE_HASH_LEN];

	if (w->in->state.met || w->j->tree->size != in->size)
		return 0;
	tree_root(w->j->tree, root);
	if (memcmp(root, in->root, sizeof root) != 0)
		return journal_import_refuse(in,
		    "with record %" PRIu64 " the sources give another root "
		    "than the one that was signed at size %" PRIu64
		    ": they are of another history",
		    in->size - 1, in->size);
	w->in->state.met = true;
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

/* One that does not hold is no harm: it is not kept. */
static int
take_note(struct work *w, struct view text)
{
	struct journal_import *in = w->in;
	struct journal *j = w->j;
	struct note note;
	const char *why;
	int r;

	if (!note_parse(text, &note, &why) || note.size <= in->state.start)
		return 0;
	r = journal_import_note(j, in, text, true);
	if (r != 0)
		return r < 0 ? -1 : 0;
	return note.size == j->tree->size ? vouched(w) : 0;
}

/* ---- the end ---- */

/* A payload of one file that is not there must have been purged. */
static int
check_payloads(struct work *w, sqlite3 *db, uint64_t from)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT seq FROM leaf WHERE seq >= ? AND kind < 128"
	    " AND NOT EXISTS (SELECT 1 FROM body WHERE id >= seq * 256"
	    " AND id < seq * 256 + 256)"
	    " AND COALESCE((SELECT last FROM purge_range WHERE first <= leaf.seq"
	    " ORDER BY first DESC LIMIT 1), -1) < leaf.seq LIMIT 1");
	uint64_t seq = 0;
	int rc = SQLITE_ERROR;

	if (s != NULL) {
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)from);
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW)
			seq = (uint64_t)sqlite3_column_int64(s, 0);
	}
	(void)sqlite3_finalize(s); /* rc tells */
	if (rc == SQLITE_ROW)
		return journal_import_refuse(w->in,
		    "the sources have record %" PRIu64
		    " without its payload, which no purge removed",
		    seq);
	return rc == SQLITE_DONE
	    ? 0
	    : journal_fail(w->j, "payloads: %s", sqlite3_errmsg(db));
}

/* Back to the last checkpoint that holds; what came after proves nothing. */
static int
cut_back(struct work *w)
{
	struct journal *j = w->j;

	w->in->misses = false;
	if (db_exec(j->db,
		j->sealed && w->in->state.seal_vouched
		    ? "ROLLBACK TO seal"
		    : "ROLLBACK TO good") != 0 ||
	    db_exec(j->db, "RELEASE good") != 0)
		return journal_fail_sql(j, "savepoint");
	if (journal_load(j) != 0)
		return -1;
	if (j->segment == w->in->state.segment || !journal_opens(j))
		return 0;
	return journal_import_refuse(w->in,
	    "no checkpoint of the sources vouches for record %" PRIu64
	    ", which begins a file of the journal, or any after it",
	    j->tree->size);
}

static int
finish(struct work *w, int r)
{
	struct journal_import *in = w->in;
	struct journal *j = w->j;

	if (r == 0 && !in->state.met)
		r = miss(in, j->tree->size);
	if (r == 1 && in->misses && in->partial)
		r = cut_back(w);
	if (r == 0)
		r = check_payloads(w, j->db, in->state.start);
	in->appended = j->tree->size - in->state.start;
	return r;
}

/* What was signed must be so, of what is there already. */
static int
begin(struct work *w)
{
	struct journal_import *in = w->in;
	struct journal *j = w->j;
	uint8_t root[TREE_HASH_LEN];

	in->state.begun = true;
	in->state.start = j->size;
	in->state.segment = j->segment;
	if (j->size <= in->size)
		return meet(w);
	if (journal_root_at(j, in->size, root) != 0)
		return -1;
	in->state.met = memcmp(root, in->root, sizeof root) == 0;
	if (in->state.met)
		return 0;
	return journal_import_refuse(in,
	    "the journal does not give the root that was signed at size "
	    "%" PRIu64,
	    in->size);
}

static enum journal_import_item
next_item(
    struct journal_import *in, struct journal_record *record, struct view *note)
{
	if (!in->state.again)
		return in->next(in, record, note);
	in->state.again = false;
	*record = in->state.record;
	return IMPORT_RECORD;
}

static int
take_items(struct work *w)
{
	struct journal_import *in = w->in;
	struct journal_record record;
	struct view note;
	int r = 0;

	while (r == 0 && !in->state.turn) {
		enum journal_import_item item = next_item(in, &record, &note);

		if (item == IMPORT_END)
			break;
		if (item == IMPORT_FAILED)
			r = 1;
		else if (item == IMPORT_NOTE)
			r = take_note(w, note);
		else
			r = take_record(w, &record);
		if (r == 0 && item == IMPORT_RECORD &&
		    w->extra_size == w->j->tree->size)
			r = take_note(w, in->extra);
		if (r == 0)
			r = meet(w);
	}
	return r;
}

/* Called by the gate. 0, or -1: the transaction is rolled back. */
int
journal_import_apply(struct journal *j, struct journal_import *in)
{
	struct work w = {.j = j, .in = in};
	struct note extra;
	const char *why;
	int r = 0;

	if (!in->state.begun)
		r = begin(&w);
	if (r == 0 && in->partial && db_exec(j->db, "SAVEPOINT good") != 0)
		return journal_fail_sql(j, "savepoint");
	if (note_parse(in->extra, &extra, &why))
		w.extra_size = extra.size;
	if (r == 0)
		r = take_items(&w);
	return r == 0 && in->state.turn ? 0 : finish(&w, r);
}

/* After the last file: those before are as the purges of all have left them. */
static int
finish_files(struct journal *j, struct journal_import *in)
{
	struct work w = {.j = j, .in = in};
	uint64_t from = in->state.start;
	int r = 0;

	if (in->state.purged && journal_finish_purges(j) != 0)
		return -1;
	while (r == 0 && from < j->first) {
		sqlite3 *db = journal_old_db(j, from);

		r = db == NULL ? -1 : check_payloads(&w, db, from);
		if (r == 0)
			r = journal_next_file(j, from, &from);
	}
	return r;
}

int
journal_import(struct journal *j, struct journal_import *in)
{
	const struct change c = {.import = in};
	int r;

	in->why[0] = '\0';
	in->misses = false;
	memset(&in->state, 0, sizeof in->state);
	do {
		in->state.turn = false;
		r = journal_commit(j, &c);
		if (r == 0 && in->state.turn)
			r = journal_roll(j) == 0 ? 0 : -1;
	} while (r == 0 && in->state.turn);
	if (r == 0 && in->state.start < j->first)
		r = finish_files(j, in);
	if (r == 0)
		return 0;
	return in->misses || in->why[0] != '\0' ? 1 : -1;
}
