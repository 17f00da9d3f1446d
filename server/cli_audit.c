#include "server/cli_audit.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "server/cli.h"

#define LOOK_MS 200

static long long
number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void
progress(const json_t *o)
{
	if (isatty(STDERR_FILENO) == 0)
		return;
	(void)fprintf(stderr, "\r%lld of %lld records", number(o, "position"),
	    number(o, "size"));
	(void)fflush(stderr); /* a terminal */
}

static void
clear(void)
{
	if (isatty(STDERR_FILENO) == 1)
		(void)fputs("\r\033[K", stderr);
}

static int
show(struct cli *cli, const json_t *o)
{
	bool whole = json_is_true(json_object_get(o, "done_whole"));

	if (cli->json)
		cli_print(o);
	else if (whole)
		(void)printf("The journal is whole as far as it goes: %lld "
			     "records.\n",
		    number(o, "size"));
	else
		(void)printf("The journal is NOT as it was recorded, %lld "
			     "finding%s; the last: %s\n",
		    number(o, "broken"), number(o, "broken") == 1 ? "" : "s",
		    json_string_value(json_object_get(o, "finding")));
	return whole ? EXIT_WELL : EXIT_REFUSED;
}

int
cli_audit_run(struct cli *cli)
{
	const struct timespec pause = {0, LOOK_MS * 1000000L};
	json_t *o;
	int status = cli_ask(cli, "audit.run", json_object(), "audit", &o);

	while (status == EXIT_WELL &&
	    json_is_true(json_object_get(o, "running"))) {
		progress(o);
		(void)nanosleep(&pause, NULL); /* sooner is no harm */
		json_decref(o);
		status =
		    cli_ask(cli, "audit.status", json_object(), "audit", &o);
	}
	clear();
	if (status == EXIT_WELL)
		status = show(cli, o);
	json_decref(o);
	return status;
}
