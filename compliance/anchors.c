#include "compliance/anchors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"

#include "compliance/add_key.h"
#include "compliance/anchors_state.h"
#include "compliance/chain.h"
#include "compliance/event.h"
#include "compliance/leaf.h"

#define TICK_MS 1000
#define PACE_MS 10000 /* between checkpoints by adapters */
#define ALARM_AFTER 2 /* failures in a row */

static size_t
source_count(const struct anchors *a)
{
	return a->env->conf->witness_count + a->env->conf->adapter_count + 1;
}

static struct anchor_source *
source_at(struct anchors *a, size_t i)
{
	const struct conf *conf = a->env->conf;

	if (i < conf->witness_count)
		return &a->witnesses[i];
	i -= conf->witness_count;
	return i < conf->adapter_count ? &a->adapters[i] : &a->stamp;
}

/* ---- states ---- */

/* Says when the quorum goes out of reach, and when it comes back. */
static void
watch_quorum(struct anchors *a)
{
	const struct conf *conf = a->env->conf;
	size_t failed = 0;
	bool out;

	for (size_t i = 0; i < conf->witness_count; i++)
		failed += a->witnesses[i].state == ANCHOR_FAILED;
	out = conf->witness_count - failed < conf->anchors.quorum;
	if (out && !a->short_of)
		log_error("anchors: %zu of %zu witnesses fail, %u are "
			  "needed: nothing is purged until they are back",
		    failed, conf->witness_count, conf->anchors.quorum);
	else if (!out && a->short_of)
		log_info("anchors: enough witnesses answer again");
	a->short_of = out;
}

void
anchors_ok(
    struct anchor_source *s, uint64_t size, uint64_t time, struct view evidence)
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct buf hex;

	if (s->state != ANCHOR_OK)
		log_info("%s %s: confirmed the checkpoint of %" PRIu64
			 " records",
		    s->what, s->name, size);
	s->state = ANCHOR_OK;
	s->failures = 0;
	s->failure[0] = '\0';
	s->size = size;
	s->time = time;
	buf_init(&hex);
	if (evidence.n > 0) {
		crypto_sha256(evidence.p, evidence.n, hash);
		text_put_hex(&hex, hash, sizeof hash);
	} else {
		buf_put_text(&hex, "-");
	}
	(void)snprintf(s->evidence, sizeof s->evidence, "%.*s", (int)hex.len,
	    (const char *)hex.data);
	buf_release(&hex);
	watch_quorum(s->anchors);
}

/* One line of whole characters, as others may have said it. */
static void
tidy(char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
	while (n > 0 && !text_utf8_valid(view_of(text, n)))
		text[--n] = '\0';
}

void
anchors_failed(struct anchor_source *s, struct view why)
{
	char text[sizeof s->failure];

	(void)snprintf(text, sizeof text, "%.*s", (int)why.n,
	    (const char *)why.p); /* may cut */
	tidy(text);
	if (strcmp(text, s->failure) != 0)
		log_warn("%s %s: %s", s->what, s->name, text);
	memcpy(s->failure, text, sizeof text);
	if (++s->failures < ALARM_AFTER || s->state == ANCHOR_FAILED)
		return;
	log_error("%s %s: failed %u times in a row: %s", s->what, s->name,
	    s->failures, s->failure);
	s->state = ANCHOR_FAILED;
	watch_quorum(s->anchors);
}

/* ---- records ---- */

static void
on_recorded(void *arg, enum keeper_answer answer, struct view why)
{
	struct anchor_source *s = arg;

	s->recording = false;
	switch (answer) {
	case KEEPER_RECORDED:
		s->record_due = false;
		break;
	case KEEPER_REFUSED:
		log_warn("anchor record of %s %s: %.*s", s->what, s->name,
		    (int)why.n, (const char *)why.p);
		break;
	case KEEPER_LOST:
		break;
	}
	s->looked = false; /* the journal tells what is recorded */
}

static void
record(struct anchor_source *s)
{
	bool ok = s->state == ANCHOR_OK;
	struct buf fields;

