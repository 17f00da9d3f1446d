#include "compliance/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal_import.h"
#include "compliance/journal_store.h"
#include "compliance/note.h"
#include "compliance/purge_rules.h"
#include "compliance/rules.h"

int
journal_run(struct journal *j, enum statement which, const char *what)
{
	int r = sqlite3_step(j->stmt[which]);

	(void)sqlite3_reset(j->stmt[which]); /* repeats r */
	return r == SQLITE_DONE || r == SQLITE_ROW ? 0
						   : journal_fail_sql(j, what);
}

static void
stamp(struct journal *j, const struct journal_event *e,
    const struct clock_reading *now, struct leaf_head *head)
{
	head->seq = j->tree->size;
	head->kind = e->kind;
	head->at = now->real;
	head->boot = now->boot;
	head->flags = 0;
	memcpy(head->boot_id, j->boot_id, sizeof head->boot_id);
	if (head->at <= j->at) {
		head->at = j->at + 1;
		head->flags = LEAF_TIME_HELD;
	}
}

static int
insert_tile(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
	struct journal *j = arg;
	sqlite3_stmt *s = j->stmt[S_TILE];

	(void)sqlite3_bind_int64(s, 1, level);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)index);
	(void)sqlite3_bind_blob(s, 3, hashes, TREE_TILE_LEN, SQLITE_STATIC);
	return journal_run(j, S_TILE, "tile");
}

static int
insert_bodies(struct journal *j, const struct journal_event *e, uint64_t seq,
    const uint8_t salts[][LEAF_SALT_LEN])
{
	sqlite3_stmt *s = j->stmt[S_BODY];

	for (unsigned i = 0; i < e->parts; i++) {
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)(seq << 8 | i));
		(void)sqlite3_bind_blob(
		    s, 2, salts[i], LEAF_SALT_LEN, SQLITE_STATIC);
		(void)sqlite3_bind_blob64(s, 3,
		    e->part[i].n > 0 ? (const void *)e->part[i].p : "",
		    e->part[i].n, SQLITE_STATIC);
		if (journal_run(j, S_BODY, "body") != 0)
			return -1;
	}
	return 0;
}

int
journal_put_record(struct journal *j, const struct leaf_head *head,
    struct view leaf, const struct journal_event *e,
    const uint8_t salts[][LEAF_SALT_LEN])
{
	uint8_t hash[TREE_HASH_LEN];
	sqlite3_stmt *s = j->stmt[S_LEAF];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)head->seq);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)head->at);
	(void)sqlite3_bind_int64(s, 3, head->kind);
	(void)sqlite3_bind_blob64(s, 4, leaf.p, leaf.n, SQLITE_STATIC);
	if (journal_run(j, S_LEAF, "leaf") != 0 ||
	    insert_bodies(j, e, head->seq, salts) != 0)
		return -1;
	tree_leaf_hash(leaf.p, leaf.n, hash);
	if (tree_add(j->tree, hash, insert_tile, j) != 0)
		return -1;
	j->at = head->at;
	return 0;
}

/* Builds one record and puts it in. */
static int
insert_record(
    struct journal *j, struct journal_event *e, const struct clock_reading *now)
{
	uint8_t salts[LEAF_PARTS_MAX][LEAF_SALT_LEN];
	uint8_t hash[TREE_HASH_LEN];
	struct leaf_head head;

	stamp(j, e, now, &head);
	buf_clear(&j->leaf);
	leaf_put_head(&j->leaf, &head);
	crypto_random(salts, e->parts * sizeof salts[0]);
	for (unsigned i = 0; i < e->parts; i++) {
		leaf_commit(salts[i], e->part[i], hash);
		leaf_put_part(&j->leaf, i, hash);
	}
	buf_put_view(&j->leaf, e->fields);
	if (j->leaf.failed)
		return journal_fail(j, "out of memory");
	if (journal_put_record(j, &head, buf_view(&j->leaf), e, salts) != 0)
		return -1;
	e->seq = head.seq;
	e->at = head.at;
	journal_clock_took(j, &head, now);
	return 0;
}

