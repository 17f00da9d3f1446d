#include "export/verify_purged.h"

#include <inttypes.h>
#include <string.h>

#include "base/crypto.h"

#include "export/verify_purge.h"
#include "export/verify_values.h"

struct search {
	const struct verify_control *control; /* with this purge alone */
	struct verify_report *r;
	size_t span;   /* that is looked for, */
	uint64_t next; /* and its record */
	bool gaps;
	struct crypto_hash *leaves;
	uint64_t events;
};

/* The records before `until`, or of all ranges, are in none. */
static void
skip_to(struct search *s, uint64_t until)
{
	const struct verify_control *c = s->control;

	while (s->span < c->spans && s->next < until) {
		const struct verify_span *span = &c->span[s->span];
		uint64_t end = span->last < until ? span->last + 1 : until;

		if (s->next < span->first)
			s->next = span->first;
		if (s->next < end) {
			s->gaps = true;
			verify_report_finding(s->r, VERIFY_COVERAGE,
			    verify_at_range(s->next, end - 1),
			    "purged, and in none of the archives given");
			s->next = end;
		}
		if (span->last >= until)
			return;
		s->span++;
	}
}

static void
take_record(void *arg, const struct verify_archived *rec)
{
	struct search *s = arg;
	size_t at = s->span;
	uint8_t hash[32];

	if (rec->seq < s->next ||
	    verify_control_span(s->control, &at, rec->seq) == NULL)
		return;
	skip_to(s, rec->seq);
	s->span = at;
	s->next = rec->seq + 1;
	verify_leaf_hash(rec->leaf, hash);
	crypto_hash_add(s->leaves, hash, 32);
	s->events += rec->envelope.n > 0;
}

static void
compare(struct search *s, const struct verify_purge *p)
{
	uint8_t digest[32];

	verify_report_count(s->r, VERIFY_PURGES, 1);
	crypto_hash_get(s->leaves, digest);
	if (memcmp(digest, p->leaves, 32) != 0)
		verify_report_finding(s->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge digest is not that of the leaves in the archives");
	if (s->events != p->count)
		verify_report_finding(s->r, VERIFY_PURGES, verify_at(p->seq),
		    "purge says %" PRIu64 " events, the archives have %" PRIu64,
		    p->count, s->events);
}

void
verify_purged(const struct verify_leaf *purge,
    const struct verify_archive *const *archives, size_t count,
    struct verify_report *r)
{
	struct verify_control control = {.from = 0};
	struct search s = {.control = &control, .r = r};
	const struct verify_purge *p;

	if (!verify_values(purge, VERIFY_CONTROL, r) ||
	    !verify_purge_read(&control, purge, r) ||
	    control.purge[0].spans == 0)
		goto done; /* said */
	s.leaves = crypto_hash_new();
	if (s.leaves == NULL) {
		verify_report_failure(r, "out of memory");
		goto done;
	}
	p = &control.purge[0];
	for (size_t i = 0; i < control.spans; i++)
		verify_report_count(r, VERIFY_COVERAGE,
		    control.span[i].last - control.span[i].first + 1);
	for (size_t i = 0; i < count; i++)
		if (archives[i]->first <= p->last &&
		    archives[i]->last >= s.next &&
		    !verify_archive_each(archives[i], take_record, &s))
			verify_archive_lost(archives[i], r);
	skip_to(&s, UINT64_MAX);
	if (!s.gaps)
		compare(&s, p);
done:
	crypto_hash_free(s.leaves);
	verify_purge_release(&control);
}

void
verify_purged_stated(const struct verify_leaf *purge, struct verify_report *r)
{
	struct verify_control control = {.from = 0};
	uint64_t records = 0;

	if (verify_purge_read(&control, purge, r)) {
		for (size_t i = 0; i < control.spans; i++)
			records +=
			    control.span[i].last - control.span[i].first + 1;
		if (control.purge[0].count > records)
			verify_report_finding(r, VERIFY_PURGES,
			    verify_at(purge->seq),
			    "purge says more events than its ranges have");
	}
	verify_purge_release(&control);
}
