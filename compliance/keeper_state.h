#ifndef COMPLIANCE_KEEPER_STATE_H
#define COMPLIANCE_KEEPER_STATE_H

/* Inside of the keeper, shared by its files keeper*.c only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/ipc.h"
#include "base/role.h"

#include "compliance/journal.h"
#include "compliance/scan.h"
#include "compliance/tree.h"
#include "compliance/wire.h"

#define KEEPER_VKEY_MAX 320   /* longest vkey with its NUL */
#define KEEPER_QUEUE_MAX 2000 /* events in one commit */
#define KEEPER_QUEUE_BYTES (8U << 20)
/* Every way out escapes it at worst sixfold, and has frames of 16 MiB. */
#define KEEPER_EVENT_BYTES (2U << 20)

struct keeper;

/* Reads a frame's payload to its exact end; false: the link is dropped. */
typedef bool keeper_frame(struct keeper *k, struct view payload);
struct keeper_frame_row {
	uint16_t type;
	keeper_frame *handle;
};

/* One of the three roles at the other end of a link. */
struct keeper_peer {
	struct keeper *keeper;
	const char *name;
	const struct keeper_frame_row *frames;
	size_t frame_count;
	void (*on_up)(struct keeper *k);
	void (*on_down)(struct keeper *k);
	struct ipc *link;    /* NULL when there is none */
	unsigned generation; /* of the link; receipts go to their own only */
};

/* An event that waits for the next commit; its parts lie in queue_bytes. */
struct keeper_event {
	unsigned generation;
	uint64_t ref;
	unsigned kind, parts;
	size_t at[LEAF_PARTS_MAX], len[LEAF_PARTS_MAX];
};

/* Refusals that drop records tell of. */
struct keeper_drop {
	uint64_t since, until, count;
};

/* What the keeper itself refused without there being an incident. */
enum keeper_refusal {
	KEEPER_UNREADY, /* no signer yet, or one that contradicts */
	KEEPER_LARGE,   /* the event was too large */
	KEEPER_REFUSALS
};

/* Waits to be recorded, with the next beat at the latest. */
struct keeper_drops {
	struct keeper_drop own[KEEPER_REFUSALS];
	struct keeper_drop told[WIRE_DROPS_COUNT]; /* in the last frame */
	struct keeper_drop left[WIRE_DROPS_COUNT]; /* in frames before */
	uint32_t server;   /* which one told last; 0: none */
	uint64_t ref;      /* and its frame */
	uint64_t kept;     /* of the same server, the last on record */
	bool here;         /* it told by the link that there is */
	uint64_t heard_at; /* when one told or came last; 0: it said good-bye */
	struct keeper_drop lost; /* time of which nobody can tell any more */
	uint64_t queue; /* most events that waited since the last beat */
};

/* A time without recording, told by incident and late records. */
struct keeper_outage {
	const char *what;
	bool unrecorded; /* it began, and no record tells so yet */
	uint64_t since;
	uint64_t refused;
	/* Events that came after one that ended and say so, and its times. */
	uint64_t late;
	uint64_t late_since, late_until; /* 0: there was none yet */
};

/* The way from a sealed file to the next one. */
struct keeper_roll {
	bool held;         /* events and requests wait */
	bool late;         /* and waited too long: they are refused */
	uint64_t year_end; /* of the file's first record; 0: not known yet */
	uint64_t prepare_after; /* loop time, after a failure */
};

/* Sealed files that are held to the purge records. */
struct keeper_settling {
	unsigned segment; /* this one, from record next on */
	uint64_t next;
	bool again;     /* not the first round */
	bool settled;   /* this one, and it is perhaps written anew */
	uint64_t begun; /* when that began, 0: not yet */
	bool whole;     /* what was found: the new file is */
	bool *failed;   /* of each file, so far */
	size_t files;
	uint64_t first, last, since; /* found, not recorded; since 0: nothing */
	uint64_t truncate_ms;        /* pause, while the newest purge waits */
	uint64_t shrink_after;       /* loop time, after a failure */
	char alarm[WIRE_WHY_LEN];    /* what the engine was told, "": nothing */
	unsigned alarmed;            /* the file that it is about */
};

/* What is known of the signer and of the head that it works on. */
struct keeper_signing {
	bool told;         /* the signer said what it signed last */
	bool compared;     /* and that agrees with the journal */
	bool busy;         /* a request is out, */
	uint64_t asked_ms; /* since this loop time, */
	bool silent;       /* which is long */
	bool resting;      /* between two requests */
	uint64_t size;     /* signed last */
	uint8_t root[TREE_HASH_LEN];
	uint64_t asked_size;
	uint8_t asked_root[TREE_HASH_LEN];
	uint64_t publish_above; /* a note larger than this must be published */
	uint64_t published_ms;  /* loop time of the last one */
	bool publish;
	uint64_t removed; /* size that covers the newest purge; 0: stored */
	/* what the signer said when it refused */
	char why[WIRE_WHY_LEN];
	uint64_t epoch; /* of the key that signs */
	char vkey[KEEPER_VKEY_MAX];
	uint8_t next[TREE_HASH_LEN];  /* digest of the key after it, */
	uint8_t after[TREE_HASH_LEN]; /* and of the one after that, or zeros */
	struct buf closing; /* checkpoint of a turn that is not stored yet */
	uint64_t closing_size;
};

