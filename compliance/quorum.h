#ifndef COMPLIANCE_QUORUM_H
#define COMPLIANCE_QUORUM_H

/*
 * Which checkpoint is in enough other hands for a purge, by the tables cosig
 * and stamp of the journal's newest file.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"

/*
 * The newest checkpoint of more than `above` records that as many of the
 * configured witnesses as the quorum says have cosigned and, with stamp,
 * that was time-stamped, among the newest 4096 rows of the two tables. 1; 0
 * when there is none, or -1, and *size stays as it was.
 */
int quorum_find(sqlite3 *db, const struct conf *conf, bool stamp,
    uint64_t above, uint64_t *size);

#endif
