#include "compliance/rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/db.h"
#include "base/text.h"

#include "compliance/leaf.h"

enum field_type {
	FIELD_NUMBER,
	FIELD_ADAPTER,
	FIELD_ROOT,
	FIELD_WORD,
	FIELD_HASH
};

struct field {
	const char *name;
	enum field_type type;
	const char *words; /* FIELD_WORD: " a b " allowed, or NULL: any */
};

#define FIELDS_MAX 9

static const struct field batch_fields[] = {
    {"adapter", FIELD_ADAPTER, NULL},
    {"batch", FIELD_NUMBER, NULL},
    {"first", FIELD_NUMBER, NULL},
    {"last", FIELD_NUMBER, NULL},
    {"count", FIELD_NUMBER, NULL},
    {"size", FIELD_NUMBER, NULL},
    {"root", FIELD_ROOT, NULL},
};

static const struct field ack_fields[] = {
    {"adapter", FIELD_ADAPTER, NULL},
    {"batch", FIELD_NUMBER, NULL},
    {"first", FIELD_NUMBER, NULL},
    {"last", FIELD_NUMBER, NULL},
    {"state", FIELD_WORD, " sent accepted stored "},
    {"location", FIELD_WORD, NULL},
    {"sha256", FIELD_HASH, NULL},
    {"bytes", FIELD_NUMBER, NULL},
    {"readback", FIELD_WORD, " yes no "},
};

static const struct field anchor_fields[] = {
    {"what", FIELD_WORD, " witness stamp syslog "},
    {"name", FIELD_WORD, NULL},
    {"state", FIELD_WORD, " ok failed "},
    {"size", FIELD_NUMBER, NULL},
    {"time", FIELD_NUMBER, NULL},
    {"sha256", FIELD_HASH, NULL},
};

static const struct field audit_fields[] = {
    {"first", FIELD_NUMBER, NULL},
    {"last", FIELD_NUMBER, NULL},
    {"since", FIELD_NUMBER, NULL},
    {"result", FIELD_WORD, " whole broken "},
};

static bool __attribute__((format(printf, 3, 4)))
fail(char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, why_len, fmt, ap); /* may cut: words for people */
	va_end(ap);
	return false;
}

static bool
is_adapter(struct view v)
{
	if (v.n == 0 || v.n > 32)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if ((v.p[i] < 'a' || v.p[i] > 'z') &&
		    (v.p[i] < '0' || v.p[i] > '9') && v.p[i] != '-')
			return false;
	return true;
}

static bool
is_word(struct view v, const char *words)
{
	char padded[16];

	if (words == NULL)
		return true;
	if (v.n + 3 > sizeof padded)
		return false;
	(void)snprintf(
	    padded, sizeof padded, " %.*s ", (int)v.n, (const char *)v.p);
	return strstr(words, padded) != NULL;
}

static bool
is_hash(struct view v)
{
	uint8_t hash[32];

	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] >= 'A' && v.p[i] <= 'F')
			return false;
	return v.n == 64 && text_get_hex(v, hash, sizeof hash);
}

static bool
is_of_type(const struct field *f, struct view v, uint64_t *number)
{
	uint8_t hash[32];

	switch (f->type) {
	case FIELD_NUMBER:
		return view_to_u64(v, number) && *number <= INT64_MAX;
	case FIELD_ADAPTER:
		return is_adapter(v);
	case FIELD_ROOT:
		return v.n == 44 && text_get_base64_fixed(v, hash, 32);
	case FIELD_WORD:
		return is_word(v, f->words);
	case FIELD_HASH:
		return view_is(v, "-") || is_hash(v);
	}
	return false;
}

/* Exactly the fields of the table, in its order. */
static bool
read_fields(struct view fields, const struct field *table, size_t count,
    struct view *values, uint64_t *numbers, char *why, size_t why_len)
{
	struct view name;

	if (!leaf_fields_valid(fields))
		return fail(why, why_len, "fields are malformed");
	for (size_t i = 0; i < count; i++) {
		numbers[i] = 0;
		if (!leaf_next_field(&fields, &name, &values[i]) ||
		    !view_is(name, table[i].name))
			return fail(
			    why, why_len, "field %s is missing", table[i].name);
		if (!is_of_type(&table[i], values[i], &numbers[i]))
			return fail(why, why_len, "field %s is malformed",
			    table[i].name);
	}
	if (fields.n != 0)
		return fail(why, why_len, "there are more fields than known");
	return true;
}

