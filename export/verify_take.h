#ifndef EXPORT_VERIFY_TAKE_H
#define EXPORT_VERIFY_TAKE_H

/* What the readers of control records share; for verify_*.c of those only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_control.h"

/*
 * Room for one more item in an array that doubles, used so far; array is the
 * address of its pointer. False when out of memory, which is noted.
 */
bool verify_take_room(
    struct verify_control *c, void *array, size_t used, size_t item);
/* A copy that ends in NUL; NULL when out of memory, which is noted. */
char *verify_take_copy(struct verify_control *c, struct view v);
/* The decoded value of a field; it may hold any byte but NUL. */
char *verify_take_decoded(struct verify_control *c, struct view token);
/* Fields from..to are numbers into out[]; else false: that is said already. */
bool verify_take_numbers(
    const struct verify_leaf *l, unsigned from, unsigned to, uint64_t *out);
/* The finding that a field of the right form has a wrong value. */
void verify_take_malformed(
    const struct verify_leaf *l, unsigned field, struct verify_report *r);
/* Whether it has the form of an adapter's name. */
bool verify_take_name(struct view name);
/* Takes the next item of a comma list off its front. */
bool verify_take_item(struct view *list, struct view *item);

#endif
