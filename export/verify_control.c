#include "export/verify_control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "export/verify_conflict.h"
#include "export/verify_hold.h"
#include "export/verify_line.h"
#include "export/verify_purge.h"
#include "export/verify_recover.h"
#include "export/verify_segment.h"
#include "export/verify_take.h"
#include "export/verify_values.h"

#define ADAPTERS_MAX 1024
#define ADAPTER_NAME_MAX 32
#define UUID_DIGITS 8 /* of the journal's, in its origin */

typedef void take_kind(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);

/* Room for one more in an array that doubles; false when out of memory. */
bool
verify_take_room(
    struct verify_control *c, void *array, size_t used, size_t item)
{
	void **p = array;
	void *grown;

	if (used != 0 && (used & (used - 1)) != 0)
		return true;
	grown = reallocarray(*p, used == 0 ? 1 : used * 2, item);
	if (grown == NULL) {
		c->out_of_memory = true;
		return false;
	}
	*p = grown;
	return true;
}

char *
verify_take_copy(struct verify_control *c, struct view v)
{
	char *copy = view_dup(v);

	if (copy == NULL)
		c->out_of_memory = true;
	return copy;
}

/* The decoded value of a field; it may hold any byte but NUL. */
char *
verify_take_decoded(struct verify_control *c, struct view token)
{
	struct buf b;
	char *copy = NULL;

	buf_init(&b);
	if (text_get_token(token, &b) &&
	    (b.len == 0 || memchr(b.data, 0, b.len) == NULL))
		copy = view_dup(view_of(b.len == 0 ? token.p : b.data, b.len));
	if (copy == NULL)
		copy = verify_take_copy(c, token);
	buf_release(&b);
	return copy;
}

void
verify_take_malformed(
    const struct verify_leaf *l, unsigned field, struct verify_report *r)
{
	verify_report_finding(r, VERIFY_CONTROL,
	    verify_at_line(l->seq, 3 + field), "%s record: value malformed",
	    verify_kind_name(l->kind));
}

bool
verify_take_numbers(
    const struct verify_leaf *l, unsigned from, unsigned to, uint64_t *out)
{
	for (unsigned i = from; i <= to; i++)
		if (!verify_leaf_number(l, i, &out[i - from]) ||
		    out[i - from] > INT64_MAX)
			return false;
	return true;
}

struct verify_adapter *
verify_control_adapter(const struct verify_control *c, struct view name)
{
	for (size_t i = 0; i < c->adapters; i++)
		if (view_is(name, c->adapter[i].name))
			return &c->adapter[i];
	return NULL;
}

struct verify_batch *
verify_control_batch(const struct verify_adapter *a, uint64_t n)
{
	return n >= 1 && n <= a->count ? &a->batch[n - 1] : NULL;
}

bool
verify_take_name(struct view name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!((name.p[i] >= 'a' && name.p[i] <= 'z') ||
			(name.p[i] >= '0' && name.p[i] <= '9') ||
			name.p[i] == '-'))
			return false;
	return name.n > 0 && name.n <= ADAPTER_NAME_MAX;
}

static struct verify_adapter *
adapter_of(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct view name = l->field[0].value;
	struct verify_adapter *a = verify_control_adapter(c, name);

	if (a != NULL)
		return a;
	if (!verify_take_name(name))
		return NULL;
	if (c->adapters == ADAPTERS_MAX) {
		verify_take_malformed(l, 0, r);
		return NULL;
	}
	if (!verify_take_room(c, &c->adapter, c->adapters, sizeof(*c->adapter)))
		return NULL;
	a = &c->adapter[c->adapters++];
	memset(a, 0, sizeof(*a));
	memcpy(a->name, name.p, name.n);
	return a;
}

/* The domain, "/journal/" and the first eight digits of the UUID. */
static bool
names_fit(const struct verify_control *c)
{
	static const char middle[] = "/journal/";
	const struct verify_epoch *first = &c->epochs.epoch[0];
	size_t n = strlen(c->origin), tail = strlen(middle) + UUID_DIGITS;

	return n > tail && strlen(c->journal) > UUID_DIGITS &&
	    memcmp(c->origin + n - tail, middle, strlen(middle)) == 0 &&
	    memcmp(c->origin + n - UUID_DIGITS, c->journal, UUID_DIGITS) == 0 &&
	    (!first->told || strcmp(first->key.name, c->origin) == 0);
}

