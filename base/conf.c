#include "base/conf.h"

#include <confuse.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_anchors.h"
#include "base/conf_retention.h"
#include "base/file.h"
#include "base/process.h"

#define CONF_FILE_MAX (1U << 20)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Limits of whole numbers, by the key's name. */
static const struct {
	const char *name;
	long min, max;
} ranges[] = {
    {"port", 1, 65535},
    {"interval-s", 1, 30L * 86400},
    {"timeout-s", 1, 3600},
    {"after-s", -1, 100L * 366 * 86400},
    {"approvals", 0, 2},
    {"batch-events", 1, 1000000},
    {"rotate-s", 0, 366L * 86400},
    {"beat-s", 1, 3600},
    {"period-s", 0, 366L * 86400},
    {"message-bytes", 1024, 4 << 20},
    {"headers", 16, 256},
    {"connections", 1, 1000000},
    {"connections-per-address", 1, 1000000},
    {"idle-s", 1, 86400},
    {"message-s", 1, 3600},
    {"in-flight", 1, 1000000},
    {"text-bytes", 1, 256 << 10},
    {"session-s", 90, 86400},
    {"register-s", 60, 86400},
    {"history", 1, 10000},
    {"unread-bytes", 1 << 20, 1 << 30},
    {"segment-records", 512, 1000000000000},
    {"segment-bytes", 0, INT64_MAX},
    {"quorum", 0, CONF_WITNESSES_MAX},
};

static const char *const transport_names[] = {
    [CONF_TCP] = "tcp",
    [CONF_UDP] = "udp",
    [CONF_TLS] = "tls",
};

/* libconfuse's error function takes no argument of ours: one parse a time. */
static struct {
	struct buf *errors;
	const char *path;
} parsing;

static void
on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	buf_printf(parsing.errors, "%s:%d: ", parsing.path,
	    cfg != NULL ? cfg->line : 0);
	buf_vprintf(parsing.errors, fmt, ap);
	buf_put_text(parsing.errors, "\n");
}

static int
check_range(cfg_t *cfg, cfg_opt_t *opt)
{
	long value = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);

	for (size_t i = 0; i < COUNT(ranges); i++) {
		if (strcmp(ranges[i].name, cfg_opt_name(opt)) != 0)
			continue;
		if (value >= ranges[i].min && value <= ranges[i].max)
			return 0;
		cfg_error(cfg, "%s is %ld; it must be from %ld to %ld",
		    ranges[i].name, value, ranges[i].min, ranges[i].max);
		return -1;
	}
	return 0;
}

/* A domain: letters, digits, dots and hyphens, as a SIP URI's host. */
static int
check_domain(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
	size_t n = strlen(value);

	if (n > 0 && n <= 253 && value[0] != '.' && value[0] != '-' &&
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n)
		return 0;
	cfg_error(cfg,
	    "domain \"%s\" is not a host name in lower-case letters, digits, "
	    "dots and hyphens",
	    value);
	return -1;
}

static int
check_listen(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *title = cfg_title(sec);
	bool tls = strcmp(title, "tls") == 0;

	if (!tls && strcmp(title, "tcp") != 0 && strcmp(title, "udp") != 0) {
		cfg_error(cfg,
		    "listen \"%s\": the transport is tcp, udp or tls", title);
		return -1;
	}
	if (cfg_getint(sec, "port") == 0) {
		cfg_error(cfg, "listen %s: port is missing", title);
		return -1;
	}
	if (tls &&
	    (cfg_getstr(sec, "certificate") == NULL ||
		cfg_getstr(sec, "key") == NULL)) {
		cfg_error(cfg, "listen tls: certificate and key are needed");
		return -1;
	}
	if (!tls &&
	    (cfg_getstr(sec, "certificate") != NULL ||
		cfg_getstr(sec, "key") != NULL)) {
		cfg_error(
		    cfg, "listen %s: certificate and key are for tls", title);
		return -1;
	}
	return 0;
}

static bool
is_relp(const char *target)
{
	return strncmp(target, "relp://", 7) == 0 ||
	    strncmp(target, "relp+tls://", 11) == 0;
}

