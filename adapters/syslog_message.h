#ifndef ADAPTERS_SYSLOG_MESSAGE_H
#define ADAPTERS_SYSLOG_MESSAGE_H

/*
 * Journal records as syslog messages (RFC 5424). An event that does not fit
 * in one message becomes numbered pieces; what was hashed is in them whole
 * and can be told apart from what is only there to be read.
 */

#include <stdbool.h>
#include <stddef.h>

#include "adapters/adapter.h"
#include "base/buf.h"

/* Takes one message; false stops the composing. */
typedef bool syslog_message_cb(void *arg, struct view message);

struct syslog_message_source {
	const struct adapter_config *config;
	const struct adapter_batch *batch;
	size_t limit; /* of a message in bytes, at least 1024 */
	syslog_message_cb *put;
	void *arg;
};

/* All but the last return false when out of memory or stopped. */
bool syslog_message_event(
    const struct syslog_message_source *s, const struct adapter_event *e);
/* The batch's header with its note and proof. */
bool syslog_message_batch(const struct syslog_message_source *s);
/* Says that every event of the batch went before; always one message. */
bool syslog_message_end(const struct syslog_message_source *s);
/*
 * A checkpoint by itself; s->batch is not looked at. One message, so lines
 * of others are left out of a note that would not fit. False also when it
 * is no note.
 */
bool syslog_message_checkpoint(
    const struct syslog_message_source *s, const struct adapter_checkpoint *c);

#endif
