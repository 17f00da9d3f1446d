#include "compliance/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"

#include "compliance/engine_state.h"

#define OPEN_RETRY_MS 100
#define BACKOFF_MS 1000
#define BACKOFF_MAX_MS (5 * 60 * 1000)
#define PURGE_POLL_MS 200
#define FILES_MAX 1024
#define ADAPTER_PREFIX "adapter:"

static struct adapter_link *
find_adapter(const struct engine *e, const char *name)
{
	for (size_t i = 0; i < e->conf->adapter_count; i++)
		if (strcmp(e->conf->adapters[i].name, name) == 0)
			return e->adapters[i];
	return NULL;
}

static void
attach(struct engine *e, const char *peer, int fd)
{
	size_t prefix = strlen(ADAPTER_PREFIX);

	if (strcmp(peer, "keeper") == 0) {
		keeper_link_attach(e->keeper, fd);
	} else if (strcmp(peer, "server") == 0) {
		server_link_attach(e->server, fd);
	} else if (strcmp(peer, "anchor") == 0) {
		anchors_attach(e->anchors, fd);
	} else if (strncmp(peer, ADAPTER_PREFIX, prefix) == 0 &&
	    find_adapter(e, peer + prefix) != NULL) {
		adapter_link_attach(find_adapter(e, peer + prefix), fd);
	} else {
		log_error("a link to %s, which the engine does not know", peer);
		(void)close(fd); /* never used */
	}
}

/*
 * Whatever works on the journal waits until it can be read: who is up before
 * the keeper has made the files beside it would take that for a failure.
 */
static void
on_link(void *arg, const char *peer, int fd)
{
	struct engine *e = arg;
	struct engine_link *l = e->waiting;

	if (e->ledger != NULL) {
		attach(e, peer, fd);
		return;
	}
	while (l != NULL && strcmp(l->peer, peer) != 0)
		l = l->next;
	if (l != NULL) {
		(void)close(l->fd); /* never used; its peer was restarted */
		l->fd = fd;
		return;
	}
	l = calloc(1, sizeof *l);
	if (l == NULL || (l->peer = strdup(peer)) == NULL)
		log_fatal("out of memory");
	l->fd = fd;
	l->next = e->waiting;
	e->waiting = l;
}

static void
attach_waiting(struct engine *e)
{
	while (e->waiting != NULL) {
		struct engine_link *l = e->waiting;

		e->waiting = l->next;
		attach(e, l->peer, l->fd);
		free(l->peer);
		free(l);
	}
}

static void
on_stop(void *arg)
{
	struct engine *e = arg;

	uv_stop(&e->loop);
}

static void
on_restart(void *arg, const char *name)
{
	struct engine *e = arg;
	char child[64];

	(void)snprintf(child, sizeof child, ADAPTER_PREFIX "%s", name);
	role_restart(e->role, child);
}

static void
on_acked(void *arg)
{
	struct engine *e = arg;

	purger_kick(e->purger);
}

static void
on_anchored(
    void *arg, const char *name, uint64_t size, bool stored, struct view why)
{
	struct engine *e = arg;

	anchors_handed_on(e->anchors, name, size, stored, why);
}

static void
on_evidence(void *arg)
{
	struct engine *e = arg;

	purger_wake(e->purger);
}

static void
on_keeper_up(void *arg)
{
	struct engine *e = arg;

	for (size_t i = 0; i < e->conf->adapter_count; i++)
		adapter_link_kick(e->adapters[i]);
	anchors_keeper_up(e->anchors);
	purger_kick(e->purger);
}

/* The keeper may have to make the files beside the journal first. */
static void
on_open_timer(uv_timer_t *timer)
{
	struct engine *e = timer->data;
	char why[256];

	if (e->scan == NULL)
		e->scan = scan_open(e->journal, false, why, sizeof why);
	if (e->scan != NULL)
		e->ledger = ledger_open(e->journal, why, sizeof why);
	if (e->ledger == NULL) {
		if (uv_timer_get_repeat(timer) == 0) {
			log_info("waiting for the journal: %s", why);
			uv_timer_set_repeat(timer, OPEN_RETRY_MS);
			(void)uv_timer_again(timer);
		}
		return;
	}
	(void)uv_timer_stop(timer); /* always 0 */
	audit_start(e->audit, e->scan);
	attach_waiting(e);
	role_ready(e->role);
}