/* The event, and before it that the clock was set. */
static int
insert_event(struct journal *j, struct journal_event *e)
{
	struct journal_event clock = {.kind = EVENT_CLOCK};
	struct clock_reading now;
	struct buf fields;
	int r = 0;

	clock_read(&now);
	if (journal_clock_moved(j, e->kind, &now)) {
		buf_init(&fields);
		journal_clock_put(j, &now, &fields);
		clock.fields = buf_view(&fields);
		r = fields.failed ? journal_fail(j, "out of memory")
				  : insert_record(j, &clock, &now);
		buf_release(&fields);
	}
	return r == 0 ? insert_record(j, e, &now) : -1;
}

int
journal_put_batch(struct journal *j, const struct rules_batch *b, uint64_t seq)
{
	sqlite3_stmt *s = j->stmt[S_BATCH];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	(void)sqlite3_bind_text(s, 2, b->adapter, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(s, 3, (sqlite3_int64)b->n);
	(void)sqlite3_bind_int64(s, 4, (sqlite3_int64)b->first);
	(void)sqlite3_bind_int64(s, 5, (sqlite3_int64)b->last);
	return journal_run(j, S_BATCH, "batch");
}

int
journal_put_ack(struct journal *j, const struct rules_ack *a, uint64_t seq)
{
	sqlite3_stmt *s = j->stmt[S_ACK];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	(void)sqlite3_bind_text(s, 2, a->adapter, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(s, 3, (sqlite3_int64)a->n);
	(void)sqlite3_bind_text(s, 4, a->state, -1, SQLITE_STATIC);
	return journal_run(j, S_ACK, "ack");
}

int
journal_remove_range(
    struct journal *j, struct range r, uint64_t purge_number, uint64_t seq)
{
	sqlite3_stmt *range = j->stmt[S_RANGE];
	sqlite3_stmt *delete = j->stmt[S_BODY_DELETE];

	(void)sqlite3_bind_int64(range, 1, (sqlite3_int64)r.first);
	(void)sqlite3_bind_int64(range, 2, (sqlite3_int64)r.last);
	(void)sqlite3_bind_int64(range, 3, (sqlite3_int64)purge_number);
	(void)sqlite3_bind_int64(range, 4, (sqlite3_int64)seq);
	(void)sqlite3_bind_int64(delete, 1, (sqlite3_int64)(r.first << 8));
	(void)sqlite3_bind_int64(delete, 2, (sqlite3_int64)((r.last + 1) << 8));
	if (journal_run(j, S_RANGE, "purge range") != 0)
		return -1;
	return journal_run(j, S_BODY_DELETE, "bodies");
}

static int
remove_bodies(struct journal *j, const struct change *c, uint64_t seq)
{
	for (size_t i = 0; i < c->purge->count; i++)
		if (journal_remove_range(
			j, c->purge->ranges[i], c->purge_number, seq) != 0)
			return -1;
	return 0;
}

static int
write_head(struct journal *j)
{
	uint8_t root[TREE_HASH_LEN];
	sqlite3_stmt *s = j->stmt[S_HEAD];
	sqlite3_stmt *publish = j->stmt[S_CHECKPOINT];

	tree_root(j->tree, root);
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)j->tree->size);
	(void)sqlite3_bind_blob(s, 2, root, sizeof root, SQLITE_STATIC);
	(void)sqlite3_bind_null(s, 3);
	if (j->note_waits)
		(void)sqlite3_bind_blob64(
		    s, 3, j->note.data, j->note.len, SQLITE_STATIC);
	if (journal_run(j, S_HEAD, "head") != 0)
		return -1;
	if (!j->note_waits || !j->note_publish)
		return 0;
	(void)sqlite3_bind_int64(publish, 1, (sqlite3_int64)j->note_size);
	(void)sqlite3_bind_blob64(
	    publish, 2, j->note.data, j->note.len, SQLITE_STATIC);
	return journal_run(j, S_CHECKPOINT, "checkpoint");
}

