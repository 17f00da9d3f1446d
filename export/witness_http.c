#include "export/witness_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#include "export/witness_request.h"

#define CONNECTIONS_MAX 256
#define CONNECTIONS_OF_ADDRESS_MAX 32
#define SILENCE_S 10
#define BODY_S 30
#define BODY_DISCARD_MAX ((size_t)1 << 20)
#define STOP_S 5
#define ADDRESS_MAX 96
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct witness_http {
	const struct witness *witness;
	struct MHD_Daemon *daemon;
	int listener;
	char address[ADDRESS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned requests; /* begun and not ended */
};

struct request {
	struct buf body;
	size_t received;
	time_t begun;
};

static time_t
monotonic(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
	return t.tv_sec;
}

static void
count(struct witness_http *h, int by)
{
	(void)pthread_mutex_lock(&h->lock);
	h->requests = (unsigned)((int)h->requests + by);
	if (h->requests == 0)
		(void)pthread_cond_signal(&h->idle);
	(void)pthread_mutex_unlock(&h->lock);
}

static void
put_address(const struct sockaddr *a, socklen_t n, char *out, size_t len)
{
	char host[64], port[16];
	bool v6 = a->sa_family == AF_INET6;

	if (getnameinfo(a, n, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		(void)snprintf(out, len, "?");
	else
		(void)snprintf(out, len, v6 ? "[%s]:%s" : "%s:%s", host, port);
}

static void
peer_of(struct MHD_Connection *c, char *out, size_t len)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	if (info == NULL || info->client_addr == NULL)
		(void)snprintf(out, len, "?");
	else
		put_address(info->client_addr,
		    info->client_addr->sa_family == AF_INET6
			? sizeof(struct sockaddr_in6)
			: sizeof(struct sockaddr_in),
		    out, len);
}

/* Evidence of a fork is for people; the size that a client asks for is not. */
static void
tell(struct MHD_Connection *c, const char *path, const struct witness_answer *a)
{
	char peer[ADDRESS_MAX];
	const char *log = a->origin[0] == '\0' ? "-" : a->origin;

	peer_of(c, peer, sizeof(peer));
	if (a->status == 200)
		log_debug("%s %s %s: 200", peer, path, log);
	else if (a->status == 422 || a->status == 500)
		log_error(
		    "%s %s %s: %u, %s", peer, path, log, a->status, a->why);
	else if (a->status == 409)
		log_info(
		    "%s %s %s: %u, %s", peer, path, log, a->status, a->why);
	else
		log_warn(
		    "%s %s %s: %u, %s", peer, path, log, a->status, a->why);
}

static enum MHD_Result
respond(struct MHD_Connection *c, const char *path, struct witness_answer *a)
{
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;

	if (a->body.failed)
		witness_refuse(a, 500, "out of memory");
	tell(c, path, a);
	response = MHD_create_response_from_buffer(
	    a->body.len, a->body.data, MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	if (MHD_add_response_header(response, "Content-Type", a->type) ==
		MHD_YES &&
	    (a->status != 405 ||
		MHD_add_response_header(response, "Allow",
		    strncmp(path, "/add-", 5) == 0 ? "POST" : "GET") ==
		    MHD_YES))
		result = MHD_queue_response(c, a->status, response);
	MHD_destroy_response(response);
	return result;
}

/* "/<hash>/checkpoint": the hash, or empty. */
static struct view
hash_of(const char *path)
{
	static const char end[] = "/checkpoint";
	size_t n = strlen(path), e = sizeof(end) - 1;

	if (n <= 1 + e || path[0] != '/' || strcmp(path + n - e, end) != 0)
		return view_of("", 0);
	return view_of(path + 1, n - 1 - e);
}

static void
answer(const struct witness *w, const char *path, const char *method,
    const struct request *r, struct witness_answer *out)
{
	bool link = strcmp(path, "/add-key") == 0;
	struct view hash = hash_of(path);
	time_t now = time(NULL);

	if (link || strcmp(path, "/add-checkpoint") == 0) {
		if (strcmp(method, "POST") != 0)
			witness_refuse(out, 405, "only POST");
		else if (r->received > WITNESS_BODY_MAX)
			witness_refuse(
			    out, 413, "more than %d bytes", WITNESS_BODY_MAX);
		else if (r->body.failed || now <= 0)
			witness_refuse(out, 500, "no memory, or no time");
		else
			witness_submit(
			    w, buf_view(&r->body), link, (uint64_t)now, out);
	} else if (hash.n > 0) {
		if (strcmp(method, "GET") != 0)
			witness_refuse(out, 405, "only GET");
		else
			witness_newest(w, hash, out);
	} else {
		witness_refuse(out, 404, "no such path");
	}
}

/* More than the limit is counted and not kept; false: enough of it. */
static bool
receive(struct request *r, const char *data, size_t n)
{
	r->received += n;
	if (r->received <= WITNESS_BODY_MAX)
		buf_put(&r->body, data, n);
	return r->received <= BODY_DISCARD_MAX &&
	    monotonic() - r->begun <= BODY_S;
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *c, const char *path,
    const char *method, const char *version, const char *data, size_t *size,
    void **state)
{
	struct witness_http *h = arg;
	struct witness_answer a = {.status = 0};
	struct request *r = *state;
	enum MHD_Result result;

	(void)version;
	if (r == NULL) {
		r = calloc(1, sizeof(*r));
		if (r == NULL)
			return MHD_NO;
		r->begun = monotonic();
		*state = r;
		count(h, 1);
		return MHD_YES;
	}
	if (*size > 0) {
		if (!receive(r, data, *size))
			return MHD_NO;
		*size = 0;
		return MHD_YES;
	}
	answer(h->witness, path, method, r, &a);
	result = respond(c, path, &a);
	witness_answer_release(&a);
	return result;
}

static void
on_end(void *arg, struct MHD_Connection *c, void **state,
    enum MHD_RequestTerminationCode why)
{
	struct request *r = *state;

	(void)c;
	(void)why;
	if (r == NULL)
		return;
	buf_release(&r->body);
	free(r);
	*state = NULL;
	count(arg, -1);
}

/* What a peer did wrong below HTTP is no news. */
static void
on_library(void *arg, const char *fmt, va_list ap)
{
	char line[256];
	size_t n;

	(void)arg;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	n = strlen(line);
	while (n > 0 && line[n - 1] == '\n')
		line[--n] = '\0';
	log_info("https: %s", line);
}

/* "1.2.3.4:5" or "[::1]:5" as two strings in `out`; false: malformed. */
static bool
split(const char *listen, char *out, size_t len, const char **host,
    const char **port)
{
	char *colon;

	if ((size_t)snprintf(out, len, "%s", listen) >= len)
		return false;
	colon = strrchr(out, ':');
	if (colon == NULL || colon == out || colon[1] == '\0')
		return false;
	*colon = '\0';
	*port = colon + 1;
	*host = out;
	if (out[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		*host = out + 1;
	}
	return true;
}

static int
bind_to(const struct addrinfo *a)
{
	int fd = socket(
	    a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(fd, CONNECTIONS_MAX) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd); /* nothing was written */
	return -1;
}

static bool
start_listening(
    struct witness_http *h, const char *text, char *why, size_t why_len)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	struct sockaddr_storage bound;
	socklen_t n = sizeof(bound);
	char copy[ADDRESS_MAX];
	const char *host, *port;
	int rc;

	if (!split(text, copy, sizeof(copy), &host, &port)) {
		(void)snprintf(why, why_len, "%s: not address:port", text);
		return false;
	}
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc != 0) {
		(void)snprintf(why, why_len, "%s: %s", text, gai_strerror(rc));
		return false;
	}
	h->listener = bind_to(found);
	freeaddrinfo(found);
	if (h->listener < 0 ||
	    getsockname(h->listener, (struct sockaddr *)&bound, &n) != 0) {
		(void)snprintf(why, why_len, "%s: %s", text, strerror(errno));
		return false;
	}
	put_address(
	    (struct sockaddr *)&bound, n, h->address, sizeof(h->address));
	return true;
}

struct witness_http *
witness_http_start(const struct witness *w, const char *listen,
    const char *cert, const char *key, char *why, size_t why_len)
{
	struct witness_http *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		(void)snprintf(why, why_len, "out of memory");
		return NULL;
	}
	h->witness = w;
	h->listener = -1;
	(void)pthread_mutex_init(&h->lock, NULL); /* cannot fail on Linux */
	(void)pthread_cond_init(&h->idle, NULL);
	if (!start_listening(h, listen, why, why_len)) {
		witness_http_stop(h);
		return NULL;
	}
	h->daemon = MHD_start_daemon(MHD_USE_AUTO |
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS |
		MHD_USE_ERROR_LOG | MHD_USE_ITC,
	    0, NULL, NULL, on_request, h,
	    /* First, so that what follows can complain. */
	    MHD_OPTION_EXTERNAL_LOGGER, on_library, NULL,
	    MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_HTTPS_MEM_CERT,
	    cert, MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_PRIORITIES,
	    PRIORITIES, MHD_OPTION_NOTIFY_COMPLETED, on_end, h,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	    (unsigned)CONNECTIONS_OF_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)SILENCE_S, MHD_OPTION_END);
	if (h->daemon == NULL) {
		(void)snprintf(why, why_len,
		    "%s: HTTPS cannot be started with this certificate and key",
		    h->address);
		witness_http_stop(h);
		return NULL;
	}
	return h;
}

const char *
witness_http_address(const struct witness_http *h)
{
	return h->address;
}

static void
drain(struct witness_http *h)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end); /* as pthread wants it */
	end.tv_sec += STOP_S;
	(void)pthread_mutex_lock(&h->lock);
	while (h->requests > 0 &&
	    pthread_cond_timedwait(&h->idle, &h->lock, &end) == 0)
		;
	(void)pthread_mutex_unlock(&h->lock);
}

void
witness_http_stop(struct witness_http *h)
{
	if (h == NULL)
		return;
	if (h->daemon != NULL) {
		(void)MHD_quiesce_daemon(h->daemon); /* our own socket */
		drain(h);
		MHD_stop_daemon(h->daemon);
	}
	if (h->listener >= 0)
		(void)close(h->listener); /* nothing was written */
	(void)pthread_cond_destroy(&h->idle);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
