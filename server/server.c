#include "server/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/process.h"
#include "base/role.h"
#include "server/admin.h"
#include "server/chat.h"
#include "server/record.h"
#include "server/sip.h"
#include "server/store.h"
#include "server/store_chat.h"

/* Descriptors beside the clients' connections. */
#define FILES_OWN 128

struct server {
	uv_loop_t *loop;
	const struct conf *conf;
	struct role *role;
	struct store *store;
	struct record *record;
	struct chat *chat;
	struct admin *admin;
	struct sip *sip;
	bool listening;
};

/* Chat has caught up with the journal: people may come in. */
static void
on_chat_ready(void *arg)
{
	struct server *s = arg;
	char why[256];

	if (s->listening)
		return;
	s->listening = true;
	if (sip_listen(s->sip, why, sizeof(why)) < 0)
		log_fatal("%s", why);
	role_ready(s->role);
}

static void
on_link(void *arg, const char *peer, int fd)
{
	struct server *s = arg;

	if (strcmp(peer, "keeper") == 0)
		record_link(s->record, fd);
	else if (strcmp(peer, "engine") == 0)
		admin_link(s->admin, fd);
	else
		log_fatal("a link to %s is not for the server", peer);
}

/*
 * Whoever is in a room stays so in chat.db: the next start records that they
 * left because of the restart.
 */
static void
on_stop(void *arg)
{
	struct server *s = arg;

	log_info("stopping");
	transport_stop(s->sip->transport);
	transport_flush(s->sip->transport);
	chat_stop(s->chat);
	uv_stop(s->loop);
}

static void
add_status(void *arg, json_t *result)
{
	struct server *s = arg;
	json_t *sip = json_object();

	sip_status(s->sip, sip);
	if (json_object_set_new(result, "sip", sip) < 0)
		log_warn("status: out of memory");
}

/* The keeper asks for its own links. */
static void
on_engine_lost(void *arg)
{
	const struct server *s = arg;

	role_lost(s->role, "engine");
}

static void
open_store(struct server *s)
{
	char *path = conf_state_path(s->conf, "chat/chat.db");
	char why[256];

	if (path == NULL)
		log_fatal("out of memory");
	s->store = store_open(path, why, sizeof(why));
	if (s->store == NULL)
		log_fatal("%s", why);
	free(path);
}

static void
open_chat(struct server *s)
{
	s->record = record_new(s->loop, s->conf, s->store);
	if (s->record == NULL)
		log_fatal("out of memory");
	s->chat =
	    chat_new(s->loop, s->conf, s->store, s->record, on_chat_ready, s);
	if (s->chat == NULL)
		log_fatal("out of memory");
	s->admin = admin_new(s->loop, s->store, s->chat);
	if (s->admin == NULL)
		log_fatal("out of memory");
	admin_on_status(s->admin, add_status, s);
	admin_on_lost(s->admin, on_engine_lost, s);
}

int
server_main(const struct conf *conf, int parent_fd)
{
	static struct server s; /* both for the life of the process */
	static uv_loop_t loop;
	char why[256];

	s.conf = conf;
	if (uv_loop_init(&loop) < 0)
		log_fatal("no event loop");
	s.loop = &loop;
	/* A client that went away is an error of the write, not a signal. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* Ports and TLS keys may be root's alone. */
	s.sip = sip_new(&loop, conf, NULL, NULL);
	if (s.sip == NULL)
		log_fatal("out of memory");
	if (sip_bind(s.sip, why, sizeof(why)) < 0)
		log_fatal("%s", why);
	if (process_drop(
		conf->user_server, conf->limits.connections + FILES_OWN) < 0)
		log_fatal("cannot drop rights: %m");
	open_store(&s);
	open_chat(&s);
	s.sip->store = s.store;
	s.sip->chat = s.chat;
	s.role = role_new(&loop, parent_fd, on_link, on_stop, &s);
	uv_run(&loop, UV_RUN_DEFAULT);
	/* What is under way ends with the process and comes again. */
	if (store_commit(s.store) != 0)
		log_error("chat.db lacks the last changes; they come again");
	store_close(s.store);
	return 0;
}
