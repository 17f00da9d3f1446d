#include "adapters/syslog_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "compliance/event.h"

#define PRIORITY 110 /* facility 13 (log audit), severity 6 (informational) */
/* 32473 is the enterprise number for examples (RFC 5612). */
#define SD_EVIDENCE "chancery@32473"
#define SD_READABLE "chanceryEvent@32473"
#define NAME_MAX_LEN 32  /* RFC 5424 SD-NAME */
#define HOST_MAX_LEN 255 /* RFC 5424 HOSTNAME */
#define READABLE_VALUE_MAX 256
#define CHUNK_MIN 16 /* shorter beginnings go to the next piece */
#define FIELDS_MAX 20

/* A value that needs no escaping and so may be cut anywhere. */
struct field {
	char name[NAME_MAX_LEN + 1];
	struct buf value;
};

struct message {
	const struct syslog_message_source *source;
	struct buf head;   /* up to and with the SD-ID */
	struct buf common; /* parameters of every piece */
	struct buf tail;   /* of the first piece: readable element and MSG */
	struct field fields[FIELDS_MAX];
	size_t field_count;
	struct buf pieces; /* the pieces' parameters one after another */
	struct buf ends;   /* size_t: where each ends */
};

static bool
is_printable(const char *s, size_t max)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (s[i] < 33 || s[i] > 126)
			return false;
	return n >= 1 && n <= max;
}

/* Like a value of a parameter, but with control characters as spaces. */
static void
put_readable(struct buf *b, struct view v, bool escape)
{
	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = v.p[i];

		if (escape && (c == '"' || c == '\\' || c == ']'))
			buf_put_u8(b, '\\');
		buf_put_u8(b, c < 0x20 || c == 0x7f ? ' ' : c);
	}
}

/* The longest beginning of at most max bytes that ends with a character. */
static struct view
shorten(struct view v, size_t max)
{
	if (v.n <= max)
		return v;
	while (max > 0 && (v.p[max] & 0xc0) == 0x80)
		max--;
	return view_of(v.p, max);
}

static void
put_parameter(struct buf *b, const char *name, struct view value)
{
	buf_printf(b, " %s=\"", name);
	put_readable(b, value, true);
	buf_put_u8(b, '"');
}

static struct buf *
add_field(struct message *m, const char *name)
{
	struct field *f = &m->fields[m->field_count++];

	(void)snprintf(f->name, sizeof f->name, "%s", name);
	buf_init(&f->value);
	/* so that an empty value has an address too; failed() looks later */
	(void)buf_reserve(&f->value, CHUNK_MIN);
	return &f->value;
}

static void
begin(struct message *m, const struct syslog_message_source *s, const char *id,
    const uint64_t *at)
{
	const char *host = is_printable(s->config->domain, HOST_MAX_LEN)
	    ? s->config->domain
	    : "-";

	*m = (struct message){.source = s};
	buf_init(&m->head);
	buf_init(&m->common);
	buf_init(&m->tail);
	buf_init(&m->pieces);
	buf_init(&m->ends);
	buf_printf(&m->head, "<%d>1 ", PRIORITY);
	if (at != NULL)
		text_put_time(&m->head, *at);
	else
		buf_put_u8(&m->head, '-');
	buf_printf(&m->head, " %s chancery - %s [" SD_EVIDENCE, host, id);
	put_parameter(&m->common, "origin", view_text(s->config->origin));
	put_parameter(&m->common, "adapter", view_text(s->config->adapter));
	if (s->batch != NULL)
		buf_printf(
		    &m->common, " batch=\"%" PRIu64 "\"", s->batch->number);
}

static void
release(struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++)
		buf_release(&m->fields[i].value);
	buf_release(&m->head);
	buf_release(&m->common);
	buf_release(&m->tail);
	buf_release(&m->pieces);
	buf_release(&m->ends);
}

/* Lays the fields out over pieces that leave room for the rest. */
static void
lay_out(struct message *m)
{
	static const char numbering[] =
	    " piece=\"4294967295\" pieces=\"4294967295\"]";
	size_t fixed = m->head.len + m->common.len + sizeof numbering;
	size_t used = fixed + m->tail.len;
	size_t limit = m->source->limit;
	size_t i = 0, at = 0;

	while (i < m->field_count) {
		const struct field *f = &m->fields[i];
		size_t frame = strlen(f->name) + sizeof " =\"\"" - 1;
		size_t left = f->value.len - at;
		size_t room = used + frame < limit ? limit - used - frame : 0;
		size_t n = left < room ? left : room;

		if (n < left && n < CHUNK_MIN) {
			buf_put(&m->ends, &m->pieces.len, sizeof(size_t));
			used = fixed;
			continue;
		}
		buf_printf(&m->pieces, " %s=\"", f->name);
		buf_put(&m->pieces, f->value.data + at, n);
		buf_put_u8(&m->pieces, '"');
		used += frame + n;
		at += n;
		if (at == f->value.len) {
			at = 0;
			i++;
		}
	}
	buf_put(&m->ends, &m->pieces.len, sizeof(size_t));
}

