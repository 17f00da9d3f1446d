#ifndef EXPORT_VERIFY_TEAM_H
#define EXPORT_VERIFY_TEAM_H

/*
 * Helper processes that check the payloads of a long journal while the walk
 * follows its tree. Each opens the file itself and begins only when it sees
 * the same head as the walk: a journal that is written meanwhile is checked
 * as of one moment, or by the walk's own process.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "export/verify_bodies.h"
#include "export/verify_files.h"

#define VERIFY_TEAM_MAX 4

struct verify_team {
	const struct verify_file *file;
	const struct verify_control *control;
	unsigned count;
	struct {
		pid_t pid; /* 0: did not start */
		int fd;
		struct verify_bodies_range range;
	} helper[VERIFY_TEAM_MAX];
};

/*
 * Starts as many as processors and size make worth while. Returns where the
 * walk's own share of the payloads ends: UINT64_MAX when it has them all.
 */
uint64_t verify_team_start(struct verify_team *t,
    const struct verify_file *file, const struct verify_control *control);
/*
 * Waits for the helpers. wanted: adds what they found, and does what one
 * could not do; false when SQL failed.
 */
bool verify_team_join(struct verify_team *t, bool wanted,
    struct verify_report *r, struct verify_bodies_result *out);

#endif
