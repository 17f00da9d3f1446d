#include "export/verify_records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "export/verify_json.h"
#include "export/verify_values.h"

void
verify_header_init(struct verify_header *h)
{
	memset(h, 0, sizeof(*h));
	buf_init(&h->left);
	buf_init(&h->right);
}

void
verify_header_release(struct verify_header *h)
{
	free(h->origin);
	free(h->vkey);
	free(h->adapter);
	free(h->id);
	free(h->root);
	free(h->note);
	buf_release(&h->left);
	buf_release(&h->right);
}

static void
choose_key(struct verify_records *s, const struct verify_trust *trust)
{
	const char *origin = s->header->origin;
	const struct verify_key *given = trust == NULL ? NULL : trust->given;
	const struct verify_key *later = NULL;
	const char *own = s->header->vkey, *why;
	struct verify_key key;
	bool parsed = false;

	if (origin != NULL) {
		given = verify_key_of(given, view_text(origin));
		later = verify_trust_find(trust, origin, s->header->size);
	}
	if (given != NULL)
		verify_report_count(s->report, VERIFY_KEY, 1);
	else
		verify_report_skip(s->report, VERIFY_KEY, "no key given");
	if (own == NULL)
		verify_report_finding(s->report, VERIFY_KEY, verify_nowhere(),
		    "the archive states no key");
	else if (!verify_key_parse(view_text(own), &key, &why))
		verify_report_finding(
		    s->report, VERIFY_KEY, verify_nowhere(), "%s", why);
	else
		parsed = true;
	if (given == NULL)
		verify_report_note(s->report,
		    "key not given: a key taken from the file itself proves "
		    "nothing about who signed");
	if (later != NULL && parsed && !verify_key_equal(&key, later))
		verify_report_finding(s->report, VERIFY_KEY, verify_nowhere(),
		    "the archive names another key than that of its epoch: %s",
		    own);
	else if (later == NULL && given != NULL && parsed &&
	    !verify_key_equal(&key, given))
		verify_report_finding(s->report, VERIFY_KEY, verify_nowhere(),
		    "the archive names another key than the one given: %s "
		    "(of another epoch? only the journal or --keys shows "
		    "that)",
		    own);
	if (later != NULL || given != NULL)
		key = later != NULL ? *later : *given;
	s->has_key = parsed || later != NULL || given != NULL;
	if (s->has_key)
		s->key = key;
}

/* The checkpoint is signed and states what the header states. */
static void
check_note(struct verify_records *s)
{
	const struct verify_header *h = s->header;
	struct verify_note note;
	const char *why;
	unsigned line;

	verify_report_count(s->report, VERIFY_SIGNATURES, 1);
	if (h->note == NULL ||
	    !verify_note_parse(view_text(h->note), &note, &line, &why)) {
		verify_report_finding(s->report, VERIFY_SIGNATURES,
		    verify_nowhere(), "checkpoint: %s",
		    h->note == NULL ? "there is none" : why);
		return;
	}
	if (h->origin == NULL || !view_is(note.origin, h->origin))
		verify_report_finding(s->report, VERIFY_SIGNATURES,
		    verify_nowhere(),
		    "checkpoint is of another origin than the archive");
	if (note.size != h->size)
		verify_report_finding(s->report, VERIFY_SIGNATURES,
		    verify_nowhere(),
		    "checkpoint is of size %" PRIu64
		    ", the archive says %" PRIu64,
		    note.size, h->size);
	if (!s->has_key)
		why = "no key to judge it by";
	if (!s->has_key || !verify_note_signed(&note, &s->key, &why)) {
		verify_report_finding(s->report, VERIFY_SIGNATURES,
		    verify_nowhere(), "checkpoint: %s", why);
		return;
	}
	memcpy(s->root, note.root, 32);
	s->root_stated = true;
	buf_put_text(&s->archive->note, h->note);
}

