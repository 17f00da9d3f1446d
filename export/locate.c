#include "export/locate.h"

#include <stdio.h>

#include "base/conf.h"

char *
locate_journal(const char *path)
{
	struct buf errors;
	struct conf *conf;
	char *journal = NULL;

	buf_init(&errors);
	conf = conf_load(path, &errors);
	if (conf != NULL)
		journal = conf_state_path(conf, "journal/journal.db");
	else
		fprintf(stderr, "%s",
		    buf_text(&errors) == NULL ? "out of memory\n"
					      : buf_text(&errors));
	conf_free(conf);
	buf_release(&errors);
	return journal;
}
