#include "base/conf_retention.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/* As it stands in a leaf and in a URI: nothing that JSON escapes. */
static bool
is_plain(const char *s)
{
	for (const char *p = s; *p != '\0'; p++)
		if (*p <= ' ' || *p == '"' || *p == '\\' || *p == 0x7f)
			return false;
	return *s != '\0';
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
	for (unsigned i = 0; i < cfg_size(sec, "rooms"); i++) {
		const char *room = cfg_getnstr(sec, "rooms", i);

		if (is_plain(room))
			continue;
		cfg_error(cfg,
		    "retention %s: \"%s\" is neither a room's URI nor its id",
		    name, room);
		return -1;
	}
	return 0;
}

/* A room is named by its URI, or by the id at the URI's end. */
static char *
room_uri(const struct conf *c, const char *name)
{
	struct buf b;
	size_t len;

	buf_init(&b);
	if (strchr(name, ':') == NULL)
		buf_printf(&b, "ma-chan://%s/", c->domain);
	buf_put_text(&b, name);
	buf_put_u8(&b, '\0');
	return (char *)buf_take(&b, &len);
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

bool
conf_retention_take(struct conf *c, cfg_t *cfg)
{
	unsigned count = cfg_size(cfg, "retention");

	if (!take_officers(c, cfg))
		return false;
	c->retentions = calloc(count + 1, sizeof *c->retentions);
	if (c->retentions == NULL)
		return false;
	for (unsigned i = 0; i < count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "retention", i);
		struct conf_retention *r = &c->retentions[c->retention_count++];
		unsigned rooms = cfg_size(sec, "rooms");

		r->name = strdup(cfg_title(sec));
		r->rooms = calloc(rooms + 1, sizeof *r->rooms);
		if (r->name == NULL || r->rooms == NULL)
			return false;
		for (unsigned k = 0; k < rooms; k++) {
			char *uri = room_uri(c, cfg_getnstr(sec, "rooms", k));

			if (uri == NULL)
				return false;
			r->rooms[r->room_count++] = uri;
		}
		for (unsigned k = 0; k < cfg_size(sec, "kinds"); k++)
			r->kinds |= 1U << kind_of(cfg_getnstr(sec, "kinds", k));
		r->after_s = cfg_getint(sec, "after-s");
		r->line = sec->line;
	}
	return true;
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