/* From one signing key to the next. */
struct keeper_turn {
	enum {
		TURN_NONE,
		TURN_WANTED,   /* the signer is to make ready */
		TURN_RECORDED, /* the key record is there: seq */
		TURN_CLOSED    /* the signer has the next key */
	} stage;
	const char *reason;
	bool clean; /* the old key signs that record, too */
	bool done;  /* there was one, or none is needed, since the start */
	uint64_t epoch;
	uint64_t seq, at;
	char vkey[KEEPER_VKEY_MAX];    /* the key that begins, */
	char closing[KEEPER_VKEY_MAX]; /* and that of the checkpoint */
	bool asked;                    /* by the engine, with its */
	uint64_t ref;
	unsigned generation;
};

struct keeper {
	uv_loop_t loop;
	const struct conf *conf;
	struct role *role;
	char *path;
	struct journal *journal;
	struct keeper_peer server, engine, signer;

	struct keeper_event queue[KEEPER_QUEUE_MAX];
	struct journal_event group[KEEPER_QUEUE_MAX];
	size_t queued;
	struct buf queue_bytes;
	uv_check_t after_poll;

	bool stopping;           /* ends when the last record is signed */
	bool in_service;         /* the opening records are there */
	bool doomed;             /* journal and signer contradict each other */
	char doom[WIRE_WHY_LEN]; /* and how */
	bool announced;          /* what the peers were told last */
	char why[768];           /* why not writable, or signed, as told last */
	uint64_t retry_ms;       /* pause before the next try to recover */
	uint64_t recovered_ms;
	struct keeper_outage outage;
	struct keeper_drops drops;
	const char **required;
	size_t required_count;

	bool applied_known;
	uint64_t applied;
	uint64_t ahead; /* what it applied of another journal; 0: nothing */
	struct scan *replay; /* while a replay runs */
	bool gone_asked;     /* the server waits for purge records */
	uint64_t gone_next;  /* from this one on */
	int wal_mark;        /* WAL pages at the last checkpoint */

	struct keeper_roll roll;
	struct keeper_settling settling;
	struct keeper_signing signing;
	struct keeper_turn turn;
	uv_timer_t turn_timer;
	uv_timer_t recover_timer, note_timer, rest_timer, beat_timer,
	    late_timer, drop_timer, replay_timer, truncate_timer, stop_timer,
	    roll_timer, publish_timer, settle_timer, next_timer, silent_timer;
};

/* ---- keeper.c ---- */

bool keeper_writable(const struct keeper *k);
/* Tells the peers when being writable changed. */
void keeper_update(struct keeper *k);
/* Ends the link to the peer, if there is one, and logs why. */
void keeper_drop(struct keeper_peer *p, const char *why);
void keeper_send_receipt(
    struct keeper_peer *p, uint64_t ref, const struct journal_event *e);
void keeper_send_refused(struct keeper_peer *p, uint64_t ref, const char *why);
/* Leaves the loop. */
void keeper_end(struct keeper *k);

/* Records what waits in the queue, unless the file is sealed. */
void keeper_commit(struct keeper *k);
/* Answers the engine: a refusal, or the result of a journal_*() call. */
void keeper_refuse(struct keeper *k, uint64_t ref, const char *why);
void keeper_answer(
    struct keeper *k, uint64_t ref, int result, const struct journal_event *e);

/* ---- keeper_purge.c ---- */

keeper_frame keeper_on_purge, keeper_on_hold, keeper_on_release,
    keeper_on_approve, keeper_on_gone;

/* ---- keeper_records.c ---- */

/* Goes into service when all is well: the opening records, then writable. */
void keeper_enter_service(struct keeper *k);
/* The open record, when the file lacks it: 0, or -1 as journal_append(). */
int keeper_open_file(struct keeper *k);
/* A time without recording begins, or ends and is told. */
void keeper_begin_outage(struct keeper *k, const char *what);
void keeper_end_outage(struct keeper *k);
/* Storage failed: stop recording, and try to recover from time to time. */
void keeper_storage_failed(struct keeper *k);
/* Notices recorded events that say they come late. */
void keeper_count_late(
    struct keeper *k, const struct journal_event *events, size_t count);
/* Records how many those were, unless nothing can be recorded now. */
void keeper_report_late(struct keeper *k);

