#include "export/verify_conflict.h"

#include <string.h>

#include "base/text.h"

#include "export/verify_recover.h"
#include "export/verify_take.h"

#define NOTE_BYTES_MAX 8192

enum field { WITNESS, SIZE, PROOF, HOLD, NOTE };

/* Epochs of the present name are the last ones, from its number 0 on. */
static bool
is_signed(const struct verify_epochs *e, const struct verify_note *note)
{
	for (size_t i = e->count; i-- > 0;) {
		const struct verify_epoch *own = &e->epoch[i];
		bool stolen =
		    i + 1 < e->count && own[1].number > 0 && !own[1].clean;
		const char *why;

		if (own->told && !stolen &&
		    verify_note_signed(note, &own->key, &why))
			return true;
		if (own->number == 0)
			break;
	}
	return false;
}

/* Whether it shows another history is told by the roots of the records. */
static const char *
take_signed(struct verify_control *c, const struct verify_leaf *l,
    const struct verify_note *note, bool proof)
{
	struct verify_conflict k = {
	    .seq = l->seq, .size = note->size, .proof = proof};

	if (note->size > c->newest_hold)
		return proof ? NULL
			     : "its checkpoint proves what it calls a claim";
	memcpy(k.root, note->root, 32);
	if (verify_take_room(c, &c->conflict, c->conflicts, sizeof(k)))
		c->conflict[c->conflicts++] = k;
	return NULL;
}

/* What is wrong with the note, for a record that says proof or does not. */
static const char *
take_note(struct verify_control *c, const struct verify_leaf *l, uint64_t size,
    bool proof)
{
	const char *name =
	    c->recovers == 0 ? c->origin : c->recover[c->recovers - 1].origin;
	struct verify_note note;
	const char *breach = NULL, *why;
	struct buf text;
	unsigned line;

	if (view_is(l->field[NOTE].value, "-"))
		return proof ? "it says proof, and shows none" : NULL;
	buf_init(&text);
	if (!text_get_base64(l->field[NOTE].value, &text) ||
	    text.len > NOTE_BYTES_MAX ||
	    !verify_note_parse(buf_view(&text), &note, &line, &why) ||
	    (name != NULL && !view_is(note.origin, name)))
		breach = "its note is no checkpoint of this journal";
	else if (note.size != size)
		breach = "its note is of another size";
	else if (is_signed(&c->epochs, &note))
		breach = take_signed(c, l, &note, proof);
	else if (proof)
		breach = "it says proof, and no key of the journal signed its "
			 "checkpoint";
	buf_release(&text);
	return breach;
}

/* Between the two there may be a record of the clock. */
static bool
is_just_before(const struct verify_control *c, const struct verify_leaf *l)
{
	uint64_t between = l->seq - c->newest_hold - 1;

	return between == 0 ||
	    (between == 1 &&
		(c->newest_clock == l->seq - 1 || l->seq < c->from));
}

void
verify_conflict_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	uint64_t hold = 0, size = 0;
	const char *breach;

	if (!verify_leaf_number(l, HOLD, &hold) ||
	    !verify_leaf_number(l, SIZE, &size))
		return;
	if (hold == 0 || hold != c->holds ||
	    c->hold[hold - 1].seq != c->newest_hold || !is_just_before(c, l))
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "conflict record: its hold is not the one placed just "
		    "before it");
	else
		c->hold[hold - 1].conflict = l->seq;
	if (view_is(l->field[PROOF].value, "yes"))
		c->proved = l->seq;
	breach = take_note(c, l, size, c->proved == l->seq);
	if (breach != NULL)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "conflict record: %s", breach);
}

void
verify_conflict_after(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	bool copied = l->seq < c->from; /* and the clock records are not */
	uint64_t behind = l->seq - c->proved;

	if (c->proved == 0 || l->seq <= c->proved)
		return;
	if (l->kind == VERIFY_KIND_CLOCK && behind == 1 &&
	    c->proved != c->newest_clock) {
		c->proved = l->seq;
		return;
	}
	c->proved = 0;
	if (l->kind != VERIFY_KIND_RECOVER || behind > 1 + (uint64_t)copied)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "it follows a proof of another history, after which only "
		    "a recover record may come");
}
