/* chancery(8): the administration program. */

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/text.h"
#include "server/admin_client.h"
#include "server/cli.h"
#include "server/cli_audit.h"
#include "server/cli_key.h"
#include "server/cli_purge.h"
#include "server/receipt.h"
#include "server/recover.h"
#include "server/show.h"
#include "server/state_init.h"

#define CONF_DEFAULT "/etc/chancery/chancery.conf"
#define PASSWORD_MAX 256
#define WORDS_MAX 3

enum option_id {
	OPTION_BEFORE = 256,
	OPTION_BELOW,
	OPTION_CHAT,
	OPTION_CHECKPOINT,
	OPTION_COMPROMISED,
	OPTION_DESCRIPTION,
	OPTION_DRY_RUN,
	OPTION_FILE,
	OPTION_FROM,
	OPTION_HELP,
	OPTION_ID,
	OPTION_JSON,
	OPTION_MATTER,
	OPTION_MOVED,
	OPTION_NAME,
	OPTION_NEW_INCARNATION,
	OPTION_PASSWORD_STDIN,
	OPTION_PRIVACY,
	OPTION_REASON,
	OPTION_ROOM,
	OPTION_SIGNER_STATE,
	OPTION_SINCE,
	OPTION_UNTIL,
	OPTION_USER,
	OPTION_VERSION
};
#define OPTION_BIT(o) (1U << ((o)-OPTION_BEFORE))

static const struct option option_table[] = {
    {"before", required_argument, NULL, OPTION_BEFORE},
    {"below", required_argument, NULL, OPTION_BELOW},
    {"chat", required_argument, NULL, OPTION_CHAT},
    {"checkpoint", required_argument, NULL, OPTION_CHECKPOINT},
    {"compromised", no_argument, NULL, OPTION_COMPROMISED},
    {"description", required_argument, NULL, OPTION_DESCRIPTION},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"file", required_argument, NULL, OPTION_FILE},
    {"from", required_argument, NULL, OPTION_FROM},
    {"help", no_argument, NULL, OPTION_HELP},
    {"id", required_argument, NULL, OPTION_ID},
    {"json", no_argument, NULL, OPTION_JSON},
    {"matter", required_argument, NULL, OPTION_MATTER},
    {"moved", no_argument, NULL, OPTION_MOVED},
    {"name", required_argument, NULL, OPTION_NAME},
    {"new-incarnation", no_argument, NULL, OPTION_NEW_INCARNATION},
    {"password-stdin", no_argument, NULL, OPTION_PASSWORD_STDIN},
    {"privacy", required_argument, NULL, OPTION_PRIVACY},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"room", required_argument, NULL, OPTION_ROOM},
    {"signer-state", required_argument, NULL, OPTION_SIGNER_STATE},
    {"since", required_argument, NULL, OPTION_SINCE},
    {"until", required_argument, NULL, OPTION_UNTIL},
    {"user", required_argument, NULL, OPTION_USER},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

/* ---- passwords ---- */

/* One line without echo; false when there is none. */
static bool
prompt(const char *question, char *out, size_t len)
{
	struct termios old, silent;
	bool ok;

	if (tcgetattr(STDIN_FILENO, &old) != 0)
		return false;
	silent = old;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	(void)fputs(question, stderr);
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) != 0)
		return false;
	ok = fgets(out, (int)len, stdin) != NULL;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old); /* best effort */
	(void)fputc('\n', stderr);
	return ok;
}

/* Takes the line's end off; false: too long or empty. */
static bool
finish_line(char *line)
{
	size_t n = strcspn(line, "\n");
	bool whole = line[n] == '\n' || feof(stdin);

	line[n] = '\0';
	return whole && n > 0;
}

