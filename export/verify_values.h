#ifndef EXPORT_VERIFY_VALUES_H
#define EXPORT_VERIFY_VALUES_H

/*
 * The form of the values of a control record (chancery-journal(5), CONTROL
 * RECORDS), for records that are judged without those around them.
 */

#include "export/verify_leaf.h"
#include "export/verify_report.h"

/* A finding names the line of a value that has not the form of its field. */
void verify_values(const struct verify_leaf *l, struct verify_report *r);

#endif
