#include "server/head.h"

#include <string.h>
#include <strings.h>

#include "base/text.h"

#define CSEQ_MAX 0x7fffffffU

static const struct {
	const char *name;
	uint8_t len;
	uint8_t id;
} names[] = {
#define NAME(text, id)                                                         \
	{                                                                      \
		text, sizeof(text) - 1, id                                     \
	}
    NAME("Via", HEAD_VIA),
    NAME("v", HEAD_VIA),
    NAME("From", HEAD_FROM),
    NAME("f", HEAD_FROM),
    NAME("To", HEAD_TO),
    NAME("t", HEAD_TO),
    NAME("Call-ID", HEAD_CALL_ID),
    NAME("i", HEAD_CALL_ID),
    NAME("CSeq", HEAD_CSEQ),
    NAME("Contact", HEAD_CONTACT),
    NAME("m", HEAD_CONTACT),
    NAME("Content-Length", HEAD_CONTENT_LENGTH),
    NAME("l", HEAD_CONTENT_LENGTH),
    NAME("Content-Type", HEAD_CONTENT_TYPE),
    NAME("c", HEAD_CONTENT_TYPE),
    NAME("Content-Encoding", HEAD_CONTENT_ENCODING),
    NAME("e", HEAD_CONTENT_ENCODING),
    NAME("Event", HEAD_EVENT),
    NAME("o", HEAD_EVENT),
    NAME("Expires", HEAD_EXPIRES),
    NAME("Max-Forwards", HEAD_MAX_FORWARDS),
    NAME("Min-SE", HEAD_MIN_SE),
    NAME("ms-keep-alive", HEAD_KEEP_ALIVE),
    NAME("Proxy-Authorization", HEAD_PROXY_AUTHORIZATION),
    NAME("Record-Route", HEAD_RECORD_ROUTE),
    NAME("Require", HEAD_REQUIRE),
    NAME("Session-Expires", HEAD_SESSION_EXPIRES),
    NAME("x", HEAD_SESSION_EXPIRES),
    NAME("Supported", HEAD_SUPPORTED),
    NAME("k", HEAD_SUPPORTED),
#undef NAME
};

/* Fields that a message must have once and may not have twice. */
static const struct {
	enum head_id id;
	const char *missing, *twice;
} single[] = {
    {HEAD_FROM, "missing From", "more than one From"},
    {HEAD_TO, "missing To", "more than one To"},
    {HEAD_CALL_ID, "missing Call-ID", "more than one Call-ID"},
    {HEAD_CSEQ, "missing CSeq", "more than one CSeq"},
    {HEAD_CONTENT_TYPE, NULL, "more than one Content-Type"},
    {HEAD_MAX_FORWARDS, NULL, "more than one Max-Forwards"},
    {HEAD_EXPIRES, NULL, "more than one Expires"},
    {HEAD_EVENT, NULL, "more than one Event"},
    {HEAD_SESSION_EXPIRES, NULL, "more than one Session-Expires"},
    {HEAD_MIN_SE, NULL, "more than one Min-SE"},
};

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* token of RFC 3261 section 25.1 */
static bool
is_token(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') ||
	    (c != 0 && strchr("-.!%*_+`'~", c) != NULL);
}

static bool
all_token(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!is_token(v.p[i]))
			return false;
	return v.n > 0;
}

static struct view
trim(struct view v)
{
	while (v.n > 0 && is_blank(v.p[0])) {
		v.p++;
		v.n--;
	}
	while (v.n > 0 && is_blank(v.p[v.n - 1]))
		v.n--;
	return v;
}

static struct view
before(struct view v, uint8_t c)
{
	const uint8_t *at = v.n == 0 ? NULL : memchr(v.p, c, v.n);

	return at == NULL ? v : view_of(v.p, (size_t)(at - v.p));
}

static struct view
after(struct view v, size_t n)
{
	return view_of(v.p + n, v.n - n);
}

