#include "export/verify_leaf.h"

#include <stddef.h>
#include <string.h>

#include "base/crypto.h"

#define COMMITMENT_TEXT 44 /* base64 of 32 bytes */
#define BOOT_ID 8
#define NAME_MAX_LEN 32
#define FIELDS_TEXT_MAX 16384

/* One line of the text, without its end. */
struct cursor {
	struct view rest;
	struct view line;
	unsigned number;
};

static const struct {
	const char *name;
	const char *const *fields; /* NULL: not laid down */
} kinds[] = {
    [1] = {"join", NULL},
    [2] = {"leave", NULL},
    [3] = {"post", NULL},
    [4] = {"history", NULL},
    [5] = {"delivery", NULL},
    [6] = {"room", NULL},
    [7] = {"member", NULL},
    [8] = {"user", NULL},
    [128] = {"open",
	(const char *const[]){"journal", "origin", "vkey", "next", "software",
	    "segment", "note", NULL}},
    [129] = {"batch",
	(const char *const[]){"adapter", "batch", "first", "last", "count",
	    "size", "root", NULL}},
    [130] = {"ack",
	(const char *const[]){"adapter", "batch", "first", "last", "state",
	    "location", "sha256", "bytes", "readback", NULL}},
    [131] = {"purge",
	(const char *const[]){"purge", "first", "last", "count", "ranges",
	    "leaves", "acks", "held", "hold", "approvals", "anchor", "policy",
	    NULL}},
    [132] = {"incident",
	(const char *const[]){"what", "since", "until", "refused", NULL}},
    [133] = {"beat",
	(const char *const[]){"every", "events", "queue", "sync", "error",
	    "tai", "anchor", NULL}},
    [134] = {"policy",
	(const char *const[]){"required", "after", "approvals", "quorum",
	    "witnesses", "stamp", "classes", NULL}},
    [135] = {"key",
	(const char *const[]){
	    "epoch", "vkey", "next", "reason", "clean", NULL}},
    [136] = {"seal", (const char *const[]){"segment", "first", "count", NULL}},
    [137] = {"clock",
	(const char *const[]){"old", "new", "sync", "error", "tai", NULL}},
    [138] = {"hold",
	(const char *const[]){"hold", "matter", "selector", "by", NULL}},
    [139] = {"release", (const char *const[]){"hold", "by", NULL}},
    [140] = {"recover",
	(const char *const[]){"old", "size", "root", "origin", "vkey", "next",
	    "reason", "by", NULL}},
    [141] = {"anchor",
	(const char *const[]){
	    "what", "name", "state", "size", "time", "sha256", NULL}},
    [142] = {"late", (const char *const[]){"since", "until", "count", NULL}},
    [143] = {"drop",
	(const char *const[]){"what", "since", "until", "count", NULL}},
    [144] = {"audit",
	(const char *const[]){"first", "last", "since", "result", NULL}},
    [145] = {"approve", (const char *const[]){"below", "by", NULL}},
    [146] = {"conflict",
	(const char *const[]){
	    "witness", "size", "proof", "hold", "note", NULL}},
};

const char *
verify_kind_name(unsigned kind)
{
	return kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind].name
						       : NULL;
}

static bool
next_line(struct cursor *c)
{
	const uint8_t *end;

	if (c->rest.n == 0)
		return false;
	end = memchr(c->rest.p, '\n', c->rest.n);
	c->number++;
	if (end == NULL) {
		c->line = c->rest;
		c->rest.n = 0;
		return false;
	}
	c->line = view_of(c->rest.p, (size_t)(end - c->rest.p));
	c->rest = view_of(end + 1, c->rest.n - c->line.n - 1);
	return true;
}

/* Takes the next word of the line: up to a single space or the end. */
static struct view
word(struct view *line)
{
	const uint8_t *space = memchr(line->p, ' ', line->n);
	struct view w = *line;

	if (space == NULL) {
		*line = view_of(line->p + line->n, 0);
		return w;
	}
	w.n = (size_t)(space - line->p);
	*line = view_of(space + 1, line->n - w.n - 1);
	return w;
}

/* The last word: true when nothing is left, not even a trailing space. */
static bool
line_done(struct view line, struct view last)
{
	return line.n == 0 && line.p == last.p + last.n;
}

static bool
lower_hex(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!((v.p[i] >= '0' && v.p[i] <= '9') ||
			(v.p[i] >= 'a' && v.p[i] <= 'f')))
			return false;
	return true;
}

