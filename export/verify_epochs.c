#include "export/verify_epochs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_line.h"

enum { KEY_EPOCH, KEY_VKEY, KEY_NEXT, KEY_REASON, KEY_CLEAN };
enum { OPEN_ORIGIN = 1, OPEN_VKEY = 2, OPEN_NEXT = 3 };
enum { RECOVER_VKEY = 4, RECOVER_NEXT = 5 };

static struct verify_epoch *
add(struct verify_epochs *e, uint64_t seq)
{
	struct verify_epoch *grown =
	    reallocarray(e->epoch, e->count + 1, sizeof(*grown));

	if (grown == NULL) {
		e->out_of_memory = true;
		return NULL;
	}
	e->epoch = grown;
	grown = &grown[e->count++];
	memset(grown, 0, sizeof(*grown));
	grown->seq = seq;
	return grown;
}

static void
take_key(struct verify_epoch *e, const struct verify_leaf *l, unsigned vkey,
    unsigned next, struct verify_report *r)
{
	const char *why = "value malformed";
	struct buf text;

	buf_init(&text);
	e->told = text_get_token(l->field[vkey].value, &text) && text.len > 0 &&
	    verify_key_parse(buf_view(&text), &e->key, &why);
	e->announces = verify_hex(l->field[next].value, e->next, 32);
	buf_release(&text);
	if (!e->told)
		verify_report_finding(r, VERIFY_EPOCHS,
		    verify_at_line(l->seq, 3 + vkey), "%s", why);
}

/* Whether the origin, as it stands in a field, is the name of the key. */
static bool
is_named(const struct verify_epoch *e, struct view origin)
{
	struct buf text;
	bool same;

	buf_init(&text);
	same = text_get_token(origin, &text) &&
	    view_is(buf_view(&text), e->key.name);
	buf_release(&text);
	return same;
}

void
verify_epochs_open(struct verify_epochs *e, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_epoch *first;

	if (e->count > 0 || (first = add(e, l->seq)) == NULL)
		return;
	verify_report_count(r, VERIFY_EPOCHS, 1);
	take_key(first, l, OPEN_VKEY, OPEN_NEXT, r);
	if (first->told && !is_named(first, l->field[OPEN_ORIGIN].value))
		verify_report_finding(r, VERIFY_EPOCHS, verify_at(l->seq),
		    "the genesis key is of another origin than the journal");
}

static bool
is_announced(const struct verify_epoch *before, const struct verify_key *key)
{
	uint8_t digest[32];

	crypto_sha256(key->public, 32, digest);
	return before->announces && memcmp(digest, before->next, 32) == 0;
}

/* The record goes on from the epoch before. */
static void
check_turn(const struct verify_epoch *before, const struct verify_epoch *e,
    const struct verify_leaf *l, uint64_t expected, struct verify_report *r)
{
	struct verify_place at = verify_at(l->seq);
	uint64_t number;

	if (!verify_leaf_number(l, KEY_EPOCH, &number) || number != expected)
		verify_report_finding(r, VERIFY_EPOCHS, at,
		    "key record is not of epoch %" PRIu64
		    ", the one after the last",
		    expected);
	if (!view_is(l->field[KEY_CLEAN].value, e->clean ? "yes" : "no") ||
	    e->clean == view_is(l->field[KEY_REASON].value, "compromise"))
		verify_report_finding(r, VERIFY_EPOCHS,
		    verify_at_line(l->seq, 3 + KEY_CLEAN),
		    "key record: clean is \"no\" after a compromise and "
		    "\"yes\" else");
	if (!e->told || !before->told)
		return;
	if (strcmp(e->key.name, before->key.name) != 0)
		verify_report_finding(r, VERIFY_EPOCHS, at,
		    "the key of epoch %" PRIu64 " is of another origin",
		    expected);
	if (!is_announced(before, &e->key))
		verify_report_finding(r, VERIFY_EPOCHS, at,
		    "the key of epoch %" PRIu64
		    " is not the one that record %" PRIu64 " announced",
		    expected, before->seq);
}

