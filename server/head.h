#ifndef SERVER_HEAD_H
#define SERVER_HEAD_H

/*
 * The scan of one SIP message (RFC 3261 section 7): start line, header
 * fields, where it ends on a stream. It checks the form that is common to
 * all header fields and leaves their grammar to libosip2. Every view points
 * into the caller's bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HEAD_FIELDS_MAX 256

enum head_id {
	HEAD_OTHER,
	HEAD_VIA,
	HEAD_FROM,
	HEAD_TO,
	HEAD_CALL_ID,
	HEAD_CSEQ,
	HEAD_CONTACT,
	HEAD_CONTENT_LENGTH,
	HEAD_CONTENT_TYPE,
	HEAD_CONTENT_ENCODING,
	HEAD_EVENT,
	HEAD_EXPIRES,
	HEAD_MAX_FORWARDS,
	HEAD_MIN_SE,
	HEAD_KEEP_ALIVE, /* ms-keep-alive */
	HEAD_PROXY_AUTHORIZATION,
	HEAD_RECORD_ROUTE,
	HEAD_REQUIRE,
	HEAD_SESSION_EXPIRES,
	HEAD_SUPPORTED,
	HEAD_ID_COUNT
};

struct head_field {
	enum head_id id;
	struct view name;
	struct view value; /* unfolded, without outer blanks */
};

struct head {
	bool response;
	struct view method; /* of a request */
	struct view uri;
	unsigned status; /* of a response */
	size_t count;
	struct head_field field[HEAD_FIELDS_MAX];
	/* Index + 1 of the first field of each kind, 0 when there is none. */
	uint16_t first[HEAD_ID_COUNT];
	uint32_t cseq;
	struct view cseq_method;
	bool has_content_length;
	size_t content_length;
	struct view body;
};

enum head_verdict {
	HEAD_OK,
	HEAD_BAD,    /* this message is ill-formed, its end is known */
	HEAD_BROKEN, /* nobody can tell where the next message starts */
};

/* What came first on a stream. */
enum head_frame {
	HEAD_FRAME_MORE,
	HEAD_FRAME_BLANK, /* an empty line between messages: *used bytes */
	HEAD_FRAME_HEAD,  /* start line to empty line: *used bytes */
};
/*
 * Looks for the end of the header from offset *scanned on, and moves
 * *scanned so that no byte is looked at twice.
 */
enum head_frame head_frame(struct view in, size_t *scanned, size_t *used);

/*
 * Scans a header of at most `fields` fields. Folded lines are unfolded in
 * place. On HEAD_BAD and HEAD_BROKEN, *why says what is wrong, *status is
 * the answer, and `out` holds what could be read.
 */
enum head_verdict head_scan(uint8_t *p, size_t n, unsigned fields,
    struct head *out, unsigned *status, const char **why);

/* Value of the first field of that kind; empty when there is none. */
struct view head_get(const struct head *h, enum head_id id);
/* Whether there is a field of that kind. */
bool head_has(const struct head *h, enum head_id id);
/* Fields of that kind, one after another: *at starts at 0. */
bool head_each(
    const struct head *h, enum head_id id, size_t *at, struct view *value);
/* Is the token among the comma lists of all fields of that kind? */
bool head_lists(const struct head *h, enum head_id id, const char *token);
/* The next item of a comma list (quotes respected); false at the end. */
bool head_item(struct view *list, struct view *item);
/* A parameter behind the URI of a From, To or Contact value. */
bool head_param(struct view value, const char *name, struct view *out);
/* The URI of a From, To or Contact value. */
struct view head_addr(struct view value);
/* What stands before the first ';', without blanks. */
struct view head_bare(struct view value);

#endif
