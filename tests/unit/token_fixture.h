#ifndef TESTS_UNIT_TOKEN_FIXTURE_H
#define TESTS_UNIT_TOKEN_FIXTURE_H

/* A time-stamp token of RFC 3161 with nothing in it that may be left out. */

#include <time.h>

#include "base/buf.h"

#define TOKEN_LEN 122
#define TOKEN_HASH 68
#define TOKEN_TIME 105

static inline void
token_put(struct buf *out, const uint8_t hash[32], time_t at)
{
	static const uint8_t before[TOKEN_HASH] =
	    "\x30\x78\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x6b\x30"
	    "\x69\x02\x01\x03\x31\x00\x30\x60\x06\x0b\x2a\x86\x48\x86\xf7\x0d"
	    "\x01\x09\x10\x01\x04\xa0\x51\x04\x4f\x30\x4d\x02\x01\x01\x06\x03"
	    "\x2a\x03\x04\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04"
	    "\x02\x01\x04\x20";
	struct tm t;

	gmtime_r(&at, &t);
	buf_put(out, before, sizeof(before));
	buf_put(out, hash, 32);
	buf_put(out, "\x02\x01\x01\x18\x0f", 5);
	buf_printf(out, "%04d%02d%02d%02d%02d%02dZ", t.tm_year + 1900,
	    t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
	buf_put(out, "\x31\x00", 2); /* by no signer */
}

#endif
