#ifndef EXPORT_VERIFY_CONFLICT_H
#define EXPORT_VERIFY_CONFLICT_H

/* Records of what a witness tells of another history: conflict. */

#include "export/verify_control.h"

/* Its form, the hold that it names, and whether what it calls proof is one. */
void verify_conflict_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);

/*
 * After what is called proof only a new name is recorded, with at most a
 * clock record before it. For each control record, and when these are all
 * taken for each event.
 */
void verify_conflict_after(struct verify_control *c,
    const struct verify_leaf *l, struct verify_report *r);

#endif
