#include "export/verify_walk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/db.h"

#include "export/verify_json.h"
#include "export/verify_sql.h"
#include "export/verify_tiles.h"

#define RECENT 8192 /* slots that remember ids of late events */
#define PROGRESS_STEP 65536
#define MIX UINT64_C(0x9e3779b97f4a7c15) /* odd: loses nothing */

/* A run of neighbouring records with the same finding. */
struct run {
	enum verify_check check;
	const char *reason;
	uint64_t first, last;
	bool open;
};

struct recent {
	uint64_t mark;
	uint64_t seq;
};

struct walk {
	const struct verify_walk_input *in;
	struct verify_walk_result *out;
	struct verify_report *r;
	sqlite3_stmt *leaves, *bodies;
	struct verify_leaf leaf; /* of the present row */
	uint64_t next;           /* sequence number expected */
	uint64_t last_at;
	bool timed; /* last_at is of the record before */
	bool more_bodies;
	sqlite3_int64 body; /* id of the body row at hand */
	size_t purge;       /* first purge that does not lie behind */
	struct crypto_hash *purge_hash;
	uint64_t purge_events;
	uint64_t control_leaves, control_sum;
	struct verify_tiles *tiles;
	struct verify_tree tree;  /* of the leaf texts */
	struct verify_tree other; /* as the tiles tell it, once they differ */
	bool diverged;
	struct run gap, lost, kept;
	struct recent *recent;
	struct {
		uint64_t syntax, sequence, time, derived;
		uint64_t commitments, payloads, complete;
	} count;
};

static void
run_close(struct walk *w, struct run *run)
{
	if (!run->open)
		return;
	verify_report_finding(w->r, run->check,
	    verify_at_range(run->first, run->last), "%s", run->reason);
	run->open = false;
}

static void
run_add(struct walk *w, struct run *run, uint64_t first, uint64_t last)
{
	if (run->open && run->last + 1 == first) {
		run->last = last;
		return;
	}
	run_close(w, run);
	run->first = first;
	run->last = last;
	run->open = true;
}

static void
on_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[32])
{
	struct walk *w = arg;

	if (level > 0)
		verify_tiles_compare(w->tiles, level / 8, index, hash);
}

/*
 * Grows the tree by a record: `hash` is of its text, NULL when the record is
 * missing. The tiles' word is followed beside it once the two differ.
 */
static void
grow(struct walk *w, uint64_t seq, const uint8_t *hash)
{
	const uint8_t *tile = verify_tiles_leaf(w->tiles, seq);

	if (!w->out->complete)
		return;
	if (hash == NULL && tile == NULL) {
		w->out->complete = false;
		return;
	}
	if (!w->diverged && hash != NULL && tile != NULL &&
	    memcmp(hash, tile, 32) != 0) {
		w->diverged = true;
		w->other = w->tree;
	}
	if (w->diverged)
		verify_tree_add(
		    &w->other, tile != NULL ? tile : hash, on_node, w);
	verify_tree_add(&w->tree, hash != NULL ? hash : tile,
	    w->diverged ? NULL : on_node, w);
	if (verify_points_next(w->in->points) == w->tree.size)
		verify_points_check(w->in->points, &w->tree,
		    w->diverged ? &w->other : NULL, w->r);
}

/* The purge that covers seq, or NULL; seq never goes backwards. */
static const struct verify_purge *
purge_of(struct walk *w, uint64_t seq)
{
	const struct verify_control *c = w->in->control;

	while (w->purge < c->purges &&
	    (!c->purge[w->purge].sound || c->purge[w->purge].last < seq))
		w->purge++;
	if (w->purge == c->purges || c->purge[w->purge].first > seq)
		return NULL;
	return &c->purge[w->purge];
}

/* Follows a purged range: the digest of its leaf hashes and its count. */
static void
follow_purge(struct walk *w, const struct verify_purge *p, uint64_t seq,
    const uint8_t hash[32], bool user)
{
	uint8_t digest[32];

	if (seq == p->first) {
		crypto_hash_free(w->purge_hash);
		w->purge_hash = crypto_hash_new();
		w->purge_events = 0;
	}
	if (w->purge_hash == NULL)
		return;
	crypto_hash_add(w->purge_hash, hash, 32);
	w->purge_events += user;
	if (seq != p->last)
		return;
	crypto_hash_get(w->purge_hash, digest);
	crypto_hash_free(w->purge_hash);
	w->purge_hash = NULL;
	if (memcmp(digest, p->leaves, 32) != 0)
		verify_report_finding(w->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge digest is not that of the leaves of records %" PRIu64
		    "-%" PRIu64,
		    p->first, p->last);
	if (w->purge_events != p->count)
		verify_report_finding(w->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge says %" PRIu64 " events, its range holds %" PRIu64,
		    p->count, w->purge_events);
}

