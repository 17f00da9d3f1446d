#include "server/xccos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>

#include "base/text.h"

/* Names of a hostile client stay in the dictionary: it is renewed in time. */
#define DICT_NAMES_MAX 2000
#define KEPT_BYTES_MAX (256U << 10)
#define ID_MAX 32
#define NAME_MAX_LEN 64

enum element {
	AT_TOP,
	AT_XCCOS,
	AT_CMD,
	AT_GRPCHAT,
	AT_DATA,
	AT_CHAT,
	AT_CHANID,
	AT_CHANIB,
	AT_QIB,
	AT_BCQ,
	AT_LAST,
	AT_SIB,
	AT_ASSOCIATION,
	AT_OTHER,
};

enum field {
	FIELD_ENVID,
	FIELD_ID,
	FIELD_SEQID,
	FIELD_POST_ROOM,
	FIELD_TEXT,
	FIELD_ROOM,
	FIELD_LAST,
	FIELD_QTYPE,
	FIELD_CRITERIA,
	FIELD_EXTENDED,
	FIELD_INFO_TYPE,
	FIELD_ASSOCIATION,
	FIELD_MAX_RESULTS,
	FIELD_DOMAIN, /* of the chanid being read */
	FIELD_VALUE,
	FIELD_COUNT,
};

static const struct {
	enum element parent;
	const char *name;
	enum element element;
	bool repeats;
} elements[] = {
    {AT_TOP, "xccos", AT_XCCOS, false},
    {AT_XCCOS, "cmd", AT_CMD, false},
    {AT_XCCOS, "grpchat", AT_GRPCHAT, false},
    {AT_CMD, "data", AT_DATA, false},
    {AT_GRPCHAT, "chat", AT_CHAT, false},
    {AT_DATA, "chanid", AT_CHANID, true},
    {AT_DATA, "chanib", AT_CHANIB, false},
    {AT_DATA, "qib", AT_QIB, false},
    {AT_DATA, "bcq", AT_BCQ, false},
    {AT_DATA, "sib", AT_SIB, false},
    {AT_DATA, "association", AT_ASSOCIATION, false},
    {AT_BCQ, "last", AT_LAST, false},
};

static const struct {
	enum element element;
	const char *name;
	enum field field;
} attributes[] = {
    {AT_XCCOS, "envid", FIELD_ENVID},
    {AT_CMD, "id", FIELD_ID},
    {AT_CMD, "seqid", FIELD_SEQID},
    {AT_GRPCHAT, "id", FIELD_ID},
    {AT_GRPCHAT, "seqid", FIELD_SEQID},
    {AT_GRPCHAT, "chanUri", FIELD_POST_ROOM},
    {AT_CHANID, "domain", FIELD_DOMAIN},
    {AT_CHANID, "value", FIELD_VALUE},
    {AT_CHANIB, "uri", FIELD_ROOM},
    {AT_QIB, "qtype", FIELD_QTYPE},
    {AT_QIB, "criteria", FIELD_CRITERIA},
    {AT_QIB, "extended", FIELD_EXTENDED},
    {AT_LAST, "cnt", FIELD_LAST},
    {AT_SIB, "infoType", FIELD_INFO_TYPE},
    {AT_ASSOCIATION, "type", FIELD_ASSOCIATION},
    {AT_ASSOCIATION, "maxResults", FIELD_MAX_RESULTS},
};

static const struct {
	const char *name;
	enum xccos_verb verb;
} verbs[] = {
    {"requri", XCCOS_REQURI},
    {"getserverinfo", XCCOS_GETSERVERINFO},
    {"getassociations", XCCOS_GETASSOCIATIONS},
    {"getinv", XCCOS_GETINV},
    {"chansrch", XCCOS_CHANSRCH},
    {"join", XCCOS_JOIN},
    {"bjoin", XCCOS_BJOIN},
    {"part", XCCOS_PART},
    {"bccontext", XCCOS_BCCONTEXT},
    {"getpref", XCCOS_GETPREF},
    {"setpref", XCCOS_SETPREF},
};

/* A piece of the text collected so far; the buffer may still move. */
struct span {
	size_t at;
	size_t n;
	bool given;
};

struct chanid_spans {
	struct span domain;
	struct span value;
};

struct xccos {
	xmlParserCtxtPtr ctxt;
	struct buf text;
	struct span fields[FIELD_COUNT];
	struct chanid_spans *chanid_spans;
	struct xccos_chanid *chanids;
	size_t chanid_count;
	enum element stack[XCCOS_DEPTH_MAX];
	unsigned depth;
	unsigned element_count;
	unsigned seen; /* bit per enum element */
	bool other_query;
	bool bad;
	char why[160];
};

