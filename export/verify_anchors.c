#include "export/verify_anchors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/db.h"
#include "base/text.h"

#include "export/verify_control.h"
#include "export/verify_line.h"
#include "export/verify_note.h"
#include "export/verify_sql.h"
#include "export/verify_take.h"
#include "export/verify_token.h"

#define COSIGNATURE 0x04
#define VKEY_TAIL (1 + 8 + 1 + 44) /* "+id+base64" behind the name */
#define BLOB_BYTES (4 + 8 + 64)    /* id, time, signature */
#define BLOB_TEXT 104
#define GIVEN_MAX 64

/* Places of the fields. */
enum {
	ANCHOR_WHAT,
	ANCHOR_NAME,
	ANCHOR_STATE,
	ANCHOR_SIZE,
	ANCHOR_TIME,
	ANCHOR_SHA256
};

#define BEAT_ANCHOR 6 /* place of the field */

static struct verify_witness given[GIVEN_MAX];
static size_t givens;

/* ---- keys ---- */

static bool
parse_witness(struct view text, struct verify_witness *out, const char **why)
{
	static const uint8_t middle[] = {'\n', COSIGNATURE};
	uint8_t blob[33], hash[32];
	struct view name;

	*why = "it is no key of a witness";
	if (text.n <= VKEY_TAIL)
		return false;
	name = view_of(text.p, text.n - VKEY_TAIL);
	if (!verify_name_valid(name) || name.p[name.n] != '+' ||
	    name.p[name.n + 9] != '+' ||
	    !verify_hex(view_of(name.p + name.n + 1, 8), out->id, 4) ||
	    !text_get_base64_fixed(
		view_of(name.p + name.n + 10, 44), blob, sizeof(blob)) ||
	    blob[0] != COSIGNATURE)
		return false;
	crypto_sha256_parts(
	    (const struct view[]){
		name, view_of(middle, sizeof(middle)), view_of(blob + 1, 32)},
	    3, hash);
	*why = "the key's id is not that of name and key";
	if (memcmp(hash, out->id, 4) != 0)
		return false;
	memcpy(out->public, blob + 1, 32);
	*why = "out of memory";
	out->name = view_dup(name);
	return out->name != NULL;
}

bool
verify_anchors_trust(struct view vkey, const char **why)
{
	*why = "too many witnesses";
	if (givens == GIVEN_MAX || !parse_witness(vkey, &given[givens], why))
		return false;
	givens++;
	return true;
}

/* Of all keys that are known, those given to us first; NULL behind the last. */
static const struct verify_witness *
key_at(const struct verify_anchors *a, size_t i)
{
	if (i < givens)
		return &given[i];
	return i - givens < a->witnesses ? &a->witness[i - givens] : NULL;
}

static bool
is_known(const struct verify_anchors *a, const struct verify_witness *key)
{
	const struct verify_witness *w;

	for (size_t i = 0; (w = key_at(a, i)) != NULL; i++)
		if (strcmp(w->name, key->name) == 0 &&
		    memcmp(w->public, key->public, sizeof(w->public)) == 0)
			return true;
	return false;
}

/* ---- records ---- */

void
verify_anchors_policy(struct verify_control *c, const struct verify_leaf *l,
    unsigned field, struct verify_policy *p, struct verify_report *r)
{
	struct verify_anchors *a = &c->anchors;
	struct view list = l->field[field].value, item;
	const char *why;

	if (view_is(list, "-"))
		list.n = 0;
	else if (list.p[list.n - 1] == ',')
		verify_take_malformed(l, field, r);
	p->witnesses = verify_take_decoded(c, list);
	if (p->witnesses == NULL)
		return;
	list = view_text(p->witnesses);
	while (verify_take_item(&list, &item)) {
		struct verify_witness w = {0};

		if (!parse_witness(item, &w, &why)) {
			verify_take_malformed(l, field, r);
			return;
		}
		if (is_known(a, &w)) {
			free(w.name);
			continue;
		}
		if (!verify_take_room(
			c, &a->witness, a->witnesses, sizeof(w))) {
			free(w.name);
			return;
		}
		a->witness[a->witnesses++] = w;
	}
}

/* 1: of a witness, 0: a time-stamp, -1: of nothing that is stored. */
static int
evidence_of(const struct verify_leaf *l, struct verify_report *r)
{
	struct view what = l->field[ANCHOR_WHAT].value;
	struct view sha256 = l->field[ANCHOR_SHA256].value;
	bool stamp = view_is(what, "stamp");
	bool stored = stamp || view_is(what, "witness");
	bool ok = view_is(l->field[ANCHOR_STATE].value, "ok");
	uint8_t hash[32];

	if (stored && ok ? !verify_hex(sha256, hash, 32)
			 : !view_is(sha256, "-"))
		verify_take_malformed(l, ANCHOR_SHA256, r);
	else if (stored && ok)
		return stamp ? 0 : 1;
	return -1;
}