static void
copy_word(char *out, size_t len, struct view v)
{
	(void)snprintf(out, len, "%.*s", (int)v.n, (const char *)v.p);
}

bool
rules_read_batch(sqlite3 *db, struct view fields, uint64_t size,
    struct rules_batch *out, char *why, size_t why_len)
{
	struct view v[FIELDS_MAX];
	uint64_t number[FIELDS_MAX], before[2] = {0, 0};
	int r;

	if (!read_fields(fields, batch_fields,
		sizeof batch_fields / sizeof batch_fields[0], v, number, why,
		why_len))
		return false;
	copy_word(out->adapter, sizeof out->adapter, v[0]);
	out->n = number[1];
	out->first = number[2];
	out->last = number[3];
	out->size = number[5];
	out->root = v[6];
	if (out->last < out->first || number[4] != out->last - out->first + 1)
		return fail(why, why_len, "count is not that of first to last");
	if (out->size <= out->last || out->size > size)
		return fail(why, why_len,
		    "tree size %" PRIu64 " does not cover the batch, or is "
		    "ahead of the journal's %" PRIu64,
		    out->size, size);
	r = db_row(db,
	    "SELECT n, last + 1 FROM batch WHERE adapter = ?"
	    " ORDER BY n DESC LIMIT 1",
	    out->adapter, NULL, 0, before, 2);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (out->n != before[0] + 1 || out->first != before[1])
		return fail(why, why_len,
		    "next is batch %" PRIu64 " from %" PRIu64 ", not %" PRIu64
		    " from %" PRIu64,
		    before[0] + 1, before[1], out->n, out->first);
	return true;
}

bool
rules_read_ack(sqlite3 *db, struct view fields, struct rules_ack *out,
    char *why, size_t why_len)
{
	struct view v[FIELDS_MAX];
	uint64_t number[FIELDS_MAX], range[2], last[1] = {0};
	int r;

	if (!read_fields(fields, ack_fields,
		sizeof ack_fields / sizeof ack_fields[0], v, number, why,
		why_len))
		return false;
	copy_word(out->adapter, sizeof out->adapter, v[0]);
	out->n = number[1];
	copy_word(out->state, sizeof out->state, v[4]);
	r = db_row(db,
	    "SELECT first, last FROM batch WHERE adapter = ? AND n = ?",
	    out->adapter, &out->n, 1, range, 2);
	if (r < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (r == 0 || range[0] != number[2] || range[1] != number[3])
		return fail(why, why_len,
		    "batch %" PRIu64 " from %" PRIu64 " to %" PRIu64
		    " of %s was never sent",
		    out->n, number[2], number[3], out->adapter);
	if (db_row(db,
		"SELECT n FROM ack WHERE adapter = ? ORDER BY n DESC LIMIT 1",
		out->adapter, NULL, 0, last, 1) < 0)
		return fail(why, why_len, "%s", sqlite3_errmsg(db));
	if (out->n != last[0] + 1)
		return fail(why, why_len,
		    "next to be acknowledged is batch %" PRIu64
		    ", not %" PRIu64,
		    last[0] + 1, out->n);
	return true;
}

bool
rules_check_anchor(struct view fields, uint64_t size, char *why, size_t why_len)
{
	struct view v[FIELDS_MAX];
	uint64_t number[FIELDS_MAX];

	return read_fields(fields, anchor_fields,
		   sizeof anchor_fields / sizeof anchor_fields[0], v, number,
		   why, why_len) &&
	    (number[3] <= size ||
		fail(why, why_len, "there are no %" PRIu64 " records",
		    number[3]));
}

bool
rules_check_audit(struct view fields, uint64_t size, char *why, size_t why_len)
{
	struct view v[FIELDS_MAX];
	uint64_t number[FIELDS_MAX];

	return read_fields(fields, audit_fields,
		   sizeof audit_fields / sizeof audit_fields[0], v, number, why,
		   why_len) &&
	    ((number[0] <= number[1] && number[1] < size) ||
		fail(why, why_len, "there are no such records"));
}
