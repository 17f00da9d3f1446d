#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "compliance/command_audit.h"
#include "compliance/command_key.h"
#include "compliance/command_purge.h"
#include "compliance/engine_state.h"
#include "compliance/leaf.h"

#define SERVER_MS 30000
#define STATUS_MS 5000 /* a status is wanted when something hangs */

/* ---- what the status tells ---- */

static json_t *
number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static void
set(json_t *object, const char *name, json_t *value)
{
	/* Out of memory leaves the member out; the dump then tells. */
	(void)json_object_set_new(object, name, value);
}

/* Sizes of the journal; the note's size is also needed for the backlogs. */
static json_t *
journal_status(struct engine *e, uint64_t *signed_size)
{
	json_t *o = json_object();
	uint64_t file_first = 0;
	unsigned files = scan_segments(e->scan, &file_first);
	struct buf note;

	buf_init(&note);
	*signed_size = 0;
	(void)scan_note(e->scan, signed_size, &note); /* 0 tells */
	buf_release(&note);
	set(o, "origin", json_string(scan_meta(e->scan, "origin")));
	set(o, "vkey", json_string(scan_meta(e->scan, "vkey")));
	set(o, "size", number(scan_size(e->scan)));
	set(o, "signed", number(*signed_size));
	set(o, "files", number(files));
	set(o, "file_first", number(file_first));
	set(o, "purged_to", number(scan_purged_to(e->scan)));
	set(o, "purge_failure", control_words(purger_failure(e->purger)));
	return o;
}

static json_t *
keeper_status(const struct engine *e)
{
	const struct keeper_state *s = keeper_link_state(e->keeper);
	json_t *o = json_object();

	set(o, "linked", json_boolean(s->linked));
	set(o, "writable", json_boolean(s->linked && s->writable));
	set(o, "why",
	    control_words(s->linked ? s->why : "the keeper is not running"));
	set(o, "alarm", control_words(s->alarm));
	return o;
}

/* The newest acknowledgement as the journal tells it; null when none. */
static json_t *
last_ack(struct engine *e, const char *adapter, uint64_t n)
{
	static const char *const copied[] = {
	    "state", "location", "sha256", "readback"};
	struct ledger_batch b;
	struct leaf leaf;
	struct buf text, value;
	const char *why;
	json_t *o;

	if (n == 0 || ledger_get(e->ledger, adapter, n, &b) != 1 || !b.acked)
		return json_null();
	o = json_object();
	set(o, "batch", number(n));
	set(o, "first", number(b.first));
	set(o, "last", number(b.last));
	set(o, "at", control_time(b.ack_at));
	buf_init(&text);
	buf_init(&value);
	if (ledger_leaf(e->ledger, b.ack_seq, &text) == 1 &&
	    leaf_parse(buf_view(&text), &leaf, &why)) {
		for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++) {
			struct view v;

			buf_clear(&value);
			if (leaf_field(leaf.fields, copied[i], &v) &&
			    text_get_token(v, &value))
				set(o, copied[i],
				    json_stringn(
					(const char *)value.data, value.len));
		}
	}
	buf_release(&text);
	buf_release(&value);
	return o;
}

/* Time of the first record that is not acknowledged; null when none. */
static json_t *
oldest_waiting(struct engine *e, uint64_t next, uint64_t signed_size)
{
	struct scan_record r;

	if (next >= signed_size || scan_seek(e->scan, next) != 0 ||
	    scan_next(e->scan, &r) != 1)
		return json_null();
	return control_time(r.at);
}

