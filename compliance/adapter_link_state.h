#ifndef COMPLIANCE_ADAPTER_LINK_STATE_H
#define COMPLIANCE_ADAPTER_LINK_STATE_H

/*
 * Inside of an adapter's link: adapter_link.c has stages, failures and the
 * clock, adapter_delivery.c the way of a batch, adapter_answers.c what the
 * adapter may say when, adapter_anchor.c the checkpoints in between.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "compliance/adapter_link.h"
#include "compliance/line_io.h"
#include "compliance/scan.h"

#define ADAPTER_LINK_LINE_MAX ((size_t)1 << 20)

struct adapter_run {
	struct adapter_run *next;
	uint64_t target; /* all below must be acknowledged */
	uint64_t deadline;
	adapter_run_cb *cb;
	void *arg;
};

struct adapter_link {
	const struct adapter_env *env;
	const struct conf_adapter *conf;
	uv_timer_t timer;
	struct scan *scan; /* its own: it keeps a position */
	struct line_io *io;
	bool greeted; /* ready came on this io */
	enum adapter_stage stage;
	uint64_t heard;      /* last sign of life */
	uint64_t lost;       /* since when there is no process */
	uint64_t not_before; /* delay after a failure */
	uint64_t due;        /* next look for something to hand over */
	char program[64];
	unsigned promises;
	bool readback;
	bool checkpoints;   /* it asked for them */
	struct buf note;    /* the newest, and */
	uint64_t note_size; /* its size; 0: none waits */
	uint64_t sent_size;
	struct batch batch; /* n 0: none */
	uint64_t next;      /* to be sent, or read back */
	uint64_t looked;
	size_t longest; /* event line of the batch */
	struct adapter_says receipt;
	bool recording; /* the keeper has been asked */
	unsigned failures;
	char failure[WIRE_WHY_LEN + 128];
	struct adapter_run *runs;
};

/* ---- adapter_link.c ---- */

uint64_t adapter_link_now(const struct adapter_link *l);
/* Logs the change; silence counts from now. */
void adapter_link_enter(struct adapter_link *l, enum adapter_stage stage);
/* To the stage when no batch is in somebody's hands. */
void adapter_link_rest(struct adapter_link *l);
/* Ends the runs whose target is at most below. */
void adapter_link_finish_runs(
    struct adapter_link *l, uint64_t below, const char *failure);
/*
 * The adapter failed. With restart, its process is no longer trusted with
 * anything. A record that the keeper was asked for goes its way.
 */
void adapter_link_fail(struct adapter_link *l, bool restart, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
/* Not the adapter's fault: the batch waits, the adapter is left alone. */
void adapter_link_wait_here(
    struct adapter_link *l, const char *what, struct view why);
/* Sets the timer for the next thing to do; after every change. */
void adapter_link_step(struct adapter_link *l);

/* ---- adapter_delivery.c ---- */

/* Looks for something to hand over, of an idle adapter. */
void adapter_link_begin(struct adapter_link *l);
/* Sends on, when the socket took everything so far. */
void adapter_link_pump(struct adapter_link *l);
/* Asks the keeper for the record of the stage, when it has a keeper. */
void adapter_link_record(struct adapter_link *l);

/* ---- adapter_anchor.c ---- */

/* Hands the checkpoint that waits to the idle adapter. */
void adapter_link_anchor(struct adapter_link *l);
void adapter_link_on_anchored(struct adapter_link *l, struct adapter_says *s);

/* ---- adapter_answers.c ---- */

void adapter_link_hear(struct adapter_link *l, struct view line);

#endif
