#ifndef SERVER_CLI_H
#define SERVER_CLI_H

/* What the commands of chancery(8) share. */

#include <jansson.h>
#include <stdbool.h>

#include "server/recover.h"

#define CLI_WHY_LEN 1024

enum exit_status {
	EXIT_WELL = 0,
	EXIT_REFUSED = 1, /* or nothing found as asked */
	EXIT_USAGE = 2,
	EXIT_SYSTEM = 3
};

struct cli {
	const char *conf_path;
	struct conf *conf;
	struct admin_client *client;
	bool json, compromised;
	unsigned given; /* bits of a command's own options */
	const char *name, *id, *privacy, *description;
	const char *room, *since, *chat;
	const char *matter, *user, *from, *until, *below, *before;
	struct recover_order recover;
	char **args; /* after the command's words */
	int arg_count;
};

/* One line on standard error, behind the program's name. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* JSON for programs on standard output. */
void cli_print(const json_t *value);
/*
 * Asks; on success *result is the caller's. What is asked about is named in
 * the message. Takes the reference to args. An exit status.
 */
int cli_ask(struct cli *cli, const char *command, json_t *args,
    const char *subject, json_t **result);
/* A command whose result is only shown. */
int cli_show(struct cli *cli, const char *command, json_t *args,
    const char *subject, void (*show)(const json_t *result));
/* Sets a member unless there is no value; false: not UTF-8. */
bool cli_set_text(json_t *args, const char *name, const char *value);

#endif