void
verify_anchors_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_anchors *a = &c->anchors;
	struct verify_told t = {.seq = l->seq};
	uint64_t v[2]; /* size, time */
	int of = evidence_of(l, r);

	if (!verify_take_numbers(l, ANCHOR_SIZE, ANCHOR_TIME, v))
		return;
	if (of < 0 && v[1] != 0 &&
	    view_is(l->field[ANCHOR_STATE].value, "failed"))
		verify_take_malformed(l, ANCHOR_TIME, r);
	if (v[0] > l->seq) {
		verify_report_finding(r, VERIFY_ANCHORS, verify_at(l->seq),
		    "anchor record of a checkpoint that covers itself");
		return;
	}
	if (of < 0)
		return;
	t.size = v[0];
	t.time = v[1];
	(void)verify_hex(
	    l->field[ANCHOR_SHA256].value, t.sha256, 32); /* seen above */
	if (!verify_take_room(c, &a->told, a->tolds, sizeof(t)))
		return;
	if (of == 1)
		t.name = verify_take_decoded(c, l->field[ANCHOR_NAME].value);
	a->told[a->tolds++] = t;
}

/* The form is judged elsewhere. */
void
verify_anchors_beat(struct verify_control *c, const struct verify_leaf *l)
{
	struct verify_anchors *a = &c->anchors;
	struct verify_beat n = {.seq = l->seq};

	if (!verify_hex(l->field[BEAT_ANCHOR].value, n.sha256, 32))
		return;
	if (a->nameds > 0 &&
	    memcmp(a->named[a->nameds - 1].sha256, n.sha256, 32) == 0)
		return;
	if (verify_take_room(c, &a->named, a->nameds, sizeof(n)))
		a->named[a->nameds++] = n;
}

/* ---- rows ---- */

static void __attribute__((format(printf, 3, 4)))
bad_row(struct verify_report *r, uint64_t size, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	buf_init(&b);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	verify_report_finding(r, VERIFY_ANCHORS, verify_nowhere(),
	    "checkpoint of size %" PRIu64 ": %s", size,
	    buf_text(&b) != NULL ? buf_text(&b) : "out of memory");
	buf_release(&b);
}

static struct verify_evidence *
add_evidence(
    struct verify_control *c, uint64_t size, uint64_t at, struct view bytes)
{
	struct verify_anchors *a = &c->anchors;
	struct verify_evidence e = {.size = size, .at = at};

	if (!verify_take_room(c, &a->evidence, a->evidences, sizeof(e)))
		return NULL;
	crypto_sha256(bytes.p, bytes.n, e.sha256);
	a->evidence[a->evidences] = e;
	return &a->evidence[a->evidences++];
}

/* "-- name base64" LF of a cosignature, taken apart. */
static bool
split_line(struct view line, struct view *name, uint8_t blob[BLOB_BYTES])
{
	static const uint8_t dash[] = {0xe2, 0x80, 0x94, ' '};
	size_t n = sizeof(dash);

	if (line.n < n + 2 + BLOB_TEXT + 1 || memcmp(line.p, dash, n) != 0 ||
	    line.p[line.n - 1] != '\n' || line.p[line.n - 2 - BLOB_TEXT] != ' ')
		return false;
	*name = view_of(line.p + n, line.n - n - 2 - BLOB_TEXT);
	return verify_name_valid(*name) &&
	    text_get_base64_fixed(
		view_of(line.p + line.n - 1 - BLOB_TEXT, BLOB_TEXT), blob,
		BLOB_BYTES);
}

static bool
line_holds(const struct verify_witness *w, const uint8_t *signature,
    uint64_t at, struct view body)
{
	struct buf message;
	bool ok;

	buf_init(&message);
	buf_printf(&message, "cosignature/v1\ntime %" PRIu64 "\n", at);
	buf_put_view(&message, body);
	ok = !message.failed &&
	    crypto_verify(w->public, message.data, message.len, signature);
	buf_release(&message);
	return ok;
}

/*
 * The key by which the line holds, or NULL. Name and id alone tell no key:
 * another with both of them can be found.
 */
