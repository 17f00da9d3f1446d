#ifndef EXPORT_ITEM_H
#define EXPORT_ITEM_H

/*
 * A journal record with its payload parsed, as selection and renderers see
 * it.
 */

#include <jansson.h>

#include "compliance/scan.h"

struct item {
	const struct scan_record *record;
	const char *kind;   /* "post", ... or its number */
	json_t *envelope;   /* part 0; NULL: control, purged or unreadable */
	json_t *content;    /* part 1; NULL likewise */
	struct view fields; /* of a control record: "name value\n"* */
	char kind_text[16];
};

/*
 * Borrows the record; a payload that is no JSON leaves NULL. Release ends it.
 */
void item_load(struct item *i, const struct scan_record *record);
void item_release(struct item *i);
/* A string member of the envelope; empty when there is none. */
struct view item_field(const struct item *i, const char *name);
/* A number member of the envelope; -1 when there is none. */
json_int_t item_number(const struct item *i, const char *name);
/* The text of a post; empty when there is none. */
struct view item_text(const struct item *i);

#endif
