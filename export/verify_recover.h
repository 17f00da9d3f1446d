#ifndef EXPORT_VERIFY_RECOVER_H
#define EXPORT_VERIFY_RECOVER_H

/*
 * The names that a journal has had: the one of its open record, and one for
 * each recover record; chancery-journal(5), RECOVERY. A name is told by its
 * index: 0 for the first.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_control.h"
#include "export/verify_note.h"

/* What a recover record says. */
struct verify_recover {
	uint64_t seq;
	uint64_t size; /* signed under the name before */
	uint8_t root[32];
	char *old, *origin, *vkey, *next, *reason, *by;
	struct verify_key key;
	bool has_key;
};

/* Takes one recover record up; breaches become findings. */
void verify_recover_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* What was taken up is freed. */
void verify_recover_release(struct verify_control *c);

/*
 * Whether the key of each later name was announced by the one before, or is
 * among those that were given; what is not, does not hold.
 */
void verify_recover_keys(struct verify_control *c,
    const struct verify_key *given, struct verify_report *r);
/* The index of a name; false when the journal never had it. */
bool verify_recover_of_origin(
    const struct verify_control *c, const char *origin, size_t *index);
/* The record that ended a name; NULL for the newest name. */
const struct verify_recover *verify_recover_end(
    const struct verify_control *c, size_t index);
/*
 * Judges a signed checkpoint of a name that is larger than what is left of
 * it: within the gap that was declared, or beyond.
 */
void verify_recover_beyond(const struct verify_recover *end, const char *path,
    uint64_t size, const uint8_t root[32], struct verify_report *r);
/* Whether it is the one of another history that was declared; noted. */
bool verify_recover_forked(const struct verify_recover *end, const char *path,
    uint64_t size, const uint8_t root[32], struct verify_report *r);
/* Tells of each gap in words. */
void verify_recover_say(
    const struct verify_control *c, struct verify_report *r);

#endif
