#include "compliance/ranges.h"

#include <string.h>

bool
ranges_valid(const struct range *r, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (r[i].last < r[i].first || r[i].last > INT64_MAX ||
		    (i > 0 && r[i].first < r[i - 1].last + 2))
			return false;
	return count > 0;
}

void
ranges_put(struct buf *b, const struct range *r, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_put_u8(b, ',');
		buf_put_decimal(b, r[i].first);
		if (r[i].last == r[i].first)
			continue;
		buf_put_u8(b, '-');
		buf_put_decimal(b, r[i].last);
	}
}

bool
ranges_next(struct view *text, struct range *out)
{
	const uint8_t *comma = memchr(text->p, ',', text->n);
	size_t n = comma != NULL ? (size_t)(comma - text->p) : text->n;
	const uint8_t *dash = n > 0 ? memchr(text->p, '-', n) : NULL;
	struct view first = view_of(text->p, n), last = first;

	if (n == 0 || (comma != NULL && n + 1 == text->n))
		return false;
	if (dash != NULL) {
		first.n = (size_t)(dash - text->p);
		last = view_of(dash + 1, n - first.n - 1);
	}
	if (!view_to_u64(first, &out->first) ||
	    !view_to_u64(last, &out->last) || out->last > INT64_MAX ||
	    (dash != NULL && out->last <= out->first))
		return false;
	if (comma != NULL)
		n++;
	*text = view_of(text->p + n, text->n - n);
	return true;
}