static void
refuse(struct xccos *x, const char *why)
{
	if (!x->bad) {
		x->bad = true;
		(void)snprintf(x->why, sizeof x->why, "%s", why);
	}
	xmlStopParser(x->ctxt);
}

static void
add_text(struct xccos *x, enum field field, const xmlChar *p, size_t n)
{
	struct span *s = &x->fields[field];

	if (!s->given)
		*s = (struct span){.at = x->text.len, .given = true};
	buf_put(&x->text, p, n);
	s->n += n;
}

static enum element
element_of(const struct xccos *x, const xmlChar *name, const xmlChar *uri,
    bool *repeats)
{
	enum element parent = x->depth == 0 ? AT_TOP : x->stack[x->depth - 1];

	if (uri == NULL || strcmp((const char *)uri, XCCOS_NAMESPACE) != 0)
		return AT_OTHER;
	for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
		if (elements[i].parent != parent ||
		    strcmp(elements[i].name, (const char *)name) != 0)
			continue;
		*repeats = elements[i].repeats;
		return elements[i].element;
	}
	return AT_OTHER;
}

/* False when the element may not stand here. */
static bool
check_place(struct xccos *x, enum element e, bool repeats)
{
	enum element parent = x->depth == 0 ? AT_TOP : x->stack[x->depth - 1];
	unsigned bit = 1U << e;

	if (x->depth == XCCOS_DEPTH_MAX)
		refuse(x, "The body is nested too deep");
	else if (++x->element_count > XCCOS_ELEMENTS_MAX)
		refuse(x, "The body has too many elements");
	else if (parent == AT_TOP && e != AT_XCCOS)
		refuse(x, "The body is not an xccos document");
	else if (parent == AT_CHAT)
		refuse(x, "A message may hold only text");
	else if (e != AT_OTHER && !repeats && (x->seen & bit) != 0)
		refuse(x, "The body holds an element more than once");
	else if ((e == AT_CMD && (x->seen & 1U << AT_GRPCHAT) != 0) ||
	    (e == AT_GRPCHAT && (x->seen & 1U << AT_CMD) != 0))
		refuse(x, "The body holds more than one command or message");
	else if (e == AT_CHANID && x->chanid_count == XCCOS_CHANIDS_MAX)
		refuse(x, "The command names too many rooms");
	if (x->bad)
		return false;
	x->seen |= bit;
	if (parent == AT_BCQ && e != AT_LAST)
		x->other_query = true;
	return true;
}

static void
add_attribute(struct xccos *x, enum element e, const xmlChar **a)
{
	const char *name = (const char *)a[0];

	if (a[1] != NULL)
		return;
	for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
		if (attributes[i].element == e &&
		    strcmp(attributes[i].name, name) == 0)
			add_text(x, attributes[i].field, a[3],
			    (size_t)(a[4] - a[3]));
}

static bool
add_chanid(struct xccos *x)
{
	struct span *domain = &x->fields[FIELD_DOMAIN];
	struct span *value = &x->fields[FIELD_VALUE];

	if (x->chanid_spans == NULL) {
		x->chanid_spans =
		    calloc(XCCOS_CHANIDS_MAX, sizeof *x->chanid_spans);
		x->chanids = calloc(XCCOS_CHANIDS_MAX, sizeof *x->chanids);
	}
	if (x->chanid_spans == NULL || x->chanids == NULL)
		return false;
	x->chanid_spans[x->chanid_count++] =
	    (struct chanid_spans){.domain = *domain, .value = *value};
	*domain = *value = (struct span){0};
	return true;
}

static void
on_start(void *arg, const xmlChar *name, const xmlChar *prefix,
    const xmlChar *uri, int nb_namespaces, const xmlChar **namespaces,
    int nb_attributes, int nb_defaulted, const xmlChar **attrs)
{
	struct xccos *x = arg;
	bool repeats = false;
	enum element e;

	(void)prefix;
	(void)nb_namespaces;
	(void)namespaces;
	(void)nb_defaulted;
	if (x->bad)
		return;
	e = element_of(x, name, uri, &repeats);
	if (!check_place(x, e, repeats))
		return;
	if (nb_attributes > XCCOS_ATTRIBUTES_MAX) {
		refuse(x, "An element has too many attributes");
		return;
	}
	x->stack[x->depth++] = e;
	for (int i = 0; i < nb_attributes; i++)
		add_attribute(x, e, attrs + 5 * i);
	if (e == AT_CHANID && !add_chanid(x))
		x->text.failed = true;
	if (e == AT_CHAT)
		add_text(x, FIELD_TEXT, NULL, 0);
}

