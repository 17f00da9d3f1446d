#include <stdio.h>

#include "server/recover.h"

static long long
number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static const char *
text(const json_t *o, const char *name)
{
	const char *value = json_string_value(json_object_get(o, name));

	return value != NULL ? value : "";
}

static void
show_incarnation(const json_t *o)
{
	(void)printf("The journal goes on as %s, after %lld records of %s.\n",
	    text(o, "origin"), number(o, "size"), text(o, "old"));
	if (number(o, "lost") > 0)
		(void)printf("Lost: records %lld to %lld at least.\n",
		    number(o, "size"), number(o, "signed") - 1);
	if (number(o, "messages") > 0)
		(void)printf("%lld messages are not shown to clients any "
			     "more.\n",
		    number(o, "messages"));
	if (number(o, "again") > 0)
		(void)printf("%lld rooms, members and users are going to be "
			     "recorded again.\n",
		    number(o, "again"));
	(void)printf("The old signer's folder is kept as %s.\n"
		     "New verifier key, to be given to all who hold the old "
		     "one:\n%s\n",
	    text(o, "kept"), text(o, "vkey"));
}

void
show_recovery(const json_t *result)
{
	if (json_object_get(result, "recovered") != NULL)
		(void)printf(
		    "%lld records recovered.\n", number(result, "recovered"));
	if (number(result, "unclosed") > 0)
		(void)printf("%lld epochs lack the checkpoint that closes "
			     "them, and do not hold: give a copy of the "
			     "journal that has it as a source, too.\n",
		    number(result, "unclosed"));
	if (json_object_get(result, "origin") != NULL)
		show_incarnation(result);
	else if (json_object_get(result, "size") != NULL)
		(void)printf("The journal holds %lld records and gives the "
			     "root that was signed at %lld.\n",
		    number(result, "size"), number(result, "signed"));
	else
		(void)printf("The signer's state is that of %lld records.\n",
		    number(result, "signed"));
}
