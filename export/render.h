#ifndef EXPORT_RENDER_H
#define EXPORT_RENDER_H

/*
 * The forms an export can take. A renderer appends to a buffer that the
 * caller empties after each call, so memory does not grow with the export.
 */

#include <stdbool.h>

#include "base/buf.h"

#include "export/item.h"

struct render {
	const char *name;
	/* What it keeps between calls; NULL when out of memory. */
	void *(*begin)(struct buf *out, const char *origin);
	void (*record)(void *self, struct buf *out, const struct item *i);
	/* Ends the text and releases self; false when something failed. */
	bool (*end)(void *self, struct buf *out);
};

extern const struct render render_jsonl, render_csv, render_xml, render_text;

/* By name; NULL when there is none. */
const struct render *render_find(const char *name);

#endif
