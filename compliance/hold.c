#include "compliance/hold.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/text.h"

void
hold_put_selector(struct buf *b, const struct hold_selector *s)
{
	buf_put_text(b, "{\"v\":1");
	if (s->room.n > 0) {
		buf_put_text(b, ",\"room\":");
		text_put_json(b, s->room);
	}
	if (s->user.n > 0) {
		buf_put_text(b, ",\"user\":");
		text_put_json(b, s->user);
	}
	if (s->from > 0)
		buf_printf(b, ",\"from\":%" PRIu64, s->from);
	if (s->until > 0)
		buf_printf(b, ",\"until\":%" PRIu64, s->until);
	buf_put_u8(b, '}');
}

/* Nothing that JSON escapes, so that it is found as bytes. */
static bool
is_plain(struct view v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= ' ' || v.p[i] == '"' || v.p[i] == '\\' ||
		    v.p[i] == 0x7f)
			return false;
	return true;
}

/* Takes a member with a text off the front, when it is there. */
static struct view
take_text(struct view *rest, const char *name)
{
	struct view v = view_of(NULL, 0);
	size_t n = strlen(name);
	const uint8_t *end;

	if (rest->n <= n || memcmp(rest->p, name, n) != 0)
		return v;
	v = view_of(rest->p + n, rest->n - n);
	end = memchr(v.p, '"', v.n);
	v.n = end != NULL ? (size_t)(end - v.p) : 0;
	if (end != NULL)
		*rest = view_of(end + 1, rest->n - n - v.n - 1);
	return v;
}

static uint64_t
take_time(struct view *rest, const char *name)
{
	size_t n = strlen(name), digits = 0;
	uint64_t t = 0;

	if (rest->n <= n || memcmp(rest->p, name, n) != 0)
		return 0;
	while (n + digits < rest->n && rest->p[n + digits] >= '0' &&
	    rest->p[n + digits] <= '9')
		digits++;
	if (!view_to_u64(view_of(rest->p + n, digits), &t) || t > INT64_MAX)
		return 0;
	*rest = view_of(rest->p + n + digits, rest->n - n - digits);
	return t;
}

bool
hold_get_selector(struct view text, struct hold_selector *out)
{
	static const char begin[] = "{\"v\":1";
	struct view rest = text;
	struct buf again;
	bool valid;

	if (text.n < sizeof begin ||
	    memcmp(text.p, begin, sizeof begin - 1) != 0)
		return false;
	rest = view_of(text.p + sizeof begin - 1, text.n - sizeof begin + 1);
	out->room = take_text(&rest, ",\"room\":\"");
	out->user = take_text(&rest, ",\"user\":\"");
	out->from = take_time(&rest, ",\"from\":");
	out->until = take_time(&rest, ",\"until\":");
	buf_init(&again);
	if (text_utf8_valid(text))
		hold_put_selector(&again, out);
	valid = again.len == text.n &&
	    memcmp(again.data, text.p, text.n) == 0 && is_plain(out->room) &&
	    is_plain(out->user) && (out->until == 0 || out->from < out->until);
	buf_release(&again);
	return valid;
}

int
hold_each(
    sqlite3 *db, uint64_t first, uint64_t last, hold_record_cb *cb, void *arg)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT b.id >> 8, MIN(h.n) FROM hold h CROSS JOIN body b"
	    " ON b.id >= ?1 AND b.id < ?2 AND b.id & 255 = 0"
	    " CROSS JOIN leaf l ON l.seq = b.id >> 8"
	    " WHERE h.released IS NULL AND " HOLD_MATCH
	    " GROUP BY b.id ORDER BY b.id");
	int r;

	if (s == NULL)
		return -1;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)(first << 8));
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)((last + 1) << 8));
	while ((r = sqlite3_step(s)) == SQLITE_ROW)
		cb(arg, (uint64_t)sqlite3_column_int64(s, 0),
		    (uint64_t)sqlite3_column_int64(s, 1));
	(void)sqlite3_finalize(s); /* repeats r */
	return r == SQLITE_DONE ? 0 : -1;
}

static char *
text_column(sqlite3_stmt *s, int i)
{
	const unsigned char *text = sqlite3_column_text(s, i);

	return text != NULL ? strdup((const char *)text) : NULL;
}

static int
take_hold(struct holds *h, sqlite3_stmt *s)
{
	struct hold *grown = reallocarray(h->hold, h->count + 1, sizeof *grown);
	struct hold *new;

	if (grown == NULL)
		return -1;
	h->hold = grown;
	new = &grown[h->count++];
	*new = (struct hold){
	    .n = (uint64_t)sqlite3_column_int64(s, 0),
	    .room = text_column(s, 1),
	    .user = text_column(s, 2),
	    .since = (uint64_t)sqlite3_column_int64(s, 3),
	    .until = (uint64_t)sqlite3_column_int64(s, 4),
	};
	return (new->room == NULL) ==
		    (sqlite3_column_type(s, 1) == SQLITE_NULL) &&
		(new->user == NULL) ==
		    (sqlite3_column_type(s, 2) == SQLITE_NULL)
	    ? 0
	    : -1;
}

int
holds_read(struct holds *h, sqlite3 *db)
{
	sqlite3_stmt *s = db_prepare(db,
	    "SELECT n, room, user, since, until FROM hold"
	    " WHERE released IS NULL ORDER BY n");
	int r = SQLITE_ERROR;

	holds_release(h);
	while (s != NULL && (r = sqlite3_step(s)) == SQLITE_ROW)
		if (take_hold(h, s) != 0)
			break;
	(void)sqlite3_finalize(s); /* repeats r */
	h->released = (uint64_t)db_int(db,
	    "SELECT seq FROM leaf WHERE kind = 139 AND kind >= 128"
	    " ORDER BY seq DESC LIMIT 1",
	    0);
	return r == SQLITE_DONE ? 0 : -1;
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Whether `before`, the word and one of the ends stand there; no case. */
static bool
has_word(
    struct view text, const char *before, const char *word, const char *ends)
{
	size_t b = strlen(before), w = strlen(word);

	for (size_t i = 0; i + b + w < text.n; i++) {
		size_t k = 0;

		if (text.p[i] != (uint8_t)before[0] ||
		    memcmp(text.p + i, before, b) != 0)
			continue;
		while (k < w && lower(text.p[i + b + k]) == (uint8_t)word[k])
			k++;
		if (k == w && strchr(ends, text.p[i + b + w]) != NULL &&
		    text.p[i + b + w] != '\0')
			return true;
	}
	return false;
}

const struct hold *
holds_match(const struct holds *h, uint64_t at, struct view envelope)
{
	for (size_t i = 0; i < h->count; i++) {
		const struct hold *x = &h->hold[i];

		if (at >= x->since && (x->until == 0 || at < x->until) &&
		    (x->room == NULL ||
			has_word(envelope, "\"room\":\"", x->room, "\"")) &&
		    (x->user == NULL ||
			has_word(envelope, "\"", x->user, "\" ")))
			return x;
	}
	return NULL;
}

void
holds_release(struct holds *h)
{
	for (size_t i = 0; i < h->count; i++) {
		free(h->hold[i].room);
		free(h->hold[i].user);
	}
	free(h->hold);
	*h = (struct holds){0};
}
