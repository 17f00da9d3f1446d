#ifndef COMPLIANCE_ANCHORS_H
#define COMPLIANCE_ANCHORS_H

/*
 * The engine's part in anchoring: hands new checkpoints to the adapters that
 * take them, to the witnesses and to the time-stamp authority, has the
 * keeper store what they answer and record when one fails or works again.
 * chancery-journal(5), ANCHORS.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"

#include "compliance/adapter_link.h"
#include "compliance/keeper_link.h"

struct anchors;
struct json_t;

/* What it needs; outlives it. */
struct anchors_env {
	uv_loop_t *loop;
	const char *journal; /* path of the journal, opened for reading */
	const struct conf *conf;
	struct keeper_link *keeper;
	struct adapter_link **adapters; /* in the configuration's order */
	/* Evidence was stored that a purge may have waited for. */
	void (*stored)(void *arg);
	void *arg;
};

/* NULL when out of memory. */
struct anchors *anchors_new(const struct anchors_env *env);
/* A (new) link to the role that has the network; fd is taken over. */
void anchors_attach(struct anchors *a, int fd);
/* The keeper is there again. */
void anchors_keeper_up(struct anchors *a);
/* What an adapter said of a checkpoint; see struct adapter_env. */
void anchors_handed_on(struct anchors *a, const char *adapter, uint64_t size,
    bool stored, struct view why);
/* For `chancery status`; the caller owns it. */
struct json_t *anchors_status(struct anchors *a);
/* The loop must turn once more. NULL is allowed. */
void anchors_free(struct anchors *a);

#endif