enum head_frame
head_frame(struct view in, size_t *scanned, size_t *used)
{
	size_t at = *scanned;

	if (in.n == 0)
		return HEAD_FRAME_MORE;
	if (in.p[0] == '\n' || in.p[0] == '\r') {
		if (in.n == 1 && in.p[0] == '\r')
			return HEAD_FRAME_MORE;
		*used = in.p[0] == '\r' && in.p[1] == '\n' ? 2 : 1;
		return HEAD_FRAME_BLANK;
	}
	for (;;) {
		const uint8_t *lf = memchr(in.p + at, '\n', in.n - at);
		size_t next;

		if (lf == NULL) {
			*scanned = in.n;
			return HEAD_FRAME_MORE;
		}
		next = (size_t)(lf - in.p) + 1;
		if (next < in.n && in.p[next] == '\n') {
			*used = next + 1;
			return HEAD_FRAME_HEAD;
		}
		if (next + 1 < in.n && in.p[next] == '\r' &&
		    in.p[next + 1] == '\n') {
			*used = next + 2;
			return HEAD_FRAME_HEAD;
		}
		if (next + 1 >= in.n) {
			*scanned = next - 1;
			return HEAD_FRAME_MORE;
		}
		at = next;
	}
}

static enum head_id
id_of(struct view name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].len == name.n &&
		    ((uint8_t)names[i].name[0] | 0x20) == (name.p[0] | 0x20) &&
		    strncasecmp(names[i].name, (const char *)name.p, name.n) ==
			0)
			return names[i].id;
	return HEAD_OTHER;
}

/* The first line is what a bad message is answered by, so notes go last. */
static void
note(const char **why, const char *text)
{
	if (*why == NULL)
		*why = text;
}

static void
scan_status_line(struct view line, struct head *out, const char **why)
{
	struct view code =
	    line.n >= 12 ? view_of(line.p + 8, 3) : view_of("", 0);
	uint64_t status;

	out->response = true;
	if (line.n < 12 || !view_to_u64(code, &status) || status < 100 ||
	    status > 699 || line.p[11] != ' ')
		note(why, "bad status line");
	else
		out->status = (unsigned)status;
}

static void
scan_start_line(
    struct view line, struct head *out, unsigned *status, const char **why)
{
	struct view version;

	if (line.n >= 8 &&
	    strncasecmp((const char *)line.p, "SIP/2.0 ", 8) == 0) {
		scan_status_line(line, out, why);
		return;
	}
	out->method = before(line, ' ');
	if (out->method.n == line.n || !all_token(out->method)) {
		note(why, "bad request line");
		return;
	}
	out->uri = before(after(line, out->method.n + 1), ' ');
	if (out->method.n + 1 + out->uri.n >= line.n || out->uri.n == 0) {
		note(why, "bad request line");
		return;
	}
	version = after(line, out->method.n + out->uri.n + 2);
	if (version.n < 5 ||
	    strncasecmp((const char *)version.p, "SIP/", 4) != 0 ||
	    memchr(version.p, ' ', version.n) != NULL) {
		note(why, "bad request line");
	} else if (!view_is_nocase(version, "SIP/2.0")) {
		if (*why == NULL)
			*status = 505;
		note(why, "Version Not Supported");
	}
}

/*
 * True when none of eight bytes needs a look of its own: all are printable
 * ASCII. A borrow can make it say no too often, never yes.
 */
static bool
all_plain(const uint8_t p[8])
{
	const uint64_t ones = 0x0101010101010101ULL;
	uint64_t below_space, minus_delete, w;

	memcpy(&w, p, sizeof w);
	below_space = w - ones * 0x20;
	minus_delete = (w ^ ones * 0x7f) - ones;
	return ((below_space | minus_delete | w) & ones * 0x80) == 0;
}

/*
 * Joins continuation lines. Bytes that no header may hold are reported, and
 * masked so that an answer can repeat what is around them.
 */
