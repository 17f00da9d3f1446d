/* chancery-export(1): selected records of a journal in a form of choice. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#include "compliance/event.h"

#include "export/anchor_files.h"
#include "export/certificate.h"
#include "export/evidence.h"
#include "export/keys.h"
#include "export/locate.h"
#include "export/outfile.h"
#include "export/prove.h"
#include "export/render.h"
#include "export/select.h"

#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define KINDS 256

struct options {
	const char *conf;
	const char *journal;
	const char *format;
	const char *out;
	struct select select;
};

struct run {
	struct scan *scan;
	const struct render *render;
	void *self; /* of the renderer; NULL until the first record */
	struct outfile out;
	struct buf text;
	uint64_t count[KINDS];
	uint64_t found, purged, unknown;
};

static const char usage_text[] =
    "usage: chancery-export (-f CONF | --journal PATH) --format FORMAT\n"
    "           [--room ROOM] [--user URI] [--type EVENT]\n"
    "           [--since TIME] [--until TIME] [-o FILE]\n"
    "       chancery-export evidence [-o FILE] PATH...\n"
    "       chancery-export prove (-f CONF | --journal PATH) [-o FILE]\n"
    "           [--from VKEY] [--without-text] SEQ\n"
    "       chancery-export keys (-f CONF | --journal PATH) [-o FILE]\n"
    "       chancery-export certificate (-f CONF | --journal PATH) [-o FILE]\n"
    "           [--json] NUMBER\n"
    "       chancery-export anchors (-f CONF | --journal PATH) FOLDER\n"
    "FORMAT: jsonl csv xml text\n"
    "Exit status: 0 written, 1 nothing found, 2 usage, 3 system.\n";

static bool
usage_error(const char *what, const char *value)
{
	fprintf(stderr, "chancery-export: %s: %s\n", what, value);
	return false;
}

