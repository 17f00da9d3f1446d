#ifndef EXPORT_VERIFY_NAMED_H
#define EXPORT_VERIFY_NAMED_H

/*
 * What an archive has beside a control record, because the record names it:
 * whether it is that. chancery-adapter(7), NAMED EVIDENCE.
 */

#include <stdbool.h>

#include "base/buf.h"

#include "export/verify_leaf.h"
#include "export/verify_report.h"
#include "export/verify_trust.h"

enum verify_named_what {
	VERIFY_NAMED_NOTE,
	VERIFY_NAMED_TOKEN,
	VERIFY_NAMED_SALT,
	VERIFY_NAMED_SELECTOR,
	VERIFY_NAMED_COUNT
};

/* As members and attributes are called. */
extern const char *const verify_named_name[VERIFY_NAMED_COUNT];

/* Texts; an empty one is not there. */
struct verify_named {
	struct view text[VERIFY_NAMED_COUNT];
};

/*
 * Judges it against the leaf of its record. key: of the archive's own
 * checkpoint, NULL when there is none. False: the key that signed a
 * checkpoint is not known here.
 */
bool verify_named(const struct verify_leaf *l, const struct verify_named *n,
    const struct verify_trust *trust, const struct verify_key *key,
    struct verify_report *r);

#endif
