#ifndef BASE_CONF_RETENTION_H
#define BASE_CONF_RETENTION_H

/* `retention` and `officers` of chancery.conf(5); for base/conf.c alone. */

#include <confuse.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/conf.h"

extern cfg_opt_t conf_retention_options[];

/* Of libconfuse: whether the section just read makes sense. */
int conf_retention_check(cfg_t *cfg, cfg_opt_t *opt);
/* False with the reasons in errors. */
bool conf_retention_take(struct conf *c, cfg_t *cfg, struct buf *errors);
void conf_retention_print(const struct conf *c, struct buf *out);
void conf_retention_free(struct conf *c);

#endif
