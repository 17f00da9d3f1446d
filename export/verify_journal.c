#include "export/verify_journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/db.h"
#include "base/text.h"

#include "export/verify_files.h"
#include "export/verify_held.h"
#include "export/verify_points.h"
#include "export/verify_recover.h"
#include "export/verify_sql.h"
#include "export/verify_walk.h"

#define APPLICATION_ID 0x43484E43
#define SCHEMA_VERSION 2
#define TABLES 12

struct check {
	struct verify_files files;
	sqlite3 *db; /* of the file at hand */
	struct verify_report *r;
	struct verify_journal *j;
	struct verify_points points;
	struct verify_leaf leaf;
	const struct verify_key *all_given, *given;
	uint64_t notes, good_notes;
	uint64_t outside_newest;
	const char *outside_path;
	const struct verify_outside *outside;
};

/*
 * What failed may have been another connection, or a statement whose code
 * later calls took away: then SQLite's own check says whether it is the file.
 */
static bool
lost_code(struct check *c)
{
	sqlite3_stmt *s = NULL;
	int rc;

	/* Nothing else is read after a failure: the seal may go. */
	if (sqlite3_set_authorizer(c->db, NULL, NULL) == SQLITE_OK)
		s = db_prepare(c->db, "PRAGMA quick_check(1)");
	rc = s == NULL ? sqlite3_errcode(c->db) : db_step(s);
	if (rc == SQLITE_ROW && view_is(verify_sql_bytes(s, 0), "ok"))
		verify_report_failure(c->r, "the database could not be read");
	else if (rc != SQLITE_ROW && !verify_sql_broken(c->db))
		verify_report_failure(c->r, "%s", sqlite3_errmsg(c->db));
	else
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "the database cannot be read through");
	(void)sqlite3_finalize(s); /* result of the step is known */
	return false;
}

static bool
sql_failed(struct check *c)
{
	int code = sqlite3_errcode(c->db) & 0xff;

	if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE)
		return lost_code(c);
	if (verify_sql_broken(c->db))
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "the database cannot be read through: %s",
		    sqlite3_errmsg(c->db));
	else
		verify_report_failure(c->r, "%s", sqlite3_errmsg(c->db));
	return false;
}

/* Ordinary ones: what a view shows may be something else another time. */
static const char tables_sql[] =
    "SELECT COUNT(*) FROM pragma_table_list AS t WHERE schema = 'main'"
    " AND type = 'table' AND strict = 1 AND (name, (SELECT"
    "  group_concat(name || ' ' || type) FROM pragma_table_xinfo(t.name)))"
    " IN (VALUES"
    " ('meta', 'name TEXT,value TEXT'),"
    " ('leaf', 'seq INTEGER,at INTEGER,kind INTEGER,bytes BLOB'),"
    " ('body', 'id INTEGER,salt BLOB,data BLOB'),"
    " ('tile', 'level INTEGER,idx INTEGER,data BLOB'),"
    " ('head', 'id INTEGER,size INTEGER,root BLOB,note BLOB'),"
    " ('checkpoint', 'size INTEGER,note BLOB'),"
    " ('cosig', 'size INTEGER,name TEXT,line BLOB,at INTEGER'),"
    " ('stamp', 'size INTEGER,at INTEGER,token BLOB'),"
    " ('batch', 'adapter TEXT,n INTEGER,first INTEGER,last INTEGER,"
    "seq INTEGER'),"
    " ('ack', 'adapter TEXT,n INTEGER,state TEXT,seq INTEGER'),"
    " ('hold', 'n INTEGER,seq INTEGER,released INTEGER,salt BLOB,"
    "selector TEXT,room TEXT,user TEXT,since INTEGER,until INTEGER'),"
    " ('purge_range', 'first INTEGER,last INTEGER,n INTEGER,seq INTEGER'))";

/* One that none of these settings and counts can be tells of failure. */
static bool
read_int(struct check *c, const char *sql, sqlite3_int64 *out)
{
	*out = db_int(c->db, sql, INT64_MIN);
	return *out != INT64_MIN;
}

