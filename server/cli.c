#include "server/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/admin_client.h"

void
cli_complain(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("chancery: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

void
cli_print(const json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	(void)putchar('\n');
}

int
cli_ask(struct cli *cli, const char *command, json_t *args, const char *subject,
    json_t **result)
{
	char why[CLI_WHY_LEN];
	json_t *reply =
	    admin_client_ask(cli->client, command, args, why, sizeof why);
	const char *warning;
	size_t n = strlen(subject);
	int status = EXIT_SYSTEM;

	*result = NULL;
	if (reply == NULL) {
		cli_complain("%s: %s", subject, why);
		return EXIT_SYSTEM;
	}
	if (json_is_true(json_object_get(reply, "ok"))) {
		*result = json_incref(json_object_get(reply, "result"));
		warning =
		    json_string_value(json_object_get(*result, "warning"));
		if (warning != NULL)
			cli_complain("%s: warning: %s", subject, warning);
		status = EXIT_WELL;
	} else {
		const char *error =
		    json_string_value(json_object_get(reply, "error"));

		if (error == NULL)
			error = "failed";
		/* Many reasons name their subject themselves. */
		if (strncmp(error, subject, n) == 0 && error[n] == ':')
			cli_complain("%s", error);
		else
			cli_complain("%s: %s", subject, error);
		if (!json_is_true(json_object_get(reply, "system")))
			status = EXIT_REFUSED;
	}
	json_decref(reply);
	return status;
}

int
cli_show(struct cli *cli, const char *command, json_t *args,
    const char *subject, void (*show)(const json_t *result))
{
	json_t *result;
	int status = cli_ask(cli, command, args, subject, &result);

	if (status == EXIT_WELL && cli->json)
		cli_print(result);
	else if (status == EXIT_WELL)
		show(result);
	json_decref(result);
	return status;
}

bool
cli_set_text(json_t *args, const char *name, const char *value)
{
	return value == NULL ||
	    json_object_set_new(args, name, json_string(value)) == 0;
}