static bool
next_body(struct walk *w)
{
	int rc = sqlite3_step(w->bodies);

	w->more_bodies = rc == SQLITE_ROW;
	if (w->more_bodies)
		w->body = sqlite3_column_int64(w->bodies, 0);
	return w->more_bodies || rc == SQLITE_DONE;
}

static void
stray_body(struct walk *w)
{
	if (w->body < 0)
		verify_report_finding(w->r, VERIFY_COMPLETENESS,
		    verify_nowhere(), "stray payload row %lld",
		    (long long)w->body);
	else
		verify_report_finding(w->r, VERIFY_COMPLETENESS,
		    verify_at_part(
			(uint64_t)w->body / 256, (unsigned)(w->body % 256)),
		    "stray payload: no record has this part");
}

/* Steps over the payloads before `id`; `silent` ones are reported elsewhere. */
static bool
skip_bodies(struct walk *w, sqlite3_int64 id, bool silent)
{
	while (w->more_bodies && w->body < id) {
		if (!silent)
			stray_body(w);
		if (!next_body(w))
			return false;
	}
	return true;
}

/* Remembers an id for a while and notes when it comes again. */
static void
remember(struct walk *w, struct view id, char space)
{
	uint64_t mark = (uint64_t)space + id.n, word;
	struct recent *slot;
	size_t i = 0;

	for (; i + 8 <= id.n; i += 8) {
		memcpy(&word, id.p + i, 8);
		mark = (mark ^ word) * MIX;
		mark ^= mark >> 29;
	}
	word = 0;
	memcpy(&word, id.p + i, id.n - i);
	mark = (mark ^ word) * MIX;
	mark ^= mark >> 32;
	slot = &w->recent[mark % RECENT];
	if (slot->mark == mark) {
		if (w->out->repeats++ == 0) {
			w->out->repeat_seq = w->leaf.seq;
			w->out->repeat_of = slot->seq;
		}
		return;
	}
	*slot = (struct recent){mark, w->leaf.seq};
}

static void
check_payload(struct walk *w, unsigned part, struct view data)
{
	struct verify_json json;
	const char *why;

	w->count.payloads++;
	if (!verify_json_scan(data, &json, &why)) {
		verify_report_finding(w->r, VERIFY_PAYLOADS,
		    verify_at_part(w->leaf.seq, part),
		    "payload is not one compact JSON object: %s", why);
		return;
	}
	if (part > 0)
		return;
	if (w->leaf.known &&
	    (json.type.p == NULL ||
		!view_is(json.type, verify_kind_name(w->leaf.kind))))
		verify_report_finding(w->r, VERIFY_PAYLOADS,
		    verify_at_part(w->leaf.seq, part),
		    "payload type is not that of the record's kind");
	if (!json.version_1)
		verify_report_finding(w->r, VERIFY_PAYLOADS,
		    verify_at_part(w->leaf.seq, part),
		    "payload is not of version 1");
	if (json.id.n > 0)
		remember(w, json.id, 'i');
	if (json.client.n > 0)
		remember(w, json.client, 'c');
}

static void
check_body(struct walk *w, unsigned part)
{
	struct view salt = verify_sql_bytes(w->bodies, 1);
	struct view data = verify_sql_bytes(w->bodies, 2);
	uint8_t hash[32];

	w->count.commitments++;
	if (salt.n != 32) {
		verify_report_finding(w->r, VERIFY_COMMITMENTS,
		    verify_at_part(w->leaf.seq, part),
		    "salt is not of 32 bytes");
		return;
	}
	verify_commitment(salt, data, hash);
	if (memcmp(hash, w->leaf.commitment[part], 32) != 0) {
		verify_report_finding(w->r, VERIFY_COMMITMENTS,
		    verify_at_part(w->leaf.seq, part),
		    "payload and salt are not what the leaf commits to");
		return;
	}
	check_payload(w, part, data);
}

