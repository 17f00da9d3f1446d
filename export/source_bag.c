#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "compliance/adapter_says.h"
#include "compliance/event.h"
#include "compliance/line.h"
#include "compliance/note.h"

#include "export/source_format.h"

/* A bag of the tarball adapter; chancery-adapter(7), TARBALL. */

#define BLOCK ((size_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)16 << 20)

struct bag {
	struct archive *tar;
	struct line_reader lines;
	struct adapter_says event;
	bool inside; /* data/records.jsonl */
	bool drained;
	uint8_t block[BLOCK];
};

static int
fail(char *why, size_t why_len, const char *reason)
{
	(void)snprintf(why, why_len, "%s", reason); /* for people */
	return -1;
}

static void
bag_close(void *self)
{
	struct bag *b = self;

	adapter_says_release(&b->event);
	line_reader_release(&b->lines);
	(void)archive_read_free(b->tar); /* only read */
	free(b);
}

static void *
bag_open(const char *path, char *why, size_t why_len)
{
	struct bag *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	line_reader_init(&b->lines);
	b->tar = archive_read_new();
	if (b->tar != NULL &&
	    archive_read_support_format_tar(b->tar) == ARCHIVE_OK &&
	    archive_read_support_filter_zstd(b->tar) == ARCHIVE_OK &&
	    archive_read_open_filename(b->tar, path, BLOCK) == ARCHIVE_OK)
		return b;
	(void)snprintf(why, why_len, "%s",
	    b->tar != NULL && archive_error_string(b->tar) != NULL
		? archive_error_string(b->tar)
		: "out of memory");
	bag_close(b);
	return NULL;
}

/* What follows the bag's folder. */
static bool
is_entry(struct archive_entry *entry, const char *name)
{
	const char *path = archive_entry_pathname(entry);
	const char *slash = path == NULL ? NULL : strchr(path, '/');

	return slash != NULL && strcmp(slash + 1, name) == 0;
}

static bool
read_checkpoint(struct bag *b, struct buf *note)
{
	la_ssize_t n = 0;

	buf_clear(note);
	while (note->len <= NOTE_MAX &&
	    (n = archive_read_data(b->tar, b->block, sizeof b->block)) > 0)
		buf_put(note, b->block, (size_t)n);
	return note->len <= NOTE_MAX && n == 0 && !note->failed;
}

/* 1: the records follow; 0: there are none; -1. */
static int
find_records(struct bag *b, struct buf *note, char *why, size_t why_len)
{
	struct archive_entry *entry;
	int rc;

	while ((rc = archive_read_next_header(b->tar, &entry)) == ARCHIVE_OK) {
		if (is_entry(entry, "data/records.jsonl")) {
			b->inside = true;
			return 1;
		}
		if (is_entry(entry, "data/checkpoint") &&
		    !read_checkpoint(b, note))
			return fail(why, why_len, "its checkpoint is damaged");
	}
	return fail(why, why_len,
	    rc == ARCHIVE_EOF ? "there are no records in the bag"
			      : "the tar file is damaged");
}

/* 1 and a line, 0 at the end, -1. */
static int
next_line(struct bag *b, struct view *line, char *why, size_t why_len)
{
	for (;;) {
		la_ssize_t n;

		switch (line_reader_next(&b->lines, LINE_MAX_BYTES, line)) {
		case LINE_WHOLE:
			return 1;
		case LINE_LONG:
			return fail(why, why_len, "a record is too long");
		case LINE_MORE:
			break;
		}
		if (b->drained)
			return 0;
		n = archive_read_data(b->tar, b->block, sizeof b->block);
		if (n < 0)
			return fail(why, why_len, "the tar file is damaged");
		b->drained = n == 0;
		if (!line_reader_put(&b->lines, view_of(b->block, (size_t)n)))
			return fail(why, why_len, "out of memory");
	}
}

static void
fill(struct scan_record *out, const struct adapter_says *e)
{
	*out = (struct scan_record){
	    .seq = e->seq,
	    .at = source_time(e->leaf),
	    .kind = e->kind,
	    .leaf = e->leaf,
	    .parts = e->parts,
	    .purged = e->parts == 0 && e->kind < EVENT_CONTROL,
	    .named = e->named,
	};
	for (unsigned i = 0; i < e->parts; i++) {
		out->part[i].salt =
		    view_of(e->part[i].salt, sizeof e->part[i].salt);
		out->part[i].data = e->part[i].data;
	}
}

static int
bag_next(void *self, struct scan_record *out, struct buf *note, char *why,
    size_t why_len)
{
	struct bag *b = self;
	const char *reason;
	struct view line;
	int r = b->inside ? 1 : find_records(b, note, why, why_len);

	if (r == 1)
		r = next_line(b, &line, why, why_len);
	if (r != 1)
		return r;
	adapter_says_release(&b->event);
	if (adapter_says_parse(line, &b->event, &reason) != 0)
		return fail(why, why_len, reason);
	if (b->event.said != SAID_EVENT)
		return fail(why, why_len, "a line is no record");
	fill(out, &b->event);
	return 1;
}

const struct source_format source_bag = {bag_open, bag_next, bag_close};
