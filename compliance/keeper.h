#ifndef COMPLIANCE_KEEPER_H
#define COMPLIANCE_KEEPER_H

/*
 * The keeper's role: the one process that appends to the journal. Takes
 * events from the server and control records from the engine, commits in
 * groups, answers when durable, and has heads signed behind the commits.
 */

struct conf;

/* Returns the exit status of the process. */
int keeper_main(const struct conf *conf, int parent_fd);

#endif