/* The payloads of the present leaf: all there, or purged and none there. */
static bool
check_bodies(struct walk *w, const struct verify_purge *purge)
{
	uint64_t seq = w->leaf.seq;
	sqlite3_int64 first = (sqlite3_int64)(seq * 256);
	unsigned found = 0;

	if (!skip_bodies(w, first, false))
		return false;
	for (unsigned part = 0; part < w->leaf.parts; part++) {
		if (!skip_bodies(w, first + part, false))
			return false;
		if (!w->more_bodies || w->body != first + part) {
			if (purge == NULL)
				run_add(w, &w->lost, seq, seq);
			continue;
		}
		found++;
		check_body(w, part);
		if (!next_body(w))
			return false;
	}
	if (purge != NULL && found > 0)
		run_add(w, &w->kept, seq, seq);
	w->count.complete += w->leaf.parts > 0;
	w->out->purged += purge != NULL && w->leaf.parts > 0 && found == 0;
	return skip_bodies(w, first + 256, false);
}

static void
check_time(struct walk *w)
{
	const struct verify_leaf *l = &w->leaf;

	w->count.time++;
	if (w->timed && l->at <= w->last_at)
		verify_report_finding(w->r, VERIFY_TIME,
		    verify_at_line(l->seq, 2),
		    "time is not after that of the record before");
	else if (w->timed && l->flags == 1 && l->at != w->last_at + 1)
		verify_report_finding(w->r, VERIFY_TIME,
		    verify_at_line(l->seq, 2),
		    "clock is said to be held back, but the time moved on");
	if (w->out->first_at == 0)
		w->out->first_at = l->at;
	w->last_at = l->at;
	w->timed = true;
}

/* The columns that repeat what the text says. */
static void
check_columns(struct walk *w, uint64_t seq)
{
	const struct verify_leaf *l = &w->leaf;
	uint64_t at, kind;

	w->count.derived++;
	if (l->seq != seq)
		verify_report_finding(w->r, VERIFY_SEQUENCE,
		    verify_at_line(seq, 1), "leaf text names record %" PRIu64,
		    l->seq);
	if (!verify_sql_u64(w->leaves, 1, &at) || at != l->at)
		verify_report_finding(w->r, VERIFY_DERIVED, verify_at(seq),
		    "column at is not the time of the leaf");
	if (!verify_sql_u64(w->leaves, 2, &kind) || kind != l->kind)
		verify_report_finding(w->r, VERIFY_DERIVED, verify_at(seq),
		    "column kind is not the kind of the leaf");
}

static void
check_kind(struct walk *w)
{
	if (w->leaf.seq == 0 && w->leaf.kind != VERIFY_KIND_OPEN)
		verify_report_finding(w->r, VERIFY_CONTROL, verify_at(0),
		    "first record is not an open record");
	if (w->leaf.kind >= VERIFY_KIND_CONTROL) {
		w->control_leaves++;
		w->control_sum += w->leaf.seq;
	}
	w->out->unknown_kinds += !w->leaf.known;
}

/* Records that no row is there for: the tiles stand in as far as they go. */
static void
missing(struct walk *w, uint64_t until)
{
	run_add(w, &w->gap, w->next, until - 1);
	w->timed = false;
	while (w->next < until && w->out->complete)
		grow(w, w->next++, NULL);
	w->next = until;
}

static bool
check_leaf(struct walk *w, uint64_t seq)
{
	struct view text = verify_sql_bytes(w->leaves, 3);
	const struct verify_purge *purge = purge_of(w, seq);
	const char *why;
	unsigned line;
	uint8_t hash[32];
	bool parsed;

	verify_leaf_hash(text, hash);
	verify_tiles_compare(w->tiles, 0, seq, hash);
	grow(w, seq, hash);
	w->count.syntax++;
	parsed = verify_leaf_parse(text, &w->leaf, &line, &why);
	if (purge != NULL)
		follow_purge(w, purge, seq, hash, parsed && w->leaf.parts > 0);
	if (!parsed) {
		verify_report_finding(w->r, VERIFY_SYNTAX,
		    verify_at_line(seq, line), "leaf text: %s", why);
		w->timed = false;
		return skip_bodies(w, (sqlite3_int64)(seq * 256), false) &&
		    skip_bodies(w, (sqlite3_int64)(seq * 256) + 256, true);
	}
	check_columns(w, seq);
	w->leaf.seq = seq;
	check_time(w);
	check_kind(w);
	return check_bodies(w, purge);
}