static const struct verify_witness *
signer_of(const struct verify_anchors *a, struct view name,
    const uint8_t blob[BLOB_BYTES], uint64_t at, struct view body, bool *known)
{
	const struct verify_witness *w;

	*known = false;
	for (size_t i = 0; (w = key_at(a, i)) != NULL; i++) {
		if (!view_is(name, w->name) || memcmp(w->id, blob, 4) != 0)
			continue;
		*known = true;
		if (line_holds(w, blob + 12, at, body))
			return w;
	}
	return NULL;
}

static bool
is_given(const struct verify_witness *w)
{
	for (size_t i = 0; i < givens; i++)
		if (w == &given[i])
			return true;
	return false;
}

/* Columns: size, at, line, note of the checkpoint, name. */
static void
cosig_row(struct verify_control *c, sqlite3_stmt *s, uint64_t size, uint64_t at,
    struct verify_report *r)
{
	struct view line = verify_sql_blob(s, 2), name;
	uint8_t blob[BLOB_BYTES];
	const struct verify_witness *w;
	struct verify_evidence *e;
	struct verify_note note;
	struct reader in;
	const char *why;
	unsigned at_line;
	bool known;

	if (!split_line(line, &name, blob)) {
		bad_row(r, size, "a cosignature line is malformed");
		return;
	}
	in = reader_of(view_of(blob + 4, 8));
	if (reader_u64(&in) != at || name.n != verify_sql_text(s, 4).n ||
	    memcmp(name.p, verify_sql_text(s, 4).p, name.n) != 0) {
		bad_row(r, size,
		    "name and time of a cosignature are not those of its line");
		return;
	}
	if (!verify_note_parse(verify_sql_blob(s, 3), &note, &at_line, &why)) {
		bad_row(r, size, "cosigned, but there is no such checkpoint");
		return;
	}
	w = signer_of(&c->anchors, name, blob, at, note.body, &known);
	if (w == NULL && known) {
		bad_row(r, size, "the cosignature of %.*s is wrong",
		    (int)name.n, (const char *)name.p);
		return;
	}
	c->anchors.unknown += w == NULL;
	e = add_evidence(c, size, at, line);
	if (e == NULL)
		return;
	if (w != NULL) {
		e->judged = true;
		e->given = is_given(w);
		memcpy(e->public, w->public, sizeof(e->public));
	}
	e->name = verify_take_copy(c, name);
}

/* The token is left to openssl ts; that it is of this note is seen here. */
static void
stamp_row(struct verify_control *c, sqlite3_stmt *s, uint64_t size, uint64_t at,
    struct verify_report *r)
{
	struct view token = verify_sql_blob(s, 2);
	struct view note = verify_sql_blob(s, 3);
	struct verify_evidence *e;
	uint8_t hash[32], stamped[32];
	uint64_t when;

	if (note.n == 0) {
		bad_row(
		    r, size, "time-stamped, but there is no such checkpoint");
		return;
	}
	crypto_sha256(note.p, note.n, hash);
	if (!verify_token_read(token, stamped, &when) ||
	    memcmp(stamped, hash, sizeof(hash)) != 0) {
		bad_row(r, size, "its time-stamp is not of this checkpoint");
		return;
	}
	if (when != at)
		bad_row(r, size, "its time-stamp tells another time");
	e = add_evidence(c, size, at, token);
	if (e != NULL)
		e->judged = true;
}

static bool
read_rows(struct verify_control *c, sqlite3 *db, const char *sql,
    void (*row)(struct verify_control *c, sqlite3_stmt *s, uint64_t size,
	uint64_t at, struct verify_report *r),
    struct verify_report *r)
{
	sqlite3_stmt *s = db_prepare(db, sql);
	uint64_t size, at;
	int rc;

	if (s == NULL)
		return false;
	while ((rc = db_step(s)) == SQLITE_ROW) {
		verify_report_count(r, VERIFY_ANCHORS, 1);
		if (verify_sql_u64(s, 0, &size) && verify_sql_u64(s, 1, &at))
			row(c, s, size, at, r);
		else
			bad_row(r, 0, "a row has no size or no time");
	}
	(void)sqlite3_finalize(s); /* the result of the steps is known */
	return rc == SQLITE_DONE;
}

bool
verify_anchors_rows(
    struct verify_control *c, sqlite3 *db, struct verify_report *r)
{
	verify_report_count(r, VERIFY_ANCHORS, 0);
	return read_rows(c, db,
		   "SELECT s.size, s.at, s.line, p.note, s.name FROM cosig s"
		   " LEFT JOIN checkpoint p ON p.size = s.size"
		   " ORDER BY s.size, s.name",
		   cosig_row, r) &&
	    read_rows(c, db,
		"SELECT s.size, s.at, s.token, p.note FROM stamp s"
		" LEFT JOIN checkpoint p ON p.size = s.size ORDER BY s.size",
		stamp_row, r);
}

