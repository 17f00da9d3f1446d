#include "compliance/journal.h"

#include "base/text.h"

#include "compliance/event.h"
#include "compliance/leaf.h"

/* The vkey in the fields, decoded. */
static int
put_vkey(struct view fields, struct buf *vkey)
{
	struct view token;

	return leaf_field(fields, "vkey", &token) && text_get_token(token, vkey)
	    ? 0
	    : -1;
}

int
journal_key_at(struct journal *j, uint64_t size, struct buf *vkey)
{
	uint64_t before = size, since = 0, seq;
	struct buf fields;
	struct view clean;
	int r, found = -1;

	buf_init(&fields);
	r = journal_fields_before(j, EVENT_RECOVER, size, &since, &fields);
	if (r == 0)
		r = journal_fields_before(j, EVENT_OPEN, 1, &since, &fields);
	if (r == 1)
		found = put_vkey(buf_view(&fields), vkey);
	buf_clear(&fields);
	while (found == 0 &&
	    journal_fields_before(j, EVENT_KEY, before, &seq, &fields) == 1 &&
	    seq > since) {
		uint64_t from = seq + 1;

		if (leaf_field(buf_view(&fields), "clean", &clean) &&
		    view_is(clean, "yes"))
			from++;
		if (from <= size) {
			buf_clear(vkey);
			found = put_vkey(buf_view(&fields), vkey);
			break;
		}
		before = seq;
		buf_clear(&fields);
	}
	buf_release(&fields);
	return found == 0 && !vkey->failed ? 0 : -1;
}
