#ifndef EXPORT_VERIFY_PURGE_H
#define EXPORT_VERIFY_PURGE_H

/* Policy and purge records, and the rules that each purge must have kept. */

#include "export/verify_control.h"

void verify_purge_policy(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
void verify_purge_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* The same of whatever purge; false when there is none now. */
bool verify_purge_read(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* After the last control record: ranges are put in order, purges judged. */
void verify_purge_finish(struct verify_control *c, struct verify_report *r);
/* Frees what these took up. */
void verify_purge_release(struct verify_control *c);

#endif