void
verify_epochs_key(struct verify_epochs *e, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_epoch *next;

	verify_report_count(r, VERIFY_EPOCHS, 1);
	if (e->count == 0) {
		verify_report_finding(r, VERIFY_EPOCHS, verify_at(l->seq),
		    "key record without an open record before it");
		return;
	}
	next = add(e, l->seq);
	if (next == NULL)
		return;
	next->clean = !view_is(l->field[KEY_CLEAN].value, "no");
	next->from = l->seq + (next->clean ? 2 : 1);
	next->number = next[-1].number + 1;
	take_key(next, l, KEY_VKEY, KEY_NEXT, r);
	check_turn(next - 1, next, l, next->number, r);
}

/* What the record itself must be is judged by verify_recover_take(). */
void
verify_epochs_recover(struct verify_epochs *e, const struct verify_leaf *l)
{
	struct verify_epoch *first = add(e, l->seq);
	const char *why;
	struct buf text;

	if (first == NULL)
		return;
	first->from = l->seq + 1;
	buf_init(&text);
	first->told = text_get_token(l->field[RECOVER_VKEY].value, &text) &&
	    text.len > 0 &&
	    verify_key_parse(buf_view(&text), &first->key, &why);
	first->announces =
	    verify_hex(l->field[RECOVER_NEXT].value, first->next, 32);
	buf_release(&text);
}

size_t
verify_epochs_find(const struct verify_epochs *e, const struct verify_key *key)
{
	size_t i = 0;

	while (i < e->count &&
	    (!e->epoch[i].told || !verify_key_equal(&e->epoch[i].key, key)))
		i++;
	return i;
}

/* origin: only epochs under that name count; count when there is none. */
static size_t
epoch_of(
    const struct verify_epochs *e, uint64_t size, const struct view *origin)
{
	size_t low = 0, high = e->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (e->epoch[middle].from <= size)
			low = middle;
		else
			high = middle;
	}
	if (origin == NULL || e->count == 0)
		return low;
	while (
	    !e->epoch[low].told || !view_is(*origin, e->epoch[low].key.name)) {
		if (low == 0)
			return e->count;
		low--;
	}
	return low;
}

/* Says which of the journal's other keys signed the note, if any did. */
static bool
find_other(const struct verify_epochs *e, const struct verify_note *n,
    size_t own, struct verify_report *r)
{
	const char *name = e->epoch[own].key.name;
	struct view rest = n->signatures;
	uint8_t id[4];
	bool found = false;

	while (verify_note_next_id(&rest, name, id)) {
		for (size_t i = 0; i < e->count; i++) {
			const char *why;

			if (i == own || !e->epoch[i].told ||
			    memcmp(e->epoch[i].key.id, id, 4) != 0 ||
			    verify_key_equal(
				&e->epoch[i].key, &e->epoch[own].key) ||
			    !verify_note_signed(n, &e->epoch[i].key, &why))
				continue;
			verify_report_finding(r, VERIFY_EPOCHS,
			    verify_at(e->epoch[i].seq),
			    "the checkpoint of size %" PRIu64
			    " is signed by the key of epoch %" PRIu64
			    ", but its size is of epoch %" PRIu64,
			    n->size, e->epoch[i].number, e->epoch[own].number);
			found = true;
		}
	}
	return found;
}

/* The checkpoint that an epoch begins with: after a theft its own. */
static void
take_closing(struct verify_epochs *e, size_t own, uint64_t size)
{
	struct verify_epoch *next = &e->epoch[own + 1];

	if (own + 1 < e->count && next->clean && size == next->seq + 1)
		next->closed = true;
	next--;
	if (next->number > 0 && !next->clean && size == next->seq + 1)
		next->closed = true;
}

bool
verify_epochs_signed(struct verify_epochs *e, const struct verify_note *n,
    enum verify_epochs_source source, struct verify_report *r)
{
	const char *why = "no key to judge it by";
	size_t own = epoch_of(
	    e, n->size, source == VERIFY_EPOCHS_OUTSIDE ? &n->origin : NULL);
	struct verify_epoch *epoch = own >= e->count ? NULL : &e->epoch[own];
	bool other = false;

	if (epoch != NULL && epoch->told) {
		other = find_other(e, n, own, r);
		if (verify_note_signed(n, &epoch->key, &why)) {
			if (n->size > epoch->good)
				epoch->good = n->size;
			if (source == VERIFY_EPOCHS_ROW)
				take_closing(e, own, n->size);
			return !other;
		}
	}
	if (!other)
		verify_report_finding(r, VERIFY_SIGNATURES, verify_nowhere(),
		    "signed note of size %" PRIu64 ": %s", n->size, why);
	return false;
}

