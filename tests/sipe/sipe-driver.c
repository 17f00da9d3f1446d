/*
 * sipe-driver [-d] FOLDER: drives one SIPE account headlessly; see
 * sipe-driver.h for the commands and events. FOLDER is libpurple's own, new
 * for every run.
 */

#include "tests/sipe/sipe-driver.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRPL "prpl-sipe"
/* Where Debian puts SIPE and libpurple's own plugins (ssl-nss). */
static const char *const plugin_paths[] = {
    "/usr/lib/purple-2",
    "/usr/lib/x86_64-linux-gnu/purple-2",
    "/usr/lib/aarch64-linux-gnu/purple-2",
};

static GMainLoop *loop;
static PurpleAccount *account;
static PurpleRoomlist *rooms;
static FILE *events;

void
driver_emit(json_t *event)
{
	char *line = json_dumps(event, JSON_COMPACT);

	if (line == NULL)
		abort();
	fprintf(events, "%s\n", line);
	fflush(events);
	free(line);
	json_decref(event);
}

static void
emit(const char *name, const char *key, const char *value)
{
	json_t *event = json_object();

	json_object_set_new(event, "event", json_string(name));
	if (key != NULL)
		json_object_set_new(event, key,
		    value != NULL ? json_string(value) : json_null());
	driver_emit(event);
}

static const char *
field(const json_t *command, const char *name)
{
	const char *value = json_string_value(json_object_get(command, name));

	return value != NULL ? value : "";
}

static PurpleConversation *
find_room(const char *title)
{
	GList *l;

	for (l = purple_get_chats(); l != NULL; l = l->next)
		if (strcmp(purple_conversation_get_title(l->data), title) == 0)
			return l->data;
	emit("error", "text", "no such room is open");
	return NULL;
}

static void
do_login(const json_t *command)
{
	PurpleProxyInfo *proxy;

	account = purple_account_new(field(command, "user"), PRPL);
	purple_accounts_add(account);
	purple_account_set_password(account, field(command, "password"));
	purple_account_set_string(account, "server", field(command, "server"));
	purple_account_set_string(
	    account, "transport", field(command, "transport"));
	purple_account_set_bool(account, "dont-publish", TRUE);
	proxy = purple_proxy_info_new();
	purple_proxy_info_set_type(proxy, PURPLE_PROXY_NONE);
	purple_account_set_proxy_info(account, proxy);
	purple_account_set_enabled(account, purple_core_get_ui(), TRUE);
}

static PurpleConnection *
connection(void)
{
	PurpleConnection *gc;

	gc = account != NULL ? purple_account_get_connection(account) : NULL;
	if (gc == NULL)
		emit("error", "text", "not signed on");
	return gc;
}

static void
do_rooms(const json_t *command)
{
	PurpleConnection *gc = connection();

	(void)command;
	if (rooms != NULL)
		purple_roomlist_unref(rooms);
	rooms = gc != NULL ? purple_roomlist_get_list(gc) : NULL;
}

static void
do_join(const json_t *command)
{
	PurpleConnection *gc = connection();
	GHashTable *parts;

	if (gc == NULL)
		return;
	parts = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	g_hash_table_insert(
	    parts, (char *)"uri", g_strdup(field(command, "uri")));
	serv_join_chat(gc, parts);
	g_hash_table_destroy(parts);
}

static void
do_say(const json_t *command)
{
	PurpleConversation *conv = find_room(field(command, "room"));
	char *text;

	if (conv == NULL)
		return;
	text = g_markup_escape_text(field(command, "text"), -1);
	purple_conv_chat_send(PURPLE_CONV_CHAT(conv), text);
	g_free(text);
}

static void
do_part(const json_t *command)
{
	PurpleConversation *conv = find_room(field(command, "room"));

	if (conv != NULL)
		purple_conversation_destroy(conv);
}

static void
do_logout(const json_t *command)
{
	(void)command;
	if (account != NULL)
		purple_account_set_enabled(
		    account, purple_core_get_ui(), FALSE);
}

static void
do_quit(const json_t *command)
{
	(void)command;
	g_main_loop_quit(loop);
}

static const struct {
	const char *name;
	void (*call)(const json_t *command);
} commands[] = {
    {"login", do_login},
    {"rooms", do_rooms},
    {"join", do_join},
    {"say", do_say},
    {"part", do_part},
    {"logout", do_logout},
    {"quit", do_quit},
};

