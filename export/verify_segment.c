#include "export/verify_segment.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "export/verify_line.h"
#include "export/verify_recover.h"
#include "export/verify_take.h"

#define UNIT 256 /* records; a file has a multiple of them */

static const struct verify_segment *
newest(const struct verify_control *c)
{
	return c->segments == 0 ? NULL : &c->segment[c->segments - 1];
}

/* Whether the journal is that of record 0, under the name that it has now. */
static bool
same_names(struct verify_control *c, const struct verify_leaf *l)
{
	const char *now =
	    c->recovers == 0 ? c->origin : c->recover[c->recovers - 1].origin;
	char *journal, *origin;
	bool same;

	if (c->journal == NULL || now == NULL)
		return true; /* record 0 is missing, and that is said */
	journal = verify_take_decoded(c, l->field[0].value);
	origin = verify_take_decoded(c, l->field[1].value);
	same = journal == NULL || origin == NULL ||
	    (strcmp(journal, c->journal) == 0 && strcmp(origin, now) == 0);
	free(journal);
	free(origin);
	return same;
}

/* The keys of a later open record are those of record 0, or of the new name. */
static bool
same_keys(struct verify_control *c, const struct verify_leaf *l)
{
	const struct verify_epochs *e = &c->epochs;
	char *vkey = verify_take_decoded(c, l->field[2].value);
	struct verify_key key;
	uint8_t next[32];
	size_t i = e->count;
	const char *why;
	bool same;

	while (i > 0 && e->epoch[--i].number > 0)
		;
	same = vkey == NULL || e->count == 0 || !e->epoch[i].told ||
	    (verify_key_parse(view_text(vkey), &key, &why) &&
		verify_key_equal(&key, &e->epoch[i].key) &&
		verify_hex(l->field[3].value, next, 32) &&
		memcmp(next, e->epoch[0].next, 32) == 0);
	free(vkey);
	return same;
}

void
verify_segment_open(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	const struct verify_segment *last = newest(c);
	const unsigned number = l->fields - 2, note = l->fields - 1;
	struct verify_segment s = {.first = l->seq};
	uint64_t n;

	if (last == NULL ? l->seq != 0
			 : !last->sealed || l->seq != last->seal + 1)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "open record is not the first, and does not follow a "
		    "seal");
	if (!verify_take_numbers(l, number, number, &n))
		return;
	if (n != c->segments)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "open record of segment %" PRIu64 ", and the next is %zu",
		    n, c->segments);
	if (!same_names(c, l) || (l->seq > 0 && !same_keys(c, l)))
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "open record is of another journal than record 0");
	if (n == 0 ? !view_is(l->field[note].value, "-")
		   : !verify_hex(l->field[note].value, s.note, 32))
		verify_take_malformed(l, note, r);
	if (verify_take_room(c, &c->segment, c->segments, sizeof(s)))
		c->segment[c->segments++] = s;
}

void
verify_segment_seal(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	uint64_t v[3]; /* segment, first, count */

	if (!verify_take_numbers(l, 0, 2, v))
		return;
	if (newest(c) == NULL || newest(c)->sealed || v[0] != c->segments - 1 ||
	    v[1] != newest(c)->first || v[2] != l->seq + 1 - v[1] ||
	    (l->seq + 1) % UNIT != 0) {
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "seal does not end the file that was opened last");
		return;
	}
	c->segment[c->segments - 1].sealed = true;
	c->segment[c->segments - 1].seal = l->seq;
}
