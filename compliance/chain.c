#include "compliance/chain.h"

#include <inttypes.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/leaf.h"
#include "compliance/note.h"
#include "compliance/scan.h"
#include "compliance/tree.h"

#define HEADING "chancery/keys/1\n"

/* Fields of an open or a key record. */
static int
read_record(struct scan *s, unsigned kind, uint64_t seq, struct view text,
    struct chain_epoch *out, struct buf *vkey)
{
	struct view token, next, clean;
	const char *why;
	struct leaf leaf;

	memset(out, 0, sizeof *out);
	out->seq = seq;
	if (!leaf_parse(text, &leaf, &why))
		return scan_fail(s, "record %" PRIu64 ": %s", seq, why);
	if (!leaf_field(leaf.fields, "vkey", &token) ||
	    !leaf_field(leaf.fields, "next", &next) ||
	    !text_get_hex(next, out->next, sizeof out->next) ||
	    (vkey != NULL && !text_get_token(token, vkey)) ||
	    (kind == EVENT_KEY &&
		(!leaf_field_number(leaf.fields, "epoch", &out->epoch) ||
		    !leaf_field(leaf.fields, "clean", &clean))))
		return scan_fail(
		    s, "record %" PRIu64 " tells no signing key", seq);
	if (kind == EVENT_KEY)
		out->from = seq + (view_is(clean, "yes") ? 2 : 1);
	else if (seq > 0)
		out->from = seq + 1;
	return 0;
}

/*
 * The key of epoch 0 of the name that signs: what began it tells. Without
 * record 0, nothing is announced yet.
 */
static int
find_first(
    struct scan *s, uint64_t before, struct chain_epoch *out, struct buf *vkey)
{
	struct buf text;
	int r;

	buf_init(&text);
	memset(out, 0, sizeof *out);
	r = scan_control_before(s, EVENT_RECOVER, before, &out->seq, &text);
	if (r == 0)
		r = scan_control_before(s, EVENT_OPEN, 1, &out->seq, &text);
	if (r == 1)
		r = read_record(s, out->seq == 0 ? EVENT_OPEN : EVENT_RECOVER,
		    out->seq, buf_view(&text), out, vkey);
	else if (r == 0 && vkey != NULL)
		buf_put_text(vkey, scan_meta(s, "vkey"));
	buf_release(&text);
	return r;
}

/* The newest key told before a record that may sign that size. */
static int
find_epoch(struct scan *s, uint64_t before, uint64_t size,
    struct chain_epoch *out, struct buf *vkey)
{
	size_t start = vkey == NULL ? 0 : vkey->len;
	struct chain_epoch first;
	struct buf text;
	int r = find_first(s, before, &first, NULL);

	buf_init(&text);
	while (r == 0 &&
	    (r = scan_control_before(s, EVENT_KEY, before, &out->seq, &text)) ==
		1 &&
	    out->seq > first.seq) {
		before = out->seq;
		r = read_record(
		    s, EVENT_KEY, before, buf_view(&text), out, vkey);
		if (r != 0 || out->from <= size)
			goto done;
		buf_clear(&text);
		if (vkey != NULL)
			vkey->len = start;
	}
	if (r >= 0)
		r = find_first(s, before, out, vkey);
done:
	if (r == 0 && (text.failed || (vkey != NULL && vkey->failed)))
		r = scan_fail(s, "out of memory");
	buf_release(&text);
	return r;
}

int
chain_epoch(
    struct scan *s, uint64_t size, struct chain_epoch *out, struct buf *vkey)
{
	/* A record at or above the size is of no account for it. */
	return find_epoch(s, size > 0 ? size : 1, size, out, vkey);
}

int
chain_newest(struct scan *s, struct chain_epoch *out, struct buf *vkey)
{
	return find_epoch(s, INT64_MAX, UINT64_MAX, out, vkey);
}

int
chain_genesis(struct scan *s, struct chain_epoch *out, struct buf *vkey)
{
	return find_first(s, INT64_MAX, out, vkey);
}

/* ---- the text ---- */

static void
put_hashes(struct buf *b, const char *word, const struct buf *hashes)
{
	buf_put_text(b, word);
	for (size_t at = 0; at < hashes->len; at += TREE_HASH_LEN) {
		buf_put_u8(b, ' ');
		text_put_base64(b, hashes->data + at, TREE_HASH_LEN);
	}
	buf_put_u8(b, '\n');
}