static bool
failed(const struct message *m)
{
	bool bad = m->head.failed || m->common.failed || m->tail.failed ||
	    m->pieces.failed || m->ends.failed;

	for (size_t i = 0; i < m->field_count; i++)
		bad |= m->fields[i].value.failed;
	/* the first piece must have room for more than its frame */
	return bad ||
	    m->head.len + m->common.len + m->tail.len >
	    m->source->limit - m->source->limit / 4;
}

static bool
put_pieces(struct message *m)
{
	const size_t *ends;
	size_t count, at = 0;
	struct buf out;
	bool ok = true;

	if (failed(m))
		return false;
	lay_out(m);
	if (failed(m))
		return false;
	ends = (const size_t *)(const void *)m->ends.data;
	count = m->ends.len / sizeof *ends;
	buf_init(&out);
	(void)buf_reserve(&m->pieces, 1); /* as the fields' values */
	for (size_t i = 0; ok && i < count; i++) {
		buf_clear(&out);
		buf_put_view(&out, buf_view(&m->head));
		buf_put_view(&out, buf_view(&m->common));
		buf_printf(&out, " piece=\"%zu\" pieces=\"%zu\"", i + 1, count);
		buf_put(&out, m->pieces.data + at, ends[i] - at);
		buf_put_u8(&out, ']');
		if (i == 0)
			buf_put_view(&out, buf_view(&m->tail));
		at = ends[i];
		ok = !out.failed &&
		    m->source->put(m->source->arg, buf_view(&out));
	}
	buf_release(&out);
	return ok;
}

static bool
is_name(const char *s)
{
	return is_printable(s, NAME_MAX_LEN) && strpbrk(s, "=]\"") == NULL;
}

/* Envelope fields as parameters, as many as the budget has room for. */
static void
put_envelope(struct buf *b, json_t *envelope, size_t budget)
{
	const char *name;
	json_t *v;

	json_object_foreach(envelope, name, v)
	{
		char *text = NULL;
		struct view value;

		if (!is_name(name) || strcmp(name, "v") == 0 ||
		    strcmp(name, "type") == 0)
			continue;
		if (json_is_string(v)) {
			value = view_of(
			    json_string_value(v), json_string_length(v));
		} else {
			text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
			value = view_text(text == NULL ? "" : text);
		}
		value = shorten(value, READABLE_VALUE_MAX);
		/* each byte may need a backslash */
		if (b->len + strlen(name) + 2 * value.n + 4 < budget)
			put_parameter(b, name, value);
		free(text);
	}
}

static json_t *
load(const struct adapter_part *p)
{
	return json_loadb(
	    (const char *)p->data.p, p->data.n, JSON_ALLOW_NUL, NULL);
}

/* The element and the text that people and SIEMs read; may be empty. */
static void
put_tail(struct message *m, const struct adapter_event *e)
{
	size_t limit = m->source->limit;
	json_t *envelope = e->parts > 0 ? load(&e->part[0]) : NULL;
	json_t *content =
	    e->kind == EVENT_POST && e->parts > 1 ? load(&e->part[1]) : NULL;
	json_t *text = json_object_get(content, "text");

	if (json_is_object(envelope)) {
		buf_put_text(&m->tail, "[" SD_READABLE);
		put_envelope(&m->tail, envelope, limit / 4);
		buf_put_u8(&m->tail, ']');
	}
	if (json_is_string(text)) {
		buf_put_u8(&m->tail, ' ');
		put_readable(&m->tail,
		    shorten(view_of(json_string_value(text),
				json_string_length(text)),
			limit / 8),
		    false);
	}
	json_decref(envelope);
	json_decref(content);
}

/* The leaf has no '|', so LF becomes that: one line, and reversible. */
static void
put_leaf(struct buf *b, struct view leaf)
{
	for (size_t i = 0; i < leaf.n; i++)
		buf_put_u8(b, leaf.p[i] == '\n' ? '|' : leaf.p[i]);
}

/* True when every byte is of the leaf's closed alphabet. */
static bool
leaf_is_plain(struct view leaf)
{
	for (size_t i = 0; i < leaf.n; i++)
		if (leaf.p[i] != '\n' &&
		    (leaf.p[i] < 0x20 || leaf.p[i] > 0x7e ||
			strchr("|\"\\]", leaf.p[i]) != NULL))
			return false;
	return true;
}

