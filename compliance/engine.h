#ifndef COMPLIANCE_ENGINE_H
#define COMPLIANCE_ENGINE_H

/*
 * The engine's role: reads the journal, hands batches to the adapters, has
 * acknowledgements recorded and asks for purges, and serves the control
 * socket. It cannot write the journal.
 */

struct conf;

/* Returns the exit status of the process. */
int engine_main(const struct conf *conf, int parent_fd);

#endif