static void
check_header(struct verify_records *s)
{
	const struct verify_header *h = s->header;
	uint8_t root[32];
	char id[512];

	verify_report_count(s->report, VERIFY_FILE, 1);
	if (h->origin == NULL || h->adapter == NULL || h->id == NULL) {
		verify_report_finding(s->report, VERIFY_FILE, verify_nowhere(),
		    "the archive does not state its origin, adapter and id");
		return;
	}
	(void)snprintf(
	    id, sizeof(id), "%s/%s/%" PRIu64, h->origin, h->adapter, h->batch);
	if (strcmp(id, h->id) != 0)
		verify_report_finding(s->report, VERIFY_FILE, verify_nowhere(),
		    "batch id \"%s\" is not that of its origin, adapter and "
		    "number",
		    h->id);
	if (h->first > h->last || h->last >= h->size || h->size > INT64_MAX ||
	    h->count != h->last - h->first + 1)
		verify_report_finding(s->report, VERIFY_FILE, verify_nowhere(),
		    "range, count and tree size do not fit each other");
	if (s->root_stated &&
	    (h->root == NULL ||
		!text_get_base64_fixed(view_text(h->root), root, 32) ||
		memcmp(root, s->root, 32) != 0))
		verify_report_finding(s->report, VERIFY_FILE, verify_nowhere(),
		    "stated root is not that of the checkpoint");
}

static void
fill_archive(struct verify_records *s)
{
	const struct verify_header *h = s->header;
	struct verify_archive *a = s->archive;

	(void)snprintf(a->origin, sizeof(a->origin), "%s",
	    h->origin == NULL ? "" : h->origin);
	(void)snprintf(a->adapter, sizeof(a->adapter), "%s",
	    h->adapter == NULL ? "" : h->adapter);
	a->batch = h->batch;
	a->first = h->first;
	a->last = h->last;
	a->size = h->size;
	memcpy(a->root, s->root, 32);
	verify_report_fact(s->report, "origin", "%s", a->origin);
	verify_report_fact(s->report, "batch",
	    "%s %" PRIu64 ", records %" PRIu64 "-%" PRIu64, a->adapter,
	    h->batch, h->first, h->last);
	verify_report_fact(s->report, "checkpoint", "%" PRIu64, h->size);
}

void
verify_records_begin(struct verify_records *s, const struct verify_header *h,
    const struct verify_trust *trust, struct verify_report *r,
    struct verify_archive *archive)
{
	s->report = r;
	s->archive = archive;
	s->header = h;
	s->trust = trust;
	s->sound = true;
	s->root_stated = false;
	s->next = h->first;
	s->taken = s->purged = s->last_at = s->unjudged = 0;
	memset(s->root, 0, 32);
	verify_tree_init(&s->tree);
	choose_key(s, trust);
	check_note(s);
	check_header(s);
	fill_archive(s);
	verify_report_count(r, VERIFY_PROOF, 1);
	if (h->first > INT64_MAX ||
	    !verify_tree_extend(&s->tree, h->first, buf_view(&h->left))) {
		verify_report_finding(r, VERIFY_PROOF, verify_nowhere(),
		    "the hashes before the range are not as many as its "
		    "beginning needs");
		s->sound = false;
	}
}

static void
check_payload(
    struct verify_records *s, const struct verify_record *rec, unsigned part)
{
	struct verify_json json;
	const char *why,
	    *what = verify_json_part(
		&s->leaf, part, rec->part[part].data, &json, &why);

	if (what != NULL)
		verify_report_finding(s->report, VERIFY_PAYLOADS,
		    verify_at_part(rec->seq, part), "%s%s%s", what,
		    why == NULL ? "" : ": ", why == NULL ? "" : why);
}

static void
check_parts(struct verify_records *s, const struct verify_record *rec)
{
	uint8_t hash[32];

	verify_report_count(s->report, VERIFY_COMMITMENTS, rec->parts);
	for (unsigned i = 0; i < rec->parts; i++) {
		verify_commitment(rec->part[i].salt, rec->part[i].data, hash);
		if (rec->part[i].salt.n != 32 ||
		    memcmp(hash, s->leaf.commitment[i], 32) != 0)
			verify_report_finding(s->report, VERIFY_COMMITMENTS,
			    verify_at_part(rec->seq, i),
			    "payload and salt are not what the leaf commits "
			    "to");
		else
			check_payload(s, rec, i);
	}
	verify_report_count(s->report, VERIFY_PAYLOADS, rec->parts);
}