static bool
check_file(struct check *c)
{
	sqlite3_int64 id, version, tables;

	verify_report_count(c->r, VERIFY_FILE, 1);
	if (!read_int(c, "PRAGMA application_id", &id) ||
	    !read_int(c, "PRAGMA user_version", &version) ||
	    !read_int(c, tables_sql, &tables))
		return sql_failed(c);
	if (id != APPLICATION_ID)
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "application id is not that of a Chancery journal");
	if (version != SCHEMA_VERSION)
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "schema version is not %d", SCHEMA_VERSION);
	if (tables != TABLES)
		verify_report_finding(c->r, VERIFY_FILE, verify_nowhere(),
		    "its %d tables are not as chancery-journal(5) has them",
		    TABLES);
	return true;
}

/*
 * Control records of a file: copies of those that none of the files before it
 * has, from ?1 on, and its own, from ?2 on. The index tells which they are,
 * for there are few among many; the walk sees whether it tells all.
 */
static const char control_sql[] =
    "SELECT seq, bytes FROM leaf"
    " WHERE seq >= ?1 AND seq < ?2 AND kind >= 128"
    " UNION ALL"
    " SELECT seq, bytes FROM (SELECT seq AS n FROM leaf"
    "  WHERE kind >= 128 AND seq >= max(?1, ?2) ORDER BY +seq LIMIT -1)"
    " CROSS JOIN leaf ON seq = n";

static bool
read_control_of(struct check *c, const struct verify_file *file, uint64_t from)
{
	sqlite3_stmt *s = db_prepare(file->db, control_sql);
	struct verify_control *control = &c->j->control;
	uint64_t seq, next = 0;
	const char *why;
	unsigned line;
	int rc;

	c->db = file->db;
	if (s == NULL ||
	    sqlite3_bind_int64(s, 1, (sqlite3_int64)from) != SQLITE_OK ||
	    sqlite3_bind_int64(s, 2, (sqlite3_int64)file->first) != SQLITE_OK)
		return sql_failed(c);
	while ((rc = db_step(s)) == SQLITE_ROW) {
		if (!verify_sql_u64(s, 0, &seq) || seq < next ||
		    !verify_leaf_parse(
			verify_sql_blob(s, 1), &c->leaf, &line, &why) ||
		    c->leaf.kind < VERIFY_KIND_CONTROL)
			continue; /* the walk says what is wrong with it */
		next = seq + 1;
		c->leaf.seq = seq;
		verify_control_take(control, &c->leaf, c->r);
		if (seq < file->first) { /* the walk does not meet it */
			control->leaves--;
			control->seq_sum -= seq;
		}
	}
	(void)sqlite3_finalize(s); /* result of the steps is known */
	return rc == SQLITE_DONE || sql_failed(c);
}

/* First pass: what the control records say. */
static bool
read_control(struct check *c)
{
	struct verify_control *control = &c->j->control;
	uint64_t end = 0;

	control->from = c->files.file[0].first;
	for (size_t i = 0; i < c->files.count; i++) {
		if (!read_control_of(c, &c->files.file[i], end))
			return false;
		end = c->files.file[i].end;
	}
	if (!verify_files_purges(&c->files, control, c->r, &c->db))
		return sql_failed(c);
	verify_control_finish(control, c->r);
	if (!verify_files_undone(&c->files, control, c->r, &c->db))
		return sql_failed(c);
	verify_files_judge(&c->files, control, c->r);
	if (control->out_of_memory)
		verify_report_failure(c->r, "out of memory");
	return !control->out_of_memory;
}

/* Where trust begins: the key given must be one of the journal's. */
static void
judge_given(struct check *c)
{
	struct verify_epochs *epochs = &c->j->control.epochs;
	size_t i = verify_epochs_find(epochs, c->given);

	if (i == epochs->count) {
		verify_report_finding(c->r, VERIFY_KEY, verify_at(0),
		    "the journal names another key than the one given: %s",
		    c->j->control.vkey);
		/* Nothing that the first key signed counts. */
		epochs->epoch[0].key = *c->given;
		epochs->epoch[0].told = true;
	} else if (i > 0) {
		verify_report_note(c->r,
		    "the key given is that of epoch %" PRIu64
		    ", not the first: trust begins there (record %" PRIu64
		    "), and what is older is known only through it",
		    epochs->epoch[i].number, epochs->epoch[i].seq);
	}
}

