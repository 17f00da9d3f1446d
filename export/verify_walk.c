#include "export/verify_walk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/db.h"

#include "export/verify_clock.h"
#include "export/verify_conflict.h"
#include "export/verify_sql.h"
#include "export/verify_team.h"
#include "export/verify_tiles.h"

#define PROGRESS_STEP 65536

/* A purge between its first and its last range; other ranges lie between. */
struct open_purge {
	struct crypto_hash *hash;
	uint64_t events;
};

struct walk {
	const struct verify_walk_input *in;
	struct verify_walk_result *out;
	struct verify_report *r;
	const struct verify_file *file; /* at hand */
	sqlite3_stmt *leaves;
	struct verify_bodies *bodies;
	uint64_t own_end;        /* payloads from here on are helpers' work */
	struct verify_leaf leaf; /* of the present row */
	uint64_t next;           /* sequence number expected */
	uint64_t last_at;
	bool sealed; /* the record before is a seal */
	bool timed;  /* last_at is of the record before */
	struct verify_clock clock;
	size_t span; /* first purged range that does not lie behind */
	struct open_purge *purge; /* one for each purge */
	uint64_t control_leaves, control_sum;
	struct verify_tiles *tiles;
	struct verify_tree tree;  /* of the leaf texts */
	struct verify_tree other; /* as the tiles tell it, once they differ */
	bool diverged;
	struct verify_run gap;
	struct {
		uint64_t syntax, sequence, time, derived;
	} count;
};

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

static void
close_purge(
    struct walk *w, const struct verify_purge *p, struct open_purge *open)
{
	uint8_t digest[32];

	crypto_hash_get(open->hash, digest);
	crypto_hash_free(open->hash);
	open->hash = NULL;
	if (memcmp(digest, p->leaves, 32) != 0)
		verify_report_finding(w->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge digest is not that of the leaves of records %s",
		    p->ranges);
	if (open->events != p->count)
		verify_report_finding(w->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge says %" PRIu64 " events, its ranges hold %" PRIu64,
		    p->count, open->events);
}

/* Follows purged ranges: the digest of their leaf hashes and their count. */
static void
follow_purge(
    struct walk *w, size_t i, uint64_t seq, const uint8_t hash[32], bool user)
{
	const struct verify_purge *p = &w->in->control->purge[i];
	struct open_purge *open = &w->purge[i];

	if (seq == p->first && open->hash == NULL && !p->later)
		open->hash = crypto_hash_new();
	if (open->hash == NULL)
		return;
	crypto_hash_add(open->hash, hash, 32);
	open->events += user;
	if (seq == p->last)
		close_purge(w, p, open);
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
	verify_clock_take(&w->clock, l, w->r);
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
	if (w->sealed && w->leaf.kind != VERIFY_KIND_OPEN)
		verify_report_finding(w->r, VERIFY_CONTROL,
		    verify_at(w->leaf.seq),
		    "record follows a seal and is not an open record");
	w->sealed = w->leaf.kind == VERIFY_KIND_SEAL;
	if (w->leaf.seq == 0 && w->leaf.kind != VERIFY_KIND_OPEN)
		verify_report_finding(w->r, VERIFY_CONTROL, verify_at(0),
		    "first record is not an open record");
	if (w->leaf.kind >= VERIFY_KIND_CONTROL) {
		w->control_leaves++;
		w->control_sum += w->leaf.seq;
	} else {
		verify_conflict_after(w->in->control, &w->leaf, w->r);
	}
	w->out->unknown_kinds += !w->leaf.known;
}

/* Records that no row is there for: the tiles stand in as far as they go. */
static void
missing(struct walk *w, uint64_t until)
{
	verify_run_add(w->r, &w->gap, w->next, until - 1);
	w->timed = false;
	verify_clock_gap(&w->clock);
	while (w->next < until && w->out->complete)
		grow(w, w->next++, NULL);
	w->next = until;
}

/* Payloads of records that cannot be judged, as far as they are ours. */
static bool
skip_payloads(struct walk *w, uint64_t from, uint64_t until)
{
	if (until > w->own_end)
		until = w->own_end;
	return from >= until || verify_bodies_skip(w->bodies, from, until);
}