static json_t *
adapter_status(struct engine *e, size_t i, uint64_t signed_size)
{
	const struct conf_adapter *conf = &e->conf->adapters[i];
	struct adapter_status s;
	struct scan_cursor c;
	json_t *o = json_object();

	adapter_link_status(e->adapters[i], &s);
	set(o, "name", json_string(conf->name));
	set(o, "program", json_string(conf->program));
	set(o, "required", json_boolean(conf->required));
	set(o, "state", json_string(adapter_stage_name(s.stage)));
	set(o, "quarantined", json_boolean(s.quarantined));
	set(o, "failures", number(s.failures));
	set(o, "failure", control_words(s.failure));
	if (scan_cursor(e->scan, conf->name, &c) != 0) {
		set(o, "failure", json_string(scan_error(e->scan)));
		return o;
	}
	set(o, "next", number(c.next));
	set(o, "backlog",
	    number(signed_size > c.next ? signed_size - c.next : 0));
	set(o, "oldest", oldest_waiting(e, c.next, signed_size));
	set(o, "batch",
	    c.open_n == 0
		? json_null()
		: json_pack("{s:I,s:I,s:I}", "batch", (json_int_t)c.open_n,
		      "first", (json_int_t)c.open_first, "last",
		      (json_int_t)c.open_last));
	set(o, "acknowledged", last_ack(e, conf->name, c.acked_n));
	return o;
}

static json_t *
adapters_status(struct engine *e, uint64_t signed_size)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->conf->adapter_count; i++)
		(void)json_array_append_new(
		    list, adapter_status(e, i, signed_size));
	return list;
}

/* ---- commands ---- */

static void
run_adapter_list(
    struct engine *e, struct control_request *r, const json_t *args)
{
	uint64_t signed_size;

	(void)args;
	json_decref(journal_status(e, &signed_size));
	control_reply(r, adapters_status(e, signed_size));
}

/* A status that lacks only the server's part. */
struct status_wait {
	struct control_request *request;
	json_t *result;
};

/* Adds the server's own status, or why it gave none. */
static void
on_server_status(void *arg, struct view text, const char *why)
{
	struct status_wait *wait = arg;
	json_t *reply = why != NULL ? NULL
				    : json_loadb((const char *)text.p, text.n,
					  JSON_REJECT_DUPLICATES, NULL);
	json_t *result = json_object_get(reply, "result");

	if (result == NULL && why == NULL)
		why = "the server's answer is malformed";
	set(wait->result, "server",
	    result != NULL ? json_incref(result)
			   : json_pack("{s:s}", "failure", why));
	json_decref(reply);
	control_reply(wait->request, wait->result);
	free(wait);
}

static void
run_status(struct engine *e, struct control_request *r, const json_t *args)
{
	struct status_wait *wait = malloc(sizeof *wait);
	uint64_t signed_size;

	(void)args;
	if (wait == NULL) {
		control_reply_failure(r, "out of memory");
		return;
	}
	wait->request = r;
	wait->result = json_object();
	set(wait->result, "software",
	    json_string("chancery/" CHANCERY_VERSION));
	set(wait->result, "domain", json_string(e->conf->domain));
	set(wait->result, "journal", journal_status(e, &signed_size));
	set(wait->result, "keeper", keeper_status(e));
	set(wait->result, "audit", command_audit_json(e));
	set(wait->result, "adapters", adapters_status(e, signed_size));
	set(wait->result, "anchors", anchors_status(e->anchors));
	server_link_ask(e->server,
	    view_text("{\"cmd\":\"status.server\",\"args\":{},"
		      "\"by\":\"engine\"}"),
	    STATUS_MS, on_server_status, wait);
}

/* A run under way; lives until its last call. */
struct run_wait {
	struct control_request *request;
	const struct conf_adapter *conf;
	json_t *batches;
};

