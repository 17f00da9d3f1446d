#ifndef EXPORT_OUTFILE_H
#define EXPORT_OUTFILE_H

/*
 * Where an export goes: standard output, or a file that appears under its
 * name only when it is complete and synced.
 */

#include <stdbool.h>

#include "base/buf.h"

struct outfile {
	int fd;
	char *path;      /* NULL: standard output */
	char *temporary; /* beside path */
	struct buf pending;
	int error; /* errno of the first failed write */
};

/* path NULL: standard output. 0 or -1 with errno. */
int outfile_open(struct outfile *o, const char *path);
/* Errors are kept for outfile_commit(). */
void outfile_put(struct outfile *o, struct view v);
/* Flush, sync, rename, sync of the folder. 0 or -1 with errno. Releases. */
int outfile_commit(struct outfile *o);
/* Leaves no trace; what is under the name stays. Releases. */
void outfile_discard(struct outfile *o);

#endif
