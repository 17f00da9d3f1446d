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

static bool
is_null(sqlite3_stmt *s, int i)
{
	return sqlite3_column_type(s, i) == SQLITE_NULL;
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
	    .room = db_dup_text(s, 1),
	    .user = db_dup_text(s, 2),
	    .since = (uint64_t)sqlite3_column_int64(s, 3),
	    .until = (uint64_t)sqlite3_column_int64(s, 4),
	    .wordless = is_null(s, 5),
	};
	return (new->room == NULL) == is_null(s, 1) &&
		(new->user == NULL) == is_null(s, 2)
	    ? 0
	    : -1;
}

/* ---- words ---- */

/* Shorter ones first: most that are looked up have another length. */
static int
by_length(const void *a, const void *b)
{
	const char *one = *(const char *const *)a;
	const char *two = *(const char *const *)b;
	size_t n = strlen(one), m = strlen(two);

	if (n != m)
		return n < m ? -1 : 1;
	return memcmp(one, two, n);
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static int
compare(struct view text, struct view word)
{
	if (text.n != word.n)
		return text.n < word.n ? -1 : 1;
	for (size_t i = 0; i < text.n; i++)
		if (lower(text.p[i]) != word.p[i])
			return lower(text.p[i]) < word.p[i] ? -1 : 1;
	return 0;
}

/* Where the word is in the list; h->words: nowhere. */
static size_t
find_word(const struct holds *h, struct view text)
{
	size_t low = 0, high = h->words;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = compare(text, h->word[middle]);

		if (c == 0)
			return middle;
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return h->words;
}

static int
list_words(struct holds *h)
{
	const char **list = calloc(2 * h->count + 1, sizeof *list);
	size_t n = 0;

	h->word = calloc(2 * h->count + 1, sizeof *h->word);
	h->seen = calloc(2 * h->count + 1, 1);
	if (list == NULL || h->word == NULL || h->seen == NULL) {
		free(list);
		return -1;
	}
	for (size_t i = 0; i < h->count; i++) {
		if (h->hold[i].room != NULL)
			list[n++] = h->hold[i].room;
		if (h->hold[i].user != NULL)
			list[n++] = h->hold[i].user;
	}
	qsort(list, n, sizeof *list, by_length);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(list[i], list[i - 1]) != 0)
			h->word[h->words++] = view_text(list[i]);
	free(list);
	for (size_t i = 0; i < h->count; i++) {
		struct hold *x = &h->hold[i];

		if (x->room != NULL)
			x->room_word = find_word(h, view_text(x->room));
		if (x->user != NULL)
			x->user_word = find_word(h, view_text(x->user));
	}
	return 0;
}

int
holds_read(struct holds *h, sqlite3 *db, uint64_t seq)
{
	sqlite3_stmt *s = db_prepare(db,
	    seq == HOLDS_NOW
		? "SELECT n, room, user, since, until, selector FROM hold"
		  " WHERE released IS NULL ORDER BY n"
		: "SELECT n, room, user, since, until, selector FROM hold"
		  " WHERE seq < ?1 AND (released IS NULL OR released > ?1)"
		  " ORDER BY n");
	int r = SQLITE_ERROR;

	holds_release(h);
	if (s != NULL && seq != HOLDS_NOW)
		(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	while (s != NULL && (r = db_step(s)) == SQLITE_ROW)
		if (take_hold(h, s) != 0)
			break;
	(void)sqlite3_finalize(s); /* repeats r */
	h->released = (uint64_t)db_int(db,
	    "SELECT seq FROM leaf WHERE kind = 139 AND kind >= 128"
	    " ORDER BY seq DESC LIMIT 1",
	    0);
	if (r == SQLITE_DONE && list_words(h) == 0)
		return 0;
	holds_release(h);
	return -1;
}

#define SEEN_USER 1
#define SEEN_ROOM 2

/* Whether the string that begins behind the quote at i is the room's. */
static bool
is_room(struct view text, size_t i)
{
	static const char name[] = "\"room\":";
	size_t n = sizeof name - 1;

	return i >= n && memcmp(text.p + i - n, name, n) == 0;
}

/* Looks up what stands between each quote and the next quote or space. */
static void
see_words(const struct holds *h, struct view text)
{
	const uint8_t *end = text.p + text.n, *at = text.p;

	memset(h->seen, 0, h->words);
	while (at < end && (at = memchr(at, '"', (size_t)(end - at))) != NULL) {
		const uint8_t *from = ++at;
		size_t word;

		while (at < end && *at != '"' && *at != ' ')
			at++;
		if (at == end)
			return;
		word = find_word(h, view_of(from, (size_t)(at - from)));
		if (word == h->words)
			continue;
		h->seen[word] |= SEEN_USER;
		if (*at == '"' && is_room(text, (size_t)(from - text.p) - 1))
			h->seen[word] |= SEEN_ROOM;
	}
}

static bool
keeps(const struct holds *h, const struct hold *x, uint64_t at)
{
	return at >= x->since && (x->until == 0 || at < x->until) &&
	    (x->room == NULL || (h->seen[x->room_word] & SEEN_ROOM) != 0) &&
	    (x->user == NULL || (h->seen[x->user_word] & SEEN_USER) != 0);
}

static const struct hold *
match(const struct holds *h, uint64_t at, struct view envelope,
    bool also_wordless)
{
	if (h->words > 0)
		see_words(h, envelope);
	for (size_t i = 0; i < h->count; i++)
		if (keeps(h, &h->hold[i], at) &&
		    (also_wordless || !h->hold[i].wordless))
			return &h->hold[i];
	return NULL;
}

const struct hold *
holds_match(const struct holds *h, uint64_t at, struct view envelope)
{
	return match(h, at, envelope, true);
}

void
holds_release(struct holds *h)
{
	for (size_t i = 0; i < h->count; i++) {
		free(h->hold[i].room);
		free(h->hold[i].user);
	}
	free(h->hold);
	free(h->word);
	free(h->seen);
	*h = (struct holds){0};
}

/* ---- the triggers' function ---- */

struct fence {
	holds_get *get;
	void *arg;
};

static void
held(sqlite3_context *context, int count, sqlite3_value **value)
{
	const struct fence *f = sqlite3_user_data(context);
	const struct holds *h = f->get(f->arg);
	struct view envelope;

	(void)count; /* always 2 */
	if (h == NULL) {
		sqlite3_result_error(context, "holds cannot be read", -1);
		return;
	}
	envelope.p = sqlite3_value_blob(value[1]);
	envelope.n = (size_t)sqlite3_value_bytes(value[1]);
	if (envelope.p == NULL)
		envelope = view_of((const uint8_t *)"", 0);
	sqlite3_result_int(context,
	    match(h, (uint64_t)sqlite3_value_int64(value[0]), envelope,
		false) != NULL);
}

int
holds_fence(sqlite3 *db, holds_get *get, void *arg)
{
	struct fence *f = malloc(sizeof *f);

	if (f == NULL)
		return -1;
	*f = (struct fence){get, arg};
	/* When it fails, f is freed all the same. */
	return sqlite3_create_function_v2(db, "held", 2,
		   SQLITE_UTF8 | SQLITE_INNOCUOUS, f, held, NULL, NULL,
		   free) == SQLITE_OK
	    ? 0
	    : -1;
}
