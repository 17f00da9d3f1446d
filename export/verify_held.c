#include "export/verify_held.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

struct held {
	const struct verify_control *control;
	struct verify_report *r;
	uint64_t next; /* records before it were in an earlier archive */
	size_t span;   /* first that does not lie behind */
	/* Records in a row purged against the same hold; NULL: none. */
	const struct verify_hold *hold;
	const struct verify_purge *purge;
	uint64_t first, last;
};

static bool
in_force(const struct verify_hold *h, const struct verify_purge *p)
{
	return !p->later && h->seq < p->seq &&
	    (h->released == 0 || h->released > p->seq);
}

/* Whether a string is the user's URI, or begins with it and a space. */
static bool
is_user(const json_t *string, const char *user)
{
	size_t n = strlen(user), length = json_string_length(string);
	const char *text = json_string_value(string);

	return length >= n && strncasecmp(text, user, n) == 0 &&
	    (length == n || text[n] == ' ');
}

/* Payloads that are not nested deeper than their form allows. */
static bool
names_user(json_t *value, const char *user)
{
	const char *name;
	json_t *member;
	size_t i;

	if (json_is_string(value))
		return is_user(value, user);
	json_array_foreach(
	    value, i, member) if (names_user(member, user)) return true;
	json_object_foreach(
	    value, name, member) if (names_user(member, user)) return true;
	return false;
}

/* An envelope that cannot be read may be of any room and user. */
static bool
keeps(const struct verify_hold *h, uint64_t at, json_t *envelope)
{
	const char *room = json_string_value(json_object_get(envelope, "room"));

	if (!h->known || at < h->from || (h->until != 0 && at >= h->until))
		return false;
	return envelope == NULL ||
	    ((h->room == NULL ||
		 (room != NULL && strcasecmp(room, h->room) == 0)) &&
		(h->user == NULL || names_user(envelope, h->user)));
}

static uint64_t
number(const struct held *x, const struct verify_hold *h)
{
	return (uint64_t)(h - x->control->hold) + 1;
}

static void
close_run(struct held *x)
{
	if (x->hold != NULL)
		verify_report_finding(x->r, VERIFY_PURGES,
		    verify_at_range(x->first, x->last),
		    "removed by purge %" PRIu64 " (record %" PRIu64
		    "), while hold %" PRIu64 " (record %" PRIu64
		    ") was in force, which keeps it",
		    x->purge->n, x->purge->seq, number(x, x->hold),
		    x->hold->seq);
	x->hold = NULL;
}

static void
add(struct held *x, uint64_t seq, const struct verify_hold *hold,
    const struct verify_purge *purge)
{
	if (x->hold != hold || x->purge != purge || x->last + 1 != seq) {
		close_run(x);
		x->hold = hold;
		x->purge = purge;
		x->first = seq;
	}
	x->last = seq;
}

static void
take_record(void *arg, const struct verify_archived *rec)
{
	struct held *x = arg;
	const struct verify_control *c = x->control;
	const struct verify_span *span;
	const struct verify_purge *purge;
	json_t *envelope;
	size_t i = 0;

	if (rec->seq < x->next || rec->envelope.n == 0)
		return;
	span = verify_control_span(c, &x->span, rec->seq);
	if (span == NULL)
		return;
	purge = &c->purge[span->purge];
	verify_report_count(x->r, VERIFY_PURGES, 1);
	envelope = json_loadb((const char *)rec->envelope.p, rec->envelope.n,
	    JSON_ALLOW_NUL, NULL);
	while (i < c->holds &&
	    !(in_force(&c->hold[i], purge) &&
		keeps(&c->hold[i], rec->at, envelope)))
		i++;
	if (i < c->holds)
		add(x, rec->seq, &c->hold[i], purge);
	json_decref(envelope);
}

/* Whether a hold of known content was in force at the purge. */
static bool
was_held(const struct verify_control *c, const struct verify_purge *p)
{
	for (size_t i = 0; i < c->holds; i++)
		if (c->hold[i].known && in_force(&c->hold[i], p))
			return true;
	return false;
}

/* Whether a record of the archive may have been purged against a hold. */
static bool
concerns(const struct held *x, const struct verify_archive *a)
{
	const struct verify_control *c = x->control;
	size_t i = x->span;

	while (i < c->spans && c->span[i].last < a->first)
		i++;
	for (; i < c->spans && c->span[i].first <= a->last; i++)
		if (c->span[i].last >= x->next &&
		    was_held(c, &c->purge[c->span[i].purge]))
			return true;
	return false;
}

static void
say_unknown(const struct held *x)
{
	const struct verify_control *c = x->control;

	for (size_t i = 0; i < c->holds; i++) {
		const struct verify_hold *h = &c->hold[i];
		uint64_t purges = 0, first = 0;

		for (size_t k = 0; !h->known && k < c->purges; k++)
			if (in_force(h, &c->purge[k]) && purges++ == 0)
				first = c->purge[k].seq;
		if (purges > 0)
			verify_report_note(x->r,
			    "what hold %" PRIu64 " (record %" PRIu64
			    ") selects is not known: whether the %" PRIu64
			    " purges while it was in force, the first in "
			    "record %" PRIu64 ", heeded it cannot be checked",
			    number(x, h), h->seq, purges, first);
	}
}

void
verify_held_say(const struct verify_control *c, struct verify_report *r)
{
	uint64_t purges = 0, first = 0;

	for (size_t i = 0; i < c->purges; i++)
		if (was_held(c, &c->purge[i]) && purges++ == 0)
			first = c->purge[i].seq;
	if (purges > 0)
		verify_report_note(r,
		    "%" PRIu64 " purges while holds were in force, the first "
		    "in record %" PRIu64 ": whether they heeded these, the "
		    "archives of the records show",
		    purges, first);
}

void
verify_held(const struct verify_control *c,
    const struct verify_archive *const *archives, size_t count,
    struct verify_report *r)
{
	struct held x = {.control = c, .r = r};

	for (size_t i = 0; i < count; i++) {
		const struct verify_archive *a = archives[i];

		if (concerns(&x, a) && !verify_archive_each(a, take_record, &x))
			verify_archive_lost(a, r);
		if (a->last >= x.next)
			x.next = a->last + 1;
	}
	close_run(&x);
	say_unknown(&x);
}
