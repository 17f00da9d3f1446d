#include "server/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/process.h"
#include "base/role.h"

#define BACKOFF_FIRST_MS 10
#define BACKOFF_MAX_MS 2000
#define STABLE_MS 2000     /* up for so long: the next restart is at once */
#define STOP_LIMIT_MS 5000 /* for the adapters, and again for the roles */
#define ADAPTER_PREFIX "adapter:"

struct parent;

/* One process: a role, or an adapter. Lives as long as the daemon. */
struct child {
	struct parent *parent;
	char *name;
	bool adapter;
	bool running;
	bool ready;
	bool ever_ready;
	bool link_pending; /* adapter: engine_fd waits for the engine */
	int engine_fd;
	uv_process_t process;
	uv_timer_t timer;
	struct ipc *channel;
	unsigned backoff_ms;
	uint64_t started_at;
};

struct parent {
	const struct conf *conf;
	uv_loop_t loop;
	uv_signal_t term, intr;
	uv_timer_t stop_timer;
	int conf_fd;
	bool debug;
	bool stopping;
	bool late; /* the first limit of stopping is over */
	bool announced;
	int status;
	struct child *children;
	size_t count;
};

/*
 * The roles in the order of their start; they stop the other way round. The
 * anchor is there only when the configuration has work for it.
 */
static const char *const role_names[] = {
    "signer", "keeper", "anchor", "engine", "server"};
#define ROLE_COUNT (sizeof role_names / sizeof role_names[0])

static const char *const role_links[][2] = {
    {"server", "keeper"},
    {"engine", "keeper"},
    {"keeper", "signer"},
    {"engine", "server"},
    {"anchor", "engine"},
};

static void start(struct child *c);

static struct child *
find(struct parent *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->children[i].name, name) == 0)
			return &p->children[i];
	return NULL;
}

/* A pair for two processes: neither end survives an exec unasked. */
static bool
make_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0)
		return true;
	log_error("socket pair: %s", strerror(errno));
	return false;
}

/* The channel of one that dies may be gone before its exit is known. */
static bool
is_reachable(const struct child *c)
{
	return c != NULL && c->running && c->channel != NULL;
}

static void
link_roles(struct child *a, struct child *b)
{
	int pair[2];

	if (!is_reachable(a) || !is_reachable(b) || !make_pair(pair))
		return;
	ipc_send_fd(a->channel, ROLE_LINK, view_text(b->name), pair[0]);
	ipc_send_fd(b->channel, ROLE_LINK, view_text(a->name), pair[1]);
	(void)close(pair[0]); /* the roles have their copies */
	(void)close(pair[1]);
}

/* Gives the engine its end of an adapter's pair. */
static void
link_adapter(struct child *adapter)
{
	struct child *engine = find(adapter->parent, "engine");

	if (!adapter->link_pending || !is_reachable(engine))
		return;
	ipc_send_fd(engine->channel, ROLE_LINK, view_text(adapter->name),
	    adapter->engine_fd);
	(void)close(adapter->engine_fd); /* the engine has its copy */
	adapter->engine_fd = -1;
	adapter->link_pending = false;
}

static void
link_all(struct child *c)
{
	struct parent *p = c->parent;

	for (size_t i = 0; i < sizeof role_links / sizeof role_links[0]; i++) {
		const char *const *l = role_links[i];

		if (strcmp(l[0], c->name) == 0 || strcmp(l[1], c->name) == 0)
			link_roles(find(p, l[0]), find(p, l[1]));
	}
}

/* Both live, but the link between them broke. */
static void
link_again(struct child *c, const char *peer)
{
	for (size_t i = 0; i < sizeof role_links / sizeof role_links[0]; i++) {
		const char *const *l = role_links[i];

		if ((strcmp(l[0], c->name) == 0 && strcmp(l[1], peer) == 0) ||
		    (strcmp(l[1], c->name) == 0 && strcmp(l[0], peer) == 0))
			link_roles(c, find(c->parent, peer));
	}
}

