#include "compliance/anchors_state.h"
#include "compliance/control.h"

#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

static void
set(json_t *object, const char *name, json_t *value)
{
	/* Out of memory leaves the member out; the dump then tells. */
	(void)json_object_set_new(object, name, value);
}

static json_t *
number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static const char *
state_name(const struct anchor_source *s)
{
	static const char *const names[] = {
	    [ANCHOR_UNKNOWN] = "unknown",
	    [ANCHOR_OK] = "ok",
	    [ANCHOR_FAILED] = "failed",
	};

	return names[s->state];
}

static json_t *
source_status(const struct anchor_source *s)
{
	json_t *o = json_object();
	struct buf at;

	set(o, "what", json_string(s->what));
	set(o, "name", control_words(s->name));
	set(o, "state", json_string(state_name(s)));
	set(o, "size", number(s->size));
	buf_init(&at);
	if (s->time > 0 && s->time < UINT64_MAX / 1000000)
		text_put_time(&at, s->time * 1000000);
	set(o, "time",
	    at.len > 0 ? json_stringn((const char *)at.data, at.len)
		       : json_null());
	buf_release(&at);
	set(o, "failure", control_words(s->failure));
	return o;
}

static void
put_conflict(void *arg, uint64_t seq, const struct evidence_conflict *c)
{
	json_t *o = json_object();

	set(o, "record", number(seq));
	set(o, "witness",
	    json_stringn((const char *)c->witness.p, c->witness.n));
	set(o, "size", number(c->size));
	set(o, "proof", json_boolean(c->proved));
	set(o, "hold", number(c->hold));
	(void)json_array_append_new(arg, o);
}

/* Those that nobody has settled yet. */
static json_t *
conflicts(struct anchors *a)
{
	json_t *list = json_array();

	if (anchors_open(a) &&
	    evidence_conflicts(a->evidence, put_conflict, list) < 0)
		log_warn("conflict records: %s", evidence_error(a->evidence));
	return list;
}

json_t *
anchors_status(struct anchors *a)
{
	const struct conf *conf = a->env->conf;
	json_t *o = json_object(), *list = json_array();
	json_t *open = conflicts(a);
	bool alarm = json_array_size(open) > 0 || a->short_of;
	uint64_t size = 0;

	for (size_t i = 0; i < conf->witness_count; i++) {
		alarm |= a->witnesses[i].state == ANCHOR_FAILED;
		(void)json_array_append_new(
		    list, source_status(&a->witnesses[i]));
	}
	if (conf->stamp.url != NULL) {
		alarm |= a->stamp.state == ANCHOR_FAILED;
		(void)json_array_append_new(list, source_status(&a->stamp));
	}
	for (size_t i = 0; i < conf->adapter_count; i++) {
		if (!adapter_link_takes_checkpoints(a->env->adapters[i]))
			continue;
		alarm |= a->adapters[i].state == ANCHOR_FAILED;
		(void)json_array_append_new(
		    list, source_status(&a->adapters[i]));
	}
	if (a->evidence != NULL &&
	    (conf->anchors.quorum > 0 || conf->stamp.required))
		(void)evidence_anchored(a->evidence, conf, conf->stamp.required,
		    &size); /* 0 when there is none */
	set(o, "quorum", number(conf->anchors.quorum));
	set(o, "anchored", number(size));
	set(o, "alarm", json_boolean(alarm));
	set(o, "conflicts", open);
	set(o, "sources", list);
	return o;
}
