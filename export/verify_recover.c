#include "export/verify_recover.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_line.h"
#include "export/verify_take.h"

#define DIGITS 8 /* at the end of an origin */

enum field { OLD, SIZE, ROOT, ORIGIN, VKEY, NEXT, REASON, BY };

/* The name in force after so many recover records. */
static const char *
name_of(const struct verify_control *c, size_t index)
{
	return index == 0 ? c->origin : c->recover[index - 1].origin;
}

static bool
is_digits(const char *s)
{
	return strlen(s) == DIGITS && strspn(s, "0123456789abcdef") == DIGITS;
}

/* The same but for the last eight digits, and none that was there before. */
static bool
follows(const struct verify_control *c, const char *origin)
{
	const char *first = name_of(c, 0);
	size_t n = strlen(origin), ignored;

	return first != NULL && n > DIGITS && n == strlen(first) &&
	    is_digits(origin + n - DIGITS) &&
	    memcmp(origin, first, n - DIGITS) == 0 &&
	    !verify_recover_of_origin(c, origin, &ignored);
}

static void
judge(const struct verify_control *c, const struct verify_recover *v,
    struct verify_report *r)
{
	const char *current = name_of(c, c->recovers);
	const char *breach = NULL;

	if (current == NULL || strcmp(v->old, current) != 0)
		breach = "old is not the name that the journal had";
	else if (!follows(c, v->origin))
		breach = "origin does not follow from the name before, or was "
			 "there before";
	else if (v->has_key && strcmp(v->key.name, v->origin) != 0)
		breach = "the key is not one of the new name";
	else if (strcmp(v->reason, "lost") == 0 && v->size <= v->seq)
		breach = "it says that records are lost, and that none is";
	if (breach != NULL)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(v->seq),
		    "recover record: %s", breach);
}

static void
free_texts(struct verify_recover *v)
{
	free(v->old);
	free(v->origin);
	free(v->vkey);
	free(v->next);
	free(v->reason);
	free(v->by);
}

void
verify_recover_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_recover v = {.seq = l->seq};
	const char *why;

	if (!verify_take_numbers(l, SIZE, SIZE, &v.size) ||
	    !text_get_base64_fixed(l->field[ROOT].value, v.root, 32) ||
	    !verify_take_room(c, &c->recover, c->recovers, sizeof(v)))
		return;
	v.old = verify_take_decoded(c, l->field[OLD].value);
	v.origin = verify_take_decoded(c, l->field[ORIGIN].value);
	v.vkey = verify_take_decoded(c, l->field[VKEY].value);
	v.next = verify_take_decoded(c, l->field[NEXT].value);
	v.reason = verify_take_decoded(c, l->field[REASON].value);
	v.by = verify_take_decoded(c, l->field[BY].value);
	if (c->out_of_memory) {
		free_texts(&v);
		return;
	}
	v.has_key = verify_key_parse(view_text(v.vkey), &v.key, &why);
	if (!v.has_key)
		verify_take_malformed(l, VKEY, r);
	judge(c, &v, r);
	c->recover[c->recovers++] = v;
}

void
verify_recover_release(struct verify_control *c)
{
	for (size_t i = 0; i < c->recovers; i++)
		free_texts(&c->recover[i]);
	free(c->recover);
}

/* ---- keys ---- */

static const struct verify_key *
given_for(const struct verify_key *given, const char *origin)
{
	for (; given != NULL; given = given->more)
		if (strcmp(given->name, origin) == 0)
			return given;
	return NULL;
}

/* By the record that told the key before. */
static bool
is_announced(const struct verify_control *c, const struct verify_recover *v)
{
	const struct verify_epochs *e = &c->epochs;
	const struct verify_epoch *before = NULL;
	uint8_t digest[32];

	for (size_t i = 0; i < e->count && e->epoch[i].seq < v->seq; i++)
		before = &e->epoch[i];
	crypto_sha256(v->key.public, sizeof(v->key.public), digest);
	return before != NULL && before->announces &&
	    memcmp(digest, before->next, 32) == 0;
}

