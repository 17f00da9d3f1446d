#include <inttypes.h>
#include <string.h>

#include "base/text.h"

#include "compliance/adapter_link_state.h"

/* Checkpoints that an adapter hands on by themselves, between batches. */

void
adapter_link_checkpoint(struct adapter_link *l, uint64_t size, struct view note)
{
	if (l->greeted && !l->checkpoints)
		return;
	buf_clear(&l->note);
	buf_put_view(&l->note, note);
	l->note_size = l->note.failed ? 0 : size;
	adapter_link_step(l);
}

bool
adapter_link_takes_checkpoints(const struct adapter_link *l)
{
	return l->checkpoints;
}

void
adapter_link_anchor(struct adapter_link *l)
{
	struct buf *out = line_io_out(l->io);

	l->sent_size = l->note_size;
	l->note_size = 0;
	if (!l->checkpoints)
		return;
	buf_printf(out,
	    "{\"type\":\"checkpoint\",\"size\":%" PRIu64 ",\"note\":",
	    l->sent_size);
	text_put_json(out, buf_view(&l->note));
	buf_put_text(out, "}\n");
	adapter_link_enter(l, STAGE_ANCHORING);
	line_io_send(l->io);
}

void
adapter_link_on_anchored(struct adapter_link *l, struct adapter_says *s)
{
	const struct adapter_env *env = l->env;
	bool ok = s->reason.p == NULL;

	if (l->stage != STAGE_ANCHORING || s->size != l->sent_size) {
		adapter_link_fail(
		    l, true, "tells of a checkpoint that it was not given");
		return;
	}
	if (ok && (l->promises & (1U << s->promise)) == 0) {
		adapter_link_fail(l, true,
		    "gave a checkpoint a state that it had not announced");
		return;
	}
	adapter_link_enter(l, STAGE_IDLE);
	if (env->anchored != NULL)
		env->anchored(env->arg, l->conf->name, l->sent_size,
		    ok && s->promise == PROMISE_STORED, s->reason);
	adapter_link_step(l);
}
