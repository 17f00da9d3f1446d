#include "export/verify_json.h"

#include <endian.h>
#include <jansson.h>
#include <string.h>

#include "base/text.h"

#define DEPTH_MAX 32
#define NUMBER_UNSURE 19 /* bytes of a number that may be beyond its type */

struct scan {
	const uint8_t *p;
	const uint8_t *end;
	struct verify_json *out;
	const char *why;
	bool high;  /* a byte above ASCII was met */
	bool doubt; /* so was what may stand for no value */
};

static bool value(struct scan *s, unsigned depth, struct view *text);

static bool
fail(struct scan *s, const char *why)
{
	s->why = why;
	return false;
}

static bool
take(struct scan *s, uint8_t c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool
is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
	    (c >= 'A' && c <= 'F');
}

/* The top bit of each byte of w that ends a run of plain ASCII. */
static uint64_t
stops(uint64_t w)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');

	return (w | (w - ones * 0x20) | ((quote - ones) & ~quote) |
		   ((slash - ones) & ~slash)) &
	    (ones << 7);
}

/*
 * Length of the run of plain ASCII at p: no quote, no backslash, no control
 * character, nothing above 0x7f. Eight bytes at a time; in stops() a borrow
 * can only mark bytes behind a true stop, so the lowest mark is one.
 */
static size_t
plain_run(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *start = p;
	uint64_t w, found;

	for (; end - p >= 8; p += 8) {
		memcpy(&w, p, 8);
		found = stops(le64toh(w));
		if (found != 0)
			return (size_t)(p - start) +
			    (size_t)__builtin_ctzll(found) / 8;
	}
	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return (size_t)(p - start);
}

static bool
escape(struct scan *s)
{
	static const char simple[] = "\"\\/bfnrt";

	s->p++;
	if (s->p == s->end)
		return false;
	if (memchr(simple, *s->p, sizeof(simple) - 1) != NULL) {
		s->p++;
		return true;
	}
	if (*s->p != 'u' || s->end - s->p < 5)
		return false;
	for (int i = 1; i <= 4; i++)
		if (!is_hex(s->p[i]))
			return false;
	s->p += 5;
	s->doubt = true;
	return true;
}

static bool
string(struct scan *s, struct view *inside)
{
	const uint8_t *start;

	if (!take(s, '"'))
		return fail(s, "string expected");
	start = s->p;
	for (;;) {
		s->p += plain_run(s->p, s->end);
		if (s->p == s->end || *s->p == '"')
			break;
		if (*s->p < 0x20)
			return fail(s, "control character in a string");
		if (*s->p >= 0x80) {
			s->high = true;
			s->p++;
		} else if (!escape(s)) {
			return fail(s, "bad escape in a string");
		}
	}
	*inside = view_of(start, (size_t)(s->p - start));
	return take(s, '"') || fail(s, "string does not end");
}

static bool
digits(struct scan *s)
{
	const uint8_t *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > start;
}

static bool
number(struct scan *s)
{
	const uint8_t *start = s->p;

	(void)take(s, '-'); /* optional */
	if (!take(s, '0') && !digits(s))
		return fail(s, "value expected");
	if (take(s, '.') && !digits(s))
		return fail(s, "bad number");
	if (take(s, 'e') || take(s, 'E')) {
		s->doubt = true;
		if (!take(s, '+'))
			(void)take(s, '-'); /* optional */
		if (!digits(s))
			return fail(s, "bad number");
	}
	if (s->p - start >= NUMBER_UNSURE)
		s->doubt = true;
	return true;
}

static bool
word(struct scan *s, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
		return fail(s, "value expected");
	s->p += n;
	return true;
}

/* Keeps a member of the outermost object; false when it came before. */
static bool
keep(struct scan *s, struct view name, struct view v)
{
	struct verify_json *out = s->out;
	struct view *slot = NULL;

	switch (name.n) {
	case 1:
		if (name.p[0] == 'v') {
			if (out->version)
				return fail(s, "member given twice");
			out->version = true;
			out->version_1 = v.n == 1 && v.p[0] == '1';
		}
		break;
	case 2:
		if (memcmp(name.p, "id", 2) == 0)
			slot = &out->id;
		break;
	case 4:
		if (memcmp(name.p, "type", 4) == 0)
			slot = &out->type;
		break;
	case 6:
		if (memcmp(name.p, "client", 6) == 0)
			slot = &out->client;
		break;
	default:
		break;
	}
	if (slot == NULL)
		return true;
	if (slot->p != NULL)
		return fail(s, "member given twice");
	if (v.n < 2 || v.p[0] != '"')
		return fail(s, "type, id and client must be strings");
	*slot = view_of(v.p + 1, v.n - 2);
	return true;
}

