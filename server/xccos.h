#ifndef SERVER_XCCOS_H
#define SERVER_XCCOS_H

/*
 * Reads the XML body of a client's INFO: one command or one post. Bodies
 * are hostile: no DTD, no entities but the predefined five, and limits on
 * depth, elements and attributes. Unknown elements and attributes are
 * skipped; what is known but ambiguous is refused.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define XCCOS_NAMESPACE "urn:parlano:xml:ns:xccos"
#define XCCOS_DEPTH_MAX 16
#define XCCOS_ELEMENTS_MAX 4096
#define XCCOS_ATTRIBUTES_MAX 32
#define XCCOS_CHANIDS_MAX 1000

struct xccos;

enum xccos_verb {
	XCCOS_UNKNOWN, /* a command that is not known */
	XCCOS_POST,    /* grpchat */
	XCCOS_REQURI,
	XCCOS_GETSERVERINFO,
	XCCOS_GETASSOCIATIONS,
	XCCOS_GETINV,
	XCCOS_CHANSRCH,
	XCCOS_JOIN,
	XCCOS_BJOIN,
	XCCOS_PART,
	XCCOS_BCCONTEXT,
	XCCOS_GETPREF,
	XCCOS_SETPREF,
	XCCOS_VERBS
};

struct xccos_chanid {
	struct view domain;
	struct view value;
};

/* Views whose p is NULL were not given. */
struct xccos_body {
	enum xccos_verb verb;
	struct view name;  /* of a command, without "cmd:" */
	struct view envid; /* printable ASCII, at most 32 bytes */
	struct view seqid;

	struct view post_room; /* grpchat/@chanUri */
	struct view text;      /* grpchat/chat */

	const struct xccos_chanid *chanids;
	size_t chanid_count;
	struct view room;  /* chanib/@uri */
	struct view last;  /* last/@cnt */
	bool other_query;  /* bcq has a child that is not last */
	struct view qtype; /* qib */
	struct view criteria;
	struct view extended;
	struct view info_type; /* sib */
	struct view association;
	struct view max_results;
};

enum xccos_verdict {
	XCCOS_OK,
	XCCOS_BAD,    /* not a body that this protocol knows */
	XCCOS_MEMORY, /* out of memory */
};

/* NULL when out of memory. */
struct xccos *xccos_new(void);
/*
 * out lives until the next call. XCCOS_BAD: why is one line of printable
 * ASCII for the client's user, valid until the next call.
 */
enum xccos_verdict xccos_parse(struct xccos *x, struct view body,
    struct xccos_body *out, const char **why);
/* NULL is allowed. */
void xccos_free(struct xccos *x);

#endif
