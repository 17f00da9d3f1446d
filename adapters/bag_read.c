#include "adapters/bag.h"

#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "adapters/message.h"
#include "compliance/line.h"

#define BLOCK ((size_t)64 << 10)
#define RECORDS "/data/records.jsonl"

static bool
refuse(struct buf *why, const char *what)
{
	if (why->len == 0)
		buf_put_text(why, what);
	return false;
}

static bool
is_records(const char *path)
{
	size_t n = path == NULL ? 0 : strlen(path);

	return n > strlen(RECORDS) &&
	    strcmp(path + n - strlen(RECORDS), RECORDS) == 0;
}

/* Every whole line that has come. */
static bool
take_lines(struct line_reader *lines, struct message *m, filing_event_cb *cb,
    void *arg, struct buf *why)
{
	for (;;) {
		struct view line;

		switch (line_reader_next(lines, ADAPTER_LINE_MAX, &line)) {
		case LINE_MORE:
			return true;
		case LINE_LONG:
			return refuse(why, "a record is too long");
		case LINE_WHOLE:
			break;
		}
		if (!message_parse(m, line, why))
			return false;
		if (m->type != MESSAGE_EVENT)
			return refuse(why, "a record is not understood");
		if (!cb(arg, &m->event))
			return false;
	}
}

static bool
read_records(
    struct archive *tar, filing_event_cb *cb, void *arg, struct buf *why)
{
	uint8_t block[BLOCK];
	struct line_reader lines;
	struct message m;
	la_ssize_t n;
	bool ok = true;

	line_reader_init(&lines);
	message_init(&m);
	while (ok && (n = archive_read_data(tar, block, sizeof block)) > 0)
		ok = line_reader_put(&lines, view_of(block, (size_t)n))
		    ? take_lines(&lines, &m, cb, arg, why)
		    : refuse(why, "out of memory");
	if (ok && n < 0)
		ok = refuse(why, "the tar file is damaged");
	message_release(&m);
	line_reader_release(&lines);
	return ok;
}

static bool
read_entries(
    struct archive *tar, filing_event_cb *cb, void *arg, struct buf *why)
{
	struct archive_entry *entry;
	bool found = false;
	int rc;

	while ((rc = archive_read_next_header(tar, &entry)) == ARCHIVE_OK) {
		if (found || !is_records(archive_entry_pathname(entry)))
			continue;
		if (!read_records(tar, cb, arg, why))
			return false;
		found = true;
	}
	if (rc != ARCHIVE_EOF)
		return refuse(why, "the tar file is damaged");
	return found || refuse(why, "there are no records in the bag");
}

bool
bag_read(int fd, filing_event_cb *cb, void *arg, struct buf *why)
{
	struct archive *tar = archive_read_new();
	bool ok;

	if (tar == NULL)
		return refuse(why, "out of memory");
	ok = archive_read_support_format_tar(tar) == ARCHIVE_OK &&
	    archive_read_support_filter_zstd(tar) == ARCHIVE_OK &&
	    archive_read_open_fd(tar, fd, BLOCK) == ARCHIVE_OK;
	ok = ok ? read_entries(tar, cb, arg, why)
		: refuse(why, "is no zstd-compressed tar file");
	(void)archive_read_free(tar); /* only read */
	return ok;
}
