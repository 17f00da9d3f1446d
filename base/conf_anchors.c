#include "base/conf_anchors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/conf_value.h"
#include "base/file.h"
#include "base/text.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VKEY_TAIL (1 + 8 + 1 + 44) /* "+id+base64" behind the name */
#define COSIGNATURE 0x04

cfg_opt_t conf_anchors_witness[] = {
    CFG_STR("url", NULL, CFGF_NONE),
    CFG_STR("vkey", NULL, CFGF_NONE),
    CFG_STR("ca", NULL, CFGF_NONE),
    CFG_END(),
};

cfg_opt_t conf_anchors_anchors[] = {
    CFG_INT("quorum", 0, CFGF_NONE),
    CFG_INT("interval-s", 60, CFGF_NONE),
    CFG_END(),
};

cfg_opt_t conf_anchors_stamp[] = {
    CFG_STR("url", NULL, CFGF_NONE),
    CFG_STR("ca", NULL, CFGF_NONE),
    CFG_INT("interval-s", 86400, CFGF_NONE),
    CFG_BOOL("required", cfg_false, CFGF_NONE),
    CFG_END(),
};

static bool
starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool
is_url(const char *s)
{
	for (const char *p = s; *p != '\0'; p++)
		if (*p <= ' ' || *p >= 0x7f)
			return false;
	return true;
}

/*
 * The form of a witness's key; whether its id belongs to it is seen by who
 * uses it. A comma would end it in the policy record.
 */
static bool
is_vkey(const char *s)
{
	size_t n = strlen(s);
	size_t name = n > VKEY_TAIL ? n - VKEY_TAIL : 0;
	uint8_t blob[33];

	return name > 0 && name <= 255 && s[name] == '+' &&
	    s[name + 9] == '+' && strcspn(s, "+, ") == name &&
	    strspn(s + name + 1, "0123456789abcdef") == 8 &&
	    text_get_base64_fixed(
		view_text(s + name + 10), blob, sizeof blob) &&
	    blob[0] == COSIGNATURE;
}

static int
check_witness(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *url = cfg_getstr(sec, "url");
	const char *vkey = cfg_getstr(sec, "vkey");
	const char *name = cfg_title(sec);
	const char *fault = NULL;

	if (!conf_value_is_name(name))
		fault = "the name has 1 to 32 of a-z, 0-9 and -";
	else if (url == NULL || !starts_with(url, "https://") || !is_url(url))
		fault = "url must begin with https://";
	else if (vkey == NULL || !is_vkey(vkey))
		fault = "vkey is not a witness's key (cosignature/v1)";
	if (fault == NULL)
		return 0;
	cfg_error(cfg, "witness %s: %s", name, fault);
	return -1;
}

static int
check_stamp(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *url = cfg_getstr(sec, "url");

	if (url == NULL) /* the defaults, when there is no such section */
		return 0;
	if ((starts_with(url, "https://") || starts_with(url, "http://")) &&
	    is_url(url) && cfg_getstr(sec, "ca") != NULL)
		return 0;
	cfg_error(cfg,
	    "stamp: needs a url that begins with https:// or http://, and a "
	    "ca that the authority's tokens are checked against");
	return -1;
}

void
conf_anchors_set_checks(cfg_t *cfg)
{
	cfg_set_validate_func(cfg, "witness", check_witness);
	cfg_set_validate_func(cfg, "stamp", check_stamp);
}

static bool
take_witnesses(struct conf *c, cfg_t *cfg, const char *base)
{
	bool ok = true;

	c->witness_count = cfg_size(cfg, "witness");
	c->witnesses = calloc(c->witness_count + 1, sizeof *c->witnesses);
	if (c->witnesses == NULL)
		return false;
	for (unsigned i = 0; i < c->witness_count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "witness", i);
		struct conf_witness *w = &c->witnesses[i];

		w->name = conf_value_copy(cfg_title(sec), &ok);
		w->url = conf_value_copy(cfg_getstr(sec, "url"), &ok);
		w->vkey = conf_value_copy(cfg_getstr(sec, "vkey"), &ok);
		w->ca = conf_value_path(base, cfg_getstr(sec, "ca"), &ok);
		w->line = sec->line;
	}
	return ok;
}

