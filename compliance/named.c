#include "compliance/named.h"

#include "base/text.h"

const char *const named_name[NAMED_COUNT] = {
    [NAMED_NOTE] = "note",
    [NAMED_TOKEN] = "token",
    [NAMED_SALT] = "salt",
    [NAMED_SELECTOR] = "selector",
};

void
named_put_json(struct buf *b, const struct named *n)
{
	for (unsigned i = 0; i < NAMED_COUNT; i++) {
		if (n->text[i].n == 0)
			continue;
		buf_printf(b, ",\"%s\":", named_name[i]);
		text_put_json(b, n->text[i]);
	}
}