static void
choose_key(struct check *c)
{
	const struct verify_epochs *epochs = &c->j->control.epochs;
	const char *name = c->j->control.origin;

	if (name != NULL)
		c->given = verify_key_of(c->all_given, view_text(name));
	if (c->given != NULL)
		verify_report_count(c->r, VERIFY_KEY, 1);
	else
		verify_report_skip(c->r, VERIFY_KEY, "no key given");
	if (epochs->count == 0 || !epochs->epoch[0].told)
		verify_report_finding(c->r, VERIFY_KEY,
		    epochs->count == 0 ? verify_nowhere() : verify_at(0),
		    "no open record states the key");
	if (c->given == NULL)
		verify_report_note(c->r,
		    "key not given: a key taken from the file itself proves "
		    "nothing about who signed");
	else if (epochs->count > 0)
		judge_given(c);
}

static bool
check_meta(struct check *c)
{
	const struct verify_control *open = &c->j->control;
	const struct {
		const char *name, *value;
	} expected[] = {
	    {"journal", open->journal},
	    {"origin", open->origin},
	    {"vkey", open->vkey},
	};
	sqlite3_stmt *s =
	    db_prepare(c->db, "SELECT value FROM meta WHERE name = ?1");
	sqlite3_int64 rows, named;
	int rc = SQLITE_DONE;

	for (size_t i = 0;
	     s != NULL && i < sizeof(expected) / sizeof(expected[0]); i++) {
		if (sqlite3_bind_text(
			s, 1, expected[i].name, -1, SQLITE_STATIC) == SQLITE_OK)
			rc = db_step(s);
		verify_report_count(c->r, VERIFY_TABLES, 1);
		if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			break;
		if (rc == SQLITE_DONE || expected[i].value == NULL ||
		    !view_is(verify_sql_text(s, 0), expected[i].value))
			verify_report_finding(c->r, VERIFY_TABLES, verify_at(0),
			    "table meta: %s is not what the open record says",
			    expected[i].name);
		(void)sqlite3_reset(s); /* tells of the step again */
	}
	(void)sqlite3_finalize(s); /* repeats rc */
	if (s == NULL || (rc != SQLITE_ROW && rc != SQLITE_DONE))
		return sql_failed(c);
	/*
	 * Two more tell the place of the file: verify_files_judge(). The
	 * names are those of the rows: the index may have others.
	 */
	if (!read_int(c, "SELECT COUNT(*) FROM meta NOT INDEXED", &rows) ||
	    !read_int(c,
		"SELECT COUNT(*) FROM meta NOT INDEXED WHERE name IN"
		" ('journal', 'origin', 'vkey', 'segment', 'first')",
		&named))
		return sql_failed(c);
	if (rows != 5 || named != 5)
		verify_report_finding(c->r, VERIFY_TABLES, verify_nowhere(),
		    "table meta has other rows than the five it must have");
	if (open->origin != NULL)
		(void)snprintf(
		    c->j->origin, sizeof(c->j->origin), "%s", open->origin);
	return true;
}

static bool
add_point(struct check *c, struct verify_point point)
{
	if (verify_points_add(&c->points, point))
		return true;
	verify_report_failure(c->r, "out of memory");
	return false;
}

static enum verify_epochs_source
source_of(enum verify_source source)
{
	switch (source) {
	case VERIFY_SOURCE_CHECKPOINT:
		return VERIFY_EPOCHS_ROW;
	case VERIFY_SOURCE_OUTSIDE:
		return VERIFY_EPOCHS_OUTSIDE;
	default:
		return VERIFY_EPOCHS_NEWEST;
	}
}

