#ifndef SERVER_CLI_KEY_H
#define SERVER_CLI_KEY_H

/* chancery key ...: the journal's signing key. */

struct cli;

/* Reads the journal itself: the daemon need not run. */
int cli_key_show(struct cli *cli);
int cli_key_rotate(struct cli *cli);

#endif
