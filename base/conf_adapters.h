#ifndef BASE_CONF_ADAPTERS_H
#define BASE_CONF_ADAPTERS_H

/* Inside of conf: the sections adapter of chancery.conf(5). */

#include <confuse.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/conf.h"

extern cfg_opt_t conf_adapters_options[];

/* Of libconfuse: whether the section just read makes sense. */
int conf_adapters_check(cfg_t *cfg, cfg_opt_t *opt);
/* base: folder of relative paths. False when out of memory. */
bool conf_adapters_take(struct conf *c, cfg_t *cfg, const char *base);
/* The files that the sections name. */
bool conf_adapters_check_system(const struct conf *c, struct buf *errors);
void conf_adapters_print(const struct conf *c, struct buf *out);
void conf_adapters_free(struct conf *c);

#endif