/* ---- keeper_beat.c ---- */

/* From now on, beats; the first when the last is as old as it may be. */
void keeper_beat_start(struct keeper *k);
/* n events were refused, which no incident tells. */
void keeper_refused(struct keeper *k, enum keeper_refusal why, uint64_t n);
/* Frames WIRE_DROPS and WIRE_BYE. */
keeper_frame keeper_take_drops, keeper_take_bye;
/* The server is there; it is gone, and perhaps had something to tell. */
void keeper_server_came(struct keeper *k);
void keeper_server_lost(struct keeper *k);
/* Records now what was refused. */
void keeper_report_drops(struct keeper *k);

/* ---- keeper_signing.c ---- */

extern const struct keeper_frame_row keeper_signer_frames[];
extern const size_t keeper_signer_frame_count;
/* The signer's link is gone. */
void keeper_signer_down(struct keeper *k);
/* Nothing is recorded any more; logged, and told to all. */
void keeper_doom(struct keeper *k, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Compares what the signer told with the journal, when both are there. */
void keeper_compare(struct keeper *k);
/* Sends the newest head to the signer when it has time. */
void keeper_sign(struct keeper *k);
/* A request went out. */
void keeper_asked(struct keeper *k);
/* The proof of asked_size and asked_root, as the signer reads it. */
void keeper_put_request(
    const struct keeper *k, const struct buf *proof, struct buf *out);
/* Whether a signature that can come is not there yet. */
bool keeper_signature_awaited(const struct keeper *k);
/* The next note that covers record seq is kept as a checkpoint. */
void keeper_publish_after(struct keeper *k, uint64_t seq);

/* ---- keeper_roll.c ---- */

/* Whether the file is sealed, so that nothing is appended for a moment. */
bool keeper_rolling(const struct keeper *k);
/* From now on, the next file is prepared when this one is nearly full. */
void keeper_roll_start(struct keeper *k);
/*
 * How many events may be appended before the file must be sealed; where it
 * could end, that prepares a part of the next one.
 */
size_t keeper_roll_room(struct keeper *k);
/*
 * Seals the file when it is full, and goes on in the next one when the seal
 * is signed. Never from within a frame of the server's or the engine's.
 */
void keeper_roll(struct keeper *k);

/* ---- keeper_settle.c ---- */

/* Empties the WAL, and tries again until no reader hinders it. */
void keeper_truncate(uv_timer_t *timer);
/* Carries out, in sealed files, what purge records say. */
void keeper_settle_start(struct keeper *k);
/* Tells the engine what a person must mend. */
void keeper_send_alarm(struct keeper *k);

/* ---- keeper_anchors.c ---- */

/* Ends the process when the key of a witness is wrong. */
void keeper_check_witnesses(const struct conf *conf);
/* The fields of a policy record that say what anchors a purge needs. */
void keeper_put_anchors(struct buf *fields, const struct conf *conf);
bool keeper_on_cosig(struct keeper *k, struct view payload);
bool keeper_on_stamp(struct keeper *k, struct view payload);

/* ---- keeper_conflict.c ---- */

/* A witness says that it has seen another history. */
keeper_frame keeper_on_conflict;
/*
 * Whether no conflict record proves another history; when one does, nothing
 * is recorded any more.
 */
bool keeper_conflicts_clear(struct keeper *k);

/* ---- keeper_keys.c ---- */

/*
 * Whether journal and signer tell the same keys, after the signer's hello;
 * finds out what is under way between them.
 */
bool keeper_keys_compare(struct keeper *k);
/* The record that the journal's present name began with. */
uint64_t keeper_keys_since(struct keeper *k);
/* True when the key may sign new records; else the turn to another goes on. */
bool keeper_keys_ready(struct keeper *k);
/* The journal begins: its key has not signed yet. */
void keeper_keys_fresh(struct keeper *k);
/* The next step of a turn, if the signer is to do no other thing now. */
bool keeper_keys_step(struct keeper *k);
/* Frames of the signer (WIRE_KEY) and of the engine (WIRE_KEY_TURN). */
keeper_frame keeper_keys_on_key, keeper_keys_on_asked;
/* Whether the note asked for is one that ends an epoch, and by which key. */
bool keeper_keys_awaits_note(const struct keeper *k);
const char *keeper_keys_signing(const struct keeper *k);
/* It came. */
void keeper_keys_took_note(struct keeper *k, struct view text);
/* The signer does not do what was asked last. */
void keeper_keys_refused(struct keeper *k, const char *why);

/* ---- keeper_replay.c ---- */

/*
 * Tells the server all events from a sequence number on, a part a turn of the
 * loop; stop ends it, harmless when none runs.
 */
void keeper_replay_start(struct keeper *k, uint64_t from);
void keeper_replay_stop(struct keeper *k);

#endif