static bool
object(struct scan *s, unsigned depth)
{
	struct view name, v;

	s->p++;
	if (take(s, '}'))
		return true;
	do {
		if (!string(s, &name))
			return false;
		if (memchr(name.p, '\\', name.n) != NULL)
			return fail(s, "escape in the name of a member");
		if (!take(s, ':'))
			return fail(s, "colon expected");
		if (!value(s, depth, &v))
			return false;
		if (depth == 1 && !keep(s, name, v))
			return false;
	} while (take(s, ','));
	return take(s, '}') || fail(s, "object does not end");
}

static bool
array(struct scan *s, unsigned depth)
{
	struct view v;

	s->p++;
	if (take(s, ']'))
		return true;
	do {
		if (!value(s, depth, &v))
			return false;
	} while (take(s, ','));
	return take(s, ']') || fail(s, "array does not end");
}

static bool
value(struct scan *s, unsigned depth, struct view *text)
{
	const uint8_t *start = s->p;
	struct view inside;
	bool ok;

	if (s->p == s->end)
		return fail(s, "value expected");
	if (depth == DEPTH_MAX && (*s->p == '{' || *s->p == '['))
		return fail(s, "nested too deep");
	switch (*s->p) {
	case '{':
		ok = object(s, depth + 1);
		break;
	case '[':
		ok = array(s, depth + 1);
		break;
	case '"':
		ok = string(s, &inside);
		break;
	case 't':
		ok = word(s, "true");
		break;
	case 'f':
		ok = word(s, "false");
		break;
	case 'n':
		ok = word(s, "null");
		break;
	default:
		ok = number(s);
		break;
	}
	*text = view_of(start, (size_t)(s->p - start));
	return ok;
}

/*
 * Half of a surrogate pair, or a number beyond its type, is well-formed and
 * stands for nothing: what loads a payload must not be the first to see it.
 */
static bool
has_value(struct view text)
{
	json_t *o =
	    json_loadb((const char *)text.p, text.n, JSON_ALLOW_NUL, NULL);

	json_decref(o);
	return o != NULL;
}

bool
verify_json_scan(struct view text, struct verify_json *out, const char **why)
{
	struct scan s = {.p = text.p, .end = text.p + text.n, .out = out};
	struct view whole;

	memset(out, 0, sizeof(*out));
	if (text.n == 0 || text.p[0] != '{') {
		*why = "not an object";
		return false;
	}
	if (!value(&s, 0, &whole)) {
		*why = s.why;
		return false;
	}
	*why = "more after the object";
	if (s.p != s.end)
		return false;
	*why = "not UTF-8";
	if (s.high && !text_utf8_valid(text))
		return false;
	*why = "a string or a number stands for no value";
	return !s.doubt || has_value(text);
}

/* Eight hexadecimal digits, a dash, and a number. */
static bool
is_id(struct view id)
{
	uint64_t number;

	for (size_t i = 0; i < 8 && i < id.n; i++)
		if (!((id.p[i] >= '0' && id.p[i] <= '9') ||
			(id.p[i] >= 'a' && id.p[i] <= 'f')))
			return false;
	return id.n > 9 && id.p[8] == '-' &&
	    view_to_u64(view_of(id.p + 9, id.n - 9), &number) &&
	    number <= INT64_MAX;
}

const char *
verify_json_part(const struct verify_leaf *l, unsigned part, struct view data,
    struct verify_json *out, const char **why)
{
	if (!verify_json_scan(data, out, why))
		return "payload is not one compact JSON object";
	*why = NULL;
	if (!out->version_1 &&
	    (part == 0 || (part == 1 && l->kind == VERIFY_KIND_POST)))
		return "payload is not of version 1";
	if (part == 0 && l->known &&
	    (out->type.p == NULL ||
		!view_is(out->type, verify_kind_name(l->kind))))
		return "payload type is not that of the record's kind";
	if (part == 0 && !is_id(out->id))
		return "payload has no id, or one of another form";
	return NULL;
}
