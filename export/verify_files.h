#ifndef EXPORT_VERIFY_FILES_H
#define EXPORT_VERIFY_FILES_H

/*
 * The files of one journal, in the order of their records. Each has its own
 * records and copies of what went before: control records, tiles, tables.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_control.h"
#include "export/verify_report.h"

struct verify_file {
	const char *path; /* borrowed */
	sqlite3 *db;
	uint64_t segment;
	uint64_t first, end; /* its own records: [first, end) */
	uint64_t head_size;
	bool placed; /* segment and first could be read */
};

struct verify_files {
	struct verify_file *file;
	size_t count;
	bool whole; /* what is not there is missing, and not just not given */
};

/* What of a file tells which others belong to it; "" when it tells nothing. */
struct verify_place_of_file {
	char journal[40];
	uint64_t segment;
};
void verify_files_place(const char *path, struct verify_place_of_file *out);

/* Opens them and puts them in order. False after reporting why. */
bool verify_files_open(struct verify_files *f, const char *const *paths,
    size_t count, struct verify_report *r);
/* When all see one moment: where each ends. False: SQL failed, in *at. */
bool verify_files_ends(struct verify_files *f, sqlite3 **at);
void verify_files_close(struct verify_files *f);
/* The last part of its path. */
const char *verify_files_name(const struct verify_file *file);
/* The file whose own record that is; NULL when it was not given. */
struct verify_file *verify_files_at(const struct verify_files *f, uint64_t seq);
/* Whether the file before is the i-th one's predecessor. */
bool verify_files_follows(const struct verify_files *f, size_t i);

/* After the control records: numbers, names, seals, and what is missing. */
void verify_files_judge(const struct verify_files *f,
    const struct verify_control *c, struct verify_report *r);
/* These return false when SQL failed, and the database that did. */
/* Copies in each file against the file before. */
bool verify_files_copies(
    const struct verify_files *f, struct verify_report *r, sqlite3 **db);
/*
 * Before the purges are judged: those that a sealed file tells of whose
 * records are in later files that were not given. And after: the newest, which
 * a crash may have left undone in its file.
 */
bool verify_files_purges(const struct verify_files *f, struct verify_control *c,
    struct verify_report *r, sqlite3 **db);
bool verify_files_undone(const struct verify_files *f, struct verify_control *c,
    struct verify_report *r, sqlite3 **db);

#endif