static void
take_open(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	verify_segment_open(c, l, r);
	if (l->seq != 0 || c->journal != NULL)
		return;
	c->journal = verify_take_decoded(c, l->field[0].value);
	c->origin = verify_take_decoded(c, l->field[1].value);
	c->vkey = verify_take_decoded(c, l->field[2].value);
	verify_epochs_open(&c->epochs, l, r);
	c->out_of_memory |= c->epochs.out_of_memory;
	if (!c->out_of_memory && !names_fit(c))
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "open record: its origin is not a name of this journal, "
		    "or not that of the key");
}

/* A batch goes on where the one before ended, and lies before its record. */
static const char *
batch_breach(const struct verify_adapter *a, const struct verify_batch *b,
    uint64_t count)
{
	uint64_t first = a->count == 0 ? 0 : a->batch[a->count - 1].last + 1;

	if (b->n != a->count + 1)
		return "batch number is not the next one of its adapter";
	if (b->first != first)
		return "batch does not begin where the one before ended";
	if (b->last < b->first || b->last >= b->size || b->size > b->seq)
		return "batch range is not inside the tree it names";
	if (count != b->last - b->first + 1)
		return "batch count is not that of its range";
	return NULL;
}

static void
take_batch(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_adapter *a = adapter_of(c, l, r);
	struct verify_batch b = {.seq = l->seq};
	uint64_t v[5]; /* batch, first, last, count, size */
	const char *why;

	if (a == NULL || !verify_take_numbers(l, 1, 5, v) ||
	    !text_get_base64_fixed(l->field[6].value, b.root, 32))
		return;
	b.n = v[0];
	b.first = v[1];
	b.last = v[2];
	b.size = v[4];
	why = batch_breach(a, &b, v[3]);
	if (why != NULL)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "%s (adapter %s, batch %" PRIu64 ")", why, a->name, b.n);
	if (b.n != a->count + 1)
		return;
	if (a->count == a->cap) {
		size_t cap = a->cap == 0 ? 16 : a->cap * 2;
		struct verify_batch *grown =
		    reallocarray(a->batch, cap, sizeof(*grown));

		if (grown == NULL) {
			c->out_of_memory = true;
			return;
		}
		a->batch = grown;
		a->cap = cap;
	}
	a->batch[a->count++] = b;
}

static bool
ack_words(const struct verify_leaf *l, struct verify_ack *ack)
{
	struct view state = l->field[4].value, sha = l->field[6].value;

	if (state.n >= sizeof(ack->state))
		return false;
	memcpy(ack->state, state.p, state.n);
	ack->stored = view_is(state, "stored");
	ack->has_sha256 = verify_hex(sha, ack->sha256, 32);
	ack->readback = view_is(l->field[8].value, "yes");
	return true;
}

static void
take_ack(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	struct verify_adapter *a = adapter_of(c, l, r);
	struct verify_ack ack = {.given = true, .seq = l->seq, .at = l->at};
	struct verify_batch *b;
	uint64_t v[3]; /* batch, first, last */

	if (a == NULL || !verify_take_numbers(l, 1, 3, v) ||
	    !ack_words(l, &ack) || !verify_take_numbers(l, 7, 7, &ack.bytes))
		return;
	b = verify_control_batch(a, v[0]);
	if (b == NULL || b->first != v[1] || b->last != v[2]) {
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "acknowledgement of a batch that was not cut (adapter %s, "
		    "batch %" PRIu64 ")",
		    a->name, v[0]);
		return;
	}
	if (b->ack.given) {
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "batch %" PRIu64 " of adapter %s is acknowledged twice",
		    b->n, a->name);
		return;
	}
	if (b->n > 1 && !a->batch[b->n - 2].ack.given)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "batch %" PRIu64 " of adapter %s is acknowledged before "
		    "the one before it",
		    b->n, a->name);
	ack.location = verify_take_decoded(c, l->field[5].value);
	b->ack = ack;
}

static void
take_key(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	verify_epochs_key(&c->epochs, l, r);
	c->out_of_memory |= c->epochs.out_of_memory;
}

static void
take_recover(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	verify_recover_take(c, l, r);
	verify_epochs_recover(&c->epochs, l);
	c->out_of_memory |= c->epochs.out_of_memory;
}

