#include "compliance/retention.h"

#include <inttypes.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "compliance/event.h"

/*
 * Value of the member "room" of an envelope; empty when it has none.
 * Quotes inside strings are escaped, so these bytes are a member's name; and
 * what stands for a room has nothing that JSON escapes.
 */
static struct view
room_of(struct view envelope)
{
	static const char member[] = "\"room\":\"";
	const uint8_t *at = envelope.n == 0
	    ? NULL
	    : memmem(envelope.p, envelope.n, member, sizeof member - 1);
	const uint8_t *end;

	if (at == NULL)
		return view_of(NULL, 0);
	at += sizeof member - 1;
	end = memchr(at, '"', envelope.n - (size_t)(at - envelope.p));
	return view_of(at, end != NULL ? (size_t)(end - at) : 0);
}

static bool
fits(const struct conf_retention *r, unsigned kind, struct view room)
{
	if (r->kinds != 0 && (kind > 31 || (r->kinds & 1U << kind) == 0))
		return false;
	for (size_t i = 0; i < r->room_count; i++)
		if (view_is_nocase(room, r->rooms[i]))
			return true;
	return r->room_count == 0;
}

struct retention_class
retention_of(const struct conf *c, unsigned kind, struct view envelope)
{
	struct view room = room_of(envelope);

	for (size_t i = 0; i < c->retention_count; i++) {
		const struct conf_retention *r = &c->retentions[i];

		if (fits(r, kind, room))
			return (struct retention_class){r->name, r->after_s};
	}
	return (struct retention_class){RETENTION_DEFAULT, c->purge_after_s};
}

size_t
retention_times(const struct conf *c, int64_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i <= c->retention_count; i++) {
		int64_t t = i < c->retention_count ? c->retentions[i].after_s
						   : c->purge_after_s;
		size_t at = 0;

		while (at < n && out[at] < t)
			at++;
		if (t < 0 || (at < n && out[at] == t))
			continue;
		memmove(out + at + 1, out + at, (n - at) * sizeof *out);
		out[at] = t;
		n++;
	}
	return n;
}

int64_t
retention_shortest(const struct conf *c)
{
	int64_t shortest = c->purge_after_s;

	for (size_t i = 0; i < c->retention_count; i++) {
		int64_t t = c->retentions[i].after_s;

		if (t >= 0 && (shortest < 0 || t < shortest))
			shortest = t;
	}
	return shortest;
}

void
retention_put_text(struct buf *b, const struct conf *c)
{
	for (size_t i = 0; i < c->retention_count; i++) {
		const struct conf_retention *r = &c->retentions[i];
		const char *comma = "";

		buf_printf(b, "%s %" PRId64 " ", r->name, r->after_s);
		for (unsigned k = 1; k < 32; k++) {
			if ((r->kinds & 1U << k) == 0)
				continue;
			buf_printf(b, "%s%s", comma, event_name(k));
			comma = ",";
		}
		if (r->kinds == 0)
			buf_put_text(b, "-");
		buf_put_text(b, " ");
		for (size_t k = 0; k < r->room_count; k++) {
			if (k > 0)
				buf_put_text(b, ",");
			text_put_token(b, view_text(r->rooms[k]));
		}
		if (r->room_count == 0)
			buf_put_text(b, "-");
		buf_put_text(b, "\n");
	}
	buf_printf(b, RETENTION_DEFAULT " %" PRId64 " - -\n", c->purge_after_s);
}

void
retention_put_classes(struct buf *b, const struct conf *c)
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct buf text;

	if (c->retention_count == 0) {
		buf_put_text(b, "-");
		return;
	}
	buf_init(&text);
	retention_put_text(&text, c);
	crypto_sha256(text.data, text.len, hash);
	text_put_hex(b, hash, sizeof hash);
	if (text.failed)
		b->failed = true;
	buf_release(&text);
}