static bool
parse_head(struct cursor *c, struct verify_leaf *out, const char **why)
{
	struct view line, w;
	uint64_t kind;

	*why = "line does not end";
	if (!next_line(c))
		return false;
	line = c->line;
	*why = "does not begin with \"leaf/1\"";
	if (!view_is(word(&line), "leaf/1"))
		return false;
	*why = "sequence number malformed";
	if (!view_to_u64(word(&line), &out->seq) || out->seq > INT64_MAX / 256)
		return false;
	*why = "kind malformed";
	w = word(&line);
	if (!view_to_u64(w, &kind) || !line_done(line, w) || kind < 1 ||
	    kind > 255)
		return false;
	out->kind = (unsigned)kind;
	out->known = verify_kind_name(out->kind) != NULL;
	return true;
}

static bool
parse_time(struct cursor *c, struct verify_leaf *out, const char **why)
{
	struct view line, w;
	uint64_t flags;

	*why = "time line missing or not ended";
	if (!next_line(c))
		return false;
	line = c->line;
	*why = "time line malformed";
	if (!view_is(word(&line), "t") || !view_to_u64(word(&line), &out->at) ||
	    out->at > INT64_MAX || !view_to_u64(word(&line), &out->boot) ||
	    out->boot > INT64_MAX)
		return false;
	*why = "boot id malformed";
	w = word(&line);
	if (w.n != BOOT_ID || !lower_hex(w))
		return false;
	memcpy(out->boot_id, w.p, BOOT_ID);
	*why = "clock flags malformed";
	w = word(&line);
	if (!view_to_u64(w, &flags) || !line_done(line, w) || flags > 1)
		return false;
	out->flags = (unsigned)flags;
	return true;
}

#define DIGIT 0x40

/* Values of base64 digits, with DIGIT; 0: not a digit. */
/* clang-format off */
static const uint8_t digit[256] = {
#define D(c, v) [c] = (v) | DIGIT
    D('A', 0), D('B', 1), D('C', 2), D('D', 3), D('E', 4), D('F', 5),
    D('G', 6), D('H', 7), D('I', 8), D('J', 9), D('K', 10), D('L', 11),
    D('M', 12), D('N', 13), D('O', 14), D('P', 15), D('Q', 16), D('R', 17),
    D('S', 18), D('T', 19), D('U', 20), D('V', 21), D('W', 22), D('X', 23),
    D('Y', 24), D('Z', 25), D('a', 26), D('b', 27), D('c', 28), D('d', 29),
    D('e', 30), D('f', 31), D('g', 32), D('h', 33), D('i', 34), D('j', 35),
    D('k', 36), D('l', 37), D('m', 38), D('n', 39), D('o', 40), D('p', 41),
    D('q', 42), D('r', 43), D('s', 44), D('t', 45), D('u', 46), D('v', 47),
    D('w', 48), D('x', 49), D('y', 50), D('z', 51), D('0', 52), D('1', 53),
    D('2', 54), D('3', 55), D('4', 56), D('5', 57), D('6', 58), D('7', 59),
    D('8', 60), D('9', 61), D('+', 62), D('/', 63),
#undef D
};
/* clang-format on */

/* Four digits as a number; `digits` keeps DIGIT while all were some. */
static uint32_t
sextets(const uint8_t in[4], uint8_t *digits)
{
	uint8_t a = digit[in[0]], b = digit[in[1]], c = digit[in[2]],
		d = digit[in[3]];

	*digits &= a & b & c & d;
	return (a & 63U) << 18 | (b & 63U) << 12 | (c & 63U) << 6 | (d & 63U);
}

/* Base64 of exactly 32 bytes: 43 digits, the last with two zero bits, "=". */
static bool
get_commitment(const uint8_t *in, uint8_t out[32])
{
	const uint8_t last[4] = {in[40], in[41], in[42], 'A'};
	uint8_t digits = DIGIT;
	uint32_t w;

	for (size_t i = 0; i < 10; i++, in += 4, out += 3) {
		w = sextets(in, &digits);
		out[0] = (uint8_t)(w >> 16);
		out[1] = (uint8_t)(w >> 8);
		out[2] = (uint8_t)w;
	}
	w = sextets(last, &digits);
	out[0] = (uint8_t)(w >> 16);
	out[1] = (uint8_t)(w >> 8);
	return digits != 0 && (uint8_t)w == 0 && in[3] == '=';
}

_Static_assert(VERIFY_PARTS_MAX < 10, "a part's number is one digit");

