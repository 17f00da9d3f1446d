#include "compliance/anchor_link.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"

#include "compliance/wire.h"

struct request {
	struct request *next;
	uint64_t ref;
	anchor_asked_cb *asked; /* or */
	anchor_stamped_cb *stamped;
	void *arg;
};

struct anchor_link {
	uv_loop_t *loop;
	struct ipc *ipc;
	struct request *requests;
	uint64_t last_ref;
};

static struct request *
take(struct anchor_link *l, uint64_t ref, bool stamp)
{
	for (struct request **at = &l->requests; *at; at = &(*at)->next) {
		struct request *r = *at;

		if (r->ref != ref || (r->stamped != NULL) != stamp)
			continue;
		*at = r->next;
		return r;
	}
	return NULL;
}

static void
drop(struct anchor_link *l)
{
	struct request *lost = l->requests;
	struct view why = view_text("the anchor role is gone");

	ipc_free(l->ipc);
	l->ipc = NULL;
	l->requests = NULL;
	while (lost != NULL) {
		struct request *next = lost->next;

		if (lost->stamped != NULL)
			lost->stamped(lost->arg, false, 0, why);
		else
			lost->asked(lost->arg, 0, why);
		free(lost);
		lost = next;
	}
}

static bool
on_asked(struct anchor_link *l, struct reader *in)
{
	uint64_t ref = reader_u64(in);
	unsigned status = reader_u16(in);
	struct view body = reader_rest(in);
	struct request *r = in->failed ? NULL : take(l, ref, false);

	if (r == NULL)
		return false;
	r->asked(r->arg, status, body);
	free(r);
	return true;
}

static bool
on_stamped(struct anchor_link *l, struct reader *in)
{
	uint64_t ref = reader_u64(in);
	bool granted = reader_u8(in) != 0;
	uint64_t at = reader_u64(in);
	struct view bytes = reader_rest(in);
	struct request *r = in->failed ? NULL : take(l, ref, true);

	if (r == NULL)
		return false;
	r->stamped(r->arg, granted, at, bytes);
	free(r);
	return true;
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct anchor_link *l = arg;
	struct reader in = reader_of(payload);

	if (fd >= 0)
		(void)close(fd); /* the anchor has none to pass on */
	if ((type == WIRE_ASKED && on_asked(l, &in)) ||
	    (type == WIRE_STAMPED && on_stamped(l, &in)))
		return;
	log_error("the anchor sent a malformed frame of type %u", type);
	drop(l);
}

static void
on_closed(void *arg, const char *why)
{
	log_info("link to the anchor: %s", why);
	drop(arg);
}

struct anchor_link *
anchor_link_new(uv_loop_t *loop)
{
	struct anchor_link *l = calloc(1, sizeof *l);

	if (l != NULL)
		l->loop = loop;
	return l;
}

void
anchor_link_attach(struct anchor_link *l, int fd)
{
	if (l->ipc != NULL)
		drop(l);
	l->ipc = ipc_new(l->loop, fd, on_frame, on_closed, l);
	if (l->ipc == NULL)
		log_fatal("out of memory");
}

static struct request *
add(struct anchor_link *l, void *arg)
{
	struct request *r = l->ipc != NULL ? calloc(1, sizeof *r) : NULL;

	if (r == NULL)
		return NULL;
	r->ref = ++l->last_ref;
	r->arg = arg;
	r->next = l->requests;
	l->requests = r;
	return r;
}

bool
anchor_link_ask(struct anchor_link *l, unsigned witness, const char *path,
    struct view body, anchor_asked_cb *cb, void *arg)
{
	struct request *r = add(l, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	r->asked = cb;
	b = ipc_begin(l->ipc, WIRE_ASK);
	buf_put_u64(b, r->ref);
	buf_put_u8(b, (uint8_t)witness);
	buf_put_u8(b, (uint8_t)strlen(path));
	buf_put_text(b, path);
	buf_put_view(b, body);
	ipc_end(l->ipc);
	return true;
}

bool
anchor_link_stamp(
    struct anchor_link *l, struct view note, anchor_stamped_cb *cb, void *arg)
{
	struct request *r = add(l, arg);
	struct buf *b;

	if (r == NULL)
		return false;
	r->stamped = cb;
	b = ipc_begin(l->ipc, WIRE_ASK_STAMP);
	buf_put_u64(b, r->ref);
	buf_put_view(b, note);
	ipc_end(l->ipc);
	return true;
}

void
anchor_link_free(struct anchor_link *l)
{
	if (l == NULL)
		return;
	while (l->requests != NULL) {
		struct request *next = l->requests->next;

		free(l->requests);
		l->requests = next;
	}
	ipc_free(l->ipc);
	free(l);
}