static void
obey(const char *line)
{
	json_t *command = json_loads(line, 0, NULL);
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(commands); i++)
		if (strcmp(commands[i].name, field(command, "cmd")) == 0)
			break;
	if (i < G_N_ELEMENTS(commands))
		commands[i].call(command);
	else
		emit("error", "text", "unknown command");
	json_decref(command);
}

static gboolean
on_stdin(GIOChannel *channel, GIOCondition condition, gpointer arg)
{
	GIOStatus status;
	char *line = NULL;

	(void)condition;
	(void)arg;
	status = g_io_channel_read_line(channel, &line, NULL, NULL, NULL);
	if (status == G_IO_STATUS_AGAIN)
		return TRUE;
	if (status != G_IO_STATUS_NORMAL) {
		g_main_loop_quit(loop);
		return FALSE;
	}
	obey(line);
	g_free(line);
	return TRUE;
}

static void
on_signed_on(PurpleConnection *gc, gpointer arg)
{
	(void)gc;
	(void)arg;
	emit("signed-on", NULL, NULL);
}

static void
on_signed_off(PurpleConnection *gc, gpointer arg)
{
	(void)gc;
	(void)arg;
	emit("signed-off", NULL, NULL);
}

static void
on_connection_error(PurpleConnection *gc, PurpleConnectionError error,
    const char *text, gpointer arg)
{
	(void)gc;
	(void)error;
	(void)arg;
	emit("connection-error", "text", text);
}

static void
on_joined(PurpleConversation *conv, gpointer arg)
{
	(void)arg;
	emit("joined", "room", purple_conversation_get_title(conv));
}

static void
on_left(PurpleConversation *conv, gpointer arg)
{
	(void)arg;
	emit("left", "room", purple_conversation_get_title(conv));
}

/* libpurple's debug lines go to stdout: keep that for the events alone. */
static void
split_output(void)
{
	int fd = dup(STDOUT_FILENO);

	events = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (events == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		perror("sipe-driver: stdout");
		exit(3);
	}
}

static void
start(const char *folder, gboolean debug)
{
	static PurpleCoreUiOps core = {.ui_prefs_init = NULL};
	static int handle;
	size_t i;

	purple_util_set_user_dir(folder);
	purple_debug_set_enabled(debug);
	purple_debug_set_verbose(debug);
	core.ui_init = driver_ui_init;
	purple_core_set_ui_ops(&core);
	purple_eventloop_set_ui_ops(driver_loop_ops());
	for (i = 0; i < G_N_ELEMENTS(plugin_paths); i++)
		purple_plugins_add_search_path(plugin_paths[i]);
	if (!purple_core_init("chancery-sipe-driver")) {
		fputs("sipe-driver: libpurple does not start\n", stderr);
		exit(3);
	}
	purple_set_blist(purple_blist_new());
	purple_signal_connect(purple_connections_get_handle(), "signed-on",
	    &handle, PURPLE_CALLBACK(on_signed_on), NULL);
	purple_signal_connect(purple_connections_get_handle(), "signed-off",
	    &handle, PURPLE_CALLBACK(on_signed_off), NULL);
	purple_signal_connect(purple_connections_get_handle(),
	    "connection-error", &handle, PURPLE_CALLBACK(on_connection_error),
	    NULL);
	purple_signal_connect(purple_conversations_get_handle(), "chat-joined",
	    &handle, PURPLE_CALLBACK(on_joined), NULL);
	purple_signal_connect(purple_conversations_get_handle(), "chat-left",
	    &handle, PURPLE_CALLBACK(on_left), NULL);
	if (purple_find_prpl(PRPL) == NULL) {
		fputs(
		    "sipe-driver: the SIPE plugin is not installed\n", stderr);
		exit(3);
	}
}

int
main(int argc, char **argv)
{
	gboolean debug = argc == 3 && strcmp(argv[1], "-d") == 0;
	GIOChannel *input;

	if (argc != 2 && !debug) {
		fputs("usage: sipe-driver [-d] FOLDER\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	split_output();
	start(argv[argc - 1], debug);
	loop = g_main_loop_new(NULL, FALSE);
	input = g_io_channel_unix_new(STDIN_FILENO);
	g_io_channel_set_flags(input, G_IO_FLAG_NONBLOCK, NULL);
	g_io_add_watch(input, G_IO_IN | G_IO_HUP | G_IO_ERR, on_stdin, NULL);
	emit("ready", NULL, NULL);
	g_main_loop_run(loop);
	purple_core_quit();
	return 0;
}
