#include "compliance/leaf.h"

#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"

#define COMMITMENT_TEXT 44 /* 32 bytes in base64 */

void
leaf_put_head(struct buf *b, const struct leaf_head *head)
{
	buf_put(b, "leaf/1 ", 7);
	buf_put_decimal(b, head->seq);
	buf_put_u8(b, ' ');
	buf_put_decimal(b, head->kind);
	buf_put(b, "\nt ", 3);
	buf_put_decimal(b, head->at);
	buf_put_u8(b, ' ');
	buf_put_decimal(b, head->boot);
	buf_put_u8(b, ' ');
	buf_put(b, head->boot_id, 8);
	buf_put_u8(b, ' ');
	buf_put_decimal(b, head->flags);
	buf_put_u8(b, '\n');
}

void
leaf_put_part(struct buf *b, unsigned part, const uint8_t commitment[32])
{
	buf_put(b, "p ", 2);
	buf_put_decimal(b, part);
	buf_put_u8(b, ' ');
	text_put_base64(b, commitment, 32);
	buf_put_u8(b, '\n');
}

void
leaf_put_field(struct buf *b, const char *name, struct view value)
{
	buf_put_text(b, name);
	buf_put_u8(b, ' ');
	text_put_token(b, value);
	buf_put_u8(b, '\n');
}

void
leaf_put_number(struct buf *b, const char *name, uint64_t value)
{
	buf_put_text(b, name);
	buf_put_u8(b, ' ');
	buf_put_decimal(b, value);
	buf_put_u8(b, '\n');
}

void
leaf_commit(
    const uint8_t salt[LEAF_SALT_LEN], struct view data, uint8_t out[32])
{
	const struct view parts[] = {
	    {(const uint8_t *)"part/1\n", 7}, {salt, LEAF_SALT_LEN}, data};

	crypto_sha256_parts(parts, 3, out);
}

/* Takes the bytes before `end` off the front; false when it does not occur. */
static bool
take_until(struct view *text, char end, struct view *out)
{
	const uint8_t *p = text->n == 0 ? NULL : memchr(text->p, end, text->n);

	if (p == NULL)
		return false;
	*out = view_of(text->p, (size_t)(p - text->p));
	text->n -= out->n + 1;
	text->p = p + 1;
	return true;
}

static bool
take_prefix(struct view *text, const char *prefix)
{
	size_t n = strlen(prefix);

	if (text->n < n || memcmp(text->p, prefix, n) != 0)
		return false;
	text->p += n;
	text->n -= n;
	return true;
}

static bool
take_number(struct view *text, char end, uint64_t max, uint64_t *out)
{
	struct view digits;

	return take_until(text, end, &digits) && view_to_u64(digits, out) &&
	    *out <= max;
}

static bool
is_boot_id(struct view v)
{
	if (v.n != 8)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if ((v.p[i] < '0' || v.p[i] > '9') &&
		    (v.p[i] < 'a' || v.p[i] > 'f'))
			return false;
	return true;
}

static bool
parse_head(struct view *text, struct leaf_head *out, const char **why)
{
	struct view boot_id;
	uint64_t kind, flags;

	*why = "first line is not \"leaf/1 seq kind\"";
	if (!take_prefix(text, "leaf/1 ") ||
	    !take_number(text, ' ', INT64_MAX, &out->seq) ||
	    !take_number(text, '\n', 255, &kind) || kind == 0)
		return false;
	*why = "second line is not \"t time boottime bootid flags\"";
	if (!take_prefix(text, "t ") ||
	    !take_number(text, ' ', INT64_MAX, &out->at) ||
	    !take_number(text, ' ', INT64_MAX, &out->boot) ||
	    !take_until(text, ' ', &boot_id) || !is_boot_id(boot_id) ||
	    !take_number(text, '\n', LEAF_TIME_HELD, &flags))
		return false;
	memcpy(out->boot_id, boot_id.p, 8);
	out->boot_id[8] = '\0';
	out->kind = (unsigned)kind;
	out->flags = (unsigned)flags;
	return true;
}

static bool
parse_parts(struct view text, struct leaf *out, const char **why)
{
	*why = "part lines are not \"p number commitment\", 0 and up";
	while (text.n > 0) {
		struct view commitment;
		uint64_t number;

		if (out->parts == LEAF_PARTS_MAX || !take_prefix(&text, "p ") ||
		    !take_number(&text, ' ', LEAF_PARTS_MAX, &number) ||
		    number != out->parts ||
		    !take_until(&text, '\n', &commitment) ||
		    commitment.n != COMMITMENT_TEXT ||
		    !text_get_base64_fixed(
			commitment, out->commitment[out->parts], 32))
			return false;
		out->parts++;
	}
	return out->parts > 0;
}

bool
leaf_parse(struct view text, struct leaf *out, const char **why)
{
	out->parts = 0;
	out->fields = view_of(text.p, 0);
	if (!parse_head(&text, &out->head, why))
		return false;
	if (out->head.kind < EVENT_CONTROL)
		return parse_parts(text, out, why);
	*why = "fields are not \"name value\" lines";
	if (!leaf_fields_valid(text))
		return false;
	out->fields = text;
	return true;
}

static bool
is_name(struct view v)
{
	if (v.n == 0 || v.n > 32)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if ((v.p[i] < 'a' || v.p[i] > 'z') &&
		    (v.p[i] < '0' || v.p[i] > '9'))
			return false;
	return true;
}

/* What text_put_token() lets through as it is. */
static bool
is_plain(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("._:/+=@,-", c) != NULL);
}

static bool
is_value(struct view v)
{
	uint8_t byte;

	for (size_t i = 0; i < v.n; i++) {
		if (is_plain(v.p[i]))
			continue;
		if (v.p[i] != '%' || v.n - i < 3 ||
		    memchr("0123456789ABCDEF", v.p[i + 1], 16) == NULL ||
		    memchr("0123456789ABCDEF", v.p[i + 2], 16) == NULL ||
		    !text_get_hex(view_of(v.p + i + 1, 2), &byte, 1) ||
		    is_plain(byte))
			return false;
		i += 2;
	}
	return v.n > 0;
}

bool
leaf_next_field(struct view *fields, struct view *name, struct view *value)
{
	return take_until(fields, ' ', name) && take_until(fields, '\n', value);
}

bool
leaf_fields_valid(struct view text)
{
	struct view name, value;

	if (text.n > LEAF_FIELDS_MAX)
		return false;
	while (text.n > 0)
		if (!leaf_next_field(&text, &name, &value) || !is_name(name) ||
		    !is_value(value))
			return false;
	return true;
}

bool
leaf_field(struct view fields, const char *name, struct view *value)
{
	struct view found;

	while (leaf_next_field(&fields, &found, value))
		if (view_is(found, name))
			return true;
	return false;
}

char *
leaf_field_dup(struct view fields, const char *name)
{
	struct view token;
	struct buf value;
	char *copy = NULL;

	buf_init(&value);
	if (leaf_field(fields, name, &token) && text_get_token(token, &value))
		copy = view_dup(buf_view(&value));
	buf_release(&value);
	return copy;
}

bool
leaf_field_number(struct view fields, const char *name, uint64_t *value)
{
	struct view text;

	return leaf_field(fields, name, &text) && view_to_u64(text, value);
}