static bool
check_leaf(struct walk *w, uint64_t seq)
{
	struct view text = verify_sql_blob(w->leaves, 3);
	const struct verify_span *purge =
	    verify_control_span(w->in->control, &w->span, seq);
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
		follow_purge(
		    w, purge->purge, seq, hash, parsed && w->leaf.parts > 0);
	if (!parsed) {
		verify_report_finding(w->r, VERIFY_SYNTAX,
		    verify_at_line(seq, line), "leaf text: %s", why);
		w->timed = false;
		verify_clock_gap(&w->clock);
		return skip_payloads(w, seq, seq + 1);
	}
	check_columns(w, seq);
	w->leaf.seq = seq;
	check_time(w);
	check_kind(w);
	return seq >= w->own_end || verify_bodies_leaf(w->bodies, &w->leaf);
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
	if (seq < w->next) {
		verify_report_finding(w->r, VERIFY_SEQUENCE, verify_at(seq),
		    "%s: record is in the file before, too",
		    verify_files_name(w->file));
		return true;
	}
	if (seq > w->next) {
		if (!skip_payloads(w, w->next, seq))
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
	size_t unseen = 0;

	verify_run_close(r, &w->gap);
	verify_clock_finish(&w->clock, r);
	for (size_t i = 0; i < c->purges; i++)
		unseen += c->purge[i].spans > 0 && !c->purge[i].later &&
		    c->purge[i].first < c->from;
	if (unseen > 0)
		verify_report_note(r,
		    "the digests and counts of %zu purges of records that "
		    "were not given are not compared",
		    unseen);
	if (w->control_leaves != c->leaves || w->control_sum != c->seq_sum)
		verify_report_finding(r, VERIFY_CONTROL, verify_nowhere(),
		    "the index of control records does not list those that "
		    "the leaves are");
	verify_report_count(r, VERIFY_SYNTAX, w->count.syntax);
	verify_report_count(r, VERIFY_SEQUENCE, w->count.sequence);
	verify_report_count(r, VERIFY_TIME, w->count.time);
	verify_report_count(r, VERIFY_DERIVED, w->count.derived);
	verify_tiles_finish(w->tiles, w->next);
	verify_points_finish(w->in->points, w->next, r);
	verify_report_progress(r, w->next, w->next);
	w->out->size = w->next;
	w->out->last_at = w->last_at;
}

static void
add_result(
    struct verify_walk_result *out, const struct verify_bodies_result *part)
{
	out->purged += part->purged;
	if (out->repeats == 0) {
		out->repeat_seq = part->repeat_seq;
		out->repeat_of = part->repeat_of;
	}
	out->repeats += part->repeats;
}

/* The records of the file at hand. */
static bool
run_through(struct walk *w)
{
	struct verify_bodies_result own;
	uint64_t end = w->file->end;
	int rc;

	while ((rc = db_step(w->leaves)) == SQLITE_ROW)
		if (!take_row(w))
			return false;
	if (rc != SQLITE_DONE ||
	    (w->next < end && !skip_payloads(w, w->next, end)) ||
	    !verify_bodies_finish(w->bodies, &own))
		return false;
	add_result(w->out, &own);
	if (w->next < end)
		missing(w, end);
	return true;
}

/*
 * Files before this one were not given: the tree goes on from what its tiles
 * say of them, and its first checkpoint vouches for that.
 */
static bool
leap(struct walk *w)
{
	struct buf hashes;

	buf_init(&hashes);
	verify_tree_init(&w->tree);
	w->diverged = false;
	w->timed = w->sealed = false;
	verify_clock_gap(&w->clock);
	w->out->complete = verify_tiles_range(w->tiles, w->file, &hashes) &&
	    verify_tree_extend(&w->tree, w->file->first, buf_view(&hashes));
	if (!w->out->complete)
		verify_report_finding(w->r, VERIFY_TILES, verify_nowhere(),
		    "%s: tiles of the records before it are missing",
		    verify_files_name(w->file));
	buf_release(&hashes);
	w->next = w->file->first;
	verify_points_leap(w->in->points, w->next);
	return verify_tiles_failed(w->tiles) == NULL;
}

static bool
open_file(struct walk *w)
{
	/* From 0 on: payloads of records before it have no place there. */
	struct verify_bodies_range own = {0, w->own_end};

	w->leaves = db_prepare(w->file->db,
	    "SELECT seq, at, kind, bytes FROM leaf WHERE seq >= ?1"
	    " ORDER BY seq");
	if (w->leaves == NULL ||
	    sqlite3_bind_int64(w->leaves, 1,
		w->file->first == 0
		    ? INT64_MIN
		    : (sqlite3_int64)w->file->first) != SQLITE_OK)
		return false;
	w->bodies = verify_bodies_new(w->file->db, w->in->control, w->r, own);
	return w->bodies != NULL;
}

static bool
walk_file(struct walk *w, const struct verify_file *file)
{
	struct verify_bodies_result theirs = {0};
	struct verify_team team;
	bool ok;

	w->file = file;
	if (file->first > w->next && !leap(w))
		return false;
	if (verify_points_next(w->in->points) == w->tree.size)
		verify_points_check(w->in->points, &w->tree, NULL, w->r);
	w->own_end = verify_team_start(&team, file, w->in->control);
	ok = open_file(w) && run_through(w);
	ok = verify_team_join(&team, ok, w->r, &theirs) && ok;
	add_result(w->out, &theirs);
	(void)sqlite3_finalize(w->leaves); /* results of steps are known */
	verify_bodies_free(w->bodies);
	w->leaves = NULL;
	w->bodies = NULL;
	return ok;
}

static bool
prepare(struct walk *w)
{
	verify_tree_init(&w->tree);
	w->gap = (struct verify_run){.check = VERIFY_SEQUENCE,
	    .reason = "no such record in the journal"};
	w->purge = calloc(w->in->control->purges + 1, sizeof(*w->purge));
	w->tiles = verify_tiles_new(w->in->files, w->r);
	return w->purge != NULL && w->tiles != NULL;
}

bool
verify_walk(const struct verify_walk_input *in, struct verify_walk_result *out,
    sqlite3 **db)
{
	struct walk *w = calloc(1, sizeof(*w));
	bool ok;

	memset(out, 0, sizeof(*out));
	*db = in->files->file[0].db;
	out->complete = true;
	if (w == NULL)
		return false;
	w->in = in;
	w->out = out;
	w->r = in->report;
	ok = prepare(w);
	for (size_t i = 0; ok && i < in->files->count; i++) {
		*db = in->files->file[i].db;
		ok = walk_file(w, &in->files->file[i]);
	}
	if (ok)
		finish(w);
	if (w->tiles != NULL && verify_tiles_failed(w->tiles) != NULL) {
		*db = verify_tiles_failed(w->tiles);
		ok = false;
	}
	for (size_t i = 0; w->purge != NULL && i < in->control->purges; i++)
		crypto_hash_free(w->purge[i].hash);
	free(w->purge);
	verify_tiles_free(w->tiles);
	free(w);
	return ok;
}
