#include "compliance/command_audit.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"

#include "compliance/engine_state.h"

static json_t *
time_text(uint64_t us)
{
	struct buf b;
	json_t *text;

	if (us == 0)
		return json_null();
	buf_init(&b);
	text_put_time(&b, us);
	text = json_stringn((const char *)b.data, b.len);
	buf_release(&b);
	return text;
}

/* Words for people, which may have been cut within a character. */
static json_t *
words(const char *text)
{
	size_t n = strlen(text);

	while (n > 0 && !text_utf8_valid(view_of(text, n)))
		n--;
	return json_stringn(text, n);
}

json_t *
command_audit_json(const struct engine *e)
{
	struct audit_status s;

	audit_status(e->audit, &s);
	return json_pack("{s:I,s:b,s:I,s:I,s:o,s:o,s:o,s:b,s:I,s:o}",
	    "period_s", (json_int_t)e->conf->audit_s, "running", (int)s.running,
	    "position", (json_int_t)s.position, "size", (json_int_t)s.size,
	    "since", time_text(s.position > 0 ? s.since : 0), "whole",
	    time_text(s.whole_at), "done", time_text(s.done_at), "done_whole",
	    (int)s.done_whole, "broken", (json_int_t)s.broken, "finding",
	    words(s.finding));
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
