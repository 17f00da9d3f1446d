/* chancery-witness(8): cosigns what provably adds to what it has cosigned. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include "export/verify_line.h"
#include "export/witness_http.h"

#define EXIT_KNOWN 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define PEM_MAX ((size_t)1 << 20)
#define WHY_MAX 512
#define DIGEST_DIGITS 64

struct options {
	const char *state;
	const char *listen;
	const char *cert;
	const char *key;
};

static const char usage_text[] =
    "usage: chancery-witness --state DIR init NAME\n"
    "       chancery-witness --state DIR vkey\n"
    "       chancery-witness --state DIR add-log VKEY [NEXT]\n"
    "       chancery-witness --state DIR list\n"
    "       chancery-witness --state DIR conflicts\n"
    "       chancery-witness --state DIR --listen ADDRESS:PORT --cert FILE\n"
    "           --key FILE serve\n"
    "Exit status: 0 all well, 1 known already, 2 usage, 3 system.\n";

static int
usage(const char *what)
{
	if (what != NULL)
		fprintf(stderr, "chancery-witness: %s\n", what);
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

static int
complain(int status, const char *what)
{
	fprintf(stderr, "chancery-witness: %s\n", what);
	return status;
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
	    {"state", required_argument, NULL, 's'},
	    {"listen", required_argument, NULL, 'l'},
	    {"cert", required_argument, NULL, 'c'},
	    {"key", required_argument, NULL, 'k'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "s:l:c:k:hV", names, NULL)) != -1) {
		switch (c) {
		case 's':
			o->state = optarg;
			break;
		case 'l':
			o->listen = optarg;
			break;
		case 'c':
			o->cert = optarg;
			break;
		case 'k':
			o->key = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		case 'V':
			puts("chancery-witness " CHANCERY_VERSION);
			return 0;
		default:
			return usage(NULL);
		}
	}
	if (o->state == NULL)
		return usage("--state is missing");
	return optind == argc ? usage("a command is missing") : -1;
}

static char *
path_in(const char *folder, const char *name)
{
	char *path = file_join(folder, name);

	if (path == NULL)
		log_fatal("out of memory");
	return path;
}

static struct witness_store *
open_store(const struct options *o, bool create, char *why)
{
	char *path = path_in(o->state, "witness.db");
	struct witness_store *s;

	if (!create && access(path, F_OK) != 0 && errno == ENOENT) {
		(void)snprintf(why, WHY_MAX,
		    "%s: no state here; make it with `chancery-witness "
		    "--state %s init NAME`",
		    o->state, o->state);
		free(path);
		return NULL;
	}
	s = witness_store_open(path, create, why, WHY_MAX);
	free(path);
	return s;
}

static struct witness_key *
load_key(const struct options *o, char *why)
{
	char *path = path_in(o->state, "key");
	struct witness_key *k = witness_key_load(path, why, WHY_MAX);

	free(path);
	return k;
}

static int
print_vkey(const struct witness_key *k)
{
	struct buf text;
	bool ok;

	buf_init(&text);
	witness_key_put_vkey(k, &text);
	ok = buf_text(&text) != NULL && puts(buf_text(&text)) >= 0 &&
	    fflush(stdout) == 0;
	buf_release(&text);
	return ok ? 0 : complain(EXIT_SYSTEM, "standard output failed");
}

/* The key comes last: with it the state is whole. */
static int
init(const struct options *o, char **args)
{
	struct witness_key *k = NULL;
	struct witness_store *s;
	char why[WHY_MAX] = "";
	char *path;
	int status = EXIT_SYSTEM;

	if (!witness_name_valid(view_text(args[0])))
		return complain(EXIT_USAGE,
		    "NAME has 1 to 255 bytes, and no blank and no \"+\"");
	if (file_make_dirs(o->state, 0700) != 0) {
		(void)snprintf(
		    why, sizeof(why), "%s: %s", o->state, strerror(errno));
		return complain(EXIT_SYSTEM, why);
	}
	s = open_store(o, true, why);
	if (s == NULL)
		return complain(EXIT_SYSTEM, why);
	path = path_in(o->state, "key");
	if (witness_key_make(path, args[0], why, sizeof(why)))
		k = load_key(o, why);
	status = k == NULL ? complain(EXIT_SYSTEM, why) : print_vkey(k);
	witness_key_free(k);
	free(path);
	witness_store_close(s);
	return status;
}

