#ifndef BASE_FILE_H
#define BASE_FILE_H

/* Whole files, written so that a crash leaves the old or the new one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/*
 * Temporary name, write, fsync, rename, fsync of the folder. 0 or -1 with
 * errno; on failure the old file is untouched (or, when only the folder's
 * fsync failed, the new one in its place) and no temporary is left.
 */
int file_replace(const char *path, struct view content, mode_t mode);
/*
 * The same, but refuses (EEXIST) to replace an existing file; on failure
 * there is none.
 */
int file_create(const char *path, struct view content, mode_t mode);
/*
 * Reads at most max bytes into out (appended); -1 with errno, EFBIG if
 * larger.
 */
int file_read(const char *path, size_t max, struct buf *out);
/* The same from where the descriptor stands. */
int file_read_fd(int fd, size_t max, struct buf *out);
/* fsync of the folder that holds path. */
int file_sync_parent(const char *path);
/* Makes the folder and its missing parents. */
int file_make_dirs(const char *path, mode_t mode);
/* base/name, or name itself when absolute; caller frees; NULL: no memory. */
char *file_join(const char *base, const char *name);
/* Folder part of path ("." if none); caller frees. */
char *file_parent(const char *path);

#endif
