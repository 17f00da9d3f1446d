#include "export/verify_named.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_line.h"

const char *const verify_named_name[VERIFY_NAMED_COUNT] = {
    [VERIFY_NAMED_NOTE] = "note",
    [VERIFY_NAMED_TOKEN] = "token",
    [VERIFY_NAMED_SALT] = "salt",
    [VERIFY_NAMED_SELECTOR] = "selector",
};

static void
finding(struct verify_report *r, const struct verify_leaf *l, const char *what)
{
	verify_report_finding(r, VERIFY_ANCHORS, verify_at(l->seq),
	    "what the archive has beside this record: %s", what);
}

/* The value of a field; an empty one when there is none. */
static struct view
field(const struct verify_leaf *l, const char *name)
{
	for (unsigned i = 0; i < l->fields; i++)
		if (view_is(l->field[i].name, name))
			return l->field[i].value;
	return view_of(NULL, 0);
}

/* A field that is "-" or not there names nothing, so nothing has that hash. */
static bool
is_named(const struct verify_leaf *l, const char *name, struct view bytes)
{
	uint8_t want[32], hash[32];

	if (!verify_hex(field(l, name), want, sizeof(want)))
		return false;
	crypto_sha256(bytes.p, bytes.n, hash);
	return memcmp(hash, want, sizeof(hash)) == 0;
}

/* ---- holds ---- */

static void
check_words(const struct verify_leaf *l, const struct verify_named *n,
    struct verify_report *r)
{
	uint8_t want[32], hash[32], salt[32];
	struct buf selector;

	buf_init(&selector);
	if (l->kind != VERIFY_KIND_HOLD)
		finding(r, l, "the words of a hold, which it is not");
	else if (!text_get_base64_fixed(
		     n->text[VERIFY_NAMED_SALT], salt, sizeof(salt)) ||
	    !text_get_base64(n->text[VERIFY_NAMED_SELECTOR], &selector))
		finding(r, l, "salt and selector are not base64");
	else {
		verify_commitment(
		    view_of(salt, sizeof(salt)), buf_view(&selector), hash);
		if (!text_get_base64_fixed(field(l, "selector"), want, 32) ||
		    memcmp(hash, want, sizeof(hash)) != 0)
			finding(r, l, "not the words that the hold commits to");
	}
	buf_release(&selector);
}

/* ---- checkpoints ---- */

static bool
is_size(const struct verify_leaf *l, const char *name, uint64_t size)
{
	uint64_t n;

	return view_to_u64(field(l, name), &n) && n == size;
}

static bool
is_stamp(const struct verify_leaf *l)
{
	return l->kind == VERIFY_KIND_ANCHOR &&
	    view_is(field(l, "what"), "stamp");
}

/* A line with its LF that has the hash which the field tells. */
static bool
has_line(const struct verify_leaf *l, const char *name,
    const struct verify_note *note)
{
	struct view rest = note->signatures, line;

	while (verify_line(&rest, &line))
		if (is_named(l, name, view_of(line.p, line.n + 1)))
			return true;
	return false;
}

/* The note with no lines but those of its own key, as it was signed. */
static void
put_bare(struct buf *b, const struct verify_note *note)
{
	static const char dash[] = "\xe2\x80\x94 ";
	struct view rest = note->signatures, line;
	size_t head = sizeof(dash) - 1 + note->origin.n;

	buf_put_view(b, note->body);
	buf_put_u8(b, '\n');
	while (verify_line(&rest, &line))
		if (line.n > head &&
		    memcmp(line.p + sizeof(dash) - 1, note->origin.p,
			note->origin.n) == 0 &&
		    line.p[head] == ' ')
			buf_put(b, line.p, line.n + 1);
}

