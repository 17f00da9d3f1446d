#include "export/verify_cross.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "export/verify_held.h"
#include "export/verify_recover.h"

struct cross {
	const struct verify_journal *j;
	const struct verify_archive *archive;
	size_t count;
	struct verify_report *r;
	/* Archives that vouch for their range, by its beginning. */
	const struct verify_archive **good;
	size_t goods;
};

static const struct verify_batch *
batch_of(const struct cross *c, const struct verify_archive *a)
{
	const struct verify_adapter *adapter =
	    verify_control_adapter(&c->j->control, view_text(a->adapter));

	return adapter == NULL ? NULL : verify_control_batch(adapter, a->batch);
}

/* Whether the archive is the very file that the journal acknowledged. */
static bool
as_acknowledged(struct cross *c, const struct verify_archive *a)
{
	const struct verify_batch *b = batch_of(c, a);

	verify_report_count(c->r, VERIFY_ACKS, 1);
	if (b == NULL || b->first != a->first || b->last != a->last) {
		verify_report_finding(c->r, VERIFY_ACKS, verify_nowhere(),
		    "%s: the journal has no such batch (adapter %s, batch "
		    "%" PRIu64 ")",
		    a->path, a->adapter, a->batch);
		return false;
	}
	if (!b->ack.given) {
		verify_report_note(c->r,
		    "%s: its batch is not acknowledged in the journal",
		    a->path);
		return false;
	}
	if (!b->ack.has_sha256) {
		verify_report_note(c->r,
		    "%s: its acknowledgement (record %" PRIu64
		    ") names no SHA-256",
		    a->path, b->ack.seq);
		return false;
	}
	if (memcmp(b->ack.sha256, a->sha256, 32) != 0 ||
	    b->ack.bytes != a->bytes) {
		verify_report_finding(c->r, VERIFY_ACKS, verify_at(b->ack.seq),
		    "%s is not the file that was acknowledged: SHA-256 or "
		    "length differ",
		    a->path);
		return false;
	}
	return true;
}

/*
 * An archive of a former name whose batch, or the record of it, is among
 * what was lost: the journal cannot vouch for it.
 */
static bool
is_of_gap(struct cross *c, const struct verify_archive *a, size_t name)
{
	const struct verify_recover *end =
	    verify_recover_end(&c->j->control, name);
	const struct verify_batch *b = batch_of(c, a);

	if (end == NULL ||
	    (b != NULL && b->seq < end->seq && b->ack.given &&
		b->ack.seq < end->seq))
		return false;
	verify_report_note(c->r,
	    "%s: of the name before record %" PRIu64
	    "; that it was cut or acknowledged is among the records lost",
	    a->path, end->seq);
	return true;
}

/* Each record of the purged range lies in an archive that vouches for it. */
static void
cover(struct cross *c, const struct verify_span *p)
{
	uint64_t next = p->first;

	verify_report_count(c->r, VERIFY_COVERAGE, p->last - p->first + 1);
	for (size_t i = 0; i < c->goods && next <= p->last; i++) {
		const struct verify_archive *a = c->good[i];

		if (a->last < next)
			continue;
		if (a->first > next) {
			uint64_t until =
			    a->first <= p->last ? a->first - 1 : p->last;

			verify_report_finding(c->r, VERIFY_COVERAGE,
			    verify_at_range(next, until),
			    "purged, and in none of the archives given");
		}
		next = a->last + 1;
	}
	if (next <= p->last)
		verify_report_finding(c->r, VERIFY_COVERAGE,
		    verify_at_range(next, p->last),
		    "purged, and in none of the archives given");
}

static void
say_missing(struct cross *c)
{
	const struct verify_control *control = &c->j->control;

	for (size_t i = 0; i < control->adapters; i++) {
		const struct verify_adapter *a = &control->adapter[i];
		uint64_t stored = 0, given = 0;
		size_t name;

		for (size_t k = 0; k < a->count; k++)
			stored += a->batch[k].ack.stored &&
			    a->batch[k].ack.has_sha256;
		for (size_t k = 0; k < c->count; k++)
			given += verify_recover_of_origin(&c->j->control,
				     c->archive[k].origin, &name) &&
			    strcmp(c->archive[k].adapter, a->name) == 0;
		if (given < stored)
			verify_report_note(c->r,
			    "adapter %s: %" PRIu64 " of %" PRIu64
			    " stored archives were given",
			    a->name, given, stored);
	}
}

void
verify_cross(const struct verify_journal *j,
    const struct verify_archive *archives, size_t count,
    struct verify_report *r)
{
	struct cross c = {j, archives, count, r, NULL, 0};

	verify_report_begin(r, j->origin, "journal and archives together");
	c.good = calloc(count + 1, sizeof(*c.good));
	if (c.good == NULL) {
		verify_report_failure(r, "out of memory");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct verify_archive *a = &archives[i];
		size_t name;

		if (!verify_recover_of_origin(&j->control, a->origin, &name)) {
			verify_report_note(r, "%s: not of this journal",
			    a->path == NULL ? "archive" : a->path);
			continue;
		}
		if (is_of_gap(&c, a, name))
			continue;
		if (as_acknowledged(&c, a) && a->holds && a->whole)
			c.good[c.goods++] = a;
	}
	verify_archive_sort(c.good, c.goods);
	for (size_t i = 0; i < j->control.spans; i++)
		cover(&c, &j->control.span[i]);
	verify_held(&j->control, c.good, c.goods, r);
	say_missing(&c);
	free(c.good);
}
