/*
 * Checks and stores what comes back beside the records: checkpoints with
 * their cosignatures, time-stamps, the words of holds.
 */

#include "compliance/journal_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/cosign.h"
#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/journal_import.h"
#include "compliance/note.h"

struct checkpoint {
	struct note note;
	struct buf vkey, bare;
};

/* ---- checkpoints ---- */

/* Several records may name the same: it was checked when it was stored. */
static bool
is_stored(struct journal *j, const struct checkpoint *c)
{
	struct buf row;
	bool same;

	buf_init(&row);
	same = journal_checkpoint_note(j, c->note.size, &row) == 0 &&
	    row.len == c->bare.len &&
	    memcmp(row.data, c->bare.data, row.len) == 0;
	buf_release(&row);
	return same;
}

/* 0: it is one of these records, under the key of its epoch. */
static int
check(struct journal *j, struct journal_import *in, struct view text,
    struct checkpoint *c)
{
	uint8_t root[TREE_HASH_LEN];
	struct note_vkey key;
	const char *why;

	if (!note_parse(text, &c->note, &why))
		return journal_import_refuse(in, "checkpoint: %s", why);
	if (c->note.size == 0 || c->note.size > j->tree->size)
		return journal_import_refuse(
		    in, "the checkpoint is ahead of the records");
	if (journal_root_at(j, c->note.size, root) != 0)
		return -1;
	if (memcmp(root, c->note.root, sizeof root) != 0)
		return journal_import_refuse(
		    in, "the checkpoint is not of these records");
	if (journal_key_at(j, c->note.size, &c->vkey) != 0) {
		buf_clear(&c->vkey);
		buf_put_text(&c->vkey, journal_vkey(j));
	}
	if (!note_parse_vkey(buf_view(&c->vkey), &key))
		return journal_import_refuse(
		    in, "the checkpoint's key is malformed");
	note_put_bare(&c->bare, &c->note, &key);
	if (c->bare.failed)
		return journal_fail(j, "out of memory");
	why = "it is of another journal";
	if (is_stored(j, c) ||
	    (key.name.n == c->note.origin.n &&
		memcmp(key.name.p, c->note.origin.p, key.name.n) == 0 &&
		note_verify(&c->note, &key, &why)))
		return 0;
	return journal_import_refuse(in, "the checkpoint: %s", why);
}

/* A row is never ahead of the head, so that moves along. */
static int
put_checkpoint(struct journal *j, const struct checkpoint *c)
{
	sqlite3_stmt *head = j->stmt[S_HEAD], *row = j->stmt[S_POINT_ADD];
	uint8_t root[TREE_HASH_LEN];

	tree_root(j->tree, root);
	(void)sqlite3_bind_int64(head, 1, (sqlite3_int64)j->tree->size);
	(void)sqlite3_bind_blob(head, 2, root, sizeof root, SQLITE_STATIC);
	(void)sqlite3_bind_null(head, 3);
	if (c->note.size > j->note_size) {
		(void)sqlite3_bind_blob64(
		    head, 3, c->bare.data, c->bare.len, SQLITE_STATIC);
		j->note_size = c->note.size;
	}
	(void)sqlite3_bind_int64(row, 1, (sqlite3_int64)c->note.size);
	(void)sqlite3_bind_blob64(
	    row, 2, c->bare.data, c->bare.len, SQLITE_STATIC);
	if (journal_run(j, S_HEAD, "head") != 0)
		return -1;
	return journal_run(j, S_POINT_ADD, "checkpoint");
}

/* ---- cosignatures ---- */

enum verdict { LINE_UNKNOWN, LINE_WRONG, LINE_HOLDS };

static enum verdict
judge_by(const char *vkeys, const struct cosign *c, struct view body)
{
	enum verdict v = LINE_UNKNOWN;

	for (const char *at = vkeys; *at != '\0' && v == LINE_UNKNOWN;) {
		size_t n = strcspn(at, ",");
		struct note_vkey key;

		if (cosign_parse_vkey(view_of(at, n), &key) &&
		    key.id == c->id && key.name.n == c->name.n &&
		    memcmp(key.name.p, c->name.p, key.name.n) == 0)
			v = cosign_verify(c, body, &key) ? LINE_HOLDS
							 : LINE_WRONG;
		at += n + (at[n] == ',');
	}
	return v;
}

