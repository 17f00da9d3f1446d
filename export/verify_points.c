#include "export/verify_points.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DETAILED 8 /* later differences follow from the first ones */

static const char *const sources[] = {
    [VERIFY_SOURCE_CHECKPOINT] = "the stored checkpoint",
    [VERIFY_SOURCE_NOTE] = "the newest signed note",
    [VERIFY_SOURCE_HEAD] = "the head row",
    [VERIFY_SOURCE_BATCH] = "this batch record",
    [VERIFY_SOURCE_RECOVER] = "this recover record",
    [VERIFY_SOURCE_CLAIM] = "the signed checkpoint of this claim",
    [VERIFY_SOURCE_PROOF] = "the checkpoint of this conflict record",
    [VERIFY_SOURCE_OUTSIDE] = "the checkpoint from outside",
};

bool
verify_points_add(struct verify_points *p, struct verify_point point)
{
	if (p->count == p->cap) {
		size_t cap = p->cap == 0 ? 64 : p->cap * 2;
		struct verify_point *grown =
		    reallocarray(p->point, cap, sizeof(*grown));

		if (grown == NULL)
			return false;
		p->point = grown;
		p->cap = cap;
	}
	point.met = false;
	p->point[p->count++] = point;
	return true;
}

static int
by_size(const void *a, const void *b)
{
	const struct verify_point *x = a, *y = b;

	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return (int)x->source - (int)y->source;
}

void
verify_points_sort(struct verify_points *p)
{
	if (p->count > 0)
		qsort(p->point, p->count, sizeof(*p->point), by_size);
	p->next = 0;
}

uint64_t
verify_points_next(const struct verify_points *p)
{
	return p->next < p->count ? p->point[p->next].size : UINT64_MAX;
}

bool
verify_points_met(const struct verify_points *p, uint64_t size)
{
	size_t low = 0, high = p->count;
	bool met = false;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->point[middle].size < size)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < p->count && p->point[low].size == size; low++) {
		if (p->point[low].source != VERIFY_SOURCE_CHECKPOINT)
			continue;
		if (!p->point[low].met)
			return false;
		met = true;
	}
	return met;
}

void
verify_points_leap(struct verify_points *p, uint64_t size)
{
	for (; verify_points_next(p) < size; p->next++) {
		p->leapt++;
		p->leapt_outside +=
		    p->point[p->next].source == VERIFY_SOURCE_OUTSIDE;
	}
	p->agreed = size;
}

static struct verify_place
place_of(const struct verify_points *p, const struct verify_point *point)
{
	if (point->source >= VERIFY_SOURCE_BATCH &&
	    point->source <= VERIFY_SOURCE_PROOF)
		return verify_at(point->ref);
	if (point->size == 0 || p->agreed >= point->size)
		return verify_nowhere();
	return verify_at_range(p->agreed, point->size - 1);
}

static void
differs(struct verify_points *p, const struct verify_point *point,
    bool tiles_agree, struct verify_report *r)
{
	bool head = point->source == VERIFY_SOURCE_HEAD;

	p->failed++;
	if (p->failed > DETAILED)
		return;
	verify_report_finding(r, head ? VERIFY_HEAD : VERIFY_ROOTS,
	    place_of(p, point),
	    "the records do not give the root that %s states for size %" PRIu64
	    "%s",
	    sources[point->source], point->size,
	    tiles_agree ? "; the stored tiles do: leaf texts were changed"
			: "");
}

void
verify_points_check(struct verify_points *p, const struct verify_tree *records,
    const struct verify_tree *tiles, struct verify_report *r)
{
	uint8_t root[32], tile_root[32];
	bool good = false;

	verify_tree_root(records, root);
	if (tiles != NULL)
		verify_tree_root(tiles, tile_root);
	for (; verify_points_next(p) == records->size; p->next++) {
		struct verify_point *point = &p->point[p->next];

		verify_report_count(r,
		    point->source == VERIFY_SOURCE_HEAD ? VERIFY_HEAD
							: VERIFY_ROOTS,
		    1);
		point->met = memcmp(root, point->root, 32) == 0;
		if (point->source == VERIFY_SOURCE_PROOF) {
			if (point->met)
				verify_report_finding(r, VERIFY_CONTROL,
				    place_of(p, point),
				    "conflict record: what it calls proof is "
				    "of this very history");
			continue;
		}
		if (!point->met) {
			differs(p, point,
			    tiles != NULL &&
				memcmp(tile_root, point->root, 32) == 0,
			    r);
			continue;
		}
		good = true;
		if (point->signed_) {
			p->good = point->size;
			p->any_signed = true;
		}
	}
	if (good)
		p->agreed = records->size;
}

void
verify_points_finish(
    struct verify_points *p, uint64_t size, struct verify_report *r)
{
	for (; p->next < p->count; p->next++) {
		const struct verify_point *point = &p->point[p->next];

		if (point->size <= size) {
			verify_report_finding(r, VERIFY_ROOTS, verify_nowhere(),
			    "the root that %s states for size %" PRIu64
			    " cannot be compared: records are missing",
			    sources[point->source], point->size);
			continue;
		}
		verify_report_finding(r, VERIFY_ROOTS,
		    point->source == VERIFY_SOURCE_BATCH
			? verify_at(point->ref)
			: verify_at_range(size, point->size - 1),
		    "%s covers %" PRIu64 " records, the journal has %" PRIu64
		    ": its end is missing",
		    sources[point->source], point->size, size);
	}
	if (p->failed > DETAILED)
		verify_report_finding(r, VERIFY_ROOTS, verify_nowhere(),
		    "%" PRIu64 " more stated roots differ",
		    p->failed - DETAILED);
	if (p->leapt > 0)
		verify_report_note(r,
		    "%" PRIu64 " stated roots, %" PRIu64
		    " of them of checkpoints from outside, end in files that "
		    "were not given: not compared",
		    p->leapt, p->leapt_outside);
}

void
verify_points_release(struct verify_points *p)
{
	free(p->point);
	memset(p, 0, sizeof(*p));
}
