#ifndef SERVER_CLI_PURGE_H
#define SERVER_CLI_PURGE_H

/* Commands of chancery(8) about holds and purges; each an exit status. */

struct cli;

int cli_hold_add(struct cli *cli);
int cli_hold_release(struct cli *cli);
int cli_hold_list(struct cli *cli);
int cli_purge_dry(struct cli *cli);
int cli_purge_run(struct cli *cli);
int cli_purge_approve(struct cli *cli);

#endif
