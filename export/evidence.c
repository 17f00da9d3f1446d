#include "export/evidence.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "compliance/batch.h"

#include "export/outfile.h"
#include "export/source.h"

#define EXIT_UNSOUND 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define GAPS_SHOWN 8

/* A file; of an archive the checkpoint is kept after it was closed. */
struct input {
	const char *path;
	enum verify_type type;
	struct source *source; /* NULL: not open */
	struct scan_record record;
	uint64_t first; /* its first sound record; UINT64_MAX: none */
	uint64_t note_size;
	char *note;
};

struct run {
	struct input *input;
	size_t count;
	size_t opened; /* those before it were opened */
	struct outfile out;
	struct buf text;
	struct buf last_note;
	uint64_t next; /* after the record that was written last */
	uint64_t records, first;
	uint64_t gaps;
	bool looking; /* what is found is said when it is read again */
	bool unsound, failed;
};

static const char usage_text[] =
    "usage: chancery-export evidence [-o FILE] PATH...\n"
    "PATH is a journal, an archive of the tarball or xml adapter, or a "
    "folder.\n"
    "Exit status: 0 written, 1 something was unsound or missing, 2 usage, "
    "3 system.\n";

static void
say(const struct input *in, const char *why)
{
	fprintf(stderr, "chancery-export: %s: %s\n", in->path, why);
}

/* The next sound record of an open input; closes it at its end. */
static void
advance(struct run *run, struct input *in)
{
	for (;;) {
		switch (source_next(in->source, &in->record)) {
		case SOURCE_RECORD:
			return;
		case SOURCE_UNSOUND:
			if (!run->looking)
				say(in, source_error(in->source));
			run->unsound = true;
			continue;
		case SOURCE_BROKEN:
			say(in, source_error(in->source));
			run->unsound = true;
			break;
		case SOURCE_END:
			break;
		}
		source_close(in->source);
		in->source = NULL;
		return;
	}
}

static bool
open_input(struct run *run, struct input *in)
{
	char why[512];

	in->source = source_open(in->path, in->type, why, sizeof why);
	if (in->source == NULL) {
		/* the reasons of SQLite begin with the path themselves */
		if (strncmp(why, in->path, strlen(in->path)) == 0)
			fprintf(stderr, "chancery-export: %s\n", why);
		else
			say(in, why);
		run->unsound = true;
		return false;
	}
	advance(run, in);
	return in->source != NULL;
}

/* Where each input begins, so that few are open at a time later. */
static void
look(struct run *run, struct input *in)
{
	struct view note;

	in->first = UINT64_MAX;
	run->looking = true;
	(void)open_input(run, in); /* no source tells */
	run->looking = false;
	if (in->source == NULL) {
		say(in, "no record can be read from it");
		return;
	}
	in->first = in->record.seq;
	in->note_size = source_note_size(in->source);
	if (in->note_size > 0 && source_note(in->source, in->note_size, &note))
		in->note = view_dup(note);
	source_close(in->source);
	in->source = NULL;
}

