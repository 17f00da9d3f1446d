#include "compliance/control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#include "compliance/line_io.h"

struct connection;

struct control {
	uv_poll_t poll;
	uv_timer_t timer; /* runs after a refusal was told */
	unsigned refused; /* and not told yet */
	uid_t refused_uid;
	unsigned handles; /* open */
	int fd;
	uid_t owner;
	control_command_cb *on_command;
	void *arg;
	struct connection *connections;
	unsigned count;
	uid_t *officers; /* allowed besides root and owner */
	size_t officer_count;
};

/* One request at a time: reading stops until it is answered. */
struct control_request {
	struct connection *connection; /* NULL when it is gone */
	uid_t uid;
	bool officer; /* and nothing else */
};

struct connection {
	struct control *control;
	struct connection *next;
	struct line_io *io;
	uid_t uid;
	struct control_request *request;
};

int
control_bind(const char *path, uid_t uid, gid_t gid, char *why, size_t why_len)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, bound;

	if (strlen(path) >= sizeof a.sun_path) {
		(void)snprintf(why, why_len,
		    "%s: longer than the %zu bytes of a socket's name", path,
		    sizeof a.sun_path - 1);
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The state's lock says that nobody serves it any more. */
	if (fd >= 0 && (unlink(path) == 0 || errno == ENOENT)) {
		mask = umask(0177);
		bound = bind(fd, (const struct sockaddr *)&a, sizeof a);
		(void)umask(mask); /* returns the mask */
		if (bound == 0 &&
		    (geteuid() != 0 || chown(path, uid, gid) == 0) &&
		    listen(fd, 16) == 0)
			return fd;
	}
	(void)snprintf(why, why_len, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd); /* never used */
	return -1;
}

/* ---- replies ---- */

static void
close_connection(struct connection *c)
{
	struct connection **at = &c->control->connections;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->control->count--;
	if (c->request != NULL)
		c->request->connection = NULL;
	line_io_free(c->io);
	free(c);
}

bool
control_request_is_officer(const struct control_request *r)
{
	return r->officer;
}

uid_t
control_request_uid(const struct control_request *r)
{
	return r->uid;
}

static int
append(const char *text, size_t n, void *out)
{
	buf_put(out, text, n);
	return 0;
}

void
control_reply_whole(struct control_request *r, json_t *reply)
{
	struct connection *c = r->connection;

	if (c != NULL) {
		struct buf *out = line_io_out(c->io);

		c->request = NULL;
		if (reply == NULL ||
		    json_dump_callback(reply, append, out, JSON_COMPACT) != 0)
			buf_put_text(
			    out, "{\"ok\":false,\"error\":\"out of memory\"}");
		buf_put_u8(out, '\n');
		line_io_read(c->io, true);
		line_io_send(c->io);
	}
	json_decref(reply);
	free(r);
}

void
control_reply(struct control_request *r, json_t *result)
{
	control_reply_whole(
	    r, json_pack("{s:b,s:o}", "ok", 1, "result", result));
}

void
control_reply_error(struct control_request *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap); /* may cut a long reason */
	va_end(ap);
	/* A cut may fall within a character. */
	for (size_t n = strlen(text);
	     n > 0 && !text_utf8_valid(view_text(text)); n--)
		text[n - 1] = '\0';
	control_reply_whole(r, json_pack("{s:b,s:s}", "ok", 0, "error", text));
}

void
control_reply_failure(struct control_request *r, const char *why)
{
	control_reply_whole(
	    r, json_pack("{s:b,s:b,s:s}", "ok", 0, "system", 1, "error", why));
}

json_t *
control_time(uint64_t us)
{
	struct buf b;
	json_t *text;

	if (us == 0)
		return json_null();
	buf_init(&b);
	text_put_time(&b, us);
	text = json_stringn((const char *)b.data, b.len);
	buf_release(&b);
	return text;
}

json_t *
control_words(const char *text)
{
	size_t n = strlen(text);

	while (n > 0 && !text_utf8_valid(view_of(text, n)))
		n--;
	return json_stringn(text, n);
}

/* ---- requests ---- */

static void
run_command(struct control_request *r, json_t *json)
{
	const struct control *control = r->connection->control;
	const char *command = json_string_value(json_object_get(json, "cmd"));
	json_t *args = json_object_get(json, "args");

	if (!json_is_object(json))
		control_reply_error(r, "not one JSON object on a line");
	else if (command == NULL)
		control_reply_error(r, "cmd: must be a string");
	else if (args != NULL && !json_is_object(args))
		control_reply_error(r, "args: must be an object");
	else {
		args = args != NULL ? json_incref(args) : json_object();
		control->on_command(control->arg, r, command, args);
		json_decref(args);
	}
}

