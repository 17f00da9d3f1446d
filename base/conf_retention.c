#include "base/conf_retention.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* Kinds of users' events by their number. */
static const char *const kind_names[] = {NULL, "join", "leave", "post",
    "history", "delivery", "room", "member", "user"};
#define KINDS (sizeof kind_names / sizeof kind_names[0])

cfg_opt_t conf_retention_options[] = {
    CFG_STR_LIST("rooms", NULL, CFGF_NONE),
    CFG_STR_LIST("kinds", NULL, CFGF_NONE),
    CFG_INT("after-s", -2, CFGF_NONE),
    CFG_END(),
};

static unsigned
kind_of(const char *name)
{
	for (unsigned i = 1; i < KINDS; i++)
		if (strcmp(kind_names[i], name) == 0)
			return i;
	return 0;
}

int
conf_retention_check(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *name = cfg_title(sec);
	size_t n = strlen(name);

	if (n == 0 || n > 32 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != n) {
		cfg_error(cfg,
		    "retention \"%s\": the name has 1 to 32 of a-z, 0-9 and -",
		    name);
		return -1;
	}
	if (cfg_getint(sec, "after-s") == -2) {
		cfg_error(cfg, "retention %s: after-s is missing", name);
		return -1;
	}
	for (unsigned i = 0; i < cfg_size(sec, "kinds"); i++) {
		const char *kind = cfg_getnstr(sec, "kinds", i);

		if (kind_of(kind) != 0)
			continue;
		cfg_error(cfg,
		    "retention %s: \"%s\" is no kind of users' events", name,
		    kind);
		return -1;
	}
	return 0;
}

char *
conf_room_uri(const struct conf *c, const char *name)
{
	const char *id = strrchr(name, '/');
	struct buf b;
	size_t len;

	buf_init(&b);
	id = id == NULL ? name : id + 1;
	buf_printf(&b, "ma-chan://%s/%s", c->domain, id);
	buf_put_u8(&b, '\0');
	errno = ENOMEM;
	if (!b.failed && text_is_uuid(view_text(id)) &&
	    (id == name || strcasecmp(name, buf_text(&b)) == 0))
		return (char *)buf_take(&b, &len);
	if (!b.failed)
		errno = EINVAL;
	buf_release(&b);
	return NULL;
}

static bool
take_officers(struct conf *c, cfg_t *cfg)
{
	unsigned count = cfg_size(cfg, "officers");

	c->officers = calloc(count + 1, sizeof *c->officers);
	if (c->officers == NULL)
		return false;
	for (unsigned i = 0; i < count; i++) {
		char *name = strdup(cfg_getnstr(cfg, "officers", i));

		if (name == NULL)
			return false;
		c->officers[c->officer_count++] = name;
	}
	return true;
}

/* False: out of memory. A room that is none is told in errors. */
static bool
take_rooms(const struct conf *c, cfg_t *sec, struct conf_retention *r,
    struct buf *errors)
{
	unsigned rooms = cfg_size(sec, "rooms");

	r->rooms = calloc(rooms + 1, sizeof *r->rooms);
	if (r->name == NULL || r->rooms == NULL)
		return false;
	for (unsigned k = 0; k < rooms; k++) {
		const char *name = cfg_getnstr(sec, "rooms", k);
		char *uri = conf_room_uri(c, name);

		if (uri != NULL)
			r->rooms[r->room_count++] = uri;
		else if (errno == EINVAL)
			buf_printf(errors,
			    "%s:%d: retention %s: \"%s\" is neither the URI of "
			    "a room of the domain nor the id at its end\n",
			    c->path, sec->line, r->name, name);
		else
			return false;
	}
	return true;
}

static bool
take_classes(struct conf *c, cfg_t *cfg, struct buf *errors)
{
	unsigned count = cfg_size(cfg, "retention");

	c->retentions = calloc(count + 1, sizeof *c->retentions);
	if (c->retentions == NULL)
		return false;
	for (unsigned i = 0; i < count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "retention", i);
		struct conf_retention *r = &c->retentions[c->retention_count++];

		r->name = strdup(cfg_title(sec));
		if (!take_rooms(c, sec, r, errors))
			return false;
		for (unsigned k = 0; k < cfg_size(sec, "kinds"); k++)
			r->kinds |= 1U << kind_of(cfg_getnstr(sec, "kinds", k));
		r->after_s = cfg_getint(sec, "after-s");
		r->line = sec->line;
	}
	return true;
}

bool
conf_retention_take(struct conf *c, cfg_t *cfg, struct buf *errors)
{
	size_t told = errors->len;

	if (take_officers(c, cfg) && take_classes(c, cfg, errors))
		return errors->len == told;
	buf_printf(errors, "%s: out of memory\n", c->path);
	return false;
}

void
conf_retention_print(const struct conf *c, struct buf *out)
{
	for (size_t i = 0; i < c->officer_count; i++)
		buf_printf(out, "%s\"%s\"%s", i == 0 ? "officers = {" : ", ",
		    c->officers[i], i + 1 == c->officer_count ? "}\n" : "");
	for (size_t i = 0; i < c->retention_count; i++) {
		const struct conf_retention *r = &c->retentions[i];
		const char *comma = "";

		buf_printf(out, "retention %s {\n", r->name);
		if (r->room_count > 0)
			buf_put_text(out, "\trooms = {");
		for (size_t k = 0; k < r->room_count; k++)
			buf_printf(
			    out, "%s\"%s\"", k > 0 ? ", " : "", r->rooms[k]);
		if (r->room_count > 0)
			buf_put_text(out, "}\n");
		if (r->kinds != 0)
			buf_put_text(out, "\tkinds = {");
		for (unsigned k = 1; k < KINDS; k++) {
			if ((r->kinds & 1U << k) == 0)
				continue;
			buf_printf(out, "%s\"%s\"", comma, kind_names[k]);
			comma = ", ";
		}
		if (r->kinds != 0)
			buf_put_text(out, "}\n");
		buf_printf(out, "\tafter-s = %" PRId64 "\n}\n", r->after_s);
	}
}

void
conf_retention_free(struct conf *c)
{
	for (size_t i = 0; i < c->officer_count; i++)
		free(c->officers[i]);
	free(c->officers);
	for (size_t i = 0; i < c->retention_count; i++) {
		struct conf_retention *r = &c->retentions[i];

		for (size_t k = 0; k < r->room_count; k++)
			free(r->rooms[k]);
		free(r->rooms);
		free(r->name);
	}
	free(c->retentions);
}
