#include "compliance/batch.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#include "compliance/chain.h"
#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"

/*
 * The traces of archiving itself make no batch: else each batch would be the
 * cause of the next one. They travel with what comes after them.
 */
static bool
is_worth_a_batch(unsigned kind)
{
	return kind != EVENT_BATCH && kind != EVENT_ACK && kind != EVENT_BEAT &&
	    kind != EVENT_PURGE && kind != EVENT_ANCHOR && kind != EVENT_KEY;
}

/* First such record in [from, end), or end; UINT64_MAX: cannot be read. */
static uint64_t
find_worthy(struct scan *s, uint64_t from, uint64_t end)
{
	struct scan_record r;
	int got;

	if (from >= end)
		return end;
	if (scan_seek(s, from) != 0)
		return UINT64_MAX;
	while ((got = scan_next(s, &r)) == 1 && r.seq < end)
		if (is_worth_a_batch(r.kind))
			return r.seq;
	return got < 0 ? UINT64_MAX : end;
}

/* The newest note, checked against the tree. 1; 0: none yet; -1. */
static int
newest_note(struct scan *s, struct buf *text, struct note *out, char *why,
    size_t why_len)
{
	const char *reason;
	uint64_t size;

	buf_clear(text);
	if (scan_note(s, &size, text) != 0) {
		(void)snprintf(why, why_len, "%s", scan_error(s));
		return -1;
	}
	if (text->len == 0 || size == 0)
		return 0;
	if (!note_parse(buf_view(text), out, &reason)) {
		(void)snprintf(why, why_len, "newest note: %s", reason);
		return -1;
	}
	if (out->size != size) {
		(void)snprintf(why, why_len, "newest note: another size");
		return -1;
	}
	return 1;
}

enum batch_plan
batch_plan(struct scan *s, const char *adapter, unsigned max, uint64_t *looked,
    struct batch *out, char *why, size_t why_len)
{
	struct scan_cursor cursor;
	struct buf text;
	struct note note;
	int got;

	memset(out, 0, sizeof *out);
	if (scan_cursor(s, adapter, &cursor) != 0) {
		(void)snprintf(why, why_len, "%s", scan_error(s));
		return BATCH_FAILED;
	}
	if (cursor.open_n != 0) {
		out->n = cursor.open_n;
		out->first = cursor.open_first;
		out->last = cursor.open_last;
		return BATCH_OPEN;
	}
	buf_init(&text);
	got = newest_note(s, &text, &note, why, why_len);
	if (got == 1) {
		out->size = note.size;
		memcpy(out->root, note.root, sizeof out->root);
	}
	buf_release(&text);
	if (got != 1)
		return got == 0 ? BATCH_NOTHING : BATCH_FAILED;
	if (*looked < cursor.next)
		*looked = cursor.next;
	*looked = find_worthy(s, *looked, out->size);
	if (*looked == UINT64_MAX) {
		*looked = cursor.next;
		(void)snprintf(why, why_len, "%s", scan_error(s));
		return BATCH_FAILED;
	}
	if (*looked >= out->size)
		return BATCH_NOTHING;
	out->n = cursor.acked_n + 1;
	out->first = cursor.next;
	out->last = out->size - cursor.next > max ? cursor.next + max - 1
						  : out->size - 1;
	return BATCH_NEW;
}

static void
put_base64_field(struct buf *b, const char *name, const uint8_t hash[32])
{
	buf_put_text(b, name);
	buf_put_u8(b, ' ');
	text_put_base64(b, hash, 32);
	buf_put_u8(b, '\n');
}

void
batch_put_fields(struct buf *b, const struct batch *batch, const char *adapter)
{
	leaf_put_field(b, "adapter", view_text(adapter));
	leaf_put_number(b, "batch", batch->n);
	leaf_put_number(b, "first", batch->first);
	leaf_put_number(b, "last", batch->last);
	leaf_put_number(b, "count", batch->last - batch->first + 1);
	leaf_put_number(b, "size", batch->size);
	put_base64_field(b, "root", batch->root);
}

void
batch_put_ack(struct buf *b, const struct batch *batch, const char *adapter,
    const struct adapter_says *receipt, bool read_back)
{
	struct view none = view_text("-");

	leaf_put_field(b, "adapter", view_text(adapter));
	leaf_put_number(b, "batch", batch->n);
	leaf_put_number(b, "first", batch->first);
	leaf_put_number(b, "last", batch->last);
	leaf_put_field(
	    b, "state", view_text(adapter_promise_name(receipt->promise)));
	leaf_put_field(
	    b, "location", receipt->location.n > 0 ? receipt->location : none);
	buf_put_text(b, "sha256 ");
	if (receipt->hashed)
		text_put_hex(b, receipt->sha256, sizeof receipt->sha256);
	else
		buf_put_view(b, none);
	buf_put_u8(b, '\n');
	leaf_put_number(b, "bytes", receipt->bytes);
	leaf_put_field(b, "readback", view_text(read_back ? "yes" : "no"));
}

static void
put_member(struct buf *b, const char *name, uint64_t value)
{
	buf_put_text(b, name);
	buf_put_decimal(b, value);
}

static void
put_hashes(struct buf *b, const char *name, const struct buf *hashes)
{
	buf_put_text(b, name);
	for (size_t at = 0; at + 32 <= hashes->len; at += 32) {
		buf_put_text(b, at > 0 ? ",\"" : "\"");
		text_put_base64(b, hashes->data + at, 32);
		buf_put_u8(b, '"');
	}
	buf_put_u8(b, ']');
}