static void
on_end(
    void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct xccos *x = arg;

	(void)name;
	(void)prefix;
	(void)uri;
	if (!x->bad && x->depth > 0)
		x->depth--;
}

static void
on_text(void *arg, const xmlChar *p, int n)
{
	struct xccos *x = arg;

	if (!x->bad && x->depth > 0 && x->stack[x->depth - 1] == AT_CHAT)
		add_text(x, FIELD_TEXT, p, (size_t)n);
}

static void
on_dtd(void *arg, const xmlChar *name, const xmlChar *external,
    const xmlChar *system)
{
	(void)name;
	(void)external;
	(void)system;
	refuse(arg, "The body has a document type, which is not allowed");
}

/* libxml2's words may repeat the body's bytes: only printable ASCII stays. */
static void
on_error(void *arg, xmlErrorPtr error)
{
	struct xccos *x = arg;
	size_t n;

	if (x->bad || error->level < XML_ERR_ERROR)
		return;
	x->bad = true;
	(void)snprintf(x->why, sizeof x->why, "The body is not XML: %s",
	    error->message != NULL ? error->message : "unknown error");
	n = strlen(x->why);
	while (n > 0 && x->why[n - 1] == '\n')
		x->why[--n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (x->why[i] < 0x20 || x->why[i] > 0x7e)
			x->why[i] = '?';
}

static xmlSAXHandler handler = {
    .startElementNs = on_start,
    .endElementNs = on_end,
    .characters = on_text,
    .ignorableWhitespace = on_text,
    .cdataBlock = on_text,
    .internalSubset = on_dtd,
    .serror = on_error,
    .initialized = XML_SAX2_MAGIC,
};

static const struct {
	const char *open;
	const char *close;
} sections[] = {
    {"!--", "-->"},
    {"![CDATA[", "]]>"},
    {"?", "?>"},
};

/* Behind a comment, CDATA section or instruction that starts at p. */
static const uint8_t *
skip_section(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *close;

	for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
		size_t n = strlen(sections[i].open);

		if ((size_t)(end - p) < n ||
		    memcmp(p, sections[i].open, n) != 0)
			continue;
		close = memmem(p + n, (size_t)(end - p) - n, sections[i].close,
		    strlen(sections[i].close));
		return close == NULL ? end : close + strlen(sections[i].close);
	}
	return p;
}

/*
 * libxml2 compares each attribute of an element with all others before it
 * calls us: too many quotes in one tag are refused beforehand.
 */
static bool
too_many_attributes(struct view body)
{
	const uint8_t *p = body.p, *end = body.p + body.n, *after;

	while (p < end && (p = memchr(p, '<', (size_t)(end - p))) != NULL) {
		unsigned values = 0;

		after = skip_section(++p, end);
		if (after != p) {
			p = after;
			continue;
		}
		for (; p < end && *p != '>'; p++) {
			if (*p != '"' && *p != '\'')
				continue;
			/* Namespace declarations count as well. */
			if (++values > 2 * XCCOS_ATTRIBUTES_MAX)
				return true;
			p = memchr(p + 1, *p, (size_t)(end - p - 1));
			if (p == NULL)
				return false;
		}
	}
	return false;
}

struct xccos *
xccos_new(void)
{
	struct xccos *x = calloc(1, sizeof *x);

	if (x != NULL)
		xmlInitParser();
	return x;
}

void
xccos_free(struct xccos *x)
{
	if (x == NULL)
		return;
	xmlFreeParserCtxt(x->ctxt);
	buf_release(&x->text);
	free(x->chanid_spans);
	free(x->chanids);
	free(x);
}

/* A context without what an earlier body left in it; false: no memory. */
static bool
prepare(struct xccos *x)
{
	if (x->ctxt != NULL && xmlDictSize(x->ctxt->dict) > DICT_NAMES_MAX) {
		xmlFreeParserCtxt(x->ctxt);
		x->ctxt = NULL;
	}
	if (x->text.cap > KEPT_BYTES_MAX)
		buf_release(&x->text);
	buf_clear(&x->text);
	memset(x->fields, 0, sizeof x->fields);
	x->chanid_count = 0;
	x->depth = x->element_count = x->seen = 0;
	x->other_query = x->bad = false;
	x->why[0] = '\0';
	if (x->ctxt == NULL)
		x->ctxt = xmlCreatePushParserCtxt(&handler, x, NULL, 0, NULL);
	if (x->ctxt == NULL ||
	    xmlCtxtResetPush(x->ctxt, NULL, 0, NULL, "UTF-8") != 0)
		return false;
	/* NOENT makes attributes arrive decoded; no entity can be declared. */
	return xmlCtxtUseOptions(x->ctxt,
		   XML_PARSE_NOENT | XML_PARSE_NONET | XML_PARSE_IGNORE_ENC) ==
	    0;
}