/* One option with its value; false when the value is malformed. */
static bool
take_option(struct options *o, int c, const char *value)
{
	switch (c) {
	case 'f':
		o->conf = value;
		return true;
	case 'J':
		o->journal = value;
		return true;
	case 'F':
		o->format = value;
		return render_find(value) != NULL ||
		    usage_error("no such format", value);
	case 'o':
		o->out = value;
		return true;
	case 'r':
		o->select.room = value;
		return true;
	case 'u':
		o->select.user = value;
		return true;
	case 't':
		o->select.kind = event_kind_of(value);
		return o->select.kind != 0 ||
		    usage_error("no such type of event", value);
	case 's':
		return text_get_time(view_text(value), &o->select.since) ||
		    usage_error("not a time (RFC 3339)", value);
	case 'e':
		return text_get_time(view_text(value), &o->select.until) ||
		    usage_error("not a time (RFC 3339)", value);
	default:
		return false;
	}
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
	    {"journal", required_argument, NULL, 'J'},
	    {"format", required_argument, NULL, 'F'},
	    {"room", required_argument, NULL, 'r'},
	    {"user", required_argument, NULL, 'u'},
	    {"type", required_argument, NULL, 't'},
	    {"since", required_argument, NULL, 's'},
	    {"until", required_argument, NULL, 'e'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "f:o:hV", names, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return 0;
		}
		if (c == 'V') {
			puts("chancery-export " CHANCERY_VERSION);
			return 0;
		}
		if (!take_option(o, c, optarg)) {
			if (c == '?')
				fputs(usage_text, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		fprintf(stderr, "chancery-export: %s: no such command\n",
		    argv[optind]);
	else if ((o->conf == NULL) == (o->journal == NULL))
		fputs("chancery-export: either -f or --journal is needed\n",
		    stderr);
	else if (o->format == NULL)
		fputs("chancery-export: --format is missing\n", stderr);
	else
		return -1;
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

static bool
put_out(struct run *run)
{
	if (run->text.failed) {
		fprintf(stderr, "chancery-export: out of memory\n");
		return false;
	}
	outfile_put(&run->out, buf_view(&run->text));
	buf_clear(&run->text);
	return true;
}

static bool
take_record(struct run *run, const struct select *select,
    const struct scan_record *record)
{
	struct item item;
	bool ok = true;

	item_load(&item, record);
	switch (select_item(select, &item)) {
	case SELECT_NO:
		break;
	case SELECT_UNKNOWN:
		run->unknown++;
		break;
	case SELECT_YES:
		if (run->found++ == 0)
			run->self = run->render->begin(
			    &run->text, scan_meta(run->scan, "origin"));
		run->count[record->kind % KINDS]++;
		run->purged += record->purged;
		if (run->self != NULL)
			run->render->record(run->self, &run->text, &item);
		else
			run->text.failed = true;
		ok = put_out(run);
		break;
	}
	item_release(&item);
	return ok;
}

/* A live journal is read as far as it was when the export began. */
static int
read_records(struct run *run, const struct select *select)
{
	uint64_t size = scan_size(run->scan);
	struct scan_record record;
	int rc = scan_seek(run->scan,
	    select->since == 0 ? 0 : scan_find_time(run->scan, select->since));

	while (rc == 0 && (rc = scan_next(run->scan, &record)) == 1) {
		if (record.seq >= size || record.at >= select->until)
			return 0;
		rc = take_record(run, select, &record) ? 0 : -2;
	}
	if (rc == -1)
		fprintf(stderr, "chancery-export: %s\n", scan_error(run->scan));
	return rc;
}

static void
say_summary(const struct run *run)
{
	const char *before = ": ";

	fprintf(stderr, "%" PRIu64 " record%s", run->found,
	    run->found == 1 ? "" : "s");
	for (unsigned kind = 0; kind < KINDS; kind++) {
		const char *name = event_name(kind);

		if (run->count[kind] == 0)
			continue;
		if (name == NULL)
			fprintf(stderr, "%s%" PRIu64 " of kind %u", before,
			    run->count[kind], kind);
		else
			fprintf(stderr, "%s%" PRIu64 " %s", before,
			    run->count[kind], name);
		before = ", ";
	}
	if (run->purged > 0)
		fprintf(stderr, "%s%" PRIu64 " purged payload%s not shown",
		    before, run->purged, run->purged == 1 ? "" : "s");
	fputc('\n', stderr);
	if (run->unknown > 0)
		fprintf(stderr,
		    "%" PRIu64 " purged record%s could not be matched: room "
		    "and user are in the archives\n",
		    run->unknown, run->unknown == 1 ? "" : "s");
}

static int
finish(struct run *run, int rc)
{
	bool ended = true;

	if (run->self != NULL)
		ended = run->render->end(run->self, &run->text);
	if (rc != 0 || !ended || !put_out(run)) {
		outfile_discard(&run->out);
		return EXIT_SYSTEM;
	}
	if (run->found == 0) {
		outfile_discard(&run->out);
		say_summary(run);
		return EXIT_NOTHING;
	}
	if (outfile_commit(&run->out) != 0) {
		fprintf(
		    stderr, "chancery-export: output: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	say_summary(run);
	return 0;
}

static int
export_journal(const struct options *o, const char *path)
{
	struct run run = {.render = render_find(o->format)};
	char why[512];
	int status;

	buf_init(&run.text);
	run.scan = scan_open(path, true, why, sizeof(why));
	if (run.scan == NULL) {
		fprintf(stderr, "chancery-export: %s\n", why);
		return EXIT_SYSTEM;
	}
	if (outfile_open(&run.out, o->out) != 0) {
		fprintf(stderr, "chancery-export: %s: %s\n", o->out,
		    strerror(errno));
		scan_close(run.scan);
		return EXIT_SYSTEM;
	}
	status = finish(&run, read_records(&run, &o->select));
	scan_close(run.scan);
	buf_release(&run.text);
	return status;
}

int
main(int argc, char **argv)
{
	struct options o = {.select = {.until = UINT64_MAX}};
	char *configured = NULL;
	int status;

	log_init("chancery-export", LOG_LEVEL_WARN);
	if (argc > 1 && strcmp(argv[1], "evidence") == 0)
		return evidence_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "certificate") == 0)
		return certificate_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "prove") == 0)
		return prove_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "keys") == 0)
		return keys_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "anchors") == 0)
		return anchor_files_main(argc - 1, argv + 1);
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	if (o.journal == NULL) {
		configured = locate_journal(o.conf);
		if (configured == NULL)
			return EXIT_USAGE;
		o.journal = configured;
	}
	status = export_journal(&o, o.journal);
	free(configured);
	return status;
}
