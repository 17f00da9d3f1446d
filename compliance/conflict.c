#include "compliance/conflict.h"

#include <string.h>

#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/leaf.h"
#include "compliance/note.h"

/* The record that the present name began with. */
static int
begin_of_name(struct journal *j, uint64_t *seq)
{
	struct buf fields;
	int r;

	*seq = 0;
	buf_init(&fields);
	r = journal_fields_before(j, EVENT_RECOVER, INT64_MAX, seq, &fields);
	buf_release(&fields);
	return r < 0 ? -1 : 0;
}

/* The value, decoded. */
static bool
take_field(struct view fields, const char *name, struct buf *out)
{
	struct view token;

	buf_clear(out);
	return leaf_field(fields, name, &token) && text_get_token(token, out) &&
	    !out->failed;
}

/* Whether the key in the fields made the note; the text is for scratch. */
static bool
signed_by(const struct note *note, struct view fields, struct buf *text)
{
	struct note_vkey key;
	const char *why;

	return take_field(fields, "vkey", text) &&
	    note_parse_vkey(buf_view(text), &key) &&
	    note_verify(note, &key, &why);
}

/*
 * By a key that the present name has or had: 1, 0, -1. What the holder of a
 * key that was declared stolen signs is no word of ours.
 */
static int
is_signed(struct journal *j, const struct note *note)
{
	uint64_t since, seq, before = INT64_MAX;
	bool stolen = false;
	struct buf fields, text;
	struct view clean;
	int r = -1, found = 0;

	buf_init(&fields);
	buf_init(&text);
	if (begin_of_name(j, &since) == 0)
		r = 1;
	while (found == 0 && r == 1) {
		buf_clear(&fields);
		r = journal_fields_before(j, EVENT_KEY, before, &seq, &fields);
		if (r == 1 && seq < since)
			r = 0;
		if (r != 1)
			break;
		found = !stolen && signed_by(note, buf_view(&fields), &text);
		stolen = leaf_field(buf_view(&fields), "clean", &clean) &&
		    view_is(clean, "no");
		before = seq;
	}
	buf_clear(&fields);
	if (r == 0 && found == 0)
		r = since > 0
		    ? journal_fields_before(
			  j, EVENT_RECOVER, since + 1, &seq, &fields)
		    : journal_fields_before(j, EVENT_OPEN, 1, &seq, &fields);
	if (r == 1 && found == 0)
		found = !stolen && signed_by(note, buf_view(&fields), &text);
	buf_release(&fields);
	buf_release(&text);
	return r < 0 ? -1 : found;
}

static bool
is_ours(const struct journal *j, struct view text, struct note *note)
{
	const char *why;

	return note_parse(text, note, &why) &&
	    view_is(note->origin, journal_origin(j));
}

void
conflict_keep(const struct journal *j, struct view text, struct buf *out)
{
	struct note note;

	if (!is_ours(j, text, &note))
		return;
	if (text.n <= CONFLICT_NOTE_MAX)
		buf_put_view(out, text);
	else
		note_put_own(out, &note);
	if (out->len > CONFLICT_NOTE_MAX)
		buf_clear(out);
}

int
conflict_is_proof(struct journal *j, struct view text)
{
	uint8_t root[32];
	struct note note;

	if (!is_ours(j, text, &note))
		return 0;
	if (note.size <= journal_size(j)) {
		if (journal_root_at(j, note.size, root) != 0)
			return -1;
		if (memcmp(root, note.root, sizeof root) == 0)
			return 0;
	}
	return is_signed(j, &note);
}

void
conflict_put(struct buf *fields, const struct conflict *c)
{
	struct buf base64;

	buf_init(&base64);
	if (c->note.n > 0)
		text_put_base64(&base64, c->note.p, c->note.n);
	else
		buf_put_u8(&base64, '-');
	leaf_put_field(fields, "witness", c->witness);
	leaf_put_number(fields, "size", c->size);
	leaf_put_field(fields, "proof", view_text(c->proved ? "yes" : "no"));
	leaf_put_number(fields, "hold", c->hold);
	leaf_put_field(fields, "note", buf_view(&base64));
	fields->failed |= base64.failed;
	buf_release(&base64);
}

/* The same words of the same witness: their fields but for the hold. */
static bool
is_same(struct view fields, const struct conflict *c)
{
	struct buf own;
	struct conflict other = *c;
	bool same;

	buf_init(&own);
	same = leaf_field_number(fields, "hold", &other.hold);
	conflict_put(&own, &other);
	same = same && !own.failed && own.len == fields.n &&
	    memcmp(own.data, fields.p, fields.n) == 0;
	buf_release(&own);
	return same;
}

static int
is_settled(struct journal *j, struct view fields)
{
	uint64_t hold = 0;
	int r;

	if (!leaf_field_number(fields, "hold", &hold))
		return 1;
	r = journal_hold_lives(j, hold);
	return r < 0 ? -1 : !r;
}

int
conflict_is_known(struct journal *j, const struct conflict *c)
{
	uint64_t seq, before = INT64_MAX;
	struct buf fields, name;
	int r, known = 0;

	buf_init(&fields);
	buf_init(&name);
	while (known == 0 &&
	    (r = journal_fields_before(
		 j, EVENT_CONFLICT, before, &seq, &fields)) == 1) {
		struct view text = buf_view(&fields);

		before = seq;
		if (is_same(text, c)) {
			known = 1;
		} else if (!c->proved && take_field(text, "witness", &name) &&
		    name.len == c->witness.n &&
		    memcmp(name.data, c->witness.p, name.len) == 0) {
			int settled = is_settled(j, text);

			known = settled < 0 ? -1 : !settled;
		}
		buf_clear(&fields);
	}
	buf_release(&name);
	buf_release(&fields);
	return known != 0 ? known : r;
}

/* The note of a record that says it is a proof; false: it does not. */
static bool
take_note(struct view fields, struct buf *note)
{
	struct view proof, base64;

	buf_clear(note);
	return leaf_field(fields, "proof", &proof) && view_is(proof, "yes") &&
	    leaf_field(fields, "note", &base64) &&
	    text_get_base64(base64, note) && !note->failed;
}

int
conflict_standing(struct journal *j, uint64_t *seq, struct buf *note)
{
	uint64_t since, before = INT64_MAX;
	struct buf fields;
	int r = 1, proof = 0;

	if (begin_of_name(j, &since) != 0)
		return -1;
	buf_init(&fields);
	while (proof == 0 && r == 1) {
		buf_clear(&fields);
		r = journal_fields_before(
		    j, EVENT_CONFLICT, before, seq, &fields);
		if (r == 1 && *seq < since)
			r = 0;
		before = *seq;
		if (r == 1 && take_note(buf_view(&fields), note))
			proof = conflict_is_proof(j, buf_view(note));
	}
	buf_release(&fields);
	return r < 0 ? -1 : proof;
}