static void
announce(struct parent *p)
{
	if (p->announced)
		return;
	for (size_t i = 0; i < p->count; i++)
		if (!p->children[i].adapter && !p->children[i].ready)
			return;
	p->announced = true;
	log_info("ready");
}

static void
on_channel(void *arg, uint16_t type, struct view payload, int fd)
{
	struct child *c = arg;
	struct child *target;
	char *name;

	if (fd >= 0)
		(void)close(fd); /* no role sends descriptors */
	if (type == ROLE_READY) {
		c->ready = true;
		c->ever_ready = true;
		announce(c->parent);
		return;
	}
	name = view_dup(payload);
	target = name != NULL ? find(c->parent, name) : NULL;
	if (type == ROLE_LINK && name != NULL)
		link_again(c, name);
	else if (type != ROLE_RESTART)
		log_warn("%s: unexpected frame %u", c->name, type);
	else if (target != NULL && target->adapter && target->running)
		(void)uv_process_kill(&target->process, SIGKILL);
	free(name);
}

static void
on_channel_closed(void *arg, const char *why)
{
	struct child *c = arg;

	(void)why; /* its exit says more */
	ipc_free(c->channel);
	c->channel = NULL;
}

static void
on_restart_timer(uv_timer_t *timer)
{
	start(timer->data);
}

static void
kill_child(struct child *c, int signal)
{
	if (c->running)
		(void)uv_process_kill(&c->process, signal); /* may be gone */
}

/* Ends the roles one after another, each when those before it are gone. */
static void
stop_next(struct parent *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->children[i].adapter && p->children[i].running)
			return;
	for (size_t i = ROLE_COUNT; i-- > 0;) {
		struct child *c = find(p, role_names[i]);

		if (c == NULL || !c->running)
			continue;
		if (c->channel != NULL)
			ipc_send(c->channel, ROLE_STOP, view_of(NULL, 0));
		return;
	}
	uv_stop(&p->loop);
}

static bool
kill_late(struct parent *p, bool adapters)
{
	bool any = false;

	for (size_t i = 0; i < p->count; i++) {
		struct child *c = &p->children[i];

		if (!c->running || c->adapter != adapters)
			continue;
		log_error("%s does not stop: killed", c->name);
		kill_child(c, SIGKILL);
		any = true;
	}
	return any;
}

/* The roles still end in good order when an adapter has to be killed. */
static void
on_stop_limit(uv_timer_t *timer)
{
	struct parent *p = timer->data;

	if (!kill_late(p, true) && p->late)
		(void)kill_late(p, false);
	p->late = true;
}

static void
stop_all(struct parent *p, int status)
{
	if (status > p->status)
		p->status = status;
	if (p->stopping)
		return;
	p->stopping = true;
	(void)uv_timer_start(
	    &p->stop_timer, on_stop_limit, STOP_LIMIT_MS, STOP_LIMIT_MS);
	for (size_t i = 0; i < p->count; i++) {
		(void)uv_timer_stop(&p->children[i].timer); /* always 0 */
		if (p->children[i].adapter)
			kill_child(&p->children[i], SIGTERM);
	}
	stop_next(p);
}

static void
on_signal(uv_signal_t *handle, int signum)
{
	struct parent *p = handle->data;

	log_info("stopping on %s", strsignal(signum));
	stop_all(p, 0);
}

static void
say_exit(const struct child *c, int64_t status, int signum)
{
	if (signum != 0)
		log_warn("%s killed by signal %d", c->name, signum);
	else
		log_warn(
		    "%s ended with status %lld", c->name, (long long)status);
}