	buf_init(&fields);
	leaf_put_field(&fields, "what", view_text(s->what));
	leaf_put_field(&fields, "name", view_text(s->name));
	leaf_put_field(&fields, "state", view_text(ok ? "ok" : "failed"));
	leaf_put_number(&fields, "size", ok ? s->size : s->tried);
	leaf_put_number(&fields, "time", ok ? s->time : 0);
	leaf_put_field(&fields, "sha256", view_text(ok ? s->evidence : "-"));
	if (!fields.failed)
		s->recording = keeper_link_control(s->anchors->env->keeper,
		    EVENT_ANCHOR, buf_view(&fields), on_recorded, s);
	buf_release(&fields);
}

void
anchors_record(struct anchors *a)
{
	const struct keeper_state *k = keeper_link_state(a->env->keeper);

	if (!k->linked || !k->writable)
		return;
	for (size_t i = 0; i < source_count(a); i++) {
		struct anchor_source *s = source_at(a, i);
		bool ok;
		int r;

		if (s->state == ANCHOR_UNKNOWN || s->recording)
			continue;
		if (!s->looked) {
			r = evidence_recorded(
			    a->evidence, s->what, view_text(s->name), &ok);
			if (r < 0)
				continue;
			s->recorded = r == 0 ? ANCHOR_UNKNOWN
			    : ok             ? ANCHOR_OK
					     : ANCHOR_FAILED;
			s->looked = true;
		}
		if (s->state != s->recorded || s->record_due)
			record(s);
	}
}

/* ---- adapters ---- */

static void
offer_to_adapters(struct anchors *a)
{
	uint64_t now = uv_now(a->env->loop);
	uint64_t pace = (uint64_t)a->env->conf->anchors.interval_s * 1000;
	struct buf text;

	if (pace > PACE_MS)
		pace = PACE_MS;
	buf_init(&text);
	buf_put_view(&text, buf_view(&a->note));
	buf_put_view(&text, buf_view(&a->lines));
	for (size_t i = 0; i < a->env->conf->adapter_count; i++) {
		struct anchor_source *s = &a->adapters[i];

		if (!adapter_link_takes_checkpoints(a->env->adapters[i]) ||
		    now < s->next_ms || text.failed ||
		    (s->tried == a->newest && s->note_len == text.len))
			continue;
		s->tried = a->newest;
		s->note_len = text.len;
		s->next_ms = now + pace;
		adapter_link_checkpoint(
		    a->env->adapters[i], a->newest, buf_view(&text));
	}
	buf_release(&text);
}

void
anchors_handed_on(struct anchors *a, const char *adapter, uint64_t size,
    bool stored, struct view why)
{
	const struct conf *conf = a->env->conf;

	for (size_t i = 0; i < conf->adapter_count; i++) {
		struct anchor_source *s = &a->adapters[i];

		if (strcmp(conf->adapters[i].name, adapter) != 0)
			continue;
		if (stored) {
			anchors_ok(s, size, 0, view_of(NULL, 0));
		} else if (why.n > 0) {
			s->note_len = 0; /* it comes again */
			anchors_failed(s, why);
		} /* else sent only: nobody knows whether it arrived */
	}
	if (a->evidence != NULL)
		anchors_record(a);
}

/* ---- the clock ---- */

bool
anchors_open(struct anchors *a)
{
	char why[256];

	struct evidence *next;

	if (a->evidence != NULL && evidence_is_newest(a->evidence))
		return true;
	if (a->scan == NULL)
		a->scan = scan_open(a->env->journal, false, why, sizeof why);
	if (a->scan == NULL)
		return false;
	next = evidence_open(a->env->journal, why, sizeof why);
	if (next == NULL)
		return false;
	evidence_close(a->evidence);
	a->evidence = next;
	a->journal.scan = a->scan;
	a->journal.evidence = a->evidence;
	a->journal.link = add_key_put;
	return true;
}

/*
 * After `recover --new-incarnation` the newest checkpoint is of the old name
 * until the new one has signed: a witness that saw more of the old one would
 * tell what the recover record has told already.
 */
