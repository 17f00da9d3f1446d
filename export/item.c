#include "export/item.h"

#include <stdio.h>
#include <string.h>

#include "compliance/event.h"

static json_t *
parse(struct view data)
{
	return json_loadb((const char *)data.p, data.n,
	    JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
}

/* What follows the second line of a leaf. */
static struct view
after_head(struct view leaf)
{
	for (int lines = 0; lines < 2 && leaf.n > 0; lines++) {
		const uint8_t *end = memchr(leaf.p, '\n', leaf.n);

		if (end == NULL)
			return view_of(leaf.p, 0);
		leaf = view_of(end + 1, leaf.n - (size_t)(end - leaf.p) - 1);
	}
	return leaf;
}

void
item_load(struct item *i, const struct scan_record *record)
{
	i->record = record;
	i->envelope = i->content = NULL;
	i->fields = view_of(record->leaf.p, 0);
	i->kind = event_name(record->kind);
	if (i->kind == NULL) {
		(void)snprintf(
		    i->kind_text, sizeof(i->kind_text), "%u", record->kind);
		i->kind = i->kind_text;
	}
	if (record->kind >= EVENT_CONTROL)
		i->fields = after_head(record->leaf);
	if (record->purged || record->parts == 0)
		return;
	i->envelope = parse(record->part[0].data);
	if (record->parts > 1)
		i->content = parse(record->part[1].data);
}

void
item_release(struct item *i)
{
	json_decref(i->envelope);
	json_decref(i->content);
}

static struct view
string_of(const json_t *s)
{
	if (!json_is_string(s))
		return view_text("");
	return view_of(json_string_value(s), json_string_length(s));
}

struct view
item_field(const struct item *i, const char *name)
{
	return string_of(json_object_get(i->envelope, name));
}

json_int_t
item_number(const struct item *i, const char *name)
{
	const json_t *n = json_object_get(i->envelope, name);

	return json_is_integer(n) ? json_integer_value(n) : -1;
}

struct view
item_text(const struct item *i)
{
	return string_of(json_object_get(i->content, "text"));
}