static int
vkey(const struct options *o, char **args)
{
	char why[WHY_MAX] = "";
	struct witness_key *k = load_key(o, why);
	int status;

	(void)args;
	status = k == NULL ? complain(EXIT_SYSTEM, why) : print_vkey(k);
	witness_key_free(k);
	return status;
}

static int
store_failed(const struct witness_store *s)
{
	return complain(EXIT_SYSTEM, witness_store_error(s));
}

static int
insert_log(
    struct witness_store *s, const struct verify_key *key, const uint8_t *next)
{
	struct witness_log log;

	if (!witness_store_begin(s))
		return store_failed(s);
	switch (witness_store_find(s, view_text(key->name), &log)) {
	case WITNESS_NONE:
		break;
	case WITNESS_FOUND:
		witness_store_abort(s);
		return complain(EXIT_KNOWN, "a log of this name is known");
	default:
		witness_store_abort(s);
		return store_failed(s);
	}
	return witness_store_add_log(s, key, next) && witness_store_commit(s)
	    ? 0
	    : store_failed(s);
}

static int
add_log(const struct options *o, char **args)
{
	struct witness_store *s;
	struct verify_key key;
	uint8_t next[32];
	char why[WHY_MAX] = "";
	const char *reason = "";
	int status;

	if (!verify_key_parse(view_text(args[0]), &key, &reason))
		return complain(EXIT_USAGE, reason);
	if (args[1] != NULL &&
	    (strlen(args[1]) != DIGEST_DIGITS ||
		!verify_hex(view_text(args[1]), next, sizeof(next))))
		return complain(
		    EXIT_USAGE, "next is not 64 hexadecimal digits");
	s = open_store(o, false, why);
	if (s == NULL)
		return complain(EXIT_SYSTEM, why);
	status = insert_log(s, &key, args[1] == NULL ? NULL : next);
	witness_store_close(s);
	return status;
}

static bool
print_log(void *arg, const struct witness_log *log)
{
	struct buf line;
	bool ok;

	(void)arg;
	buf_init(&line);
	buf_printf(&line, "%s %" PRIu64 " ", log->origin, log->size);
	if (log->cosigned) {
		text_put_base64(&line, log->root, sizeof(log->root));
		buf_put_u8(&line, ' ');
		text_put_time(&line, log->at * 1000000);
	} else {
		buf_put_text(&line, "- -");
	}
	buf_printf(&line, " %" PRIu64, log->conflicts);
	ok = buf_text(&line) != NULL && puts(buf_text(&line)) >= 0;
	buf_release(&line);
	return ok;
}

static bool
print_conflict(void *arg, struct view kept, struct view refused)
{
	(void)arg;
	return fwrite(kept.p, 1, kept.n, stdout) == kept.n &&
	    putchar('\n') != EOF &&
	    fwrite(refused.p, 1, refused.n, stdout) == refused.n &&
	    putchar('\n') != EOF;
}

static int
list(const struct options *o, char **args)
{
	char why[WHY_MAX] = "";
	struct witness_store *s = open_store(o, false, why);
	int status = 0;

	(void)args;
	if (s == NULL)
		return complain(EXIT_SYSTEM, why);
	if (!witness_store_each(s, print_log, NULL) || fflush(stdout) != 0)
		status = store_failed(s);
	witness_store_close(s);
	return status;
}