static void
put_begin(struct buf *b, const struct batch *batch, const char *adapter,
    struct view note, const struct note *parsed, const struct buf *vkey,
    const struct buf sides[2])
{
	struct buf id;

	buf_init(&id);
	buf_put_view(&id, parsed->origin);
	buf_printf(&id, "/%s/", adapter);
	buf_put_decimal(&id, batch->n);
	put_member(b, "{\"type\":\"batch\",\"batch\":", batch->n);
	buf_put_text(b, ",\"id\":");
	text_put_json(b, buf_view(&id));
	b->failed |= id.failed;
	buf_release(&id);
	put_member(b, ",\"first\":", batch->first);
	put_member(b, ",\"last\":", batch->last);
	put_member(b, ",\"count\":", batch->last - batch->first + 1);
	put_member(b, ",\"size\":", batch->size);
	buf_put_text(b, ",\"root\":\"");
	text_put_base64(b, batch->root, 32);
	buf_put_text(b, "\",\"vkey\":");
	text_put_json(b, buf_view(vkey));
	buf_put_text(b, ",\"note\":");
	text_put_json(b, note);
	put_hashes(b, ",\"left\":[", &sides[0]);
	put_hashes(b, ",\"right\":[", &sides[1]);
	buf_put_text(b, "}\n");
}

int
batch_put_begin(struct buf *b, struct scan *s, struct batch *batch,
    const char *adapter, char *why, size_t why_len)
{
	struct chain_epoch epoch;
	struct buf text, vkey, sides[2];
	struct note note;
	uint8_t root[32];
	int result = -1;
	int got;

	buf_init(&text);
	buf_init(&vkey);
	buf_init(&sides[0]);
	buf_init(&sides[1]);
	got = newest_note(s, &text, &note, why, why_len);
	if (got < 0)
		goto done;
	if (got == 0 || note.size <= batch->last) {
		result = 1;
		goto done;
	}
	if (scan_range_proof(s, batch->first, batch->last, note.size, &sides[0],
		&sides[1], root) != 0 ||
	    chain_epoch(s, note.size, &epoch, &vkey) != 0) {
		(void)snprintf(why, why_len, "%s", scan_error(s));
		goto done;
	}
	if (memcmp(root, note.root, sizeof root) != 0) {
		(void)snprintf(why, why_len,
		    "the journal does not give the root that was signed");
		goto done;
	}
	batch->size = note.size;
	memcpy(batch->root, root, sizeof root);
	put_begin(b, batch, adapter, buf_view(&text), &note, &vkey, sides);
	b->failed |= vkey.failed || sides[0].failed || sides[1].failed;
	result = 0;
done:
	buf_release(&text);
	buf_release(&vkey);
	buf_release(&sides[0]);
	buf_release(&sides[1]);
	return result;
}

void
batch_put_event(struct buf *b, const struct scan_record *r)
{
	put_member(b, "{\"type\":\"event\",\"seq\":", r->seq);
	put_member(b, ",\"kind\":", r->kind);
	buf_put_text(b, ",\"leaf\":");
	text_put_json(b, r->leaf);
	buf_put_text(b, ",\"parts\":[");
	for (unsigned i = 0; !r->purged && i < r->parts; i++) {
		buf_put_text(b, i > 0 ? ",{\"salt\":\"" : "{\"salt\":\"");
		text_put_base64(b, r->part[i].salt.p, r->part[i].salt.n);
		buf_put_text(b, "\",\"data\":");
		text_put_json(b, r->part[i].data);
		buf_put_u8(b, '}');
	}
	buf_put_text(b, r->purged ? "],\"purged\":true" : "]");
	named_put_json(b, &r->named);
	buf_put_text(b, "}\n");
}

void
batch_put_end(struct buf *b, const struct batch *batch)
{
	put_member(b, "{\"type\":\"end\",\"batch\":", batch->n);
	buf_put_text(b, "}\n");
}

void
batch_put_readback(
    struct buf *b, const struct batch *batch, struct view location)
{
	put_member(b, "{\"type\":\"readback\",\"batch\":", batch->n);
	put_member(b, ",\"first\":", batch->first);
	put_member(b, ",\"last\":", batch->last);
	buf_put_text(b, ",\"location\":");
	text_put_json(b, location);
	buf_put_text(b, "}\n");
}

static bool
same(struct view a, struct view b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

const char *
batch_compare(const struct scan_record *r, const struct adapter_says *event)
{
	struct leaf leaf;
	const char *why;

	if (event->seq != r->seq)
		return "read back out of order";
	if (event->kind != r->kind || !same(event->leaf, r->leaf))
		return "what was read back has another leaf";
	if (!leaf_parse(r->leaf, &leaf, &why))
		return "the journal's leaf is malformed";
	/* Purged here, it may still be whole there. */
	if (event->parts != leaf.parts && !(r->purged && event->parts == 0))
		return "what was read back has not all parts";
	for (unsigned i = 0; i < event->parts; i++) {
		const struct adapter_part_said *p = &event->part[i];
		uint8_t commitment[32];

		leaf_commit(p->salt, p->data, commitment);
		if (memcmp(commitment, leaf.commitment[i], 32) != 0)
			return "what was read back breaks its commitment";
		if (!r->purged &&
		    (!same(view_of(p->salt, sizeof p->salt), r->part[i].salt) ||
			!same(p->data, r->part[i].data)))
			return "what was read back has another part";
	}
	return NULL;
}