/* False when the leaf or the number of parts is wrong. */
static bool
check_leaf(struct verify_records *s, const struct verify_record *rec)
{
	struct verify_leaf *l = &s->leaf;
	const char *why;
	unsigned line;

	verify_report_count(s->report, VERIFY_SYNTAX, 1);
	if (!verify_leaf_parse(rec->leaf, l, &line, &why)) {
		verify_report_finding(s->report, VERIFY_SYNTAX,
		    verify_at_line(rec->seq, line), "leaf text: %s", why);
		return false;
	}
	verify_values(l, VERIFY_SYNTAX, s->report);
	if (l->seq != rec->seq || l->kind != rec->kind)
		verify_report_finding(s->report, VERIFY_DERIVED,
		    verify_at(rec->seq),
		    "leaf text is of record %" PRIu64 ", kind %u", l->seq,
		    l->kind);
	verify_report_count(s->report, VERIFY_DERIVED, 1);
	verify_report_count(s->report, VERIFY_TIME, 1);
	if (l->at <= s->last_at)
		verify_report_finding(s->report, VERIFY_TIME,
		    verify_at_line(rec->seq, 2),
		    "time is not after that of the record before");
	s->last_at = l->at;
	verify_report_count(s->report, VERIFY_COMPLETENESS, 1);
	if (rec->purged && rec->parts == 0 && l->parts > 0) {
		s->purged++;
		return true;
	}
	if (rec->purged || rec->parts != l->parts) {
		verify_report_finding(s->report, VERIFY_COMPLETENESS,
		    verify_at(rec->seq), "%u of %u payload parts%s", rec->parts,
		    l->parts,
		    rec->purged ? " in a record marked as purged" : "");
		return false;
	}
	return true;
}

/* To who asked for the archive's records. */
static void
hand_out(struct verify_records *s, const struct verify_record *rec)
{
	struct verify_archived out = {
	    .seq = rec->seq, .at = s->leaf.at, .leaf = rec->leaf};

	if (s->archive->each == NULL)
		return;
	if (rec->parts > 0)
		out.envelope = rec->part[0].data;
	s->archive->each(s->archive->arg, &out);
}

void
verify_records_take(struct verify_records *s, const struct verify_record *rec)
{
	uint8_t hash[32];

	verify_report_count(s->report, VERIFY_SEQUENCE, 1);
	s->taken++;
	if (rec->seq != s->next || rec->seq > s->header->last) {
		verify_report_finding(s->report, VERIFY_SEQUENCE,
		    verify_at(rec->seq), "record %" PRIu64 " is expected here",
		    s->next);
		s->sound = false;
	}
	s->next = rec->seq + 1;
	verify_leaf_hash(rec->leaf, hash);
	if (s->sound)
		verify_tree_add(&s->tree, hash, NULL, NULL);
	if (!check_leaf(s, rec))
		return;
	check_parts(s, rec);
	hand_out(s, rec);
	if (!verify_named(&s->leaf, &rec->named, s->trust,
		s->has_key ? &s->key : NULL, s->report))
		s->unjudged++;
	if (s->on_record != NULL)
		s->on_record(s->arg, rec, s->leaf.at);
}

void
verify_records_end(struct verify_records *s)
{
	const struct verify_header *h = s->header;
	struct verify_report *r = s->report;
	uint8_t root[32];

	if (s->taken != h->count || s->next != h->last + 1) {
		verify_report_finding(r, VERIFY_SEQUENCE, verify_nowhere(),
		    "%" PRIu64 " records up to %" PRIu64
		    ", the archive says %" PRIu64 " up to %" PRIu64,
		    s->taken, s->next - 1, h->count, h->last);
		s->sound = false;
	}
	if (s->purged > 0)
		verify_report_note(r,
		    "%" PRIu64
		    " records had been purged before they were archived here",
		    s->purged);
	if (s->unjudged > 0)
		verify_report_note(r,
		    "%" PRIu64
		    " checkpoints beside records are not judged: only the "
		    "journal or --keys shows the keys of their epochs",
		    s->unjudged);
	s->archive->whole = s->purged == 0;
	if (!s->sound || h->size < s->tree.size) {
		verify_report_skip(
		    r, VERIFY_PROOF, "records are missing or out of place");
		return;
	}
	if (!verify_tree_extend(&s->tree, h->size, buf_view(&h->right))) {
		verify_report_finding(r, VERIFY_PROOF, verify_nowhere(),
		    "the hashes after the range are not as many as the tree "
		    "size needs");
		return;
	}
	verify_tree_root(&s->tree, root);
	if (!s->root_stated)
		verify_report_skip(
		    r, VERIFY_PROOF, "there is no signed root to compare with");
	else if (memcmp(root, s->root, 32) != 0)
		verify_report_finding(r, VERIFY_PROOF,
		    verify_at_range(h->first, h->last),
		    "the leaves and the hashes around them do not give the "
		    "signed root: at least one was changed");
}
