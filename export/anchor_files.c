#include "export/anchor_files.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/file.h"

#include "compliance/segments.h"

#include "export/locate.h"

#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define MODE 0600

static const char usage_text[] =
    "usage: chancery-export anchors (-f CONF | --journal PATH) FOLDER\n"
    "Exit status: 0 written, 1 nobody has confirmed a checkpoint, 2 usage,\n"
    "3 system.\n";

/* The columns are the size, and bytes with the files' ends. */
static const struct {
	const char *sql;
	const char *end[2];
} tables[] = {
    {"SELECT s.size, p.note, s.token FROM stamp s"
     " JOIN checkpoint p ON p.size = s.size ORDER BY s.size",
	{".note", ".tst"}},
    {"SELECT c.size, p.note || (SELECT group_concat(line, '') FROM"
     " (SELECT CAST(line AS TEXT) AS line FROM cosig"
     " WHERE size = c.size ORDER BY name))"
     " FROM (SELECT DISTINCT size FROM cosig) c"
     " JOIN checkpoint p ON p.size = c.size ORDER BY c.size",
	{".cosigned", NULL}},
};

static int
say(const char *what, const char *why)
{
	fprintf(stderr, "chancery-export: %s: %s\n", what, why);
	return EXIT_SYSTEM;
}

static int
write_file(const char *folder, uint64_t size, const char *end, sqlite3_stmt *s,
    int column)
{
	struct view bytes = view_of(sqlite3_column_blob(s, column),
	    (size_t)sqlite3_column_bytes(s, column));
	char name[64], *path;
	int status = 0;

	(void)snprintf(name, sizeof name, "%" PRIu64 "%s", size, end);
	path = file_join(folder, name);
	if (path == NULL)
		return say(folder, "out of memory");
	if (file_replace(path, bytes, MODE) != 0)
		status = say(path, strerror(errno));
	free(path);
	return status;
}

/* One table of one file; *found counts the rows. */
static int
write_rows(sqlite3 *db, size_t table, const char *folder, uint64_t *found)
{
	sqlite3_stmt *s = db_prepare(db, tables[table].sql);
	int status = 0, step = SQLITE_ERROR;

	while (s != NULL && status == 0 && (step = db_step(s)) == SQLITE_ROW) {
		++*found;
		for (int i = 0; i < 2 && status == 0; i++)
			if (tables[table].end[i] != NULL)
				status = write_file(folder,
				    (uint64_t)sqlite3_column_int64(s, 0),
				    tables[table].end[i], s, i + 1);
	}
	if (status == 0 && step != SQLITE_DONE)
		status = say("journal", sqlite3_errmsg(db));
	(void)sqlite3_finalize(s); /* the steps have told */
	return status;
}

static int
write_segment(const char *path, const char *folder, uint64_t *found)
{
	char why[512];
	sqlite3 *db =
	    db_open(path, DB_READ_COPY, DB_SYNC_FULL, why, sizeof why);
	int status = 0;

	if (db == NULL) {
		fprintf(stderr, "chancery-export: %s\n", why);
		return EXIT_SYSTEM;
	}
	for (size_t i = 0; i < sizeof tables / sizeof tables[0] && status == 0;
	     i++)
		status = write_rows(db, i, folder, found);
	db_close(db);
	return status;
}

static int
write_all(const char *journal, const char *folder)
{
	char *named = segments_named(journal);
	bool alone = named != NULL && segments_is_later(named);
	unsigned newest = named == NULL || alone ? 0 : segments_newest(named);
	uint64_t found = 0;
	int status = 0;

	if (named == NULL)
		return say(journal, "out of memory");
	if (file_make_dirs(folder, 0700) != 0)
		status = say(folder, strerror(errno));
	for (unsigned n = 0; n <= newest && status == 0; n++) {
		char *path = alone ? strdup(named) : segments_path(named, n);

		status = path == NULL ? say(named, "out of memory")
				      : write_segment(path, folder, &found);
		free(path);
	}
	free(named);
	if (status == 0)
		fprintf(stderr, "%" PRIu64 " confirmed checkpoint%s in %s\n",
		    found, found == 1 ? "" : "s", folder);
	return status == 0 && found == 0 ? EXIT_NOTHING : status;
}

int
anchor_files_main(int argc, char **argv)
{
	static const struct option names[] = {
	    {"journal", required_argument, NULL, 'J'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *conf = NULL, *journal = NULL;
	char *configured = NULL;
	int c, status;

	while ((c = getopt_long(argc, argv, "f:h", names, NULL)) != -1) {
		if (c == 'f') {
			conf = optarg;
		} else if (c == 'J') {
			journal = optarg;
		} else {
			fputs(usage_text, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : EXIT_USAGE;
		}
	}
	if (optind + 1 != argc || (conf == NULL) == (journal == NULL)) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	if (journal == NULL) {
		configured = locate_journal(conf);
		if (configured == NULL)
			return EXIT_USAGE;
		journal = configured;
	}
	status = write_all(journal, argv[optind]);
	free(configured);
	return status;
}
