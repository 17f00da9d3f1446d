#ifndef EXPORT_VERIFY_HOLD_H
#define EXPORT_VERIFY_HOLD_H

/* Hold, release and approve records, and what purges must heed of them. */

#include "export/verify_control.h"

void verify_hold_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
void verify_hold_release(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
void verify_hold_approve(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* Whether the purge names the approvals that its policy asks for. */
void verify_hold_judge(const struct verify_control *c,
    const struct verify_purge *p, const struct verify_policy *policy,
    struct verify_report *r);
/*
 * The table against the records below end; of the newest file, which has
 * UINT64_MAX, it also tells what the holds select. False: SQL failed.
 */
bool verify_hold_table(struct verify_control *c, sqlite3 *db, uint64_t end,
    struct verify_report *r);
void verify_hold_free(struct verify_control *c);

#endif
