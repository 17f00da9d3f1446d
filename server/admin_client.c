#include "server/admin_client.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/process.h"
#include "server/admin_offline.h"
#include "server/store.h"

#define REPLY_MAX ((size_t)64 << 20)
#define ATTEMPTS 50 /* while a daemon starts or ends */
#define ATTEMPT_MS 100

struct admin_client {
	const struct conf *conf;
	int socket; /* -1: offline */
	struct buf in;
	/* Offline only. */
	int lock;
	struct store *store;
	char *store_path;
	char by[32];
};

static void
say(char *why, size_t why_len, const char *what, int error)
{
	(void)snprintf(why, why_len, "%s: %s", what, strerror(error));
}

/* A connected socket; -1 with errno. */
static int
connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	error = errno;
	(void)close(fd); /* never used */
	errno = error;
	return -1;
}

/* The lock that says that no daemon runs; -1 with errno. */
static int
lock_state(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int error;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	error = errno;
	(void)close(fd); /* never used */
	errno = error;
	return -1;
}

/*
 * Either the daemon's socket or its lock, trying for a while: a daemon that
 * starts or ends holds the lock and does not listen.
 */
static int
reach(struct admin_client *c, char *why, size_t why_len)
{
	const struct timespec pause = {0, ATTEMPT_MS * 1000000L};
	char *socket_path = conf_state_path(c->conf, "control.sock");
	char *lock_path = conf_state_path(c->conf, "lock");
	int result = -1;

	for (int i = 0; i < ATTEMPTS && socket_path && lock_path; i++) {
		if (i > 0)
			(void)nanosleep(&pause, NULL); /* shorter is fine */
		c->socket = connect_to(socket_path);
		if (c->socket >= 0) {
			result = 0;
			break;
		}
		say(why, why_len, socket_path, errno);
		if (errno != ENOENT && errno != ECONNREFUSED)
			break;
		c->lock = lock_state(lock_path);
		if (c->lock >= 0) {
			result = 0;
			break;
		}
		if (errno == EWOULDBLOCK)
			continue;
		if (errno == ENOENT)
			(void)snprintf(why, why_len,
			    "%s: no state here; make it with `chancery init`",
			    c->conf->state_dir);
		else if (errno == EACCES)
			(void)snprintf(why, why_len,
			    "chanceryd does not answer, and without it only "
			    "root and the owner of %s may do this",
			    c->conf->state_dir);
		else
			say(why, why_len, lock_path, errno);
		break;
	}
	free(socket_path);
	free(lock_path);
	return result;
}

struct admin_client *
admin_client_open(const struct conf *conf, char *why, size_t why_len)
{
	struct admin_client *c = calloc(1, sizeof *c);

	(void)snprintf(why, why_len, "out of memory");
	if (c == NULL)
		return NULL;
	c->conf = conf;
	c->socket = c->lock = -1;
	buf_init(&c->in);
	(void)snprintf(c->by, sizeof c->by, "uid:%u", (unsigned)getuid());
	if (reach(c, why, why_len) != 0) {
		admin_client_close(c);
		return NULL;
	}
	if (c->socket >= 0)
		return c;
	c->store_path = conf_state_path(conf, "chat/chat.db");
	if (c->store_path != NULL)
		c->store = store_open(c->store_path, why, why_len);
	if (c->store == NULL) {
		admin_client_close(c);
		return NULL;
	}
	return c;
}

static bool
send_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		text += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* The next line into in, its length without LF; -1 with errno. */
static ssize_t
read_line(struct admin_client *c)
{
	size_t scanned = 0;

	for (;;) {
		const uint8_t *lf = c->in.len > scanned
		    ? memchr(c->in.data + scanned, '\n', c->in.len - scanned)
		    : NULL;
		ssize_t n;

		if (lf != NULL)
			return lf - c->in.data;
		scanned = c->in.len;
		if (c->in.len > REPLY_MAX || !buf_reserve(&c->in, 65536)) {
			errno = EMSGSIZE;
			return -1;
		}
		n = recv(c->socket, c->in.data + c->in.len, 65536, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ECONNRESET;
			return -1;
		}
		c->in.len += (size_t)n;
	}
}

static json_t *
ask_daemon(struct admin_client *c, const char *command, json_t *args, char *why,
    size_t why_len)
{
	json_t *request = json_pack("{s:s,s:O}", "cmd", command, "args", args);
	char *text = json_dumps(request, JSON_COMPACT);
	json_t *reply = NULL;
	ssize_t n = -1;

	json_decref(request);
	errno = ENOMEM;
	if (text != NULL && send_all(c->socket, text, strlen(text)) &&
	    send_all(c->socket, "\n", 1))
		n = read_line(c);
	free(text);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
		(void)snprintf(why, why_len,
		    "chanceryd closed the connection: user %u is neither root, "
		    "nor the owner of the state, nor an officer; or it is "
		    "ending, or has too many connections",
		    (unsigned)geteuid());
		return NULL;
	}
	if (n < 0) {
		say(why, why_len, "chanceryd", errno);
		return NULL;
	}
	reply = json_loadb((const char *)c->in.data, (size_t)n, 0, NULL);
	buf_consume(&c->in, (size_t)n + 1);
	if (json_is_boolean(json_object_get(reply, "ok")))
		return reply;
	json_decref(reply);
	(void)snprintf(why, why_len, "chanceryd: malformed answer");
	return NULL;
}

json_t *
admin_client_ask(struct admin_client *c, const char *command, json_t *args,
    char *why, size_t why_len)
{
	json_t *reply;

	if (args == NULL) {
		(void)snprintf(why, why_len, "arguments are not UTF-8");
		return NULL;
	}
	if (c->socket >= 0) {
		reply = ask_daemon(c, command, args, why, why_len);
	} else {
		reply = admin_offline(c->store, command, args, c->by);
		if (reply == NULL)
			(void)snprintf(why, why_len, "out of memory");
	}
	json_decref(args);
	return reply;
}

/* Files that root's work made or renewed stay the server's. */
static void
give_back(const struct admin_client *c)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	uid_t uid;
	gid_t gid;

	if (geteuid() != 0 ||
	    process_user(c->conf->user_server, &uid, &gid) != 0)
		return;
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		char *path = NULL;

		if (asprintf(&path, "%s%s", c->store_path, suffixes[i]) < 0)
			continue;
		if (lchown(path, uid, gid) != 0 && errno != ENOENT)
			(void)fprintf(stderr, "chancery: %s: %s\n", path,
			    strerror(errno));
		free(path);
	}
}

void
admin_client_close(struct admin_client *c)
{
	if (c == NULL)
		return;
	if (c->store != NULL) {
		store_close(c->store);
		give_back(c);
	}
	free(c->store_path);
	if (c->socket >= 0)
		(void)close(c->socket); /* nothing is under way */
	if (c->lock >= 0)
		(void)close(c->lock); /* never written */
	buf_release(&c->in);
	free(c);
}