static bool
has_row(
    struct journal *j, uint64_t size, const struct cosign *c, struct view line)
{
	sqlite3_stmt *s = j->stmt[S_COSIG_FIND];
	bool found;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)size);
	(void)sqlite3_bind_text(
	    s, 2, (const char *)c->name.p, (int)c->name.n, SQLITE_STATIC);
	(void)sqlite3_bind_blob64(s, 3, line.p, line.n, SQLITE_STATIC);
	found = sqlite3_step(s) == SQLITE_ROW;
	(void)sqlite3_reset(s); /* found tells */
	return found;
}

/* By the keys of all policy records, from the newest on. */
static enum verdict
judge(struct journal *j, const struct cosign *c, struct view body)
{
	enum verdict v = LINE_UNKNOWN;
	uint64_t seq = INT64_MAX;
	struct buf fields;

	buf_init(&fields);
	while (v == LINE_UNKNOWN &&
	    journal_fields_before(j, EVENT_POLICY, seq, &seq, &fields) == 1) {
		char *vkeys = leaf_field_dup(buf_view(&fields), "witnesses");

		if (vkeys != NULL)
			v = judge_by(vkeys, c, body);
		free(vkeys);
		buf_clear(&fields);
	}
	buf_release(&fields);
	return v;
}

/* in NULL: a line that does not hold is passed over. */
static int
put_lines(struct journal *j, struct journal_import *in, const struct note *note)
{
	struct view lines = note->signatures, line;
	struct cosign c;
	int r = 0;

	while (r == 0 && note_next_line(&lines, &line)) {
		enum verdict v = LINE_UNKNOWN;

		if (cosign_parse_line(line, &c) &&
		    !has_row(j, note->size, &c, line))
			v = judge(j, &c, note->body);
		if (v == LINE_HOLDS)
			r = journal_insert_evidence(j,
			    &(struct journal_evidence){
				note->size, c.name, c.time, line});
		else if (v == LINE_WRONG && in != NULL)
			r = journal_import_refuse(in,
			    "the cosignature of %.*s is wrong", (int)c.name.n,
			    (const char *)c.name.p);
	}
	return r;
}

/* Sealed files get none any more but that which this one begins with. */
static bool
is_here(const struct journal *j, const struct checkpoint *c)
{
	return c->note.size >= j->first;
}

int
journal_import_note(struct journal *j, struct journal_import *in,
    struct view text, bool cosigned)
{
	struct checkpoint c = {.note = {.size = 0}};
	int r = check(j, in, text, &c);

	if (r == 0 && is_here(j, &c))
		r = put_checkpoint(j, &c);
	if (r == 0 && is_here(j, &c) && cosigned)
		r = put_lines(j, NULL, &c.note);
	if (r == 1)
		in->why[0] = '\0';
	buf_release(&c.vkey);
	buf_release(&c.bare);
	return r;
}

/* ---- what a record names ---- */

static bool
is_hash(struct view bytes, const uint8_t hash[CRYPTO_SHA256_LEN])
{
	uint8_t own[CRYPTO_SHA256_LEN];

	crypto_sha256(bytes.p, bytes.n, own);
	return memcmp(own, hash, sizeof own) == 0;
}

static bool
told(const struct leaf *leaf, const char *name, uint8_t hash[CRYPTO_SHA256_LEN])
{
	struct view v;

	return leaf_field(leaf->fields, name, &v) &&
	    text_get_hex(v, hash, CRYPTO_SHA256_LEN);
}

static bool
has_line(const struct note *note, const uint8_t hash[CRYPTO_SHA256_LEN])
{
	struct view lines = note->signatures, line;

	while (note_next_line(&lines, &line))
		if (is_hash(line, hash))
			return true;
	return false;
}

/* Whether the record names a checkpoint of that size. */
static bool
is_named(const struct leaf *leaf, uint64_t size)
{
	uint64_t n;

	switch (leaf->head.kind) {
	case EVENT_OPEN:
		return size == leaf->head.seq;
	case EVENT_KEY:
		return size == leaf->head.seq + 1;
	case EVENT_PURGE:
		return leaf_field_number(leaf->fields, "anchor", &n) &&
		    size == n;
	case EVENT_ANCHOR:
		return leaf_field_number(leaf->fields, "size", &n) && size == n;
	case EVENT_BEAT:
		return true;
	default:
		return false;
	}
}

