#include "server/xccos_put.h"

#include <string.h>

#include "base/text.h"
#include "server/xccos.h"

static const struct {
	uint8_t byte;
	const char *escape;
} escapes[] = {
    {'&', "&amp;"},
    {'<', "&lt;"},
    {'>', "&gt;"},
    {'"', "&quot;"},
    {'\'', "&apos;"},
    {'\r', "&#13;"},
    {'\n', "&#10;"},
    {'\t', "&#9;"},
};

bool
xccos_put_able(struct view v)
{
	if (!text_utf8_valid(v))
		return false;
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < 0x20 && v.p[i] != '\t' && v.p[i] != '\r' &&
		    v.p[i] != '\n')
			return false;
		/* U+FFFE and U+FFFF */
		if (v.p[i] == 0xef && v.p[i + 1] == 0xbf && v.p[i + 2] >= 0xbe)
			return false;
	}
	return true;
}

static const char *
escape_of(uint8_t c)
{
	if (c > '>')
		return NULL;
	for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++)
		if (escapes[i].byte == c)
			return escapes[i].escape;
	return NULL;
}

void
xccos_put_escaped(struct buf *b, struct view v)
{
	size_t plain = 0;

	for (size_t i = 0; i < v.n; i++) {
		const char *escape;

		/* Letters, digits and the bytes of UTF-8 are above '>'. */
		if (v.p[i] > '>' || v.p[i] == ' ' ||
		    (escape = escape_of(v.p[i])) == NULL)
			continue;
		buf_put(b, v.p + plain, i - plain);
		buf_put_text(b, escape);
		plain = i + 1;
	}
	if (plain < v.n)
		buf_put(b, v.p + plain, v.n - plain);
}

void
xccos_put_attribute(struct buf *b, const char *name, struct view value)
{
	buf_put_u8(b, ' ');
	buf_put_text(b, name);
	buf_put_text(b, "=\"");
	xccos_put_escaped(b, value);
	buf_put_u8(b, '"');
}

static void
put_number(struct buf *b, const char *name, uint64_t value)
{
	buf_put_u8(b, ' ');
	buf_put_text(b, name);
	buf_put_text(b, "=\"");
	buf_put_decimal(b, value);
	buf_put_u8(b, '"');
}

void
xccos_put_time(struct buf *b, uint64_t at_us)
{
	text_put_time(b, at_us);
	if (b->failed)
		return;
	b->data[b->len - 1] = '0';
	buf_put_u8(b, 'Z');
}

static void
put_envelope(struct buf *b, uint64_t envid)
{
	buf_put_text(b, "<xccos ver=\"1\"");
	put_number(b, "envid", envid);
	buf_put_text(b, " xmlns=\"" XCCOS_NAMESPACE "\">");
}

/* What a grpchat and a msg have in common, from their attributes on. */
static void
put_message(struct buf *b, const struct xccos_message *m)
{
	xccos_put_attribute(b, "chanUri", view_text(m->room));
	xccos_put_attribute(b, "author", view_text(m->author));
	buf_put_text(b, " ts=\"");
	xccos_put_time(b, m->at);
	buf_put_u8(b, '"');
	put_number(b, "chatId", m->chat);
	buf_put_text(b, "><chat>");
	xccos_put_escaped(b, m->text);
	buf_put_text(b, "</chat>");
}

void
xccos_put_post(struct buf *b, uint64_t envid, const struct xccos_message *m)
{
	put_envelope(b, envid);
	buf_put_text(b, "<grpchat id=\"grpchat\" seqid=\"1\"");
	put_message(b, m);
	buf_put_text(b, "</grpchat></xccos>");
}

void
xccos_put_msg(struct buf *b, const struct xccos_message *m)
{
	buf_put_text(b, "<msg id=\"grpchat\"");
	put_message(b, m);
	buf_put_text(b, "</msg>");
}

void
xccos_put_reply(struct buf *b, uint64_t envid, const struct xccos_reference *to,
    unsigned code, const char *text)
{
	put_envelope(b, envid);
	buf_put_text(b, "<rpl id=\"rpl:");
	xccos_put_escaped(b, to->name);
	buf_put_text(b, "\" seqid=\"1\"><commandid");
	xccos_put_attribute(b, "seqid", to->seqid);
	xccos_put_attribute(b, "envid", to->envid);
	buf_put_text(b, "/><resp");
	put_number(b, "code", code);
	buf_put_u8(b, '>');
	xccos_put_escaped(b, view_text(text));
	buf_put_text(b, "</resp><data>");
}

void
xccos_put_reply_end(struct buf *b)
{
	buf_put_text(b, "</data></rpl></xccos>");
}

void
xccos_put_join_notice(struct buf *b, uint64_t envid, const char *domain,
    const char *guid, const char *user)
{
	put_envelope(b, envid);
	buf_put_text(b, "<ntc id=\"ntc:join\" seqid=\"1\"><data><uib");
	xccos_put_attribute(b, "uri", view_text(user));
	buf_put_text(b, "><aib key=\"" XCCOS_PARTICIPANT "\"");
	xccos_put_attribute(b, "domain", view_text(domain));
	xccos_put_attribute(b, "value", view_text(guid));
	buf_put_text(b, "/></uib></data></ntc></xccos>");
}

void
xccos_put_part_notice(
    struct buf *b, uint64_t envid, const char *room, const char *user)
{
	put_envelope(b, envid);
	buf_put_text(b, "<ntc id=\"ntc:part\" seqid=\"1\"><data><chanib");
	xccos_put_attribute(b, "uri", view_text(room));
	buf_put_text(b, "><uib");
	xccos_put_attribute(b, "uri", view_text(user));
	buf_put_text(b, "/></chanib></data></ntc></xccos>");
}

void
xccos_put_room(struct buf *b, const struct xccos_room *room)
{
	buf_put_text(b, "<chanib");
	xccos_put_attribute(b, "name", view_text(room->name));
	xccos_put_attribute(b, "description", view_text(room->description));
	buf_put_text(b, " topic=\"\"");
	xccos_put_attribute(b, "uri", view_text(room->uri));
	buf_put_u8(b, '>');
}

void
xccos_put_room_details(struct buf *b, const struct xccos_room *room)
{
	buf_put_text(b, "<info id=\"urn:parlano:ma:info:ucnt\">");
	buf_put_decimal(b, room->participants);
	/* The misspelling is the protocol's. */
	buf_put_text(b, "</info><info id=\"urn:parlano:ma:info:visibilty\">");
	buf_put_text(b, room->visibility);
	buf_put_text(b,
	    "</info><prop id=\"urn:parlano:ma:prop:logged\">true</prop>"
	    "<prop id=\"urn:parlano:ma:prop:invite\">false</prop>"
	    "<prop id=\"urn:parlano:ma:prop:filepost\">false</prop>");
}

void
xccos_put_room_end(struct buf *b)
{
	buf_put_text(b, "</chanib>");
}
