#include "export/verify_certificate.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#include "export/verify_leaf.h"
#include "export/verify_line.h"
#include "export/verify_proof.h"
#include "export/verify_purged.h"

#define FILE_MAX ((size_t)64 << 20)
#define RECORDS_MAX 1000
#define US_PER_S 1000000U
#define HEADING "chancery-purge-certificate/1"
#define PROOF "c2sp.org/tlog-proof@v1\n"

struct record {
	struct verify_proof proof;
	struct verify_leaf leaf;
};

struct certificate {
	const struct verify_key *key;
	struct verify_report *r;
	struct record *record; /* the purge is the first */
	size_t count, max;
	char origin[VERIFY_NAME_MAX + 1];      /* of the first */
	const struct verify_archive **archive; /* of this origin */
	size_t sources;
	uint64_t youngest;                     /* acknowledgement */
	struct buf archives, approvals, holds; /* in words */
};

static void
finding(struct certificate *c, const char *why)
{
	verify_report_finding(c->r, VERIFY_PURGES, verify_nowhere(), "%s", why);
}

/* Whose checkpoint the proof leads to: the first tells, others must agree. */
static void
check_origin(struct certificate *c, struct view text)
{
	struct verify_note note;
	const char *why;
	unsigned line;

	if (!verify_note_parse(text, &note, &line, &why))
		return; /* said */
	if (c->count == 0)
		memcpy(c->origin, note.origin.p, note.origin.n);
	else if (!view_is(note.origin, c->origin))
		finding(
		    c, "a proof in it is of another journal than the first");
}

static void
check_parts(struct certificate *c, const struct verify_proof *proof)
{
	for (size_t i = 0; i < VERIFY_PROOF_PARTS; i++)
		if (proof->part[i].given) {
			finding(c, "a proof in it discloses a part");
			return;
		}
}

/* False when there are too many. */
static bool
take_proof(struct certificate *c, struct view text)
{
	struct record *x = &c->record[c->count];

	if (c->count == c->max) {
		finding(c, "there are too many proofs in it");
		return false;
	}
	if (!verify_proof_judge(text, c->key, c->r, &x->proof, &x->leaf)) {
		verify_proof_release(&x->proof);
		return true;
	}
	check_origin(c, x->proof.note);
	check_parts(c, &x->proof);
	c->count++;
	return true;
}

static void
check_version(struct certificate *c, bool known)
{
	verify_report_count(c->r, VERIFY_FILE, 1);
	if (!known)
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "it is no purge certificate of version 1");
}

/* Proofs in a text begin with their own first line, and end in a blank one. */
static void
take_text(struct certificate *c, struct view text)
{
	const uint8_t *at =
	    memmem(text.p, text.n, "\n" PROOF, sizeof("\n" PROOF) - 1);
	const uint8_t *end = text.p + text.n;
	struct view rest = text, line;

	check_version(c, verify_line(&rest, &line) && view_is(line, HEADING));
	while (at != NULL) {
		const uint8_t *next;
		struct view proof;

		at++;
		next = memmem(at, (size_t)(end - at), "\n\n" PROOF,
		    sizeof("\n\n" PROOF) - 1);
		proof =
		    view_of(at, (size_t)((next != NULL ? next + 1 : end) - at));
		if (!take_proof(c, proof))
			return;
		at = next != NULL ? next + 1 : NULL;
	}
}

