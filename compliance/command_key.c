#include "compliance/command_key.h"

#include <jansson.h>
#include <stdlib.h>

#include "compliance/chain.h"

/* Lives until the keeper answers. */
struct turn_wait {
	struct engine *engine;
	struct control_request *request;
};

static void
reply(struct turn_wait *w)
{
	struct scan *s = w->engine->scan;
	struct chain_epoch epoch;
	struct buf vkey;

	buf_init(&vkey);
	if (chain_newest(s, &epoch, &vkey) != 0 || buf_text(&vkey) == NULL)
		control_reply_failure(w->request, scan_error(s));
	else
		control_reply(w->request,
		    json_pack("{s:I,s:s,s:I}", "epoch", (json_int_t)epoch.epoch,
			"vkey", buf_text(&vkey), "seq", (json_int_t)epoch.seq));
	buf_release(&vkey);
}

static void
on_answer(void *arg, enum keeper_answer answer, struct view why)
{
	struct turn_wait *w = arg;

	switch (answer) {
	case KEEPER_RECORDED:
		reply(w);
		break;
	case KEEPER_REFUSED:
		control_reply_error(
		    w->request, "%.*s", (int)why.n, (const char *)why.p);
		break;
	case KEEPER_LOST:
		control_reply_failure(w->request,
		    "the keeper ended meanwhile: chancery key show tells "
		    "whether the key was changed");
		break;
	}
	free(w);
}

void
command_key_rotate(
    struct engine *e, struct control_request *r, const json_t *args)
{
	bool compromised = json_is_true(json_object_get(args, "compromised"));
	struct turn_wait *w = malloc(sizeof *w);

	if (w == NULL) {
		control_reply_failure(r, "out of memory");
		return;
	}
	w->engine = e;
	w->request = r;
	if (keeper_link_turn(e->keeper, compromised, on_answer, w))
		return;
	free(w);
	control_reply_failure(r, "the keeper is not running");
}