static int
conflicts(const struct options *o, char **args)
{
	char why[WHY_MAX] = "";
	struct witness_store *s = open_store(o, false, why);
	int status = 0;

	(void)args;
	if (s == NULL)
		return complain(EXIT_SYSTEM, why);
	if (!witness_store_each_conflict(s, print_conflict, NULL) ||
	    fflush(stdout) != 0)
		status = store_failed(s);
	witness_store_close(s);
	return status;
}

/* A file as a string; NULL after saying why. */
static char *
read_pem(const char *path)
{
	struct buf text;
	char *pem = NULL;

	buf_init(&text);
	if (file_read(path, PEM_MAX, &text) == 0)
		pem = view_dup(buf_view(&text));
	if (pem == NULL)
		fprintf(stderr, "chancery-witness: %s: %s\n", path,
		    strerror(errno));
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	buf_release(&text);
	return pem;
}

/* Signals are taken by sigwait in this thread alone. */
static int
answer_until_signal(const struct options *o, const struct witness *w,
    const char *cert, const char *key)
{
	char why[WHY_MAX] = "";
	struct witness_http *h;
	sigset_t ends, blocked;
	int number = 0;

	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigaddset(&ends, SIGINT);
	blocked = ends;
	(void)sigaddset(&blocked, SIGPIPE);
	if (pthread_sigmask(SIG_BLOCK, &blocked, NULL) != 0)
		return complain(EXIT_SYSTEM, "signals cannot be blocked");
	h = witness_http_start(w, o->listen, cert, key, why, sizeof(why));
	if (h == NULL)
		return complain(EXIT_SYSTEM, why);
	log_info("%s serves https://%s", witness_key_name(w->key),
	    witness_http_address(h));
	(void)sigwait(&ends, &number); /* the set is valid */
	log_info("ends on signal %d", number);
	witness_http_stop(h);
	return 0;
}

static int
serve(const struct options *o, char **args)
{
	const struct rlimit none = {0, 0};
	struct witness w = {NULL, NULL};
	struct witness_key *k = NULL;
	char why[WHY_MAX] = "";
	char *cert = NULL, *key = NULL;
	int status = EXIT_SYSTEM;

	(void)args;
	if (o->listen == NULL || o->cert == NULL || o->key == NULL)
		return usage("serve needs --listen, --cert and --key");
	if (strrchr(o->listen, ':') == NULL)
		return usage("--listen needs ADDRESS:PORT");
	(void)umask(077);
	if (setrlimit(RLIMIT_CORE, &none) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return complain(EXIT_SYSTEM, "rights cannot be given up");
	cert = read_pem(o->cert);
	key = read_pem(o->key);
	if (cert != NULL && key != NULL) {
		w.store = open_store(o, false, why);
		if (w.store != NULL)
			w.key = k = load_key(o, why);
		status = k == NULL ? complain(EXIT_SYSTEM, why)
				   : answer_until_signal(o, &w, cert, key);
	}
	witness_key_free(k);
	witness_store_close(w.store);
	if (key != NULL)
		crypto_wipe(key, strlen(key));
	free(key);
	free(cert);
	return status;
}

static const struct command {
	const char *name;
	int least, most; /* arguments */
	int (*run)(const struct options *, char **);
} commands[] = {
    {"init", 1, 1, init},
    {"vkey", 0, 0, vkey},
    {"add-log", 1, 2, add_log},
    {"list", 0, 0, list},
    {"conflicts", 0, 0, conflicts},
    {"serve", 0, 0, serve},
};

int
main(int argc, char **argv)
{
	struct options o = {NULL, NULL, NULL, NULL};
	int status = parse_options(argc, argv, &o), count;

	if (status >= 0)
		return status;
	log_init("chancery-witness", LOG_LEVEL_INFO);
	crypto_init();
	count = argc - optind - 1;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, argv[optind]) == 0 &&
		    count >= commands[i].least && count <= commands[i].most)
			return commands[i].run(&o, argv + optind + 1);
	return usage("no such command, or not so many arguments");
}