/* 0; else an exit status. An empty out means: no password. */
static int
get_password(const struct cli *cli, char *out, size_t len)
{
	char again[PASSWORD_MAX + 2];
	bool same;

	out[0] = '\0';
	if ((cli->given & OPTION_BIT(OPTION_PASSWORD_STDIN)) != 0) {
		if (fgets(out, (int)len, stdin) != NULL && finish_line(out))
			return 0;
		cli_complain("password: standard input has no line of 1 to %d "
			     "bytes",
		    PASSWORD_MAX);
		return EXIT_USAGE;
	}
	if (isatty(STDIN_FILENO) == 0)
		return 0;
	if (!prompt("Password: ", out, len) || !finish_line(out) ||
	    !prompt("Again: ", again, sizeof again) || !finish_line(again)) {
		cli_complain(
		    "password: 1 to %d bytes are needed", PASSWORD_MAX);
		return EXIT_REFUSED;
	}
	same = strcmp(out, again) == 0;
	crypto_wipe(again, sizeof again);
	if (same)
		return 0;
	cli_complain("password: the two are different");
	return EXIT_REFUSED;
}

/* ---- commands ---- */

static int
run_init(struct cli *cli)
{
	struct buf origin, vkey;
	char why[CLI_WHY_LEN];
	int status;

	buf_init(&origin);
	buf_init(&vkey);
	switch (state_init(cli->conf, &origin, &vkey, why, sizeof why)) {
	case 0:
		status = EXIT_WELL;
		break;
	case 1:
		status = EXIT_REFUSED;
		break;
	default:
		status = EXIT_SYSTEM;
		break;
	}
	if (status != EXIT_WELL) {
		cli_complain("init: %s", why);
	} else if (cli->json) {
		json_t *o =
		    json_pack("{s:s,s:s,s:s}", "state", cli->conf->state_dir,
			"origin", buf_text(&origin), "vkey", buf_text(&vkey));

		cli_print(o);
		json_decref(o);
	} else {
		(void)printf("State made in %s.\n"
			     "Verifier key, to be kept where this machine's "
			     "administrators cannot change it:\n%s\n",
		    cli->conf->state_dir, buf_text(&vkey));
	}
	buf_release(&origin);
	buf_release(&vkey);
	return status;
}

static int
run_user_add(struct cli *cli)
{
	char password[PASSWORD_MAX + 2];
	json_t *args = json_object();
	json_t *result;
	int status = get_password(cli, password, sizeof password);
	bool has_password = status == 0 && password[0] != '\0';

	if (status != 0) {
		json_decref(args);
		return status;
	}
	if (!cli_set_text(args, "uri", cli->args[0]) ||
	    !cli_set_text(args, "name", cli->name) ||
	    !cli_set_text(args, "password", has_password ? password : NULL)) {
		json_decref(args);
		args = NULL;
	}
	crypto_wipe(password, sizeof password);
	status = cli_ask(cli, "user.add", args, cli->args[0], &result);
	if (status == EXIT_WELL && cli->json)
		cli_print(result);
	else if (status == EXIT_WELL)
		(void)printf("%s added%s\n", cli->args[0],
		    has_password ? "" : ", without a password");
	json_decref(result);
	return status;
}

static int
run_user_list(struct cli *cli)
{
	return cli_show(cli, "user.list", json_object(), "users", show_users);
}

static int
run_room_add(struct cli *cli)
{
	json_t *args = json_object();
	json_t *result;
	int status;

	if (!cli_set_text(args, "name", cli->args[0]) ||
	    !cli_set_text(args, "guid", cli->id) ||
	    !cli_set_text(args, "privacy", cli->privacy) ||
	    !cli_set_text(args, "description", cli->description)) {
		json_decref(args);
		args = NULL;
	}
	status = cli_ask(cli, "room.add", args, cli->args[0], &result);
	if (status == EXIT_WELL && cli->json)
		cli_print(result);
	else if (status == EXIT_WELL)
		(void)printf("%s added: %s\n", cli->args[0],
		    json_string_value(json_object_get(result, "uri")));
	json_decref(result);
	return status;
}

static int
run_room_list(struct cli *cli)
{
	return cli_show(cli, "room.list", json_object(), "rooms", show_rooms);
}

