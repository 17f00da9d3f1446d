#ifndef EXPORT_VERIFY_VALUES_H
#define EXPORT_VERIFY_VALUES_H

/*
 * The form of the values of a control record (chancery-journal(5), CONTROL
 * RECORDS), for a record by itself; what those around it ask of it is judged
 * where it is taken up.
 */

#include "export/verify_leaf.h"
#include "export/verify_report.h"

/*
 * Findings of the check name the lines of values that have not the form of
 * their field; false when there are any.
 */
bool verify_values(const struct verify_leaf *l, enum verify_check check,
    struct verify_report *r);

#endif
