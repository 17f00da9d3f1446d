#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

#include "compliance/cosign.h"
#include "compliance/keeper_state.h"
#include "compliance/note.h"
#include "compliance/wire.h"

/*
 * What witnesses and time-stamp authorities said, as the engine hands it in:
 * stored beside the checkpoint that it is about, after a check of our own.
 */

#define TOKEN_MAX 65536
#define DER_SEQUENCE 0x30

void
keeper_check_witnesses(const struct conf *conf)
{
	for (size_t i = 0; i < conf->witness_count; i++) {
		const struct conf_witness *w = &conf->witnesses[i];
		struct note_vkey key;

		if (!cosign_parse_vkey(view_text(w->vkey), &key))
			log_fatal("%s:%d: witness %s: the key's id does not "
				  "belong to it",
			    conf->path, w->line, w->name);
	}
}

void
keeper_put_anchors(struct buf *fields, const struct conf *conf)
{
	struct buf keys;

	buf_init(&keys);
	for (size_t i = 0; i < conf->witness_count; i++)
		buf_printf(
		    &keys, "%s%s", i > 0 ? "," : "", conf->witnesses[i].vkey);
	if (keys.len == 0)
		buf_put_text(&keys, "-");
	leaf_put_number(fields, "quorum", conf->anchors.quorum);
	leaf_put_field(fields, "witnesses", buf_view(&keys));
	leaf_put_field(
	    fields, "stamp", view_text(conf->stamp.required ? "yes" : "no"));
	fields->failed |= keys.failed;
	buf_release(&keys);
}

static void
refuse(struct keeper *k, uint64_t ref, const char *why)
{
	struct buf *out;

	if (k->engine.link == NULL)
		return;
	out = ipc_begin(k->engine.link, WIRE_REFUSED);
	buf_put_u64(out, ref);
	buf_put_text(out, why);
	ipc_end(k->engine.link);
}

/* Stores it and answers: evidence is no record, so it has no number. */
static void
store(struct keeper *k, uint64_t ref, const struct journal_evidence *e)
{
	struct buf *out;

	if (journal_evidence(k->journal, e) != 0) {
		keeper_storage_failed(k);
		refuse(k, ref, k->why);
		return;
	}
	if (k->engine.link == NULL)
		return;
	out = ipc_begin(k->engine.link, WIRE_RECEIPT);
	buf_put_u32(out, 1);
	buf_put_u64(out, ref);
	buf_put_u64(out, 0);
	buf_put_u64(out, 0);
	ipc_end(k->engine.link);
}

/* Whether a configured witness made the line for the checkpoint. */
static bool
line_holds(const struct conf *conf, const struct cosign *c, struct view body)
{
	for (size_t i = 0; i < conf->witness_count; i++) {
		struct note_vkey key;

		if (cosign_parse_vkey(
			view_text(conf->witnesses[i].vkey), &key) &&
		    cosign_verify(c, body, &key))
			return true;
	}
	return false;
}

/* Appends the checkpoint's note; answers the engine when it cannot. */
static bool
find_checkpoint(struct keeper *k, uint64_t ref, uint64_t size, struct buf *text)
{
	if (!keeper_writable(k)) {
		refuse(k, ref, k->why);
		return false;
	}
	if (journal_checkpoint_note(k->journal, size, text) == 0)
		return true;
	refuse(k, ref, journal_error(k->journal));
	return false;
}

bool
keeper_on_cosig(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	uint64_t size = reader_u64(&r);
	struct view line = reader_rest(&r);
	struct buf text;
	struct note note;
	struct cosign c;
	const char *why;

	if (!reader_done(&r))
		return false;
	buf_init(&text);
	if (find_checkpoint(k, ref, size, &text)) {
		if (!cosign_parse_line(line, &c) ||
		    !note_parse(buf_view(&text), &note, &why) ||
		    !line_holds(k->conf, &c, note.body))
			refuse(k, ref,
			    "the line is not of a configured witness, or not "
			    "for this checkpoint");
		else
			store(k, ref,
			    &(struct journal_evidence){
				size, c.name, c.time, line});
	}
	buf_release(&text);
	return true;
}

bool
keeper_on_stamp(struct keeper *k, struct view payload)
{
	struct reader r = reader_of(payload);
	uint64_t ref = reader_u64(&r);
	struct journal_evidence e = {.size = reader_u64(&r)};
	struct buf text;

	e.at = reader_u64(&r);
	e.bytes = reader_rest(&r);
	if (!reader_done(&r))
		return false;
	buf_init(&text);
	if (find_checkpoint(k, ref, e.size, &text)) {
		if (e.bytes.n < 2 || e.bytes.n > TOKEN_MAX ||
		    e.bytes.p[0] != DER_SEQUENCE || e.at > INT64_MAX)
			refuse(k, ref, "this is no time-stamp token");
		else
			store(k, ref, &e);
	}
	buf_release(&text);
	return true;
}