/* Tries all, tells of each, and ends with the worst. */
static int
run_member_add(struct cli *cli)
{
	json_t *added = json_array();
	int worst = EXIT_WELL;

	for (int i = 1; i < cli->arg_count; i++) {
		json_t *args = json_pack(
		    "{s:s,s:s}", "room", cli->args[0], "user", cli->args[i]);
		json_t *result;
		int status = cli_ask(
		    cli, "room.member.add", args, cli->args[i], &result);

		json_decref(result);
		if (status > worst)
			worst = status;
		if (status != EXIT_WELL)
			continue;
		(void)json_array_append_new(added, json_string(cli->args[i]));
		if (!cli->json)
			(void)printf("%s is a member of %s\n", cli->args[i],
			    cli->args[0]);
	}
	if (cli->json) {
		json_t *o = json_pack(
		    "{s:s,s:O}", "room", cli->args[0], "added", added);

		cli_print(o);
		json_decref(o);
	}
	json_decref(added);
	return worst;
}

static int
run_adapter_list(struct cli *cli)
{
	return cli_show(
	    cli, "adapter.list", json_object(), "adapters", show_adapters);
}

static int
run_adapter_run(struct cli *cli)
{
	return cli_show(cli, "adapter.run",
	    json_pack("{s:s}", "name", cli->args[0]), cli->args[0], show_run);
}

static int
run_status(struct cli *cli)
{
	return cli_show(cli, "status", json_object(), "status", show_status);
}

static int
run_receipt(struct cli *cli)
{
	struct receipt_select select = {
	    .user = cli->args[0], .room = cli->room};
	char why[CLI_WHY_LEN];
	json_t *result;
	size_t found;

	if (cli->since != NULL &&
	    !text_get_time(view_text(cli->since), &select.since)) {
		cli_complain("--since: %s: not a time (RFC 3339)", cli->since);
		return EXIT_USAGE;
	}
	if (cli->chat != NULL &&
	    !view_to_u64(view_text(cli->chat), &select.chat)) {
		cli_complain("--chat: %s: not a number", cli->chat);
		return EXIT_USAGE;
	}
	result = receipt_list(cli->conf, &select, why, sizeof why);
	if (result == NULL) {
		cli_complain("receipt: %s", why);
		return EXIT_SYSTEM;
	}
	if (cli->json)
		cli_print(result);
	else
		show_receipts(result);
	found = json_array_size(json_object_get(result, "receipts"));
	if (found == 0)
		cli_complain("receipt: no post of %s is found%s", select.user,
		    select.room != NULL || cli->since != NULL ||
			    cli->chat != NULL
			? " as asked"
			: "");
	json_decref(result);
	return found > 0 ? EXIT_WELL : EXIT_REFUSED;
}

static int
run_recover(struct cli *cli)
{
	char why[CLI_WHY_LEN] = "";
	json_t *result;
	int status;

	cli->recover.progress = isatty(STDERR_FILENO) != 0;
	status =
	    recover_run(cli->conf, &cli->recover, &result, why, sizeof why);
	if (status == 0 && cli->json)
		cli_print(result);
	else if (status == 0)
		show_recovery(result);
	else
		cli_complain("recover: %s", why);
	json_decref(result);
	return status == 0 ? EXIT_WELL
	    : status == 1  ? EXIT_REFUSED
	    : status == 2  ? EXIT_USAGE
			   : EXIT_SYSTEM;
}

