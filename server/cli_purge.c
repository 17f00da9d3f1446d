#include "server/cli_purge.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "server/cli.h"

/* A member as text: "" when it is missing or null. */
static const char *
text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "";
}

static long long
number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static const char *
plural(long long n)
{
	return n == 1 ? "" : "s";
}

/* A number of the command line as JSON; NULL when it is none. */
static json_t *
number_of(const char *word)
{
	uint64_t n;

	return view_to_u64(view_text(word), &n) && n <= INT64_MAX
	    ? json_integer((json_int_t)n)
	    : NULL;
}

/* Whether an option that takes a time has one; else that is told. */
static bool
is_time(const char *option, const char *word)
{
	uint64_t us;

	if (word == NULL || text_get_time(view_text(word), &us))
		return true;
	cli_complain("%s: %s: not a time (RFC 3339)", option, word);
	return false;
}

static void
show_placed(const json_t *result)
{
	(void)printf("hold %lld placed: record %lld\n", number(result, "hold"),
	    number(result, "seq"));
}

int
cli_hold_add(struct cli *cli)
{
	json_t *args;

	if (cli->matter == NULL) {
		cli_complain("hold add: --matter is missing");
		return EXIT_USAGE;
	}
	if (!is_time("--from", cli->recover.from) ||
	    !is_time("--until", cli->until))
		return EXIT_USAGE;
	args = json_object();
	if (!cli_set_text(args, "matter", cli->matter) ||
	    !cli_set_text(args, "room", cli->room) ||
	    !cli_set_text(args, "user", cli->user) ||
	    !cli_set_text(args, "from", cli->recover.from) ||
	    !cli_set_text(args, "until", cli->until)) {
		json_decref(args);
		args = NULL;
	}
	return cli_show(cli, "hold.add", args, "hold", show_placed);
}

static void
show_released(const json_t *result)
{
	(void)printf("released: record %lld\n", number(result, "seq"));
}

static void
show_approved(const json_t *result)
{
	(void)printf("approved: record %lld\n", number(result, "seq"));
}

int
cli_hold_release(struct cli *cli)
{
	json_t *n = number_of(cli->args[0]);

	if (n == NULL) {
		cli_complain("hold release: %s: not a number", cli->args[0]);
		return EXIT_USAGE;
	}
	return cli_show(cli, "hold.release", json_pack("{s:o}", "hold", n),
	    "hold", show_released);
}

static void
show_hold(const json_t *h)
{
	static const char *const parts[] = {"room", "user", "from", "until"};
	bool any = false;

	(void)printf("hold %lld: matter %s, placed %s by %s\n\tholds        ",
	    number(h, "hold"), text(h, "matter"), text(h, "at"), text(h, "by"));
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		if (text(h, parts[i])[0] == '\0')
			continue;
		(void)printf(" %s %s", parts[i], text(h, parts[i]));
		any = true;
	}
	(void)puts(any ? "" : " everything");
	if (text(h, "released")[0] != '\0')
		(void)printf("\treleased      %s by %s\n", text(h, "released"),
		    text(h, "released_by"));
}

static void
show_holds(const json_t *result)
{
	const json_t *h;
	size_t i;

	for (i = 0; (h = json_array_get(result, i)) != NULL; i++)
		show_hold(h);
}

int
cli_hold_list(struct cli *cli)
{
	return cli_show(cli, "hold.list", json_object(), "holds", show_holds);
}

/* detail: of a class, a hold, or an adapter, which the reason tells. */
static void
show_stay(const json_t *g)
{
	bool detail = text(g, "detail")[0] != '\0';

	(void)printf("stays, %s%s%s%s: %lld record%s, %lld bytes, from %lld to "
		     "%lld\n",
	    text(g, "reason"), detail ? " (" : "", text(g, "detail"),
	    detail ? ")" : "", number(g, "records"),
	    plural(number(g, "records")), number(g, "bytes"),
	    number(g, "first"), number(g, "last"));
}

static void
show_survey(const json_t *result)
{
	const json_t *goes = json_object_get(result, "goes");
	const json_t *stays = json_object_get(result, "stays"), *g;

	(void)printf("would go: %lld record%s, %lld bytes\n",
	    number(goes, "records"), plural(number(goes, "records")),
	    number(goes, "bytes"));
	if (text(goes, "ranges")[0] != '\0')
		(void)printf("\trecords       %s%s\n", text(goes, "ranges"),
		    json_is_true(json_object_get(goes, "more")) ? ",..." : "");
	for (size_t i = 0; (g = json_array_get(stays, i)) != NULL; i++)
		show_stay(g);
}

int
cli_purge_dry(struct cli *cli)
{
	if (cli->given == 0) {
		cli_complain("purge: --dry-run, run or approve");
		return EXIT_USAGE;
	}
	return cli_show(
	    cli, "purge.dry-run", json_object(), "purge", show_survey);
}

static void
show_purged(const json_t *result)
{
	(void)printf("%lld purge%s, %lld record%s\n", number(result, "purges"),
	    plural(number(result, "purges")), number(result, "records"),
	    plural(number(result, "records")));
}

int
cli_purge_run(struct cli *cli)
{
	return cli_show(cli, "purge.run", json_object(), "purge", show_purged);
}

int
cli_purge_approve(struct cli *cli)
{
	json_t *args = json_object();
	json_t *below = NULL;

	if ((cli->below == NULL) == (cli->before == NULL) ||
	    (cli->below != NULL && (below = number_of(cli->below)) == NULL)) {
		cli_complain(
		    "purge approve: either --before TIME or --below NUMBER");
		json_decref(args);
		return EXIT_USAGE;
	}
	if (!is_time("--before", cli->before)) {
		json_decref(args);
		return EXIT_USAGE;
	}
	if (below != NULL)
		(void)json_object_set_new(args, "below", below); /* or asked */
	if (!cli_set_text(args, "before", cli->before)) {
		json_decref(args);
		args = NULL;
	}
	return cli_show(cli, "purge.approve", args, "purge", show_approved);
}