static void
on_closed_process(uv_handle_t *handle)
{
	struct child *c = handle->data;
	struct parent *p = c->parent;

	c->running = false;
	if (p->stopping) {
		stop_next(p);
		return;
	}
	(void)uv_timer_start(&c->timer, on_restart_timer, c->backoff_ms, 0);
	c->backoff_ms *= 2;
	if (c->backoff_ms > BACKOFF_MAX_MS)
		c->backoff_ms = BACKOFF_MAX_MS;
}

static void
on_child_exit(uv_process_t *process, int64_t status, int signum)
{
	struct child *c = process->data;
	struct parent *p = c->parent;

	if (!p->stopping)
		say_exit(c, status, signum);
	c->ready = false;
	if (c->channel != NULL) {
		ipc_free(c->channel);
		c->channel = NULL;
	}
	if (c->link_pending) {
		(void)close(c->engine_fd); /* its other end is gone */
		c->link_pending = false;
	}
	if (uv_now(&p->loop) - c->started_at > STABLE_MS)
		c->backoff_ms = BACKOFF_FIRST_MS;
	if (!c->adapter && !c->ever_ready && !p->stopping) {
		log_error("%s cannot start", c->name);
		stop_all(p, 3);
	}
	uv_close((uv_handle_t *)process, on_closed_process);
}

