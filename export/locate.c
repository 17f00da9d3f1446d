#include "export/locate.h"

#include <stdio.h>
#include <sys/stat.h>

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

bool
locate_is_copy(const char *journal)
{
	char wal[4096];
	struct stat st;
	int n = snprintf(wal, sizeof(wal), "%s-wal", journal);

	return n < 0 || (size_t)n >= sizeof(wal) || stat(wal, &st) != 0;
}
