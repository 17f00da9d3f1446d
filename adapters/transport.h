#ifndef ADAPTERS_TRANSPORT_H
#define ADAPTERS_TRANSPORT_H

/*
 * Ways to a syslog collector. A connection lives for one batch. All block,
 * each step for at most TRANSPORT_STEP_S.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/adapter.h"
#include "base/buf.h"

#define TRANSPORT_STEP_S 15
/* rsyslog's default; RFC 5424 section 6.1 leaves it to the collector. */
#define TRANSPORT_STREAM_LIMIT 8192
/* What RFC 5424 section 6.1 says a receiver should be able to take. */
#define TRANSPORT_DATAGRAM_LIMIT 2048

enum transport_scheme {
	TRANSPORT_UDP,
	TRANSPORT_TCP,
	TRANSPORT_TLS,
	TRANSPORT_RELP,
	TRANSPORT_RELP_TLS
};

struct transport_target {
	enum transport_scheme scheme;
	char host[256];
	char port[6];
};

/* Reads "scheme://host:port" ("[v6]:port"); false when it is not that. */
bool transport_parse(const char *text, struct transport_target *out);

/* Failures are told to the adapter. */
struct transport {
	enum adapter_state state; /* what finish() proves */
	size_t limit;             /* longest message in bytes */
	void *(*open)(struct adapter *a, const struct transport_target *t,
	    const struct adapter_config *c, uint64_t events);
	bool (*send)(void *link, struct adapter *a, struct view message);
	/*
	 * Sends the closing message and returns true only when everything
	 * before it has the state.
	 */
	bool (*finish)(void *link, struct adapter *a, struct view closing);
	void (*close)(void *link);
};

extern const struct transport transport_udp;
extern const struct transport transport_tcp;
extern const struct transport transport_tls;

#endif
