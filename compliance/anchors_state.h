#ifndef COMPLIANCE_ANCHORS_STATE_H
#define COMPLIANCE_ANCHORS_STATE_H

/*
 * Inside of anchors: anchors.c has the clock and the records, anchors_ask.c
 * what is asked of witnesses and the authority, anchors_status.c what is
 * shown.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "compliance/anchor_link.h"
#include "compliance/anchors.h"
#include "compliance/evidence.h"
#include "compliance/scan.h"
#include "compliance/witness_client.h"

enum anchor_state { ANCHOR_UNKNOWN, ANCHOR_OK, ANCHOR_FAILED };

/* One witness, the authority, or an adapter that takes checkpoints. */
struct anchor_source {
	struct anchors *anchors;
	const char *what; /* in the anchor record */
	char name[256];
	enum anchor_state state;
	enum anchor_state recorded; /* what the newest record says */
	bool looked;                /* for that */
	bool record_due;            /* also without a change: a time-stamp */
	bool recording;             /* the keeper has been asked */
	unsigned failures;          /* in a row */
	char failure[512];
	uint64_t size;     /* newest checkpoint that it confirmed */
	uint64_t time;     /* when, by its clock, in seconds; 0: unknown */
	char evidence[65]; /* SHA-256 of what it gave, or "-" */
	uint64_t tried;    /* size of the last try */
	/* asking */
	bool busy;
	bool asked;                    /* since the engine started */
	uint64_t next_ms;              /* loop time of the next try */
	uint64_t note_len;             /* adapter: of what was offered last */
	struct witness_client *client; /* witness */
	unsigned index;                /* of the witness or the adapter */
};

struct anchors {
	const struct anchors_env *env;
	uv_timer_t timer;
	struct scan *scan;
	struct evidence *evidence;
	struct witness_journal journal;
	struct anchor_link *link;
	struct anchor_source *witnesses; /* in the configuration's order */
	struct anchor_source *adapters;  /* the same */
	struct anchor_source stamp;
	struct buf token; /* on its way to the keeper */
	uint64_t token_at;
	uint64_t newest;  /* newest checkpoint */
	struct buf note;  /* as it was signed, */
	struct buf lines; /* and who else has signed it */
	bool short_of;    /* the quorum is out of reach now */
};

/* ---- anchors.c ---- */

/* It works; evidence: hashed for the record, empty when there is none. */
void anchors_ok(struct anchor_source *s, uint64_t size, uint64_t time,
    struct view evidence);
/* A try failed; the second one in a row is an alarm. */
void anchors_failed(struct anchor_source *s, struct view why);

/* Opens what the journal's newest file says; false: not now. */
bool anchors_open(struct anchors *a);
/* Has every change recorded that the journal does not tell yet. */
void anchors_record(struct anchors *a);

/* ---- anchors_ask.c ---- */

/* Loop time of the next try after so many failures in a row. */
uint64_t anchors_next_ms(uint64_t now, uint64_t interval, unsigned failures);
/* Asks all whose time has come. */
void anchors_ask(struct anchors *a);

#endif
