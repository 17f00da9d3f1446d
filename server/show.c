#include "server/show.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static bool
yes(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

void
show_users(const json_t *result)
{
	size_t i;
	json_t *u;

	json_array_foreach(result, i, u)(void)
	    printf("%s\t%s%s\n", text(u, "uri"), text(u, "name"),
		yes(u, "password") ? "" : "\t(no password)");
}

void
show_rooms(const json_t *result)
{
	size_t i;
	json_t *r;

	json_array_foreach(result, i, r)(void)
	    printf("%s\t%s\t%lld member%s\t%s\t%s\n", text(r, "name"),
		text(r, "privacy"), number(r, "members"),
		number(r, "members") == 1 ? "" : "s", text(r, "uri"),
		text(r, "description"));
}

static void
show_adapter(const json_t *a)
{
	const json_t *acked = json_object_get(a, "acknowledged");
	const json_t *batch = json_object_get(a, "batch");

	(void)printf("adapter %s (%s%s): %s%s\n", text(a, "name"),
	    text(a, "program"), yes(a, "required") ? ", required" : "",
	    text(a, "state"), yes(a, "quarantined") ? ", quarantined" : "");
	if (json_is_object(acked))
		(void)printf("\tacknowledged  batch %lld, records %lld to "
			     "%lld, %s, %s\n",
		    number(acked, "batch"), number(acked, "first"),
		    number(acked, "last"), text(acked, "state"),
		    text(acked, "at"));
	if (json_is_object(batch))
		(void)printf("\tunder way     batch %lld, records %lld to "
			     "%lld\n",
		    number(batch, "batch"), number(batch, "first"),
		    number(batch, "last"));
	(void)printf("\tbacklog       %lld record%s", number(a, "backlog"),
	    number(a, "backlog") == 1 ? "" : "s");
	if (text(a, "oldest")[0] != '\0')
		(void)printf(" since %s", text(a, "oldest"));
	(void)putchar('\n');
	if (text(a, "failure")[0] == '\0')
		return;
	(void)printf("\tfailure       %s", text(a, "failure"));
	if (number(a, "failures") > 0) /* else nothing that is the adapter's */
		(void)printf(" (%lld in a row)", number(a, "failures"));
	(void)putchar('\n');
}

void
show_adapters(const json_t *result)
{
	size_t i;
	json_t *a;

	for (i = 0; (a = json_array_get(result, i)) != NULL; i++)
		show_adapter(a);
}

void
show_run(const json_t *result)
{
	const json_t *batches = json_object_get(result, "batches");
	size_t i;
	json_t *b;

	if (json_array_size(batches) == 0)
		(void)printf("adapter %s: nothing to hand over\n",
		    text(result, "adapter"));
	json_array_foreach(batches, i, b)(void)
	    printf("adapter %s: batch %lld, records %lld to %lld, "
		   "%s%s%s%s\n",
		text(result, "adapter"), number(b, "batch"), number(b, "first"),
		number(b, "last"), text(b, "state"),
		text(b, "location")[0] != '\0' ? ": " : "", text(b, "location"),
		yes(b, "readback") ? ", read back" : "");
}

/* The server's members as they are: name, then value, one a line. */
static void
show_members(const json_t *o)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)o, name, value)
	{
		char *plain;

		if (json_is_object(value) ||
		    (json_is_string(value) && json_string_length(value) == 0))
			continue;
		if (json_is_string(value)) {
			(void)printf(
			    "\t%-20s %s\n", name, json_string_value(value));
			continue;
		}
		plain = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		if (plain != NULL)
			(void)printf("\t%-20s %s\n", name, plain);
		free(plain);
	}
}