/* A signed one that covers more than is left under its name. */
static bool
is_beyond(struct check *c, const struct verify_note *note,
    const struct verify_point *point)
{
	const struct verify_control *control = &c->j->control;
	char origin[VERIFY_NAME_MAX + 1];
	const struct verify_recover *end;
	size_t index;

	(void)snprintf(origin, sizeof(origin), "%.*s", (int)note->origin.n,
	    (const char *)note->origin.p);
	if (point->source != VERIFY_SOURCE_OUTSIDE ||
	    !verify_recover_of_origin(control, origin, &index))
		return false;
	end = verify_recover_end(control, index);
	if (end == NULL)
		return false;
	if (note->size <= end->seq)
		return point->signed_ &&
		    verify_recover_forked(end, c->outside[point->ref].path,
			note->size, note->root, c->r);
	if (point->signed_)
		verify_recover_beyond(end, c->outside[point->ref].path,
		    note->size, note->root, c->r);
	return true;
}

/*
 * A note with its signature; what it states joins the points. size: what
 * its row says, or VERIFY_NO_SEQ.
 */
static bool
take_note(
    struct check *c, struct view text, uint64_t size, struct verify_point point)
{
	struct verify_note note;
	const char *why;
	unsigned line;

	c->notes++;
	verify_report_count(c->r, VERIFY_SIGNATURES, 1);
	if (!verify_note_parse(text, &note, &line, &why)) {
		verify_report_finding(c->r, VERIFY_SIGNATURES,
		    (struct verify_place){
			VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, line},
		    "signed note (size %" PRId64 "): %s", (int64_t)size, why);
		return true;
	}
	if (size != VERIFY_NO_SEQ && size != note.size)
		verify_report_finding(c->r, VERIFY_SIGNATURES, verify_nowhere(),
		    "checkpoint row of size %" PRIu64
		    " holds a note of size %" PRIu64,
		    size, note.size);
	point.signed_ = verify_epochs_signed(
	    &c->j->control.epochs, &note, source_of(point.source), c->r);
	c->good_notes += point.signed_;
	point.size = note.size;
	memcpy(point.root, note.root, 32);
	return is_beyond(c, &note, &point) || add_point(c, point);
}

static bool
read_head(struct check *c)
{
	sqlite3_stmt *s =
	    db_prepare(c->db, "SELECT id, size, root, note FROM head");
	struct verify_point head = {.source = VERIFY_SOURCE_HEAD};
	struct view root, note;
	uint64_t rows = 0, id;
	bool ok = true;
	int rc;

	if (s == NULL)
		return sql_failed(c);
	while (ok && (rc = db_step(s)) == SQLITE_ROW) {
		root = verify_sql_blob(s, 2);
		note = verify_sql_blob(s, 3);
		if (rows++ > 0 || !verify_sql_u64(s, 0, &id) || id != 1 ||
		    !verify_sql_u64(s, 1, &head.size) || root.n != 32 ||
		    (note.n == 0 && sqlite3_column_type(s, 3) != SQLITE_NULL)) {
			verify_report_finding(c->r, VERIFY_HEAD,
			    verify_nowhere(), "head row is malformed");
			continue;
		}
		memcpy(head.root, root.p, 32);
		ok = add_point(c, head);
		if (ok && note.n > 0)
			ok = take_note(c, note, VERIFY_NO_SEQ,
			    (struct verify_point){
				.source = VERIFY_SOURCE_NOTE});
	}
	(void)sqlite3_finalize(s); /* result of the steps is known */
	if (rows == 0 && rc == SQLITE_DONE)
		verify_report_finding(c->r, VERIFY_HEAD, verify_nowhere(),
		    "there is no head row");
	return ok && (rc == SQLITE_DONE || sql_failed(c));
}

/*
 * The checkpoint between two files: the open record of the later one names it,
 * and both have it.
 */
static void
check_between(struct check *c, const struct verify_file *file,
    const struct verify_segment *later, struct view note)
{
	uint8_t hash[32];

	crypto_sha256(note.p, note.n, hash);
	verify_report_count(c->r, VERIFY_CONTROL, 1);
	if (later != NULL && memcmp(hash, later->note, 32) != 0)
		verify_report_finding(c->r, VERIFY_CONTROL,
		    verify_at(later->first),
		    "%s: the checkpoint of size %" PRIu64
		    " is not the one that the open record after it names",
		    verify_files_name(file), later->first);
}

