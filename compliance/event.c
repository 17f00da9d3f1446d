#include "compliance/event.h"

#include <stddef.h>
#include <string.h>

static const struct {
	unsigned kind;
	const char *name;
} event_names[] = {
    {EVENT_JOIN, "join"},
    {EVENT_LEAVE, "leave"},
    {EVENT_POST, "post"},
    {EVENT_HISTORY, "history"},
    {EVENT_DELIVERY, "delivery"},
    {EVENT_ROOM, "room"},
    {EVENT_MEMBER, "member"},
    {EVENT_USER, "user"},
    {EVENT_OPEN, "open"},
    {EVENT_BATCH, "batch"},
    {EVENT_ACK, "ack"},
    {EVENT_PURGE, "purge"},
    {EVENT_INCIDENT, "incident"},
    {EVENT_BEAT, "beat"},
    {EVENT_POLICY, "policy"},
    {EVENT_KEY, "key"},
    {EVENT_SEAL, "seal"},
    {EVENT_CLOCK, "clock"},
    {EVENT_HOLD, "hold"},
    {EVENT_RELEASE, "release"},
    {EVENT_RECOVER, "recover"},
    {EVENT_ANCHOR, "anchor"},
    {EVENT_LATE, "late"},
    {EVENT_DROP, "drop"},
    {EVENT_AUDIT, "audit"},
    {EVENT_APPROVE, "approve"},
    {EVENT_CONFLICT, "conflict"},
};

const char *
event_name(unsigned kind)
{
	for (size_t i = 0; i < sizeof event_names / sizeof event_names[0]; i++)
		if (event_names[i].kind == kind)
			return event_names[i].name;
	return NULL;
}

unsigned
event_kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof event_names / sizeof event_names[0]; i++)
		if (strcmp(event_names[i].name, name) == 0)
			return event_names[i].kind;
	return 0;
}
