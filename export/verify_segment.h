#ifndef EXPORT_VERIFY_SEGMENT_H
#define EXPORT_VERIFY_SEGMENT_H

/* The records between which a file of the journal lies. */

#include "export/verify_control.h"

void verify_segment_open(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
void verify_segment_seal(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);

#endif
