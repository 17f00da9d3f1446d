/* chanceryd(8): the daemon's main, and the way into each role. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include "compliance/anchor.h"
#include "compliance/engine.h"
#include "compliance/keeper.h"
#include "compliance/signer.h"
#include "server/adapter_start.h"
#include "server/parent.h"
#include "server/server.h"

#define CONF_DEFAULT "/etc/chancery/chancery.conf"
#define CONF_MAX (1U << 20)
#define ADAPTER_PREFIX "adapter:"

static const struct {
	const char *name;
	int (*main)(const struct conf *conf, int parent_fd);
} roles[] = {
    {"server", server_main},
    {"keeper", keeper_main},
    {"signer", signer_main},
    {"engine", engine_main},
    {"anchor", anchor_main},
};

static int
usage(void)
{
	(void)fprintf(stderr,
	    "usage: chanceryd [-dn] [-f chancery.conf]\n"
	    "       chanceryd -V\n");
	return 2;
}

/* The parent's checked configuration, from the sealed descriptor. */
static struct conf *
inherited_conf(void)
{
	const char *path = getenv("CHANCERY_CONF_PATH");
	struct buf text, errors;
	struct conf *conf;
	char name[32];

	buf_init(&text);
	buf_init(&errors);
	/* An own file position: the descriptor is shared by all roles. */
	(void)snprintf(name, sizeof name, "/proc/self/fd/%d", ROLE_CONF_FD);
	if (path == NULL || file_read(name, CONF_MAX, &text) != 0)
		log_fatal("roles are started by chanceryd only");
	(void)close(ROLE_CONF_FD); /* only read from */
	conf = conf_parse(path, buf_view(&text), &errors);
	if (conf == NULL)
		log_fatal("%s", buf_text(&errors));
	buf_release(&text);
	buf_release(&errors);
	return conf;
}

static int
run_role(const char *name, bool debug)
{
	static const struct conf *conf; /* for the life of the process */

	log_init(name, debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_never_wait();
	crypto_init();
	conf = inherited_conf();
	if (strncmp(name, ADAPTER_PREFIX, strlen(ADAPTER_PREFIX)) == 0)
		return adapter_start(conf, name + strlen(ADAPTER_PREFIX));
	if (fcntl(ROLE_PARENT_FD, F_SETFD, FD_CLOEXEC) != 0)
		log_fatal("no channel to the parent: %s", strerror(errno));
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		if (strcmp(roles[i].name, name) == 0)
			return roles[i].main(conf, ROLE_PARENT_FD);
	log_fatal("no such role");
}

static int
print_conf(const struct conf *conf)
{
	struct buf out;
	int status = 0;

	buf_init(&out);
	conf_print(conf, &out);
	if (out.failed || fwrite(out.data, 1, out.len, stdout) != out.len ||
	    fflush(stdout) != 0) {
		(void)fprintf(stderr, "chanceryd: standard output: %s\n",
		    strerror(errno));
		status = 3;
	}
	buf_release(&out);
	return status;
}

static int
run_parent(const struct conf *conf, struct view text, bool debug)
{
	log_never_wait();
	return parent_main(conf, text, debug);
}

static int
run_daemon(const char *path, bool check_only, bool debug)
{
	char *absolute = realpath(path, NULL);
	struct buf text, errors;
	struct conf *conf = NULL;
	int status = 2;

	log_init("chanceryd", debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	buf_init(&text);
	buf_init(&errors);
	if (absolute == NULL || file_read(absolute, CONF_MAX, &text) != 0)
		buf_printf(&errors, "%s: %s\n", path, strerror(errno));
	else
		conf = conf_parse(absolute, buf_view(&text), &errors);
	if (conf == NULL || !conf_check_system(conf, &errors))
		(void)fprintf(stderr, "%s", buf_text(&errors));
	else if (check_only)
		status = print_conf(conf);
	else
		status = run_parent(conf, buf_view(&text), debug);
	conf_free(conf);
	buf_release(&errors);
	buf_release(&text);
	free(absolute);
	return status;
}

int
main(int argc, char **argv)
{
	const char *path = CONF_DEFAULT, *role = NULL;
	bool check_only = false, debug = false;
	int option;

	/* A peer that closes its end is an error of the write, not a death. */
	(void)signal(SIGPIPE, SIG_IGN);
	while ((option = getopt(argc, argv, "df:nR:V")) != -1) {
		switch (option) {
		case 'd':
			debug = true;
			break;
		case 'f':
			path = optarg;
			break;
		case 'n':
			check_only = true;
			break;
		case 'R':
			role = optarg;
			break;
		case 'V':
			(void)puts("chanceryd " CHANCERY_VERSION);
			return 0;
		default:
			return usage();
		}
	}
	if (optind != argc)
		return usage();
	if (role != NULL)
		return run_role(role, debug);
	closefrom(STDERR_FILENO + 1); /* nothing of the starter's for a role */
	return run_daemon(path, check_only, debug);
}
