#ifndef EXPORT_VERIFY_PATHS_H
#define EXPORT_VERIFY_PATHS_H

/* Which files of those named, and of the folders named, are evidence. */

#include <stdbool.h>
#include <stddef.h>

#include "export/verify_report.h"

enum verify_type {
	VERIFY_TYPE_UNKNOWN,
	VERIFY_TYPE_JOURNAL,
	VERIFY_TYPE_BAG,
	VERIFY_TYPE_XML,
	VERIFY_TYPE_PROOF,
	VERIFY_TYPE_CERTIFICATE,
};

struct verify_input {
	char *path;
	enum verify_type type;
	bool found; /* in a folder that was named */
	/* Journals, sorted: inputs with the same number are files of one. */
	unsigned group;
};

struct verify_paths {
	struct verify_input *input;
	size_t count, cap;
	size_t passed_over; /* files in folders that are no evidence */
};

/*
 * Adds a file by its name or else by what its first bytes are, or all evidence
 * below a folder by name. False when it cannot be read: errno.
 */
bool verify_paths_add(struct verify_paths *p, const char *path);
/* False when out of memory. Archives by name; then journals, file after file. */
bool verify_paths_sort(struct verify_paths *p);
void verify_paths_release(struct verify_paths *p);

#endif