static int
by_first(const void *a, const void *b)
{
	const struct input *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* ---- writing ---- */

static void
put_out(struct run *run)
{
	if (run->text.failed)
		run->failed = true;
	outfile_put(&run->out, buf_view(&run->text));
	buf_clear(&run->text);
}

static void
write_note(struct run *run, uint64_t size, struct view note)
{
	const struct view last = buf_view(&run->last_note);

	if (!text_utf8_valid(note) ||
	    (last.n == note.n && memcmp(last.p, note.p, note.n) == 0))
		return;
	buf_clear(&run->last_note);
	buf_put_view(&run->last_note, note);
	buf_printf(&run->text,
	    "{\"type\":\"checkpoint\",\"size\":%" PRIu64 ",\"note\":", size);
	text_put_json(&run->text, note);
	buf_put_text(&run->text, "}\n");
	put_out(run);
}

/* The checkpoints over exactly the records that were written. */
static void
write_notes(struct run *run, uint64_t size)
{
	struct view note;

	for (size_t i = 0; i < run->count; i++) {
		struct input *in = &run->input[i];

		if (in->note != NULL && in->note_size == size)
			write_note(run, size, view_text(in->note));
		else if (in->source != NULL &&
		    in->type == VERIFY_TYPE_JOURNAL &&
		    source_note(in->source, size, &note))
			write_note(run, size, note);
	}
}

static void
write_record(struct run *run, const struct scan_record *r)
{
	if (run->records == 0)
		run->first = r->seq;
	else if (r->seq > run->next && run->gaps++ < GAPS_SHOWN)
		fprintf(stderr,
		    "chancery-export: records %" PRIu64 "-%" PRIu64
		    " are in none of the files\n",
		    run->next, r->seq - 1);
	run->records++;
	run->next = r->seq + 1;
	batch_put_event(&run->text, r);
	put_out(run);
}

static bool
same_leaf(const struct scan_record *a, const struct scan_record *b)
{
	return a->leaf.n == b->leaf.n &&
	    memcmp(a->leaf.p, b->leaf.p, a->leaf.n) == 0;
}

/* What is named may be in one of the files only, or fuller in one of them. */
static void
add_named(struct named *best, const struct named *n)
{
	for (size_t i = 0; i < NAMED_COUNT; i++)
		if (n->text[i].n > best->text[i].n)
			best->text[i] = n->text[i];
}

/*
 * Writes record seq once, with its payload when any input has that. Who says
 * something else contradicts: both are written, for the reader to judge.
 */
static void
write_seq(struct run *run, uint64_t seq)
{
	struct input *best = NULL;

	for (size_t i = 0; i < run->opened; i++) {
		struct input *in = &run->input[i];

		if (in->source != NULL && in->record.seq == seq &&
		    (best == NULL ||
			(best->record.purged && !in->record.purged &&
			    same_leaf(&best->record, &in->record))))
			best = in;
	}
	for (size_t i = 0; i < run->opened; i++) {
		const struct input *in = &run->input[i];

		if (in->source != NULL && in->record.seq == seq &&
		    same_leaf(&best->record, &in->record))
			add_named(&best->record.named, &in->record.named);
	}
	write_record(run, &best->record);
	for (size_t i = 0; i < run->opened; i++) {
		struct input *in = &run->input[i];

		if (in->source == NULL || in->record.seq != seq ||
		    same_leaf(&best->record, &in->record))
			continue;
		fprintf(stderr,
		    "chancery-export: %s: record %" PRIu64
		    " contradicts that of %s\n",
		    in->path, seq, best->path);
		run->unsound = true;
		batch_put_event(&run->text, &in->record);
		put_out(run);
	}
	write_notes(run, seq + 1);
	for (size_t i = 0; i < run->opened; i++) {
		struct input *in = &run->input[i];

		while (in->source != NULL && in->record.seq <= seq)
			advance(run, in);
	}
}

/* Opens those that begin at or before seq. */
static void
open_until(struct run *run, uint64_t seq)
{
	while (run->opened < run->count && run->input[run->opened].first <= seq)
		(void)open_input(run, &run->input[run->opened++]); /* said */
}

static void
merge(struct run *run)
{
	for (;;) {
		uint64_t seq = UINT64_MAX;

		for (size_t i = 0; i < run->opened; i++)
			if (run->input[i].source != NULL &&
			    run->input[i].record.seq < seq)
				seq = run->input[i].record.seq;
		/* Of a record that was unsound it may have another copy. */
		if (run->opened < run->count &&
		    run->input[run->opened].first < seq)
			seq = run->input[run->opened].first;
		if (seq == UINT64_MAX)
			return;
		open_until(run, seq);
		for (size_t i = 0; i < run->opened; i++)
			if (run->input[i].source != NULL &&
			    run->input[i].record.seq == seq) {
				write_seq(run, seq);
				break;
			}
	}
}

static int
finish(struct run *run)
{
	if (run->records == 0) {
		outfile_discard(&run->out);
		fprintf(stderr, "no records found\n");
		return EXIT_UNSOUND;
	}
	if (run->failed) {
		outfile_discard(&run->out);
		fprintf(stderr, "chancery-export: out of memory\n");
		return EXIT_SYSTEM;
	}
	if (outfile_commit(&run->out) != 0) {
		fprintf(
		    stderr, "chancery-export: output: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	fprintf(stderr,
	    "%" PRIu64 " record%s, %" PRIu64 "-%" PRIu64 ", of %zu file%s",
	    run->records, run->records == 1 ? "" : "s", run->first,
	    run->next - 1, run->count, run->count == 1 ? "" : "s");
	if (run->gaps > 0)
		fprintf(stderr, "; %" PRIu64 " gap%s", run->gaps,
		    run->gaps == 1 ? "" : "s");
	fputc('\n', stderr);
	return run->unsound || run->gaps > 0 ? EXIT_UNSOUND : 0;
}

static int
write_evidence(const struct verify_paths *paths, const char *out)
{
	struct run run = {.count = paths->count};
	int status = EXIT_SYSTEM;

	run.input = calloc(paths->count, sizeof *run.input);
	if (run.input == NULL || outfile_open(&run.out, out) != 0) {
		fprintf(stderr, "chancery-export: %s: %s\n",
		    out == NULL ? "standard output" : out, strerror(errno));
		free(run.input);
		return EXIT_SYSTEM;
	}
	for (size_t i = 0; i < run.count; i++) {
		run.input[i].path = paths->input[i].path;
		run.input[i].type = paths->input[i].type;
		look(&run, &run.input[i]);
	}
	qsort(run.input, run.count, sizeof *run.input, by_first);
	while (run.count > 0 && run.input[run.count - 1].first == UINT64_MAX)
		run.count--;
	merge(&run);
	status = finish(&run);
	for (size_t i = 0; i < run.count; i++)
		free(run.input[i].note);
	free(run.input);
	buf_release(&run.text);
	buf_release(&run.last_note);
	return status;
}

int
evidence_main(int argc, char **argv)
{
	struct verify_paths paths = {0};
	const char *out = NULL;
	int c, status = 0;

	while ((c = getopt(argc, argv, "o:")) != -1) {
		if (c != 'o') {
			fputs(usage_text, stderr);
			return EXIT_USAGE;
		}
		out = optarg;
	}
	if (optind == argc) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	for (int i = optind; i < argc && status == 0; i++) {
		if (verify_paths_add(&paths, argv[i]))
			continue;
		fprintf(stderr, "chancery-export: %s: %s\n", argv[i],
		    strerror(errno));
		status = EXIT_SYSTEM;
	}
	verify_paths_sort(&paths);
	if (status == 0 && paths.count == 0) {
		fprintf(stderr,
		    "chancery-export: no journal and no archive found\n");
		status = EXIT_UNSOUND;
	}
	if (status == 0)
		status = write_evidence(&paths, out);
	verify_paths_release(&paths);
	return status;
}
