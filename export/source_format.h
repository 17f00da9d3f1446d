#ifndef EXPORT_SOURCE_FORMAT_H
#define EXPORT_SOURCE_FORMAT_H

/* How source.c reads the archive formats; nobody else includes this. */

#include <stddef.h>

#include "base/buf.h"

#include "compliance/scan.h"

struct source_format {
	/* NULL with the reason. */
	void *(*open)(const char *path, char *why, size_t why_len);
	/*
	 * 1 and a record, whose views live until the next call; 0 at the end;
	 * -1 with the reason. The checkpoint is put into `note` when it is met.
	 */
	int (*next)(void *self, struct scan_record *out, struct buf *note,
	    char *why, size_t why_len);
	void (*close)(void *self);
};

extern const struct source_format source_bag, source_xml;

/* The time that a leaf states, 0 when it is malformed. */
uint64_t source_time(struct view leaf);

#endif
