#ifndef SERVER_CLI_AUDIT_H
#define SERVER_CLI_AUDIT_H

/* chancery audit run; an exit status. */

struct cli;

int cli_audit_run(struct cli *cli);

#endif