/* The built-in adapters' own needs; NULL when all is well. */
static const char *
adapter_fault(cfg_t *sec)
{
	const char *program = cfg_getstr(sec, "program");
	const char *target = cfg_getstr(sec, "target");
	const char *name = cfg_title(sec);

	if (strlen(name) > 32 || name[0] == '\0' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") !=
		strlen(name))
		return "the name has 1 to 32 of a-z, 0-9 and -";
	if (program == NULL)
		return "program is missing";
	if ((strcmp(program, "xml") == 0 || strcmp(program, "tarball") == 0) &&
	    cfg_getstr(sec, "directory") == NULL)
		return "directory is missing";
	if (strcmp(program, "syslog") != 0)
		return NULL;
	if (target == NULL)
		return "target is missing";
	if (!is_relp(target) && strncmp(target, "tcp://", 6) != 0 &&
	    strncmp(target, "tls://", 6) != 0 &&
	    strncmp(target, "udp://", 6) != 0)
		return "target must begin with relp://, relp+tls://, tls://, "
		       "tcp:// or udp://";
	if (cfg_getbool(sec, "required") && !is_relp(target))
		return "required = true needs a transport that acknowledges "
		       "storage: only RELP does, so purging would wait for "
		       "ever or delete what nobody has";
	return NULL;
}

static int
check_adapter(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *fault = adapter_fault(sec);

	if (fault == NULL)
		return 0;
	cfg_error(cfg, "adapter %s: %s", cfg_title(sec), fault);
	return -1;
}

