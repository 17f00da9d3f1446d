#ifndef EXPORT_SOURCE_H
#define EXPORT_SOURCE_H

/*
 * One file that holds records with their exact bytes, a journal or an
 * archive, read record by record. What it says is judged one record at a
 * time: whether the leaf is well-formed and each part opens its commitment.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compliance/scan.h"

#include "export/verify_paths.h"

struct source;

enum source_verdict {
	SOURCE_END,
	SOURCE_RECORD,
	SOURCE_UNSOUND, /* the record is passed over: source_error() */
	SOURCE_BROKEN   /* nothing more can be read: source_error() */
};

/* The path is borrowed. NULL with the reason. */
struct source *source_open(
    const char *path, enum verify_type type, char *why, size_t why_len);
/* Views live until the next call. */
enum source_verdict source_next(struct source *s, struct scan_record *out);
/*
 * The checkpoint of that size which the file holds, borrowed until the next
 * call; of an archive it is known after the first record.
 */
bool source_note(struct source *s, uint64_t size, struct view *note);
/* Size of the one checkpoint of an archive; 0 for a journal, or none. */
uint64_t source_note_size(const struct source *s);
/* What is wrong, without the file's name. */
const char *source_error(const struct source *s);
/* NULL is allowed. */
void source_close(struct source *s);

#endif
