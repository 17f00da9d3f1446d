#include "compliance/add_key.h"

#include <inttypes.h>

#include "base/text.h"

#include "compliance/event.h"
#include "compliance/scan_state.h"
#include "compliance/tree.h"

static int
put_leaf(struct scan *s, uint64_t seq, struct buf *out)
{
	struct scan_record record = {.seq = 0};
	int r = scan_seek(s, seq);

	if (r == 0)
		r = scan_next(s, &record);
	if (r == 1 && record.seq == seq && record.kind == EVENT_KEY) {
		buf_put_view(out, record.leaf);
		buf_put_u8(out, '\n');
		return 0;
	}
	return r == -1
	    ? -1
	    : scan_fail(s, "record %" PRIu64 " is no key record", seq);
}

static int
put_range(struct scan *s, uint64_t seq, struct buf *out)
{
	uint8_t root[TREE_HASH_LEN];
	struct buf left, right;
	int r;

	buf_init(&left);
	buf_init(&right);
	r = scan_range_proof(s, seq, seq, seq + 1, &left, &right, root);
	for (size_t at = 0; r == 0 && at < left.len; at += TREE_HASH_LEN) {
		text_put_base64(out, left.data + at, TREE_HASH_LEN);
		buf_put_u8(out, '\n');
	}
	buf_put_u8(out, '\n');
	out->failed |= left.failed;
	buf_release(&right);
	buf_release(&left);
	return r;
}

int
add_key_put(struct scan *s, uint64_t seq, struct buf *out)
{
	int r = put_leaf(s, seq, out);

	if (r == 0)
		r = put_range(s, seq, out);
	if (r != 0)
		return r;
	r = scan_checkpoint(s, seq + 1, out);
	if (r == 0)
		r = scan_fail(s,
		    "record %" PRIu64 " does not end a stored checkpoint", seq);
	if (r == 1 && out->failed)
		r = scan_fail(s, "out of memory");
	return r == 1 ? 0 : -1;
}
