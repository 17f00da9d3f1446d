#include "compliance/anchors_state.h"
#include "compliance/control.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

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

/* What it confirmed before the engine started is in the journal. */
static void
get_newest(const struct anchor_source *s, uint64_t *size, uint64_t *at)
{
	struct evidence *e = s->anchors->evidence;

	*size = s->size;
	*at = s->time;
	if (s->size > 0 || e == NULL)
		return;
	/* Both stay 0 when there is none. */
	if (s == &s->anchors->stamp)
		(void)evidence_stamped(e, size, at);
	else if (s->client != NULL)
		(void)evidence_cosigned(e, view_text(s->name), size, at);
}

static json_t *
source_status(const struct anchor_source *s)
{
	json_t *o = json_object();
	uint64_t size, at, now = (uint64_t)time(NULL);
	struct buf text;

	get_newest(s, &size, &at);
	set(o, "what", json_string(s->what));
	set(o, "name", control_words(s->name));
	if (s == &s->anchors->stamp)
		set(o, "required",
		    json_boolean(s->anchors->env->conf->stamp.required));
	set(o, "state", json_string(state_name(s)));
	set(o, "size", number(size));
	buf_init(&text);
	if (at > 0 && at < UINT64_MAX / 1000000)
		text_put_time(&text, at * 1000000);
	set(o, "time",
	    text.len > 0 ? json_stringn((const char *)text.data, text.len)
			 : json_null());
	set(o, "ago_s",
	    text.len > 0 ? number(now > at ? now - at : 0) : json_null());
	buf_release(&text);
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

/*
 * What a purge of all that is acknowledged still waits for, in words; *size:
 * what a purge may rest on now, 0 when there is none.
 */
static json_t *
missing(struct anchors *a, uint64_t *size)
{
	const struct conf *conf = a->env->conf;
	unsigned quorum = conf->anchors.quorum;
	bool stamp = conf->stamp.required;
	uint64_t acked, cosigned = 0;
	json_t *o = json_string("");
	struct buf text;

	*size = 0;
	if (a->evidence == NULL || (quorum == 0 && !stamp) ||
	    evidence_anchored(a->evidence, conf, stamp, size) < 0 ||
	    evidence_acked(a->evidence, &acked) != 1 || *size > acked)
		return o;
	if (stamp && evidence_anchored(a->evidence, conf, false, &cosigned) < 0)
		return o;
	buf_init(&text);
	if (quorum > 0 && cosigned <= acked)
		buf_printf(&text, "%u witness%s%s", quorum,
		    quorum == 1 ? "" : "es", stamp ? " and " : "");
	if (stamp)
		buf_put_text(&text, "a time-stamp");
	buf_printf(&text,
	    " of a checkpoint that covers record %" PRIu64
	    ", the newest acknowledgement",
	    acked);
	json_decref(o);
	o = json_stringn((const char *)text.data, text.len);
	buf_release(&text);
	return o;
}

json_t *
anchors_status(struct anchors *a)
{
	const struct conf *conf = a->env->conf;
	json_t *o = json_object(), *list = json_array();
	json_t *open = conflicts(a);
	bool alarm = json_array_size(open) > 0 || a->short_of;
	uint64_t size;
	json_t *waits = missing(a, &size);

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
	set(o, "quorum", number(conf->anchors.quorum));
	set(o, "anchored", number(size));
	set(o, "missing", waits);
	set(o, "alarm", json_boolean(alarm));
	set(o, "conflicts", open);
	set(o, "sources", list);
	return o;
}
