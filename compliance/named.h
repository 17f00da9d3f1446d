#ifndef COMPLIANCE_NAMED_H
#define COMPLIANCE_NAMED_H

/*
 * What a control record names and its leaf does not hold: a checkpoint, a
 * time-stamp, the words of a hold. It goes along with the record, so that it
 * comes back with it. chancery-adapter(7), NAMED EVIDENCE.
 */

#include "base/buf.h"

enum named_what {
	NAMED_NOTE,     /* a checkpoint, with cosignatures */
	NAMED_TOKEN,    /* of a time-stamp, in base64 as all that follow */
	NAMED_SALT,     /* of a hold */
	NAMED_SELECTOR, /* of a hold */
	NAMED_COUNT
};

/* Texts; an empty one is not there. */
struct named {
	struct view text[NAMED_COUNT];
};

/* What each is called in a message and in an archive. */
extern const char *const named_name[NAMED_COUNT];

/* Appends those that are there as members of an object that has some. */
void named_put_json(struct buf *b, const struct named *n);

#endif