static void
take_json(struct certificate *c, struct view text)
{
	json_t *o = json_loadb(
	    (const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	const json_t *proofs = json_object_get(o, "proofs"), *s;
	const char *version =
	    json_string_value(json_object_get(o, "certificate"));

	check_version(c, version != NULL && strcmp(version, HEADING) == 0);
	for (size_t i = 0; (s = json_array_get(proofs, i)) != NULL; i++)
		if (!json_is_string(s) ||
		    !take_proof(c,
			view_of(json_string_value(s), json_string_length(s))))
			break;
	json_decref(o);
}

static struct view
value(const struct verify_leaf *l, const char *name)
{
	for (unsigned i = 0; i < l->fields; i++)
		if (view_is(l->field[i].name, name))
			return l->field[i].value;
	return view_of(NULL, 0);
}

static uint64_t
number(const struct verify_leaf *l, const char *name)
{
	uint64_t n = 0;

	return view_to_u64(value(l, name), &n) ? n : 0;
}

/* The record of this number and kind; a finding and NULL when it is not there.
 */
static const struct verify_leaf *
find(struct certificate *c, struct view seq, unsigned kind, const char *what)
{
	uint64_t n;

	for (size_t i = 0; view_to_u64(seq, &n) && i < c->count; i++)
		if (c->record[i].leaf.seq == n &&
		    c->record[i].leaf.kind == kind)
			return &c->record[i].leaf;
	verify_report_finding(c->r, VERIFY_PURGES, verify_nowhere(),
	    "the %s record %.*s that the purge names is not in it", what,
	    (int)seq.n, (const char *)seq.p);
	return NULL;
}

/* Takes the next item of a comma list off its front. */
static bool
next_item(struct view *list, struct view *item)
{
	const uint8_t *comma =
	    list->n == 0 ? NULL : memchr(list->p, ',', list->n);

	if (list->n == 0)
		return false;
	*item = *list;
	if (comma == NULL) {
		list->n = 0;
		return true;
	}
	item->n = (size_t)(comma - list->p);
	*list = view_of(comma + 1, list->n - item->n - 1);
	return true;
}

static bool
ends_in_comma(struct view list)
{
	return list.n > 0 && list.p[list.n - 1] == ',';
}

/* The archive is the file that was acknowledged. */
static bool
is_file(const struct verify_archive *a, const struct verify_leaf *ack)
{
	uint8_t hash[32];

	return a->first == number(ack, "first") &&
	    a->last == number(ack, "last") &&
	    a->bytes == number(ack, "bytes") &&
	    verify_hex(value(ack, "sha256"), hash, 32) &&
	    memcmp(hash, a->sha256, 32) == 0;
}

/* The archives that say to be the one of this acknowledgement. */
static void
check_files(struct certificate *c, const struct verify_leaf *ack)
{
	size_t given = 0, kept = 0;

	for (size_t i = 0; i < c->sources; i++) {
		const struct verify_archive *a = c->archive[i];
		bool named = a->batch == number(ack, "batch") &&
		    view_is(value(ack, "adapter"), a->adapter);

		given += named;
		verify_report_count(c->r, VERIFY_ACKS, named);
		if (!named || is_file(a, ack))
			c->archive[kept++] = a;
		else
			verify_report_finding(c->r, VERIFY_ACKS,
			    verify_at(ack->seq),
			    "%s is not the file that was acknowledged: range, "
			    "SHA-256 or length differ",
			    a->path);
	}
	if (c->sources > 0 && given == 0)
		verify_report_note(c->r,
		    "the archive %.*s, which it names (record %" PRIu64
		    "), was not given",
		    (int)value(ack, "location").n,
		    (const char *)value(ack, "location").p, ack->seq);
	c->sources = kept;
}

static void
check_ack(struct certificate *c, const struct verify_leaf *purge,
    const struct verify_leaf *policy, struct view name, struct view seq)
{
	const struct verify_leaf *ack =
	    find(c, seq, VERIFY_KIND_ACK, "acknowledgement");
	struct view v;

	if (ack == NULL)
		return;
	if (c->youngest < ack->seq)
		c->youngest = ack->seq;
	v = value(ack, "adapter");
	if (v.n != name.n || memcmp(v.p, name.p, v.n) != 0 ||
	    !view_is(value(ack, "state"), "stored") || ack->seq >= purge->seq ||
	    number(ack, "last") < number(purge, "last"))
		verify_report_finding(c->r, VERIFY_PURGES, verify_at(ack->seq),
		    "this acknowledgement does not release what was purged");
	else if (purge->at < ack->at ||
	    (purge->at - ack->at) / US_PER_S < number(policy, "after"))
		verify_report_finding(c->r, VERIFY_PURGES, verify_at(ack->seq),
		    "purged before the time had passed that the policy asks "
		    "for after this acknowledgement");
	check_files(c, ack);
	buf_printf(&c->archives,
	    "%s%.*s: records %" PRIu64 "-%" PRIu64 ", %.*s, sha256 %.*s, "
	    "record %" PRIu64,
	    c->archives.len > 0 ? "; " : "", (int)name.n, (const char *)name.p,
	    number(ack, "first"), number(ack, "last"),
	    (int)value(ack, "location").n,
	    (const char *)value(ack, "location").p, (int)value(ack, "sha256").n,
	    (const char *)value(ack, "sha256").p, ack->seq);
}

static void
check_acks(struct certificate *c, const struct verify_leaf *purge,
    const struct verify_leaf *policy)
{
	struct view acks = value(purge, "acks");
	struct view required = value(policy, "required"), ack, name;

	if (ends_in_comma(required) || ends_in_comma(acks))
		finding(c, "a list of adapters ends in a comma");
	while (next_item(&required, &name)) {
		if (!next_item(&acks, &ack) || ack.n <= name.n ||
		    memcmp(ack.p, name.p, name.n) != 0 ||
		    ack.p[name.n] != ':') {
			finding(c,
			    "the purge does not name an acknowledgement of "
			    "each adapter that the policy requires");
			return;
		}
		check_ack(c, purge, policy, name,
		    view_of(ack.p + name.n + 1, ack.n - name.n - 1));
	}
	if (acks.n > 0)
		finding(c,
		    "the purge names an acknowledgement that the policy does "
		    "not require");
}

/* A checkpoint over all acknowledgements, when the policy asks for one. */
static void
check_anchor(struct certificate *c, const struct verify_leaf *purge,
    const struct verify_leaf *policy)
{
	struct view anchor = value(purge, "anchor");
	bool asked = number(policy, "quorum") > 0 ||
	    view_is(value(policy, "stamp"), "yes");
	uint64_t size;

	if (!asked && !view_is(anchor, "-"))
		finding(c, "the purge names an anchor that no policy demands");
	if (asked &&
	    (!view_to_u64(anchor, &size) || size <= c->youngest ||
		size > purge->seq))
		finding(c,
		    "the purge names no checkpoint that covers its "
		    "acknowledgements");
}

static void
check_approvals(struct certificate *c, const struct verify_leaf *purge,
    const struct verify_leaf *policy)
{
	struct view list = value(purge, "approvals"), item, before = {0};
	uint64_t count = 0;

	if (ends_in_comma(list))
		finding(c, "the list of approvals ends in a comma");
	while (!view_is(list, "-") && next_item(&list, &item)) {
		const struct verify_leaf *a =
		    find(c, item, VERIFY_KIND_APPROVE, "approve");
		struct view by;

		if (a == NULL)
			return;
		by = value(a, "by");
		if (number(a, "below") <= number(purge, "last") ||
		    a->seq >= purge->seq ||
		    (by.n == before.n && memcmp(by.p, before.p, by.n) == 0))
			verify_report_finding(c->r, VERIFY_PURGES,
			    verify_at(a->seq),
			    "this approval is not of what was purged, or of "
			    "the same person");
		before = by;
		count++;
		buf_printf(&c->approvals, "%s%.*s, record %" PRIu64,
		    count > 1 ? "; " : "", (int)by.n, (const char *)by.p,
		    a->seq);
	}
	if (count != number(policy, "approvals"))
		finding(c, "the policy asks for another number of approvals");
}

static void
say_holds(struct certificate *c, const struct verify_leaf *purge)
{
	struct view hold = value(purge, "hold");
	uint64_t n;
	bool found = view_is(hold, "-");

	for (size_t i = 0; i < c->count; i++) {
		const struct verify_leaf *l = &c->record[i].leaf;

		if (view_to_u64(hold, &n) && l->seq == n && n < purge->seq &&
		    (l->kind == VERIFY_KIND_HOLD ||
			l->kind == VERIFY_KIND_RELEASE))
			found = true;
		if (l->kind == VERIFY_KIND_HOLD && l->seq < purge->seq)
			buf_printf(&c->holds,
			    "%s%" PRIu64 ", matter %.*s, record %" PRIu64,
			    c->holds.len > 0 ? "; " : "", number(l, "hold"),
			    (int)value(l, "matter").n,
			    (const char *)value(l, "matter").p, l->seq);
	}
	if (!found)
		finding(c,
		    "the hold or release record that the purge names is not "
		    "in it");
}

static void
say_purge(struct certificate *c, const struct verify_leaf *p)
{
	struct view ranges = value(p, "ranges"), leaves = value(p, "leaves");
	struct buf at;

	buf_init(&at);
	text_put_time(&at, p->at);
	verify_report_fact(c->r, "purge",
	    "%" PRIu64 ", record %" PRIu64 ", at %.*s", number(p, "purge"),
	    p->seq, (int)at.len, (const char *)at.data);
	buf_release(&at);
	verify_report_fact(c->r, "removed",
	    "payloads of %" PRIu64 " events in records %.*s",
	    number(p, "count"), (int)ranges.n, (const char *)ranges.p);
	verify_report_fact(
	    c->r, "digest", "%.*s", (int)leaves.n, (const char *)leaves.p);
	verify_report_fact(c->r, "held", "%" PRIu64, number(p, "held"));
}

static void
say(struct certificate *c, const char *fact, const struct buf *words)
{
	if (words->len > 0)
		verify_report_fact(c->r, fact, "%.*s", (int)words->len,
		    (const char *)words->data);
}

static void
judge(struct certificate *c)
{
	const struct verify_leaf *purge, *policy;
	verify_report_count(c->r, VERIFY_PURGES, 1);
	purge = &c->record[0].leaf;
	policy = find(c, value(purge, "policy"), VERIFY_KIND_POLICY, "policy");
	if (policy == NULL)
		return;
	if (policy->seq >= purge->seq ||
	    view_is(value(policy, "after"), "-1") ||
	    view_is(value(policy, "required"), "-"))
		finding(c, "the policy did not allow it");
	if (c->sources == 0)
		verify_purged_stated(purge, c->r);
	check_acks(c, purge, policy);
	check_anchor(c, purge, policy);
	check_approvals(c, purge, policy);
	say_holds(c, purge);
	if (verify_report_findings(c->r) > 0)
		return;
	say_purge(c, purge);
	say(c, "archives", &c->archives);
	say(c, "approved", &c->approvals);
	say(c, "holds", &c->holds);
}

/* What was purged, in the archives that hold. */
static void
check_purged(struct certificate *c)
{
	size_t good = 0;

	for (size_t i = 0; i < c->sources; i++)
		if (c->archive[i]->holds && c->archive[i]->whole)
			c->archive[good++] = c->archive[i];
	verify_archive_sort(c->archive, good);
	verify_purged(&c->record[0].leaf, c->archive, good, c->r);
}

/* The proofs, the first of them of a purge record; else it is said. */
static bool
read_proofs(struct certificate *c, const char *path, size_t max)
{
	struct buf text;

	buf_init(&text);
	c->max = max;
	c->record = calloc(max, sizeof *c->record);
	if (c->record == NULL || file_read(path, FILE_MAX, &text) != 0) {
		verify_report_failure(c->r, "%s", strerror(errno));
		buf_release(&text);
		return false;
	}
	if (text.len > 0 && text.data[0] == '{')
		take_json(c, buf_view(&text));
	else
		take_text(c, buf_view(&text));
	buf_release(&text);
	if (c->count > 0 && c->record[0].leaf.kind == VERIFY_KIND_PURGE)
		return true;
	finding(c, "its first proof is not of a purge record");
	return false;
}

static void
release(struct certificate *c)
{
	for (size_t i = 0; i < c->count; i++)
		verify_proof_release(&c->record[i].proof);
	free(c->record);
	free(c->archive);
	buf_release(&c->archives);
	buf_release(&c->approvals);
	buf_release(&c->holds);
}

static bool
take_archives(
    struct certificate *c, const struct verify_archive *archives, size_t count)
{
	size_t n = 0;

	c->archive = calloc(count + 1, sizeof *c->archive);
	if (c->archive == NULL) {
		verify_report_failure(c->r, "out of memory");
		return false;
	}
	for (size_t i = 0; i < count; i++)
		if (archives[i].path != NULL &&
		    strcmp(archives[i].origin, c->origin) == 0)
			c->archive[n++] = &archives[i];
	c->sources = n;
	return true;
}

void
verify_certificate_run(const char *path, const struct verify_key *key,
    const struct verify_archive *archives, size_t count,
    struct verify_report *r)
{
	struct certificate c = {.key = key, .r = r};
	bool proved, shown;

	verify_report_begin(r, path, "purge certificate");
	if (read_proofs(&c, path, RECORDS_MAX) &&
	    take_archives(&c, archives, count)) {
		bool given = c.sources > 0;

		judge(&c);
		proved = verify_report_findings(r) == 0;
		if (given)
			check_purged(&c);
		shown = given && verify_report_findings(r) == 0;
		if (proved)
			verify_report_note(r,
			    "shown: the journal of this key holds these "
			    "records%s; that no newer policy or hold came "
			    "between%s, is shown by journal and archives "
			    "themselves",
			    shown ? ", and these archives the copies" : "",
			    shown ? ""
				  : ", and that the archives hold the copies");
	}
	release(&c);
}

bool
verify_certificate_keys(
    const char *path, const struct verify_key *key, struct verify_chain *out)
{
	struct certificate c = {.key = key, .r = verify_report_new()};
	const char *why;
	unsigned line;
	bool ok = false;

	if (c.r != NULL && key != NULL) {
		verify_report_begin(c.r, path, "purge certificate");
		ok = read_proofs(&c, path, 1) &&
		    c.record[0].proof.keys.len > 0 &&
		    verify_chain_parse(buf_view(&c.record[0].proof.keys),
			verify_key_of(key, view_text(c.origin)), out, &line,
			&why);
	}
	release(&c);
	verify_report_free(c.r);
	return ok;
}