static void
make_adapters(struct engine *e)
{
	const struct conf *conf = e->conf;

	e->adapter_env = (struct adapter_env){
	    .loop = &e->loop,
	    .journal = e->journal,
	    .domain = conf->domain,
	    .batch_events = conf->batch_events,
	    .keeper = e->keeper,
	    .backoff_ms = BACKOFF_MS,
	    .backoff_max_ms = BACKOFF_MAX_MS,
	    .restart = on_restart,
	    .acked = on_acked,
	    .anchored = on_anchored,
	    .arg = e,
	};
	e->adapters = calloc(conf->adapter_count + 1, sizeof(void *));
	if (e->adapters == NULL)
		log_fatal("out of memory");
	for (size_t i = 0; i < conf->adapter_count; i++) {
		e->adapters[i] =
		    adapter_link_new(&e->adapter_env, &conf->adapters[i]);
		if (e->adapters[i] == NULL)
			log_fatal("out of memory");
	}
}

static void
make_parts(struct engine *e)
{
	e->keeper = keeper_link_new(&e->loop, on_keeper_up, e);
	e->server = server_link_new(&e->loop);
	e->purger_env = (struct purger_env){
	    .loop = &e->loop,
	    .journal = e->journal,
	    .conf = e->conf,
	    .keeper = e->keeper,
	    .backoff_ms = BACKOFF_MS,
	    .backoff_max_ms = BACKOFF_MAX_MS,
	    .poll_ms = PURGE_POLL_MS,
	};
	e->purger = purger_new(&e->purger_env);
	e->audit_env = (struct audit_env){
	    .loop = &e->loop,
	    .journal = e->journal,
	    .keeper = e->keeper,
	    .period_s = e->conf->audit_s,
	};
	e->audit = audit_new(&e->audit_env);
	if (e->keeper == NULL || e->server == NULL || e->purger == NULL ||
	    e->audit == NULL)
		log_fatal("out of memory");
	make_adapters(e);
	e->anchors_env = (struct anchors_env){
	    .loop = &e->loop,
	    .journal = e->journal,
	    .conf = e->conf,
	    .keeper = e->keeper,
	    .adapters = e->adapters,
	    .stored = on_evidence,
	    .arg = e,
	};
	e->anchors = anchors_new(&e->anchors_env);
	if (e->anchors == NULL)
		log_fatal(
		    "anchors: out of memory, or a witness's key is wrong");
}

/* They connect to the socket, too, which serves them some commands. */
static void
admit_officers(struct engine *e, const char *path)
{
	const struct conf *conf = e->conf;
	uid_t *uids = calloc(conf->officer_count + 1, sizeof *uids);
	gid_t gid;

	if (uids == NULL)
		log_fatal("out of memory");
	for (size_t i = 0; i < conf->officer_count; i++)
		if (process_user(conf->officers[i], &uids[i], &gid) != 0)
			log_fatal("officer %s: %s", conf->officers[i],
			    process_user_error());
	/* Who may do what is told by the peer's user id, not by the mode. */
	if (conf->officer_count > 0 && chmod(path, 0666) != 0)
		log_fatal("%s: %s", path, strerror(errno));
	if (!control_set_officers(e->control, uids, conf->officer_count))
		log_fatal("out of memory");
	free(uids);
}

/* Bound while we may still write to the state's folder. */
static void
make_control(struct engine *e)
{
	char *path = conf_state_path(e->conf, "control.sock");
	char why[256];
	struct stat st;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int fd;

	if (path == NULL)
		log_fatal("out of memory");
	if (stat(e->conf->state_dir, &st) != 0)
		log_fatal("%s: %s", e->conf->state_dir, strerror(errno));
	if (uid == 0 && process_user(e->conf->user_engine, &uid, &gid) != 0)
		log_fatal(
		    "user %s: %s", e->conf->user_engine, process_user_error());
	fd = control_bind(path, uid, gid, why, sizeof why);
	if (fd < 0)
		log_fatal("%s", why);
	e->control = control_new(&e->loop, fd, st.st_uid, command_run, e);
	if (e->control == NULL)
		log_fatal("out of memory");
	admit_officers(e, path);
	free(path);
}

int
engine_main(const struct conf *conf, int parent_fd)
{
	static struct engine e;

	e.conf = conf;
	e.journal = conf_state_path(conf, "journal/journal.db");
	if (e.journal == NULL || uv_loop_init(&e.loop) != 0)
		log_fatal("out of memory");
	/* Sockets tell by EPIPE that the other side is gone. */
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		log_fatal("SIGPIPE: %s", strerror(errno));
	make_control(&e);
	if (process_drop(conf->user_engine, FILES_MAX) != 0)
		log_fatal("user %s: %s", conf->user_engine, strerror(errno));
	make_parts(&e);
	e.role = role_new(&e.loop, parent_fd, on_link, on_stop, &e);
	(void)uv_timer_init(&e.loop, &e.open_timer); /* always 0 */
	e.open_timer.data = &e;
	(void)uv_timer_start(&e.open_timer, on_open_timer, 0, 0);
	(void)uv_run(&e.loop, UV_RUN_DEFAULT); /* ends by uv_stop() */
	return 0;
}
