#ifndef SERVER_XCCOS_PUT_H
#define SERVER_XCCOS_PUT_H

/*
 * Writes the XML bodies that clients are sent. Texts must be valid UTF-8
 * without the characters that XML 1.0 forbids (xccos_put_able).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define XCCOS_PARTICIPANT "3984" /* aib/@key of an ordinary participant */

/* Valid UTF-8, and every character may stand in an XML 1.0 document. */
bool xccos_put_able(struct view v);
/* Content or attribute value; line breaks survive as &#13; and &#10;. */
void xccos_put_escaped(struct buf *b, struct view v);
/* ISO 8601 with Z and seven digits of fraction. */
void xccos_put_time(struct buf *b, uint64_t at_us);

struct xccos_message {
	const char *room; /* URI */
	const char *author;
	uint64_t chat;
	uint64_t at;
	struct view text;
};

/* A whole envelope with one live message. */
void xccos_put_post(
    struct buf *b, uint64_t envid, const struct xccos_message *m);
/* One message of a history reply. */
void xccos_put_msg(struct buf *b, const struct xccos_message *m);

/* The command a reply answers. */
struct xccos_reference {
	struct view name; /* without "cmd:" */
	struct view envid;
	struct view seqid;
};

/* An envelope up to the content of its data element, and the rest of it. */
void xccos_put_reply(struct buf *b, uint64_t envid,
    const struct xccos_reference *to, unsigned code, const char *text);
/* After the content. */
void xccos_put_reply_end(struct buf *b);

/* Whole envelopes: user has joined or left the room. */
void xccos_put_join_notice(struct buf *b, uint64_t envid, const char *domain,
    const char *guid, const char *user);
void xccos_put_part_notice(
    struct buf *b, uint64_t envid, const char *room, const char *user);

struct xccos_room {
	const char *uri;
	const char *name;
	const char *description;
	const char *visibility; /* "OPEN", "SCOPE" or "PRIVATE" */
	uint64_t participants;
};

/* <chanib ...> without its end; details: the info and prop children. */
void xccos_put_room(struct buf *b, const struct xccos_room *room);
void xccos_put_room_details(struct buf *b, const struct xccos_room *room);
void xccos_put_room_end(struct buf *b);
/* name="value" with a blank before it. */
void xccos_put_attribute(struct buf *b, const char *name, struct view value);

#endif
