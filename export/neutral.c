#include "export/neutral.h"

/* The code point at v and its length; 0 when the bytes are not UTF-8. */
static size_t
code_point(struct view v, uint32_t *out)
{
	size_t n;

	if (v.p[0] < 0x80) {
		*out = v.p[0];
		return 1;
	}
	n = v.p[0] < 0xc2   ? 0
	    : v.p[0] < 0xe0 ? 2
	    : v.p[0] < 0xf0 ? 3
	    : v.p[0] < 0xf5 ? 4
			    : 0;
	if (n == 0 || n > v.n)
		return 0;
	*out = v.p[0] & (0xffU >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((v.p[i] & 0xc0) != 0x80)
			return 0;
		*out = (*out << 6) | (v.p[i] & 0x3fU);
	}
	if ((n == 3 && *out < 0x800) || (n == 4 && *out < 0x10000) ||
	    (*out >= 0xd800 && *out < 0xe000) || *out > 0x10ffff)
		return 0;
	return n;
}

static bool
harmful(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} range[] = {
	    {0x00, 0x1f}, {0x7f, 0x9f},
	    {0x061c, 0x061c}, /* Arabic letter mark */
	    {0x200b, 0x200f}, /* zero width, directional marks */
	    {0x2028, 0x202e}, /* separators, embeddings, overrides */
	    {0x2060, 0x206f}, /* isolates and other invisible controls */
	    {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}, /* tags */
	};

	for (size_t i = 0; i < sizeof(range) / sizeof(range[0]); i++)
		if (c >= range[i].first && c <= range[i].last)
			return true;
	return false;
}

void
neutral_put(struct buf *b, struct view v)
{
	while (v.n > 0) {
		uint32_t c = 0;
		size_t n = code_point(v, &c);

		if (n == 0) {
			buf_printf(b, "\\x%02x", v.p[0]);
			n = 1;
		} else if (harmful(c)) {
			buf_printf(b, "\\u%04x", c);
		} else {
			buf_put(b, v.p, n);
		}
		v.p += n;
		v.n -= n;
	}
}