static void
take_beat(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	(void)r; /* there is no rule among records */
	verify_anchors_beat(c, l);
}

static void
take_audit(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	uint64_t v[2]; /* first, last */

	(void)c; /* it follows from no other record */
	if (verify_take_numbers(l, 0, 1, v) && v[1] >= l->seq)
		verify_report_finding(r, VERIFY_CONTROL, verify_at(l->seq),
		    "audit of records that were not there");
}

void
verify_control_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r)
{
	static take_kind *const take[] = {
	    [VERIFY_KIND_OPEN - VERIFY_KIND_CONTROL] = take_open,
	    [VERIFY_KIND_BATCH - VERIFY_KIND_CONTROL] = take_batch,
	    [VERIFY_KIND_ACK - VERIFY_KIND_CONTROL] = take_ack,
	    [VERIFY_KIND_PURGE - VERIFY_KIND_CONTROL] = verify_purge_take,
	    [VERIFY_KIND_RECOVER - VERIFY_KIND_CONTROL] = take_recover,
	    [VERIFY_KIND_KEY - VERIFY_KIND_CONTROL] = take_key,
	    [VERIFY_KIND_POLICY - VERIFY_KIND_CONTROL] = verify_purge_policy,
	    [VERIFY_KIND_HOLD - VERIFY_KIND_CONTROL] = verify_hold_take,
	    [VERIFY_KIND_RELEASE - VERIFY_KIND_CONTROL] = verify_hold_release,
	    [VERIFY_KIND_APPROVE - VERIFY_KIND_CONTROL] = verify_hold_approve,
	    [VERIFY_KIND_ANCHOR - VERIFY_KIND_CONTROL] = verify_anchors_take,
	    [VERIFY_KIND_SEAL - VERIFY_KIND_CONTROL] = verify_segment_seal,
	    [VERIFY_KIND_BEAT - VERIFY_KIND_CONTROL] = take_beat,
	    [VERIFY_KIND_AUDIT - VERIFY_KIND_CONTROL] = take_audit,
	    [VERIFY_KIND_CONFLICT - VERIFY_KIND_CONTROL] = verify_conflict_take,
	};
	size_t i = l->kind - VERIFY_KIND_CONTROL;

	c->leaves++;
	c->seq_sum += l->seq;
	verify_conflict_after(c, l, r);
	if (l->kind == VERIFY_KIND_CLOCK)
		c->newest_clock = l->seq;
	verify_report_count(r, VERIFY_CONTROL, 1);
	(void)verify_values(l, VERIFY_CONTROL, r); /* said */
	if (i < sizeof(take) / sizeof(take[0]) && take[i] != NULL)
		take[i](c, l, r);
}

const struct verify_policy *
verify_control_policy(const struct verify_control *c, uint64_t seq)
{
	const struct verify_policy *found = NULL;

	for (size_t i = 0; i < c->policies && c->policy[i].seq < seq; i++)
		found = &c->policy[i];
	return found;
}

/* Takes the next item of a list off its front. */
bool
verify_take_item(struct view *list, struct view *item)
{
	const uint8_t *comma;

	if (list->n == 0)
		return false;
	comma = memchr(list->p, ',', list->n);
	*item = *list;
	if (comma == NULL) {
		list->n = 0;
		return true;
	}
	item->n = (size_t)(comma - list->p);
	*list = view_of(comma + 1, list->n - item->n - 1);
	return true;
}

void
verify_control_finish(struct verify_control *c, struct verify_report *r)
{
	if (!c->out_of_memory)
		verify_purge_finish(c, r);
}

void
verify_control_release(struct verify_control *c)
{
	for (size_t i = 0; i < c->adapters; i++) {
		for (size_t k = 0; k < c->adapter[i].count; k++)
			free(c->adapter[i].batch[k].ack.location);
		free(c->adapter[i].batch);
	}
	verify_purge_release(c);
	verify_recover_release(c);
	verify_hold_free(c);
	verify_anchors_release(&c->anchors);
	free(c->adapter);
	free(c->conflict);
	free(c->segment);
	free(c->origin);
	free(c->vkey);
	free(c->journal);
	verify_epochs_release(&c->epochs);
	memset(c, 0, sizeof(*c));
}
