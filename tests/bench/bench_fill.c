#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/tree.h"

/*
 * Makes a long journal of a state whose daemon is stopped: posts through the
 * gate, and batches with acknowledgements of one adapter so that they can be
 * purged (no archive holds them). Prints how long it took and how the pace of
 * the last tenth compares with that of the first.
 * Usage: bench_fill JOURNAL EVENTS ROOM USER ADAPTER
 */

#define GROUP 1000
#define BATCH 10000 /* records handed to the adapter at once */
#define TEXT_LEN 278
#define WAL_PAGES 1000

struct fill {
	struct journal *journal;
	const char *room, *user, *adapter;
	uint64_t chat;       /* number of the next message */
	uint64_t batch, cut; /* number of the last batch, first record after */
	int mark;
	struct buf parts, fields;
};

static double
now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0)
		exit(3);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_fill: %s: %s\n", what, why);
	exit(3);
}

static void
append(struct fill *f, struct journal_event *events, size_t n)
{
	int pages;

	if (journal_append(f->journal, events, n) != 0)
		die("append", journal_error(f->journal));
	pages = journal_wal_pages(f->journal);
	if (pages < f->mark)
		f->mark = 0;
	if (pages - f->mark < WAL_PAGES)
		return;
	f->mark = pages;
	if (journal_checkpoint(f->journal) != 0)
		die("checkpoint", journal_error(f->journal));
}

static void
append_posts(struct fill *f, unsigned count)
{
	static struct journal_event group[GROUP];
	size_t end[GROUP][2];
	char text[TEXT_LEN + 1];

	memset(text, 'x', TEXT_LEN);
	text[TEXT_LEN] = '\0';
	buf_clear(&f->parts);
	for (unsigned i = 0; i < count; i++, f->chat++) {
		buf_printf(&f->parts,
		    "{\"v\":1,\"type\":\"post\",\"id\":\"beefbeef-%" PRIu64
		    "\",\"room\":\"%s\",\"roomname\":\"Long\",\"user\":\"%s\","
		    "\"name\":\"Ann\",\"auth\":\"digest-sha256\","
		    "\"device\":\"-\",\"chat\":%" PRIu64
		    ",\"client\":\"c@h %" PRIu64 "\"}",
		    f->chat, f->room, f->user, f->chat, f->chat);
		end[i][0] = f->parts.len;
		buf_printf(&f->parts, "{\"v\":1,\"text\":\"%s\"}", text);
		end[i][1] = f->parts.len;
	}
	if (f->parts.failed)
		die("posts", "out of memory");
	for (unsigned i = 0; i < count; i++) {
		size_t start = i == 0 ? 0 : end[i - 1][1];

		group[i] = (struct journal_event){.kind = EVENT_POST,
		    .parts = 2,
		    .part = {view_of(f->parts.data + start, end[i][0] - start),
			view_of(
			    f->parts.data + end[i][0], end[i][1] - end[i][0])}};
	}
	append(f, group, count);
}

static void
append_control(struct fill *f, unsigned kind)
{
	struct journal_event e = {.kind = kind, .fields = buf_view(&f->fields)};

	if (f->fields.failed)
		die("fields", "out of memory");
	append(f, &e, 1);
}

/* One batch over all that is new, and its acknowledgement. */
static void
append_batch(struct fill *f)
{
	uint64_t size = journal_size(f->journal), first = f->cut;
	uint8_t root[TREE_HASH_LEN];

	journal_root(f->journal, root);
	f->cut = size;
	f->batch++;
	buf_clear(&f->fields);
	buf_printf(&f->fields,
	    "adapter %s\nbatch %" PRIu64 "\nfirst %" PRIu64 "\nlast %" PRIu64
	    "\ncount %" PRIu64 "\nsize %" PRIu64 "\nroot ",
	    f->adapter, f->batch, first, size - 1, size - first, size);
	text_put_base64(&f->fields, root, sizeof root);
	buf_put_u8(&f->fields, '\n');
	append_control(f, EVENT_BATCH);
	buf_clear(&f->fields);
	buf_printf(&f->fields,
	    "adapter %s\nbatch %" PRIu64 "\nfirst %" PRIu64 "\nlast %" PRIu64
	    "\nstate stored\nlocation -\nsha256 -\nbytes 0\nreadback no\n",
	    f->adapter, f->batch, first, size - 1);
	append_control(f, EVENT_ACK);
}

int
main(int argc, char **argv)
{
	struct fill f = {.chat = 1};
	uint64_t events, tenth;
	double start, first = 0, last = 0;
	char why[512];

	if (argc != 6 || (events = strtoull(argv[2], NULL, 10)) < BATCH)
		die("usage", "bench_fill JOURNAL EVENTS ROOM USER ADAPTER");
	f.room = argv[3];
	f.user = argv[4];
	f.adapter = argv[5];
	buf_init(&f.parts);
	buf_init(&f.fields);
	crypto_init();
	f.journal = journal_open(argv[1], why, sizeof why);
	if (f.journal == NULL)
		die("open", why);
	tenth = events / 10;
	start = now();
	for (uint64_t done = 0; done < events; done += GROUP) {
		append_posts(&f, GROUP);
		if ((done + GROUP) % BATCH == 0)
			append_batch(&f);
		if (done + GROUP == tenth)
			first = now() - start;
		if (done + GROUP == events - tenth)
			last = now();
	}
	(void)printf("fill %.1f s\n", now() - start);
	(void)printf("first_tenth %.0f events/s\n", (double)tenth / first);
	(void)printf(
	    "last_tenth %.0f events/s\n", (double)tenth / (now() - last));
	(void)printf("cut %" PRIu64 "\n", f.cut);
	if (journal_truncate(f.journal) != 0)
		die("truncate", journal_error(f.journal));
	journal_close(f.journal);
	buf_release(&f.parts);
	buf_release(&f.fields);
	return 0;
}