static bool
is_stamp(const struct leaf *leaf)
{
	struct view what;

	return leaf->head.kind == EVENT_ANCHOR &&
	    leaf_field(leaf->fields, "what", &what) && view_is(what, "stamp");
}

/* NULL, or what the record tells otherwise. */
static const char *
contradiction(const struct leaf *leaf, const struct checkpoint *c)
{
	uint8_t hash[CRYPTO_SHA256_LEN];

	if (!is_named(leaf, c->note.size))
		return "it names another checkpoint";
	if (leaf->head.kind == EVENT_OPEN &&
	    (!told(leaf, "note", hash) || !is_hash(buf_view(&c->bare), hash)))
		return "it names another checkpoint";
	if (leaf->head.kind == EVENT_BEAT &&
	    (!told(leaf, "anchor", hash) || !has_line(&c->note, hash)))
		return "it names another cosignature";
	if (leaf->head.kind == EVENT_ANCHOR && !is_stamp(leaf) &&
	    (!told(leaf, "sha256", hash) || !has_line(&c->note, hash)))
		return "it names another cosignature";
	return NULL;
}

static int
put_token(struct journal *j, struct journal_import *in, const struct leaf *leaf,
    const struct checkpoint *c, struct view text)
{
	struct journal_evidence e = {.size = c->note.size};
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct buf token;
	int r = 0;

	buf_init(&token);
	if (!is_stamp(leaf) || !text_get_base64(text, &token) ||
	    !told(leaf, "sha256", hash) || !is_hash(buf_view(&token), hash))
		r = journal_import_refuse(in, "it names another time-stamp");
	crypto_sha256(c->bare.data, c->bare.len, hash);
	if (r == 0 &&
	    (memmem(token.data, token.len, hash, sizeof hash) == NULL ||
		!leaf_field_number(leaf->fields, "time", &e.at)))
		r = journal_import_refuse(
		    in, "its time-stamp is of another checkpoint");
	e.bytes = buf_view(&token);
	if (r == 0)
		r = journal_insert_evidence(j, &e);
	buf_release(&token);
	return r;
}

static int
put_note(struct journal *j, struct journal_import *in, const struct leaf *leaf,
    const struct named *n)
{
	struct checkpoint c = {.note = {.size = 0}};
	int r = check(j, in, n->text[NAMED_NOTE], &c);
	const char *why = r == 0 ? contradiction(leaf, &c) : NULL;

	if (why != NULL)
		r = journal_import_refuse(in, "%s", why);
	if (r == 0 && is_here(j, &c))
		r = put_checkpoint(j, &c);
	if (r == 0 && is_here(j, &c))
		r = put_lines(j, in, &c.note);
	if (r == 0 && is_here(j, &c) && n->text[NAMED_TOKEN].n > 0)
		r = put_token(j, in, leaf, &c, n->text[NAMED_TOKEN]);
	buf_release(&c.vkey);
	buf_release(&c.bare);
	return r;
}

int
journal_import_named(struct journal *j, struct journal_import *in,
    const struct leaf *leaf, const struct named *n)
{
	return n->text[NAMED_NOTE].n > 0 ? put_note(j, in, leaf, n) : 0;
}

int
journal_import_hold(struct journal *j, struct journal_import *in,
    const struct leaf *leaf, const struct named *n)
{
	uint8_t want[CRYPTO_SHA256_LEN], got[CRYPTO_SHA256_LEN];
	struct journal_hold_words words = {.salted = false};
	struct buf selector;
	struct view v;
	int r = 0;

	buf_init(&selector);
	if (n->text[NAMED_SELECTOR].n > 0) {
		words.salted = text_get_base64_fixed(n->text[NAMED_SALT],
				   words.salt, sizeof words.salt) &&
		    text_get_base64(n->text[NAMED_SELECTOR], &selector);
		words.selector = buf_view(&selector);
		leaf_commit(words.salt, words.selector, got);
		if (!words.salted ||
		    !leaf_field(leaf->fields, "selector", &v) ||
		    !text_get_base64_fixed(v, want, sizeof want) ||
		    memcmp(got, want, sizeof got) != 0)
			r = journal_import_refuse(in,
			    "the words of the hold are not those "
			    "that it commits to");
	}
	if (r == 0)
		r = journal_put_hold(j, leaf->fields, leaf->head.seq, &words);
	buf_release(&selector);
	return r;
}