/* Executes ourselves as the role; stdio and the two descriptors by number. */
static int
spawn(struct child *c, int in_out, int channel)
{
	char role_option[] = "-R", debug_option[] = "-d", self[] = "chanceryd";
	char *args[] = {self, role_option, c->name,
	    c->parent->debug ? debug_option : NULL, NULL};
	uv_stdio_container_t stdio[5] = {
	    {.flags = in_out >= 0 ? UV_INHERIT_FD : UV_IGNORE,
		.data.fd = in_out},
	    {.flags = UV_INHERIT_FD,
		.data.fd = in_out >= 0 ? in_out : STDERR_FILENO},
	    {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
	    {.flags = channel >= 0 ? UV_INHERIT_FD : UV_IGNORE,
		.data.fd = channel},
	    {.flags = UV_INHERIT_FD, .data.fd = c->parent->conf_fd},
	};
	uv_process_options_t options = {
	    .file = "/proc/self/exe",
	    .args = args,
	    .exit_cb = on_child_exit,
	    .stdio_count = 5,
	    .stdio = stdio,
	};

	c->process.data = c;
	return uv_spawn(&c->parent->loop, &c->process, &options);
}

/* The system may be short of processes or memory for a moment. */
static void
spawn_failed(struct child *c, int error)
{
	log_error("%s cannot be started: %s", c->name, uv_strerror(error));
	if (!c->adapter && !c->ever_ready)
		stop_all(c->parent, 3);
	uv_close((uv_handle_t *)&c->process, on_closed_process);
}

static void
start_role(struct child *c)
{
	int pair[2], error;

	if (!make_pair(pair)) {
		stop_all(c->parent, 3);
		return;
	}
	error = spawn(c, -1, pair[1]);
	(void)close(pair[1]); /* the role has its copy */
	if (error != 0) {
		(void)close(pair[0]); /* nobody is at its other end */
		spawn_failed(c, error);
		return;
	}
	c->channel = ipc_new(
	    &c->parent->loop, pair[0], on_channel, on_channel_closed, c);
	if (c->channel == NULL)
		log_fatal("out of memory");
	c->running = true;
	link_all(c);
	if (strcmp(c->name, "engine") != 0)
		return;
	/* Adapters of a former engine have lost their other end. */
	for (size_t i = 0; i < c->parent->count; i++) {
		struct child *a = &c->parent->children[i];

		if (a->adapter && a->link_pending)
			link_adapter(a);
		else if (a->adapter)
			kill_child(a, SIGKILL);
	}
}

static void
start_adapter(struct child *c)
{
	int pair[2], error;

	if (!make_pair(pair)) {
		stop_all(c->parent, 3);
		return;
	}
	error = spawn(c, pair[1], -1);
	(void)close(pair[1]); /* the adapter has its copies */
	if (error != 0) {
		(void)close(pair[0]); /* nobody is at its other end */
		spawn_failed(c, error);
		return;
	}
	c->running = true;
	c->engine_fd = pair[0];
	c->link_pending = true;
	link_adapter(c);
}

static void
start(struct child *c)
{
	c->started_at = uv_now(&c->parent->loop);
	if (c->adapter)
		start_adapter(c);
	else
		start_role(c);
}

static void
add_child(struct parent *p, const char *prefix, const char *name)
{
	struct child *c = &p->children[p->count++];

	c->parent = p;
	c->adapter = prefix[0] != '\0';
	c->backoff_ms = BACKOFF_FIRST_MS;
	c->engine_fd = -1;
	if (asprintf(&c->name, "%s%s", prefix, name) < 0)
		log_fatal("out of memory");
	(void)uv_timer_init(&p->loop, &c->timer); /* always 0 */
	c->timer.data = c;
}

/* The configuration as one unchangeable file that all roles parse. */
static int
seal_conf(struct view text)
{
	int fd = memfd_create("chancery.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;

	while (fd >= 0 && done < text.n) {
		ssize_t n = write(fd, text.p + done, text.n - done);

		if (n <= 0)
			log_fatal("configuration cannot be kept: %s",
			    strerror(errno));
		done += (size_t)n;
	}
	if (fd < 0 || fchmod(fd, 0400) != 0 ||
	    fcntl(fd, F_ADD_SEALS,
		F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		log_fatal("configuration cannot be kept: %s", strerror(errno));
	return fd;
}

/* One daemon on one state folder; the lock goes when the process goes. */
static bool
lock_state(const struct conf *conf)
{
	char *path = conf_state_path(conf, "lock");
	int fd;

	if (path == NULL)
		log_fatal("out of memory");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		log_error("%s: %s; make the state with `chancery -f %s init`",
		    path, strerror(errno), conf->path);
	else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		log_error(
		    "%s: another chanceryd or chancery uses this state", path);
	else {
		free(path);
		return true;
	}
	if (fd >= 0)
		(void)close(fd); /* never written */
	free(path);
	return false;
}

int
parent_main(const struct conf *conf, struct view conf_text, bool debug)
{
	static struct parent p;

	if (!lock_state(conf))
		return 3;
	p = (struct parent){.conf = conf, .debug = debug};
	p.conf_fd = seal_conf(conf_text);
	if (setenv("CHANCERY_CONF_PATH", conf->path, 1) != 0 ||
	    uv_loop_init(&p.loop) != 0 ||
	    uv_signal_init(&p.loop, &p.term) != 0 ||
	    uv_signal_init(&p.loop, &p.intr) != 0 ||
	    uv_timer_init(&p.loop, &p.stop_timer) != 0)
		log_fatal("out of memory");
	p.term.data = p.intr.data = p.stop_timer.data = &p;
	if (uv_signal_start(&p.term, on_signal, SIGTERM) != 0 ||
	    uv_signal_start(&p.intr, on_signal, SIGINT) != 0)
		log_fatal("signals cannot be handled");
	p.children =
	    calloc(ROLE_COUNT + conf->adapter_count, sizeof *p.children);
	if (p.children == NULL)
		log_fatal("out of memory");
	for (size_t i = 0; i < ROLE_COUNT; i++)
		if (strcmp(role_names[i], "anchor") != 0 || conf_anchored(conf))
			add_child(&p, "", role_names[i]);
	for (size_t i = 0; i < conf->adapter_count; i++)
		add_child(&p, ADAPTER_PREFIX, conf->adapters[i].name);
	for (size_t i = 0; i < p.count && !p.stopping; i++)
		start(&p.children[i]);
	(void)uv_run(&p.loop, UV_RUN_DEFAULT); /* ends by uv_stop() */
	if (p.status == 0)
		log_info("stopped");
	return p.status;
}
