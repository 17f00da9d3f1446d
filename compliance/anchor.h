#ifndef COMPLIANCE_ANCHOR_H
#define COMPLIANCE_ANCHOR_H

/*
 * The anchor's role: carries the engine's requests to the witnesses and to
 * the time-stamp authority of the configuration, and their answers back. It
 * has the network and nothing else: no journal, no key, no chat.
 */

struct conf;

/* Returns the exit status of the process. */
int anchor_main(const struct conf *conf, int parent_fd);

#endif
