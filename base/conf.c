#include "base/conf.h"

#include <confuse.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_adapters.h"
#include "base/conf_anchors.h"
#include "base/conf_retention.h"
#include "base/conf_value.h"
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

static cfg_opt_t listen_options[] = {
    CFG_STR("address", "127.0.0.1", CFGF_NONE),
    CFG_INT("port", 0, CFGF_NONE),
    CFG_STR("certificate", NULL, CFGF_NONE),
    CFG_STR("key", NULL, CFGF_NONE),
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
    CFG_SEC("adapter", conf_adapters_options,
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
	cfg_set_validate_func(cfg, "adapter", conf_adapters_check);
	cfg_set_validate_func(cfg, "retention", conf_retention_check);
	conf_anchors_set_checks(cfg);
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
		l->address = conf_value_copy(cfg_getstr(sec, "address"), &ok);
		l->certificate =
		    conf_value_path(base, cfg_getstr(sec, "certificate"), &ok);
		l->key = conf_value_path(base, cfg_getstr(sec, "key"), &ok);
		l->line = sec->line;
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

	c->user_server = conf_value_copy(cfg_getstr(sec, "server"), &ok);
	c->user_keeper = conf_value_copy(cfg_getstr(sec, "keeper"), &ok);
	c->user_signer = conf_value_copy(cfg_getstr(sec, "signer"), &ok);
	c->user_engine = conf_value_copy(cfg_getstr(sec, "engine"), &ok);
	c->user_adapter = conf_value_copy(cfg_getstr(sec, "adapter"), &ok);
	c->user_anchor = conf_value_copy(cfg_getstr(sec, "anchor"), &ok);
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
		c->domain = conf_value_copy(cfg_getstr(cfg, "domain"), &ok);
		c->state_dir = conf_value_path(
		    absolute, cfg_getstr(cfg, "state-dir"), &ok);
		c->libexec =
		    conf_value_path(absolute, cfg_getstr(cfg, "libexec"), &ok);
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
		ok = conf_adapters_take(c, cfg, absolute) && ok;
	}
	if (!ok)
		buf_printf(errors, "%s: %s\n", c->path, strerror(errno));
	ok = ok && conf_retention_take(c, cfg, errors);
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
check_user(const struct conf *c, const char *name, struct buf *errors)
{
	const char *why = NULL;
	uid_t uid;
	gid_t gid;

	if (process_user(name, &uid, &gid) != 0)
		why = process_user_error();
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

		ok &= conf_value_check_file(
		    c, l->line, l->certificate, R_OK, errors);
		ok &= conf_value_check_file(c, l->line, l->key, R_OK, errors);
	}
	ok &= conf_adapters_check_system(c, errors);
	return ok;
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
	conf_value_print(out, "", "domain", c->domain);
	conf_value_print(out, "", "state-dir", c->state_dir);
	conf_value_print(out, "", "libexec", c->libexec);
	buf_printf(out, "batch-events = %u\n", c->batch_events);
	for (size_t i = 0; i < c->listen_count; i++) {
		const struct conf_listen *l = &c->listens[i];

		buf_printf(out, "listen %s {\n", transport_names[l->transport]);
		conf_value_print(out, "\t", "address", l->address);
		buf_printf(out, "\tport = %u\n", (unsigned)l->port);
		conf_value_print(out, "\t", "certificate", l->certificate);
		conf_value_print(out, "\t", "key", l->key);
		buf_put_text(out, "}\n");
	}
	conf_adapters_print(c, out);
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
	conf_value_print(out, "\t", "server", c->user_server);
	conf_value_print(out, "\t", "keeper", c->user_keeper);
	conf_value_print(out, "\t", "signer", c->user_signer);
	conf_value_print(out, "\t", "engine", c->user_engine);
	conf_value_print(out, "\t", "adapter", c->user_adapter);
	conf_value_print(out, "\t", "anchor", c->user_anchor);
	buf_put_text(out, "}\n");
	print_limits(c, out);
}

void
conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; c->listens != NULL && i < c->listen_count; i++) {
		free(c->listens[i].address);
		free(c->listens[i].certificate);
		free(c->listens[i].key);
	}
	free(c->listens);
	conf_adapters_free(c);
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