/* Segment n, when its open record is there. */
static const struct verify_segment *
segment_of(const struct check *c, uint64_t n)
{
	const struct verify_control *control = &c->j->control;

	return n < control->segments ? &control->segment[n] : NULL;
}

static bool
read_checkpoints(struct check *c, size_t i)
{
	const struct verify_file *file = &c->files.file[i];
	sqlite3_stmt *s = db_prepare(
	    c->db, "SELECT size, note FROM checkpoint ORDER BY size");
	struct verify_point point = {.source = VERIFY_SOURCE_CHECKPOINT};
	bool begins = file->segment == 0,
	     ends = i + 1 >= c->files.count ||
	    !verify_files_follows(&c->files, i + 1);
	uint64_t size;
	bool ok = true;
	int rc = SQLITE_ROW;

	if (s == NULL)
		return sql_failed(c);
	while (ok && (rc = db_step(s)) == SQLITE_ROW) {
		struct view note = verify_sql_blob(s, 1);

		if (!verify_sql_u64(s, 0, &size))
			size = VERIFY_NO_SEQ - 1;
		if (file->segment > 0 && size <= file->first) {
			begins = size == file->first;
			check_between(
			    c, file, segment_of(c, file->segment), note);
		}
		if (size == file->end && file->end > file->first) {
			ends = true;
			check_between(
			    c, file, segment_of(c, file->segment + 1), note);
		}
		ok = take_note(c, note, size, point);
	}
	(void)sqlite3_finalize(s); /* result of the steps is known */
	if (rc == SQLITE_DONE && (!begins || !ends))
		verify_report_finding(c->r, VERIFY_SIGNATURES, verify_nowhere(),
		    "%s: the checkpoint that it %s with is missing",
		    verify_files_name(file), begins ? "ends" : "begins");
	return ok && (rc == SQLITE_DONE || sql_failed(c));
}

/* Roots that batch records state: signed by being in the tree themselves. */
static bool
add_batches(struct check *c)
{
	const struct verify_control *control = &c->j->control;

	for (size_t i = 0; i < control->adapters; i++) {
		const struct verify_adapter *a = &control->adapter[i];

		for (size_t k = 0; k < a->count; k++) {
			struct verify_point p = {.size = a->batch[k].size,
			    .source = VERIFY_SOURCE_BATCH,
			    .ref = a->batch[k].seq};

			memcpy(p.root, a->batch[k].root, 32);
			if (!add_point(c, p))
				return false;
		}
	}
	return true;
}

/* What was signed under a former name and is still here. */
static bool
add_recovers(struct check *c)
{
	const struct verify_control *control = &c->j->control;

	for (size_t i = 0; i < control->recovers; i++) {
		const struct verify_recover *v = &control->recover[i];
		struct verify_point p = {.size = v->size,
		    .source = VERIFY_SOURCE_RECOVER,
		    .ref = v->seq};

		memcpy(p.root, v->root, 32);
		if (v->size <= v->seq && strcmp(v->reason, "fork") != 0 &&
		    !add_point(c, p))
			return false;
	}
	return true;
}

/* What witnesses showed, where it must agree with the records, or not. */
static bool
add_conflicts(struct check *c)
{
	const struct verify_control *control = &c->j->control;

	for (size_t i = 0; i < control->conflicts; i++) {
		const struct verify_conflict *k = &control->conflict[i];
		struct verify_point p = {.size = k->size,
		    .source =
			k->proof ? VERIFY_SOURCE_PROOF : VERIFY_SOURCE_CLAIM,
		    .ref = k->seq};

		memcpy(p.root, k->root, 32);
		if (!add_point(c, p))
			return false;
	}
	return true;
}

static bool
add_outside(struct check *c, const struct verify_outside *outside, size_t n)
{
	c->outside = outside;
	for (size_t i = 0; i < n; i++) {
		const struct verify_outside *o = &outside[i];
		struct verify_point p = {
		    .source = VERIFY_SOURCE_OUTSIDE, .ref = i};
		const struct verify_recover *end;
		size_t name;

		if (!verify_recover_of_origin(&c->j->control, o->origin, &name))
			continue;
		end = verify_recover_end(&c->j->control, name);
		if (o->size >= c->j->control.from &&
		    (end == NULL || o->size <= end->seq) &&
		    (c->outside_path == NULL || o->size > c->outside_newest)) {
			c->outside_newest = o->size;
			c->outside_path = o->path;
		}
		if (!take_note(c, buf_view(&o->text), VERIFY_NO_SEQ, p))
			return false;
	}
	return true;
}

