#include "base/conf_adapters.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_value.h"
#include "base/file.h"

cfg_opt_t conf_adapters_options[] = {
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

	if (!conf_value_is_name(name))
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

int
conf_adapters_check(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *fault = adapter_fault(sec);

	if (fault == NULL)
		return 0;
	cfg_error(cfg, "adapter %s: %s", cfg_title(sec), fault);
	return -1;
}

bool
conf_adapters_take(struct conf *c, cfg_t *cfg, const char *base)
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

		a->name = conf_value_copy(cfg_title(sec), &ok);
		a->program = strchr(program, '/') != NULL
		    ? conf_value_path(base, program, &ok)
		    : conf_value_copy(program, &ok);
		a->directory =
		    conf_value_path(base, cfg_getstr(sec, "directory"), &ok);
		a->target = conf_value_copy(cfg_getstr(sec, "target"), &ok);
		a->ca = conf_value_path(base, cfg_getstr(sec, "ca"), &ok);
		a->certificate =
		    conf_value_path(base, cfg_getstr(sec, "certificate"), &ok);
		a->key = conf_value_path(base, cfg_getstr(sec, "key"), &ok);
		a->peer = conf_value_copy(cfg_getstr(sec, "peer"), &ok);
		a->strict = cfg_getbool(sec, "strict") == cfg_true;
		a->required = cfg_getbool(sec, "required") == cfg_true;
		a->interval_s = (unsigned)cfg_getint(sec, "interval-s");
		a->timeout_s = (unsigned)cfg_getint(sec, "timeout-s");
		a->line = sec->line;
	}
	return ok;
}

bool
conf_adapters_check_system(const struct conf *c, struct buf *errors)
{
	bool ok = true;

	for (size_t i = 0; i < c->adapter_count; i++) {
		const struct conf_adapter *a = &c->adapters[i];
		char *program = file_join(c->libexec, a->program);

		ok &= conf_value_check_file(c, a->line, program, X_OK, errors);
		ok &= conf_value_check_file(c, a->line, a->ca, R_OK, errors);
		ok &= conf_value_check_file(
		    c, a->line, a->certificate, R_OK, errors);
		ok &= conf_value_check_file(c, a->line, a->key, R_OK, errors);
		free(program);
	}
	return ok;
}

static void
print_adapter(struct buf *out, const struct conf_adapter *a)
{
	buf_printf(out, "adapter %s {\n", a->name);
	conf_value_print(out, "\t", "program", a->program);
	conf_value_print(out, "\t", "directory", a->directory);
	conf_value_print(out, "\t", "target", a->target);
	conf_value_print(out, "\t", "ca", a->ca);
	conf_value_print(out, "\t", "certificate", a->certificate);
	conf_value_print(out, "\t", "key", a->key);
	conf_value_print(out, "\t", "peer", a->peer);
	buf_printf(out, "\tstrict = %s\n", a->strict ? "true" : "false");
	buf_printf(out, "\tinterval-s = %u\n", a->interval_s);
	buf_printf(out, "\ttimeout-s = %u\n", a->timeout_s);
	buf_printf(out, "\trequired = %s\n}\n", a->required ? "true" : "false");
}

void
conf_adapters_print(const struct conf *c, struct buf *out)
{
	for (size_t i = 0; i < c->adapter_count; i++)
		print_adapter(out, &c->adapters[i]);
}

void
conf_adapters_free(struct conf *c)
{
	for (size_t i = 0; c->adapters != NULL && i < c->adapter_count; i++) {
		struct conf_adapter *a = &c->adapters[i];

		free(a->name);
		free(a->program);
		free(a->directory);
		free(a->target);
		free(a->ca);
		free(a->certificate);
		free(a->key);
		free(a->peer);
	}
	free(c->adapters);
}