static const char *
unfold(uint8_t *p, size_t n)
{
	const char *why = NULL;
	bool ascii = true;

	for (size_t i = 0; i < n; i++) {
		while (n - i >= 8 && all_plain(p + i))
			i += 8;
		if (i == n)
			break;
		if (p[i] >= 0x80) {
			ascii = false;
		} else if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') {
			if (i + 2 < n && is_blank(p[i + 2]))
				p[i] = p[i + 1] = ' ';
			else
				i++;
		} else if (p[i] == '\n') {
			note(&why, "line without carriage return");
		} else if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f) {
			note(&why, "control character in header");
			p[i] = '?';
		}
	}
	if (ascii || text_utf8_valid(view_of(p, n)))
		return why;
	for (size_t i = 0; i < n; i++)
		if (p[i] >= 0x80)
			p[i] = '?';
	return "header is not UTF-8";
}

static void
add_field(struct view line, unsigned fields, struct head *out, const char **why)
{
	struct head_field *f = &out->field[out->count];

	if (out->count >= fields || out->count >= HEAD_FIELDS_MAX) {
		note(why, "too many header fields");
		return;
	}
	f->name = before(line, ':');
	if (f->name.n == line.n) {
		note(why, "header line without colon");
		return;
	}
	f->value = trim(after(line, f->name.n + 1));
	f->name = trim(f->name);
	if (!all_token(f->name)) {
		note(why, "bad header name");
		return;
	}
	f->id = id_of(f->name);
	out->count++;
	if (f->id != HEAD_OTHER && out->first[f->id] == 0)
		out->first[f->id] = (uint16_t)out->count;
}

/* False when the end of the message cannot be known. */
static bool
scan_content_length(struct head *out, const char **why)
{
	uint64_t length = 0, other;
	struct view v;
	size_t at = 0;

	while (head_each(out, HEAD_CONTENT_LENGTH, &at, &v)) {
		/* RFC 3261 has 1*DIGIT: leading zeros are fine. */
		while (v.n > 1 && v.p[0] == '0')
			v = after(v, 1);
		if (!view_to_u64(v, &other) || other > SIZE_MAX / 2) {
			*why = "bad Content-Length";
			return false;
		}
		if (out->has_content_length && other != length) {
			*why = "Content-Lengths that differ";
			return false;
		}
		if (out->has_content_length)
			note(why, "more than one Content-Length");
		length = other;
		out->has_content_length = true;
	}
	out->content_length = (size_t)length;
	return true;
}

static void
scan_cseq(struct head *out, const char **why)
{
	struct view v = head_get(out, HEAD_CSEQ), digits = v;
	uint64_t number;

	for (digits.n = 0; digits.n < v.n && digits.p[digits.n] >= '0' &&
	     digits.p[digits.n] <= '9';)
		digits.n++;
	out->cseq_method = trim(after(v, digits.n));
	if (digits.n < v.n && !is_blank(v.p[digits.n]))
		digits.n = 0;
	while (digits.n > 1 && digits.p[0] == '0')
		digits = after(digits, 1);
	if (!view_to_u64(digits, &number) || number > CSEQ_MAX ||
	    !all_token(out->cseq_method)) {
		note(why, "bad CSeq");
		return;
	}
	out->cseq = (uint32_t)number;
	if (!out->response &&
	    (out->cseq_method.n != out->method.n ||
		memcmp(out->cseq_method.p, out->method.p, out->method.n) != 0))
		note(why, "CSeq method does not match the request");
}

/*
 * Length of v up to the first c that is not within quotes or <>; *open tells
 * whether one of these was still open at the end.
 */
static size_t
span(struct view v, uint8_t c, bool *open)
{
	bool quoted = false, angle = false;
	size_t i;

	for (i = 0; i < v.n; i++) {
		if (quoted && v.p[i] == '\\')
			i++;
		else if (v.p[i] == '"')
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (v.p[i] == '<')
			angle = true;
		else if (v.p[i] == '>')
			angle = false;
		else if (v.p[i] == c && !angle)
			break;
	}
	*open = quoted || angle;
	return i < v.n ? i : v.n;
}

static size_t
span_to(struct view v, uint8_t c)
{
	bool open;

	return span(v, c, &open);
}

/* Parameters that are added to such a value would not be seen as such. */
static bool
is_open(struct view v)
{
	bool open;

	/* No header has a line end: the whole value is looked at. */
	(void)span(v, '\n', &open);
	return open;
}