static cfg_opt_t listen_options[] = {
    CFG_STR("address", "127.0.0.1", CFGF_NONE),
    CFG_INT("port", 0, CFGF_NONE),
    CFG_STR("certificate", NULL, CFGF_NONE),
    CFG_STR("key", NULL, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t adapter_options[] = {
    CFG_STR("program", NULL, CFGF_NONE),
    CFG_STR("directory", NULL, CFGF_NONE),
    CFG_STR("target", NULL, CFGF_NONE),
    CFG_STR("ca", NULL, CFGF_NONE),
    CFG_STR("certificate", NULL, CFGF_NONE),
    CFG_STR("key", NULL, CFGF_NONE),
    CFG_STR("peer", NULL, CFGF_NONE),
    CFG_BOOL("strict", cfg_false, CFGF_NONE),
    CFG_INT("interval-s", 900, CFGF_NONE),
    CFG_INT("timeout-s", 60, CFGF_NONE),
    CFG_BOOL("required", cfg_false, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t purge_options[] = {
    CFG_INT("after-s", -1, CFGF_NONE),
    CFG_INT("approvals", 0, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t journal_options[] = {
    CFG_INT("segment-records", 50000000, CFGF_NONE),
    CFG_INT("segment-bytes", 0, CFGF_NONE),
    CFG_BOOL("segment-yearly", cfg_true, CFGF_NONE),
    CFG_INT("beat-s", 60, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t audit_options[] = {
    CFG_INT("period-s", 7 * 86400, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t keys_options[] = {
    CFG_INT("rotate-s", 86400, CFGF_NONE),
    CFG_BOOL("rotate-at-start", cfg_true, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t users_options[] = {
    CFG_STR("server", "_chancery-server", CFGF_NONE),
    CFG_STR("keeper", "_chancery-keeper", CFGF_NONE),
    CFG_STR("signer", "_chancery-signer", CFGF_NONE),
    CFG_STR("engine", "_chancery-engine", CFGF_NONE),
    CFG_STR("adapter", "_chancery-adapter", CFGF_NONE),
    CFG_STR("anchor", "_chancery-anchor", CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t limits_options[] = {
    CFG_INT("message-bytes", 65536, CFGF_NONE),
    CFG_INT("headers", 64, CFGF_NONE),
    CFG_INT("connections", 16000, CFGF_NONE),
    CFG_INT("connections-per-address", 500, CFGF_NONE),
    CFG_INT("idle-s", 900, CFGF_NONE),
    CFG_INT("message-s", 20, CFGF_NONE),
    CFG_INT("in-flight", 20000, CFGF_NONE),
    CFG_INT("text-bytes", 8192, CFGF_NONE),
    CFG_INT("session-s", 1800, CFGF_NONE),
    CFG_INT("register-s", 600, CFGF_NONE),
    CFG_INT("history", 500, CFGF_NONE),
    CFG_INT("unread-bytes", 256 << 20, CFGF_NONE),
    CFG_END(),
};

static cfg_opt_t top_options[] = {
    CFG_STR("domain", NULL, CFGF_NONE),
    CFG_STR("state-dir", NULL, CFGF_NONE),
    CFG_STR("libexec", CHANCERY_LIBEXEC, CFGF_NONE),
    CFG_INT("batch-events", 10000, CFGF_NONE),
    CFG_SEC("listen", listen_options,
	CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("adapter", adapter_options,
	CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("purge", purge_options, CFGF_NONE),
    CFG_STR_LIST("officers", NULL, CFGF_NONE),
    CFG_SEC("retention", conf_retention_options,
	CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("journal", journal_options, CFGF_NONE),
    CFG_SEC("witness", conf_anchors_witness,
	CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
    CFG_SEC("anchors", conf_anchors_anchors, CFGF_NONE),
    CFG_SEC("stamp", conf_anchors_stamp, CFGF_NONE),
    CFG_SEC("keys", keys_options, CFGF_NONE),
    CFG_SEC("audit", audit_options, CFGF_NONE),
    CFG_SEC("users", users_options, CFGF_NONE),
    CFG_SEC("limits", limits_options, CFGF_NONE),
    CFG_END(),
};

static void
set_checks(cfg_t *cfg)
{
	static const char *const numbers[] = {"batch-events", "listen|port",
	    "adapter|interval-s", "adapter|timeout-s", "purge|after-s",
	    "purge|approvals", "retention|after-s", "journal|beat-s",
	    "audit|period-s", "limits|message-bytes", "limits|headers",
	    "limits|connections", "limits|connections-per-address",
	    "limits|idle-s", "limits|message-s", "limits|in-flight",
	    "limits|text-bytes", "limits|session-s", "limits|register-s",
	    "limits|history", "limits|unread-bytes", "journal|segment-records",
	    "journal|segment-bytes", "keys|rotate-s", "anchors|quorum",
	    "anchors|interval-s", "stamp|interval-s"};

	for (size_t i = 0; i < COUNT(numbers); i++)
		cfg_set_validate_func(cfg, numbers[i], check_range);
	cfg_set_validate_func(cfg, "domain", check_domain);
	cfg_set_validate_func(cfg, "listen", check_listen);
	cfg_set_validate_func(cfg, "adapter", check_adapter);
	cfg_set_validate_func(cfg, "retention", conf_retention_check);
	conf_anchors_set_checks(cfg);
}

/* A copy of an optional string; *ok becomes false when memory is out. */
static char *
copy(const char *s, bool *ok)
{
	char *c = s != NULL ? strdup(s) : NULL;

	if (s != NULL && c == NULL)
		*ok = false;
	return c;
}

/* A path of the file, relative to the file's own folder. */
static char *
copy_path(const char *base, const char *s, bool *ok)
{
	char *path = s != NULL ? file_join(base, s) : NULL;

	if (s != NULL && path == NULL)
		*ok = false;
	return path;
}

static unsigned
number(cfg_t *sec, const char *name)
{
	return (unsigned)cfg_getint(sec, name);
}

static bool
take_listens(struct conf *c, cfg_t *cfg, const char *base)
{
	bool ok = true;

	c->listen_count = cfg_size(cfg, "listen");
	c->listens = calloc(c->listen_count + 1, sizeof *c->listens);
	if (c->listens == NULL)
		return false;
	for (unsigned i = 0; i < c->listen_count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "listen", i);
		struct conf_listen *l = &c->listens[i];

		for (size_t t = 0; t < COUNT(transport_names); t++)
			if (strcmp(cfg_title(sec), transport_names[t]) == 0)
				l->transport = (enum conf_transport)t;
		l->port = (uint16_t)cfg_getint(sec, "port");
		l->address = copy(cfg_getstr(sec, "address"), &ok);
		l->certificate =
		    copy_path(base, cfg_getstr(sec, "certificate"), &ok);
		l->key = copy_path(base, cfg_getstr(sec, "key"), &ok);
		l->line = sec->line;
	}
	return ok;
}

static bool
take_adapters(struct conf *c, cfg_t *cfg, const char *base)
{
	bool ok = true;

	c->adapter_count = cfg_size(cfg, "adapter");
	c->adapters = calloc(c->adapter_count + 1, sizeof *c->adapters);
	if (c->adapters == NULL)
		return false;
	for (unsigned i = 0; i < c->adapter_count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "adapter", i);
		struct conf_adapter *a = &c->adapters[i];
		const char *program = cfg_getstr(sec, "program");

		a->name = copy(cfg_title(sec), &ok);
		a->program = strchr(program, '/') != NULL
		    ? copy_path(base, program, &ok)
		    : copy(program, &ok);
		a->directory =
		    copy_path(base, cfg_getstr(sec, "directory"), &ok);
		a->target = copy(cfg_getstr(sec, "target"), &ok);
		a->ca = copy_path(base, cfg_getstr(sec, "ca"), &ok);
		a->certificate =
		    copy_path(base, cfg_getstr(sec, "certificate"), &ok);
		a->key = copy_path(base, cfg_getstr(sec, "key"), &ok);
		a->peer = copy(cfg_getstr(sec, "peer"), &ok);
		a->strict = cfg_getbool(sec, "strict") == cfg_true;
		a->required = cfg_getbool(sec, "required") == cfg_true;
		a->interval_s = number(sec, "interval-s");
		a->timeout_s = number(sec, "timeout-s");
		a->line = sec->line;
	}
	return ok;
}

static void
take_limits(struct conf *c, cfg_t *sec)
{
	c->limits.message_bytes = number(sec, "message-bytes");
	c->limits.header_count = number(sec, "headers");
	c->limits.connections = number(sec, "connections");
	c->limits.connections_per_address =
	    number(sec, "connections-per-address");
	c->limits.idle_s = number(sec, "idle-s");
	c->limits.message_s = number(sec, "message-s");
	c->limits.inflight = number(sec, "in-flight");
	c->limits.text_bytes = number(sec, "text-bytes");
	c->limits.session_s = number(sec, "session-s");
	c->limits.register_s = number(sec, "register-s");
	c->limits.history = number(sec, "history");
	c->limits.unread_bytes = number(sec, "unread-bytes");
}

static bool
take_users(struct conf *c, cfg_t *sec)
{
	bool ok = true;

	c->user_server = copy(cfg_getstr(sec, "server"), &ok);
	c->user_keeper = copy(cfg_getstr(sec, "keeper"), &ok);
	c->user_signer = copy(cfg_getstr(sec, "signer"), &ok);
	c->user_engine = copy(cfg_getstr(sec, "engine"), &ok);
	c->user_adapter = copy(cfg_getstr(sec, "adapter"), &ok);
	c->user_anchor = copy(cfg_getstr(sec, "anchor"), &ok);
	c->users_line = sec->line;
	return ok;
}

static void
take_journal(struct conf *c, cfg_t *sec)
{
	c->segment_records = (uint64_t)cfg_getint(sec, "segment-records");
	c->segment_bytes = (uint64_t)cfg_getint(sec, "segment-bytes");
	c->segment_yearly = cfg_getbool(sec, "segment-yearly") == cfg_true;
	c->beat_s = number(sec, "beat-s");
}

/* What only the whole file can tell. */
static bool
check_whole(const struct conf *c, cfg_t *cfg, struct buf *errors)
{
	bool required = false, ok = c->listen_count > 0;

	for (size_t i = 0; i < c->adapter_count; i++)
		required |= c->adapters[i].required;
	if (c->listen_count == 0)
		buf_printf(errors, "%s: no listen section\n", c->path);
	if (c->purge_after_s >= 0 && !required) {
		buf_printf(errors,
		    "%s:%d: purge { after-s } needs at least one adapter "
		    "with required = true: nothing is deleted that nobody has "
		    "acknowledged\n",
		    c->path, cfg_getsec(cfg, "purge")->line);
		ok = false;
	}
	for (size_t i = 0; i < c->retention_count && !required; i++) {
		const struct conf_retention *r = &c->retentions[i];

		if (r->after_s < 0)
			continue;
		buf_printf(errors,
		    "%s:%d: retention %s { after-s } needs at least one "
		    "adapter with required = true\n",
		    c->path, r->line, r->name);
		ok = false;
	}
	return ok;
}

static bool
take_all(struct conf *c, cfg_t *cfg, struct buf *errors)
{
	static const char *const needed[] = {"domain", "state-dir"};
	char *base = file_parent(c->path);
	char *absolute = base != NULL ? realpath(base, NULL) : NULL;
	bool ok = absolute != NULL;

	free(base);
	for (size_t i = 0; i < COUNT(needed); i++) {
		if (cfg_getstr(cfg, needed[i]) != NULL)
			continue;
		buf_printf(errors, "%s: %s is missing\n", c->path, needed[i]);
		free(absolute);
		return false;
	}
	if (ok) {
		c->domain = copy(cfg_getstr(cfg, "domain"), &ok);
		c->state_dir =
		    copy_path(absolute, cfg_getstr(cfg, "state-dir"), &ok);
		c->libexec =
		    copy_path(absolute, cfg_getstr(cfg, "libexec"), &ok);
		c->batch_events = number(cfg, "batch-events");
		c->purge_after_s = cfg_getint(cfg, "purge|after-s");
		c->purge_approvals =
		    number(cfg_getsec(cfg, "purge"), "approvals");
		take_journal(c, cfg_getsec(cfg, "journal"));
		c->rotate_s = (unsigned)cfg_getint(cfg, "keys|rotate-s");
		c->rotate_at_start =
		    cfg_getbool(cfg, "keys|rotate-at-start") == cfg_true;
		c->audit_s = number(cfg_getsec(cfg, "audit"), "period-s");
		take_limits(c, cfg_getsec(cfg, "limits"));
		ok = take_users(c, cfg_getsec(cfg, "users")) && ok;
		ok = take_listens(c, cfg, absolute) && ok;
		ok = take_adapters(c, cfg, absolute) && ok;
		ok = conf_retention_take(c, cfg) && ok;
	}
	if (!ok)
		buf_printf(errors, "%s: %s\n", c->path, strerror(errno));
	ok = ok && conf_anchors_take(c, cfg, absolute, errors);
	free(absolute);
	return ok && check_whole(c, cfg, errors);
}

struct conf *
conf_parse(const char *path, struct view text, struct buf *errors)
{
	struct conf *c = calloc(1, sizeof *c);
	char *copied = view_dup(text);
	cfg_t *cfg = NULL;
	bool ok = false;

	parsing.errors = errors;
	parsing.path = path;
	if (c != NULL && text.n > 0 && copied == NULL) {
		buf_printf(errors, "%s:0: a NUL byte is in the file\n", path);
		goto done;
	}
	if (c == NULL || copied == NULL || (c->path = strdup(path)) == NULL ||
	    (cfg = cfg_init(top_options, CFGF_NONE)) == NULL) {
		buf_printf(errors, "%s: out of memory\n", path);
		goto done;
	}
	(void)cfg_set_error_function(cfg, on_error); /* the former one: none */
	set_checks(cfg);
	if (cfg_parse_buf(cfg, copied) != CFG_SUCCESS) {
		if (errors->len == 0)
			buf_printf(errors, "%s: cannot be parsed\n", path);
		goto done;
	}
	ok = take_all(c, cfg, errors);
done:
	if (cfg != NULL)
		(void)cfg_free(cfg); /* fails for NULL only */
	free(copied);
	if (ok)
		return c;
	conf_free(c);
	return NULL;
}

struct conf *
conf_load(const char *path, struct buf *errors)
{
	struct conf *c = NULL;
	struct buf text;

	buf_init(&text);
	if (file_read(path, CONF_FILE_MAX, &text) != 0)
		buf_printf(errors, "%s: %s\n", path, strerror(errno));
	else
		c = conf_parse(path, buf_view(&text), errors);
	buf_release(&text);
	return c;
}

static bool
check_file(const struct conf *c, int line, const char *path, int access_mode,
    struct buf *errors)
{
	if (path == NULL || access(path, access_mode) == 0)
		return true;
	buf_printf(
	    errors, "%s:%d: %s: %s\n", c->path, line, path, strerror(errno));
	return false;
}

static bool
check_user(const struct conf *c, const char *name, struct buf *errors)
{
	const char *why = NULL;
	uid_t uid;
	gid_t gid;

	if (process_user(name, &uid, &gid) != 0)
		why = errno == ENOENT ? "no such user" : strerror(errno);
	else if (uid == 0)
		why = "must not be root";
	if (why != NULL && c->users_line > 0)
		buf_printf(errors, "%s:%d: user %s: %s\n", c->path,
		    c->users_line, name, why);
	else if (why != NULL) /* a default */
		buf_printf(errors, "%s: user %s: %s\n", c->path, name, why);
	return why == NULL;
}

bool
conf_check_system(const struct conf *c, struct buf *errors)
{
	const char *const users[] = {c->user_server, c->user_keeper,
	    c->user_signer, c->user_engine, c->user_adapter};
	bool ok = true;

	for (size_t i = 0; geteuid() == 0 && i < COUNT(users); i++)
		ok &= check_user(c, users[i], errors);
	for (size_t i = 0; i < c->officer_count; i++)
		ok &= check_user(c, c->officers[i], errors);
	if (geteuid() == 0 && conf_anchored(c))
		ok &= check_user(c, c->user_anchor, errors);
	ok &= conf_anchors_check_system(c, errors);

	for (size_t i = 0; i < c->listen_count; i++) {
		const struct conf_listen *l = &c->listens[i];

		ok &= check_file(c, l->line, l->certificate, R_OK, errors);
		ok &= check_file(c, l->line, l->key, R_OK, errors);
	}
	for (size_t i = 0; i < c->adapter_count; i++) {
		const struct conf_adapter *a = &c->adapters[i];
		char *program = file_join(c->libexec, a->program);

		ok &= check_file(c, a->line, program, X_OK, errors);
		ok &= check_file(c, a->line, a->ca, R_OK, errors);
		ok &= check_file(c, a->line, a->certificate, R_OK, errors);
		ok &= check_file(c, a->line, a->key, R_OK, errors);
		free(program);
	}
	return ok;
}

static void
print_string(
    struct buf *out, const char *indent, const char *key, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(out, "%s%s = \"", indent, key);
	for (const char *p = value; *p != '\0'; p++) {
		/* A "${NAME}" would be the environment's. */
		if (*p == '"' || *p == '\\' || *p == '$')
			buf_put_u8(out, '\\');
		buf_put_u8(out, (uint8_t)*p);
	}
	buf_put_text(out, "\"\n");
}

static void
print_adapter(struct buf *out, const struct conf_adapter *a)
{
	buf_printf(out, "adapter %s {\n", a->name);
	print_string(out, "\t", "program", a->program);
	print_string(out, "\t", "directory", a->directory);
	print_string(out, "\t", "target", a->target);
	print_string(out, "\t", "ca", a->ca);
	print_string(out, "\t", "certificate", a->certificate);
	print_string(out, "\t", "key", a->key);
	print_string(out, "\t", "peer", a->peer);
	buf_printf(out, "\tstrict = %s\n", a->strict ? "true" : "false");
	buf_printf(out, "\tinterval-s = %u\n", a->interval_s);
	buf_printf(out, "\ttimeout-s = %u\n", a->timeout_s);
	buf_printf(out, "\trequired = %s\n}\n", a->required ? "true" : "false");
}

static void
print_limits(const struct conf *c, struct buf *out)
{
	const struct {
		const char *name;
		unsigned value;
	} limits[] = {
	    {"message-bytes", c->limits.message_bytes},
	    {"headers", c->limits.header_count},
	    {"connections", c->limits.connections},
	    {"connections-per-address", c->limits.connections_per_address},
	    {"idle-s", c->limits.idle_s},
	    {"message-s", c->limits.message_s},
	    {"in-flight", c->limits.inflight},
	    {"text-bytes", c->limits.text_bytes},
	    {"session-s", c->limits.session_s},
	    {"register-s", c->limits.register_s},
	    {"history", c->limits.history},
	    {"unread-bytes", c->limits.unread_bytes},
	};

	buf_put_text(out, "limits {\n");
	for (size_t i = 0; i < COUNT(limits); i++)
		buf_printf(out, "\t%s = %u\n", limits[i].name, limits[i].value);
	buf_put_text(out, "}\n");
}

void
conf_print(const struct conf *c, struct buf *out)
{
	print_string(out, "", "domain", c->domain);
	print_string(out, "", "state-dir", c->state_dir);
	print_string(out, "", "libexec", c->libexec);
	buf_printf(out, "batch-events = %u\n", c->batch_events);
	for (size_t i = 0; i < c->listen_count; i++) {
		const struct conf_listen *l = &c->listens[i];

		buf_printf(out, "listen %s {\n", transport_names[l->transport]);
		print_string(out, "\t", "address", l->address);
		buf_printf(out, "\tport = %u\n", (unsigned)l->port);
		print_string(out, "\t", "certificate", l->certificate);
		print_string(out, "\t", "key", l->key);
		buf_put_text(out, "}\n");
	}
	for (size_t i = 0; i < c->adapter_count; i++)
		print_adapter(out, &c->adapters[i]);
	buf_printf(out,
	    "purge {\n\tafter-s = %" PRId64 "\n\tapprovals = %u\n}\n",
	    c->purge_after_s, c->purge_approvals);
	conf_retention_print(c, out);
	buf_printf(out,
	    "journal {\n\tsegment-records = %" PRIu64
	    "\n\tsegment-bytes = %" PRIu64
	    "\n\tsegment-yearly = %s\n\tbeat-s = %u\n}\n",
	    c->segment_records, c->segment_bytes,
	    c->segment_yearly ? "true" : "false", c->beat_s);
	buf_printf(out, "audit {\n\tperiod-s = %u\n}\n", c->audit_s);
	conf_anchors_print(c, out);
	buf_printf(out, "keys {\n\trotate-s = %u\n\trotate-at-start = %s\n}\n",
	    c->rotate_s, c->rotate_at_start ? "true" : "false");
	buf_put_text(out, "users {\n");
	print_string(out, "\t", "server", c->user_server);
	print_string(out, "\t", "keeper", c->user_keeper);
	print_string(out, "\t", "signer", c->user_signer);
	print_string(out, "\t", "engine", c->user_engine);
	print_string(out, "\t", "adapter", c->user_adapter);
	print_string(out, "\t", "anchor", c->user_anchor);
	buf_put_text(out, "}\n");
	print_limits(c, out);
}

void
conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->listen_count; i++) {
		free(c->listens[i].address);
		free(c->listens[i].certificate);
		free(c->listens[i].key);
	}
	for (size_t i = 0; i < c->adapter_count; i++) {
		struct conf_adapter *a = &c->adapters[i];
		char *const strings[] = {a->name, a->program, a->directory,
		    a->target, a->ca, a->certificate, a->key, a->peer};

		for (size_t j = 0; j < COUNT(strings); j++)
			free(strings[j]);
	}
	free(c->listens);
	free(c->adapters);
	conf_retention_free(c);
	free(c->path);
	free(c->domain);
	free(c->state_dir);
	free(c->libexec);
	free(c->user_server);
	free(c->user_keeper);
	free(c->user_signer);
	free(c->user_engine);
	free(c->user_adapter);
	free(c->user_anchor);
	conf_anchors_free(c);
	free(c);
}

char *
conf_state_path(const struct conf *c, const char *name)
{
	return file_join(c->state_dir, name);
}