/*
 * Who can write the file can write behind the last signed checkpoint, but
 * nothing there that takes away what is before it.
 */
static void
check_tail(struct check *c)
{
	const struct verify_control *control = &c->j->control;
	uint64_t covered = c->points.good;

	for (size_t i = 0; i < control->purges; i++)
		if (!control->purge[i].later &&
		    control->purge[i].seq >= covered)
			verify_report_finding(c->r, VERIFY_PURGES,
			    verify_at(control->purge[i].seq),
			    "no signed checkpoint covers this purge record: "
			    "unless the daemon, once it runs, signs one, "
			    "nothing shows who removed records %s",
			    control->purge[i].ranges);
	for (size_t i = 0; i < control->recovers; i++)
		if (control->recover[i].seq >= covered)
			verify_report_finding(c->r, VERIFY_EPOCHS,
			    verify_at(control->recover[i].seq),
			    "no signed checkpoint covers this recover record: "
			    "unless the daemon, once it runs, signs one, "
			    "nothing shows who gave the journal its new name");
}

static void
say_freshness(struct check *c, const struct verify_walk_result *w)
{
	uint64_t covered = c->points.good;
	const struct verify_evidence *cosigned =
	    verify_anchors_given(&c->j->control.anchors, &c->points);

	if (w->size > 0 && !c->points.any_signed)
		verify_report_finding(c->r, VERIFY_SIGNATURES, verify_nowhere(),
		    "no signed checkpoint agrees with these records: nothing "
		    "shows who wrote them");
	else if (covered < w->size)
		verify_report_note(c->r,
		    "unsigned tail: records %" PRIu64 "-%" PRIu64
		    " are not covered by a signed checkpoint",
		    covered, w->size - 1);
	if (c->points.any_signed)
		check_tail(c);
	if (c->outside_path == NULL)
		verify_report_note(c->r,
		    "no checkpoint from outside given%s: consistent at best, "
		    "freshness unknown; records may be missing at the end",
		    c->points.leapt_outside > 0 ? " that reaches these records"
						: "");
	else
		verify_report_note(c->r,
		    "newest checkpoint from outside: size %" PRIu64
		    " (%s); whether records after it are missing is unknown",
		    c->outside_newest, c->outside_path);
	verify_epochs_finish(&c->j->control.epochs, c->j->control.from, w->size,
	    c->outside_newest, cosigned != NULL ? cosigned->name : NULL,
	    cosigned != NULL ? cosigned->size : 0, c->r);
}

static void
say_walk(struct check *c, const struct verify_walk_result *w)
{
	struct buf from, to;

	buf_init(&from);
	buf_init(&to);
	text_put_time(&from, w->first_at);
	text_put_time(&to, w->last_at);
	verify_report_fact(c->r, "origin", "%s", c->j->origin);
	if (c->files.count > 1 || c->files.file[0].segment > 0)
		verify_report_fact(c->r, "segments", "%" PRIu64 "-%" PRIu64,
		    c->files.file[0].segment,
		    c->files.file[c->files.count - 1].segment);
	if (c->j->control.from > 0 && c->j->control.from < w->size)
		verify_report_fact(c->r, "records", "%" PRIu64 "-%" PRIu64,
		    c->j->control.from, w->size - 1);
	else
		verify_report_fact(c->r, "records", "%" PRIu64, w->size);
	if (w->size > 0 && buf_text(&from) != NULL && buf_text(&to) != NULL)
		verify_report_fact(
		    c->r, "time", "%s to %s", buf_text(&from), buf_text(&to));
	verify_report_fact(c->r, "signed", "%" PRIu64, c->points.good);
	verify_report_fact(c->r, "purged", "%" PRIu64, w->purged);
	if (w->unknown_kinds > 0)
		verify_report_note(c->r,
		    "%" PRIu64
		    " records are of kinds that this version does not know: "
		    "only their form and place were checked",
		    w->unknown_kinds);
	if (w->repeats > 0)
		verify_report_note(c->r,
		    "%" PRIu64
		    " ids come again among recent events, first in record "
		    "%" PRIu64 " (as in record %" PRIu64 ")",
		    w->repeats, w->repeat_seq, w->repeat_of);
	buf_release(&from);
	buf_release(&to);
}