/* ---- judging ---- */

static int
by_size(const void *a, const void *b)
{
	const struct verify_evidence *x = a, *y = b;

	return x->size < y->size ? -1 : x->size > y->size;
}

/* The first evidence of that size, in order of size. */
static size_t
first_of(const struct verify_anchors *a, uint64_t size)
{
	size_t low = 0, high = a->evidences;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->evidence[middle].size < size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
is_told(const struct verify_anchors *a, const struct verify_told *t)
{
	for (size_t i = first_of(a, t->size);
	     i < a->evidences && a->evidence[i].size == t->size; i++) {
		const struct verify_evidence *e = &a->evidence[i];

		if (e->at == t->time &&
		    (e->name == NULL) == (t->name == NULL) &&
		    (e->name == NULL || strcmp(e->name, t->name) == 0) &&
		    memcmp(e->sha256, t->sha256, sizeof(e->sha256)) == 0)
			return true;
	}
	return false;
}

static int
by_sha256(const void *a, const void *b)
{
	const struct verify_evidence *x = a, *y = b;

	int order = memcmp(x->sha256, y->sha256, 32);

	return order != 0 ? order : by_size(a, b);
}

/* In order of digests, and of sizes under one; NULL when there is none. */
static const struct verify_evidence *
smallest_of(const struct verify_anchors *a, const uint8_t sha256[32])
{
	size_t low = 0, high = a->evidences;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(a->evidence[middle].sha256, sha256, 32) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->evidences &&
		memcmp(a->evidence[low].sha256, sha256, 32) == 0
	    ? &a->evidence[low]
	    : NULL;
}

/*
 * Evidence that a beat names is there, and of a checkpoint before it. Until
 * one is of a file that was given, it may be in one that was not: `unseen`.
 */
static void
judge_beats(
    const struct verify_anchors *a, struct verify_report *r, uint64_t *unseen)
{
	bool earlier = unseen != NULL;

	for (size_t i = 0; i < a->nameds; i++) {
		const struct verify_beat *n = &a->named[i];
		const struct verify_evidence *e = smallest_of(a, n->sha256);

		earlier = earlier && e == NULL;
		if (earlier) {
			++*unseen;
			continue;
		}
		verify_report_count(r, VERIFY_ANCHORS, 1);
		if (e == NULL || e->size > n->seq)
			verify_report_finding(r, VERIFY_ANCHORS,
			    verify_at(n->seq),
			    "the evidence that this beat names is not there");
	}
}

/* Whether the policy names the key of that evidence. */
static bool
is_of_policy(const struct verify_policy *p, const struct verify_evidence *e)
{
	struct view list = view_text(p->witnesses), item;
	uint8_t key[33];

	while (verify_take_item(&list, &item)) {
		size_t n = item.n > VKEY_TAIL ? item.n - VKEY_TAIL : 0;

		if (n > 0 &&
		    text_get_base64_fixed(
			view_of(item.p + n + 10, 44), key, sizeof(key)) &&
		    memcmp(key + 1, e->public, sizeof(e->public)) == 0)
			return true;
	}
	return false;
}

/* Of rows of one key, whatever its names, and whatever files: not the first. */
static bool
is_repeat(const struct verify_anchors *a, size_t i)
{
	const struct verify_evidence *e = &a->evidence[i];

	for (size_t k = i; k-- > 0 && a->evidence[k].size == e->size;) {
		const struct verify_evidence *before = &a->evidence[k];

		if (before->name != NULL && before->judged &&
		    memcmp(before->public, e->public, sizeof(e->public)) == 0)
			return true;
	}
	return false;
}

static uint64_t
youngest_ack(const char *acks)
{
	struct view list = view_text(acks), item;
	uint64_t seq, youngest = 0;

	while (verify_take_item(&list, &item)) {
		const uint8_t *colon = memchr(item.p, ':', item.n);

		if (colon != NULL &&
		    view_to_u64(view_of(colon + 1,
				    item.n - (size_t)(colon + 1 - item.p)),
			&seq) &&
		    seq > youngest)
			youngest = seq;
	}
	return youngest;
}

/* Whether the rows about a checkpoint may be in a file that was not given. */
static bool
is_earlier(const struct verify_control *c, uint64_t size)
{
	return c->from > 0 && size <= c->from;
}

static void
judge_purge(const struct verify_control *c, const struct verify_purge *p,
    struct verify_report *r, uint64_t *unseen)
{
	const struct verify_anchors *a = &c->anchors;
	const struct verify_policy *policy = verify_control_policy(c, p->seq);
	uint64_t size, cosigned = 0;
	bool stamped = false;

	if (policy == NULL || policy->witnesses == NULL)
		return; /* said elsewhere */
	if (policy->quorum == 0 && !policy->stamp) {
		if (strcmp(p->anchor, "-") != 0)
			verify_report_finding(r, VERIFY_PURGES,
			    verify_at(p->seq),
			    "purge names an anchor that no policy demands");
		return;
	}
	if (!view_to_u64(view_text(p->anchor), &size) || size > p->seq ||
	    size <= youngest_ack(p->acks)) {
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge names no checkpoint that covers its "
		    "acknowledgements: anchor %s",
		    p->anchor);
		return;
	}
	if (is_earlier(c, size)) {
		++*unseen;
		return;
	}
	for (size_t i = first_of(a, size);
	     i < a->evidences && a->evidence[i].size == size; i++) {
		const struct verify_evidence *e = &a->evidence[i];

		if (e->name == NULL)
			stamped = true;
		else if (e->judged && is_of_policy(policy, e) &&
		    !is_repeat(a, i))
			cosigned++;
	}
	if (cosigned < policy->quorum)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge when %" PRIu64 " of %" PRIu64
		    " witnesses had cosigned the checkpoint of size %" PRIu64,
		    cosigned, policy->quorum, size);
	if (policy->stamp && !stamped)
		verify_report_finding(r, VERIFY_PURGES, verify_at(p->seq),
		    "purge without a time-stamp of the checkpoint of size "
		    "%" PRIu64,
		    size);
}

