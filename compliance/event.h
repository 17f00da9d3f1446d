#ifndef COMPLIANCE_EVENT_H
#define COMPLIANCE_EVENT_H

/* Kinds of journal records; chancery-journal(5). */

enum event_kind {
	EVENT_JOIN = 1,
	EVENT_LEAVE = 2,
	EVENT_POST = 3,
	EVENT_HISTORY = 4,
	EVENT_DELIVERY = 5,
	EVENT_ROOM = 6,
	EVENT_MEMBER = 7,
	EVENT_USER = 8,
	EVENT_CONTROL = 128, /* this and above: control records */
	EVENT_OPEN = 128,
	EVENT_BATCH = 129,
	EVENT_ACK = 130,
	EVENT_PURGE = 131,
	EVENT_INCIDENT = 132,
	EVENT_BEAT = 133,
	EVENT_POLICY = 134,
	EVENT_KEY = 135,
	EVENT_SEAL = 136,
	EVENT_CLOCK = 137,
	EVENT_HOLD = 138,
	EVENT_RELEASE = 139,
	EVENT_RECOVER = 140,
	EVENT_ANCHOR = 141,
	EVENT_LATE = 142,
	EVENT_DROP = 143,
	EVENT_AUDIT = 144,
	EVENT_APPROVE = 145,
	EVENT_CONFLICT = 146,
};

/* "join" ... "conflict"; NULL for a number without a name. */
const char *event_name(unsigned kind);
/* 0 when there is no such kind. */
unsigned event_kind_of(const char *name);

#endif