/* What is read of one file after the other. */
static bool
read_files(struct check *c)
{
	for (size_t i = 0; i < c->files.count; i++) {
		c->db = c->files.file[i].db;
		if (!check_meta(c) || !read_head(c) || !read_checkpoints(c, i))
			return false;
	}
	return true;
}

static bool
check_tables(struct check *c)
{
	for (size_t i = 0; i < c->files.count; i++) {
		const struct verify_file *file = &c->files.file[i];
		bool last = i + 1 == c->files.count;

		c->db = file->db;
		if (!verify_control_tables(&c->j->control, file->db,
			file->first, last ? UINT64_MAX : file->end, c->r) ||
		    !verify_anchors_rows(&c->j->control, file->db, c->r))
			return sql_failed(c);
	}
	return verify_files_copies(&c->files, c->r, &c->db) || sql_failed(c);
}

static bool
check_all(struct check *c, const struct verify_outside *outside, size_t n)
{
	struct verify_walk_input in = {.files = &c->files,
	    .control = &c->j->control,
	    .points = &c->points,
	    .report = c->r,
	    .head_size = c->files.file[c->files.count - 1].head_size};
	struct verify_walk_result result;

	if (!read_control(c))
		return false;
	choose_key(c);
	verify_recover_keys(&c->j->control, c->all_given, c->r);
	if (!read_files(c) || !add_batches(c) || !add_recovers(c) ||
	    !add_conflicts(c) || !add_outside(c, outside, n))
		return false;
	verify_points_sort(&c->points);
	if (!verify_walk(&in, &result, &c->db))
		return sql_failed(c);
	c->j->size = result.size;
	c->j->purged = result.purged;
	if (!check_tables(c))
		return false;
	verify_anchors_judge(&c->j->control, c->r);
	say_walk(c, &result);
	verify_recover_say(&c->j->control, c->r);
	verify_held_say(&c->j->control, c->r);
	say_freshness(c, &result);
	return true;
}

/* One moment for each file, the newest last: what it tells was done. */
static bool
begin(struct check *c)
{
	for (size_t i = 0; i < c->files.count; i++) {
		c->db = c->files.file[i].db;
		if (!check_file(c))
			return false;
		if (db_seal(c->db, true) != 0 || db_exec(c->db, "BEGIN") != 0)
			return sql_failed(c);
	}
	return verify_files_ends(&c->files, &c->db) || sql_failed(c);
}

void
verify_journal_run(const struct verify_group *g, const struct verify_key *key,
    const struct verify_outside *outside, size_t outsides,
    struct verify_report *r, struct verify_journal *out)
{
	struct check c = {.r = r, .j = out, .all_given = key, .given = key};

	memset(out, 0, sizeof(*out));
	c.files.whole = g->whole;
	verify_report_begin(r, g->path[0], "journal");
	if (verify_files_open(&c.files, g->path, g->count, r) && begin(&c))
		(void)check_all(&c, outside, outsides); /* reported */
	verify_points_release(&c.points);
	verify_files_close(&c.files);
}

bool
verify_journal_keys(const char *path, struct verify_chain *out)
{
	struct verify_journal j = {.size = 0};
	struct verify_report *r = verify_report_new();
	struct check c = {.r = r, .j = &j};
	bool ok = false;

	if (r == NULL)
		goto done;
	verify_report_begin(r, path, "journal");
	ok = verify_files_open(&c.files, &path, 1, r) && begin(&c) &&
	    read_control(&c) && verify_epochs_chain(&j.control.epochs, out);
	verify_files_close(&c.files);
done:
	verify_journal_release(&j);
	verify_report_free(r);
	return ok;
}

void
verify_journal_release(struct verify_journal *j)
{
	verify_control_release(&j->control);
}
