#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

/*
 * The server role: the network, rooms and chat.db. The one process that
 * strangers talk to; it holds no key and cannot open the journal.
 */

struct conf;

/* Runs the role; the exit status. */
int server_main(const struct conf *conf, int parent_fd);

#endif
