/* Leaves and their fields: what is accepted is exactly what is written. */

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "compliance/leaf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
put_again(struct buf *b, const struct leaf *leaf)
{
	struct view fields = leaf->fields, name, value;

	leaf_put_head(b, &leaf->head);
	for (unsigned i = 0; i < leaf->parts; i++)
		leaf_put_part(b, i, leaf->commitment[i]);
	while (leaf_next_field(&fields, &name, &value)) {
		char *text = view_dup(name);
		struct buf decoded;

		buf_init(&decoded);
		if (text == NULL || !text_get_token(value, &decoded))
			abort();
		leaf_put_field(b, text, buf_view(&decoded));
		buf_release(&decoded);
		free(text);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct leaf leaf;
	const char *why;
	struct buf again;

	if (!leaf_parse(view_of(data, size), &leaf, &why))
		return 0;
	buf_init(&again);
	put_again(&again, &leaf);
	if (again.len != size || memcmp(again.data, data, size) != 0)
		abort();
	buf_release(&again);
	return 0;
}