/* One row of the leaf table. */
static bool
take_row(struct walk *w)
{
	uint64_t seq;

	if (!verify_sql_u64(w->leaves, 0, &seq) || seq > INT64_MAX / 256 - 1) {
		verify_report_finding(w->r, VERIFY_SEQUENCE, verify_nowhere(),
		    "record with the impossible number %lld",
		    (long long)sqlite3_column_int64(w->leaves, 0));
		return true;
	}
	w->count.sequence++;
	if (seq > w->next) {
		if (!skip_bodies(w, (sqlite3_int64)(w->next * 256), false) ||
		    !skip_bodies(w, (sqlite3_int64)(seq * 256), true))
			return false;
		missing(w, seq);
	}
	w->next = seq + 1;
	if (seq % PROGRESS_STEP == 0)
		verify_report_progress(w->r, seq, w->in->head_size);
	return check_leaf(w, seq);
}

static void
finish(struct walk *w)
{
	const struct verify_control *c = w->in->control;
	struct verify_report *r = w->r;

	if (w->next < w->in->head_size)
		run_add(w, &w->gap, w->next, w->in->head_size - 1);
	run_close(w, &w->gap);
	run_close(w, &w->lost);
	run_close(w, &w->kept);
	if (w->control_leaves != c->leaves || w->control_sum != c->seq_sum)
		verify_report_finding(r, VERIFY_CONTROL, verify_nowhere(),
		    "the index of control records does not list those that "
		    "the leaves are");
	verify_report_count(r, VERIFY_SYNTAX, w->count.syntax);
	verify_report_count(r, VERIFY_SEQUENCE, w->count.sequence);
	verify_report_count(r, VERIFY_TIME, w->count.time);
	verify_report_count(r, VERIFY_DERIVED, w->count.derived);
	verify_report_count(r, VERIFY_COMMITMENTS, w->count.commitments);
	verify_report_count(r, VERIFY_PAYLOADS, w->count.payloads);
	verify_report_count(r, VERIFY_COMPLETENESS, w->count.complete);
	verify_tiles_finish(w->tiles, w->next);
	verify_points_finish(w->in->points, w->next, r);
	verify_report_progress(r, w->next, w->next);
	w->out->size = w->next;
	w->out->last_at = w->last_at;
}

static bool
run_through(struct walk *w)
{
	int rc;

	if (verify_points_next(w->in->points) == 0)
		verify_points_check(w->in->points, &w->tree, NULL, w->r);
	if (!next_body(w))
		return false;
	while ((rc = sqlite3_step(w->leaves)) == SQLITE_ROW)
		if (!take_row(w))
			return false;
	if (rc != SQLITE_DONE)
		return false;
	if (w->next < w->in->head_size && w->in->head_size <= INT64_MAX / 256 &&
	    !skip_bodies(w, (sqlite3_int64)(w->in->head_size * 256), true))
		return false;
	if (!skip_bodies(w, INT64_MAX, false))
		return false;
	if (w->more_bodies)
		stray_body(w);
	finish(w);
	return verify_tiles_sound(w->tiles);
}

bool
verify_walk(const struct verify_walk_input *in, struct verify_walk_result *out)
{
	struct walk *w = calloc(1, sizeof(*w));
	bool ok = false;

	memset(out, 0, sizeof(*out));
	out->complete = true;
	if (w == NULL)
		return false;
	w->in = in;
	w->out = out;
	w->r = in->report;
	w->gap = (struct run){.check = VERIFY_SEQUENCE,
	    .reason = "no such record in the journal"};
	w->lost = (struct run){.check = VERIFY_COMPLETENESS,
	    .reason = "payload is missing and no purge record says why"};
	w->kept = (struct run){.check = VERIFY_COMPLETENESS,
	    .reason = "payload is there although a purge record says it is "
		      "deleted"};
	w->recent = calloc(RECENT, sizeof(*w->recent));
	w->tiles = verify_tiles_new(in->db, in->report);
	w->leaves = db_prepare(
	    in->db, "SELECT seq, at, kind, bytes FROM leaf ORDER BY seq");
	w->bodies =
	    db_prepare(in->db, "SELECT id, salt, data FROM body ORDER BY id");
	verify_tree_init(&w->tree);
	if (w->recent != NULL && w->tiles != NULL && w->leaves != NULL &&
	    w->bodies != NULL)
		ok = run_through(w);
	crypto_hash_free(w->purge_hash);
	(void)sqlite3_finalize(w->bodies); /* results of steps are known */
	(void)sqlite3_finalize(w->leaves);
	verify_tiles_free(w->tiles);
	free(w->recent);
	free(w);
	return ok;
}
