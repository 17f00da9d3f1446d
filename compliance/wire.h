#ifndef COMPLIANCE_WIRE_H
#define COMPLIANCE_WIRE_H

/*
 * Frames between the roles server, keeper, signer and engine. Payloads are
 * big-endian, built with buf_put_*() and read with a reader to the exact end.
 */

/* A reason in words with its NUL: what is wrong, where, and the next step. */
#define WIRE_WHY_LEN 768

enum wire_frame {
	/* server to keeper */
	WIRE_HELLO = 16,   /* u64 applied: first sequence number not held */
	WIRE_EVENT = 17,   /* u64 ref, u8 kind, u8 parts, {u32 len, bytes}* */
	WIRE_APPLIED = 18, /* u64 applied */
	WIRE_GONE = 19,    /* u64 seq: tell the next purge from here on */
	/* u32 server, u64 ref, {u8 drop, u64 since, u64 until, u64 count}* */
	WIRE_DROPS = 20,
	WIRE_BYE = 21, /* all refusals are told: the server ends */
	/* keeper to server, keeper to engine */
	WIRE_REPLAY =
	    32,         /* u64 seq, u64 at, u8 kind, u8 parts, {u32, bytes}* */
	WIRE_LIVE = 33, /* u64 size, u8 writable: the replay is over */
	WIRE_RECEIPT = 34,    /* u32 n, {u64 ref, u64 seq, u64 at}* */
	WIRE_REFUSED = 35,    /* u64 ref, text */
	WIRE_STATE = 36,      /* u8 writable, text why */
	WIRE_PURGED = 37,     /* u64 seq, text ranges: a purge record */
	WIRE_DROPS_KEPT = 38, /* u64 ref: of WIRE_DROPS, now on record */
	WIRE_ALARM = 39, /* text: what a person must mend, "" when nothing */
	/* engine to keeper */
	WIRE_CONTROL = 48, /* u64 ref, u8 kind, text "name value\n"* */
	WIRE_PURGE = 49,   /* u64 ref, {u64 first, u64 last}+ */
	WIRE_COSIG = 50,   /* u64 ref, u64 size, text line */
	WIRE_STAMP = 51,   /* u64 ref, u64 size, u64 at, bytes token */
	/* u64 ref, u8 witness, u64 size, bytes note: of another history */
	WIRE_CONFLICT = 52,
	WIRE_HOLD = 56,     /* u64 ref, u32 uid, u32 n, matter, text selector */
	WIRE_RELEASE = 57,  /* u64 ref, u32 uid, u64 number of the hold */
	WIRE_APPROVE = 58,  /* u64 ref, u32 uid, u64 below */
	WIRE_KEY_TURN = 60, /* u64 ref, u8 compromised: a new epoch, please */
	/* keeper to signer */
	WIRE_SIGN = 64,   /* u64 old, u64 size, root, u16 n, {hash}* proof */
	WIRE_ROTATE = 65, /* u64 epoch that shall begin */
	WIRE_TURN = 66,   /* u64 epoch, u8 clean, and all of WIRE_SIGN */
	/* signer to keeper */
	/* u64 size, root, u64 epoch, digests of next and after, text vkey */
	WIRE_SIGNER = 80,
	WIRE_NOTE = 81, /* u64 size, text note */
	WIRE_KEY = 82,  /* u64 epoch, digest of the key after it, text vkey */
	/* engine to server and back */
	WIRE_JSON = 96, /* u64 ref, text */
	/* engine to anchor and back; body of a request (empty: GET) or answer */
	WIRE_ASK = 112,       /* u64 ref, u8 witness, u8 n, path, body */
	WIRE_ASKED = 113,     /* u64 ref, u16 HTTP status or 0, bytes or why */
	WIRE_ASK_STAMP = 114, /* u64 ref, text note */
	WIRE_STAMPED = 115,   /* u64 ref, u8 granted, u64 at, token or why */
};

/* Why events were refused without the keeper's having a say. */
enum wire_drop {
	WIRE_DROP_OVERLOAD, /* too many at once */
	WIRE_DROP_KEEPER,   /* the keeper was not there */
	WIRE_DROP_STORAGE,  /* it could not write, or ended before it told */
	WIRE_DROP_CHAT,     /* the chat store could not be written */
	WIRE_DROP_PASSWORD, /* a wrong password, or after too many */
	WIRE_DROPS_COUNT
};

#endif