static int
apply(struct journal *j, const struct change *c)
{
	uint64_t seq;

	if (c->import != NULL && journal_import_apply(j, c->import) != 0)
		return -1;
	for (size_t i = 0; i < c->count; i++)
		if (insert_event(j, &c->events[i]) != 0)
			return -1;
	seq = c->count > 0 ? c->events[0].seq : 0;
	if (c->batch != NULL && journal_put_batch(j, c->batch, seq) != 0)
		return -1;
	if (c->ack != NULL && journal_put_ack(j, c->ack, seq) != 0)
		return -1;
	if (c->purge != NULL && remove_bodies(j, c, seq) != 0)
		return -1;
	if (c->evidence != NULL && journal_insert_evidence(j, c->evidence) != 0)
		return -1;
	if (c->also != NULL && c->also(j, c->arg, seq) != 0)
		return -1;
	return write_head(j);
}

/* A seal is the last record of its file, an open record the first. */
static bool
may_append(struct journal *j, unsigned kind)
{
	if (j->sealed)
		(void)journal_fail(j, "the file is sealed");
	else if (j->segment > 0 && journal_opens(j) != (kind == EVENT_OPEN))
		(void)journal_fail(j, "a file begins with its open record");
	else
		return true;
	j->writable = false;
	return false;
}

/*
 * After a failure the tree in memory is not that of the file any more, so
 * nothing more is written before journal_recover().
 */
int
journal_commit(struct journal *j, const struct change *c)
{
	if (!j->writable)
		return -1;
	if (c->count > 0 && !may_append(j, c->events[0].kind))
		return -1;
	if (journal_run(j, S_BEGIN, "begin") == 0 && apply(j, c) == 0 &&
	    journal_run(j, S_COMMIT, "commit") == 0) {
		j->note_waits = false;
		j->size = j->tree->size;
		if (c->count == 1 && c->events[0].kind == EVENT_SEAL)
			j->sealed = true;
		return c->import == NULL ? 0 : journal_clock_load(j);
	}
	j->writable = false;
	if (sqlite3_get_autocommit(j->db) == 0)
		(void)sqlite3_step(j->stmt[S_ROLLBACK]); /* recovery looks */
	(void)sqlite3_reset(j->stmt[S_ROLLBACK]);
	return -1;
}

static int
check_batch(
    struct journal *j, const struct journal_event *e, struct rules_batch *b)
{
	uint8_t told[TREE_HASH_LEN], root[TREE_HASH_LEN];

	if (!rules_read_batch(
		j->db, e->fields, j->size, b, j->error, sizeof j->error))
		return 1;
	if (journal_root_at(j, b->size, root) != 0)
		return -1;
	if (!text_get_base64_fixed(b->root, told, sizeof told) ||
	    memcmp(told, root, sizeof root) != 0) {
		(void)journal_fail(
		    j, "root is not that of the journal at %" PRIu64, b->size);
		return 1;
	}
	return 0;
}

int
journal_append(struct journal *j, struct journal_event *events, size_t n)
{
	struct change c = {.events = events, .count = n};
	struct rules_batch batch;
	struct rules_ack ack;
	int r;

	if (!j->writable)
		return -1;
	if (n == 1 && events[0].kind == EVENT_BATCH) {
		r = check_batch(j, &events[0], &batch);
		if (r != 0)
			return r;
		c.batch = &batch;
	} else if (n == 1 && events[0].kind == EVENT_ACK) {
		if (!rules_read_ack(j->db, events[0].fields, &ack, j->error,
			sizeof j->error))
			return 1;
		c.ack = &ack;
	}
	return journal_commit(j, &c);
}

