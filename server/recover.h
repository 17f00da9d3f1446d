#ifndef SERVER_RECOVER_H
#define SERVER_RECOVER_H

/*
 * chancery recover: from a state that chanceryd refuses to record on, for the
 * reason it tells, to one that it goes on with. The daemon must not run.
 * chancery-journal(5), RECOVERY.
 */

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/conf.h"

struct recover_order {
	const char *from;         /* records: a file, "-", or NULL */
	bool incarnation;         /* go on under a new name */
	const char *reason;       /* why */
	const char *checkpoint;   /* a note that proves what was signed */
	const char *signer_state; /* a note to make the signer's state of */
	bool moved;               /* the state is of another machine */
	bool progress;
};

/*
 * Does it. What was done, as JSON for the caller to free, or NULL. 0; 1
 * refused or not possible, 2 wrong usage, -1 failed, with the reason and the
 * next step in why.
 */
int recover_run(const struct conf *conf, const struct recover_order *order,
    json_t **result, char *why, size_t why_len);
/* The same for people, on standard output. */
void show_recovery(const json_t *result);

#endif
