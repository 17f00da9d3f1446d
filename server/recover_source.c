#include "server/recover_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compliance/adapter_says.h"
#include "compliance/line.h"

#define BLOCK ((size_t)256 << 10)
#define LINE_MAX_BYTES ((size_t)64 << 20)
#define PROGRESS_RECORDS 4096

struct recover_source {
	int fd;
	bool ended, progress;
	bool again; /* the item that was read is still due */
	enum journal_import_item item;
	struct line_reader lines;
	struct adapter_says says;
	uint64_t line, records;
	uint8_t block[BLOCK];
	char name[256];
	char why[256];
};

struct recover_source *
recover_source_open(const char *path, bool progress, char *why, size_t why_len)
{
	struct recover_source *s = calloc(1, sizeof *s);

	if (s == NULL) {
		(void)snprintf(why, why_len, "out of memory");
		return NULL;
	}
	line_reader_init(&s->lines);
	s->progress = progress;
	s->fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
				       : open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(s->name, sizeof s->name, "%s",
	    strcmp(path, "-") == 0 ? "standard input" : path);
	if (s->fd >= 0)
		return s;
	(void)snprintf(why, why_len, "%s: %s", s->name, strerror(errno));
	recover_source_close(s);
	return NULL;
}

/* 1 and a line, 0 at the end, -1. */
static int
next_line(struct recover_source *s, struct view *line)
{
	for (;;) {
		ssize_t n;

		switch (line_reader_next(&s->lines, LINE_MAX_BYTES, line)) {
		case LINE_WHOLE:
			s->line++;
			return 1;
		case LINE_LONG:
			(void)snprintf(s->why, sizeof s->why,
			    "%.120s: line %" PRIu64 " is too long", s->name,
			    s->line + 1);
			return -1;
		case LINE_MORE:
			break;
		}
		if (s->ended)
			return 0;
		do
			n = read(s->fd, s->block, sizeof s->block);
		while (n < 0 && errno == EINTR);
		if (n < 0 ||
		    !line_reader_put(&s->lines, view_of(s->block, (size_t)n))) {
			(void)snprintf(s->why, sizeof s->why, "%.120s: %s",
			    s->name, n < 0 ? strerror(errno) : "out of memory");
			return -1;
		}
		s->ended = n == 0;
	}
}

static bool
is_checkpoint(const struct adapter_says *a)
{
	const char *type = json_string_value(json_object_get(a->json, "type"));

	return type != NULL && strcmp(type, "checkpoint") == 0 &&
	    json_is_string(json_object_get(a->json, "note"));
}

/* Reads up to the next line that matters. */
static enum journal_import_item
read_item(struct recover_source *s)
{
	const char *why;
	struct view line;
	int r;

	while ((r = next_line(s, &line)) == 1) {
		adapter_says_release(&s->says);
		if (adapter_says_parse(line, &s->says, &why) != 0) {
			(void)snprintf(s->why, sizeof s->why,
			    "%.120s: line %" PRIu64 ": %s", s->name, s->line,
			    why);
			return IMPORT_FAILED;
		}
		if (s->says.said == SAID_EVENT)
			return IMPORT_RECORD;
		if (s->says.said == SAID_OTHER && is_checkpoint(&s->says))
			return IMPORT_NOTE;
	}
	return r == 0 ? IMPORT_END : IMPORT_FAILED;
}

static void
fill(struct journal_record *out, const struct adapter_says *e)
{
	out->seq = e->seq;
	out->leaf = e->leaf;
	out->parts = e->parts;
	out->named = e->named;
	for (unsigned i = 0; i < e->parts; i++) {
		memcpy(out->salt[i], e->part[i].salt, sizeof out->salt[i]);
		out->data[i] = e->part[i].data;
	}
}

static void
show_progress(struct recover_source *s, bool end)
{
	if (!s->progress || (!end && s->records % PROGRESS_RECORDS != 0))
		return;
	fprintf(stderr, "\r%" PRIu64 " records read%s", s->records,
	    end ? "\n" : "");
	(void)fflush(stderr); /* a sight only */
}

static enum journal_import_item
next_item(
    struct journal_import *in, struct journal_record *record, struct view *note)
{
	struct recover_source *s = in->arg;
	const json_t *text;

	if (!s->again)
		s->item = read_item(s);
	s->again = false;
	switch (s->item) {
	case IMPORT_RECORD:
		fill(record, &s->says);
		s->records++;
		show_progress(s, false);
		break;
	case IMPORT_NOTE:
		text = json_object_get(s->says.json, "note");
		*note =
		    view_of(json_string_value(text), json_string_length(text));
		break;
	case IMPORT_FAILED:
		(void)snprintf(in->why, sizeof in->why, "%s", s->why);
		in->unread = true;
		break;
	case IMPORT_END:
		show_progress(s, true);
		break;
	}
	return s->item;
}

void
recover_source_feed(struct recover_source *s, struct journal_import *import)
{
	import->next = next_item;
	import->arg = s;
}

int
recover_source_first(struct recover_source *s, struct journal_record *record,
    char *why, size_t why_len)
{
	do
		s->item = read_item(s);
	while (s->item == IMPORT_NOTE);
	s->again = true;
	if (s->item == IMPORT_RECORD)
		fill(record, &s->says);
	if (s->item == IMPORT_FAILED)
		(void)snprintf(why, why_len, "%s", s->why);
	return s->item == IMPORT_RECORD ? 1 : s->item == IMPORT_END ? 0 : -1;
}

void
recover_source_close(struct recover_source *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		(void)close(s->fd); /* only read from */
	adapter_says_release(&s->says);
	line_reader_release(&s->lines);
	free(s);
}
