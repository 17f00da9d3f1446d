#include "export/keys.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compliance/chain.h"
#include "compliance/scan.h"

#include "export/locate.h"
#include "export/outfile.h"

#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3

static const char usage_text[] =
    "usage: chancery-export keys (-f CONF | --journal PATH) [-o FILE]\n"
    "Exit status: 0 written, 1 there is no chain yet, 2 usage, 3 system.\n";

static int
write_chain(const struct buf *text, const char *path)
{
	struct outfile out;

	if (outfile_open(&out, path) == 0) {
		outfile_put(&out, buf_view(text));
		if (outfile_commit(&out) == 0)
			return 0;
	}
	fprintf(stderr, "chancery-export: %s: %s\n",
	    path != NULL ? path : "standard output", strerror(errno));
	return EXIT_SYSTEM;
}

static int
export_chain(const char *journal, const char *path)
{
	char why[512];
	struct scan *s = scan_open(journal, true, why, sizeof why);
	struct buf text, note;
	uint64_t size = 0;
	int status;

	if (s == NULL) {
		fprintf(stderr, "chancery-export: %s\n", why);
		return EXIT_SYSTEM;
	}
	buf_init(&text);
	buf_init(&note);
	if (scan_note(s, &size, &note) == 0 &&
	    chain_put(s, size, NULL, &text) == 0) {
		status = write_chain(&text, path);
	} else {
		fprintf(stderr, "chancery-export: %s\n", scan_error(s));
		status = EXIT_NOTHING;
	}
	buf_release(&note);
	buf_release(&text);
	scan_close(s);
	return status;
}

int
keys_main(int argc, char **argv)
{
	static const struct option names[] = {
	    {"journal", required_argument, NULL, 'J'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *conf = NULL, *journal = NULL, *out = NULL;
	char *configured = NULL;
	int c, status;

	while ((c = getopt_long(argc, argv, "f:o:h", names, NULL)) != -1) {
		if (c == 'f') {
			conf = optarg;
		} else if (c == 'J') {
			journal = optarg;
		} else if (c == 'o') {
			out = optarg;
		} else {
			fputs(usage_text, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : EXIT_USAGE;
		}
	}
	if (optind != argc || (conf == NULL) == (journal == NULL)) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	if (journal == NULL) {
		configured = locate_journal(conf);
		if (configured == NULL)
			return EXIT_USAGE;
		journal = configured;
	}
	status = export_chain(journal, out);
	free(configured);
	return status;
}