/* One witness may not be counted twice. */
static bool
check_whole(const struct conf *c, cfg_t *cfg, struct buf *errors)
{
	if (c->witness_count > CONF_WITNESSES_MAX) {
		buf_printf(errors, "%s: more than %d witnesses\n", c->path,
		    CONF_WITNESSES_MAX);
		return false;
	}
	for (size_t i = 0; i < c->witness_count; i++)
		for (size_t k = 0; k < i; k++) {
			const char *a = c->witnesses[i].vkey;
			const char *b = c->witnesses[k].vkey;
			size_t n = strcspn(a, "+");

			if (strncmp(a, b, n + 1) != 0)
				continue;
			buf_printf(errors,
			    "%s:%d: witness %s has the name of the key of "
			    "witness %s\n",
			    c->path, c->witnesses[i].line, c->witnesses[i].name,
			    c->witnesses[k].name);
			return false;
		}
	if (c->anchors.quorum > c->witness_count) {
		buf_printf(errors,
		    "%s:%d: anchors { quorum } is more than there are "
		    "witnesses\n",
		    c->path, cfg_getsec(cfg, "anchors")->line);
		return false;
	}
	return true;
}

bool
conf_anchors_take(
    struct conf *c, cfg_t *cfg, const char *base, struct buf *errors)
{
	cfg_t *anchors = cfg_getsec(cfg, "anchors");
	cfg_t *stamp = cfg_getsec(cfg, "stamp");
	bool ok = take_witnesses(c, cfg, base);

	c->anchors.quorum = (unsigned)cfg_getint(anchors, "quorum");
	c->anchors.interval_s = (unsigned)cfg_getint(anchors, "interval-s");
	c->stamp.url = conf_value_copy(cfg_getstr(stamp, "url"), &ok);
	c->stamp.ca = conf_value_path(base, cfg_getstr(stamp, "ca"), &ok);
	c->stamp.interval_s = (unsigned)cfg_getint(stamp, "interval-s");
	c->stamp.required = cfg_getbool(stamp, "required") == cfg_true;
	c->stamp.line = stamp->line;
	if (!ok) {
		buf_printf(errors, "%s: %s\n", c->path, strerror(errno));
		return false;
	}
	if (c->stamp.required && c->stamp.url == NULL) {
		buf_printf(errors, "%s:%d: stamp { required } needs a url\n",
		    c->path, c->stamp.line);
		return false;
	}
	return check_whole(c, cfg, errors);
}

bool
conf_anchors_check_system(const struct conf *c, struct buf *errors)
{
	bool ok =
	    conf_value_check_file(c, c->stamp.line, c->stamp.ca, R_OK, errors);

	for (size_t i = 0; i < c->witness_count; i++)
		ok &= conf_value_check_file(
		    c, c->witnesses[i].line, c->witnesses[i].ca, R_OK, errors);
	return ok;
}

bool
conf_anchored(const struct conf *c)
{
	return c->witness_count > 0 || c->stamp.url != NULL;
}

void
conf_anchors_print(const struct conf *c, struct buf *out)
{
	for (size_t i = 0; i < c->witness_count; i++) {
		const struct conf_witness *w = &c->witnesses[i];

		buf_printf(out, "witness %s {\n", w->name);
		conf_value_print(out, "\t", "url", w->url);
		conf_value_print(out, "\t", "vkey", w->vkey);
		conf_value_print(out, "\t", "ca", w->ca);
		buf_put_text(out, "}\n");
	}
	buf_printf(out, "anchors {\n\tquorum = %u\n\tinterval-s = %u\n}\n",
	    c->anchors.quorum, c->anchors.interval_s);
	if (c->stamp.url == NULL)
		return;
	buf_put_text(out, "stamp {\n");
	conf_value_print(out, "\t", "url", c->stamp.url);
	conf_value_print(out, "\t", "ca", c->stamp.ca);
	buf_printf(out, "\tinterval-s = %u\n\trequired = %s\n}\n",
	    c->stamp.interval_s, c->stamp.required ? "true" : "false");
}

void
conf_anchors_free(struct conf *c)
{
	for (size_t i = 0; c->witnesses != NULL && i < c->witness_count; i++) {
		free(c->witnesses[i].name);
		free(c->witnesses[i].url);
		free(c->witnesses[i].vkey);
		free(c->witnesses[i].ca);
	}
	free(c->witnesses);
	free(c->stamp.url);
	free(c->stamp.ca);
}
