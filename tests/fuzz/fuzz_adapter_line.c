/*
 * What an adapter may write: lines out of any bytes in any pieces, each of
 * them parsed and compared with a record as a read-back event.
 */

#include <stdlib.h>
#include <string.h>

#include "compliance/adapter_says.h"
#include "compliance/batch.h"
#include "compliance/line.h"

#define LINE_MAX_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A record whose leaf is well-formed, and is named by the seed corpus. */
static const char leaf[] = "leaf/1 5 3\nt 7 1 00000000 0\n"
			   "p 0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

static void
judge(struct view line)
{
	struct scan_record r = {
	    .seq = 5, .kind = 3, .parts = 1, .leaf = view_text(leaf)};
	uint8_t salt[LEAF_SALT_LEN] = {0};
	struct adapter_says s;
	const char *why = NULL;
	int result = adapter_says_parse(line, &s, &why);

	r.part[0].salt = view_of(salt, sizeof salt);
	r.part[0].data = view_text("{}");
	/* A refusal has a reason, an acceptance has none. */
	if ((result == 0) != (why == NULL))
		abort();
	/* Nothing hashes to zeroes: no event may pass. */
	if (result == 0 && s.said == SAID_EVENT &&
	    batch_compare(&r, &s) == NULL)
		abort();
	if (result == 0 && s.location.n > ADAPTER_SAYS_TEXT_MAX)
		abort();
	adapter_says_release(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line_reader r;
	size_t step = size > 0 ? 1 + data[0] : 1;
	size_t taken = 0;

	line_reader_init(&r);
	for (size_t at = 0; at < size; at += step) {
		size_t n = step < size - at ? step : size - at;
		enum line_verdict v;
		struct view line;

		if (!line_reader_put(&r, view_of(data + at, n)))
			break;
		while ((v = line_reader_next(&r, LINE_MAX_BYTES, &line)) ==
		    LINE_WHOLE) {
			if (line.n > LINE_MAX_BYTES ||
			    memchr(line.p, '\n', line.n) != NULL)
				abort();
			taken += line.n + 1;
			judge(line);
		}
		if (taken > at + n)
			abort();
		if (v == LINE_LONG)
			break;
	}
	line_reader_release(&r);
	return 0;
}