/* Adds the leaf hashes of the range, and counts its user events. */
static int
digest_range(struct journal *j, sqlite3_stmt *s, struct range r,
    struct crypto_hash *h, uint64_t *events)
{
	uint8_t hash[TREE_HASH_LEN];
	uint64_t n = 0;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)r.first);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)(r.last + 1));
	for (; sqlite3_step(s) == SQLITE_ROW; n++) {
		tree_leaf_hash(sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0), hash);
		crypto_hash_add(h, hash, sizeof hash);
		if (sqlite3_column_int64(s, 1) < EVENT_CONTROL)
			++*events;
	}
	(void)sqlite3_reset(s); /* n tells */
	return n == r.last - r.first + 1
	    ? 0
	    : journal_fail(j, "leaf %" PRIu64 " cannot be read", r.first + n);
}

/* both: NULL, or what has the sealed file of the records. */
static int
digest_ranges(struct journal *j, sqlite3 *both, const struct journal_purge *p,
    uint8_t out[CRYPTO_SHA256_LEN], uint64_t *events)
{
	sqlite3_stmt *s = both == NULL
	    ? j->stmt[S_LEAVES]
	    : db_prepare(both,
		  "SELECT bytes, kind FROM old.leaf"
		  " WHERE seq >= ? AND seq < ? ORDER BY seq");
	struct crypto_hash *h = crypto_hash_new();
	int r = s != NULL && h != NULL ? 0 : journal_fail(j, "out of memory");

	for (size_t i = 0; i < p->count && r == 0; i++)
		r = digest_range(j, s, p->ranges[i], h, events);
	if (h != NULL)
		crypto_hash_get(h, out);
	crypto_hash_free(h);
	if (both != NULL)
		(void)sqlite3_finalize(s); /* r tells */
	return r;
}

static void
put_seq(struct buf *b, const char *name, uint64_t seq)
{
	if (seq == 0)
		leaf_put_field(b, name, view_text("-"));
	else
		leaf_put_number(b, name, seq);
}

static int
put_purge(struct buf *b, const struct journal_purge *p,
    const struct purge_facts *facts, uint64_t number, uint64_t events,
    const uint8_t digest[CRYPTO_SHA256_LEN])
{
	struct buf ranges, hex;

	buf_init(&ranges);
	buf_init(&hex);
	ranges_put(&ranges, p->ranges, p->count);
	text_put_hex(&hex, digest, CRYPTO_SHA256_LEN);
	leaf_put_number(b, "purge", number);
	leaf_put_number(b, "first", p->ranges[0].first);
	leaf_put_number(b, "last", p->ranges[p->count - 1].last);
	leaf_put_number(b, "count", events);
	leaf_put_field(b, "ranges", buf_view(&ranges));
	leaf_put_field(b, "leaves", buf_view(&hex));
	leaf_put_field(b, "acks", buf_view(&facts->acks));
	leaf_put_number(b, "held", facts->held);
	put_seq(b, "hold", facts->hold);
	leaf_put_field(b, "approvals", buf_view(&facts->approvals));
	put_seq(b, "anchor", facts->anchor);
	leaf_put_number(b, "policy", facts->policy);
	b->failed |= ranges.failed || hex.failed || facts->acks.failed ||
	    facts->approvals.failed;
	buf_release(&hex);
	buf_release(&ranges);
	return b->failed ? -1 : 0;
}

/* 0; 1: they do not fit a record; -1. */
static int
purge_fields(struct journal *j, sqlite3 *both, const struct journal_purge *p,
    const struct purge_facts *facts, struct change *c, struct buf *fields)
{
	uint8_t digest[CRYPTO_SHA256_LEN];
	uint64_t events = 0;

	if (sqlite3_step(j->stmt[S_RANGE_NEXT]) == SQLITE_ROW)
		c->purge_number =
		    (uint64_t)sqlite3_column_int64(j->stmt[S_RANGE_NEXT], 0);
	(void)sqlite3_reset(j->stmt[S_RANGE_NEXT]); /* 0 is refused below */
	if (c->purge_number == 0)
		return journal_fail_sql(j, "purge number");
	/* A sealed file that cannot be read is no reason to stop recording. */
	if (digest_ranges(j, both, p, digest, &events) != 0)
		return both != NULL ? 1 : -1;
	if (put_purge(fields, p, facts, c->purge_number, events, digest) != 0)
		return journal_fail(j, "out of memory");
	if (fields->len <= LEAF_FIELDS_MAX)
		return 0;
	(void)journal_fail(j, "the purge has too many ranges for one record");
	return 1;
}