static void
on_run(void *arg, const struct adapter_delivery *d, const char *failure)
{
	struct run_wait *w = arg;

	if (d != NULL) {
		json_t *o = json_object();

		set(o, "batch", number(d->batch.n));
		set(o, "first", number(d->batch.first));
		set(o, "last", number(d->batch.last));
		set(o, "count", number(d->batch.last - d->batch.first + 1));
		set(o, "state",
		    json_string(adapter_promise_name(d->receipt->promise)));
		set(o, "location",
		    json_stringn((const char *)d->receipt->location.p,
			d->receipt->location.n));
		set(o, "bytes", number(d->receipt->bytes));
		set(o, "readback", json_boolean(d->read_back));
		(void)json_array_append_new(w->batches, o);
		return;
	}
	if (failure != NULL) {
		control_reply_error(
		    w->request, "%s: %s", w->conf->name, failure);
		json_decref(w->batches);
	} else {
		control_reply(w->request,
		    json_pack("{s:s,s:o}", "adapter", w->conf->name, "batches",
			w->batches));
	}
	free(w);
}

static void
run_adapter(struct engine *e, struct control_request *r, const json_t *args)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	struct run_wait *w;

	for (size_t i = 0; name != NULL && i < e->conf->adapter_count; i++) {
		if (strcmp(e->conf->adapters[i].name, name) != 0)
			continue;
		w = calloc(1, sizeof *w);
		if (w == NULL) {
			control_reply_failure(r, "out of memory");
			return;
		}
		w->request = r;
		w->conf = &e->conf->adapters[i];
		w->batches = json_array();
		adapter_link_run(e->adapters[i], on_run, w);
		return;
	}
	control_reply_error(r, "%s: no such adapter",
	    name != NULL ? name : "(args.name is missing)");
}

/* ---- the server's commands ---- */

static void
on_server_reply(void *arg, struct view text, const char *why)
{
	struct control_request *r = arg;
	json_t *reply;

	if (why != NULL) {
		control_reply_failure(r, why);
		return;
	}
	reply = json_loadb(
	    (const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_boolean(json_object_get(reply, "ok"))) {
		control_reply_whole(r, reply);
		return;
	}
	json_decref(reply);
	control_reply_failure(r, "the server's answer is malformed");
}

static void
forward(struct engine *e, struct control_request *r, const char *command,
    const json_t *args)
{
	json_t *request =
	    json_pack("{s:s,s:O,s:o}", "cmd", command, "args", args, "by",
		json_sprintf("uid:%u", (unsigned)control_request_uid(r)));
	char *text = json_dumps(request, JSON_COMPACT);

	json_decref(request);
	if (text == NULL)
		control_reply_failure(r, "out of memory");
	else
		server_link_ask(
		    e->server, view_text(text), SERVER_MS, on_server_reply, r);
	free(text);
}

static const struct {
	const char *name;
	/* NULL: for the server */
	void (*run)(
	    struct engine *e, struct control_request *r, const json_t *args);
	bool officer; /* officers may give it */
} commands[] = {
    {"adapter.list", run_adapter_list, false},
    {"adapter.run", run_adapter, false},
    {"audit.run", command_audit_run, false},
    {"audit.status", command_audit_status, true},
    {"hold.add", command_hold_add, true},
    {"hold.list", command_hold_list, true},
    {"hold.release", command_hold_release, true},
    {"key.rotate", command_key_rotate, false},
    {"purge.approve", command_purge_approve, true},
    {"purge.dry-run", command_purge_dry, true},
    {"purge.run", command_purge_now, true},
    {"status", run_status, true},
    {"status.server", NULL, false},
    {"user.add", NULL, false},
    {"user.list", NULL, false},
    {"room.add", NULL, false},
    {"room.list", NULL, true},
    {"room.member.add", NULL, false},
};

void
command_run(void *arg, struct control_request *r, const char *command,
    const json_t *args)
{
	struct engine *e = arg;

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(commands[i].name, command) != 0)
			continue;
		if (control_request_is_officer(r) && !commands[i].officer)
			control_reply_error(r,
			    "%s: not a command for officers, but for root and "
			    "the owner of the state",
			    command);
		else if (commands[i].run == NULL)
			forward(e, r, command, args);
		else if (e->ledger == NULL)
			control_reply_failure(r, "the journal is not open yet");
		else
			commands[i].run(e, r, args);
		return;
	}
	control_reply_error(r, "%.64s: no such command", command);
}
