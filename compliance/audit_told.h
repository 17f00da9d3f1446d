#ifndef COMPLIANCE_AUDIT_TOLD_H
#define COMPLIANCE_AUDIT_TOLD_H

/* Audit records that are to be: handed to the keeper, one after another. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "compliance/keeper_link.h"

#define AUDIT_TOLD_MAX 16 /* broken places of one round with their own record */

struct audit_result {
	uint64_t first, last, since;
	bool whole;
};

struct audit_told {
	struct keeper_link *keeper;
	uv_timer_t timer; /* to be closed by the owner */
	struct audit_result result[AUDIT_TOLD_MAX + 4];
	size_t count;
	bool telling;
};

void audit_told_init(
    struct audit_told *t, uv_loop_t *loop, struct keeper_link *keeper);
/* When there are too many, the newest takes the place of the one before. */
void audit_told_add(struct audit_told *t, struct audit_result r);

#endif