int
journal_purge(
    struct journal *j, const struct journal_purge *p, struct journal_event *out)
{
	const struct purge_rules rules = {
	    .ranges = p->ranges,
	    .count = p->count,
	    .applied = p->applied < j->size ? p->applied : j->size,
	    .signed_size = j->note_size,
	    .now = clock_now(),
	    .conf = p->conf,
	    .holds = journal_holds(j),
	    .approvals = &j->approvals,
	    .required = p->required,
	    .required_count = p->required_count,
	};
	struct change c = {.events = out, .count = 1, .purge = p};
	struct purge_facts facts;
	sqlite3 *both = NULL;
	struct buf fields;
	unsigned segment;
	int r = 1, old;

	if (!j->writable)
		return -1;
	if (rules.holds == NULL)
		return 1;
	old = journal_sealed_span(
	    j, p->ranges[0].first, p->ranges[p->count - 1].last, &segment);
	if (old > 0)
		both = journal_open_both(j, segment, p->ranges[0].first,
		    p->ranges[p->count - 1].last);
	if (old < 0 || (old > 0 && both == NULL))
		return 1;
	/* Only of the newest purge do verifiers expect that it is under way. */
	if (old == 0 && journal_finish_purge(j) != 0)
		return 1;
	purge_facts_init(&facts);
	buf_init(&fields);
	if (!purge_rules_check(both != NULL ? both : j->db, &rules, &facts,
		j->error, sizeof j->error))
		goto done;
	r = purge_fields(j, both, p, &facts, &c, &fields);
	if (r != 0)
		goto done;
	memset(out, 0, sizeof *out);
	out->kind = EVENT_PURGE;
	out->fields = buf_view(&fields);
	db_close(both);
	both = NULL;
	r = journal_commit(j, &c);
	out->fields = view_of(NULL, 0);
	if (r == 0)
		j->undone = old > 0;
done:
	db_close(both);
	buf_release(&fields);
	purge_facts_release(&facts);
	return r;
}

int
journal_recover(struct journal *j)
{
	const struct change nothing = {.count = 0};

	if (sqlite3_get_autocommit(j->db) == 0) {
		if (journal_run(j, S_ROLLBACK, "rollback") != 0)
			return -1;
	}
	j->writable = false;
	if (journal_load(j) != 0)
		return -1;
	j->writable = true;
	/* A purge that failed may have been recorded all the same. */
	j->undone = j->segment > 0;
	return journal_commit(j, &nothing);
}

int
journal_evidence(struct journal *j, const struct journal_evidence *e)
{
	const struct change c = {.evidence = e};

	return journal_commit(j, &c);
}

bool
journal_writable(const struct journal *j)
{
	return j->writable;
}

/* ---- notes ---- */

void
journal_note(struct journal *j, uint64_t size, struct view note, bool publish)
{
	buf_clear(&j->note);
	buf_put_view(&j->note, note);
	j->note_waits = !j->note.failed;
	j->note_publish = publish;
	if (j->note_waits)
		j->note_size = size;
}

int
journal_publish(struct journal *j)
{
	const char *why;
	struct note note;

	if (j->note.len == 0)
		return 0;
	if (!journal_note_holds(j, buf_view(&j->note), &note, &why))
		return journal_fail(j, "the newest note: %s", why);
	j->note_waits = j->note_publish = true;
	return 0;
}

bool
journal_publish_waits(const struct journal *j)
{
	return j->note_waits && j->note_publish;
}

bool
journal_note_waits(const struct journal *j)
{
	return j->note_waits;
}

int
journal_store_note(struct journal *j)
{
	const struct change nothing = {.count = 0};

	return journal_commit(j, &nothing);
}

uint64_t
journal_signed_size(const struct journal *j)
{
	return j->note_size;
}
