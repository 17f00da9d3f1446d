#include "export/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

#include "compliance/leaf.h"
#include "compliance/note.h"

#include "export/source_format.h"

struct source {
	const char *path;
	struct scan *scan; /* a journal; else an archive: */
	const struct source_format *format;
	void *self;
	struct buf note;
	uint64_t note_size;
	char why[256];
};

/* With a write-ahead log beside it the journal may be live. */
static bool
is_copy(const char *path)
{
	char wal[4096];
	struct stat st;
	int n = snprintf(wal, sizeof wal, "%s-wal", path);

	return n < 0 || (size_t)n >= sizeof wal || stat(wal, &st) != 0;
}

struct source *
source_open(const char *path, enum verify_type type, char *why, size_t why_len)
{
	struct source *s = calloc(1, sizeof *s);
	bool open = false;

	(void)snprintf(why, why_len, "out of memory");
	if (s == NULL)
		return NULL;
	s->path = path;
	buf_init(&s->note);
	switch (type) {
	case VERIFY_TYPE_JOURNAL:
		s->scan = scan_open(path, is_copy(path), why, why_len);
		open = s->scan != NULL;
		break;
	case VERIFY_TYPE_BAG:
		s->format = &source_bag;
		break;
	case VERIFY_TYPE_XML:
		s->format = &source_xml;
		break;
	case VERIFY_TYPE_PROOF:
	case VERIFY_TYPE_CERTIFICATE:
	case VERIFY_TYPE_UNKNOWN:
		(void)snprintf(
		    why, why_len, "neither a journal nor an archive");
		break;
	}
	if (s->format != NULL) {
		s->self = s->format->open(path, why, why_len);
		open = s->self != NULL;
	}
	if (open)
		return s;
	source_close(s);
	return NULL;
}

uint64_t
source_time(struct view leaf)
{
	struct leaf parsed;
	const char *why;

	return leaf_parse(leaf, &parsed, &why) ? parsed.head.at : 0;
}

/* NULL, or what is wrong with the record by itself. */
static const char *
breach(const struct scan_record *r)
{
	struct leaf leaf;
	const char *why;
	uint8_t commitment[32];

	if (!leaf_parse(r->leaf, &leaf, &why))
		return why;
	if (leaf.head.seq != r->seq || leaf.head.kind != r->kind)
		return "the leaf is of another record";
	if (leaf.parts == 0)
		return r->parts > 0 || r->purged ? "a control record with parts"
						 : NULL;
	if (r->purged)
		return NULL;
	if (r->parts != leaf.parts)
		return "not all parts are there";
	for (unsigned i = 0; i < r->parts; i++) {
		if (r->part[i].salt.n != LEAF_SALT_LEN)
			return "a salt is not of 32 bytes";
		leaf_commit(r->part[i].salt.p, r->part[i].data, commitment);
		if (memcmp(commitment, leaf.commitment[i], 32) != 0)
			return "a part is not what the leaf commits to";
	}
	return NULL;
}

static void
take_note(struct source *s)
{
	struct note note;
	const char *why;

	if (s->note_size == 0 && s->note.len > 0 &&
	    note_parse(buf_view(&s->note), &note, &why))
		s->note_size = note.size;
}

enum source_verdict
source_next(struct source *s, struct scan_record *out)
{
	const char *why;
	int r;

	if (s->scan != NULL) {
		r = scan_next(s->scan, out);
		if (r == 1 && scan_named(s->scan, out) != 0)
			r = -1;
		if (r < 0)
			(void)snprintf(
			    s->why, sizeof s->why, "%s", scan_error(s->scan));
	} else {
		r = s->format->next(
		    s->self, out, &s->note, s->why, sizeof s->why);
		take_note(s);
	}
	if (r <= 0)
		return r == 0 ? SOURCE_END : SOURCE_BROKEN;
	why = breach(out);
	if (why == NULL)
		return SOURCE_RECORD;
	(void)snprintf(
	    s->why, sizeof s->why, "record %" PRIu64 ": %s", out->seq, why);
	return SOURCE_UNSOUND;
}

bool
source_note(struct source *s, uint64_t size, struct view *note)
{
	uint64_t newest = 0;
	int r;

	if (s->scan == NULL) {
		*note = buf_view(&s->note);
		return s->note_size == size && size > 0;
	}
	buf_clear(&s->note);
	r = scan_cosigned(s->scan, size, &s->note);
	if (r == 0 && scan_note(s->scan, &newest, &s->note) == 0 &&
	    newest == size && size > 0)
		r = 1;
	*note = buf_view(&s->note);
	return r == 1 && !s->note.failed;
}

uint64_t
source_note_size(const struct source *s)
{
	return s->scan == NULL ? s->note_size : 0;
}

const char *
source_error(const struct source *s)
{
	return s->why;
}

void
source_close(struct source *s)
{
	if (s == NULL)
		return;
	scan_close(s->scan);
	if (s->format != NULL && s->self != NULL)
		s->format->close(s->self);
	buf_release(&s->note);
	free(s);
}
