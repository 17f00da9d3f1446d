#include "server/drops.h"

#include <string.h>
#include <time.h>

static void
count(struct drops_count *c)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	c->until =
	    (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	/* The clock may have been set back meanwhile. */
	if (c->count == 0 || c->since > c->until)
		c->since = c->until;
	c->count++;
}

void
drops_add(struct drops *d, enum wire_drop why)
{
	count(&d->waiting[why]);
}

void
drops_add_theirs(struct drops *d)
{
	count(&d->theirs);
}

void
drops_settle_theirs(struct drops *d)
{
	d->theirs = (struct drops_count){0};
}

void
drops_take_theirs(struct drops *d)
{
	struct drops_count *to = &d->waiting[WIRE_DROP_STORAGE];

	if (d->theirs.count == 0)
		return;
	if (to->count == 0 || d->theirs.since < to->since)
		to->since = d->theirs.since;
	if (d->theirs.until > to->until)
		to->until = d->theirs.until;
	to->count += d->theirs.count;
	drops_settle_theirs(d);
}

static bool
any_waits(const struct drops *d)
{
	for (size_t i = 0; i < WIRE_DROPS_COUNT; i++)
		if (d->waiting[i].count > 0)
			return true;
	return false;
}

bool
drops_all_told(const struct drops *d)
{
	return !any_waits(d) && d->theirs.count == 0;
}

bool
drops_due(const struct drops *d, bool fresh)
{
	return d->ref != 0 ? fresh : any_waits(d);
}

void
drops_tell_last(struct drops *d, struct ipc *link, uint32_t server)
{
	if (!any_waits(d))
		return;
	d->ref = 0;
	drops_tell(d, link, server);
}

void
drops_tell(struct drops *d, struct ipc *link, uint32_t server)
{
	struct buf *b;

	if (d->ref == 0) {
		d->ref = ++d->last_ref;
		memcpy(d->sent, d->waiting, sizeof d->sent);
		memset(d->waiting, 0, sizeof d->waiting);
	}
	b = ipc_begin(link, WIRE_DROPS);
	buf_put_u32(b, server);
	buf_put_u64(b, d->ref);
	for (size_t i = 0; i < WIRE_DROPS_COUNT; i++) {
		if (d->sent[i].count == 0)
			continue;
		buf_put_u8(b, (uint8_t)i);
		buf_put_u64(b, d->sent[i].since);
		buf_put_u64(b, d->sent[i].until);
		buf_put_u64(b, d->sent[i].count);
	}
	ipc_end(link);
}

bool
drops_kept(struct drops *d, uint64_t ref)
{
	if (ref != d->ref)
		return ref != 0 && ref <= d->last_ref;
	d->ref = 0;
	return true;
}