/* What ended the epoch before. */
static void
judge_end(const struct verify_epochs *e, size_t i, struct verify_report *r)
{
	const struct verify_epoch *ended = &e->epoch[i - 1];
	const struct verify_epoch *begun = &e->epoch[i];
	uint64_t first = ended->good;

	if (begun->number == 0)
		return;
	/* Up to its own key record the epoch before it vouches. */
	if (ended->number > 0 && ended->closed && first <= ended->seq)
		first = ended->seq + 1;
	if (!begun->clean && first <= begun->seq)
		verify_report_note(r,
		    "records %" PRIu64 "-%" PRIu64 ": epoch %" PRIu64
		    " ended without a closing checkpoint (compromise, record "
		    "%" PRIu64 "); only keys of later epochs vouch for them",
		    first, begun->seq, ended->number, begun->seq);
	if (begun->closed)
		return;
	if (i + 1 == e->count && begun->good == 0)
		verify_report_note(r,
		    "epoch %" PRIu64 " is about to begin (record %" PRIu64
		    "): the closing checkpoint of epoch %" PRIu64
		    " is not there yet",
		    begun->number, begun->seq, ended->number);
	else if (begun->clean)
		verify_report_finding(r, VERIFY_EPOCHS, verify_at(begun->seq),
		    "epoch %" PRIu64
		    " has no closing checkpoint: nothing that its own key "
		    "signed reaches its end",
		    ended->number);
	else
		verify_report_finding(r, VERIFY_EPOCHS, verify_at(begun->seq),
		    "epoch %" PRIu64
		    " has no closing checkpoint: the key after it signed none "
		    "of just the records up to its own",
		    ended->number);
}

void
verify_epochs_finish(const struct verify_epochs *e, uint64_t from,
    uint64_t size, uint64_t outside, const char *witness, uint64_t cosigned,
    struct verify_report *r)
{
	const struct verify_epoch *newest;
	uint64_t open = from;
	size_t i = 1;

	if (e->count == 0)
		return;
	newest = &e->epoch[e->count - 1];
	while (i < e->count && e->epoch[i].seq + 1 < from)
		i++;
	if (i > 1)
		verify_report_note(r,
		    "%zu epoch%s ended in files that were not given: whether "
		    "by a closing checkpoint is not compared",
		    i - 1, i > 2 ? "s" : "");
	for (; i < e->count; i++)
		judge_end(e, i, r);
	if (e->count > 1 && newest->seq + 1 > open)
		open = newest->seq + 1;
	if (outside > open)
		open = outside;
	if (witness != NULL && cosigned > open) {
		verify_report_note(r,
		    "records %" PRIu64 "-%" PRIu64
		    " are of the newest epoch, %" PRIu64
		    ", and cosigned by witness %s: to write them anew after "
		    "that takes its key, too",
		    open, cosigned - 1, newest->number, witness);
		open = cosigned;
	}
	if (open < size)
		verify_report_note(r,
		    "records %" PRIu64 "-%" PRIu64
		    " are of the newest epoch, %" PRIu64
		    ": whoever has its key could have written them anew; "
		    "only a checkpoint from outside shows that",
		    open, size - 1, newest->number);
}

bool
verify_epochs_chain(const struct verify_epochs *e, struct verify_chain *out)
{
	memset(out, 0, sizeof(*out));
	if (e->out_of_memory || e->count == 0)
		return false;
	out->epoch = calloc(e->count, sizeof(*out->epoch));
	if (out->epoch == NULL)
		return false;
	for (size_t i = 0; i < e->count; i++) {
		if (!e->epoch[i].told) {
			verify_chain_release(out);
			return false;
		}
		out->epoch[i].epoch = e->epoch[i].number;
		out->epoch[i].from = e->epoch[i].from;
		out->epoch[i].key = e->epoch[i].key;
		out->epoch[i].announced =
		    i > 0 && is_announced(&e->epoch[i - 1], &e->epoch[i].key);
		out->count++;
	}
	return true;
}

void
verify_epochs_release(struct verify_epochs *e)
{
	free(e->epoch);
	memset(e, 0, sizeof(*e));
}
