#include "server/payload.h"

#include <string.h>

#include "base/text.h"
#include "compliance/event.h"

#define HEAD_START "{\"v\":1,\"type\":\""
#define HEAD_ID "\",\"id\":\""

static void
put_text(struct buf *b, const char *key, const char *value)
{
	buf_put_text(b, key);
	text_put_json(b, view_text(value));
}

static void
put_number(struct buf *b, const char *key, uint64_t value)
{
	buf_put_text(b, key);
	buf_put_decimal(b, value);
}

void
payload_put_head(struct buf *b, unsigned kind, uint32_t boot, uint64_t number)
{
	const uint8_t bytes[4] = {(uint8_t)(boot >> 24), (uint8_t)(boot >> 16),
	    (uint8_t)(boot >> 8), (uint8_t)boot};

	buf_put_text(b, HEAD_START);
	buf_put_text(b, event_name(kind));
	buf_put_text(b, HEAD_ID);
	text_put_hex(b, bytes, sizeof bytes);
	buf_put_u8(b, '-');
	buf_put_decimal(b, number);
	buf_put_u8(b, '"');
}

bool
payload_get_id(struct view e, uint32_t *boot, uint64_t *number)
{
	const size_t start = strlen(HEAD_START), id = strlen(HEAD_ID);
	const uint8_t *p, *end;
	uint8_t bytes[4];

	if (e.n < start || memcmp(e.p, HEAD_START, start) != 0)
		return false;
	p = memmem(e.p + start, e.n - start, HEAD_ID, id);
	if (p == NULL)
		return false;
	p += id;
	end = memchr(p, '"', (size_t)(e.p + e.n - p));
	if (end == NULL || end - p < 10 || p[8] != '-' ||
	    !text_get_hex(view_of(p, 8), bytes, sizeof bytes))
		return false;
	*boot = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
	    (uint32_t)bytes[2] << 8 | bytes[3];
	return view_to_u64(view_of(p + 9, (size_t)(end - p - 9)), number);
}

static void
put_where(struct buf *b, const struct payload_room *room)
{
	put_text(b, ",\"room\":", room->uri);
	put_text(b, ",\"roomname\":", room->name);
}

static void
put_user(struct buf *b, const struct payload_actor *who)
{
	put_text(b, ",\"user\":", who->user);
	put_text(b, ",\"name\":", who->name);
}

void
payload_put_join(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who)
{
	put_where(b, room);
	put_user(b, who);
	put_text(b, ",\"auth\":", who->auth);
	put_text(b, ",\"device\":", who->device);
	put_text(b, ",\"via\":", who->via);
	put_text(b, ",\"peer\":", who->peer);
	buf_put_u8(b, '}');
}

void
payload_put_leave(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, const char *reason, uint64_t joined,
    uint64_t happened)
{
	put_where(b, room);
	put_user(b, who);
	put_text(b, ",\"device\":", who->device);
	put_text(b, ",\"reason\":", reason);
	put_number(b, ",\"joined\":", joined);
	if (happened != 0)
		put_number(b, ",\"late\":true,\"happened\":", happened);
	buf_put_u8(b, '}');
}

void
payload_put_post(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, uint64_t chat, struct view client)
{
	put_where(b, room);
	put_user(b, who);
	put_text(b, ",\"auth\":", who->auth);
	put_text(b, ",\"device\":", who->device);
	put_number(b, ",\"chat\":", chat);
	buf_put_text(b, ",\"client\":");
	text_put_json(b, client);
	buf_put_u8(b, '}');
}

void
payload_put_content(struct buf *b, struct view text)
{
	buf_put_text(b, "{\"v\":1,\"text\":");
	text_put_json(b, text);
	buf_put_u8(b, '}');
}

void
payload_put_history(struct buf *b, const struct payload_room *room,
    const struct payload_actor *who, const struct payload_history *h)
{
	put_where(b, room);
	put_user(b, who);
	put_text(b, ",\"auth\":", who->auth);
	put_text(b, ",\"device\":", who->device);
	put_number(b, ",\"query\":{\"last\":", h->asked);
	put_number(b, "},\"first\":", h->first);
	put_number(b, ",\"last\":", h->last);
	put_number(b, ",\"count\":", h->count);
	buf_put_u8(b, '}');
}

void
payload_put_delivery(struct buf *b, const struct payload_room *room)
{
	put_where(b, room);
}

void
payload_put_room(struct buf *b, const struct payload_room *room,
    const char *privacy, const char *description, const char *by)
{
	buf_put_text(b, ",\"action\":\"add\"");
	put_where(b, room);
	put_text(b, ",\"privacy\":", privacy);
	put_text(b, ",\"description\":", description);
	put_text(b, ",\"by\":", by);
	buf_put_u8(b, '}');
}

void
payload_put_member(struct buf *b, const struct payload_room *room,
    const char *user, const char *by)
{
	buf_put_text(b, ",\"action\":\"add\"");
	put_where(b, room);
	put_text(b, ",\"user\":", user);
	put_text(b, ",\"by\":", by);
	buf_put_u8(b, '}');
}

void
payload_put_user(
    struct buf *b, const char *user, const char *name, const char *by)
{
	buf_put_text(b, ",\"action\":\"add\"");
	put_text(b, ",\"user\":", user);
	put_text(b, ",\"name\":", name);
	put_text(b, ",\"by\":", by);
	buf_put_u8(b, '}');
}
