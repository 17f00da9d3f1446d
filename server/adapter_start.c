#include "server/adapter_start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

#define ADAPTER_FILES 256

/* The adapter's folder exists and, when we are root, is the adapter's. */
static bool
prepare_directory(const struct conf *conf, const struct conf_adapter *a)
{
	uid_t uid;
	gid_t gid;

	if (a->directory == NULL)
		return true;
	if (file_make_dirs(a->directory, 0755) != 0) {
		log_error("%s: %s", a->directory, strerror(errno));
		return false;
	}
	if (geteuid() != 0)
		return true;
	if (process_user(conf->user_adapter, &uid, &gid) != 0 ||
	    chown(a->directory, uid, gid) != 0) {
		log_error("%s: cannot be given to user %s: %s", a->directory,
		    conf->user_adapter, strerror(errno));
		return false;
	}
	return true;
}

static const struct conf_adapter *
find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->adapter_count; i++)
		if (strcmp(conf->adapters[i].name, name) == 0)
			return &conf->adapters[i];
	return NULL;
}

int
adapter_start(const struct conf *conf, const char *name)
{
	const struct conf_adapter *a = find(conf, name);
	char *program, *arguments[2];
	int fd;

	if (a == NULL) {
		log_error("no such adapter");
		return 3;
	}
	program = file_join(conf->libexec, a->program);
	if (program == NULL || !prepare_directory(conf, a))
		return 3;
	/* Opened before the rights go: the folders above may be closed then. */
	fd = open(program, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		log_error("%s: %s", program, strerror(errno));
		return 3;
	}
	if (process_drop(conf->user_adapter, ADAPTER_FILES) != 0) {
		log_error("rights cannot be given up: %s", strerror(errno));
		return 3;
	}
	arguments[0] = program;
	arguments[1] = NULL;
	(void)fexecve(fd, arguments, environ);
	if (errno == ENOENT) {
		/* A script: its interpreter needs the descriptor open. */
		(void)process_inherit(fd, true);
		(void)fexecve(fd, arguments, environ);
	}
	log_error("%s: %s", program, strerror(errno));
	return 3;
}
