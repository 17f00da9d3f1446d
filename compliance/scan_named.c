/* What records name, found in the tables that the tree does not cover. */

#include "compliance/scan_state.h"

#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"

static int
step(struct scan_file *f, enum scan_statement which, uint64_t n)
{
	(void)sqlite3_bind_int64(f->stmt[which], 1, (sqlite3_int64)n);
	return db_step(f->stmt[which]);
}

static struct view
column(struct scan_file *f, enum scan_statement which, int i)
{
	return view_of(sqlite3_column_blob(f->stmt[which], i),
	    (size_t)sqlite3_column_bytes(f->stmt[which], i));
}

/* The end of a step: 0, or -1. */
static int
end(struct scan *s, struct scan_file *f, enum scan_statement which, int r)
{
	(void)sqlite3_reset(f->stmt[which]); /* repeats r */
	return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : scan_fail_sql(s, f);
}

/* A file begins with the checkpoint before it, and what came for that. */
static struct scan_file *
file_of_size(struct scan *s, uint64_t size)
{
	return scan_file_of(s, size < scan_size(s) ? size : size - 1);
}

int
scan_cosigned(struct scan *s, uint64_t size, struct buf *note)
{
	struct scan_file *f;
	bool found;
	int r;

	if (size == 0)
		return 0;
	f = file_of_size(s, size);
	if (f == NULL)
		return -1;
	r = step(f, S_CHECKPOINT, size);
	found = r == SQLITE_ROW;
	if (found)
		buf_put_view(note, column(f, S_CHECKPOINT, 0));
	if (end(s, f, S_CHECKPOINT, r) != 0)
		return -1;
	if (!found)
		return 0;
	for (r = step(f, S_LINES, size); r == SQLITE_ROW;
	     r = db_step(f->stmt[S_LINES]))
		buf_put_view(note, column(f, S_LINES, 0));
	return end(s, f, S_LINES, r) == 0 ? 1 : -1;
}

static int
put_note(struct scan *s, uint64_t size)
{
	return scan_cosigned(s, size, &s->named[NAMED_NOTE]) < 0 ? -1 : 0;
}

static int
put_token(struct scan *s, uint64_t size)
{
	struct scan_file *f;
	struct view v;
	int r;

	if (put_note(s, size) != 0)
		return -1;
	if (s->named[NAMED_NOTE].len == 0)
		return 0;
	f = file_of_size(s, size);
	r = step(f, S_TOKEN, size);
	if (r == SQLITE_ROW) {
		v = column(f, S_TOKEN, 0);
		text_put_base64(&s->named[NAMED_TOKEN], v.p, v.n);
	}
	return end(s, f, S_TOKEN, r);
}

/* A beat tells a line by its hash: one of the newest of its time. */
static int
put_line(struct scan *s, uint64_t seq, struct view fields)
{
	struct scan_file *f = scan_file_of(s, seq);
	uint8_t hash[CRYPTO_SHA256_LEN], told[CRYPTO_SHA256_LEN];
	uint64_t size = 0;
	struct view text;
	int r;

	if (!leaf_field(fields, "anchor", &text) ||
	    !text_get_hex(text, told, sizeof told))
		return 0;
	if (f == NULL)
		return -1;
	for (r = step(f, S_COSIGS, seq); r == SQLITE_ROW && size == 0;) {
		struct view line = column(f, S_COSIGS, 1);

		crypto_sha256(line.p, line.n, hash);
		if (memcmp(hash, told, sizeof hash) == 0)
			size = (uint64_t)sqlite3_column_int64(
			    f->stmt[S_COSIGS], 0);
		else
			r = db_step(f->stmt[S_COSIGS]);
	}
	return end(s, f, S_COSIGS, r) == 0 ? put_note(s, size) : -1;
}

static int
put_words(struct scan *s, struct view fields)
{
	struct scan_file *f = &s->newest;
	uint64_t n;
	int r;

	if (!leaf_field_number(fields, "hold", &n))
		return 0;
	r = step(f, S_HOLD, n);
	for (int i = 0; r == SQLITE_ROW && i < 2; i++) {
		struct view v = column(f, S_HOLD, i);

		text_put_base64(&s->named[NAMED_SALT + i], v.p, v.n);
	}
	return end(s, f, S_HOLD, r);
}

static int
put_size(struct scan *s, struct view fields, const char *name)
{
	uint64_t size;

	return leaf_field_number(fields, name, &size) ? put_note(s, size) : 0;
}

/* The cosignature that the record tells of; what else there is comes along. */
static int
put_told(struct scan *s, uint64_t size, struct view fields)
{
	struct buf *note = &s->named[NAMED_NOTE];
	uint8_t hash[CRYPTO_SHA256_LEN], told[CRYPTO_SHA256_LEN];
	struct view text, line;

	if (!leaf_field(fields, "sha256", &text) ||
	    !text_get_hex(text, told, sizeof told))
		return 0;
	if (put_note(s, size) != 0)
		return -1;
	text = buf_view(note);
	while (note_next_line(&text, &line)) {
		crypto_sha256(line.p, line.n, hash);
		if (memcmp(hash, told, sizeof hash) == 0)
			return 0;
	}
	buf_clear(note);
	return 0;
}

static int
put_anchor(struct scan *s, struct view fields)
{
	struct view what, state;
	uint64_t size;

	if (!leaf_field(fields, "what", &what) ||
	    !leaf_field(fields, "state", &state) || !view_is(state, "ok") ||
	    !leaf_field_number(fields, "size", &size))
		return 0;
	if (view_is(what, "stamp"))
		return put_token(s, size);
	return view_is(what, "witness") ? put_told(s, size, fields) : 0;
}

static int
put(struct scan *s, const struct scan_record *r, struct view fields)
{
	switch (r->kind) {
	case EVENT_OPEN:
		return put_note(s, r->seq);
	case EVENT_KEY:
		return put_note(s, r->seq + 1);
	case EVENT_PURGE:
		return put_size(s, fields, "anchor");
	case EVENT_ANCHOR:
		return put_anchor(s, fields);
	case EVENT_BEAT:
		return put_line(s, r->seq, fields);
	case EVENT_HOLD:
		return put_words(s, fields);
	default:
		return 0;
	}
}

int
scan_named(struct scan *s, struct scan_record *r)
{
	struct leaf leaf;
	const char *why;

	r->named = (struct named){0};
	if (r->kind < EVENT_CONTROL || !leaf_parse(r->leaf, &leaf, &why))
		return 0;
	for (size_t i = 0; i < NAMED_COUNT; i++)
		buf_clear(&s->named[i]);
	if (put(s, r, leaf.fields) != 0)
		return -1;
	for (size_t i = 0; i < NAMED_COUNT; i++) {
		if (s->named[i].failed)
			return scan_fail(s, "out of memory");
		r->named.text[i] = buf_view(&s->named[i]);
	}
	/* Somebody else's file may hold anything there. */
	if (!text_utf8_valid(r->named.text[NAMED_NOTE]))
		r->named = (struct named){0};
	return 0;
}
