#ifndef EXPORT_VERIFY_CONTROL_H
#define EXPORT_VERIFY_CONTROL_H

/*
 * What the control records of a journal say, rebuilt from their leaf texts
 * alone: batches, acknowledgements, purges, policies; their rules; and the
 * comparison with the tables that claim to hold the same.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/verify_anchors.h"
#include "export/verify_epochs.h"
#include "export/verify_leaf.h"
#include "export/verify_report.h"

struct verify_ack {
	bool given;
	bool stored; /* state "stored" */
	bool readback;
	bool has_sha256;
	bool in_table;
	uint64_t seq;
	uint64_t at;
	uint64_t bytes;
	uint8_t sha256[32];
	char state[16];
	char *location; /* decoded */
};

struct verify_batch {
	uint64_t n, first, last, size, seq;
	uint8_t root[32];
	bool in_table;
	struct verify_ack ack;
};

/* An adapter and its batches in order of their number. */
struct verify_adapter {
	char name[64];
	struct verify_batch *batch;
	size_t count, cap;
};

struct verify_purge {
	uint64_t n, first, last, count, seq, at, held, policy;
	uint8_t leaves[32];
	char *ranges, *acks, *hold, *approvals, *anchor;
	uint64_t newest_hold; /* before it; 0: none */
	size_t spans;         /* that are sound; 0 when it cannot be followed */
	bool later;           /* its record is in a file that was not given */
};

/* One of the ranges of a purge. */
struct verify_span {
	uint64_t first, last;
	size_t purge; /* index of its purge */
	bool in_table;
	bool undone; /* the file of the records does not know of it yet */
};

struct verify_hold {
	uint64_t seq;
	uint64_t released; /* by this record; 0: not yet */
	uint64_t conflict; /* placed for this conflict record; 0: for none */
	uint8_t commitment[32];
	char *by;
	/* What it selects, by the row that it commits to. */
	bool known;
	char *room, *user;    /* NULL: all */
	uint64_t from, until; /* until 0: without end */
};

/* A conflict record with a checkpoint of which there were records, signed by
 * a key of the journal: proof when these give another root. */
struct verify_conflict {
	uint64_t seq, size;
	bool proof;
	uint8_t root[32];
};

struct verify_approve {
	uint64_t seq, below;
	char *by;
};

struct verify_policy {
	uint64_t seq;
	char *required; /* comma list, "" when none */
	int64_t after;  /* seconds; -1: never */
	uint64_t approvals, quorum;
	char *witnesses; /* vkeys, comma list, "" when none */
	bool stamp;
};

/* A file of the journal, as its open record and its seal say. */
struct verify_segment {
	uint64_t first, seal;
	bool sealed;
	uint8_t note[32]; /* SHA-256 of the checkpoint before it */
};

struct verify_control {
	uint64_t from; /* records before it were not given */
	struct verify_segment *segment;
	size_t segments;
	struct verify_adapter *adapter;
	size_t adapters;
	struct verify_purge *purge;
	size_t purges;
	struct verify_span *span; /* sorted, without overlap */
	size_t spans;
	struct verify_policy *policy;
	size_t policies;
	struct verify_recover *recover; /* verify_recover.h */
	size_t recovers;
	struct verify_hold *hold; /* hold n is hold[n - 1] */
	size_t holds;
	uint64_t newest_hold;  /* newest hold or release record; 0: none */
	uint64_t newest_clock; /* newest clock record; 0: none */
	struct verify_conflict *conflict;
	size_t conflicts;
	uint64_t proved; /* proof, or the clock after it: a new name is due */
	struct verify_approve *approve;
	size_t approves;
	uint64_t leaves;  /* control records seen, */
	uint64_t seq_sum; /* and the sum of their numbers */
	struct verify_anchors anchors;
	/* From the open record. */
	char *origin, *vkey, *journal;
	struct verify_epochs epochs; /* and key records */
	bool out_of_memory;
};

/*
 * Takes one control record up, in order; breaches of the rules among
 * control records become findings.
 */
void verify_control_take(struct verify_control *c, const struct verify_leaf *l,
    struct verify_report *r);
/* After the last: purges are judged. */
void verify_control_finish(struct verify_control *c, struct verify_report *r);
/*
 * Compares the tables batch, ack and purge_range of a file whose own records
 * are [first, end). False: SQL failed.
 */
bool verify_control_tables(struct verify_control *c, sqlite3 *db,
    uint64_t first, uint64_t end, struct verify_report *r);
/* The policy in force just before a record; NULL when none. */
const struct verify_policy *verify_control_policy(
    const struct verify_control *c, uint64_t seq);
/*
 * The range of a sound purge that covers a record, or NULL. The cursor begins
 * at 0 and is the callee's; seq never goes backwards.
 */
const struct verify_span *verify_control_span(
    const struct verify_control *c, size_t *cursor, uint64_t seq);
/* The adapter of that name, its batch n; NULL when there is none. Borrowed. */
struct verify_adapter *verify_control_adapter(
    const struct verify_control *c, struct view name);
struct verify_batch *verify_control_batch(
    const struct verify_adapter *a, uint64_t n);
/* What was taken up is freed. */
void verify_control_release(struct verify_control *c);

#endif
