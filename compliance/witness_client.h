#ifndef COMPLIANCE_WITNESS_CLIENT_H
#define COMPLIANCE_WITNESS_CLIENT_H

/*
 * What is said to one witness, and what its answers mean; how the requests
 * travel is somebody else's affair. A round brings it to one checkpoint, in
 * several requests when it has to be told keys or where it stands. C2SP
 * tlog-witness; chancery-witness(8).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"

#include "compliance/evidence.h"
#include "compliance/scan.h"

struct witness_client;

enum witness_verdict {
	WITNESS_ASK,      /* another request of the round is made */
	WITNESS_COSIGNED, /* a line to be stored; then go on */
	WITNESS_DONE,     /* it has cosigned the round's checkpoint */
	WITNESS_FAILED,   /* not now: why tells */
	WITNESS_CONFLICT  /* it knows another history, and showed what it has
			     of it, if anything: why tells */
};

struct witness_request {
	const char *path; /* behind the witness's URL */
	struct buf body;  /* empty: a GET */
};

/* What it reads the journal by; outlives it. */
struct witness_journal {
	struct scan *scan;
	struct evidence *evidence;
	/* Appends the block of a key record, as /add-key takes it. */
	int (*link)(struct scan *s, uint64_t seq, struct buf *out);
};

/* NULL when out of memory or when the key's id does not belong to it. */
struct witness_client *witness_client_new(const struct conf_witness *conf);
/* Begins a round for a published checkpoint: ASK, or FAILED. */
enum witness_verdict witness_client_begin(struct witness_client *w,
    const struct witness_journal *j, uint64_t size, struct view note);
/* The request to be sent; borrowed until the next call. */
const struct witness_request *witness_client_request(struct witness_client *w);
/* Takes the answer; status 0: none came, and body says why. */
enum witness_verdict witness_client_answer(struct witness_client *w,
    const struct witness_journal *j, unsigned status, struct view body);
/* After COSIGNED was dealt with: ASK, DONE or FAILED. */
enum witness_verdict witness_client_go_on(
    struct witness_client *w, const struct witness_journal *j);
/* Of COSIGNED: the line with its LF, and what it is about; borrowed. */
struct view witness_client_line(
    const struct witness_client *w, uint64_t *size, uint64_t *time);
/*
 * Of CONFLICT: the size that it has seen, and the checkpoint that it handed
 * out, unchecked, or empty; borrowed.
 */
struct view witness_client_claim(
    const struct witness_client *w, uint64_t *size);
/* Name of the key; borrowed. */
struct view witness_client_name(const struct witness_client *w);
const char *witness_client_why(const struct witness_client *w);
/* NULL is allowed. */
void witness_client_free(struct witness_client *w);

#endif