void
verify_recover_keys(struct verify_control *c, const struct verify_key *given,
    struct verify_report *r)
{
	for (size_t i = 0; i < c->recovers; i++) {
		const struct verify_recover *v = &c->recover[i];
		const struct verify_key *known = given_for(given, v->origin);

		if (given == NULL || !v->has_key)
			continue; /* said already */
		verify_report_count(r, VERIFY_KEY, 1);
		if (known != NULL &&
		    verify_epochs_find(&c->epochs, known) == c->epochs.count)
			verify_report_finding(r, VERIFY_KEY, verify_at(v->seq),
			    "the journal names another key than the one "
			    "given: %s",
			    v->vkey);
		else if (known == NULL && !is_announced(c, v))
			verify_report_finding(r, VERIFY_KEY, verify_at(v->seq),
			    "nobody announced the key of the new name: give "
			    "the one that you were told by a further --key; "
			    "the journal says %s",
			    v->vkey);
	}
}

/* ---- which name ---- */

bool
verify_recover_of_origin(
    const struct verify_control *c, const char *origin, size_t *index)
{
	for (*index = 0; *index <= c->recovers; ++*index)
		if (name_of(c, *index) != NULL &&
		    strcmp(name_of(c, *index), origin) == 0)
			return true;
	return false;
}

const struct verify_recover *
verify_recover_end(const struct verify_control *c, size_t index)
{
	return index < c->recovers ? &c->recover[index] : NULL;
}

/* ---- what is told ---- */

void
verify_recover_beyond(const struct verify_recover *end, const char *path,
    uint64_t size, const uint8_t root[32], struct verify_report *r)
{
	if (size > end->size)
		verify_report_finding(r, VERIFY_ROOTS, verify_at(end->seq),
		    "%s: %" PRIu64 " records were signed as %s, but the "
		    "recover record declares %" PRIu64,
		    path, size, end->old, end->size);
	else if (size == end->size && memcmp(root, end->root, 32) != 0)
		verify_report_finding(r, VERIFY_ROOTS, verify_at(end->seq),
		    "%s: the root that was signed as %s at size %" PRIu64
		    " is not the one that the recover record declares",
		    path, end->old, size);
	else
		verify_report_note(r,
		    "%s: covers records %" PRIu64 "-%" PRIu64
		    " of %s, which record %" PRIu64 " declares lost",
		    path, end->seq, size - 1, end->old, end->seq);
}

bool
verify_recover_forked(const struct verify_recover *end, const char *path,
    uint64_t size, const uint8_t root[32], struct verify_report *r)
{
	if (size > end->seq || size != end->size ||
	    strcmp(end->reason, "fork") != 0 ||
	    memcmp(root, end->root, 32) != 0)
		return false;
	verify_report_note(r,
	    "%s: of another history, as record %" PRIu64 " declares", path,
	    end->seq);
	return true;
}

void
verify_recover_say(const struct verify_control *c, struct verify_report *r)
{
	for (size_t i = 0; i < c->recovers; i++) {
		const struct verify_recover *v = &c->recover[i];

		if (v->size > v->seq)
			verify_report_note(r,
			    "gap, declared by record %" PRIu64
			    " (reason %s, by %s): of %" PRIu64
			    " records signed as %s, records %" PRIu64
			    "-%" PRIu64 " are lost; the journal goes on as %s",
			    v->seq, v->reason, v->by, v->size, v->old, v->seq,
			    v->size - 1, v->origin);
		else
			verify_report_note(r,
			    "new name, declared by record %" PRIu64
			    " (reason %s, by %s): %s%s; the journal goes on "
			    "as %s",
			    v->seq, v->reason, v->by,
			    strcmp(v->reason, "fork") == 0
				? "other records were signed as "
				: "no record is known to be lost of ",
			    v->old, v->origin);
	}
}
