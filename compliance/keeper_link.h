#ifndef COMPLIANCE_KEEPER_LINK_H
#define COMPLIANCE_KEEPER_LINK_H

/*
 * The engine's requests to the keeper: control records and purges, each
 * answered once. Survives the keeper's restarts; what was under way then is
 * reported as lost, and only the journal tells whether it was recorded.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

#include "compliance/ranges.h"
#include "compliance/wire.h"

struct keeper_link;

enum keeper_answer {
	KEEPER_RECORDED,
	KEEPER_REFUSED, /* with the reason */
	KEEPER_LOST     /* the link broke: perhaps recorded, perhaps not */
};

/* why is borrowed, empty unless refused. */
typedef void keeper_answer_cb(
    void *arg, enum keeper_answer answer, struct view why);
/* A new link is there. */
typedef void keeper_up_cb(void *arg);

struct keeper_state {
	bool linked;
	bool writable;
	char why[WIRE_WHY_LEN];   /* why not writable, or not signed */
	char alarm[WIRE_WHY_LEN]; /* what a person must mend, "" when nothing */
};

/* NULL when out of memory. */
struct keeper_link *keeper_link_new(
    uv_loop_t *loop, keeper_up_cb *on_up, void *arg);
/* A (new) link; fd is taken over. */
void keeper_link_attach(struct keeper_link *k, int fd);
/* Lives as long as k; changes with the loop. */
const struct keeper_state *keeper_link_state(const struct keeper_link *k);
/* False when there is no link or no memory: then cb is never called. */
bool keeper_link_control(struct keeper_link *k, unsigned kind,
    struct view fields, keeper_answer_cb *cb, void *arg);
/* The same for a purge of these ranges. */
bool keeper_link_purge(struct keeper_link *k, const struct range *ranges,
    size_t count, keeper_answer_cb *cb, void *arg);
/* The same for a cosignature line of the checkpoint of that size, */
bool keeper_link_cosig(struct keeper_link *k, uint64_t size, struct view line,
    keeper_answer_cb *cb, void *arg);
/* and for a time-stamp token; at: seconds that it tells, 0: none. */
bool keeper_link_stamp(struct keeper_link *k, uint64_t size, uint64_t at,
    struct view token, keeper_answer_cb *cb, void *arg);
/*
 * The same for what a witness, by its number in the configuration, has to
 * say of another history: its size, and the checkpoint if it gave one.
 */
bool keeper_link_conflict(struct keeper_link *k, unsigned witness,
    uint64_t size, struct view note, keeper_answer_cb *cb, void *arg);
/* A hold with its selector's text, its release, an approval; by a person. */
bool keeper_link_hold(struct keeper_link *k, uint32_t by, struct view matter,
    struct view selector, keeper_answer_cb *cb, void *arg);
bool keeper_link_release(struct keeper_link *k, uint32_t by, uint64_t n,
    keeper_answer_cb *cb, void *arg);
bool keeper_link_approve(struct keeper_link *k, uint32_t by, uint64_t below,
    keeper_answer_cb *cb, void *arg);
/* During a call with KEEPER_RECORDED: the record's number. */
uint64_t keeper_link_seq(const struct keeper_link *k);
/* The same for another signing key. */
bool keeper_link_turn(
    struct keeper_link *k, bool compromised, keeper_answer_cb *cb, void *arg);
/* Requests under way are forgotten, without a call. */
void keeper_link_free(struct keeper_link *k);

#endif
