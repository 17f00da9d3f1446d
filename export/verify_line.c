#include "export/verify_line.h"

#include <string.h>

#include "base/text.h"

bool
verify_line(struct view *rest, struct view *line)
{
	const uint8_t *end;

	if (rest->n == 0)
		return false;
	end = memchr(rest->p, '\n', rest->n);
	if (end == NULL)
		return false;
	*line = view_of(rest->p, (size_t)(end - rest->p));
	*rest = view_of(end + 1, rest->n - line->n - 1);
	return true;
}

bool
verify_hex(struct view text, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] >= 'A' && text.p[i] <= 'F')
			return false;
	return text_get_hex(text, out, n);
}