static struct view
view_at(const struct xccos *x, struct span s)
{
	if (!s.given)
		return (struct view){0};
	if (s.n == 0)
		return view_of("", 0);
	return view_of(x->text.data + s.at, s.n);
}

static bool
is_plain(struct view v, size_t max)
{
	if (v.n == 0 || v.n > max)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= 0x20 || v.p[i] > 0x7e)
			return false;
	return true;
}

/* An envelope's or element's number, repeated in the reply. */
static bool
take_id(const struct xccos *x, enum field field, const char *absent,
    struct view *out)
{
	*out = view_at(x, x->fields[field]);
	if (out->p == NULL)
		*out = view_text(absent);
	return is_plain(*out, ID_MAX);
}

static const char *
take_verb(const struct xccos *x, struct xccos_body *out)
{
	struct view id = view_at(x, x->fields[FIELD_ID]);

	if ((x->seen & 1U << AT_GRPCHAT) != 0) {
		out->verb = XCCOS_POST;
		return id.p == NULL || view_is_nocase(id, "grpchat")
		    ? NULL
		    : "The message has a wrong id";
	}
	if ((x->seen & 1U << AT_CMD) == 0)
		return "The body holds no command and no message";
	if (id.n <= 4 || !view_is_nocase(view_of(id.p, 4), "cmd:") ||
	    !is_plain(id, NAME_MAX_LEN))
		return "The command has no name";
	out->name = view_of(id.p + 4, id.n - 4);
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (view_is_nocase(out->name, verbs[i].name)) {
			out->name = view_text(verbs[i].name);
			out->verb = verbs[i].verb;
		}
	}
	return NULL;
}

static const char *
collect(struct xccos *x, struct xccos_body *out)
{
	const char *why;

	*out = (struct xccos_body){.verb = XCCOS_UNKNOWN};
	why = take_verb(x, out);
	if (why != NULL)
		return why;
	if (!take_id(x, FIELD_ENVID, "0", &out->envid) ||
	    !take_id(x, FIELD_SEQID, "1", &out->seqid))
		return "The envid or seqid is not a number";
	out->post_room = view_at(x, x->fields[FIELD_POST_ROOM]);
	out->text = view_at(x, x->fields[FIELD_TEXT]);
	out->room = view_at(x, x->fields[FIELD_ROOM]);
	out->last = view_at(x, x->fields[FIELD_LAST]);
	out->other_query = x->other_query;
	out->qtype = view_at(x, x->fields[FIELD_QTYPE]);
	out->criteria = view_at(x, x->fields[FIELD_CRITERIA]);
	out->extended = view_at(x, x->fields[FIELD_EXTENDED]);
	out->info_type = view_at(x, x->fields[FIELD_INFO_TYPE]);
	out->association = view_at(x, x->fields[FIELD_ASSOCIATION]);
	out->max_results = view_at(x, x->fields[FIELD_MAX_RESULTS]);
	for (size_t i = 0; i < x->chanid_count; i++) {
		x->chanids[i].domain = view_at(x, x->chanid_spans[i].domain);
		x->chanids[i].value = view_at(x, x->chanid_spans[i].value);
	}
	out->chanids = x->chanids;
	out->chanid_count = x->chanid_count;
	return NULL;
}

enum xccos_verdict
xccos_parse(
    struct xccos *x, struct view body, struct xccos_body *out, const char **why)
{
	if (body.n == 0 || body.n > INT32_MAX) {
		*why =
		    body.n == 0 ? "The body is empty" : "The body is too long";
		return XCCOS_BAD;
	}
	if (!text_utf8_valid(body)) {
		*why = "The body is not UTF-8 text";
		return XCCOS_BAD;
	}
	if (too_many_attributes(body)) {
		*why = "An element has too many attributes";
		return XCCOS_BAD;
	}
	if (!prepare(x))
		return XCCOS_MEMORY;
	/* The result is in wellFormed; a refusal of ours stops it early. */
	(void)xmlParseChunk(x->ctxt, (const char *)body.p, (int)body.n, 1);
	if (x->text.failed || x->ctxt->errNo == XML_ERR_NO_MEMORY)
		return XCCOS_MEMORY;
	*why = x->why;
	if (x->bad)
		return XCCOS_BAD;
	if (!x->ctxt->wellFormed || x->depth != 0) {
		*why = "The body is not XML";
		return XCCOS_BAD;
	}
	*why = collect(x, out);
	return *why == NULL ? XCCOS_OK : XCCOS_BAD;
}