/* The newest cosignature that holds by a key that was given to us. */
static void
say_newest(const struct verify_anchors *a, struct verify_report *r)
{
	for (size_t i = a->evidences; i-- > 0;) {
		const struct verify_evidence *e = &a->evidence[i];
		struct buf at;

		if (!e->given)
			continue;
		buf_init(&at);
		if (e->at < UINT64_MAX / 1000000)
			text_put_time(&at, e->at * 1000000);
		verify_report_note(r,
		    "witness %s has cosigned %" PRIu64
		    " records at %s by its clock",
		    e->name, e->size, at.len > 0 ? buf_text(&at) : "no time");
		buf_release(&at);
		return;
	}
	if (givens > 0)
		verify_report_note(
		    r, "no checkpoint was cosigned by a witness given");
}

const struct verify_evidence *
verify_anchors_given(
    const struct verify_anchors *a, const struct verify_points *p)
{
	for (size_t i = a->evidences; i-- > 0;)
		if (a->evidence[i].given &&
		    verify_points_met(p, a->evidence[i].size))
			return &a->evidence[i];
	return NULL;
}

void
verify_anchors_judge(struct verify_control *c, struct verify_report *r)
{
	struct verify_anchors *a = &c->anchors;
	uint64_t beats = 0, purges = 0;

	if (c->out_of_memory)
		return;
	if (a->evidences > 0)
		qsort(
		    a->evidence, a->evidences, sizeof(*a->evidence), by_sha256);
	judge_beats(a, r, c->from > 0 ? &beats : NULL);
	if (a->evidences > 0)
		qsort(a->evidence, a->evidences, sizeof(*a->evidence), by_size);
	for (size_t i = 0; i < a->tolds; i++) {
		verify_report_count(r, VERIFY_ANCHORS, 1);
		if (!is_earlier(c, a->told[i].size) && !is_told(a, &a->told[i]))
			verify_report_finding(r, VERIFY_ANCHORS,
			    verify_at(a->told[i].seq),
			    "what this anchor record tells of is not there");
	}
	for (size_t i = 0; i < c->purges; i++)
		if (!c->purge[i].later)
			judge_purge(c, &c->purge[i], r, &purges);
	if (beats + purges > 0)
		verify_report_note(r,
		    "the evidence from outside that %" PRIu64
		    " purges and %" PRIu64
		    " beats rest on is in files that were not given",
		    purges, beats);
	if (a->unknown > 0)
		verify_report_note(r,
		    "%" PRIu64
		    " cosignatures are by keys that neither a policy record "
		    "nor --witness names: not judged",
		    a->unknown);
	say_newest(a, r);
}

void
verify_anchors_release(struct verify_anchors *a)
{
	for (size_t i = 0; i < a->witnesses; i++)
		free(a->witness[i].name);
	for (size_t i = 0; i < a->evidences; i++)
		free(a->evidence[i].name);
	for (size_t i = 0; i < a->tolds; i++)
		free(a->told[i].name);
	free(a->witness);
	free(a->evidence);
	free(a->told);
	free(a->named);
	memset(a, 0, sizeof(*a));
}