static void
put_text(struct buf *b, const char *word, const struct buf *text)
{
	buf_printf(b, "%s ", word);
	text_put_base64(b, text->data, text->len);
	buf_put_u8(b, '\n');
}

/* The record and what leads from it to the first checkpoint of `from` on. */
static int
put_block(struct scan *s, uint64_t seq, uint64_t from, const struct buf *leaf,
    struct buf *out)
{
	struct buf left, right, note;
	uint8_t root[TREE_HASH_LEN];
	uint64_t size = 0;
	int r;

	buf_init(&left);
	buf_init(&right);
	buf_init(&note);
	r = scan_checkpoint_from(s, from, &size, &note);
	if (r == 1)
		r = scan_range_proof(s, seq, seq, size, &left, &right, root);
	else if (r == 0)
		r = scan_fail(s,
		    "record %" PRIu64 " is not covered by a stored "
		    "checkpoint yet",
		    seq);
	if (r == 0) {
		put_text(out, "leaf", leaf);
		put_hashes(out, "left", &left);
		put_hashes(out, "right", &right);
		put_text(out, "note", &note);
		if (left.failed || right.failed || note.failed || out->failed)
			r = scan_fail(s, "out of memory");
	}
	buf_release(&left);
	buf_release(&right);
	buf_release(&note);
	return r;
}

static int
put_record(struct scan *s, unsigned kind, uint64_t wanted, uint64_t from,
    struct buf *out)
{
	struct buf leaf;
	uint64_t seq = 0;
	int r;

	buf_init(&leaf);
	r = scan_control_before(s, kind, wanted + 1, &seq, &leaf);
	if (r == 1)
		r = seq == wanted
		    ? put_block(s, seq, from, &leaf, out)
		    : scan_fail(
			  s, "record %" PRIu64 " is of another kind", wanted);
	else if (r == 0)
		r = scan_fail(s, "there is no such record");
	buf_release(&leaf);
	return r;
}

/*
 * Numbers of the key records, newest first, 8 bytes each, down to the epoch
 * that the chain begins with: that of the vkey, or 0.
 */
static int
list_links(struct scan *s, uint64_t size, const char *vkey, struct buf *list,
    struct chain_epoch *first)
{
	uint64_t before = size > 0 ? size : 1;
	bool found = false;
	struct buf told;
	int r;

	buf_init(&told);
	while ((r = find_epoch(s, before, size, first, &told)) == 0) {
		found = vkey != NULL && view_is(buf_view(&told), vkey);
		if (found || first->epoch == 0)
			break;
		buf_put(list, &first->seq, sizeof first->seq);
		before = first->seq;
		buf_clear(&told);
	}
	buf_release(&told);
	if (r == 0 && vkey != NULL && !found)
		r = scan_fail(
		    s, "%s is none of the keys up to this checkpoint", vkey);
	return r;
}

/* What begins the chain: its own key must have signed the checkpoint. */
static int
put_first(struct scan *s, const struct chain_epoch *first, struct buf *out)
{
	struct chain_epoch signer = {.seq = first->seq};
	uint64_t size = 0;
	struct buf note;
	int r;

	if (first->epoch == 0)
		return put_record(s,
		    first->seq == 0 ? EVENT_OPEN : EVENT_RECOVER, first->seq,
		    first->seq + 1, out);
	buf_init(&note);
	r = scan_checkpoint_from(s, first->from, &size, &note);
	if (r == 1)
		r = chain_epoch(s, size, &signer, NULL);
	buf_release(&note);
	if (r == 0 && signer.seq != first->seq)
		r = scan_fail(s,
		    "no checkpoint that the key of epoch %" PRIu64
		    " signed is stored",
		    first->epoch);
	return r != 0 ? r
		      : put_record(s, EVENT_KEY, first->seq, first->from, out);
}

int
chain_put(struct scan *s, uint64_t size, const char *vkey, struct buf *out)
{
	struct chain_epoch first;
	struct buf list;
	int r;

	buf_init(&list);
	buf_put_text(out, HEADING);
	r = list_links(s, size, vkey, &list, &first);
	if (r == 0)
		r = put_first(s, &first, out);
	for (size_t at = list.len; r == 0 && at > 0; at -= sizeof(uint64_t)) {
		uint64_t seq;

		memcpy(&seq, list.data + at - sizeof seq, sizeof seq);
		r = put_record(s, EVENT_KEY, seq, seq + 1, out);
	}
	if (r == 0 && (list.failed || out->failed))
		r = scan_fail(s, "out of memory");
	buf_release(&list);
	return r;
}