static const struct command {
	const char *words[WORDS_MAX];
	const char *synopsis; /* of arguments and options */
	int min_args, max_args;
	unsigned options;
	bool alone; /* without daemon and store */
	int (*run)(struct cli *cli);
} commands[] = {
    {{"init"}, "", 0, 0, 0, true, run_init},
    {{"user", "add"}, " URI [--name NAME] [--password-stdin]", 1, 1,
	OPTION_BIT(OPTION_NAME) | OPTION_BIT(OPTION_PASSWORD_STDIN), false,
	run_user_add},
    {{"user", "list"}, "", 0, 0, 0, false, run_user_list},
    {{"room", "add"},
	" NAME [--id GUID] [--privacy open|closed|secret]"
	" [--description TEXT]",
	1, 1,
	OPTION_BIT(OPTION_ID) | OPTION_BIT(OPTION_PRIVACY) |
	    OPTION_BIT(OPTION_DESCRIPTION),
	false, run_room_add},
    {{"room", "list"}, "", 0, 0, 0, false, run_room_list},
    {{"room", "member", "add"}, " ROOM URI...", 2, 1000, 0, false,
	run_member_add},
    {{"adapter", "list"}, "", 0, 0, 0, false, run_adapter_list},
    {{"adapter", "run"}, " NAME", 1, 1, 0, false, run_adapter_run},
    {{"recover"},
	" --from FILE | --signer-state NOTE | --moved |"
	" --new-incarnation --reason lost|signer|fork|compromise"
	" [--from FILE] [--checkpoint NOTE]",
	0, 0,
	OPTION_BIT(OPTION_FROM) | OPTION_BIT(OPTION_NEW_INCARNATION) |
	    OPTION_BIT(OPTION_REASON) | OPTION_BIT(OPTION_CHECKPOINT) |
	    OPTION_BIT(OPTION_SIGNER_STATE) | OPTION_BIT(OPTION_MOVED),
	true, run_recover},
    {{"key", "show"}, "", 0, 0, 0, true, cli_key_show},
    {{"key", "rotate"}, " [--compromised]", 0, 0,
	OPTION_BIT(OPTION_COMPROMISED), false, cli_key_rotate},
    {{"hold", "add"},
	" --matter REF [--room ROOM] [--user URI] [--from TIME] [--until TIME]",
	0, 0,
	OPTION_BIT(OPTION_MATTER) | OPTION_BIT(OPTION_ROOM) |
	    OPTION_BIT(OPTION_USER) | OPTION_BIT(OPTION_FROM) |
	    OPTION_BIT(OPTION_UNTIL),
	false, cli_hold_add},
    {{"hold", "release"}, " NUMBER", 1, 1, 0, false, cli_hold_release},
    {{"hold", "list"}, "", 0, 0, 0, false, cli_hold_list},
    {{"purge", "run"}, "", 0, 0, 0, false, cli_purge_run},
    {{"purge", "approve"}, " --before TIME | --below NUMBER", 0, 0,
	OPTION_BIT(OPTION_BEFORE) | OPTION_BIT(OPTION_BELOW), false,
	cli_purge_approve},
    {{"purge"}, " --dry-run", 0, 0, OPTION_BIT(OPTION_DRY_RUN), false,
	cli_purge_dry},
    {{"audit", "run"}, "", 0, 0, 0, false, cli_audit_run},
    {{"status"}, "", 0, 0, 0, false, run_status},
    {{"receipt"}, " URI [--since TIME] [--room ROOM] [--chat NUMBER]", 1, 1,
	OPTION_BIT(OPTION_SINCE) | OPTION_BIT(OPTION_ROOM) |
	    OPTION_BIT(OPTION_CHAT),
	true, run_receipt},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* ---- the command line ---- */

/* Of the commands that begin with this word; all when none does. */
static void
print_usage(FILE *out, const char *word)
{
	const char *only = NULL;

	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (word != NULL && strcmp(commands[i].words[0], word) == 0)
			only = word;
	(void)fputs("usage: chancery [-f FILE] [--json] COMMAND\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *c = &commands[i];

		if (only != NULL && strcmp(c->words[0], only) != 0)
			continue;
		(void)fputs("      ", out);
		for (int w = 0; w < WORDS_MAX && c->words[w] != NULL; w++)
			(void)fprintf(out, " %s", c->words[w]);
		(void)fprintf(out, "%s\n", c->synopsis);
	}
}

static int
count_words(const struct command *c)
{
	int n = 0;

	while (n < WORDS_MAX && c->words[n] != NULL)
		n++;
	return n;
}

static const struct command *
find_command(char **words, int count)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		int n = count_words(&commands[i]);
		int same = 0;

		while (same < n && same < count &&
		    strcmp(words[same], commands[i].words[same]) == 0)
			same++;
		if (same == n)
			return &commands[i];
	}
	return NULL;
}

