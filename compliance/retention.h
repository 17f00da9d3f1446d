#ifndef COMPLIANCE_RETENTION_H
#define COMPLIANCE_RETENTION_H

/*
 * How long a record keeps its payload: the first `retention` section of the
 * configuration that fits its room and kind, else purge { after-s }.
 */

#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"

#define RETENTION_DEFAULT "default" /* name of purge { after-s } */

struct retention_class {
	const char *name; /* lives as long as the configuration */
	int64_t after_s;  /* seconds after the acknowledgement; -1: for ever */
};

/* By kind and envelope (part 0) of a user event. */
struct retention_class retention_of(
    const struct conf *c, unsigned kind, struct view envelope);
/* Of all classes that ever purge; -1 when none does. */
int64_t retention_shortest(const struct conf *c);
/*
 * The different times of classes that ever purge, ascending; as many as
 * sections and one more at most. Returns how many.
 */
size_t retention_times(const struct conf *c, int64_t *out);
/* The text that `classes` of a policy record is the SHA-256 of. */
void retention_put_text(struct buf *b, const struct conf *c);
/* That field: "-" without sections, else the hexadecimal hash. */
void retention_put_classes(struct buf *b, const struct conf *c);

#endif
