#ifndef SERVER_ADAPTER_START_H
#define SERVER_ADAPTER_START_H

/* The last step before an adapter's own program: rights and folder. */

#include "base/conf.h"

/* Replaces this process by the adapter's program; returns 3 if it cannot. */
int adapter_start(const struct conf *conf, const char *name);

#endif
