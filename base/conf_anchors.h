#ifndef BASE_CONF_ANCHORS_H
#define BASE_CONF_ANCHORS_H

/*
 * Inside of conf: the sections witness, anchors and stamp of
 * chancery.conf(5).
 */

#include <confuse.h>
#include <stdbool.h>

#include "base/buf.h"

struct conf;

extern cfg_opt_t conf_anchors_witness[], conf_anchors_anchors[],
    conf_anchors_stamp[];

/* Sets what cfg checks while it parses. */
void conf_anchors_set_checks(cfg_t *cfg);
/*
 * Takes the sections over; base: folder of relative paths. False: errno, or
 * an error that is said.
 */
bool conf_anchors_take(
    struct conf *c, cfg_t *cfg, const char *base, struct buf *errors);
/* The files that the sections name. */
bool conf_anchors_check_system(const struct conf *c, struct buf *errors);
void conf_anchors_print(const struct conf *c, struct buf *out);
void conf_anchors_free(struct conf *c);

#endif