static void
show_source(const json_t *s)
{
	static const struct {
		long long s;
		const char *name;
	} units[] = {{86400, "days"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	long long ago = number(s, "ago_s");
	size_t i = 0;

	(void)printf("\t%-13s %s%s: %s, %lld records", text(s, "what"),
	    text(s, "name"), yes(s, "required") ? " (required)" : "",
	    text(s, "state"), number(s, "size"));
	while (units[i].s > 1 && ago < 2 * units[i].s)
		i++;
	if (text(s, "time")[0] != '\0')
		(void)printf(" at %s (%lld %s ago)", text(s, "time"),
		    ago / units[i].s, units[i].name);
	(void)putchar('\n');
	if (text(s, "failure")[0] != '\0')
		(void)printf("\t              %s\n", text(s, "failure"));
}

static void
show_need(const json_t *o, const json_t *sources)
{
	long long quorum = number(o, "quorum");
	bool stamp = false;
	const json_t *s;

	for (size_t i = 0; (s = json_array_get(sources, i)) != NULL; i++)
		stamp |= yes(s, "required");
	if (quorum == 0 && !stamp)
		return;
	(void)printf("\tpurging needs ");
	if (quorum > 0)
		(void)printf("%lld witness%s%s", quorum,
		    quorum == 1 ? "" : "es", stamp ? " and " : "");
	(void)printf("%s; reached for %lld records\n",
	    stamp ? "a time-stamp" : "", number(o, "anchored"));
	if (text(o, "missing")[0] != '\0')
		(void)printf("\tmissing       %s\n", text(o, "missing"));
}

static void
show_anchors(const json_t *o)
{
	const json_t *sources = json_object_get(o, "sources");
	const json_t *s;

	if (json_array_size(sources) == 0)
		return;
	(void)printf("anchors%s\n", yes(o, "alarm") ? ": ALARM" : "");
	show_need(o, sources);
	for (size_t i = 0;
	     (s = json_array_get(json_object_get(o, "conflicts"), i)) != NULL;
	     i++)
		(void)printf("\tCONFLICT      witness %s %s another history of "
			     "%lld records (record %lld; hold %lld)\n",
		    text(s, "witness"), yes(s, "proof") ? "has" : "claims",
		    number(s, "size"), number(s, "record"), number(s, "hold"));
	for (size_t i = 0; (s = json_array_get(sources, i)) != NULL; i++)
		show_source(s);
}

static void
show_audit(const json_t *o)
{
	(void)printf("\taudit         ");
	if (text(o, "whole")[0] != '\0')
		(void)printf("last whole at %s; ", text(o, "whole"));
	if (number(o, "period_s") == 0 && !yes(o, "running"))
		(void)printf("only on demand\n");
	else if (number(o, "size") == 0)
		(void)printf("nothing read yet\n");
	else
		(void)printf("%lld of %lld records read%s\n",
		    number(o, "position"), number(o, "size"),
		    yes(o, "running") ? ", on demand" : "");
	if (text(o, "finding")[0] != '\0')
		(void)printf("\tBROKEN        %s\n", text(o, "finding"));
}

void
show_status(const json_t *result)
{
	const json_t *journal = json_object_get(result, "journal");
	const json_t *keeper = json_object_get(result, "keeper");
	const json_t *server = json_object_get(result, "server");

	(void)printf(
	    "%s for %s\n", text(result, "software"), text(result, "domain"));
	(void)printf("journal %s\n", text(journal, "origin"));
	(void)printf("\tsize          %lld records, %lld signed\n",
	    number(journal, "size"), number(journal, "signed"));
	if (number(journal, "files") > 1)
		(void)printf(
		    "\tfiles         %lld, the newest from record %lld\n",
		    number(journal, "files"), number(journal, "file_first"));
	if (number(journal, "purged_to") < number(journal, "size"))
		(void)printf("\tpayloads      from record %lld\n",
		    number(journal, "purged_to"));
	else
		(void)printf("\tpayloads      none\n");
	if (text(journal, "purge_failure")[0] != '\0')
		(void)printf(
		    "\tpurging       %s\n", text(journal, "purge_failure"));
	show_audit(json_object_get(result, "audit"));
	(void)printf("keeper\n\twritable      %s%s%s\n",
	    yes(keeper, "writable") ? "yes" : "NO",
	    text(keeper, "why")[0] != '\0' ? ": " : "", text(keeper, "why"));
	if (text(keeper, "alarm")[0] != '\0')
		(void)printf("\tALARM         %s\n", text(keeper, "alarm"));
	(void)printf("server\n");
	show_members(server);
	(void)printf("sip\n");
	show_members(json_object_get(server, "sip"));
	show_anchors(json_object_get(result, "anchors"));
	show_adapters(json_object_get(result, "adapters"));
}

void
show_receipts(const json_t *result)
{
	const json_t *list = json_object_get(result, "receipts"), *r;
	size_t i;

	json_array_foreach(list, i, r)
	{
		(void)printf("%lld %s %s %s %lld%s\n", number(r, "seq"),
		    text(r, "time"), text(r, "hash"), text(r, "room"),
		    number(r, "chat"),
		    yes(r, "signed") ? "" : " (not signed yet)");
	}
	if (number(result, "unknown") > 0)
		(void)fprintf(stderr,
		    "%lld purged posts could not be matched: who wrote them "
		    "is in the archives\n",
		    number(result, "unknown"));
}