/* "p <part> <commitment>". */
static bool
parse_part(struct cursor *c, struct verify_leaf *out, const char **why)
{
	struct view line = c->line;

	*why = "not a part line";
	if (line.n < 2 || memcmp(line.p, "p ", 2) != 0)
		return false;
	*why = "part number out of order";
	if (out->parts == VERIFY_PARTS_MAX || line.n < 4 ||
	    line.p[2] != '0' + out->parts || line.p[3] != ' ')
		return false;
	*why = "commitment malformed";
	if (line.n != 4 + COMMITMENT_TEXT ||
	    !get_commitment(line.p + 4, out->commitment[out->parts]))
		return false;
	out->parts++;
	return true;
}

static bool
is_plain(uint8_t c)
{
	static const char marks[] = "._:/+=@,-";

	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	    (c >= 'a' && c <= 'z') ||
	    memchr(marks, c, sizeof(marks) - 1) != NULL;
}

/* Value of an upper-case hexadecimal digit, or -1. */
static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Plain characters and "%XX" for all others: one spelling for each value. */
static bool
value_valid(struct view v)
{
	for (size_t i = 0; i < v.n; i++) {
		int high, low;

		if (is_plain(v.p[i]))
			continue;
		if (v.p[i] != '%' || v.n - i < 3)
			return false;
		high = hex_digit(v.p[i + 1]);
		low = hex_digit(v.p[i + 2]);
		if (high < 0 || low < 0 || is_plain((uint8_t)(high * 16 + low)))
			return false;
		i += 2;
	}
	return v.n > 0;
}

static bool
name_valid(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!((v.p[i] >= 'a' && v.p[i] <= 'z') ||
			(v.p[i] >= '0' && v.p[i] <= '9')))
			return false;
	return v.n > 0 && v.n <= NAME_MAX_LEN;
}

static bool
parse_field(struct cursor *c, struct verify_leaf *out, const char **why)
{
	struct view line = c->line;
	struct verify_field f;

	*why = "too many lines";
	if (out->fields == VERIFY_FIELDS_MAX)
		return false;
	f.name = word(&line);
	f.value = line;
	*why = "field name malformed";
	if (!name_valid(f.name))
		return false;
	*why = "field value malformed";
	if (!value_valid(f.value))
		return false;
	out->field[out->fields++] = f;
	return true;
}

/* The fields of a known control kind: exactly these, in this order. */
static bool
fields_match(struct verify_leaf *out, unsigned *line, const char **why)
{
	const char *const *names;
	unsigned n = 0;

	if (!out->known || kinds[out->kind].fields == NULL)
		return true;
	names = kinds[out->kind].fields;
	*why = "another field expected here";
	for (; names[n] != NULL; n++) {
		*line = 3 + n;
		if (n == out->fields || !view_is(out->field[n].name, names[n]))
			return false;
	}
	*line = 3 + n;
	*why = "more fields than this kind has";
	return n == out->fields;
}

bool
verify_leaf_parse(
    struct view text, struct verify_leaf *out, unsigned *line, const char **why)
{
	struct cursor c = {.rest = text};
	bool ok;

	out->parts = 0;
	out->fields = 0;
	ok = parse_head(&c, out, why) && parse_time(&c, out, why);
	if (ok && out->kind >= VERIFY_KIND_CONTROL &&
	    c.rest.n > FIELDS_TEXT_MAX) {
		*why = "fields too long";
		ok = false;
	}
	while (ok && c.rest.n > 0) {
		*why = "line does not end";
		ok = next_line(&c) &&
		    (out->kind < VERIFY_KIND_CONTROL
			    ? parse_part(&c, out, why)
			    : parse_field(&c, out, why));
	}
	*line = c.number == 0 ? 1 : c.number;
	if (!ok)
		return false;
	*why = "no part line";
	if (out->kind < VERIFY_KIND_CONTROL)
		return out->parts > 0;
	return fields_match(out, line, why);
}

bool
verify_leaf_number(const struct verify_leaf *l, unsigned i, uint64_t *out)
{
	return i < l->fields && view_to_u64(l->field[i].value, out);
}

void
verify_leaf_hash(struct view text, uint8_t out[32])
{
	static const uint8_t prefix = 0x00;
	const struct view parts[] = {view_of(&prefix, 1), text};

	crypto_sha256_parts(parts, 2, out);
}

void
verify_commitment(struct view salt, struct view data, uint8_t out[32])
{
	static const char label[] = "part/1\n";
	const struct view parts[] = {
	    view_of(label, sizeof(label) - 1), salt, data};

	crypto_sha256_parts(parts, 3, out);
}
