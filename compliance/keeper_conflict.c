#include "compliance/keeper_state.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/log.h"

#include "compliance/conflict.h"
#include "compliance/cosign.h"
#include "compliance/event.h"
#include "compliance/note.h"
#include "compliance/wire.h"

/*
 * A witness that has seen another history of this journal. Its word alone is
 * recorded and stops purges, by a hold, until a person releases that; only a
 * checkpoint that our own key signed stops recording.
 */

#define MATTER "a witness tells of another history of this journal"
#define EVERYTHING "{\"v\":1}"

static void
doom_conflict(struct keeper *k, uint64_t seq, struct view text)
{
	uint64_t size = journal_size(k->journal);
	struct note note;
	const char *why;

	if (!note_parse(text, &note, &why))
		return;
	if (note.size > size)
		keeper_doom(k,
		    "%s holds %" PRIu64 " records, but its key signed %" PRIu64
		    " (record %" PRIu64 " has the checkpoint, from a witness): "
		    "records are missing (an old copy restored, or a second "
		    "journal under the same name). Nothing is recorded. Next: "
		    "put the newest folders of journal and signer back, or "
		    "go on with a declared gap: chancery recover "
		    "--new-incarnation --reason lost",
		    k->path, size, note.size, seq);
	else
		keeper_doom(k,
		    "the key of %s signed another history of %" PRIu64
		    " records (fork; record %" PRIu64 " has the checkpoint, "
		    "from a witness). Nothing is recorded. Next: keep both as "
		    "evidence, put the right one back, or begin anew under "
		    "another origin: chancery recover --new-incarnation "
		    "--reason fork",
		    k->path, note.size, seq);
}

bool
keeper_conflicts_clear(struct keeper *k)
{
	struct buf note;
	uint64_t seq;
	int r;

	buf_init(&note);
	r = conflict_standing(k->journal, &seq, &note);
	if (r == 1)
		doom_conflict(k, seq, buf_view(&note));
	else if (r < 0)
		keeper_storage_failed(k);
	buf_release(&note);
	return r == 0;
}

/* The hold first: a record that names it is always followed by its effect. */
static int
append(struct keeper *k, struct conflict *c, struct journal_event *e)
{
	struct journal_hold hold = {.matter = view_text(MATTER),
	    .selector = view_text(EVERYTHING),
	    .by = getuid()};
	struct buf fields;
	int r = journal_hold(k->journal, &hold, e);

	if (r != 0)
		return -1;
	c->hold = hold.n;
	buf_init(&fields);
	conflict_put(&fields, c);
	*e = (struct journal_event){
	    .kind = EVENT_CONFLICT, .fields = buf_view(&fields)};
	r = fields.failed ? -1 : journal_append(k->journal, e, 1);
	e->fields = view_of(NULL, 0);
	buf_release(&fields);
	return r;
}

static void
take(struct keeper *k, uint64_t ref, struct conflict *c)
{
	struct journal_event e = {.kind = EVENT_CONFLICT};
	int proof = conflict_is_proof(k->journal, c->note), known = -1, r = -1;

	c->proved = proof == 1;
	if (proof >= 0)
		known = conflict_is_known(k->journal, c);
	if (known == 0)
		r = append(k, c, &e);
	if (known == 1) {
		keeper_send_receipt(&k->engine, ref, &e);
		return;
	}
	keeper_answer(k, ref, r, &e);
	if (r != 0)
		return;
	log_error("witness %.*s %s another history of this journal, of %" PRIu64
		  " records: record %" PRIu64 "; hold %" PRIu64
		  " stops purges until it is released",
	    (int)c->witness.n, (const char *)c->witness.p,
	    c->proved ? "has" : "claims that there is", c->size, e.seq,
	    c->hold);
	if (c->proved)
		doom_conflict(k, e.seq, c->note);
}

bool
keeper_on_conflict(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	unsigned index = reader_u8(&r);
	struct conflict c = {.size = reader_u64(&r)};
	struct view note = reader_rest(&r);
	struct note_vkey key;
	struct buf kept;

	if (!reader_done(&r) || index >= k->conf->witness_count ||
	    !cosign_parse_vkey(view_text(k->conf->witnesses[index].vkey), &key))
		return false;
	c.witness = key.name;
	if (c.size > INT64_MAX) {
		keeper_refuse(k, ref, "no journal has so many records");
		return true;
	}
	keeper_commit(k);
	buf_init(&kept);
	conflict_keep(k->journal, note, &kept);
	c.note = buf_view(&kept);
	if (kept.failed)
		log_fatal("out of memory for a conflict");
	if (keeper_writable(k))
		take(k, ref, &c);
	else
		keeper_refuse(k, ref, k->why);
	buf_release(&kept);
	return true;
}
