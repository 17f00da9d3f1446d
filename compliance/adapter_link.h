#ifndef COMPLIANCE_ADAPTER_LINK_H
#define COMPLIANCE_ADAPTER_LINK_H

/*
 * One adapter of the engine: hands it batches one at a time, checks what it
 * answers, reads back, and has the keeper record the acknowledgement. An
 * adapter that dies, hangs, lies or talks nonsense costs a restart and a
 * delay, never a batch. chancery-adapter(7).
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/conf.h"
#include "compliance/batch.h"
#include "compliance/keeper_link.h"

struct adapter_link;

/* What all adapters share; outlives them. */
struct adapter_env {
	uv_loop_t *loop;
	const char *journal; /* path of the journal, opened for reading */
	const char *domain;
	unsigned batch_events;
	struct keeper_link *keeper;
	uint64_t backoff_ms;     /* after the first failure; doubles */
	uint64_t backoff_max_ms; /* also the pace of a quarantined batch */
	/* Asks for the adapter's process to be killed and started again. */
	void (*restart)(void *arg, const char *name);
	/* An acknowledgement was recorded. */
	void (*acked)(void *arg);
	/*
	 * A checkpoint went out: stored, or only sent (then why is empty), or
	 * not at all. NULL when nobody cares.
	 */
	void (*anchored)(void *arg, const char *name, uint64_t size,
	    bool stored, struct view why);
	void *arg;
};

enum adapter_stage {
	STAGE_ABSENT,  /* no process, or not linked yet */
	STAGE_WAITING, /* linked; the delay after a failure runs */
	STAGE_HELLO,   /* greeted, not ready yet */
	STAGE_IDLE,    /* ready, nothing under way */
	STAGE_CUTTING, /* the keeper records the batch */
	STAGE_SENDING,
	STAGE_SENT,      /* the receipt is awaited */
	STAGE_READBACK,  /* the archive is read back */
	STAGE_RECORDING, /* the keeper records the acknowledgement */
	STAGE_ANCHORING  /* it hands a checkpoint on */
};

struct adapter_status {
	const struct conf_adapter *conf;
	enum adapter_stage stage;
	const char *program; /* as it calls itself, "" before it did */
	struct batch batch;  /* under way or to be repeated; n 0: none */
	unsigned failures;   /* in a row */
	bool quarantined;    /* too many: retried at the slowest pace */
	const char *failure; /* newest reason, "" after a success */
	size_t queued;       /* bytes that the process has not taken yet */
};

/* An acknowledged batch, for those who asked for a run. */
struct adapter_delivery {
	struct batch batch;
	const struct adapter_says *receipt;
	bool read_back;
};

/*
 * For each batch of a run, and in the end once more with delivery NULL:
 * failure is NULL when all is acknowledged, else why not.
 */
typedef void adapter_run_cb(
    void *arg, const struct adapter_delivery *delivery, const char *failure);

/* NULL when out of memory. conf and env outlive the result. */
struct adapter_link *adapter_link_new(
    const struct adapter_env *env, const struct conf_adapter *conf);
/* A (new) process is there; fd is taken over. */
void adapter_link_attach(struct adapter_link *l, int fd);
/* The keeper is there again. */
void adapter_link_kick(struct adapter_link *l);
/*
 * Hands over, without regard to the interval or a delay, all that is in the
 * journal now and is worth a batch.
 */
void adapter_link_run(struct adapter_link *l, adapter_run_cb *cb, void *arg);
/*
 * The newest checkpoint, with all its lines, for an adapter that asked for
 * such; goes out when no batch is under way, in place of an older one.
 */
void adapter_link_checkpoint(
    struct adapter_link *l, uint64_t size, struct view note);
/* Whether it asked for them when it was greeted last. */
bool adapter_link_takes_checkpoints(const struct adapter_link *l);
/* Views of l, valid until the loop turns. */
void adapter_link_status(
    const struct adapter_link *l, struct adapter_status *out);
/* "idle" and so on. */
const char *adapter_stage_name(enum adapter_stage s);
/* Runs end without a call. The loop must turn once more. */
void adapter_link_free(struct adapter_link *l);

#endif
