#ifndef EXPORT_VERIFY_JOURNAL_H
#define EXPORT_VERIFY_JOURNAL_H

/* A whole journal, verified from its files alone and against outside notes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_control.h"
#include "export/verify_note.h"
#include "export/verify_report.h"

/* A signed checkpoint that did not come from the journal's own file. */
struct verify_outside {
	const char *path;
	char origin[VERIFY_NAME_MAX + 1];
	uint64_t size;
	uint8_t root[32];
	struct buf text; /* the note as it came */
};

struct verify_journal {
	char origin[VERIFY_NAME_MAX + 1];
	uint64_t size;
	uint64_t purged;
	struct verify_control control;
};

/* The files of one journal, or some of them; whole: none else is elsewhere. */
struct verify_group {
	const char *const *path;
	size_t count;
	bool whole;
};

/*
 * Verifies and reports as one file. key NULL: the journal's own is used and
 * that is said. `out` is for verify_cross() and then released.
 */
void verify_journal_run(const struct verify_group *g,
    const struct verify_key *key, const struct verify_outside *outside,
    size_t outsides, struct verify_report *r, struct verify_journal *out);
/*
 * The keys that the records of one file tell, for what is judged by them; the
 * journal itself is judged by verify_journal_run(). False: it tells none.
 */
bool verify_journal_keys(const char *path, struct verify_chain *out);
/* What verify_cross() needed is freed. */
void verify_journal_release(struct verify_journal *j);

#endif