static void
check_fields(struct head *out, const char **why)
{
	unsigned seen[HEAD_ID_COUNT] = {0};

	for (size_t i = 0; i < out->count; i++)
		seen[out->field[i].id]++;
	if (seen[HEAD_VIA] == 0)
		note(why, "missing Via");
	if (is_open(head_get(out, HEAD_FROM)))
		note(why, "quote or bracket without end in From");
	if (is_open(head_get(out, HEAD_TO)))
		note(why, "quote or bracket without end in To");
	for (size_t i = 0; i < sizeof(single) / sizeof(*single); i++) {
		unsigned times = seen[single[i].id];

		if (times == 0 && single[i].missing != NULL)
			note(why, single[i].missing);
		else if (times > 1)
			note(why, single[i].twice);
		else if (times == 1 && single[i].missing != NULL &&
		    head_get(out, single[i].id).n == 0)
			note(why, single[i].missing);
	}
}

enum head_verdict
head_scan(uint8_t *p, size_t n, unsigned fields, struct head *out,
    unsigned *status, const char **why)
{
	struct view rest = view_of(p, n);
	bool first = true;

	out->response = false;
	out->method = out->uri = out->cseq_method = out->body = view_of("", 0);
	out->status = out->cseq = 0;
	out->count = out->content_length = 0;
	out->has_content_length = false;
	memset(out->first, 0, sizeof(out->first));
	*status = 400;
	*why = unfold(p, n);
	while (rest.n > 0) {
		struct view line = before(rest, '\n');

		rest = after(rest, line.n + (line.n < rest.n));
		while (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0)
			break;
		if (first)
			scan_start_line(line, out, status, why);
		else
			add_field(line, fields, out, why);
		first = false;
	}
	if (!scan_content_length(out, why))
		return HEAD_BROKEN;
	check_fields(out, why);
	scan_cseq(out, why);
	return *why == NULL ? HEAD_OK : HEAD_BAD;
}

bool
head_has(const struct head *h, enum head_id id)
{
	return h->first[id] != 0;
}

struct view
head_get(const struct head *h, enum head_id id)
{
	return head_has(h, id) ? h->field[h->first[id] - 1].value
			       : view_of("", 0);
}

bool
head_each(const struct head *h, enum head_id id, size_t *at, struct view *value)
{
	if (*at == 0 && h->first[id] != 0)
		*at = h->first[id] - 1U;
	for (; h->first[id] != 0 && *at < h->count; (*at)++) {
		if (h->field[*at].id == id) {
			*value = h->field[(*at)++].value;
			return true;
		}
	}
	return false;
}

bool
head_item(struct view *list, struct view *item)
{
	while (list->n > 0) {
		size_t n = span_to(*list, ',');

		*item = trim(view_of(list->p, n));
		*list = after(*list, n + (n < list->n));
		if (item->n > 0)
			return true;
	}
	return false;
}

bool
head_lists(const struct head *h, enum head_id id, const char *token)
{
	struct view list, item;
	size_t at = 0;

	while (head_each(h, id, &at, &list))
		while (head_item(&list, &item))
			if (view_is_nocase(item, token))
				return true;
	return false;
}

bool
head_param(struct view value, const char *name, struct view *out)
{
	size_t n = span_to(value, ';');

	while (n < value.n) {
		struct view param, key;

		value = after(value, n + 1);
		n = span_to(value, ';');
		param = view_of(value.p, n);
		key = before(param, '=');
		*out = key.n < param.n ? trim(after(param, key.n + 1))
				       : view_of("", 0);
		if (view_is_nocase(trim(key), name))
			return true;
	}
	return false;
}

struct view
head_addr(struct view value)
{
	size_t open = 0;
	bool quoted = false;

	for (; open < value.n; open++) {
		if (quoted && value.p[open] == '\\')
			open++;
		else if (value.p[open] == '"')
			quoted = !quoted;
		else if (!quoted && value.p[open] == '<')
			break;
	}
	if (open >= value.n)
		return head_bare(value);
	return before(after(value, open + 1), '>');
}

struct view
head_bare(struct view value)
{
	return trim(view_of(value.p, span_to(value, ';')));
}