/* EXIT_WELL to go on; a negative value: all is done. */
static int
take_option(struct cli *cli, int o)
{
	switch (o) {
	case 'f':
	case OPTION_FILE:
		cli->conf_path = optarg;
		return EXIT_WELL;
	case OPTION_JSON:
		cli->json = true;
		return EXIT_WELL;
	case 'h':
	case OPTION_HELP:
		print_usage(stdout, NULL);
		return -1;
	case 'V':
	case OPTION_VERSION:
		(void)puts("chancery " CHANCERY_VERSION);
		return -1;
	case OPTION_COMPROMISED:
		cli->compromised = true;
		break;
	case OPTION_NAME:
		cli->name = optarg;
		break;
	case OPTION_ID:
		cli->id = optarg;
		break;
	case OPTION_PRIVACY:
		cli->privacy = optarg;
		break;
	case OPTION_DESCRIPTION:
		cli->description = optarg;
		break;
	case OPTION_BEFORE:
		cli->before = optarg;
		break;
	case OPTION_BELOW:
		cli->below = optarg;
		break;
	case OPTION_MATTER:
		cli->matter = optarg;
		break;
	case OPTION_UNTIL:
		cli->until = optarg;
		break;
	case OPTION_USER:
		cli->user = optarg;
		break;
	case OPTION_DRY_RUN:
		break;
	case OPTION_ROOM:
		cli->room = optarg;
		break;
	case OPTION_SINCE:
		cli->since = optarg;
		break;
	case OPTION_CHAT:
		cli->chat = optarg;
		break;
	case OPTION_FROM:
		cli->recover.from = optarg;
		break;
	case OPTION_REASON:
		cli->recover.reason = optarg;
		break;
	case OPTION_CHECKPOINT:
		cli->recover.checkpoint = optarg;
		break;
	case OPTION_SIGNER_STATE:
		cli->recover.signer_state = optarg;
		break;
	case OPTION_MOVED:
		cli->recover.moved = true;
		break;
	case OPTION_NEW_INCARNATION:
		cli->recover.incarnation = true;
		break;
	case OPTION_PASSWORD_STDIN:
		break;
	default:
		print_usage(stderr, NULL);
		return EXIT_USAGE;
	}
	cli->given |= OPTION_BIT(o);
	return EXIT_WELL;
}

static const struct command *
take_command(struct cli *cli, char **words, int count)
{
	const struct command *c = find_command(words, count);
	int n = c != NULL ? count_words(c) : 0;
	const char *wrong = NULL;

	if (c == NULL)
		wrong = "no such command";
	else if (count - n < c->min_args)
		wrong = "an argument is missing";
	else if (count - n > c->max_args)
		wrong = "too many arguments";
	else if ((cli->given & ~c->options) != 0)
		wrong = "an option does not belong here";
	if (wrong != NULL) {
		if (count > 0)
			cli_complain("%s%s%s: %s", words[0], n > 1 ? " " : "",
			    n > 1 ? words[1] : "", wrong);
		c = NULL;
	} else {
		cli->args = words + n;
		cli->arg_count = count - n;
	}
	if (c == NULL)
		print_usage(stderr, count > 0 ? words[0] : NULL);
	return c;
}

static int
run_command(struct cli *cli, const struct command *c)
{
	struct buf errors;
	char why[CLI_WHY_LEN];
	int status = EXIT_SYSTEM;

	buf_init(&errors);
	cli->conf = conf_load(cli->conf_path, &errors);
	if (cli->conf == NULL) {
		(void)fputs(buf_text(&errors), stderr);
		buf_release(&errors);
		return EXIT_USAGE;
	}
	buf_release(&errors);
	if (!c->alone)
		cli->client = admin_client_open(cli->conf, why, sizeof why);
	if (c->alone || cli->client != NULL)
		status = c->run(cli);
	else
		cli_complain("%s", why);
	admin_client_close(cli->client);
	conf_free(cli->conf);
	return status;
}

int
main(int argc, char **argv)
{
	struct cli cli = {.conf_path = CONF_DEFAULT};
	const struct command *c;
	int o, status;

	while (
	    (o = getopt_long(argc, argv, "f:hV", option_table, NULL)) != -1) {
		status = take_option(&cli, o);
		if (status != EXIT_WELL)
			return status < 0 ? EXIT_WELL : status;
	}
	c = take_command(&cli, argv + optind, argc - optind);
	if (c == NULL)
		return EXIT_USAGE;
	log_init("chancery", LOG_LEVEL_WARN);
	crypto_init();
	(void)umask(022); /* roles pass through the folders; secrets say so */
	status = run_command(&cli, c);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_complain("standard output: %s", strerror(errno));
		status = EXIT_SYSTEM;
	}
	return status;
}