static bool
of_this_name(struct anchors *a, uint64_t size)
{
	struct chain_epoch first;

	return chain_genesis(a->scan, &first, NULL) == 0 && size > first.seq;
}

/* The newest checkpoint with the lines that it has got meanwhile. */
static bool
read_newest(struct anchors *a)
{
	uint64_t size;

	if (evidence_newest(a->evidence, &size) != 1)
		return false;
	if (size != a->newest) {
		if (!of_this_name(a, size))
			return false;
		buf_clear(&a->note);
		if (evidence_note(a->evidence, size, &a->note) != 1)
			return false;
		a->newest = size;
	}
	buf_clear(&a->lines);
	return evidence_lines(a->evidence, size, &a->lines) >= 0;
}

static void
on_tick(uv_timer_t *timer)
{
	struct anchors *a = timer->data;

	if (!anchors_open(a) || !read_newest(a))
		return;
	offer_to_adapters(a);
	anchors_ask(a);
	anchors_record(a);
}

void
anchors_attach(struct anchors *a, int fd)
{
	anchor_link_attach(a->link, fd);
}

void
anchors_keeper_up(struct anchors *a)
{
	for (size_t i = 0; i < source_count(a); i++)
		source_at(a, i)->looked = false;
}

/* ---- life ---- */

/* Host and path: an authority has no other name of its own. */
static void
name_stamp(struct anchor_source *s, const char *url)
{
	const char *rest = url != NULL ? strstr(url, "://") : NULL;

	(void)snprintf(s->name, sizeof s->name, "%s",
	    rest != NULL ? rest + 3 : "-"); /* may cut */
}

static bool
make_sources(struct anchors *a)
{
	const struct conf *conf = a->env->conf;

	a->witnesses = calloc(conf->witness_count + 1, sizeof *a->witnesses);
	a->adapters = calloc(conf->adapter_count + 1, sizeof *a->adapters);
	if (a->witnesses == NULL || a->adapters == NULL)
		return false;
	for (size_t i = 0; i < source_count(a); i++)
		source_at(a, i)->anchors = a;
	for (size_t i = 0; i < conf->witness_count; i++) {
		struct anchor_source *s = &a->witnesses[i];
		struct view name;

		s->what = "witness";
		s->index = (unsigned)i;
		s->client = witness_client_new(&conf->witnesses[i]);
		if (s->client == NULL)
			return false;
		name = witness_client_name(s->client);
		(void)snprintf(s->name, sizeof s->name, "%.*s", (int)name.n,
		    (const char *)name.p);
	}
	for (size_t i = 0; i < conf->adapter_count; i++) {
		struct anchor_source *s = &a->adapters[i];

		s->what = "syslog";
		s->index = (unsigned)i;
		(void)snprintf(
		    s->name, sizeof s->name, "%s", conf->adapters[i].name);
	}
	a->stamp.what = "stamp";
	name_stamp(&a->stamp, conf->stamp.url);
	return true;
}

struct anchors *
anchors_new(const struct anchors_env *env)
{
	struct anchors *a = calloc(1, sizeof *a);

	if (a == NULL)
		return NULL;
	a->env = env;
	a->link = anchor_link_new(env->loop);
	(void)uv_timer_init(env->loop, &a->timer); /* always 0 */
	a->timer.data = a;
	if (a->link == NULL || !make_sources(a)) {
		anchors_free(a);
		return NULL;
	}
	(void)uv_timer_start(&a->timer, on_tick, TICK_MS, TICK_MS);
	return a;
}

static void
on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
anchors_free(struct anchors *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0;
	     a->witnesses != NULL && i < a->env->conf->witness_count; i++)
		witness_client_free(a->witnesses[i].client);
	free(a->witnesses);
	free(a->adapters);
	anchor_link_free(a->link);
	evidence_close(a->evidence);
	scan_close(a->scan);
	buf_release(&a->note);
	buf_release(&a->lines);
	buf_release(&a->token);
	uv_close((uv_handle_t *)&a->timer, on_closed);
}
