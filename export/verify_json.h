#ifndef EXPORT_VERIFY_JSON_H
#define EXPORT_VERIFY_JSON_H

/*
 * Well-formedness of payload objects (RFC 8259, compact: no white space
 * between tokens) in one pass without memory, for the verifier's main loop.
 */

#include <stdbool.h>

#include "base/buf.h"

#include "export/verify_leaf.h"

/* Members of the outermost object, as written between the quotes. */
struct verify_json {
	struct view type;
	struct view id;
	struct view client;
	bool version; /* v is there, */
	bool version_1;
};

/* False with the reason when text is not one such object. */
bool verify_json_scan(
    struct view text, struct verify_json *out, const char **why);

/*
 * The same of a part of a record, which must be one of its kind: NULL, or what
 * is wrong; *why says more, or is NULL.
 */
const char *verify_json_part(const struct verify_leaf *l, unsigned part,
    struct view data, struct verify_json *out, const char **why);

#endif