static void
on_line(void *arg, struct view line)
{
	struct connection *c = arg;
	struct control_request *r = calloc(1, sizeof *r);
	json_t *json;

	if (r == NULL) {
		close_connection(c);
		return;
	}
	r->connection = c;
	r->uid = c->uid;
	r->officer = c->uid != 0 && c->uid != c->control->owner;
	c->request = r;
	line_io_read(c->io, false);
	json = json_loadb(
	    (const char *)line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
	run_command(r, json);
	json_decref(json);
}

static void
on_closed(void *arg, const char *why, bool gone)
{
	(void)why; /* an administrator left */
	(void)gone;
	close_connection(arg);
}

static const struct line_io_events io_events = {
    .line = on_line,
    .closed = on_closed,
};

static bool
is_officer(const struct control *c, uid_t uid)
{
	for (size_t i = 0; i < c->officer_count; i++)
		if (c->officers[i] == uid)
			return true;
	return false;
}

bool
control_set_officers(struct control *c, const uid_t *uids, size_t count)
{
	uid_t *copy = calloc(count + 1, sizeof *copy);

	if (copy == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		copy[i] = uids[i];
	free(c->officers);
	c->officers = copy;
	c->officer_count = count;
	return true;
}

static void
on_refusals(uv_timer_t *timer)
{
	struct control *c = timer->data;

	if (c->refused == 0) {
		(void)uv_timer_stop(timer); /* always 0 */
		return;
	}
	log_warn("control socket: %u more connections refused, the last one "
		 "of uid %u",
	    c->refused, (unsigned)c->refused_uid);
	c->refused = 0;
}

/* Whoever may not ask must not fill the log either. */
static void
refuse(struct control *c, int fd, uid_t uid, const char *why)
{
	(void)close(fd); /* nothing was written */
	if (uv_is_active((uv_handle_t *)&c->timer)) {
		c->refused++;
		c->refused_uid = uid;
		return;
	}
	log_warn("control socket: uid %u %s", (unsigned)uid, why);
	(void)uv_timer_start(&c->timer, on_refusals, CONTROL_REFUSALS_MS,
	    CONTROL_REFUSALS_MS); /* always 0 */
}

static void
add_connection(struct control *c, int fd)
{
	struct connection *n;
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
	    (peer.uid != 0 && peer.uid != c->owner &&
		!is_officer(c, peer.uid))) {
		refuse(c, fd, peer.uid, "is not allowed");
		return;
	}
	n = c->count < CONTROL_CONNECTIONS_MAX ? calloc(1, sizeof *n) : NULL;
	if (n == NULL) {
		refuse(c, fd, peer.uid, "is refused: too many connections");
		return;
	}
	n->control = c;
	n->uid = peer.uid;
	n->io = line_io_new(c->poll.loop, fd, CONTROL_LINE_MAX, &io_events, n);
	if (n->io == NULL) {
		free(n);
		return;
	}
	n->next = c->connections;
	c->connections = n;
	c->count++;
	line_io_read(n->io, true);
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct control *c = poll->data;
	int fd;

	(void)events;
	if (status < 0)
		return;
	fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		add_connection(c, fd);
}

struct control *
control_new(uv_loop_t *loop, int fd, uid_t owner,
    control_command_cb *on_command, void *arg)
{
	struct control *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->fd = fd;
	c->owner = owner;
	c->on_command = on_command;
	c->arg = arg;
	c->poll.data = c;
	c->timer.data = c;
	if (uv_poll_init(loop, &c->poll, fd) != 0) {
		free(c);
		return NULL;
	}
	(void)uv_timer_init(loop, &c->timer); /* always 0 */
	c->handles = 2;
	if (uv_poll_start(&c->poll, UV_READABLE, on_poll) != 0)
		log_fatal("control socket: cannot be watched");
	return c;
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct control *c = handle->data;

	if (--c->handles > 0)
		return;
	(void)close(c->fd); /* a listening socket */
	free(c->officers);
	free(c);
}

void
control_free(struct control *c)
{
	if (c == NULL)
		return;
	while (c->connections != NULL)
		close_connection(c->connections);
	on_refusals(&c->timer);
	uv_close((uv_handle_t *)&c->poll, on_handle_closed);
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}