bool
syslog_message_event(
    const struct syslog_message_source *s, const struct adapter_event *e)
{
	const char *name = event_name(e->kind);
	char text[NAME_MAX_LEN];
	struct message m;
	bool ok;

	if (!leaf_is_plain(e->leaf))
		return false;
	(void)snprintf(text, sizeof text, "kind-%u", e->kind);
	begin(&m, s, name != NULL ? name : text, &e->at);
	buf_printf(
	    &m.common, " seq=\"%" PRIu64 "\" kind=\"%u\"", e->seq, e->kind);
	if (e->purged)
		buf_put_text(&m.common, " purged=\"true\"");
	put_leaf(add_field(&m, "leaf"), e->leaf);
	for (size_t i = 0; i < e->parts; i++) {
		(void)snprintf(text, sizeof text, "salt%zu", i);
		text_put_base64(add_field(&m, text), e->part[i].salt,
		    sizeof e->part[i].salt);
		(void)snprintf(text, sizeof text, "data%zu", i);
		text_put_base64(
		    add_field(&m, text), e->part[i].data.p, e->part[i].data.n);
	}
	put_tail(&m, e);
	ok = put_pieces(&m);
	release(&m);
	return ok;
}

static void
put_hashes(struct buf *b, struct view hashes)
{
	for (size_t i = 0; i < hashes.n; i += ADAPTER_HASH_LEN) {
		if (i != 0)
			buf_put_u8(b, ',');
		text_put_base64(b, hashes.p + i, ADAPTER_HASH_LEN);
	}
}

bool
syslog_message_batch(const struct syslog_message_source *s)
{
	const struct adapter_batch *b = s->batch;
	const char *vkey = b->vkey != NULL ? b->vkey : s->config->vkey;
	struct message m;
	bool ok;

	begin(&m, s, "batch", NULL);
	buf_printf(&m.common,
	    " first=\"%" PRIu64 "\" last=\"%" PRIu64 "\" count=\"%" PRIu64
	    "\" size=\"%" PRIu64 "\"",
	    b->first, b->last, b->count, b->size);
	put_parameter(&m.common, "root", view_text(b->root));
	text_put_base64(add_field(&m, "vkey"), vkey, strlen(vkey));
	text_put_base64(add_field(&m, "note"), b->note, strlen(b->note));
	put_hashes(add_field(&m, "left"), b->left);
	put_hashes(add_field(&m, "right"), b->right);
	ok = put_pieces(&m);
	release(&m);
	return ok;
}

bool
syslog_message_end(const struct syslog_message_source *s)
{
	const struct adapter_batch *b = s->batch;
	struct message m;
	bool ok;

	begin(&m, s, "end", NULL);
	buf_printf(&m.common,
	    " first=\"%" PRIu64 "\" last=\"%" PRIu64 "\" count=\"%" PRIu64 "\"",
	    b->first, b->last, b->count);
	put_parameter(&m.common, "root", view_text(b->root));
	ok = put_pieces(&m);
	release(&m);
	return ok;
}

/* The body, the empty line and the lines of one name. */
static void
put_own_lines(struct buf *out, const char *note, size_t body, struct view name)
{
	static const char dash[] = "\xe2\x80\x94 ";
	const char *line = note + body, *next;

	buf_put(out, note, body);
	for (; (next = strchr(line, '\n')) != NULL; line = next + 1) {
		size_t n = sizeof dash - 1;

		if (strncmp(line, dash, n) == 0 &&
		    strncmp(line + n, (const char *)name.p, name.n) == 0 &&
		    line[n + name.n] == ' ')
			buf_put(out, line, (size_t)(next + 1 - line));
	}
}

static bool
put_checkpoint(const struct syslog_message_source *s,
    const struct adapter_checkpoint *c, struct view note, struct view readable)
{
	struct syslog_message_source bare = *s;
	struct message m;
	size_t fixed;
	bool ok;

	bare.batch = NULL;
	begin(&m, &bare, "checkpoint", NULL);
	buf_printf(&m.common, " size=\"%" PRIu64 "\"", c->size);
	text_put_base64(add_field(&m, "note"), note.p, note.n);
	buf_put_u8(&m.tail, ' ');
	put_readable(&m.tail, readable, false);
	fixed = m.head.len + m.common.len + m.tail.len + 64;
	ok = fixed + m.fields[0].value.len <= s->limit && put_pieces(&m);
	release(&m);
	return ok;
}

bool
syslog_message_checkpoint(
    const struct syslog_message_source *s, const struct adapter_checkpoint *c)
{
	const char *blank = strstr(c->note, "\n\n");
	struct view readable, origin;
	struct buf own;
	bool ok;

	if (blank == NULL)
		return false;
	readable = view_of(c->note, (size_t)(blank - c->note));
	origin = view_of(c->note, strcspn(c->note, "\n"));
	if (put_checkpoint(s, c, view_text(c->note), readable))
		return true;
	buf_init(&own);
	put_own_lines(&own, c->note, readable.n + 2, origin);
	ok = !own.failed && own.len < strlen(c->note) &&
	    put_checkpoint(s, c, buf_view(&own), readable);
	buf_release(&own);
	return ok;
}
