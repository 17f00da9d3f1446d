#ifndef SERVER_PARENT_H
#define SERVER_PARENT_H

/*
 * The daemon's first process: starts each role by executing itself again,
 * links them by socket pairs, restarts what dies, stops all in good order.
 */

#include "base/conf.h"

/*
 * Runs until SIGTERM or SIGINT. conf_text is what the roles will parse.
 * Returns the exit status: 0 after an orderly stop, 3 when a role cannot
 * start at all.
 */
int parent_main(const struct conf *conf, struct view conf_text, bool debug);

#endif