static bool
is_the_checkpoint(const struct verify_leaf *l, const struct verify_note *note,
    struct view bare)
{
	switch (l->kind) {
	case VERIFY_KIND_OPEN:
		return note->size == l->seq && is_named(l, "note", bare);
	case VERIFY_KIND_KEY:
		return note->size == l->seq + 1;
	case VERIFY_KIND_PURGE:
		return is_size(l, "anchor", note->size);
	case VERIFY_KIND_BEAT:
		return note->size <= l->seq && has_line(l, "anchor", note);
	case VERIFY_KIND_ANCHOR:
		return is_size(l, "size", note->size) &&
		    (is_stamp(l) || has_line(l, "sha256", note));
	default:
		return false;
	}
}

static void
check_token(const struct verify_leaf *l, struct view text, struct view bare,
    struct verify_report *r)
{
	struct buf token;
	uint8_t hash[32];

	buf_init(&token);
	crypto_sha256(bare.p, bare.n, hash);
	if (!text_get_base64(text, &token) || !is_stamp(l) ||
	    !is_named(l, "sha256", buf_view(&token)))
		finding(r, l, "not the time-stamp that it names");
	else if (memmem(token.data, token.len, hash, sizeof(hash)) == NULL)
		finding(r, l, "the time-stamp is not of this checkpoint");
	buf_release(&token);
}

/* Whether one of its lines claims to be by the key. */
static bool
is_by(const struct verify_note *note, const struct verify_key *key)
{
	struct view rest = note->signatures;
	uint8_t id[4];

	while (verify_note_next_id(&rest, key->name, id))
		if (memcmp(id, key->id, sizeof(id)) == 0)
			return true;
	return false;
}

/* False: the key of its epoch is not known here. */
static bool
check_signature(const struct verify_leaf *l, const struct verify_note *note,
    const struct verify_trust *trust, const struct verify_key *key,
    struct verify_report *r)
{
	char *origin = view_dup(note->origin);
	const struct verify_key *of = origin == NULL
	    ? NULL
	    : verify_trust_find(trust, origin, note->size);
	const char *why;

	free(origin);
	if (of == NULL && key != NULL && is_by(note, key))
		of = key;
	if (of != NULL && !verify_note_signed(note, of, &why))
		finding(r, l, why);
	return of != NULL;
}

static bool
check_note(const struct verify_leaf *l, const struct verify_named *n,
    const struct verify_trust *trust, const struct verify_key *key,
    struct verify_report *r)
{
	struct verify_note note;
	struct buf bare;
	const char *why;
	unsigned line;
	bool known = true;

	if (!verify_note_parse(
		n->text[VERIFY_NAMED_NOTE], &note, &line, &why)) {
		finding(r, l, why);
		return true;
	}
	buf_init(&bare);
	put_bare(&bare, &note);
	if (!is_the_checkpoint(l, &note, buf_view(&bare)))
		finding(r, l, "not the checkpoint or cosignature it names");
	else
		known = check_signature(l, &note, trust, key, r);
	if (n->text[VERIFY_NAMED_TOKEN].n > 0)
		check_token(l, n->text[VERIFY_NAMED_TOKEN], buf_view(&bare), r);
	buf_release(&bare);
	return known;
}

bool
verify_named(const struct verify_leaf *l, const struct verify_named *n,
    const struct verify_trust *trust, const struct verify_key *key,
    struct verify_report *r)
{
	bool words = n->text[VERIFY_NAMED_SALT].n > 0 ||
	    n->text[VERIFY_NAMED_SELECTOR].n > 0;
	bool note = n->text[VERIFY_NAMED_NOTE].n > 0;

	if (!note && !words && n->text[VERIFY_NAMED_TOKEN].n == 0)
		return true;
	verify_report_count(r, VERIFY_ANCHORS, 1);
	if (words)
		check_words(l, n, r);
	if (note)
		return check_note(l, n, trust, key, r);
	if (n->text[VERIFY_NAMED_TOKEN].n > 0)
		finding(r, l, "a time-stamp without its checkpoint");
	return true;
}
