#include "export/select.h"

#include <string.h>

#include "compliance/event.h"

static bool
same(struct view v, const char *s)
{
	return view_is_nocase(v, s);
}

/* What follows the last slash. */
static struct view
last_piece(struct view uri)
{
	for (size_t i = uri.n; i > 0; i--)
		if (uri.p[i - 1] == '/')
			return view_of(uri.p + i, uri.n - i);
	return uri;
}

static bool
in_room(const struct item *i, const char *wanted)
{
	struct view uri = item_field(i, "room");

	return uri.n > 0 &&
	    (same(uri, wanted) || same(last_piece(uri), wanted) ||
		same(item_field(i, "roomname"), wanted));
}

static struct view
without_scheme(struct view uri)
{
	if (uri.n >= 4 && view_is_nocase(view_of(uri.p, 4), "sip:"))
		return view_of(uri.p + 4, uri.n - 4);
	return uri;
}

static bool
is_user(struct view uri, const char *wanted)
{
	struct view w = without_scheme(view_text(wanted));

	return uri.n > 0 &&
	    view_is_nocase(without_scheme(uri), (const char *)w.p);
}

/* "user device" entries of a list of a delivery record. */
static bool
in_list(const json_t *list, const char *wanted)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *text = json_string_value(entry);

		if (text != NULL &&
		    is_user(view_of(text, strcspn(text, " ")), wanted))
			return true;
	}
	return false;
}

static bool
in_sets(const json_t *sets, const char *wanted)
{
	const json_t *set;
	size_t i;

	json_array_foreach(sets, i, set)
	{
		if (in_list(json_object_get(set, "to"), wanted))
			return true;
	}
	return false;
}

static bool
by_user(const struct item *i, const char *wanted)
{
	return is_user(item_field(i, "user"), wanted) ||
	    in_sets(json_object_get(i->envelope, "sets"), wanted) ||
	    in_sets(json_object_get(i->envelope, "failed"), wanted);
}

enum select_verdict
select_item(const struct select *s, const struct item *i)
{
	const struct scan_record *r = i->record;

	if (r->at < s->since || r->at >= s->until ||
	    (s->kind != 0 && r->kind != s->kind))
		return SELECT_NO;
	if (s->room == NULL && s->user == NULL)
		return SELECT_YES;
	if (r->kind >= EVENT_CONTROL)
		return SELECT_NO;
	if (r->purged)
		return SELECT_UNKNOWN;
	if ((s->room != NULL && !in_room(i, s->room)) ||
	    (s->user != NULL && !by_user(i, s->user)))
		return SELECT_NO;
	return SELECT_YES;
}
