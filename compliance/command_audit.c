#include "compliance/command_audit.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"

#include "compliance/engine_state.h"

json_t *
command_audit_json(const struct engine *e)
{
	struct audit_status s;

	audit_status(e->audit, &s);
	return json_pack("{s:I,s:b,s:I,s:I,s:o,s:o,s:o,s:b,s:I,s:o}",
	    "period_s", (json_int_t)e->conf->audit_s, "running", (int)s.running,
	    "position", (json_int_t)s.position, "size", (json_int_t)s.size,
	    "since", control_time(s.position > 0 ? s.since : 0), "whole",
	    control_time(s.whole_at), "done", control_time(s.done_at),
	    "done_whole", (int)s.done_whole, "broken", (json_int_t)s.broken,
	    "finding", control_words(s.finding));
}

void
command_audit_run(
    struct engine *e, struct control_request *r, const json_t *args)
{
	(void)args;
	audit_run(e->audit);
	control_reply(r, command_audit_json(e));
}

void
command_audit_status(
    struct engine *e, struct control_request *r, const json_t *args)
{
	(void)args;
	control_reply(r, command_audit_json(e));
}
